/* SPDX-License-Identifier: Apache-2.0 */
/* Asking and telling: a search whose trials the caller evaluates, alone and beside others. */
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct fixture {
    msx_ctx *ctx;
    char folder[64], store[128];
    msx_device *device;
} fixture;

static void set_up(fixture *f) {
    f->ctx = test_ctx();
    strcpy(f->folder, test_make_folder());
    snprintf(f->store, sizeof f->store, "%s/store.db", f->folder);
    test_ok(f->ctx, msx_device_open(&f->device, f->ctx, "cpu"));
}

static void tear_down(fixture *f) {
    msx_device_free(f->device);
    test_remove_folder(f->folder);
    msx_ctx_free(f->ctx);
}

static msx_status make(msx_search **s, msx_device *device, const char *store, const char *order,
                       int tasks) {
    static const char *const models[][2] = {{"base", "golden/merge/base.safetensors"},
                                            {"one", "golden/merge/finetuned0.safetensors"},
                                            {"two", "golden/merge/finetuned1.safetensors"}};
    msx_status status = msx_search_create(s, device);
    for (int i = 0; status >= 0 && i < 3; i++)
        status = msx_search_add_model(*s, models[i][0], test_path(models[i][1]));
    for (int i = 0; status >= 0 && i < tasks; i++)
        status = msx_search_add_outside_task(*s, i ? "kidney" : "liver");
    if (status >= 0) status = msx_search_set(*s, "store", store);
    if (status >= 0) status = msx_search_set(*s, "optimizer", "random");
    if (status >= 0) status = msx_search_set(*s, "order", order);
    if (status >= 0) status = msx_search_set(*s, "trials", "12");
    return status;
}

static msx_search *begin(fixture *f, const char *store, const char *order, int tasks) {
    msx_search *s;
    test_ok(f->ctx, make(&s, f->device, store, order, tasks));
    return s;
}

static msx_search *open_store(fixture *f) {
    msx_search *s;
    test_ok(f->ctx, msx_search_open(&s, f->device, f->store));
    return s;
}

static int64_t ask(fixture *f, msx_search *s) {
    int64_t trial;
    msx_status status = msx_search_ask(s, &trial);
    test_ok(f->ctx, status);
    ck_assert_int_eq(status, MSX_OK);
    return trial;
}

/* Any function of the plan will do for a cost. */
static double cost_of(fixture *f, const msx_search *s, int64_t trial) {
    msx_plan *plan;
    test_ok(f->ctx, msx_search_trial_plan(&plan, s, trial));
    uint32_t h = 2166136261u;
    for (const char *c = msx_plan_text(plan); *c; c++) h = (h ^ (unsigned char)*c) * 16777619u;
    msx_plan_free(plan);
    return h / 4294967296.0;
}

START_TEST(what_is_asked_and_told_is_the_search) {
    fixture f;
    set_up(&f);
    msx_search *s = begin(&f, f.store, "batch", 2);
    double lowest = INFINITY;
    int64_t best = -1, trial;
    for (int i = 0; i < 12; i++) {
        ck_assert_int_eq(ask(&f, s), i);
        ck_assert_int_eq(msx_search_trial_state(s, i), MSX_TRIAL_RUNNING);
        double cost = cost_of(&f, s, i), costs[] = {cost, cost / 2};
        if (i == 5)
            test_ok(f.ctx, msx_search_tell(s, i, NULL, "no memory"));
        else
            test_ok(f.ctx, msx_search_tell(s, i, costs, NULL));
        if (i != 5 && cost < lowest) {
            lowest = cost;
            best = i;
        }
    }
    ck_assert_int_eq(msx_search_ask(s, &trial), MSX_DONE_TRIALS);
    ck_assert_int_eq(trial, -1);
    ck_assert_int_eq(msx_search_best(s), best);
    ck_assert_int_eq(msx_search_trial_state(s, 5), MSX_TRIAL_FAILED);
    msx_search_free(s);

    /* from the store alone, and it goes on */
    s = open_store(&f);
    ck_assert_int_eq(msx_search_trials(s), 12);
    ck_assert_int_eq(msx_search_best(s), best);
    ck_assert_str_eq(msx_search_task(s, 1), "kidney");
    ck_assert(msx_search_trial_costs(s, best)[1] == lowest / 2);
    ck_assert_int_eq(msx_search_ask(s, &trial), MSX_DONE_TRIALS);
    test_ok(f.ctx, msx_search_set(s, "trials", "13"));
    ck_assert_int_eq(ask(&f, s), 12);
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

/* The trials of one who never stops are those of one who opens the store anew for each of them. */
START_TEST(interruptions_change_nothing) {
    fixture f;
    set_up(&f);
    msx_search *whole = begin(&f, "", "batch", 1);
    msx_search_free(begin(&f, f.store, "batch", 1)); /* nothing is written before the first ask */
    for (int i = 0; i < 12; i++) {
        ck_assert_int_eq(ask(&f, whole), i);
        double cost = cost_of(&f, whole, i);
        test_ok(f.ctx, msx_search_tell(whole, i, &cost, NULL));
        msx_search *s = i ? open_store(&f) : begin(&f, f.store, "batch", 1);
        ck_assert_int_eq(ask(&f, s), i);
        ck_assert(cost_of(&f, s, i) == cost);
        msx_search_free(s);
        s = open_store(&f);
        test_ok(f.ctx, msx_search_tell(s, i, &cost, NULL));
        msx_search_free(s);
    }
    msx_search_free(whole);
    tear_down(&f);
}
END_TEST

START_TEST(two_askers_get_different_trials) {
    fixture f;
    set_up(&f);
    bool batch = _i == 1;
    msx_search *a = begin(&f, f.store, batch ? "batch" : "free", 1);
    int64_t first = ask(&f, a), second;
    msx_search *b = open_store(&f);
    msx_status status = msx_search_ask(b, &second);
    if (batch) { /* one at a time: the second proposal must see the first result */
        ck_assert_int_eq(status, MSX_DONE_WAIT);
        ck_assert_int_eq(second, -1);
    } else {
        ck_assert_int_eq(status, MSX_OK);
        ck_assert_int_ne(first, second);
        double cost = 0.5;
        test_ok(f.ctx, msx_search_tell(a, second, &cost, NULL)); /* whoever knows it may tell */
        test_fails(f.ctx, msx_search_tell(b, second, &cost, NULL), MSX_E_ARG, "told already");
        ck_assert_int_eq(ask(&f, a), 2);
    }
    msx_search_free(a);
    msx_search_free(b);
    tear_down(&f);
}
END_TEST

START_TEST(a_trial_that_is_not_told_goes_to_another) {
    fixture f;
    set_up(&f);
    msx_search *a = begin(&f, f.store, "free", 1), *b;
    test_ok(f.ctx, msx_search_set(a, "lease", "1"));
    ck_assert_int_eq(ask(&f, a), 0);
    b = open_store(&f);
    ck_assert_int_eq(ask(&f, b), 1); /* the lease of 0 is not over */
    usleep(1200000);
    ck_assert_int_eq(ask(&f, b), 0);
    double cost = 0.25;
    test_ok(f.ctx, msx_search_tell(a, 0, &cost, NULL)); /* late, and as good */
    test_fails(f.ctx, msx_search_tell(b, 0, &cost, NULL), MSX_E_ARG, "told already");
    ck_assert(msx_search_trial_costs(b, 0)[0] == 0.25);
    msx_search_free(a);
    msx_search_free(b);
    tear_down(&f);
}
END_TEST

START_TEST(mistakes_are_told_and_change_nothing) {
    fixture f;
    set_up(&f);
    msx_search *s = begin(&f, f.store, "free", 2), *other;
    int64_t trial = ask(&f, s);
    double good[] = {0.5, 0.5}, nan[] = {0.5, NAN}, large[] = {1.5, 0};
    test_fails(f.ctx, msx_search_tell(s, trial, nan, NULL), MSX_E_ARG, "'kidney'");
    test_fails(f.ctx, msx_search_tell(s, trial, large, NULL), MSX_E_ARG, "from 0 to 1");
    test_fails(f.ctx, msx_search_tell(s, 7, good, NULL), MSX_E_ARG, "not been asked");
    test_fails(f.ctx, msx_search_tell(s, -1, good, NULL), MSX_E_ARG, "not been asked");
    test_fails(f.ctx, msx_search_run(s), MSX_E_ARG, "no images");
    test_fails(f.ctx, msx_search_finish(s, MSX_SPLIT_TEST), MSX_E_ARG, "no images");
    test_fails(f.ctx, msx_search_add_outside_task(s, "x"), MSX_E_ARG, "has begun");
    test_fails(f.ctx, msx_search_ask(s, NULL), MSX_E_ARG, "no place");
    test_ok(f.ctx, msx_search_tell(s, trial, good, NULL));
    msx_search_free(s);

    test_fails(f.ctx, msx_search_open(&other, f.device, ""), MSX_E_ARG, "no store");
    test_fails(f.ctx, msx_search_open(&other, f.device, "/nonexistent/x.db"), MSX_E_IO,
               "cannot be opened");
    test_fails(f.ctx, msx_search_open(&other, f.device, test_path("golden/merge/base.safetensors")),
               MSX_E_STORE, "not a store");
    ck_assert_ptr_null(other);
    test_ok(f.ctx, msx_search_create(&s, f.device));
    test_fails(f.ctx, msx_search_add_outside_task(s, "a=b"), MSX_E_ARG, "control characters");
    test_fails(f.ctx, msx_search_add_outside_task(s, ""), MSX_E_ARG, "1 to 200");
    test_ok(f.ctx, msx_search_add_outside_task(s, "a"));
    test_fails(f.ctx, msx_search_add_outside_task(s, "a"), MSX_E_EXISTS, "there already");
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

/* The merge of a store that was opened alone is that of the search; a changed model is noticed. */
START_TEST(a_merge_is_written_from_the_store_alone) {
    fixture f;
    set_up(&f);
    char there[160], here[160];
    snprintf(there, sizeof there, "%s/a.pth", f.folder);
    snprintf(here, sizeof here, "%s/b.pth", f.folder);
    msx_search *s = begin(&f, f.store, "free", 1);
    for (int i = 0; i < 5; i++) ask(&f, s);
    test_ok(f.ctx, msx_search_write(s, 4, there, NULL));
    msx_search_free(s);
    s = open_store(&f);
    test_ok(f.ctx, msx_search_write(s, 4, here, NULL));
    msx_search_free(s);
    char command[400];
    snprintf(command, sizeof command, "cmp -s %s %s", there, here);
    ck_assert_int_eq(system(command), 0);

    snprintf(command, sizeof command,
             "python3 -c \"import sqlite3; d = sqlite3.connect('%s');"
             "d.execute(\\\"UPDATE models SET sha256 = '0000' WHERE idx = 1\\\"); d.commit()\"",
             f.store);
    if (system(command) == 0) {
        s = open_store(&f);
        test_fails(f.ctx, msx_search_write(s, 4, here, NULL), MSX_E_STORE,
                   "is not what 'one' was when the search began");
        msx_search_free(s);
    }
    tear_down(&f);
}
END_TEST

START_TEST(running_out_of_memory_is_returned) {
    fixture f;
    set_up(&f);
    msx_search *s = begin(&f, f.store, "free", 1);
    for (int i = 0; i < 2; i++) ask(&f, s);
    msx_search_free(s);
    for (int64_t n = 0;; n++) {
        test_allocator memory;
        test_allocator_init(&memory, n, true);
        msx_ctx *ctx = NULL;
        msx_device *device = NULL;
        double cost = 0.5;
        int64_t trial = -1;
        s = NULL;
        msx_status status = msx_ctx_create(&ctx, &memory.table);
        if (status >= 0) status = msx_device_open(&device, ctx, "cpu");
        if (status >= 0) status = msx_search_open(&s, device, f.store);
        if (status >= 0) status = msx_search_ask(s, &trial);
        if (status >= 0) status = msx_search_tell(s, trial, &cost, NULL);
        msx_search_free(s);
        msx_device_free(device);
        msx_ctx_free(ctx);
        ck_assert_msg(memory.live == 0, "%d blocks left at allocation %d", (int)memory.live,
                      (int)n);
        if (status >= 0) break;
        ck_assert_msg(status == MSX_E_NOMEM, "allocation %d: %s", (int)n, msx_status_name(status));
        ck_assert_int_lt(n, 100000);
    }
    tear_down(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("ask");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, what_is_asked_and_told_is_the_search);
    tcase_add_test(t, interruptions_change_nothing);
    tcase_add_loop_test(t, two_askers_get_different_trials, 0, 2);
    tcase_add_test(t, a_trial_that_is_not_told_goes_to_another);
    tcase_add_test(t, mistakes_are_told_and_change_nothing);
    tcase_add_test(t, a_merge_is_written_from_the_store_alone);
    tcase_add_test(t, running_out_of_memory_is_returned);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
