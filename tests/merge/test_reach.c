/* SPDX-License-Identifier: Apache-2.0 */
/* Which tensors the mask of a box depends on, and what follows: how much of a group it reaches, and
 * whether a difference between two models can change it. */
#include "merge/merger.h"
#include "merge/small_sam.h"

#include <stddef.h>
#include <string.h>

static msx_ctx *ctx;
static msx_checkpoint *base, *other;
static msx_arch *arch;
static msx_groups *groups;
static int64_t n;

static void set_up(void) {
    ctx = test_ctx();
    base = small_sam(ctx, 3, 2, 5);
    other = small_sam(ctx, 3, 2, 5);
    test_ok(ctx, msx_arch_infer(&arch, ctx, base));
    test_ok(ctx, msx_groups_create(&groups, ctx, arch, NULL));
    n = msx_groups_count(groups);
}
static void tear_down(void) {
    msx_groups_free(groups);
    msx_arch_free(arch);
    msx_checkpoint_free(base);
    msx_checkpoint_free(other);
    msx_ctx_free(ctx);
}

static int64_t group_of(const char *name) {
    for (int64_t i = 0; i < n; i++)
        if (!strcmp(msx_groups_name(groups, i), name)) return i;
    ck_abort_msg("no group %s", name);
}

static int64_t elements_with(const char *part) {
    int64_t sum = 0;
    for (int64_t i = 0; i < msx_checkpoint_count(base); i++)
        if (strstr(msx_checkpoint_name(base, i), part)) sum += msx_checkpoint_elements(base, i);
    return sum;
}

START_TEST(groups_are_reached_wholly_partly_or_not_at_all) {
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const char *name = msx_groups_name(groups, i);
        int64_t all = msx_groups_elements(groups, i), reached = msx_groups_reached(groups, i);
        sum += all;
        if (!strcmp(name, "prompt.0") || !strcmp(name, "prompt.2"))
            ck_assert_int_eq(reached, 0);
        else if (!strcmp(name, "decoder.4")) /* one of four masks, and the tokens */
            ck_assert_int_eq(reached, elements_with("output_hypernetworks_mlps.0.") +
                                          elements_with("mask_tokens"));
        else if (!strcmp(name, "decoder.5"))
            ck_assert_int_eq(reached, elements_with("iou_token"));
        else
            ck_assert_msg(reached == all, "%s", name);
    }
    ck_assert_int_eq(sum, elements_with("") - elements_with("gaussian_matrix"));
    ck_assert_int_eq(msx_groups_elements(groups, n), -1);
    ck_assert_int_eq(msx_groups_reached(groups, -1), -1);
    ck_assert_int_eq(msx_groups_elements(NULL, 0), -1);
}
END_TEST

static const struct {
    const char *tensor, *group;
    bool reached;
} changes[] = {
    {"image_encoder.neck.0.weight", "neck", true},
    {"prompt_encoder.point_embeddings.1.weight", "prompt.0", false},
    {"prompt_encoder.point_embeddings.3.weight", "prompt.1", true},
    {"prompt_encoder.not_a_point_embed.weight", "prompt.0", false},
    {"prompt_encoder.mask_downscaling.6.bias", "prompt.2", false},
    {"prompt_encoder.no_mask_embed.weight", "prompt.3", true},
    {"mask_decoder.output_hypernetworks_mlps.0.layers.2.bias", "decoder.4", true},
    {"mask_decoder.output_hypernetworks_mlps.3.layers.0.weight", "decoder.4", false},
    {"mask_decoder.mask_tokens.weight", "decoder.4", true},
    {"mask_decoder.iou_prediction_head.layers.1.weight", "decoder.5", false},
    {"mask_decoder.iou_token.weight", "decoder.5", true},
};

START_TEST(a_difference_is_seen_where_boxes_reach_it) {
    static const char *const names[] = {"base", "other"};
    msx_checkpoint *const both[] = {base, other};
    msx_checkpoint_data(other, msx_checkpoint_find(other, changes[_i].tensor))[0] += 1;
    msx_group_diff *d = calloc((size_t)n, sizeof *d);
    d->struct_size = sizeof *d;
    test_ok(ctx, msx_diff(d, ctx, base, other, groups));
    msx_merger *m;
    test_ok(ctx, msx_merger_create(&m, ctx, both, names, 2, false));
    for (int64_t i = 0; i < n; i++) {
        bool here = i == group_of(changes[_i].group);
        ck_assert_int_eq(d[i].equal, !here);
        ck_assert_int_eq(d[i].reached_equal, !(here && changes[_i].reached));
        ck_assert_int_eq(msx_merger_group_equal(m, groups, i), !here);
        ck_assert_int_eq(msx__merger_equal_where(m, groups, i, msx__boxes_reach),
                         !(here && changes[_i].reached));
    }
    msx_merger_free(m);
    free(d);
}
END_TEST

/* A program that was built before there was the last member. */
START_TEST(entries_of_an_earlier_version_are_filled) {
    enum { OLD = offsetof(msx_group_diff, reached_equal) };
    char *entries = malloc((size_t)n * OLD + 1);
    memset(entries, 0x55, (size_t)n * OLD + 1);
    msx_group_diff first = {.struct_size = OLD};
    memcpy(entries, &first, OLD);
    test_ok(ctx, msx_diff((msx_group_diff *)(void *)entries, ctx, base, other, groups));
    for (int64_t i = 0; i < n; i++) {
        msx_group_diff d = {0};
        memcpy(&d, entries + i * OLD, OLD);
        ck_assert_uint_eq(d.struct_size, OLD);
        ck_assert_int_eq(d.elements, msx_groups_elements(groups, i));
        ck_assert_int_eq(d.equal, 1);
    }
    ck_assert_int_eq(entries[n * OLD], 0x55);
    free(entries);
}
END_TEST

int main(void) {
    Suite *s = suite_create("reach");
    TCase *t = tcase_create("reach");
    tcase_add_checked_fixture(t, set_up, tear_down);
    suite_add_tcase(s, t);
    tcase_add_test(t, groups_are_reached_wholly_partly_or_not_at_all);
    tcase_add_loop_test(t, a_difference_is_seen_where_boxes_reach_it, 0,
                        sizeof changes / sizeof *changes);
    tcase_add_test(t, entries_of_an_earlier_version_are_filled);
    return test_run(s);
}
