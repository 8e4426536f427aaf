/* SPDX-License-Identifier: Apache-2.0 */
/* When a trial has lost its race, and what it is said to cost; the order in which images are visited. */
#include "search/search_race.h"
#include "support/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 12, TASKS = 3, ITEMS = 18 };

/* Every image has task i % 2, and every other one task 2, too. */
typedef struct fixture {
    msx_ctx *ctx;
    msx_evaluator e;
    msx__eval_image images[IMAGES];
    msx__eval_item items[ITEMS];
    msx__eval_task tasks[TASKS];
    double best[ITEMS], trial[ITEMS], costs[TASKS];
    msx__race race;
} fixture;

static void set_up(fixture *f) {
    memset(f, 0, sizeof *f);
    f->ctx = test_ctx();
    int64_t k = 0;
    for (int i = 0; i < IMAGES; i++) {
        f->images[i] = (msx__eval_image){.first_item = k, .n_items = 1 + i % 2};
        f->items[k++] = (msx__eval_item){.image = i, .task = i / 2 % 2};
        if (i % 2) f->items[k++] = (msx__eval_item){.image = i, .task = 2};
    }
    ck_assert_int_eq(k, ITEMS);
    for (int i = 0; i < ITEMS; i++) {
        f->tasks[f->items[i].task].slices++;
        f->best[i] = 0.5 + 0.01 * i;
    }
    f->e = (msx_evaluator){.ctx = f->ctx,
                           .images = f->images,
                           .n_images = IMAGES,
                           .items = f->items,
                           .n_items = ITEMS,
                           .tasks = f->tasks,
                           .n_tasks = TASKS};
    for (int t = 0; t < TASKS; t++) f->costs[t] = 0.3 + 0.1 * t;
    f->race =
        (msx__race){.evaluator = &f->e, .dice = f->best, .costs = f->costs, .p = 0.1, .minimum = 3};
    memcpy(f->trial, f->best, sizeof f->best);
}

static bool lost(fixture *f, int64_t images) {
    bool is;
    test_ok(f->ctx, msx__race_is_lost(&f->race, f->trial, images, &is));
    return is;
}

/* Set the difference on all items of an image. */
static void differ(fixture *f, int image, double d) {
    const msx__eval_image *i = &f->images[image];
    for (int64_t k = i->first_item; k < i->first_item + i->n_items; k++)
        f->trial[k] = f->best[k] + d;
}

START_TEST(a_trial_that_is_worse_everywhere_is_lost_as_soon_as_that_is_significant) {
    fixture f;
    set_up(&f);
    for (int i = 0; i < IMAGES; i++) differ(&f, i, -0.01 * (i + 1));
    ck_assert(!lost(&f, 3)); /* 1 of 8 sign patterns */
    ck_assert(lost(&f, 4));  /* 1 of 16 */
    ck_assert(lost(&f, IMAGES));
    f.race.p = 0.2;
    ck_assert(lost(&f, 3));
    f.race.minimum = 5;
    ck_assert(!lost(&f, 4));
    ck_assert(lost(&f, 5));
    f.race.dice = NULL;
    ck_assert(!lost(&f, IMAGES));
    msx_ctx_free(f.ctx);
}
END_TEST

START_TEST(a_trial_is_not_lost_without_evidence) {
    fixture f;
    set_up(&f);
    ck_assert(!lost(&f, IMAGES)); /* equal everywhere */
    for (int i = 0; i < IMAGES; i++) differ(&f, i, i % 2 ? 0.02 : -0.021);
    ck_assert(!lost(&f, IMAGES));
    /* many small losses and one large gain: the test says worse, the mean says better */
    for (int i = 0; i < IMAGES; i++) differ(&f, i, -0.001);
    differ(&f, 0, 0.3);
    for (int64_t n = 1; n <= IMAGES; n++) ck_assert(!lost(&f, n));
    differ(&f, 0, 0.003); /* the mean is below now */
    ck_assert(lost(&f, IMAGES));
    msx_ctx_free(f.ctx);
}
END_TEST

START_TEST(undefined_dice_are_left_out) {
    fixture f;
    set_up(&f);
    for (int i = 0; i < IMAGES; i++) differ(&f, i, -0.01 * (i + 1));
    for (int k = 0; k < ITEMS; k++)
        if (f.items[k].image < 3) f.trial[k] = NAN;
    ck_assert(!lost(&f, 6));
    ck_assert(lost(&f, 7));
    double costs[TASKS];
    f.race.costs = f.costs;
    for (int k = 0; k < ITEMS; k++) f.trial[k] = NAN;
    msx__race_costs(&f.race, f.trial, IMAGES, costs);
    ck_assert(!memcmp(costs, f.costs, sizeof costs));
    msx_ctx_free(f.ctx);
}
END_TEST

START_TEST(costs_are_the_incumbents_plus_what_was_seen) {
    fixture f;
    set_up(&f);
    double costs[TASKS];
    differ(&f, 0, -0.1); /* task 0 */
    differ(&f, 1, -0.3); /* tasks 0 and 2 */
    msx__race_costs(&f.race, f.trial, 2, costs);
    ck_assert(fabs(costs[0] - (0.3 + 0.2)) < 1e-12);
    ck_assert(fabs(costs[2] - (0.5 + 0.3)) < 1e-12);
    ck_assert(fabs(costs[1] - (0.4 + 0.25)) < 1e-12); /* not seen: the mean of the two */
    differ(&f, 0, -0.9);
    differ(&f, 1, 0.9);
    f.costs[2] = 0.2;
    msx__race_costs(&f.race, f.trial, 2, costs);
    ck_assert(costs[2] == 0);
    differ(&f, 1, -0.9);
    msx__race_costs(&f.race, f.trial, 2, costs);
    ck_assert(costs[0] == 1);
    msx_ctx_free(f.ctx);
}
END_TEST

/* A shuffled list of images that the order may cut anywhere. */
START_TEST(every_first_part_of_the_order_has_its_share_of_every_task) {
    for (uint64_t seed = 0; seed < 20; seed++) {
        fixture f;
        set_up(&f);
        f.e.sizes = NULL;
        test_ok(f.ctx, msx__evaluator_interleave(&f.e, seed));
        int64_t seen[TASKS] = {0}, places = 0;
        for (int i = 0; i < IMAGES; i++) {
            ck_assert(f.e.natural[i] >= 0 && f.e.natural[i] < IMAGES);
            places |= 1 << f.e.natural[i];
            const msx__eval_image *image = &f.images[i];
            for (int64_t k = image->first_item; k < image->first_item + image->n_items; k++) {
                ck_assert_int_eq(f.items[k].image, i);
                seen[f.items[k].task]++;
            }
            /* in six slices of each task, none is ahead of its share by two */
            for (int t = 0; t < TASKS; t++)
                ck_assert_msg(fabs((double)seen[t] - 6.0 * (i + 1) / IMAGES) < 2,
                              "seed %d: %d of task %d among %d images", (int)seed, (int)seen[t], t,
                              i + 1);
        }
        ck_assert_int_eq(places, (1 << IMAGES) - 1);
        msx__free(f.ctx, f.e.natural);
        msx_ctx_free(f.ctx);
    }
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("race");
    TCase *t = tcase_create("race");
    tcase_add_test(t, a_trial_that_is_worse_everywhere_is_lost_as_soon_as_that_is_significant);
    tcase_add_test(t, a_trial_is_not_lost_without_evidence);
    tcase_add_test(t, undefined_dice_are_left_out);
    tcase_add_test(t, costs_are_the_incumbents_plus_what_was_seen);
    tcase_add_test(t, every_first_part_of_the_order_has_its_share_of_every_task);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
