/* SPDX-License-Identifier: Apache-2.0 */
/* Ask and tell: the queue, duplicates, exhaustion, failures, replay, options, drivers of others. */
#include "optimize/optimizer.h"
#include "support/support.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static msx_space *square(msx_ctx *ctx) {
    msx_space *s;
    test_ok(ctx, msx_space_create(&s, ctx));
    test_ok(ctx, msx_space_add_float(s, "x", -1, 1, 0, false));
    test_ok(ctx, msx_space_add_float(s, "y", -1, 1, 0, false));
    return s;
}

/* 2 choices, one of which has a child of 3 values: 4 configurations. */
static msx_space *tiny(msx_ctx *ctx) {
    msx_space *s;
    const char *choices[] = {"off", "on"};
    const size_t on = 1;
    test_ok(ctx, msx_space_create(&s, ctx));
    test_ok(ctx, msx_space_add_categorical(s, "switch", choices, 2, 0));
    test_ok(ctx, msx_space_add_int(s, "level", 1, 3, 2));
    test_ok(ctx, msx_space_condition(s, 1, 0, &on, 1));
    return s;
}

START_TEST(create_checks_its_arguments) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = square(ctx), *empty;
    test_ok(ctx, msx_space_create(&empty, ctx));
    msx_optimizer *o;
    ck_assert_int_eq(msx_optimizer_create(&o, NULL, "random", s, 1, 0, 0), MSX_E_ARG);
    test_fails(ctx, msx_optimizer_create(NULL, ctx, "random", s, 1, 0, 0), MSX_E_ARG, "out");
    test_fails(ctx, msx_optimizer_create(&o, ctx, NULL, s, 1, 0, 0), MSX_E_ARG, "driver");
    test_fails(ctx, msx_optimizer_create(&o, ctx, "random", NULL, 1, 0, 0), MSX_E_ARG, "space");
    test_fails(ctx, msx_optimizer_create(&o, ctx, "random", empty, 1, 0, 0), MSX_E_ARG,
               "no parameters");
    test_fails(ctx, msx_optimizer_create(&o, ctx, "rendom", s, 1, 0, 0), MSX_E_NOTFOUND,
               "did you mean 'random'");
    test_fails(ctx, msx_optimizer_create(&o, ctx, "random", s, 0, 0, 0), MSX_E_ARG, "objectives");
    test_fails(ctx, msx_optimizer_create(&o, ctx, "random", s, 65, 0, 0), MSX_E_ARG, "objectives");
    test_fails(ctx, msx_optimizer_create(&o, ctx, "random", s, 1, -1, 0), MSX_E_ARG, "n_trials");
    ck_assert_ptr_null(o);
    msx_optimizer_free(NULL);
    msx_space_free(s);
    msx_space_free(empty);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(trials_are_numbered_and_told_once) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = square(ctx);
    msx_optimizer *o;
    test_ok(ctx, msx_optimizer_create(&o, ctx, "random", s, 2, 0, 1));
    double x[3][2];
    int64_t trial;
    for (int i = 0; i < 3; i++) {
        test_ok(ctx, msx_optimizer_ask(o, x[i], &trial));
        ck_assert_int_eq(trial, i);
        ck_assert_str_eq(msx_optimizer_origin(o), "random");
    }
    ck_assert_int_eq(msx_optimizer_best(o), -1);
    const double costs[2] = {3, 4}, better[2] = {2, 9}, bad[2] = {1, NAN};
    test_fails(ctx, msx_optimizer_tell(o, 3, costs), MSX_E_ARG, "not asked");
    test_fails(ctx, msx_optimizer_tell(o, -1, costs), MSX_E_ARG, "not asked");
    test_fails(ctx, msx_optimizer_tell(o, 0, bad), MSX_E_ARG, "cost 1 of trial 0");
    test_ok(ctx, msx_optimizer_tell(o, 2, better)); /* any order */
    test_ok(ctx, msx_optimizer_tell(o, 0, costs));
    test_fails(ctx, msx_optimizer_tell(o, 0, costs), MSX_E_ARG, "told already");
    ck_assert_int_eq(msx_optimizer_trials(o), 3);
    ck_assert_int_eq(msx_optimizer_best(o), 2);
    ck_assert(msx_optimizer_trial_costs(o, 0)[1] == 4);
    ck_assert_ptr_null(msx_optimizer_trial_costs(o, 1));
    ck_assert(!memcmp(msx_optimizer_trial_x(o, 1), x[1], sizeof x[1]));
    ck_assert_ptr_null(msx_optimizer_trial_x(o, 3));
    test_fails(ctx, msx_optimizer_ask(o, NULL, &trial), MSX_E_ARG, "x is NULL");
    test_fails(ctx, msx_optimizer_ask(o, x[0], NULL), MSX_E_ARG, "trial is NULL");
    msx_optimizer_free(o);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(queue_comes_first_and_drops_repeats) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = square(ctx);
    msx_optimizer *o;
    test_ok(ctx, msx_optimizer_create(&o, ctx, "sobol", s, 1, 0, 1));
    const double a[2] = {0.5, -0.5}, b[2] = {0.25, 1}, bad[2] = {0, 2};
    test_ok(ctx, msx_optimizer_enqueue(o, a));
    test_ok(ctx, msx_optimizer_enqueue(o, a));
    test_ok(ctx, msx_optimizer_enqueue(o, b));
    test_fails(ctx, msx_optimizer_enqueue(o, bad), MSX_E_ARG, "'y'");
    double x[2];
    int64_t trial;
    test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    ck_assert(!memcmp(x, a, sizeof x));
    ck_assert_str_eq(msx_optimizer_origin(o), "enqueued");
    test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    ck_assert(!memcmp(x, b, sizeof x));
    ck_assert_int_eq(trial, 1);
    test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    ck_assert_str_eq(msx_optimizer_origin(o), "sobol");
    test_ok(ctx, msx_optimizer_enqueue(o, a)); /* asked long ago: never comes */
    test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    ck_assert_str_eq(msx_optimizer_origin(o), "sobol");
    test_ok(ctx, msx_optimizer_enqueue(o, a)); /* freed with the optimizer */
    msx_optimizer_free(o);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(finite_spaces_are_used_up_without_repeats) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = tiny(ctx);
    for (int64_t d = 0; d < msx_optimizer_driver_count(ctx); d++) {
        const char *driver = msx_optimizer_driver_at(ctx, d)->name;
        for (uint64_t seed = 0; seed < 5; seed++) {
            msx_optimizer *o;
            test_ok(ctx, msx_optimizer_create(&o, ctx, driver, s, 1, 8, seed));
            double x[2];
            int64_t trial = 0;
            for (int i = 0; i < 4; i++) {
                ck_assert_int_eq(msx_optimizer_ask(o, x, &trial), MSX_OK);
                const double cost = x[0];
                test_ok(ctx, msx_optimizer_tell(o, trial, &cost));
                for (int k = 0; k < i; k++)
                    ck_assert(!msx_space_equal(s, x, msx_optimizer_trial_x(o, k)));
            }
            ck_assert_int_eq(msx_optimizer_ask(o, x, &trial), MSX_DONE_EXHAUSTED);
            ck_assert_int_eq(msx_optimizer_ask(o, x, &trial), MSX_DONE_EXHAUSTED);
            ck_assert_int_eq(msx_optimizer_trials(o), 4);
            msx_optimizer_free(o);
        }
    }
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

/* A driver that notes what it is shown and always proposes the same. */
typedef struct spy {
    int creates, destroys, proposes;
    double option, seen[4];
    msx_status answer;
} spy;

static msx_status spy_create(void **state, const msx_history *h, const double *options, void *p) {
    ((spy *)p)->creates++;
    ((spy *)p)->option = options[0];
    ck_assert_int_eq(h->n_objectives, 1);
    *state = p;
    return MSX_OK;
}

static void spy_destroy(void *state, void *p) {
    ck_assert_ptr_eq(state, p);
    ((spy *)p)->destroys++;
}

static msx_status spy_propose(void *state, const msx_history *h, const double *options,
                              msx_rng *rng, int attempt, double *x, const char **origin, void *p) {
    (void)options, (void)rng, (void)attempt;
    ck_assert_ptr_eq(state, p);
    spy *self = p;
    self->proposes++;
    for (int64_t i = 0; i < h->asked && i < 4; i++)
        self->seen[i] = h->costs[i] ? h->costs[i][0] : NAN;
    x[0] = 0.1;
    x[1] = NAN; /* the library fills in the default */
    *origin = "fixed";
    return self->answer;
}

static const msx_option spy_options[] = {{"speed", 2, 1, 3, "how fast"}};

static msx_optimizer_driver spy_driver(spy *payload) {
    return (msx_optimizer_driver){.struct_size = sizeof(msx_optimizer_driver),
                                  .name = "spy",
                                  .about = "for tests",
                                  .max_objectives = 1,
                                  .options = spy_options,
                                  .n_options = 1,
                                  .create = spy_create,
                                  .destroy = spy_destroy,
                                  .propose = spy_propose,
                                  .payload = payload};
}

START_TEST(drivers_of_others_are_served) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = square(ctx);
    spy p = {0};
    msx_optimizer_driver d = spy_driver(&p);
    test_ok(ctx, msx_optimizer_driver_register(ctx, &d));
    ck_assert_ptr_eq(msx_optimizer_driver_find(ctx, "spy"), &d);
    msx_optimizer *o;
    test_fails(ctx, msx_optimizer_create(&o, ctx, "spy", s, 2, 0, 0), MSX_E_ARG, "at most 1");
    test_ok(ctx, msx_optimizer_create(&o, ctx, "spy", s, 1, 0, 0));
    double value, lower, upper;
    const char *about;
    ck_assert_int_eq(msx_optimizer_option_count(o), 1);
    ck_assert_str_eq(msx_optimizer_option(o, 0, &lower, &upper, &about), "speed");
    ck_assert(lower == 1 && upper == 3 && !strcmp(about, "how fast"));
    ck_assert_ptr_null(msx_optimizer_option(o, 1, NULL, NULL, NULL));
    test_fails(ctx, msx_optimizer_set(o, "sped", 2), MSX_E_NOTFOUND, "did you mean 'speed'");
    test_fails(ctx, msx_optimizer_set(o, "speed", 4), MSX_E_ARG, "1 to 3");
    test_fails(ctx, msx_optimizer_set(o, "speed", NAN), MSX_E_ARG, "1 to 3");
    test_fails(ctx, msx_optimizer_set(o, NULL, 1), MSX_E_ARG, "NULL");
    test_fails(ctx, msx_optimizer_get(o, "x", &value), MSX_E_NOTFOUND, "'x'");
    test_ok(ctx, msx_optimizer_set(o, "speed", 2.5));
    test_ok(ctx, msx_optimizer_get(o, "speed", &value));
    ck_assert(value == 2.5);
    double x[2];
    int64_t trial;
    test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    ck_assert(x[0] == 0.1 && x[1] == 0 && p.option == 2.5);
    ck_assert_str_eq(msx_optimizer_origin(o), "fixed");
    test_fails(ctx, msx_optimizer_set(o, "speed", 2), MSX_E_ARG, "before the first ask");
    /* The same again is a duplicate: the library helps itself after some attempts. */
    p.proposes = 0;
    test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    ck_assert_int_gt(p.proposes, 1);
    ck_assert_str_eq(msx_optimizer_origin(o), "random");
    p.answer = MSX_DONE_EXHAUSTED;
    ck_assert_int_eq(msx_optimizer_ask(o, x, &trial), MSX_DONE_EXHAUSTED);
    p.answer = MSX_E_CALLBACK;
    ck_assert_int_eq(msx_optimizer_ask(o, x, &trial), MSX_E_CALLBACK);
    ck_assert_int_eq(msx_optimizer_trials(o), 2);
    msx_optimizer_free(o);
    ck_assert(p.creates == 1 && p.destroys == 1);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(failed_trials_hold_the_worst_seen) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = square(ctx);
    spy p = {.answer = MSX_OK};
    msx_optimizer_driver d = spy_driver(&p);
    test_ok(ctx, msx_optimizer_driver_register(ctx, &d));
    msx_optimizer *o;
    test_ok(ctx, msx_optimizer_create(&o, ctx, "spy", s, 1, 0, 0));
    double x[2];
    int64_t trial;
    for (int i = 0; i < 3; i++) test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    const double low = -7, high = -3;
    test_ok(ctx, msx_optimizer_tell(o, 0, NULL));
    test_ok(ctx, msx_optimizer_tell(o, 1, &low));
    test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    ck_assert(p.seen[0] == -7 && p.seen[1] == -7 && isnan(p.seen[2]));
    test_ok(ctx, msx_optimizer_tell(o, 2, &high));
    test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    ck_assert(p.seen[0] == -3 && p.seen[2] == -3);
    ck_assert_ptr_null(msx_optimizer_trial_costs(o, 0));
    ck_assert_int_eq(msx_optimizer_best(o), 1);
    msx_optimizer_free(o);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(drivers_are_checked_when_registered) {
    msx_ctx *ctx = test_ctx();
    spy p = {0};
    const msx_option twice[] = {{"a", 1, 0, 2, "x"}, {"a", 1, 0, 2, "x"}};
    const msx_option outside[] = {{"a", 3, 0, 2, "x"}}, silent[] = {{"a", 1, 0, 2, NULL}};
    const msx_option shouting[] = {{"A", 1, 0, 2, "x"}};
    msx_optimizer_driver d = spy_driver(&p);
    ck_assert_int_eq(msx_optimizer_driver_register(NULL, &d), MSX_E_ARG);
    test_fails(ctx, msx_optimizer_driver_register(ctx, NULL), MSX_E_ARG, "NULL");
#define REJECT(field, value, text)                                                                 \
    do {                                                                                           \
        d = spy_driver(&p);                                                                        \
        d.field = value;                                                                           \
        test_fails(ctx, msx_optimizer_driver_register(ctx, &d), MSX_E_ARG, text);                  \
    } while (0)
    REJECT(struct_size, 8, "struct_size");
    REJECT(name, NULL, "name");
    REJECT(name, "My driver", "name");
    REJECT(about, NULL, "about");
    REJECT(propose, NULL, "propose");
    REJECT(max_objectives, -1, "max_objectives");
    REJECT(options, NULL, "options");
    REJECT(options, outside, "initial 3");
    REJECT(options, silent, "about");
    REJECT(options, shouting, "options[0].name");
#undef REJECT
    d = spy_driver(&p);
    d.options = twice;
    d.n_options = 2;
    test_fails(ctx, msx_optimizer_driver_register(ctx, &d), MSX_E_ARG, "twice");
    d = spy_driver(&p);
    test_ok(ctx, msx_optimizer_driver_register(ctx, &d));
    test_fails(ctx, msx_optimizer_driver_register(ctx, &d), MSX_E_EXISTS, "'spy'");
    d.name = "random";
    test_fails(ctx, msx_optimizer_driver_register(ctx, &d), MSX_E_EXISTS, "'random'");
    ck_assert_ptr_nonnull(msx_optimizer_driver_find(ctx, "sobol"));
    ck_assert_ptr_null(msx_optimizer_driver_find(ctx, "nothing"));
    ck_assert_ptr_null(msx_optimizer_driver_at(ctx, 999));
    msx_ctx_free(ctx);
}
END_TEST

static double bowl(const double *x) {
    return x[0] * x[0] + 2 * x[1] * x[1] - x[0] * x[1];
}

/* 60 trials; a second optimizer takes in the first 37 and must go on alike. */
START_TEST(replay_continues_bit_for_bit) {
    enum { TRIALS = 60, CUT = 37 };
    msx_ctx *ctx = test_ctx();
    msx_space *s = square(ctx);
    for (int64_t driver = 0; driver < msx_optimizer_driver_count(ctx); driver++) {
        const char *name = msx_optimizer_driver_at(ctx, driver)->name;
        double x[TRIALS][2], again[2];
        msx_optimizer *a, *b;
        int64_t trial;
        const double first[2] = {0.75, 0.75}, late[2] = {-1, -1};
        test_ok(ctx, msx_optimizer_create(&a, ctx, name, s, 1, TRIALS, 11));
        test_ok(ctx, msx_optimizer_create(&b, ctx, name, s, 1, TRIALS, 11));
        test_ok(ctx, msx_optimizer_enqueue(a, first));
        for (int i = 0; i < TRIALS; i++) {
            if (i == 40) test_ok(ctx, msx_optimizer_enqueue(a, late));
            test_ok(ctx, msx_optimizer_ask(a, x[i], &trial));
            const double cost = bowl(x[i]);
            test_ok(ctx, msx_optimizer_tell(a, trial, i % 10 == 9 ? NULL : &cost));
        }
        /* As a program would: queue the start points again, then take in the store. */
        test_ok(ctx, msx_optimizer_enqueue(b, first));
        for (int i = 0; i < CUT; i++) {
            const double cost = bowl(x[i]);
            test_ok(ctx, msx_optimizer_replay(b, x[i], i % 10 == 9 ? NULL : &cost));
        }
        for (int i = CUT; i < TRIALS; i++) {
            if (i == 40) test_ok(ctx, msx_optimizer_enqueue(b, late));
            test_ok(ctx, msx_optimizer_ask(b, again, &trial));
            ck_assert_int_eq(trial, i);
            ck_assert_msg(!memcmp(x[i], again, sizeof again), "%s: trial %d differs", name, i);
            const double cost = bowl(again);
            test_ok(ctx, msx_optimizer_tell(b, trial, i % 10 == 9 ? NULL : &cost));
        }
        uint64_t state[2][4];
        msx_optimizer_rng_state(a, state[0]);
        msx_optimizer_rng_state(b, state[1]);
        ck_assert(!memcmp(state[0], state[1], sizeof state[0]));
        test_ok(ctx, msx_optimizer_replay(b, x[0], NULL));
        msx_optimizer_rng_state(b, state[1]);
        ck_assert(memcmp(state[0], state[1], sizeof state[0]));
        const double infinite = INFINITY;
        test_fails(ctx, msx_optimizer_replay(b, x[0], &infinite), MSX_E_ARG, "finite");
        test_fails(ctx, msx_optimizer_replay(b, NULL, NULL), MSX_E_ARG, "NULL");
        msx_optimizer_free(a);
        msx_optimizer_free(b);
    }
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

/* Four trials run at a time. A second optimizer that adopts what the first asked, and is told in another
 * order, proposes the same. */
START_TEST(running_trials_are_adopted) {
    enum { BATCHES = 8, BATCH = 4 };
    msx_ctx *ctx = test_ctx();
    msx_space *s = square(ctx);
    for (int64_t driver = 0; driver < msx_optimizer_driver_count(ctx); driver++) {
        const char *name = msx_optimizer_driver_at(ctx, driver)->name;
        msx_optimizer *a, *b;
        int64_t trial;
        const double first[2] = {0.75, 0.75};
        test_ok(ctx, msx_optimizer_create(&a, ctx, name, s, 1, BATCHES * BATCH, 11));
        test_ok(ctx, msx_optimizer_create(&b, ctx, name, s, 1, BATCHES * BATCH, 11));
        test_ok(ctx, msx_optimizer_enqueue(a, first));
        test_ok(ctx, msx_optimizer_enqueue(b, first));
        for (int k = 0; k < BATCHES; k++) {
            double x[BATCH][2], again[2];
            for (int i = 0; i < BATCH; i++) test_ok(ctx, msx_optimizer_ask(a, x[i], &trial));
            for (int i = 0; i < BATCH - 1; i++) {
                test_ok(ctx, msx_optimizer_adopt(b, x[i], &trial));
                ck_assert_int_eq(trial, k * BATCH + i);
            }
            test_ok(ctx, msx_optimizer_ask(b, again, &trial));
            ck_assert_msg(!memcmp(again, x[BATCH - 1], sizeof again), "%s: batch %d", name, k);
            for (int i = 0; i < BATCH; i++) {
                const double cost = bowl(x[i]), late = bowl(x[BATCH - 1 - i]);
                test_ok(ctx, msx_optimizer_tell(a, k * BATCH + i, &cost));
                test_ok(ctx, msx_optimizer_tell(b, k * BATCH + BATCH - 1 - i, &late));
            }
        }
        uint64_t state[2][4];
        msx_optimizer_rng_state(a, state[0]);
        msx_optimizer_rng_state(b, state[1]);
        ck_assert(!memcmp(state[0], state[1], sizeof state[0]));
        test_fails(ctx, msx_optimizer_adopt(b, NULL, &trial), MSX_E_ARG, "NULL");
        test_fails(ctx, msx_optimizer_adopt(b, first, NULL), MSX_E_ARG, "trial is NULL");
        ck_assert_int_eq(msx_optimizer_adopt(NULL, first, &trial), MSX_E_ARG);
        msx_optimizer_free(a);
        msx_optimizer_free(b);
    }
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

/* ---- several workers ------------------------------------------------------------------------------- */

enum { LAG = 3, LAGGED = 40 };

static msx_optimizer *lagging(msx_ctx *ctx, const msx_space *s, const char *name) {
    msx_optimizer *o;
    test_ok(ctx, msx_optimizer_create(&o, ctx, name, s, 1, LAGGED, 21));
    test_ok(ctx, msx_optimizer_set_lag(o, LAG));
    const double first[2] = {0.75, 0.75};
    test_ok(ctx, msx_optimizer_enqueue(o, first));
    return o;
}

static void tell_bowl(msx_ctx *ctx, msx_optimizer *o, int64_t trial, const double *x) {
    const double cost =
        bowl(x) - (trial > 20 ? 3 : 0); /* late failures are worse than early ones */
    test_ok(ctx, msx_optimizer_tell(o, trial, trial % 7 == 5 ? NULL : &cost));
}

/* One worker, and three that finish in any order; one of them starts again from the store at times. */
START_TEST(with_a_lag_workers_do_not_change_what_is_tried) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = square(ctx);
    for (int64_t driver = 0; driver < msx_optimizer_driver_count(ctx); driver++) {
        const char *name = msx_optimizer_driver_at(ctx, driver)->name;
        double x[LAGGED][2], again[2];
        int64_t trial, running[LAG], n_running = 0;
        msx_optimizer *o = lagging(ctx, s, name);
        for (int i = 0; i < LAGGED; i++) {
            test_ok(ctx, msx_optimizer_ask(o, x[i], &trial));
            tell_bowl(ctx, o, trial, x[i]);
        }
        msx_optimizer_free(o);
        o = lagging(ctx, s, name);
        msx_rng rng;
        msx__rng_init(&rng, 7, 0);
        for (int i = 0; i < LAGGED;) {
            bool room = n_running < LAG;
            msx_status status = room ? msx_optimizer_ask(o, again, &trial) : MSX_DONE_WAIT;
            if (status == MSX_OK) {
                ck_assert_int_eq(trial, i);
                ck_assert_msg(!memcmp(x[i], again, sizeof again), "%s: trial %d differs", name, i);
                running[n_running++] = trial;
                i++;
                if (msx_rng_uniform(&rng) < 0.7) continue;
            }
            ck_assert(status == MSX_OK || status == MSX_DONE_WAIT);
            int64_t k = (int64_t)msx_rng_below(&rng, (uint64_t)n_running);
            tell_bowl(ctx, o, running[k], x[running[k]]);
            running[k] = running[--n_running];
            if (msx_rng_uniform(&rng) > 0.1) continue;
            msx_optimizer_free(o); /* the process is lost, and another takes over */
            o = lagging(ctx, s, name);
            for (int64_t t = 0; t < i; t++) test_ok(ctx, msx_optimizer_adopt(o, x[t], &trial));
            for (int64_t t = i - 1; t >= 0; t--) {
                bool runs = false;
                for (int64_t q = 0; q < n_running; q++) runs |= running[q] == t;
                if (!runs) tell_bowl(ctx, o, t, x[t]);
            }
        }
        msx_optimizer_free(o);
    }
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(a_lag_waits_for_what_it_needs) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = square(ctx);
    msx_optimizer *o;
    double x[2], cost = 1;
    int64_t trial;
    ck_assert_int_eq(msx_optimizer_set_lag(NULL, 1), MSX_E_ARG);
    ck_assert_int_eq(msx_optimizer_adopt(NULL, NULL, &trial), MSX_E_ARG);
    test_ok(ctx, msx_optimizer_create(&o, ctx, "random", s, 1, 0, 0));
    test_fails(ctx, msx_optimizer_set_lag(o, -1), MSX_E_ARG, "lag");
    test_ok(ctx, msx_optimizer_set_lag(o, 2));
    for (int i = 0; i < 2; i++) ck_assert_int_eq(msx_optimizer_ask(o, x, &trial), MSX_OK);
    ck_assert_int_eq(msx_optimizer_ask(o, x, &trial), MSX_DONE_WAIT); /* needs trial 0 */
    test_ok(ctx, msx_optimizer_tell(o, 1, &cost));
    ck_assert_int_eq(msx_optimizer_ask(o, x, &trial), MSX_DONE_WAIT);
    const double queued[2] = {0.5, 0.5}; /* depends on no outcome */
    test_ok(ctx, msx_optimizer_enqueue(o, queued));
    ck_assert_int_eq(msx_optimizer_ask(o, x, &trial), MSX_OK);
    test_ok(ctx, msx_optimizer_tell(o, 0, NULL));
    ck_assert_int_eq(msx_optimizer_ask(o, x, &trial), MSX_OK);
    test_fails(ctx, msx_optimizer_set_lag(o, 1), MSX_E_ARG, "before the first ask");
    test_fails(ctx, msx_optimizer_set_preference(o, NULL), MSX_E_ARG, "before the first ask");
    msx_optimizer_free(o);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

/* Failed trials hold the worst of what counts, whatever is known besides. */
START_TEST(a_lag_hides_later_outcomes) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = square(ctx);
    spy p = {0};
    msx_optimizer_driver d = spy_driver(&p);
    test_ok(ctx, msx_optimizer_driver_register(ctx, &d));
    msx_optimizer *o;
    test_ok(ctx, msx_optimizer_create(&o, ctx, "spy", s, 1, 0, 0));
    test_ok(ctx, msx_optimizer_set_lag(o, 2));
    double x[2];
    int64_t trial;
    const double costs[] = {-7, -5, -3};
    for (int i = 0; i < 2; i++) test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    test_ok(ctx, msx_optimizer_tell(o, 0, NULL));
    test_ok(ctx, msx_optimizer_tell(o, 1, &costs[1]));
    test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    ck_assert(p.seen[0] == 0 && isnan(p.seen[1]));
    test_ok(ctx, msx_optimizer_tell(o, 2, &costs[2]));
    test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    ck_assert(p.seen[0] == -5 && p.seen[1] == -5 && isnan(p.seen[2]));
    msx_optimizer_free(o);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(presets_fill_what_was_not_set) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = square(ctx);
    msx_optimizer *o;
    double value;
    test_ok(ctx, msx_optimizer_create(&o, ctx, "smac", s, 1, 0, 0));
    test_ok(ctx, msx_optimizer_set(o, "trees", 7));
    test_ok(ctx, msx_optimizer_set(o, "smac3", 1));
    test_ok(ctx, msx_optimizer_set(o, "interleave", 0.5));
    const struct {
        const char *key;
        double value;
    } expected[] = {{"trees", 7},         {"interleave", 0.5},   {"surrogate", 1},
                    {"retrain_after", 8}, {"candidates", 10000}, {"floor_gap", 1e-10}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        test_ok(ctx, msx_optimizer_get(o, expected[i].key, &value));
        ck_assert_msg(value == expected[i].value, "%s is %g", expected[i].key, value);
    }
    test_ok(ctx, msx_optimizer_set(o, "smac3", 0));
    test_ok(ctx, msx_optimizer_get(o, "retrain_after", &value));
    ck_assert(value == 1);
    test_ok(ctx, msx_optimizer_get(o, "trees", &value));
    ck_assert(value == 7);
    msx_optimizer_free(o);
    /* A driver of before there were presets, and ones that are wrong. */
    spy p = {0};
    msx_optimizer_driver d = spy_driver(&p);
    const double good[] = {3}, bad[] = {4};
    const msx_option_preset right = {0, 2, good}, wrong = {0, 2, bad}, beyond = {1, 2, good};
    d.n_presets = 1;
    test_fails(ctx, msx_optimizer_driver_register(ctx, &d), MSX_E_ARG, "incomplete");
    d.presets = &wrong;
    test_fails(ctx, msx_optimizer_driver_register(ctx, &d), MSX_E_ARG, "'speed' cannot be 4");
    d.presets = &beyond;
    test_fails(ctx, msx_optimizer_driver_register(ctx, &d), MSX_E_ARG, "incomplete");
    d.struct_size = offsetof(msx_optimizer_driver, presets);
    test_ok(ctx, msx_optimizer_driver_register(ctx, &d));
    test_ok(ctx, msx_optimizer_create(&o, ctx, "spy", s, 1, 0, 0));
    test_ok(ctx, msx_optimizer_get(o, "speed", &value));
    ck_assert(value == 2);
    msx_optimizer_free(o);
    msx_optimizer_driver newer = spy_driver(&p);
    newer.name = "newer";
    newer.presets = &right;
    newer.n_presets = 1;
    test_ok(ctx, msx_optimizer_driver_register(ctx, &newer));
    test_ok(ctx, msx_optimizer_create(&o, ctx, "newer", s, 1, 0, 0));
    test_ok(ctx, msx_optimizer_get(o, "speed", &value));
    ck_assert(value == 3);
    msx_optimizer_free(o);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(preferences_are_checked) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = square(ctx);
    msx_optimizer *o;
    const double negative[] = {1, -1}, none[] = {0, 0}, good[] = {0, 5}, unknown[] = {NAN, 1};
    ck_assert_int_eq(msx_optimizer_set_preference(NULL, good), MSX_E_ARG);
    test_ok(ctx, msx_optimizer_create(&o, ctx, "parego", s, 2, 0, 0));
    test_fails(ctx, msx_optimizer_set_preference(o, negative), MSX_E_ARG, "preference 1");
    test_fails(ctx, msx_optimizer_set_preference(o, unknown), MSX_E_ARG, "preference 0");
    test_fails(ctx, msx_optimizer_set_preference(o, none), MSX_E_ARG, "all preferences");
    test_ok(ctx, msx_optimizer_set_preference(o, good));
    test_ok(ctx, msx_optimizer_set_preference(o, NULL));
    test_ok(ctx, msx_optimizer_set_preference(o, good));
    /* What has no weight is not looked after. */
    double x[2], away = 0;
    int64_t trial;
    for (int i = 0; i < 25; i++) {
        test_ok(ctx, msx_optimizer_ask(o, x, &trial));
        const double costs[2] = {(x[0] + 0.5) * (x[0] + 0.5),
                                 (x[0] - 0.5) * (x[0] - 0.5) + x[1] * x[1]};
        test_ok(ctx, msx_optimizer_tell(o, trial, costs));
        away = fmax(i < 22 ? 0 : away, costs[1]);
    }
    ck_assert_double_lt(away, 0.01);
    msx_optimizer_free(o);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

/* Whatever allocation fails, the call says so, nothing leaks, and asking again works. */
/* Switch and level stay, x varies; then level varies below a switch that stays. */
START_TEST(a_proposal_may_keep_a_part_of_another) {
    static const char *const drivers[] = {"random", "sobol", "smac", "parego"};
    for (size_t d = 0; d < sizeof drivers / sizeof *drivers; d++) {
        msx_ctx *ctx = test_ctx();
        msx_space *s = tiny(ctx);
        msx_optimizer *o, *replayed;
        test_ok(ctx, msx_space_add_float(s, "x", -1, 1, 0, false));
        test_ok(ctx, msx_optimizer_create(&o, ctx, drivers[d], s, 1, 24, 5));
        test_ok(ctx, msx_optimizer_create(&replayed, ctx, drivers[d], s, 1, 24, 5));
        const double like[3] = {1, 3, 0.5}, queued[3] = {0, NAN, 0.25};
        const uint8_t fixed[2][3] = {{1, 1, 0}, {1, 0, 0}};
        test_ok(ctx, msx_optimizer_enqueue(o, queued));
        double x[24][3], y[3];
        int64_t trial;
        for (int i = 0; i < 24; i++) {
            msx_status status = i % 3 == 2
                                    ? msx_optimizer_ask(o, x[i], &trial)
                                    : msx_optimizer_ask_like(o, like, fixed[i % 3], x[i], &trial);
            test_ok(ctx, status);
            ck_assert_int_eq(trial, i);
            test_ok(ctx, msx_space_check(s, x[i]));
            for (int k = 0; k < i; k++) ck_assert(!msx_space_equal(s, x[i], x[k]));
            if (i == 0) ck_assert(msx_space_equal(s, x[0], queued));
            for (int k = 0; i > 0 && i % 3 < 2 && k < 3; k++)
                if (fixed[i % 3][k]) ck_assert(x[i][k] == like[k]);
            double cost = fabs(x[i][2] - 0.3) + x[i][0];
            test_ok(ctx, msx_optimizer_tell(o, trial, &cost));
            if (i < 14) test_ok(ctx, msx_optimizer_replay(replayed, x[i], &cost));
        }
        for (int i = 14; i < 24;
             i++) { /* what was kept belongs to the question, not to the state */
            msx_status status =
                i % 3 == 2 ? msx_optimizer_ask(replayed, y, &trial)
                           : msx_optimizer_ask_like(replayed, like, fixed[i % 3], y, &trial);
            test_ok(ctx, status);
            ck_assert(msx_space_equal(s, x[i], y));
            double cost = fabs(y[2] - 0.3) + y[0];
            test_ok(ctx, msx_optimizer_tell(replayed, trial, &cost));
        }
        msx_optimizer_free(replayed);
        msx_optimizer_free(o);
        msx_space_free(s);
        msx_ctx_free(ctx);
    }
}
END_TEST

START_TEST(keeping_is_checked_and_ends_when_nothing_is_left) {
    msx_ctx *ctx = test_ctx();
    msx_space *s = tiny(ctx);
    msx_optimizer *o;
    test_ok(ctx, msx_optimizer_create(&o, ctx, "random", s, 1, 0, 5));
    const double like[2] = {1, 2}, bad[2] = {0, 2};
    const uint8_t parent[2] = {1, 0}, child[2] = {0, 1};
    double x[2];
    int64_t trial;
    ck_assert_int_eq(msx_optimizer_ask_like(NULL, like, parent, x, &trial), MSX_E_ARG);
    test_fails(ctx, msx_optimizer_ask_like(o, NULL, parent, x, &trial), MSX_E_ARG, "like");
    test_fails(ctx, msx_optimizer_ask_like(o, like, NULL, x, &trial), MSX_E_ARG, "fixed");
    test_fails(ctx, msx_optimizer_ask_like(o, like, parent, NULL, &trial), MSX_E_ARG, "x is NULL");
    test_fails(ctx, msx_optimizer_ask_like(o, bad, parent, x, &trial), MSX_E_ARG, "inactive");
    test_fails(ctx, msx_optimizer_ask_like(o, like, child, x, &trial), MSX_E_ARG,
               "'level' is kept, but 'switch'");
    for (int i = 0; i < 3; i++) {
        test_ok(ctx, msx_optimizer_ask_like(o, like, parent, x, &trial));
        ck_assert(x[0] == 1);
    }
    ck_assert_int_eq(msx_optimizer_ask_like(o, like, parent, x, &trial), MSX_DONE_EXHAUSTED);
    ck_assert_int_eq(msx_optimizer_trials(o), 3);
    test_ok(ctx, msx_optimizer_ask(o, x, &trial));
    ck_assert(x[0] == 0);
    msx_optimizer_free(o);
    msx_space_free(s);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(no_memory_is_survived) {
    msx_ctx *plain = test_ctx();
    int64_t drivers = msx_optimizer_driver_count(plain);
    msx_ctx_free(plain);
    for (int64_t driver = 0; driver < drivers; driver++) {
        for (int64_t fail_at = 0;; fail_at++) {
            test_allocator a;
            test_allocator_init(&a, -1, false);
            msx_ctx *ctx;
            ck_assert_int_eq(msx_ctx_create(&ctx, &a.table), MSX_OK);
            msx_space *s = square(ctx);
            msx_optimizer *o = NULL;
            double x[2];
            int64_t trial;
            a.calls = 0;
            a.fail_at = fail_at;
            const char *name[] = {"random", "sobol", "smac", "parego", "nsga2", "tpe", "cmaes"};
            bool several = driver == 3 || driver == 4;
            msx_status status = msx_optimizer_create(&o, ctx, name[driver], s, 1 + several, 8, 3);
            if (status == MSX_OK && driver == 3) /* NULL is no weights */
                status = msx_optimizer_set_preference(o, (const double[]){2, 1});
            if (status == MSX_OK && driver == 2)
                test_ok(ctx, msx_optimizer_set(o, "gp_candidates", 20));
            if (status == MSX_OK && driver == 5) test_ok(ctx, msx_optimizer_set(o, "startup", 4));
            const double start[2] = {0.5, 0.5};
            if (status == MSX_OK) status = msx_optimizer_enqueue(o, start);
            for (int i = 0; i < 12 && status == MSX_OK; i++) {
                status = msx_optimizer_ask(o, x, &trial);
                if (status == MSX_E_NOMEM) {
                    test_ok(ctx, msx_optimizer_ask(o, x, &trial));
                    ck_assert_int_eq(trial, i);
                }
                const double costs[2] = {bowl(x), x[0]};
                test_ok(ctx, msx_optimizer_tell(o, trial, costs));
            }
            ck_assert(status == MSX_OK || status == MSX_E_NOMEM);
            bool done = a.calls <= fail_at;
            msx_optimizer_free(o);
            msx_space_free(s);
            msx_ctx_free(ctx);
            ck_assert_int_eq(a.live, 0);
            if (!done) continue;
            ck_assert_int_eq(status, MSX_OK);
            break;
        }
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("optimizer");
    TCase *t = tcase_create("optimizer");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, create_checks_its_arguments);
    tcase_add_test(t, trials_are_numbered_and_told_once);
    tcase_add_test(t, queue_comes_first_and_drops_repeats);
    tcase_add_test(t, finite_spaces_are_used_up_without_repeats);
    tcase_add_test(t, drivers_of_others_are_served);
    tcase_add_test(t, failed_trials_hold_the_worst_seen);
    tcase_add_test(t, drivers_are_checked_when_registered);
    tcase_add_test(t, replay_continues_bit_for_bit);
    tcase_add_test(t, running_trials_are_adopted);
    tcase_add_test(t, a_proposal_may_keep_a_part_of_another);
    tcase_add_test(t, keeping_is_checked_and_ends_when_nothing_is_left);
    tcase_add_test(t, with_a_lag_workers_do_not_change_what_is_tried);
    tcase_add_test(t, a_lag_waits_for_what_it_needs);
    tcase_add_test(t, a_lag_hides_later_outcomes);
    tcase_add_test(t, presets_fill_what_was_not_set);
    tcase_add_test(t, preferences_are_checked);
    tcase_add_test(t, no_memory_is_survived);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
