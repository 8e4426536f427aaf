/* SPDX-License-Identifier: Apache-2.0 */
/* The space of merges: granularities that are searched, groups of one's own, and what a stage keeps. */
#include "core/random.h"
#include "merge/merger.h"
#include "search/space.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"base", "ft0", "ft1"};
#define PAPER "linear,task_arithmetic,ties,slerp"

typedef struct fixture {
    msx_ctx *ctx;
    msx_merger *merger;
} fixture;

static void set_up(fixture *f) {
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
}

static void tear_down(fixture *f) {
    msx_merger_free(f->merger);
    msx_ctx_free(f->ctx);
}

static msx__merge_space space_of(fixture *f, int encoder, int prompt, int decoder,
                                 const char *methods, const msx_plan *own) {
    msx__merge_space s;
    const msx__space_options o = {
        .granularity = {encoder, prompt, decoder}, .methods = methods, .own = own};
    test_ok(f->ctx, msx__merge_space_create(&s, f->ctx, f->merger, names, 3, &o));
    return s;
}

static int64_t column(const msx__merge_space *s, const char *name) {
    for (int64_t i = 0; i < msx_space_count(s->space); i++)
        if (!strcmp(msx_space_name(s->space, i), name)) return i;
    return -1;
}

/* The groups that a plan merges, in the order of the space's list. */
static void list_merged(const msx_plan *plan, char *out, size_t size) {
    *out = 0;
    for (int64_t i = 0; i < msx_plan_entry_count(plan); i++) {
        size_t used = strlen(out);
        snprintf(out + used, size - used, "%s ", msx_plan_entry_group(plan, i));
    }
}

/* Plan of a configuration; its text, without the values, goes to `merged`. */
static void plan_of(fixture *f, const msx__merge_space *s, const double *x, msx_granularity *g,
                    char *merged, size_t size) {
    msx_plan *plan;
    msx_groups *groups;
    test_ok(f->ctx, msx__merge_space_plan(&plan, s, x));
    test_ok(f->ctx, msx_plan_groups(&groups, plan, msx_merger_arch(f->merger)));
    msx_groups_free(groups);
    msx_plan_granularity(plan, g);
    list_merged(plan, merged, size);
    msx_plan_free(plan);
}

START_TEST(a_searched_granularity_gives_the_groups_of_the_fixed_one) {
    static const char *const methods[] = {PAPER, "ties"};
    fixture f;
    set_up(&f);
    for (int m = 0; m < 2; m++) {
        msx__merge_space s = space_of(&f, 0, 0, 0, methods[m], NULL);
        int64_t n = msx_space_count(s.space), encoder = column(&s, "encoder.granularity"),
                decoder = column(&s, "decoder.granularity");
        ck_assert(encoder >= 0 && decoder >= 0);
        ck_assert_int_eq(msx_space_choices(s.space, encoder), 2); /* two blocks */
        ck_assert_int_eq(msx_space_choices(s.space, decoder), 4);
        double *x = malloc((size_t)n * sizeof *x);
        msx_space_default(s.space, x);
        ck_assert(x[encoder] == 1 && x[decoder] == 0); /* 2 and 1, as without searching */
        unsigned seen = 0;
        for (uint64_t draw = 0; draw < 200; draw++) {
            msx_granularity g;
            char got[1024], expected[1024];
            msx_space_sample(s.space, 7, draw, x);
            plan_of(&f, &s, x, &g, got, sizeof got);
            ck_assert_int_eq(g.encoder, 1 + (int)x[encoder]);
            ck_assert_int_eq(g.decoder, 1 + (int)x[decoder]);
            seen |= 1u << (2 * (g.decoder - 1) + (g.encoder - 1));
            msx__merge_space fixed = space_of(&f, g.encoder, g.prompt, g.decoder, methods[m], NULL);
            double *y = malloc((size_t)msx_space_count(fixed.space) * sizeof *y);
            msx_space_default(fixed.space, y);
            plan_of(&f, &fixed, y, &g, expected, sizeof expected);
            ck_assert_str_eq(got, expected);
            /* and as many numbers are active as the fixed space has for the same methods */
            for (int64_t i = 0; i < msx_space_count(fixed.space); i++) {
                int64_t here = column(&s, msx_space_name(fixed.space, i));
                ck_assert_int_ge(here, 0);
                if (strstr(msx_space_name(fixed.space, i), "/method")) ck_assert(!isnan(x[here]));
            }
            free(y);
            msx__merge_space_free(&fixed);
        }
        ck_assert_uint_eq(seen, 0xff);
        free(x);
        msx__merge_space_free(&s);
    }
    tear_down(&f);
}
END_TEST

/* decoder.4-5 is a group of granularity 2 and of granularity 4: one set of columns serves both. */
START_TEST(groups_that_granularities_share_are_one) {
    fixture f;
    set_up(&f);
    msx__merge_space s = space_of(&f, 2, 1, 0, PAPER, NULL);
    int64_t decoder = column(&s, "decoder.granularity"), shared = column(&s, "decoder.4-5/method");
    ck_assert(decoder >= 0 && shared >= 0);
    ck_assert_int_eq(column(&s, "encoder.granularity"), -1);
    double *x = malloc((size_t)msx_space_count(s.space) * sizeof *x);
    for (int g = 1; g <= 4; g++) {
        msx_space_default(s.space, x);
        x[decoder] = g - 1;
        msx_space_repair(s.space, x);
        test_ok(f.ctx, msx_space_check(s.space, x));
        ck_assert_int_eq(!isnan(x[shared]), g == 2 || g == 4);
    }
    /* models alone and uniform merges are configurations of the initial granularity */
    ck_assert(msx__merge_space_single(&s, 1, x));
    test_ok(f.ctx, msx_space_check(s.space, x));
    ck_assert(x[decoder] == 0);
    ck_assert(msx__merge_space_uniform(&s, "slerp", x));
    test_ok(f.ctx, msx_space_check(s.space, x));
    free(x);
    msx__merge_space_free(&s);
    tear_down(&f);
}
END_TEST

static msx_plan *own_groups(fixture *f, const char *define) {
    char text[1024];
    msx_plan *own;
    snprintf(text, sizeof text, "medsamix: 1\ndefine: {%s}\n", define);
    test_ok(f->ctx, msx_plan_parse(&own, f->ctx, text, strlen(text), "groups"));
    return own;
}

START_TEST(own_groups_are_searched_with_every_granularity) {
    fixture f;
    set_up(&f);
    msx_plan *own = own_groups(&f, "encoder.tables: ['*.rel_pos_?'], late: ["
                                   "image_encoder.blocks.1.mlp.*, image_encoder.neck.*]");
    msx__merge_space s = space_of(&f, 0, 1, 1, PAPER, own);
    int64_t tables = column(&s, "encoder.tables/method"), late = column(&s, "late/method");
    ck_assert(tables >= 0 && late >= 0);
    ck_assert_int_eq(column(&s, "neck/method"), -1); /* nothing is left of it */
    const msx__space_group *groups = s.groups + s.n_groups - 2;
    ck_assert_str_eq(groups[0].name, "encoder.tables");
    ck_assert(groups[0].part == MSX__PART_NONE && groups[0].use == 1);
    ck_assert(groups[1].part == MSX__PART_NONE && groups[1].use == 2);
    double *x = malloc((size_t)msx_space_count(s.space) * sizeof *x);
    for (uint64_t draw = 0; draw < 20; draw++) {
        msx_granularity g;
        char merged[1024];
        msx_space_sample(s.space, 3, draw, x);
        ck_assert(!isnan(x[tables]) && !isnan(x[late]));
        plan_of(&f, &s, x, &g, merged, sizeof merged);
        ck_assert_ptr_nonnull(strstr(merged, "encoder.tables late "));
    }
    free(x);
    msx__merge_space_free(&s);
    msx_plan_free(own);

    own = own_groups(&f, "mask: [prompt_encoder.mask_downscaling.*]");
    s = space_of(&f, 2, 1, 1, PAPER, own);
    ck_assert_int_eq(s.groups[s.n_groups - 1].state, MSX__GROUP_UNREACHED);
    msx__merge_space_free(&s);
    msx_plan_free(own);

    own = own_groups(&f, "nothing: [image_encoder.bloks.*]");
    const msx__space_options o = {.granularity = {2, 1, 1}, .methods = PAPER, .own = own};
    test_fails(f.ctx, msx__merge_space_create(&s, f.ctx, f.merger, names, 3, &o), MSX_E_NOTFOUND,
               "group 'nothing' has no tensor");
    msx_plan_free(own);
    tear_down(&f);
}
END_TEST

/* Every column of a group that is first used up to the boundary, with its method and its values. */
START_TEST(a_prefix_is_what_the_encoder_uses_up_to_a_boundary) {
    fixture f;
    set_up(&f);
    msx__merge_space s = space_of(&f, 0, 1, 0, PAPER, NULL);
    int64_t n = msx_space_count(s.space);
    uint8_t *fixed = malloc((size_t)n);
    static const struct {
        int64_t boundary;
        const char *kept;
    } cases[] = {{-1, ""},
                 {0, "patch_embed pos_embed "},
                 {1, "patch_embed pos_embed encoder.0 encoder.0-1 "},
                 {2, "patch_embed pos_embed encoder.0 encoder.1 encoder.0-1 "},
                 {3, "patch_embed pos_embed encoder.0 encoder.1 encoder.0-1 neck "}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        msx__merge_space_prefix(&s, cases[i].boundary, fixed);
        for (int64_t k = 0; k < n; k++) {
            char word[80];
            const char *name = msx_space_name(s.space, k);
            snprintf(word, sizeof word, "%.*s ", (int)strcspn(name, "/"), name);
            bool expected = !strcmp(word, "encoder.granularity ")
                                ? cases[i].boundary >= 0
                                : strstr(cases[i].kept, word) != NULL;
            ck_assert_msg(fixed[k] == expected, "boundary %d: %s", (int)cases[i].boundary, name);
        }
    }
    free(fixed);
    msx__merge_space_free(&s);
    tear_down(&f);
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("space");
    TCase *t = tcase_create("space");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_searched_granularity_gives_the_groups_of_the_fixed_one);
    tcase_add_test(t, groups_that_granularities_share_are_one);
    tcase_add_test(t, own_groups_are_searched_with_every_granularity);
    tcase_add_test(t, a_prefix_is_what_the_encoder_uses_up_to_a_boundary);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
