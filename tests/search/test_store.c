/* SPDX-License-Identifier: Apache-2.0 */
/* The trial store: what is written comes back, and what is not ours is refused with the reason. */
#include "search/store.h"
#include "support/support.h"

#include <math.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const msx__store_model models[] = {{"base", "/a.pth", "aa"}, {"human", "/b.pth", "bb"}};
static const msx__store_task tasks[] = {{"D/x", "D", "x"}, {"D/y", "D", "y"}};
static const msx__store_group groups[] = {{"neck", "searched", 10}, {"prompt.0", "unreached", 3}};

typedef struct fixture {
    msx_ctx *ctx;
    msx_space *space;
    char folder[64], path[128];
    msx__store_meta meta[3];
    msx__definition definition;
} fixture;

static void set_up(fixture *f) {
    f->ctx = test_ctx();
    strcpy(f->folder, test_make_folder());
    snprintf(f->path, sizeof f->path, "%s/store.db", f->folder);
    test_ok(f->ctx, msx_space_create(&f->space, f->ctx));
    const char *choices[] = {"linear", "ties"};
    test_ok(f->ctx, msx_space_add_categorical(f->space, "neck/method", choices, 2, 0));
    test_ok(f->ctx, msx_space_add_float(f->space, "neck/ties.retain", 0, 1, 0.5, false));
    f->meta[0] = (msx__store_meta){"schema", MSX__STORE_SCHEMA, true};
    f->meta[1] = (msx__store_meta){"seed", "7", true};
    f->meta[2] = (msx__store_meta){"trials", "30", false};
    f->definition = (msx__definition){.meta = f->meta,
                                      .n_meta = 3,
                                      .models = models,
                                      .n_models = 2,
                                      .tasks = tasks,
                                      .n_tasks = 2,
                                      .groups = groups,
                                      .n_groups = 2,
                                      .n_items = 3,
                                      .space = f->space};
}

static void tear_down(fixture *f) {
    test_remove_folder(f->folder);
    msx_space_free(f->space);
    msx_ctx_free(f->ctx);
}

/* A trial as a worker claims it, and its result. */
static msx__store_trial claimed(int64_t number, const double *x) {
    return (msx__store_trial){.number = number,
                              .state = MSX__STORE_RUNNING,
                              .origin = "sobol",
                              .x = x,
                              .history = {1, 2, 3, (uint64_t)number},
                              .plan = "plan",
                              .worker = "host:1:0",
                              .attempt = 1,
                              .lease = 1.7e9 + 60,
                              .started = 1.7e9};
}

static msx__store_trial result(int64_t number, const double *costs, const double *dice) {
    return (msx__store_trial){.number = number,
                              .state = costs ? MSX__STORE_DONE : MSX__STORE_FAILED,
                              .costs = costs,
                              .dice = dice,
                              .worker = "host:1:0",
                              .attempt = 1,
                              .mean_cost = 0.2,
                              .finished = 1.7e9 + 0.5,
                              .seconds = 0.5,
                              .images = 2,
                              .blocks_run = 24,
                              .error = costs ? NULL : "not finite"};
}

static void claim(fixture *f, msx__store *s, int64_t number) {
    double x[2] = {(double)(number % 2), number % 2 ? 0.25 : NAN};
    msx__store_trial t = claimed(number, x);
    bool mine;
    test_ok(f->ctx, msx__store_claim(s, &t, &mine));
    ck_assert(mine);
}

static void add(fixture *f, msx__store *s, int64_t number, bool failed) {
    const double costs[2] = {0.1, 0.3}, dice[3] = {0.9, NAN, 0.7};
    msx__store_trial t = result(number, failed ? NULL : costs, failed ? NULL : dice);
    bool mine;
    claim(f, s, number);
    test_ok(f->ctx, msx__store_finish(s, &t, &mine));
    ck_assert(mine);
}

typedef struct seen {
    int64_t n;
    int failed;
} seen;

static msx_status look(const msx__store_trial *t, void *payload) {
    seen *s = payload;
    ck_assert_int_eq(t->number, s->n);
    ck_assert_str_eq(t->origin, "sobol");
    ck_assert(t->x[0] == (double)(s->n % 2));
    ck_assert(s->n % 2 ? t->x[1] == 0.25 : isnan(t->x[1]));
    ck_assert(t->history[0] == 1 && t->history[3] == (uint64_t)s->n);
    ck_assert_str_eq(t->worker, "host:1:0");
    ck_assert_int_eq(t->attempt, 1);
    ck_assert_int_eq(t->state, t->costs ? MSX__STORE_DONE : MSX__STORE_FAILED);
    if (t->costs)
        ck_assert(t->costs[0] == 0.1 && t->costs[1] == 0.3);
    else
        s->failed++;
    s->n++;
    return MSX_OK;
}

START_TEST(trials_come_back_after_reopening) {
    fixture f;
    set_up(&f);
    msx__store *s;
    test_ok(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition));
    add(&f, s, 0, false);
    add(&f, s, 1, true);
    add(&f, s, 2, false);
    msx__store_close(s);
    f.meta[2].value = "200"; /* does not define the search */
    test_ok(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition));
    char *trials;
    test_ok(f.ctx, msx__store_read_meta(s, "trials", &trials));
    ck_assert_str_eq(trials, "30");
    msx_free(f.ctx, trials);
    test_ok(f.ctx, msx__store_read_meta(s, "nothing", &trials));
    ck_assert_ptr_null(trials);
    seen all = {0, 0};
    test_ok(f.ctx, msx__store_read_trials(s, 0, INT64_MAX, look, &all));
    ck_assert_int_eq(all.n, 3);
    ck_assert_int_eq(all.failed, 1);
    double dice[3];
    test_ok(f.ctx, msx__store_read_dice(s, 2, dice));
    ck_assert(dice[0] == 0.9 && isnan(dice[1]) && dice[2] == 0.7);
    test_fails(f.ctx, msx__store_read_dice(s, 1, dice), MSX_E_NOTFOUND, "trial 1 has no Dice");
    test_fails(f.ctx, msx__store_read_dice(s, 3, dice), MSX_E_NOTFOUND, "trial 3 has no Dice");
    msx__store_close(s);
    msx__store_close(NULL);
    tear_down(&f);
}
END_TEST

START_TEST(a_store_in_memory_needs_no_file) {
    fixture f;
    set_up(&f);
    msx__store *s;
    test_ok(f.ctx, msx__store_open(&s, f.ctx, "", &f.definition));
    add(&f, s, 0, false);
    seen all = {0, 0};
    test_ok(f.ctx, msx__store_read_trials(s, 0, INT64_MAX, look, &all));
    ck_assert_int_eq(all.n, 1);
    msx__store_close(s);
    tear_down(&f);
}
END_TEST

START_TEST(what_differs_is_named) {
    fixture f;
    set_up(&f);
    msx__store *s;
    test_ok(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition));
    msx__store_close(s);
    char identity[65], other[65];
    msx__definition_identity(&f.definition, identity);

    f.meta[1].value = "8";
    msx__definition_identity(&f.definition, other);
    ck_assert_str_ne(identity, other);
    test_fails(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition), MSX_E_STORE,
               "seed is '7' there and '8' here");
    f.meta[1].value = "7";

    msx__store_model changed[] = {models[0], {"human", "/elsewhere.pth", "cc"}};
    f.definition.models = changed;
    test_fails(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition), MSX_E_STORE,
               "model 1 is 'human with SHA-256 bb' there");
    changed[1].sha256 = "bb"; /* another path is the same search */
    test_ok(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition));
    msx__store_close(s);

    f.definition.n_tasks = 1;
    test_fails(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition), MSX_E_STORE,
               "task 1 is 'D/y' there and '(missing)' here");
    f.definition.n_tasks = 2;

    msx__store_group regrouped[] = {groups[0], {"prompt.0", "searched", 3}};
    f.definition.groups = regrouped;
    test_fails(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition), MSX_E_STORE, "group 1 is");
    f.definition.groups = groups;

    test_ok(f.ctx, msx_space_add_float(f.space, "neck/more", 0, 1, 0.5, false));
    test_fails(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition), MSX_E_STORE,
               "parameter 2 is '(missing)' there");
    ck_assert_ptr_null(s);
    tear_down(&f);
}
END_TEST

static msx_status count_trial(const msx__store_trial *t, void *payload) {
    ck_assert_int_eq(t->number, (*(int64_t *)payload)++);
    return MSX_OK;
}

/* The stores that several may share: a file, and a database where tests/search/test_postgres.sh has started
 * one; each study is used once. */
static const char *shared_store(const fixture *f, int which, const char *study) {
    static char url[256];
    const char *server = getenv("MEDSAMIX_TEST_POSTGRES");
    if (which == 0) return f->path;
    if (!server) return NULL;
    snprintf(url, sizeof url, "%s#%s", server, study);
    return url;
}

static int64_t finished_trials(fixture *f, msx__store *s, int64_t *all);

START_TEST(a_trial_is_one_workers) {
    fixture f;
    set_up(&f);
    const char *where = shared_store(&f, _i, "leases");
    if (!where) {
        tear_down(&f);
        return;
    }
    msx__store *a, *b;
    bool mine;
    const double x[2] = {0, NAN}, costs[2] = {0.1, 0.3}, dice[3] = {0.9, NAN, 0.7};
    test_ok(f.ctx, msx__store_open(&a, f.ctx, where, &f.definition));
    test_ok(f.ctx, msx__store_open(&b, f.ctx, where, &f.definition));
    ck_assert(msx__store_is_shared(a));

    msx__store_trial t = claimed(0, x), other = t;
    other.worker = "host:2:0";
    test_ok(f.ctx, msx__store_claim(a, &t, &mine));
    ck_assert(mine);
    test_ok(f.ctx, msx__store_claim(b, &other, &mine));
    ck_assert(!mine);

    /* only its worker renews it */
    test_ok(f.ctx, msx__store_renew(b, 0, "host:2:0", 1, 1.7e9 + 80, &mine));
    ck_assert(!mine);
    test_ok(f.ctx, msx__store_renew(a, 0, "host:1:0", 1, 1.7e9 + 90, &mine));
    ck_assert(mine);

    /* who saw an older lease does not get it, who saw this one does */
    other.attempt = 2;
    test_ok(f.ctx, msx__store_take(b, &other, 1, 1.7e9 + 60, &mine));
    ck_assert(!mine);
    test_ok(f.ctx, msx__store_take(b, &other, 1, 1.7e9 + 90, &mine));
    ck_assert(mine);
    test_ok(f.ctx, msx__store_renew(a, 0, "host:1:0", 1, 1.7e9 + 99, &mine));
    ck_assert(!mine);

    /* the first worker's result comes too late, the second's counts once */
    msx__store_trial r = result(0, costs, dice);
    test_ok(f.ctx, msx__store_finish(a, &r, &mine));
    ck_assert(!mine);
    r.worker = "host:2:0";
    r.attempt = 2;
    test_ok(f.ctx, msx__store_finish(b, &r, &mine));
    ck_assert(mine);
    test_ok(f.ctx, msx__store_finish(b, &r, &mine));
    ck_assert(!mine);
    test_ok(f.ctx, msx__store_take(a, &t, 2, 1.7e9 + 60, &mine));
    ck_assert(!mine);
    int64_t all = 0;
    ck_assert_int_eq(finished_trials(&f, a, &all), 1);
    ck_assert_int_eq(all, 1);
    double read[3];
    test_ok(f.ctx, msx__store_read_dice(a, 0, read));
    ck_assert(read[0] == 0.9 && isnan(read[1]) && read[2] == 0.7);
    msx__store_close(a);
    msx__store_close(b);
    tear_down(&f);
}
END_TEST

static msx_status count_finished(const msx__store_trial *t, void *payload) {
    int64_t *n = payload;
    n[0]++;
    n[1] += t->state != MSX__STORE_RUNNING;
    if (t->costs) ck_assert(t->costs[0] == 0.1 && t->costs[1] == 0.3);
    return MSX_OK;
}

static int64_t finished_trials(fixture *f, msx__store *s, int64_t *all) {
    int64_t n[2] = {0, 0};
    test_ok(f->ctx, msx__store_read_trials(s, 0, INT64_MAX, count_finished, n));
    *all = n[0];
    return n[1];
}

/* Four processes claim and finish as fast as they can; every number is claimed once. */
START_TEST(processes_do_not_claim_the_same) {
    enum { PROCESSES = 4, TRIALS = 40 };
    fixture f;
    set_up(&f);
    const char *where = shared_store(&f, _i, "claims");
    pid_t children[PROCESSES];
    for (int p = 0; where && p < PROCESSES; p++) {
        children[p] = fork();
        ck_assert_int_ge(children[p], 0);
        if (children[p]) continue;
        msx_ctx *ctx = NULL;
        msx__store *s;
        char name[32];
        const double x[2] = {0, NAN}, costs[2] = {0.1, 0.3};
        snprintf(name, sizeof name, "host:%d:0", p);
        if (msx_ctx_create(&ctx, NULL) < 0) _exit(2);
        if (msx__store_open(&s, ctx, where, &f.definition) < 0) _exit(3);
        for (int64_t n = 0; n < TRIALS; n++) {
            bool mine;
            msx__store_trial t = claimed(n, x), r = result(n, costs, NULL);
            t.worker = r.worker = name;
            if (msx__store_claim(s, &t, &mine) < 0) _exit(4);
            if (mine && (msx__store_finish(s, &r, &mine) < 0 || !mine)) _exit(5);
        }
        msx__store_close(s);
        _exit(0);
    }
    for (int p = 0; where && p < PROCESSES; p++) {
        int state;
        ck_assert_int_eq(waitpid(children[p], &state, 0), children[p]);
        ck_assert_msg(WIFEXITED(state) && WEXITSTATUS(state) == 0, "process %d: %d", p,
                      WEXITSTATUS(state));
    }
    if (where) {
        msx__store *s;
        int64_t all;
        test_ok(f.ctx, msx__store_open(&s, f.ctx, where, &f.definition));
        ck_assert_int_eq(finished_trials(&f, s, &all), TRIALS);
        ck_assert_int_eq(all, TRIALS);
        msx__store_close(s);
    }
    tear_down(&f);
}
END_TEST

/* What the content of a database is compared with, and results, on the server too. */
START_TEST(a_database_is_distrusted_as_a_file_is) {
    fixture f;
    set_up(&f);
    const char *where = shared_store(&f, 1, "distrust");
    msx__store *s;
    if (!where) {
        tear_down(&f);
        return;
    }
    test_ok(f.ctx, msx__store_open(&s, f.ctx, where, &f.definition));
    add(&f, s, 0, false);
    add(&f, s, 1, true);
    msx__store_result r = {.kind = "input", .name = "base", .task = 0, .summary = {.mean = NAN}};
    for (int i = 0; i < 2; i++) { /* the second replaces the first */
        test_ok(f.ctx, msx__store_begin_results(s, MSX_SPLIT_TEST));
        test_ok(f.ctx, msx__store_add_result(s, MSX_SPLIT_TEST, &r));
        test_ok(f.ctx,
                msx__store_add_picture(s, MSX_SPLIT_TEST, "t", "c", (const uint8_t *)"x", 1));
        test_ok(f.ctx, msx__store_commit(s));
    }
    f.meta[1].value = "8";
    msx__store *second;
    test_fails(f.ctx, msx__store_open(&second, f.ctx, where, &f.definition), MSX_E_STORE,
               "seed is '7' there and '8' here");
    f.meta[1].value = "7";
    static const struct {
        const char *sql, *text;
    } edits[] = {
        {"UPDATE costs SET cost = 7.5", "costs of trial 0"},
        {"UPDATE costs SET cost = 0.1; UPDATE trials SET x = '' WHERE number = 1",
         "configuration of trial 1"},
        {"UPDATE trials SET x = (SELECT x FROM trials WHERE number = 0) WHERE number = 1;"
         " UPDATE meta SET value = '3' WHERE key = 'schema'; ALTER TABLE trials ADD more TEXT",
         "is of a newer version: schema 3 there and 2 here"},
        {"ALTER TABLE trials DROP more; UPDATE meta SET value = '2' WHERE key = 'schema';"
         " CREATE VIEW v AS SELECT 1",
         "not a store of a search"},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char command[1024];
        snprintf(command, sizeof command,
                 "psql -q -v ON_ERROR_STOP=1 '%s' -c 'SET search_path TO distrust' -c \"%s\"",
                 getenv("MEDSAMIX_TEST_POSTGRES"), edits[i].sql);
        ck_assert_int_eq(system(command), 0);
        msx_status status = msx__store_open(&second, f.ctx, where, &f.definition);
        int64_t n = 0;
        if (status >= 0) {
            status = msx__store_read_trials(second, 0, INT64_MAX, count_trial, &n);
            msx__store_close(second);
        }
        test_fails(f.ctx, status, MSX_E_STORE, edits[i].text);
    }
    msx__store_close(s);
    /* nothing there, and a password that is not told */
    test_fails(f.ctx,
               msx__store_open(&s, f.ctx,
                               "postgresql://me:secret@127.0.0.1:1/none?connect_timeout=1",
                               &f.definition),
               MSX_E_IO, "postgresql://me@127.0.0.1:1/none#medsamix: the connection failed");
    ck_assert_ptr_null(strstr(msx_ctx_error(f.ctx), "secret"));
    test_fails(f.ctx, msx__store_open(&s, f.ctx, "postgresql://h/d#No-Study", &f.definition),
               MSX_E_ARG, "lower-case");
    tear_down(&f);
}
END_TEST

START_TEST(a_reader_may_look_while_it_is_written) {
    fixture f;
    set_up(&f);
    msx__store *s;
    test_ok(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition));
    add(&f, s, 0, false);
    test_ok(f.ctx, msx__store_begin_results(s, MSX_SPLIT_TEST));
    sqlite3 *reader;
    ck_assert_int_eq(sqlite3_open_v2(f.path, &reader, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(reader, "SELECT * FROM trials", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(reader);
    test_ok(f.ctx, msx__store_commit(s));
    msx__store_close(s);
    tear_down(&f);
}
END_TEST

START_TEST(a_locked_store_is_told_and_left_whole) {
    fixture f;
    set_up(&f);
    msx__store *s;
    bool mine;
    test_ok(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition));
    msx__store_set_patience(s, 0.1);
    claim(&f, s, 0);
    sqlite3 *other;
    ck_assert_int_eq(sqlite3_open(f.path, &other), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    const double costs[2] = {0.1, 0.3};
    msx__store_trial r = result(0, costs, NULL);
    test_fails(f.ctx, msx__store_finish(s, &r, &mine), MSX_E_STORE,
               "store.db: is locked by another program");
    ck_assert(!mine);
    int64_t all;
    test_fails(f.ctx, msx__store_read_trials(s, 0, INT64_MAX, count_finished, &all), MSX_E_STORE,
               "is locked");
    ck_assert_int_eq(sqlite3_exec(other, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    test_ok(f.ctx, msx__store_finish(s, &r, &mine));
    ck_assert(mine);
    ck_assert_int_eq(finished_trials(&f, s, &all), 1);
    msx__store_close(s);
    tear_down(&f);
}
END_TEST

/* A limit on the size of files stands for a disk that fills up. */
START_TEST(a_full_disk_is_told_and_what_was_stored_is_kept) {
    fixture f;
    set_up(&f);
    msx__store *s;
    test_ok(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition));
    msx__store_close(s);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct stat st;
        if (stat(f.path, &st) != 0) _exit(1);
        struct rlimit limit = {(rlim_t)st.st_size + 20000, (rlim_t)st.st_size + 20000};
        signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(2);
        if (msx__store_open(&s, f.ctx, f.path, &f.definition) < 0) _exit(3);
        char plan[4001];
        memset(plan, 'x', 4000);
        plan[4000] = 0;
        for (int64_t n = 0; n < 100; n++) {
            const double x[2] = {0, NAN}, costs[2] = {0.1, 0.3};
            bool mine;
            msx__store_trial t = claimed(n, x), r = result(n, costs, NULL);
            t.plan = plan;
            msx_status status = msx__store_claim(s, &t, &mine);
            if (status >= 0) status = msx__store_finish(s, &r, &mine);
            if (status >= 0) continue;
            if (status != MSX_E_IO || !strstr(msx_ctx_error(f.ctx), "store.db: cannot be"))
                _exit(5);
            int64_t seen_trials[2] = {0, 0}; /* the connection is in order */
            if (msx__store_read_trials(s, 0, INT64_MAX, count_finished, seen_trials) < 0) _exit(4);
            msx__store_close(s);
            _exit(n > 1 && seen_trials[1] == n ? 0 : 6);
        }
        _exit(7);
    }
    int state;
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    ck_assert_int_eq(WIFEXITED(state) ? WEXITSTATUS(state) : 100, 0);
    int64_t all;
    test_ok(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition));
    int64_t finished = finished_trials(&f, s, &all);
    ck_assert_int_ge(finished, 2);
    ck_assert_int_le(all - finished, 1);
    if (all == finished) claim(&f, s, all); /* there is room again */
    msx__store_close(s);
    tear_down(&f);
}
END_TEST

START_TEST(a_killed_transaction_leaves_nothing) {
    fixture f;
    set_up(&f);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) { /* die in the middle of writing results */
        msx__store *s;
        if (msx__store_open(&s, f.ctx, f.path, &f.definition) < 0) _exit(1);
        add(&f, s, 0, false);
        msx__store_result r = {.kind = "input", .name = "base", .task = 0};
        if (msx__store_begin_results(s, MSX_SPLIT_TEST) < 0) _exit(1);
        if (msx__store_add_result(s, MSX_SPLIT_TEST, &r) < 0) _exit(1);
        kill(getpid(), SIGKILL);
    }
    int state;
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    ck_assert(WIFSIGNALED(state));
    msx__store *s;
    test_ok(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition));
    seen all = {0, 0};
    test_ok(f.ctx, msx__store_read_trials(s, 0, INT64_MAX, look, &all));
    ck_assert_int_eq(all.n, 1);
    msx__store_result r = {.kind = "input", .name = "base", .task = 0};
    test_ok(f.ctx, msx__store_begin_results(s, MSX_SPLIT_TEST));
    test_ok(f.ctx, msx__store_add_result(s, MSX_SPLIT_TEST, &r)); /* its key is free */
    test_ok(f.ctx, msx__store_add_picture(s, MSX_SPLIT_TEST, "t", "c", (const uint8_t *)"x", 1));
    test_ok(f.ctx, msx__store_commit(s));
    msx__store_close(s);
    tear_down(&f);
}
END_TEST

static const struct {
    const char *sql; /* done to a good store with three trials */
    const char *text;
} damages[] = {
    {"DELETE FROM trials WHERE number = 1", "trial 1 is missing"},
    {"UPDATE trials SET x = x'00' WHERE number = 2", "configuration of trial 2"},
    {"UPDATE trials SET x = 'text' WHERE number = 2", "configuration of trial 2"},
    {"UPDATE trials SET history = NULL WHERE number = 0", "history of trial 0"},
    {"UPDATE trials SET worker = NULL WHERE number = 0", "worker or attempt of trial 0"},
    {"UPDATE trials SET attempt = 0 WHERE number = 0", "worker or attempt of trial 0"},
    {"UPDATE trials SET state = 'running' WHERE number = 2", "lease of trial 2"},
    {"UPDATE trials SET lease = 1.8e9 WHERE number = 2", "lease of trial 2"},
    {"UPDATE trials SET dice = x'00' WHERE number = 0", "Dice of trial 0"},
    {"UPDATE trials SET dice = 'text' WHERE number = 0", "Dice of trial 0"},
    {"UPDATE trials SET dice = (SELECT x'0000000000000040' || zeroblob(16)) WHERE number = 0",
     "Dice of trial 0"},
    {"UPDATE trials SET state = 'odd' WHERE number = 0", "state of trial 0"},
    {"UPDATE trials SET origin = NULL WHERE number = 0", "origin or state of trial 0"},
    {"UPDATE costs SET cost = 7.5", "costs of trial 0"},
    {"UPDATE costs SET cost = 'x'", "costs of trial 0"},
    {"UPDATE costs SET cost = NULL", "costs of trial 0"},
    {"DELETE FROM costs WHERE trial = 2 AND task = 1", "trial 2 has 1 costs instead of 2"},
    {"DELETE FROM costs WHERE trial = 2 AND task = 0", "costs of trial 2"},
    {"INSERT INTO costs VALUES(2, 2, 0.5)", "costs of trial 2"},
    {"UPDATE meta SET value = 'f' WHERE key = 'identity'", "identity is 'f' there"},
    {"DELETE FROM meta WHERE key = 'seed'", "seed is '(missing)' there"},
    {"CREATE VIEW v AS SELECT 1", "not a store of a search"},
    {"CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END",
     "not a store of a search"},
    {"ALTER TABLE trials ADD COLUMN more", "not a store of a search"},
    {"DROP TABLE pictures", "not a store of a search"},
};

START_TEST(damage_is_found) {
    fixture f;
    set_up(&f);
    msx__store *s;
    test_ok(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition));
    for (int i = 0; i < 3; i++) add(&f, s, i, false);
    msx__store_close(s);
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(f.path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, damages[_i].sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    msx_status status = msx__store_open(&s, f.ctx, f.path, &f.definition);
    seen all = {0, 0};
    if (status >= 0) status = msx__store_read_trials(s, 0, INT64_MAX, look, &all);
    double dice[3];
    if (status >= 0) status = msx__store_read_dice(s, 0, dice);
    test_fails(f.ctx, status, MSX_E_STORE, damages[_i].text);
    ck_assert_ptr_nonnull(strstr(msx_ctx_error(f.ctx), "store.db"));
    msx__store_close(s);
    tear_down(&f);
}
END_TEST

/* The stores of tests/fuzz/corpus/store, made by another SQLite client. */
static const struct {
    const char *file, *text; /* NULL: accepted, with three trials or none */
} corpus[] = {
    {"ok_three_trials.db", NULL},
    {"ok_empty.db", NULL},
    {"bad_trial_missing.db", "trial 1 is missing"},
    {"bad_x_short.db", "configuration of trial 2"},
    {"bad_x_text.db", "configuration of trial 2"},
    {"ok_running.db", NULL},
    {"ok_raced.db", NULL},
    {"bad_history.db", "history of trial 0"},
    {"bad_worker.db", "worker or attempt of trial 0"},
    {"bad_attempt.db", "worker or attempt of trial 0"},
    {"bad_lease_missing.db", "lease of trial 2"},
    {"bad_lease_left.db", "lease of trial 2"},
    {"bad_older.db", "is of an older version: schema 1 there and 2 here"},
    {"bad_newer.db", "is of a newer version: schema 3 there and 2 here"},
    {"bad_state.db", "state of trial 0"},
    {"bad_origin.db", "origin or state of trial 0"},
    {"bad_cost_large.db", "costs of trial 0"},
    {"bad_cost_missing.db", "trial 2 has 0 costs instead of 2"},
    {"bad_cost_of_failed.db", "costs of trial 1"},
    {"bad_identity.db", "identity is 'f' there"},
    {"bad_seed.db", "seed is '8' there and '7' here"},
    {"bad_model.db", "model 1 is 'human with SHA-256 cc' there"},
    {"bad_task.db", "task 1 is '(missing)' there"},
    {"bad_group.db", "group 0 is 'neck, 10 elements, equal' there"},
    {"bad_parameter.db", "parameter 1 is '(missing)' there"},
    {"bad_view.db", "not a store of a search"},
    {"bad_column.db", "not a store of a search"},
    {"bad_table_missing.db", "not a store of a search"},
    {"bad_text.db", "not SQLite"},
    {"bad_truncated.db", "bad_truncated.db"}, /* SQLite's own words */
    {"bad_page.db", "bad_page.db"},
};

START_TEST(stores_of_the_corpus_are_told_apart) {
    fixture f;
    set_up(&f);
    char path[160], command[400];
    snprintf(path, sizeof path, "%s/%s", f.folder, corpus[_i].file);
    snprintf(command, sizeof command, "cp tests/fuzz/corpus/store/%s '%s'", corpus[_i].file, path);
    ck_assert_int_eq(system(command), 0);
    f.definition.n_meta = 2;
    f.definition.n_groups = 1;
    f.definition.n_items = 2;
    msx__store *s;
    int64_t n = 0;
    msx_status status = msx__store_open(&s, f.ctx, path, &f.definition);
    if (status >= 0) status = msx__store_read_trials(s, 0, INT64_MAX, count_trial, &n);
    if (corpus[_i].text)
        test_fails(f.ctx, status, MSX_E_STORE, corpus[_i].text);
    else {
        test_ok(f.ctx, status);
        ck_assert_int_eq(n, strstr(path, "empty") ? 0 : 3);
    }
    msx__store_close(s);
    tear_down(&f);
}
END_TEST

static void write_bytes(const char *path, const char *text, long at) {
    FILE *file = fopen(path, at ? "r+b" : "wb");
    ck_assert_ptr_nonnull(file);
    fseek(file, at, SEEK_SET);
    fputs(text, file);
    fclose(file);
}

START_TEST(other_files_are_refused_and_left_alone) {
    fixture f;
    set_up(&f);
    msx__store *s;
    write_bytes(f.path, "this is a text file and no database at all, however long it may be", 0);
    test_fails(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition), MSX_E_STORE, "not SQLite");
    char text[16] = {0};
    FILE *file = fopen(f.path, "rb");
    ck_assert_int_eq(fread(text, 1, 12, file), 12);
    fclose(file);
    ck_assert_str_eq(text, "this is a te");
    test_fails(f.ctx, msx__store_open(&s, f.ctx, f.folder, &f.definition), MSX_E_IO, f.folder);
    test_fails(f.ctx, msx__store_open(&s, f.ctx, "/nonexistent/a.db", &f.definition), MSX_E_IO,
               "/nonexistent/a.db");
    test_fails(f.ctx, msx__store_open(&s, f.ctx, "mysql://host/db", &f.definition),
               MSX_E_UNSUPPORTED, "'mysql://' is not known");
    tear_down(&f);
}
END_TEST

START_TEST(overwritten_pages_are_found) {
    fixture f;
    set_up(&f);
    msx__store *s;
    test_ok(f.ctx, msx__store_open(&s, f.ctx, f.path, &f.definition));
    for (int i = 0; i < 3; i++) add(&f, s, i, false);
    msx__store_close(s);
    struct stat st;
    ck_assert_int_eq(stat(f.path, &st), 0);
    int refused = 0;
    for (long page = 1; page < st.st_size / 4096; page++) {
        char backup[256], command[600];
        snprintf(backup, sizeof backup, "%s.%ld", f.path, page);
        snprintf(command, sizeof command, "cp '%s' '%s'", f.path, backup);
        ck_assert_int_eq(system(command), 0);
        write_bytes(backup, "garbage over the page's header", 4096 * page);
        msx_status status = msx__store_open(&s, f.ctx, backup, &f.definition);
        if (status < 0) {
            ck_assert_int_eq(status, MSX_E_STORE);
            refused++;
        } else
            msx__store_close(s);
    }
    ck_assert_int_ge(refused, 5);
    tear_down(&f);
}
END_TEST

START_TEST(running_out_of_memory_is_returned) {
    fixture f;
    set_up(&f);
    for (int64_t n = 0;; n++) {
        test_allocator memory;
        test_allocator_init(&memory, n, false);
        msx_ctx *ctx;
        if (msx_ctx_create(&ctx, &memory.table) < 0) continue;
        msx__store *s;
        msx_status status = msx__store_open(&s, ctx, "", &f.definition);
        seen all = {0, 0};
        if (status >= 0) status = msx__store_read_trials(s, 0, INT64_MAX, look, &all);
        msx__store_close(s);
        msx_ctx_free(ctx);
        ck_assert_int_eq(memory.live, 0);
        if (status >= 0) break;
        ck_assert_int_eq(status, MSX_E_NOMEM);
        ck_assert_int_lt(n, 10000);
    }
    tear_down(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("store");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, trials_come_back_after_reopening);
    tcase_add_test(t, a_store_in_memory_needs_no_file);
    tcase_add_test(t, what_differs_is_named);
    tcase_add_loop_test(t, a_trial_is_one_workers, 0, 2);
    tcase_add_loop_test(t, processes_do_not_claim_the_same, 0, 2);
    tcase_add_test(t, a_database_is_distrusted_as_a_file_is);
    tcase_add_test(t, a_reader_may_look_while_it_is_written);
    tcase_add_test(t, a_locked_store_is_told_and_left_whole);
    tcase_add_test(t, a_full_disk_is_told_and_what_was_stored_is_kept);
    tcase_add_test(t, a_killed_transaction_leaves_nothing);
    tcase_add_loop_test(t, damage_is_found, 0, sizeof damages / sizeof *damages);
    tcase_add_loop_test(t, stores_of_the_corpus_are_told_apart, 0, sizeof corpus / sizeof *corpus);
    tcase_add_test(t, other_files_are_refused_and_left_alone);
    tcase_add_test(t, overwritten_pages_are_found);
    tcase_add_test(t, running_out_of_memory_is_returned);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
