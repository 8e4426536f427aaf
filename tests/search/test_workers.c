/* SPDX-License-Identifier: Apache-2.0 */
/* Several workers: the same trials for any number of them, shared stores, leases. */
#include "search/searching.h"

#include <medsamix/sys/merge_method.h>
#include <pthread.h>
#include <unistd.h>

static msx_search *search_by(fixture *f, const char *store, const char *optimizer,
                             const char *workers) {
    msx_search *s = new_search(f, store, "20");
    set(f, s, "optimizer", optimizer);
    set(f, s, "batch", "4");
    set(f, s, "workers", workers);
    return s;
}

static const char *const parallel[] = {"random", "sobol", "parego"};

START_TEST(any_number_of_workers_makes_the_same_trials) {
    fixture f;
    set_up(&f);
    msx_search *alone = search_by(&f, "", parallel[_i], "1");
    ck_assert_int_eq(msx_search_run(alone), MSX_DONE_TRIALS);
    static const char *const workers[] = {"2", "7"};
    for (int i = 0; i < 2; i++) {
        msx_search *s = search_by(&f, i ? f.store : "", parallel[_i], workers[i]);
        ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
        same_trials(alone, s);
        ck_assert_int_eq(msx_search_best(s), msx_search_best(alone));
        set(&f, s, "trials", "26"); /* the workers of an earlier run are gone */
        ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
        msx_search_free(s);
    }
    ck_assert_int_ge(number_of(f.store, "SELECT count(DISTINCT worker) FROM trials"), 2);
    set(&f, alone, "trials", "26");
    ck_assert_int_eq(msx_search_run(alone), MSX_DONE_TRIALS);
    msx_search *s = search_by(&f, f.store, parallel[_i], "3");
    set(&f, s, "trials", "26");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    same_trials(alone, s);
    msx_search_free(s);
    msx_search_free(alone);
    tear_down(&f);
}
END_TEST

/* A search in a thread of its own, on a device of its own. */
typedef struct running {
    msx_device *device;
    msx_search *s;
    msx_status status;
    pthread_t thread;
} running;

static void *run_search(void *payload) {
    running *r = payload;
    r->status = msx_search_run(r->s);
    return NULL;
}

static void start(fixture *f, running *r, int n, msx_search *(*make)(fixture *f)) {
    msx_device *device = f->device;
    for (int i = 0; i < n; i++) {
        r[i] = (running){0};
        test_ok(f->ctx, msx_device_open(&r[i].device, f->ctx, "cpu"));
        f->device = r[i].device;
        r[i].s = make(f);
    }
    f->device = device;
    for (int i = 0; i < n; i++)
        ck_assert_int_eq(pthread_create(&r[i].thread, NULL, run_search, &r[i]), 0);
}

static void wait_for(running *r, int n) {
    for (int i = 0; i < n; i++) {
        pthread_join(r[i].thread, NULL);
        ck_assert_int_eq(r[i].status, MSX_DONE_TRIALS);
    }
}

static void end(running *r, int n) {
    for (int i = 0; i < n; i++) {
        msx_search_free(r[i].s);
        msx_device_free(r[i].device);
    }
}

static msx_search *search_by_two(fixture *f) {
    return search_by(f, f->store, "random", "2");
}

/* Two handles on one store, as two processes: they share the trials. */
START_TEST(handles_share_a_store) {
    fixture f;
    set_up(&f);
    msx_search *alone = search_by(&f, "", "random", "1");
    ck_assert_int_eq(msx_search_run(alone), MSX_DONE_TRIALS);
    running r[2];
    start(&f, r, 2, search_by_two);
    wait_for(r, 2);
    for (int i = 0; i < 2; i++) same_trials(alone, r[i].s);
    end(r, 2);
    msx_search_free(alone);
    ck_assert_int_eq(number_of(f.store, "SELECT count(*) FROM trials WHERE attempt <> 1"), 0);
    tear_down(&f);
}
END_TEST

/* Order "free" has no fixed sequence, but loses and repeats nothing. */
START_TEST(nobody_waits_in_free_order) {
    fixture f;
    set_up(&f);
    for (int i = 0; i < 2; i++) {
        msx_search *s = search_by(&f, f.store, "parego", i ? "1" : "3");
        set(&f, s, "order", "free");
        set(&f, s, "trials", i ? "24" : "14");
        ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
        ck_assert_int_eq(msx_search_trials(s), i ? 24 : 14);
        for (int64_t t = 0; t < msx_search_trials(s); t++)
            for (int64_t k = 0; k < t; k++)
                ck_assert(!msx_space_equal(s->space.space, s->trials[t].x, s->trials[k].x));
        msx_search_free(s);
    }
    ck_assert_int_eq(number_of(f.store, "SELECT count(*) FROM trials WHERE state = 'done'"), 24);
    tear_down(&f);
}
END_TEST

/* Trials that a worker left: the last one, and one in the middle of a batch. */
START_TEST(what_a_worker_left_is_taken_over) {
    fixture f;
    set_up(&f);
    msx_search *whole = search_by(&f, "", "random", "1"), *s;
    ck_assert_int_eq(msx_search_run(whole), MSX_DONE_TRIALS);
    s = search_by(&f, f.store, "random", "1");
    set(&f, s, "trials", "15");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    msx_search_free(s);
    edit(
        f.store,
        "DELETE FROM costs WHERE trial IN (13, 14);"
        "UPDATE trials SET state = 'running', worker = 'elsewhere:7:0', attempt = 2, lease = 1.7e9,"
        " mean_cost = NULL, finished = NULL, dice = NULL WHERE number IN (13, 14)");
    s = search_by(&f, f.store, "random", "2");
    test_ok(f.ctx, msx__search_prepare(s));
    ck_assert_int_eq(msx_search_trial_state(s, 13), MSX_TRIAL_RUNNING);
    ck_assert_ptr_null(msx_search_trial_costs(s, 13));
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    same_trials(whole, s);
    ck_assert_int_eq(msx_search_trial_state(s, 13), MSX_TRIAL_DONE);
    ck_assert_int_eq((int)msx_search_trial_state(s, 20), 0);
    msx_search_free(s);
    ck_assert_int_eq(number_of(f.store, "SELECT sum(attempt) FROM trials WHERE number > 12"),
                     3 + 3 + 5);

    /* a lease that still runs is waited for, and ends */
    edit(f.store, "DELETE FROM costs WHERE trial = 19;"
                  "UPDATE trials SET state = 'running', worker = 'elsewhere:7:0', mean_cost = NULL,"
                  " lease = (julianday('now') - 2440587.5) * 86400 + 1.5, finished = NULL,"
                  " dice = NULL WHERE number = 19");
    s = search_by(&f, f.store, "random", "1");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    same_trials(whole, s);
    msx_search_free(s);
    ck_assert_int_eq(number_of(f.store, "SELECT attempt FROM trials WHERE number = 19"), 2);
    msx_search_free(whole);
    tear_down(&f);
}
END_TEST

/* Takes its time over one tensor. */
static msx_status copy_slowly(const msx_merge_call *call, void *payload) {
    (void)payload;
    memcpy(call->out, call->models[0], (size_t)call->elements * sizeof(float));
    if (!strcmp(call->tensor, "image_encoder.pos_embed")) usleep(2500000);
    return MSX_OK;
}

static const msx_merge_method slow = {
    .struct_size = sizeof slow, .name = "slow", .about = "", .source = "", .apply = copy_slowly};

/* Six trials, of which number 4 merges by "slow" everywhere. */
static msx_search *slow_search(fixture *f) {
    msx_search *s = search_by(f, f->store, "random", "1");
    set(f, s, "methods", "linear,slow");
    set(f, s, "batch", "6");
    set(f, s, "trials", "5");
    set(f, s, "lease", "1");
    return s;
}

/* A lease of one second is renewed through a trial of more, so nobody takes it over. */
START_TEST(leases_are_renewed) {
    fixture f;
    set_up(&f);
    test_ok(f.ctx, msx_merge_method_register(f.ctx, &slow));
    running r[2];
    start(&f, r, 2, slow_search);
    wait_for(r, 2);
    end(r, 2);
    ck_assert_int_eq(number_of(f.store, "SELECT count(*) FROM trials WHERE state = 'done'"), 5);
    ck_assert_int_eq(number_of(f.store, "SELECT max(attempt) FROM trials"), 1);
    ck_assert_int_eq(number_of(f.store, "SELECT count(*) FROM trials WHERE seconds > 2"), 1);
    tear_down(&f);
}
END_TEST

/* Another worker thinks a trial lost and takes it: what the first one then has counts for nothing. */
START_TEST(a_late_result_is_dropped) {
    fixture f;
    set_up(&f);
    test_ok(f.ctx, msx_merge_method_register(f.ctx, &slow));
    running r[1];
    start(&f, r, 1, slow_search);
    const char *at_work = "SELECT count(*) FROM trials WHERE number = 4 AND state = 'running'";
    struct stat st;
    while (stat(f.store, &st) != 0 || st.st_size == 0) usleep(10000);
    usleep(300000);
    while (number_of(f.store, at_work) == 0) usleep(10000);
    edit(f.store, "UPDATE trials SET worker = 'elsewhere:1:0', attempt = 2, lease ="
                  " (julianday('now') - 2440587.5) * 86400 + 4 WHERE number = 4");
    wait_for(r, 1);
    end(r, 1);
    ck_assert_int_eq(number_of(f.store, "SELECT attempt FROM trials WHERE number = 4"), 3);
    ck_assert_int_eq(number_of(f.store, "SELECT count(*) FROM trials WHERE state = 'done'"), 5);
    ck_assert_int_eq(number_of(f.store, "SELECT count(*) FROM costs WHERE trial = 4"), 2);
    tear_down(&f);
}
END_TEST

/* A trial that began before the results it must see were there cannot be. */
START_TEST(an_impossible_order_is_refused) {
    fixture f;
    set_up(&f);
    msx_search *s = search_by(&f, f.store, "random", "1");
    set(&f, s, "trials", "12");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    msx_search_free(s);
    edit(f.store, "DELETE FROM costs WHERE trial = 5;"
                  "UPDATE trials SET state = 'running', lease = 1.7e9, mean_cost = NULL,"
                  " finished = NULL, dice = NULL WHERE number = 5");
    s = search_by(&f, f.store, "random", "1");
    test_fails(f.ctx, msx_search_run(s), MSX_E_STORE, "trial 8 began before trial 5 was finished");
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

START_TEST(batch_and_order_are_the_stores) {
    fixture f;
    set_up(&f);
    msx_search *s = new_search(&f, f.store, "6");
    set(&f, s, "workers", "3");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    ck_assert_int_eq(s->batch, 3);
    msx_search_free(s);
    s = new_search(&f, f.store, "7");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    ck_assert_int_eq(s->batch, 3);
    msx_search_free(s);
    s = new_search(&f, f.store, "7");
    set(&f, s, "batch", "2");
    test_fails(f.ctx, msx_search_run(s), MSX_E_STORE, "batch is '3' there and '2' here");
    set(&f, s, "batch", "0");
    set(&f, s, "order", "free");
    test_fails(f.ctx, msx_search_run(s), MSX_E_STORE, "order is 'batch' there and 'free' here");
    msx_search_free(s);
    edit(f.store, "UPDATE meta SET value = '3x' WHERE key = 'batch'");
    s = new_search(&f, f.store, "7");
    test_fails(f.ctx, msx_search_run(s), MSX_E_STORE, "is damaged: batch");
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

/* Devices go round; one that cannot be opened ends the run before it begins. */
START_TEST(workers_open_their_devices) {
    fixture f;
    set_up(&f);
    msx_search *s = search_by(&f, "", "random", "3");
    set(&f, s, "devices", "cpu,cpu");
    set(&f, s, "trials", "5");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    msx_search_free(s);
    s = search_by(&f, f.store, "random", "3");
    set(&f, s, "devices", "cpu,gpu");
    test_fails(f.ctx, msx_search_run(s), MSX_E_NOTFOUND, "device 'gpu'");
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("workers");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, any_number_of_workers_makes_the_same_trials, 0,
                        sizeof parallel / sizeof *parallel);
    tcase_add_test(t, handles_share_a_store);
    tcase_add_test(t, nobody_waits_in_free_order);
    tcase_add_test(t, what_a_worker_left_is_taken_over);
    tcase_add_test(t, leases_are_renewed);
    tcase_add_test(t, a_late_result_is_dropped);
    tcase_add_test(t, an_impossible_order_is_refused);
    tcase_add_test(t, batch_and_order_are_the_stores);
    tcase_add_test(t, workers_open_their_devices);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
