/* SPDX-License-Identifier: Apache-2.0 */
/* Digests of what the encoder's intermediate results depend on. */
#include "merge/merger.h"
#include "search/prefix.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

typedef struct fixture {
    msx_ctx *ctx;
    msx_merger *merger;
    int64_t depth;
} fixture;

static void set_up(fixture *f) {
    static const char *const names[] = {"base", "ft0", "ft1"};
    static const char *const files[] = {"base", "finetuned0", "finetuned1"};
    msx_checkpoint *c[3];
    f->ctx = test_ctx();
    for (int i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "golden/merge/%s.safetensors", files[i]);
        test_ok(f->ctx, msx_checkpoint_open(&c[i], f->ctx, test_path(path)));
    }
    test_ok(f->ctx, msx_merger_create(&f->merger, f->ctx, c, names, 3, false));
    for (int i = 0; i < 3; i++) msx_checkpoint_free(c[i]);
    f->depth = msx_arch_get(msx_merger_arch(f->merger), MSX_ARCH_DEPTH);
    ck_assert_int_eq(f->depth, 2);
}

static void tear_down(fixture *f) {
    msx_merger_free(f->merger);
    msx_ctx_free(f->ctx);
}

/* @param head what stands before "groups: {". */
static msx__prefix prefix_of(fixture *f, const char *head, const char *groups) {
    char text[1024];
    msx_plan *plan;
    msx__prefix p;
    snprintf(text, sizeof text, "medsamix: 1\n%s\nmodels: [ft0, ft1]\ngroups: {%s}\n", head,
             groups);
    test_ok(f->ctx, msx_plan_parse(&plan, f->ctx, text, strlen(text), "plan"));
    test_ok(f->ctx, msx__prefix_create(&p, f->merger, plan));
    msx_plan_free(plan);
    return p;
}

/* The first boundary at which two plans differ; depth + 2: at none. */
static int64_t differ_at(fixture *f, const char *head_a, const char *a, const char *head_b,
                         const char *b) {
    msx__prefix p = prefix_of(f, head_a, a), q = prefix_of(f, head_b, b);
    int64_t at = 0;
    while (at < f->depth + 2 && !memcmp(p.digest[at], q.digest[at], MSX__SHA256_BYTES)) at++;
    for (int64_t k = at; k < f->depth + 2; k++)
        ck_assert(memcmp(p.digest[k], q.digest[k], MSX__SHA256_BYTES));
    msx__prefix_free(&p);
    msx__prefix_free(&q);
    return at;
}

#define ALL "'*': {method: ties, retain: 0.5, scaling: 0.4}"

START_TEST(plans_part_at_the_first_use_of_what_differs) {
    static const struct {
        const char *changed;
        int64_t at;
    } cases[] = {
        {"patch_embed: {method: task_arithmetic, scaling: 0.5}", 0},
        {"pos_embed: {method: task_arithmetic, scaling: 0.5}", 0},
        {"encoder.0: {method: task_arithmetic, scaling: 0.5}", 1},
        {"encoder.1: {method: task_arithmetic, scaling: 0.5}", 2},
        {"encoder.1: {method: ties, retain: 0.5, scaling: 0.400001}", 2},
        {"neck: {method: task_arithmetic, scaling: 0.5}", 3},
        {"decoder.0: {method: task_arithmetic, scaling: 0.5}", 4},
        {"prompt.3: {method: task_arithmetic, scaling: 0.5}", 4},
        {"encoder.0: {method: ties, retain: 0.5, scaling: 0.4}", 4}, /* what '*' says, too */
    };
    fixture f;
    set_up(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char groups[256];
        snprintf(groups, sizeof groups, "%s, %s", ALL, cases[i].changed);
        ck_assert_msg(differ_at(&f, "", ALL, "", groups) == cases[i].at, "%s", cases[i].changed);
    }
    tear_down(&f);
}
END_TEST

START_TEST(grouping_does_not_matter_but_what_is_made_of_the_tensors_does) {
    fixture f;
    set_up(&f);
    ck_assert_int_eq(differ_at(&f, "", ALL, "granularity: {encoder: 2}", ALL), 4);
    ck_assert_int_eq(
        differ_at(&f, "", ALL, "define: {tables: ['*.rel_pos_?', image_encoder.pos_embed]}", ALL),
        4);
    ck_assert_int_eq(differ_at(&f, "", ALL, "define: {late: [image_encoder.blocks.1.mlp.*]}",
                               ALL ", late: {method: linear}"),
                     2);
    /* kept tensors are not those of a method that happens to keep them */
    ck_assert_int_eq(differ_at(&f, "", "neck: {method: ties}", "", "decoder.1: {method: ties}"), 3);
    tear_down(&f);
}
END_TEST

START_TEST(boundaries_are_kept_where_trials_can_part) {
    static const struct {
        const char *head, *groups;
        bool parts[4];
    } cases[] = {
        {"", ALL, {true, true, true, false}},
        {"granularity: {encoder: 2}", ALL, {true, false, true, false}},
        {"", "encoder.1: {method: ties}", {false, true, false, false}},
        {"", "decoder.1: {method: ties}", {false, false, false, false}},
        /* a group that is used from the beginning on cannot be changed later */
        {"define: {norms: ['*.norm?.*']}", "norms: {method: ties}", {true, false, false, false}},
    };
    fixture f;
    set_up(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        msx__prefix p = prefix_of(&f, cases[i].head, cases[i].groups);
        for (int k = 0; k < 4; k++)
            ck_assert_msg(p.parts[k] == cases[i].parts[k], "case %d, boundary %d", (int)i, k);
        msx__prefix_free(&p);
    }
    tear_down(&f);
}
END_TEST

START_TEST(keys_tell_boundaries_and_images_apart) {
    fixture f;
    set_up(&f);
    msx__prefix p = prefix_of(&f, "", ALL), q = prefix_of(&f, "", ALL ", neck: {method: linear}");
    msx__cache_key keys[] = {msx__prefix_key(&p, 1, 0, 2), msx__prefix_key(&p, 2, 0, 2),
                             msx__prefix_key(&p, 1, 2, 2), msx__prefix_key(&p, 1, 0, 1),
                             msx__prefix_key(&p, 3, 0, 2), msx__prefix_key(&q, 3, 0, 2)};
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < i; k++) ck_assert(memcmp(&keys[i], &keys[k], sizeof keys[i]));
    msx__cache_key same = msx__prefix_key(&q, 2, 0, 2);
    ck_assert(!memcmp(&same, &keys[1], sizeof same));
    msx__prefix_free(&p);
    msx__prefix_free(&q);
    msx__prefix_free(&p); /* a zeroed one */
    tear_down(&f);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("prefix");
    TCase *t = tcase_create("prefix");
    tcase_add_test(t, plans_part_at_the_first_use_of_what_differs);
    tcase_add_test(t, grouping_does_not_matter_but_what_is_made_of_the_tensors_does);
    tcase_add_test(t, boundaries_are_kept_where_trials_can_part);
    tcase_add_test(t, keys_tell_boundaries_and_images_apart);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
