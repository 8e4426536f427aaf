/* SPDX-License-Identifier: Apache-2.0 */
/* Racing with calibration images as instances, after O. Maron, A. Moore, "Hoeffding races", NIPS 1993, and
 * M. Birattari et al., "A racing algorithm for configuring metaheuristics", GECCO 2002, with the signed-rank
 * test of Optuna's WilcoxonPruner. */
#include "search/search_race.h"

#include "search/wilcoxon.h"

#include <math.h>

/* Trial - incumbent; NaN where the Dice of either is not defined. */
static double item_difference(const msx__race *r, const double *dice, int64_t item) {
    return dice[item] - r->dice[item];
}

/* Mean difference on the images seen of one task; NaN when there is none. */
static double task_difference(const msx__race *r, const double *dice, int64_t images,
                              int64_t task) {
    const msx_evaluator *e = r->evaluator;
    double sum = 0;
    int64_t n = 0;
    for (int64_t k = 0; k < e->n_items && e->items[k].image < images; k++) {
        double d = item_difference(r, dice, k);
        if (e->items[k].task != task || isnan(d)) continue;
        sum += d;
        n++;
    }
    return n ? sum / (double)n : NAN;
}

static double mean_difference(const msx__race *r, const double *dice, int64_t images) {
    double sum = 0;
    int64_t n = 0;
    for (int64_t t = 0; t < r->evaluator->n_tasks; t++) {
        double d = task_difference(r, dice, images, t);
        if (isnan(d)) continue;
        sum += d;
        n++;
    }
    return n ? sum / (double)n : 0;
}

/* Of the tasks on one image; NaN, which the test takes for no difference, when none is defined. */
static double image_difference(const msx__race *r, const double *dice, int64_t image) {
    const msx__eval_image *i = &r->evaluator->images[image];
    double sum = 0;
    int64_t n = 0;
    for (int64_t k = i->first_item; k < i->first_item + i->n_items; k++) {
        double d = item_difference(r, dice, k);
        if (isnan(d)) continue;
        sum += d;
        n++;
    }
    return n ? sum / (double)n : NAN;
}

msx_status msx__race_is_lost(const msx__race *r, const double *dice, int64_t images, bool *lost) {
    *lost = false;
    if (!r->dice || images < r->minimum || mean_difference(r, dice, images) > 0) return MSX_OK;
    msx_ctx *ctx = r->evaluator->ctx;
    double *differences = msx__alloc(ctx, (size_t)images, sizeof *differences), p = 1;
    if (!differences) return MSX_E_NOMEM;
    for (int64_t i = 0; i < images; i++) differences[i] = image_difference(r, dice, i);
    msx_status status = msx__wilcoxon_below(ctx, differences, images, &p);
    msx__free(ctx, differences);
    *lost = status >= 0 && p < r->p;
    return status;
}

void msx__race_costs(const msx__race *r, const double *dice, int64_t images, double *costs) {
    double mean = mean_difference(r, dice, images);
    for (int64_t t = 0; t < r->evaluator->n_tasks; t++) {
        double d = task_difference(r, dice, images, t);
        double cost = r->costs[t] - (isnan(d) ? mean : d);
        costs[t] = cost < 0 ? 0 : cost > 1 ? 1 : cost;
    }
}
