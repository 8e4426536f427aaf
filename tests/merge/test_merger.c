/* SPDX-License-Identifier: Apache-2.0 */
/* The resident merger: golden merges of real shapes, incremental merging, faulty inputs. */
#include "checkpoint/arch_internal.h"
#include "core/core.h"
#include "merge/merger.h"
#include "merge/small_sam.h"

#include <medsamix/sys/merge_method.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define GAUSSIAN "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"

static const char *const names[] = {"base", "ft0", "ft1"};

typedef struct fixture {
    msx_ctx *ctx;
    msx_checkpoint *c[3];
    msx_merger *m;
} fixture;

static msx_checkpoint *open_file(msx_ctx *ctx, const char *name) {
    char path[128];
    msx_checkpoint *c;
    snprintf(path, sizeof path, "golden/merge/%s.safetensors", name);
    test_ok(ctx, msx_checkpoint_open(&c, ctx, test_path(path)));
    return c;
}

static void golden_models(fixture *f) {
    static const char *const files[] = {"base", "finetuned0", "finetuned1"};
    f->ctx = test_ctx();
    for (int i = 0; i < 3; i++) f->c[i] = open_file(f->ctx, files[i]);
    test_ok(f->ctx, msx_merger_create(&f->m, f->ctx, f->c, names, 3, false));
}

/* Three small models of 12 blocks; the third equals the base except in the neck. */
static void small_models(fixture *f) {
    f->ctx = test_ctx();
    f->c[0] = small_sam(f->ctx, 12, 2, 1);
    f->c[1] = small_sam(f->ctx, 12, 2, 2);
    f->c[2] = small_sam(f->ctx, 12, 2, 1);
    msx_checkpoint_data(f->c[2], msx_checkpoint_find(f->c[2], "image_encoder.neck.2.weight"))[5] +=
        1;
    test_ok(f->ctx, msx_merger_create(&f->m, f->ctx, f->c, names, 3, false));
}

static void fixture_free(fixture *f) {
    msx_merger_free(f->m);
    for (int i = 0; i < 3; i++) msx_checkpoint_free(f->c[i]);
    msx_ctx_free(f->ctx);
}

static msx_plan *plan_of(msx_ctx *ctx, const char *groups) {
    char text[2048];
    snprintf(text, sizeof text, "medsamix: 1\nmodels: [ft0, ft1]\ngroups: {%s}\n", groups);
    msx_plan *p;
    test_ok(ctx, msx_plan_parse(&p, ctx, text, strlen(text), "plan"));
    return p;
}

static msx_checkpoint *merged(fixture *f, const char *groups) {
    msx_checkpoint *target;
    msx_plan *p = plan_of(f->ctx, groups);
    test_ok(f->ctx, msx_checkpoint_create(&target, f->ctx));
    test_ok(f->ctx, msx_merger_run(f->m, p, NULL, target, NULL));
    msx_plan_free(p);
    return target;
}

static void expect_equal(msx_checkpoint *a, msx_checkpoint *b) {
    ck_assert_int_eq(msx_checkpoint_count(a), msx_checkpoint_count(b));
    for (int64_t i = 0; i < msx_checkpoint_count(a); i++) {
        int64_t n = msx_checkpoint_elements(a, i);
        int64_t k = msx_checkpoint_find(b, msx_checkpoint_name(a, i));
        ck_assert(k >= 0);
        ck_assert_msg(!memcmp(msx_checkpoint_data(a, i), msx_checkpoint_data(b, k), (size_t)n * 4),
                      "%s", msx_checkpoint_name(a, i));
    }
}

static const struct golden {
    const char *file, *groups;
} goldens[] = {
    {"linear_0.5_0.3_0.2", "'*': {method: linear, weight: {base: 0.5, ft0: 0.3, ft1: 0.2}}"},
    {"task_arithmetic_0.4", "'*': {method: task_arithmetic, scaling: 0.4}"},
    {"ties_k0.5_l0.7", "'*': {method: ties, retain: 0.5, scaling: 0.7}"},
    {"ties_k0.2_l1.0", "'*': {method: ties, retain: 0.2, scaling: 1}"},
    {"slerp_base_ft0_0.3", "'*': {method: slerp, score: {ft1: 0}, t: 0.3}"},
    {"slerp_ft0_ft1_0.6", "'*': {method: slerp, score: {base: 0}, t: 0.6}"},
};

START_TEST(merges_meet_the_golden_ones) {
    fixture f;
    golden_models(&f);
    msx_checkpoint *expected = open_file(f.ctx, goldens[_i].file);
    msx_checkpoint *target = merged(&f, goldens[_i].groups);
    ck_assert_int_eq(msx_checkpoint_count(target), msx_arch_tensor_count(msx_merger_arch(f.m)));
    for (int64_t i = 0; i < msx_checkpoint_count(target); i++) {
        const char *name = msx_checkpoint_name(target, i);
        int64_t n;
        float *reference = test_tensor(!strcmp(name, GAUSSIAN) ? f.c[0] : expected, name, &n);
        double error = test_relative_l2(msx_checkpoint_data(target, i), reference, n);
        ck_assert_msg(error <= 1e-6, "%s: relative error %g", name, error);
        free(reference);
    }
    msx_checkpoint_free(target);
    msx_checkpoint_free(expected);
    fixture_free(&f);
}
END_TEST

static const char *const chain[] = {
    "'*': {method: linear}",
    "'*': {method: linear}, neck: {method: ties}",
    "'*': {method: linear}, neck: {method: ties, retain: 0.25}",
    "'*': {method: linear, weight: {ft1: 0.75}}, encoder.3: {method: slerp, score: {ft0: 0.9}}",
    "encoder.3: {method: slerp, score: {ft0: 0.9}}, prompt.0: {method: task_arithmetic}",
    "",
    "'*': {method: ties, retain: 1}",
};
enum { CHAIN = sizeof chain / sizeof *chain };

START_TEST(only_changed_groups_are_rebuilt_and_the_bits_are_those_of_a_full_merge) {
    fixture f;
    small_models(&f);
    const msx_arch *arch = msx_merger_arch(f.m);
    int64_t tensors = msx_arch_tensor_count(arch);
    uint8_t *changed = malloc((size_t)tensors);
    msx_checkpoint *target;
    test_ok(f.ctx, msx_checkpoint_create(&target, f.ctx));
    msx_plan *previous = NULL;
    for (int i = 0; i < CHAIN; i++) {
        msx_plan *p = plan_of(f.ctx, chain[i]);
        test_ok(f.ctx, msx_ctx_set_threads(f.ctx, 1 + i % 3));
        test_ok(f.ctx, msx_merger_run(f.m, p, previous, target, changed));
        msx_checkpoint *full = merged(&f, chain[i]);
        expect_equal(target, full);
        msx_checkpoint_free(full);
        for (int64_t k = 0; k < tensors; k++) {
            bool neck = !strncmp(msx_arch_tensor_name(arch, k), "image_encoder.neck.", 19);
            if (i == 0) ck_assert_int_eq(changed[k], 1);
            if (i == 1 || i == 2) ck_assert_int_eq(changed[k], neck);
        }
        msx_plan_free(previous);
        previous = p;
    }
    /* the same plan under another cut of the network: nothing is new */
    msx_plan *coarse = plan_of(f.ctx, chain[CHAIN - 1]);
    msx_granularity four = {sizeof four, 4, 4, 4};
    test_ok(f.ctx, msx_plan_set_granularity(coarse, &four));
    test_ok(f.ctx, msx_merger_run(f.m, coarse, previous, target, changed));
    for (int64_t k = 0; k < tensors; k++) ck_assert_int_eq(changed[k], 0);
    /* a target of its own needs everything, whatever was merged before */
    msx_checkpoint *other;
    test_ok(f.ctx, msx_checkpoint_create(&other, f.ctx));
    test_ok(f.ctx, msx_merger_run(f.m, coarse, previous, other, changed));
    for (int64_t k = 0; k < tensors; k++) ck_assert_int_eq(changed[k], 1);
    expect_equal(other, target);
    msx_checkpoint_free(other);
    msx_plan_free(coarse);
    msx_plan_free(previous);
    msx_checkpoint_free(target);
    free(changed);
    fixture_free(&f);
}
END_TEST

typedef struct merging {
    msx_merger *m;
    msx_plan *plan;
    msx_checkpoint *target;
    msx_status status;
} merging;

static void *merge_repeatedly(void *payload) {
    merging *job = payload;
    for (int i = 0; i < 20 && job->status >= 0; i++)
        job->status = msx_merger_run(job->m, job->plan, NULL, job->target, NULL);
    return NULL;
}

/* Threads that borrow one merger's weights merge at the same time, each as if it were alone. */
START_TEST(weights_are_shared_by_threads) {
    enum { THREADS = 3 };
    fixture f;
    golden_models(&f);
    merging jobs[THREADS] = {{0}};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        jobs[i].plan = plan_of(f.ctx, goldens[i].groups);
        test_ok(f.ctx, msx_checkpoint_create(&jobs[i].target, f.ctx));
        test_ok(f.ctx, msx__merger_share(&jobs[i].m, f.m));
        ck_assert_ptr_eq(msx_merger_arch(jobs[i].m), msx_merger_arch(f.m));
        ck_assert_int_eq(pthread_create(&threads[i], NULL, merge_repeatedly, &jobs[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_int_eq(jobs[i].status, MSX_OK);
        msx_checkpoint *alone = merged(&f, goldens[i].groups);
        expect_equal(jobs[i].target, alone);
        msx_checkpoint_free(alone);
        msx_checkpoint_free(jobs[i].target);
        msx_plan_free(jobs[i].plan);
        msx_merger_free(jobs[i].m);
    }
    fixture_free(&f);
}
END_TEST

START_TEST(the_base_stays_where_no_group_has_an_entry) {
    fixture f;
    small_models(&f);
    msx_checkpoint *target = merged(&f, "neck: {method: linear, weight: {base: 0, ft1: 0}}");
    for (int64_t i = 0; i < msx_checkpoint_count(target); i++) {
        const char *name = msx_checkpoint_name(target, i);
        bool neck = !strncmp(name, "image_encoder.neck.", 19);
        int64_t k = msx_checkpoint_find(f.c[neck ? 1 : 0], name);
        ck_assert(!memcmp(msx_checkpoint_data(target, i), msx_checkpoint_data(f.c[neck ? 1 : 0], k),
                          (size_t)msx_checkpoint_elements(target, i) * 4));
    }
    msx_checkpoint_free(target);
    /* and the gaussian matrix always */
    target = merged(&f, "'*': {method: linear, weight: {base: 0, ft1: 0}}");
    ck_assert(!memcmp(msx_checkpoint_data(target, msx_checkpoint_find(target, GAUSSIAN)),
                      msx_checkpoint_data(f.c[0], msx_checkpoint_find(f.c[0], GAUSSIAN)), 16 * 4));
    msx_checkpoint_free(target);
    fixture_free(&f);
}
END_TEST

START_TEST(a_plan_chooses_and_orders_the_models) {
    fixture f;
    small_models(&f);
    static const char only[] = "medsamix: 1\nmodels: [ft1]\ngroups: {'*': {method: linear}}\n";
    static const char turned[] =
        "medsamix: 1\nmodels: [ft1, ft0]\n"
        "groups: {'*': {method: linear, weight: {ft0: 1, ft1: 0, base: 0}}}";
    static const char all[] = "medsamix: 1\ngroups: {'*': {method: task_arithmetic, scaling: 1}}\n";
    static const char *const texts[] = {only, turned, all};
    int64_t at = msx_checkpoint_find(f.c[0], "image_encoder.neck.2.weight") + 0;
    const float *x[3];
    for (int i = 0; i < 3; i++) x[i] = msx_checkpoint_data(f.c[i], at);
    for (int i = 0; i < 3; i++) {
        msx_plan *p;
        msx_checkpoint *target;
        test_ok(f.ctx, msx_plan_parse(&p, f.ctx, texts[i], strlen(texts[i]), "plan"));
        test_ok(f.ctx, msx_checkpoint_create(&target, f.ctx));
        test_ok(f.ctx, msx_merger_run(f.m, p, NULL, target, NULL));
        const float *out =
            msx_checkpoint_data(target, msx_checkpoint_find(target, "image_encoder.neck.2.weight"));
        const double expected[] = {0.5 * ((double)x[0][5] + x[2][5]), x[1][5],
                                   (double)x[1][5] + x[2][5] - x[0][5]};
        ck_assert_double_eq_tol(out[5], expected[i], 1e-6);
        msx_checkpoint_free(target);
        msx_plan_free(p);
    }
    msx_plan *p;
    test_ok(f.ctx, msx_plan_create(&p, f.ctx));
    test_ok(f.ctx, msx_plan_add_model(p, "ft2"));
    test_fails(f.ctx, msx_merger_run(f.m, p, NULL, f.c[0], NULL), MSX_E_NOTFOUND,
               "unknown model of the plan 'ft2'");
    msx_plan_free(p);
    fixture_free(&f);
}
END_TEST

START_TEST(equal_groups_are_seen) {
    fixture f;
    small_models(&f);
    msx_groups *g;
    test_ok(f.ctx, msx_groups_create(&g, f.ctx, msx_merger_arch(f.m), NULL));
    ck_assert(!msx_merger_group_equal(f.m, g, 0));
    msx_merger *two;
    msx_checkpoint *pair[2] = {f.c[0], f.c[2]};
    test_ok(f.ctx, msx_merger_create(&two, f.ctx, pair, names, 2, false));
    for (int64_t i = 0; i < msx_groups_count(g); i++)
        ck_assert(msx_merger_group_equal(two, g, i) ==
                  (strcmp(msx_groups_name(g, i), "neck") != 0));
    ck_assert(!msx_merger_group_equal(two, g, -1));
    ck_assert(!msx_merger_group_equal(NULL, g, 0));
    msx_merger_free(two);
    msx_groups_free(g);
    fixture_free(&f);
}
END_TEST

/* ---- a method of the caller ------------------------------------------------------------------------ */

static msx_status negate(const msx_merge_call *call, void *payload) {
    int *calls = payload;
    __atomic_fetch_add(calls, 1, __ATOMIC_RELAXED);
    ck_assert(call->struct_size >= sizeof *call && call->n_models == 3 && call->threads >= 1);
    int64_t product = 1;
    for (int i = 0; i < call->rank; i++) product *= call->dims[i];
    ck_assert_int_eq(product, call->elements);
    if (isnan(call->values[0])) {
        snprintf(call->why, call->why_size, "no gain");
        return MSX_E_CALLBACK;
    }
    for (int64_t i = 0; i < call->elements; i++)
        call->out[i] = (float)(-call->values[0] * call->models[0][i]);
    return MSX_OK;
}

START_TEST(a_method_of_the_caller_works_in_plans) {
    static int calls;
    static const msx_merge_param params[] = {{"gain", false, false, 0, 4, NAN, ""}};
    const msx_merge_method method = {sizeof method, "negate", "", "", params, 1, negate, &calls};
    fixture f;
    small_models(&f);
    test_ok(f.ctx, msx_merge_method_register(f.ctx, &method));
    calls = 0;
    msx_checkpoint *target = merged(&f, "neck: {method: negate, gain: 2}");
    ck_assert_int_eq(calls, 6);
    int64_t at = msx_checkpoint_find(target, "image_encoder.neck.0.weight");
    ck_assert(msx_checkpoint_data(target, at)[0] ==
              -2 * msx_checkpoint_data(
                       f.c[0], msx_checkpoint_find(f.c[0], "image_encoder.neck.0.weight"))[0]);
    msx_plan *p = plan_of(f.ctx, "neck: {method: negate}");
    test_fails(f.ctx, msx_merger_run(f.m, p, NULL, target, NULL), MSX_E_CALLBACK,
               "group 'neck': tensor image_encoder.neck.0.weight: method 'negate' failed: no gain");
    msx_plan_free(p);
    msx_checkpoint_free(target);
    fixture_free(&f);
}
END_TEST

/* ---- faults --------------------------------------------------------------------------------------- */

START_TEST(faulty_models_are_refused) {
    fixture f;
    small_models(&f);
    msx_merger *m;
    static const char *const wrong_base[] = {"sam", "ft0"}, *const twice[] = {"base", "a", "a"},
                             *const spaced[] = {"base", "a b"};
    test_fails(f.ctx, msx_merger_create(&m, f.ctx, f.c, names, 1, false), MSX_E_ARG, "2 to 65");
    test_fails(f.ctx, msx_merger_create(&m, f.ctx, f.c, wrong_base, 2, false), MSX_E_ARG, "'base'");
    test_fails(f.ctx, msx_merger_create(&m, f.ctx, f.c, twice, 3, false), MSX_E_EXISTS, "'a'");
    test_fails(f.ctx, msx_merger_create(&m, f.ctx, f.c, spaced, 2, false), MSX_E_ARG, "'a b'");
    test_fails(f.ctx, msx_merger_create(&m, f.ctx, NULL, names, 2, false), MSX_E_ARG, "NULL");
    ck_assert_ptr_null(m);

    msx_checkpoint *pair[2] = {f.c[0], small_sam(f.ctx, 11, 2, 1)};
    test_fails(f.ctx, msx_merger_create(&m, f.ctx, pair, names, 2, false), MSX_E_SHAPE,
               "blocks.11");
    msx_checkpoint_free(pair[1]);

    pair[1] = f.c[1];
    msx_checkpoint_data(f.c[1], msx_checkpoint_find(f.c[1], "mask_decoder.iou_token.weight"))[3] =
        INFINITY;
    test_fails(f.ctx, msx_merger_create(&m, f.ctx, pair, names, 2, false), MSX_E_FORMAT,
               "mask_decoder.iou_token.weight: element 3 is infinite");
    test_ok(f.ctx, msx_merger_create(&m, f.ctx, pair, names, 2, true));
    msx_merger_free(m);
    fixture_free(&f);
}
END_TEST

START_TEST(faulty_runs_are_refused) {
    fixture f;
    small_models(&f);
    msx_plan *p = plan_of(f.ctx, "nekc: {method: ties}");
    msx_checkpoint *target;
    test_ok(f.ctx, msx_checkpoint_create(&target, f.ctx));
    test_fails(f.ctx, msx_merger_run(f.m, p, NULL, target, NULL), MSX_E_NOTFOUND,
               "unknown layer group 'nekc'; did you mean 'neck'?");
    ck_assert_int_eq(msx_checkpoint_count(target), 0);
    test_fails(f.ctx, msx_merger_run(f.m, NULL, NULL, target, NULL), MSX_E_ARG, "NULL");
    ck_assert_int_eq(msx_merger_run(NULL, p, NULL, target, NULL), MSX_E_ARG);
    msx_plan_free(p);

    p = plan_of(f.ctx, "neck: {method: ties}");
    test_ok(f.ctx, msx_checkpoint_add(target, "image_encoder.pos_embed", 1, (int64_t[]){3}, NULL));
    test_fails(f.ctx, msx_merger_run(f.m, p, NULL, target, NULL), MSX_E_SHAPE, "pos_embed");
    msx_ctx_cancel(f.ctx);
    test_fails(f.ctx, msx_merger_run(f.m, p, NULL, f.c[0], NULL), MSX_E_CANCELLED, "cancelled");
    msx_plan_free(p);
    msx_checkpoint_free(target);
    fixture_free(&f);
}
END_TEST

/* Everything from making the models to a second merge; the status of the first failure. */
static msx_status whole_run(msx_ctx *ctx) {
    msx_checkpoint *c[2] = {NULL, NULL}, *target = NULL;
    msx_merger *m = NULL;
    msx_plan *p = NULL, *q = NULL;
    static const char a[] = "medsamix: 1\ngroups: {'*': {method: ties}}\n",
                      b[] = "medsamix: 1\ngroups: {'*': {method: slerp}, neck: {method: linear}}\n";
    msx_status status = MSX_OK;
    for (int i = 0; i < 2 && status >= 0; i++) {
        status = msx_checkpoint_create(&c[i], ctx);
        if (status >= 0) status = small_sam_fill(c[i], ctx, 1, 1, (uint32_t)i);
    }
    if (status >= 0) status = msx_checkpoint_create(&target, ctx);
    if (status >= 0) status = msx_merger_create(&m, ctx, c, names, 2, false);
    if (status >= 0) status = msx_plan_parse(&p, ctx, a, strlen(a), "a");
    if (status >= 0) status = msx_plan_parse(&q, ctx, b, strlen(b), "b");
    if (status >= 0) status = msx_merger_run(m, p, NULL, target, NULL);
    if (status >= 0) status = msx_merger_run(m, q, p, target, NULL);
    msx_merger_free(m);
    msx_plan_free(p);
    msx_plan_free(q);
    msx_checkpoint_free(c[0]);
    msx_checkpoint_free(c[1]);
    msx_checkpoint_free(target);
    return status;
}

START_TEST(memory_failures_are_returned) {
    test_allocator a;
    test_allocator_init(&a, -1, false);
    msx_ctx *ctx;
    ck_assert_int_eq(msx_ctx_create(&ctx, &a.table), MSX_OK);
    test_ok(ctx, whole_run(ctx));
    msx_ctx_free(ctx);
    ck_assert_int_eq(a.live, 0);
    int64_t calls = a.calls;
    for (int64_t fail_at = 1; fail_at < calls; fail_at++) {
        test_allocator_init(&a, fail_at, true);
        ck_assert_int_eq(msx_ctx_create(&ctx, &a.table), MSX_OK);
        ck_assert_int_eq(whole_run(ctx), MSX_E_NOMEM);
        ck_assert_int_eq(msx_ctx_error_status(ctx), MSX_E_NOMEM);
        msx_ctx_free(ctx);
        ck_assert_int_eq(a.live, 0);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("merger");
    TCase *t = tcase_create("merger");
    tcase_set_timeout(t, 300);
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, merges_meet_the_golden_ones, 0, sizeof goldens / sizeof *goldens);
    tcase_add_test(t, only_changed_groups_are_rebuilt_and_the_bits_are_those_of_a_full_merge);
    tcase_add_test(t, weights_are_shared_by_threads);
    tcase_add_test(t, the_base_stays_where_no_group_has_an_entry);
    tcase_add_test(t, a_plan_chooses_and_orders_the_models);
    tcase_add_test(t, equal_groups_are_seen);
    tcase_add_test(t, a_method_of_the_caller_works_in_plans);
    tcase_add_test(t, faulty_models_are_refused);
    tcase_add_test(t, faulty_runs_are_refused);
    tcase_add_test(t, memory_failures_are_returned);
    return test_run(s);
}
