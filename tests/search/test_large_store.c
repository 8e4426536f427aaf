/* SPDX-License-Identifier: Apache-2.0 */
/* A store of 10,000 trials of a search of real size: opening it, claiming and finishing one more, and
 * memory. Times are the processor's, so that other programs do not matter. */
#include "search/store.h"
#include "support/support.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* ViT-B in 18 groups, three models, four methods; twelve tasks on 40 slices. */
enum { TRIALS = 10000, GROUPS = 18, PER_GROUP = 10, TASKS = 12, ITEMS = 480, PLAN = 3000 };

static double processor_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Resident now, in MB. */
static double resident(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fscanf(f, "%*d %ld", &pages), 1);
    fclose(f);
    return (double)pages * 4096 / 1e6;
}

static msx_space *make_space(msx_ctx *ctx) {
    static const char *const methods[] = {"linear", "task_arithmetic", "ties", "slerp"};
    msx_space *s;
    test_ok(ctx, msx_space_create(&s, ctx));
    for (int g = 0; g < GROUPS; g++) {
        char name[64];
        int64_t parent = msx_space_count(s);
        snprintf(name, sizeof name, "group.%d/method", g);
        test_ok(ctx, msx_space_add_categorical(s, name, methods, 4, 0));
        for (int i = 1; i < PER_GROUP; i++) {
            const size_t method = i < 4 ? 0 : i < 5 ? 1 : i < 7 ? 2 : 3;
            snprintf(name, sizeof name, "group.%d/%s.parameter.%d", g, methods[method], i);
            test_ok(ctx, msx_space_add_float(s, name, 0, 1, 0.5, false));
            test_ok(ctx, msx_space_condition(s, msx_space_count(s) - 1, parent, &method, 1));
        }
    }
    return s;
}

static void step(sqlite3_stmt *q) {
    ck_assert_int_eq(sqlite3_step(q), SQLITE_DONE);
    sqlite3_reset(q);
}

static void fill(const char *path, const msx_space *space) {
    sqlite3 *db;
    sqlite3_stmt *trial, *cost;
    char plan[PLAN + 1];
    double x[GROUPS * PER_GROUP], dice[ITEMS];
    memset(plan, 'p', PLAN);
    for (int i = 0; i < ITEMS; i++) dice[i] = 0.7;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "PRAGMA synchronous = OFF; BEGIN", NULL, NULL, NULL), 0);
    ck_assert_int_eq(
        sqlite3_prepare_v2(db,
                           "INSERT INTO trials VALUES(?1, 'done', 'model', ?2, ?3, 0.3,"
                           " zeroblob(32), 'host:1:0', NULL, 1, 1.7e9, 1.7e9, 1.5, 40, 480, 0, ?4,"
                           " NULL)",
                           -1, &trial, NULL),
        SQLITE_OK);
    ck_assert_int_eq(
        sqlite3_prepare_v2(db, "INSERT INTO costs VALUES(?1, ?2, 0.3)", -1, &cost, NULL),
        SQLITE_OK);
    for (int64_t n = 0; n < TRIALS; n++) {
        msx_space_sample(space, 1, (uint64_t)n, x);
        sqlite3_bind_int64(trial, 1, n);
        sqlite3_bind_blob(trial, 2, x, sizeof x, SQLITE_STATIC);
        sqlite3_bind_text(trial, 3, plan, PLAN, SQLITE_STATIC);
        sqlite3_bind_blob(trial, 4, dice, sizeof dice, SQLITE_STATIC);
        step(trial);
        for (int t = 0; t < TASKS; t++) {
            sqlite3_bind_int64(cost, 1, n);
            sqlite3_bind_int(cost, 2, t);
            step(cost);
        }
    }
    sqlite3_finalize(trial);
    sqlite3_finalize(cost);
    ck_assert_int_eq(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static msx_status count(const msx__store_trial *t, void *payload) {
    ck_assert_int_eq(t->number, (*(int64_t *)payload)++);
    return MSX_OK;
}

START_TEST(ten_thousand_trials_are_no_burden) {
    static const msx__store_meta meta[] = {{"schema", MSX__STORE_SCHEMA, true}};
    static const msx__store_model models[] = {{"base", "/a", "aa"}, {"one", "/b", "bb"}};
    msx_ctx *ctx = test_ctx();
    char path[128];
    const char *folder = test_make_folder();
    snprintf(path, sizeof path, "%s/large.db", folder);
    msx_space *space = make_space(ctx);
    msx__store_task tasks[TASKS];
    for (int i = 0; i < TASKS; i++) tasks[i] = (msx__store_task){"D/x", "D", "x"};
    msx__definition d = {.meta = meta,
                         .n_meta = 1,
                         .models = models,
                         .n_models = 2,
                         .tasks = tasks,
                         .n_tasks = TASKS,
                         .n_items = ITEMS,
                         .space = space};
    msx__store *s;
    test_ok(ctx, msx__store_open(&s, ctx, path, &d));
    msx__store_close(s);
    fill(path, space);

    /* The best of a few: processor time, too, grows where others use the machine. */
    double memory = resident(), opened = INFINITY, read = INFINITY, began;
    for (int round = 0; round < 5 && read >= 0.2; round++) {
        int64_t n = 0;
        if (round) msx__store_close(s);
        began = processor_seconds();
        test_ok(ctx, msx__store_open(&s, ctx, path, &d));
        opened = fmin(opened, processor_seconds() - began);
        test_ok(ctx, msx__store_read_trials(s, 0, INT64_MAX, count, &n));
        read = fmin(read, processor_seconds() - began);
        ck_assert_int_eq(n, TRIALS);
    }
    int64_t n = TRIALS;

    double x[GROUPS * PER_GROUP], costs[TASKS], dice[ITEMS];
    msx_space_default(space, x);
    for (int i = 0; i < TASKS; i++) costs[i] = 0.25;
    for (int i = 0; i < ITEMS; i++) dice[i] = NAN;
    msx__store_trial t = {.number = TRIALS,
                          .origin = "model",
                          .x = x,
                          .plan = "plan",
                          .worker = "host:1:0",
                          .attempt = 1,
                          .lease = 1.7e9,
                          .started = 1.7e9};
    bool mine;
    began = processor_seconds();
    test_ok(ctx, msx__store_read_trials(s, TRIALS, INT64_MAX, count, &n));
    test_ok(ctx, msx__store_claim(s, &t, &mine));
    ck_assert(mine);
    t.state = MSX__STORE_DONE;
    t.costs = costs;
    t.dice = dice;
    test_ok(ctx, msx__store_finish(s, &t, &mine));
    ck_assert(mine);
    double one = processor_seconds() - began;
    memory = resident() - memory;
    printf("%d trials: opened in %.3f s, opened and read in %.3f s, one more in %.4f s, %.0f MB\n",
           TRIALS, opened, read, one, memory);
    if (!getenv("MSX_SANITIZED")) {
        ck_assert_double_lt(read, 0.2);
        ck_assert_double_lt(one, 0.05);
        ck_assert_double_lt(memory, 200);
    }
    msx__store_close(s);
    msx_space_free(space);
    test_remove_folder(folder);
    msx_ctx_free(ctx);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("large_store");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, ten_thousand_trials_are_no_burden);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
