/* SPDX-License-Identifier: Apache-2.0 */
#include "optimize/climber.h"

#include "optimize/matrix.h"

#include <math.h>
#include <string.h>

#define ROUNDS      6    /* of numbers, then choices */
#define EVALUATIONS 25   /* of the slope, for the numbers of one round */
#define FIRST_STEP  0.05 /* of the range */
#define MIN_GAIN    1e-6 /* of the logarithm; less is no reason to go on */

/* ---- memory ------------------------------------------------------------------------------------------ */

static void find_donors(msx__climber *c) {
    const msx_space *s = c->history->space;
    const msx__belief *b = c->belief;
    int64_t choices = 0;
    for (int64_t i = 0; i < s->n; i++) {
        c->donor_of[i] = choices;
        choices += s->params[i].n_choices;
    }
    for (int64_t i = 0; i < choices; i++) c->donor[i] = -1;
    for (int64_t row = 0; row < b->n; row++) {
        const double *x = c->history->x[b->trials[row]];
        for (int64_t i = 0; i < s->n; i++) {
            if (s->params[i].kind != MSX_PARAM_CATEGORICAL || isnan(x[i])) continue;
            int64_t *donor = &c->donor[c->donor_of[i] + (int64_t)x[i]];
            if (*donor < 0 || b->score[row] < b->score[*donor]) *donor = row;
        }
    }
}

msx_status msx__climber_init(msx__climber *c, const msx__belief *belief,
                             const msx__utility *utility, const msx_history *h) {
    const msx_space *s = h->space;
    const size_t d = (size_t)s->n, n = (size_t)belief->n, m = (size_t)belief->m,
                 gps = (size_t)belief->n_gps;
    const size_t families = (size_t)msx__kernel_families(&belief->gps[0].kernel);
    msx_ctx *ctx = h->ctx;
    size_t choices = 0;
    for (size_t i = 0; i < d; i++) choices += (size_t)s->params[i].n_choices;
    *c = (msx__climber){.belief = belief, .utility = utility, .history = h};
    MSX_TRY(msx__minimiser_init(&c->minimiser, ctx, s->n));
    c->x = msx__alloc(ctx, 8 * d, sizeof *c->x);
    c->factor = msx__alloc(ctx, n * (gps * (2 * families + 3) + 2), sizeof *c->factor);
    c->means = msx__alloc(ctx, 5 * m, sizeof *c->means);
    c->active = msx__alloc(ctx, d, sizeof *c->active);
    c->changed = msx__alloc(ctx, 4 * d + choices, sizeof *c->changed);
    if (!c->x || !c->factor || !c->means || !c->active || !c->changed) {
        msx__climber_free(c);
        return MSX_E_NOMEM;
    }
    c->e = c->x + d;
    c->try_x = c->e + d;
    c->try_e = c->try_x + d;
    c->u = c->try_e + d;
    c->lower = c->u + d;
    c->upper = c->lower + d;
    c->slope = c->upper + d;
    c->term = c->factor + gps * n * families;
    c->new_factor = c->term + gps * n * families;
    c->new_term = c->new_factor + gps * n;
    c->v = c->new_term + gps * n;
    c->k = c->v + gps * n;
    c->back = c->k + n;
    c->variances = c->means + m;
    c->d_means = c->variances + m;
    c->d_variances = c->d_means + m;
    c->room = c->d_variances + m;
    c->moves = c->changed + d;
    c->donor_of = c->moves + d;
    c->family_end = c->donor_of + d;
    c->donor = c->family_end + d;
    for (int64_t i = s->n - 1; i >= 0; i--) c->family_end[i] = i + 1;
    for (int64_t i = s->n - 1; i >= 0; i--) { /* children stand behind their parents */
        int64_t parent = s->params[i].parent;
        if (parent >= 0 && c->family_end[i] > c->family_end[parent])
            c->family_end[parent] = c->family_end[i];
    }
    find_donors(c);
    return MSX_OK;
}

void msx__climber_free(msx__climber *c) {
    if (!c->history) return;
    msx_ctx *ctx = c->history->ctx;
    msx__minimiser_free(&c->minimiser);
    msx__free(ctx, c->x);
    msx__free(ctx, c->factor);
    msx__free(ctx, c->means);
    msx__free(ctx, c->active);
    msx__free(ctx, c->changed);
    *c = (msx__climber){0};
}

/* ---- utilities --------------------------------------------------------------------------------------- */

/* Where the parts of a family in a process begin. */
static int64_t part_of(const msx__climber *c, int g, int32_t family) {
    const msx__gp *gp = &c->belief->gps[g];
    return ((int64_t)g * msx__kernel_families(&gp->kernel) + family) * gp->n;
}

static void fill_family(msx__climber *c, const msx__gp *g, int32_t family, const double *place,
                        double *factor, double *term) {
    const msx__kernel_rows rows = msx__gp_rows(g);
    msx__kernel_family_rows(&g->kernel, family, &rows, place, factor, term, c->back);
}

/* Means and variances of process g from the families' parts; those of family `tried` (-1: none) come from
 * the trial arrays. */
static void combine(msx__climber *c, int g, int32_t tried) {
    const msx__gp *gp = &c->belief->gps[g];
    const int64_t n = gp->n;
    const double w = gp->kernel.share;
    double *product = c->k, *sum = c->back;
    for (int64_t i = 0; i < n; i++) {
        product[i] = 1 - w;
        sum[i] = 0;
    }
    for (int32_t f = 0; f < msx__kernel_families(&gp->kernel); f++) {
        const double *factor = f == tried ? c->new_factor + g * n : c->factor + part_of(c, g, f);
        const double *term = f == tried ? c->new_term + g * n : c->term + part_of(c, g, f);
        for (int64_t i = 0; i < n; i++) {
            product[i] *= factor[i];
            sum[i] += term[i];
        }
    }
    for (int64_t i = 0; i < n; i++)
        c->k[i] = MSX__GP_CONSTANT + product[i] + w / gp->kernel.n_terms * sum[i];
    double variance;
    msx__gp_posterior(gp, c->k, c->means + g * gp->m, &variance, c->v + g * n);
    for (int t = 0; t < gp->m; t++) c->variances[g * gp->m + t] = variance * gp->factor[t];
}

/* Utility at c->e; its derivatives by means and variances are left in the climber. */
static double refresh(msx__climber *c, bool derivatives) {
    for (int g = 0; g < c->belief->n_gps; g++) {
        const msx__gp *gp = &c->belief->gps[g];
        for (int32_t f = 0; f < msx__kernel_families(&gp->kernel); f++)
            fill_family(c, gp, f, c->e, c->factor + part_of(c, g, f), c->term + part_of(c, g, f));
        combine(c, g, -1);
    }
    return msx__utility_value(c->utility, c->means, c->variances, derivatives ? c->d_means : NULL,
                              c->d_variances, c->room);
}

double msx__climber_place(msx__climber *c, const double *x) {
    const size_t bytes = (size_t)c->history->space->n * sizeof *x;
    memcpy(c->x, x, bytes);
    msx__gp_encode(c->history->space, x, c->e);
    memcpy(c->try_x, c->x, bytes);
    memcpy(c->try_e, c->e, bytes);
    return c->value = refresh(c, false);
}

/* ---- numbers ----------------------------------------------------------------------------------------- */

/* Add the slope of minus the utility at c->e that goes through one process:
 * d means = alpha . dk, d variance = -2 factor (covariance^-1 k) . dk. */
static void add_slope(msx__climber *c, int g) {
    const msx__gp *gp = &c->belief->gps[g];
    const int64_t n = gp->n, d = gp->d;
    const double *d_means = c->d_means + g * gp->m, *d_variances = c->d_variances + g * gp->m;
    double through = 0;
    for (int t = 0; t < gp->m; t++) through += gp->factor[t] * d_variances[t];
    msx__lower_transposed_times(gp->inverse, n, c->v + g * n, c->back);
    for (int64_t i = 0; i < n; i++) c->back[i] *= -2 * through;
    for (int t = 0; t < gp->m; t++) msx__axpy(c->back, d_means[t], gp->alpha + t * n, n);
    const double *factors = c->factor + part_of(c, g, 0);
    for (int64_t i = 0; i < n; i++)
        msx__kernel_slope(&gp->kernel, gp->x + i * d, c->e, -c->back[i], factors + i, n, c->slope);
}

/* Minus the utility and its slope, the active numbers being at u. */
static double descend(void *payload, const double *u, double *gradient) {
    msx__climber *c = payload;
    const int64_t d = c->history->space->n;
    int64_t count = 0;
    for (int64_t i = 0; i < d; i++)
        if (c->active[i] >= 0) c->e[i] = u[count++];
    double value = refresh(c, true);
    memset(c->slope, 0, (size_t)d * sizeof *c->slope);
    for (int g = 0; g < c->belief->n_gps; g++) add_slope(c, g);
    for (int64_t i = 0; i < d; i++)
        if (c->active[i] >= 0) gradient[c->active[i]] = c->slope[i];
    return -value;
}

/* Climb along the slope of all active numbers at once; whole numbers are rounded at the end. */
static void climb_numbers(msx__climber *c) {
    const msx_space *s = c->history->space;
    int32_t count = 0;
    for (int64_t i = 0; i < s->n; i++) {
        bool moves = !isnan(c->x[i]) && s->params[i].kind != MSX_PARAM_CATEGORICAL &&
                     msx__space_values(&s->params[i]) > 1;
        c->active[i] = moves ? count : -1;
        if (!moves) continue;
        c->u[count] = c->e[i];
        c->lower[count] = 0;
        c->upper[count++] = 1;
    }
    if (!count) return;
    msx__minimise(&c->minimiser, descend, c, c->u, c->lower, c->upper, count, EVALUATIONS,
                  FIRST_STEP);
    double before = c->value;
    for (int64_t i = 0; i < s->n; i++)
        if (c->active[i] >= 0) c->try_x[i] = msx__space_decode(&s->params[i], c->u[c->active[i]]);
    memcpy(c->u, c->x, (size_t)s->n * sizeof *c->u);
    msx__climber_place(c, c->try_x);
    if (!(c->value > before)) msx__climber_place(c, c->u);
}

/* ---- choices ----------------------------------------------------------------------------------------- */

static void change(msx__climber *c, int64_t i, double value) {
    c->try_x[i] = value;
    const msx__param *p = &c->history->space->params[i];
    c->try_e[i] =
        isnan(value) || p->kind == MSX_PARAM_CATEGORICAL ? value : msx__space_encode(p, value);
    c->changed[c->n_changed++] = i;
}

/* Utility with parameter i at `value`. What this switches on takes the values of trial row `donor`, or its
 * defaults. */
static double look(msx__climber *c, int64_t i, double value, int64_t donor) {
    const msx_space *s = c->history->space;
    const double *from = donor < 0 ? NULL : c->history->x[c->belief->trials[donor]];
    c->n_changed = 0;
    change(c, i, value);
    for (int64_t k = i + 1; k < c->family_end[i]; k++) {
        if (s->params[k].parent < 0) continue;
        bool active = msx__space_active(s, c->try_x, k);
        if (active != (bool)isnan(c->try_x[k])) continue;
        double given = from && !isnan(from[k]) ? from[k] : s->params[k].initial;
        change(c, k, active ? given : NAN);
    }
    for (int g = 0; g < c->belief->n_gps; g++) {
        const msx__gp *gp = &c->belief->gps[g];
        int32_t family = gp->kernel.family_of[i];
        fill_family(c, gp, family, c->try_e, c->new_factor + g * gp->n, c->new_term + g * gp->n);
        combine(c, g, family);
    }
    return msx__utility_value(c->utility, c->means, c->variances, NULL, NULL, c->room);
}

static void accept(msx__climber *c, int64_t i, double value) {
    for (int64_t k = 0; k < c->n_changed; k++) {
        c->x[c->changed[k]] = c->try_x[c->changed[k]];
        c->e[c->changed[k]] = c->try_e[c->changed[k]];
    }
    for (int g = 0; g < c->belief->n_gps; g++) {
        const int64_t n = c->belief->n, part = part_of(c, g, c->belief->gps[g].kernel.family_of[i]);
        memcpy(c->factor + part, c->new_factor + g * n, (size_t)n * sizeof *c->factor);
        memcpy(c->term + part, c->new_term + g * n, (size_t)n * sizeof *c->term);
    }
    c->value = value;
}

static void reject(msx__climber *c) {
    for (int64_t k = 0; k < c->n_changed; k++) {
        c->try_x[c->changed[k]] = c->x[c->changed[k]];
        c->try_e[c->changed[k]] = c->e[c->changed[k]];
    }
}

static bool attempt(msx__climber *c, int64_t i, double value, int64_t donor) {
    double found = look(c, i, value, donor);
    if (found > c->value + MIN_GAIN) {
        accept(c, i, found);
        return true;
    }
    reject(c);
    return false;
}

/* Every other choice, and the whole numbers next to each; better ones are taken as they come. */
static bool climb_choices(msx__climber *c, msx_rng *rng) {
    const msx_space *s = c->history->space;
    int64_t n = 0;
    bool better = false;
    for (int64_t i = 0; i < s->n; i++)
        if (s->params[i].kind != MSX_PARAM_FLOAT && msx__space_values(&s->params[i]) > 1)
            c->moves[n++] = i;
    for (int64_t k = 0; k < n; k++) {
        int64_t pick = k + (int64_t)msx_rng_below(rng, (uint64_t)(n - k)), i = c->moves[pick];
        const msx__param *p = &s->params[i];
        c->moves[pick] = c->moves[k];
        if (isnan(c->x[i])) continue;
        if (p->kind == MSX_PARAM_INT) {
            if (c->x[i] > p->lower) better |= attempt(c, i, c->x[i] - 1, -1);
            if (c->x[i] < p->upper) better |= attempt(c, i, c->x[i] + 1, -1);
            continue;
        }
        for (int64_t v = 0; v < p->n_choices; v++) {
            if (v == (int64_t)c->x[i]) continue;
            int64_t donor = c->donor[c->donor_of[i] + v];
            bool moved = attempt(c, i, (double)v, donor);
            if (!moved && donor >= 0 && c->family_end[i] > i + 1)
                moved = attempt(c, i, (double)v, -1);
            better |= moved;
        }
    }
    return better;
}

void msx__climber_climb(msx__climber *c, msx_rng *rng) {
    for (int round = 0; round < ROUNDS; round++) {
        double before = c->value;
        climb_numbers(c);
        if (!climb_choices(c, rng) && !(c->value > before + MIN_GAIN)) break;
    }
}
