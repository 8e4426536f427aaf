/* SPDX-License-Identifier: Apache-2.0 */
/* What rebuilding one of the 19 layer groups of a ViT-B costs: exactly the group's elements go through
 * the method, which is a nineteenth of all on average, and the time follows. */
#include "support/computed_vit.h"
#include "support/support.h"

#include <medsamix/sys/merge_method.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GROUPS = 19, MODELS = 2 };

static const char *const names[MODELS] = {"base", "same"};

/* A method that counts the elements it is given. */
static msx_status count_elements(const msx_merge_call *call, void *payload) {
    *(int64_t *)payload += call->elements;
    memcpy(call->out, call->models[0], (size_t)call->elements * sizeof *call->out);
    return MSX_OK;
}

typedef struct fixture {
    msx_ctx *ctx;
    msx_merger *merger;
    msx_checkpoint *target;
    msx_plan *plan, *other; /* alike but for the group that is changed */
    msx_groups *groups;
} fixture;

static void set_method(msx_plan *plan, const char *group, const char *method) {
    ck_assert_int_eq(msx_plan_set_method(plan, group, method), MSX_OK);
}

static void begin(fixture *f, const msx_merge_method *own, const char *method) {
    const msx_granularity pairs = {sizeof pairs, 2, 1, 1};
    msx_checkpoint *model;
    f->ctx = test_ctx();
    if (own) test_ok(f->ctx, msx_merge_method_register(f->ctx, own));
    test_ok(f->ctx, msx_ctx_set_threads(f->ctx, 1));
    test_ok(f->ctx, test_compute_vit(&model, f->ctx, 768, 64, 12, 3));
    msx_checkpoint *const models[MODELS] = {model, model};
    test_ok(f->ctx, msx_merger_create(&f->merger, f->ctx, models, names, MODELS, false));
    msx_checkpoint_free(model);
    test_ok(f->ctx, msx_checkpoint_create(&f->target, f->ctx));
    msx_plan **plans[] = {&f->plan, &f->other};
    for (int i = 0; i < 2; i++) {
        test_ok(f->ctx, msx_plan_create(plans[i], f->ctx));
        test_ok(f->ctx, msx_plan_set_granularity(*plans[i], &pairs));
        set_method(*plans[i], "*", method);
    }
    test_ok(f->ctx, msx_plan_groups(&f->groups, f->plan, msx_merger_arch(f->merger)));
    ck_assert_int_eq(msx_groups_count(f->groups), GROUPS);
    test_ok(f->ctx, msx_merger_run(f->merger, f->plan, NULL, f->target, NULL));
}

static void end(fixture *f) {
    msx_groups_free(f->groups);
    msx_plan_free(f->plan);
    msx_plan_free(f->other);
    msx_checkpoint_free(f->target);
    msx_merger_free(f->merger);
    msx_ctx_free(f->ctx);
}

/* Change group g to another method, and back to the plan's; the time of the way back. */
static double rebuild(fixture *f, int g, const char *method) {
    const char *group = msx_groups_name(f->groups, g);
    struct timespec a, b;
    set_method(f->other, group, "passthrough");
    test_ok(f->ctx, msx_merger_run(f->merger, f->other, f->plan, f->target, NULL));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    test_ok(f->ctx, msx_merger_run(f->merger, f->plan, f->other, f->target, NULL));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    set_method(f->other, group, method);
    return (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
}

/* Elements of the tensors of group g; g = -1: of all groups. */
static int64_t elements_of(const fixture *f, int g) {
    const msx_arch *arch = msx_merger_arch(f->merger);
    int64_t sum = 0;
    for (int64_t i = 0; i < msx_arch_tensor_count(arch); i++) {
        const char *name = msx_arch_tensor_name(arch, i);
        int64_t group = msx_groups_of_tensor(f->groups, name);
        if (g < 0 ? group >= 0 : group == g)
            sum += msx_checkpoint_elements(f->target, msx_checkpoint_find(f->target, name));
    }
    return sum;
}

START_TEST(only_the_elements_of_the_group_are_touched) {
    int64_t touched = 0, sum = 0;
    const msx_merge_method own = {.struct_size = sizeof own,
                                  .name = "count",
                                  .about = "counts",
                                  .source = "this test",
                                  .apply = count_elements,
                                  .payload = &touched};
    fixture f;
    begin(&f, &own, "count");
    ck_assert_int_eq(touched, elements_of(&f, -1));
    int64_t all = touched;
    for (int g = 0; g < GROUPS; g++) {
        touched = 0;
        rebuild(&f, g, "count");
        ck_assert_int_eq(touched, elements_of(&f, g));
        sum += touched;
    }
    ck_assert_int_eq(sum, all);
    end(&f);
}
END_TEST

/* Processor time on one thread, which other work on the machine changes little. */
START_TEST(a_group_costs_a_tenth_of_a_full_merge_at_most_on_average) {
    fixture f;
    begin(&f, NULL, "multislerp");
    double full = 0, groups = 0;
    for (int g = 0; g < GROUPS; g++) {
        struct timespec a, b;
        groups += rebuild(&f, g, "multislerp");
        if (g % 6) continue;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        test_ok(f.ctx, msx_merger_run(f.merger, f.plan, NULL, f.target, NULL));
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        full += ((double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec)) / 4;
    }
    printf("one group of %d on average: %.1f %% of a full merge\n", GROUPS,
           100 * groups / GROUPS / full);
    ck_assert_double_le(groups / GROUPS, 0.1 * full);
    end(&f);
}
END_TEST

int main(void) {
    Suite *s = suite_create("rebuild");
    TCase *t = tcase_create("rebuild");
    tcase_set_timeout(t, 240);
    suite_add_tcase(s, t);
    tcase_add_test(t, only_the_elements_of_the_group_are_touched);
    tcase_add_test(t, a_group_costs_a_tenth_of_a_full_merge_at_most_on_average);
    return test_run(s);
}
