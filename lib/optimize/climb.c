/* SPDX-License-Identifier: Apache-2.0 */
#include "optimize/climb.h"

#include "optimize/climber.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PARENTS 5 /* best trials that mutants are made of */

typedef struct ranked {
    double value;
    int64_t row;
} ranked;

static int by_value(const void *a, const void *b) {
    const ranked *p = a, *q = b;
    if (p->value != q->value) return p->value > q->value ? -1 : 1;
    return (p->row > q->row) - (p->row < q->row);
}

/* Keep x if it is among the `keep` best so far; held[..*count) and the rows of `kept` they name. */
static void hold(ranked *held, int64_t *count, int64_t keep, double *kept, const double *x,
                 double value, int64_t d) {
    int64_t row = *count;
    if (*count == keep) {
        int64_t last = 0;
        for (int64_t k = 1; k < keep; k++)
            if (held[k].value < held[last].value) last = k;
        if (!(value > held[last].value)) return;
        row = held[last].row;
        held[last].value = value;
    } else {
        held[(*count)++] = (ranked){value, row};
    }
    memcpy(kept + row * d, x, (size_t)d * sizeof *x);
}

/* A good trial with numbers moved by a step of random size and about one choice redrawn. */
static void mutate(const msx_space *s, const double *parent, msx_rng *rng, double *x) {
    double step = pow(10, -1 - 3 * msx_rng_uniform(rng));
    double redraw = 1.0 / (double)s->n;
    memcpy(x, parent, (size_t)s->n * sizeof *x);
    for (int64_t i = 0; i < s->n; i++) {
        const msx__param *p = &s->params[i];
        bool active = msx__space_active(s, x, i);
        if (!active || isnan(x[i])) {
            x[i] = active ? msx__space_quantile(p, msx_rng_uniform(rng)) : NAN;
        } else if (p->kind == MSX_PARAM_CATEGORICAL) {
            if (msx_rng_uniform(rng) < redraw) x[i] = msx__space_quantile(p, msx_rng_uniform(rng));
        } else {
            double u = msx__space_encode(p, x[i]) + step * msx_rng_normal(rng);
            x[i] = msx__space_decode(p, fmin(fmax(u, 0), 1));
        }
    }
}

/* The rows of the lowest means, at most PARENTS, into held. */
static int64_t best_rows(const msx__belief *b, ranked *held) {
    int64_t count = 0;
    for (int64_t i = 0; i < b->n; i++) {
        ranked r = {-b->score[i], i};
        int64_t k = count < PARENTS ? count++ : PARENTS;
        for (; k > 0 && by_value(&r, &held[k - 1]) < 0; k--)
            if (k < PARENTS) held[k] = held[k - 1];
        if (k < PARENTS) held[k] = r;
    }
    return count;
}

static void look_around(msx__climber *c, const msx__climb_options *o, double *starts, ranked *held,
                        int64_t *n) {
    const msx_history *h = c->history;
    const int64_t d = h->space->n, keep = (o->starts + 1) / 2;
    ranked parents[PARENTS];
    int64_t n_parents = best_rows(c->belief, parents), random = 0, mutants = 0;
    for (int64_t i = 0; i < o->candidates; i++) {
        msx__space_draw(h->space, c->rng, c->u);
        double value = msx__climber_place(c, c->u);
        hold(held, &random, keep, starts, c->x, value, d);
    }
    for (int64_t i = 0; i < o->candidates / 2; i++) {
        mutate(h->space, h->x[c->belief->trials[parents[i % n_parents].row]], c->rng, c->u);
        double value = msx__climber_place(c, c->u);
        hold(held + random, &mutants, keep, starts + random * d, c->x, value, d);
    }
    for (int64_t k = 0; k < mutants; k++) held[random + k].row += random;
    *n = random + mutants;
}

static bool seen(const msx_history *h, const msx__proposals *p, const double *x) {
    for (int64_t i = 0; i < h->asked; i++)
        if (msx_space_equal(h->space, h->x[i], x)) return true;
    for (int64_t i = 0; i < p->n; i++)
        if (msx_space_equal(h->space, p->x + i * h->space->n, x)) return true;
    return false;
}

/* Ends and starts of the climbs by falling utility, without what was asked already: where all climbs end
 * at the best trial, the start that promises most is next. */
static void climb_all(msx__climber *c, msx__proposals *out, double *rows, ranked *held, int64_t n) {
    const int64_t d = c->history->space->n;
    for (int64_t i = 0; i < n; i++) {
        msx__climber_place(c, rows + held[i].row * d);
        msx__climber_climb(c);
        memcpy(rows + (n + i) * d, c->x, (size_t)d * sizeof *rows);
        held[n + i] = (ranked){c->value, n + i};
    }
    qsort(held, (size_t)(2 * n), sizeof *held, by_value);
    for (int64_t i = 0; i < 2 * n; i++) {
        const double *x = rows + held[i].row * d;
        if (seen(c->history, out, x)) {
            out->settled |= i == 0;
            continue;
        }
        memcpy(out->x + out->n++ * d, x, (size_t)d * sizeof *x);
    }
}

msx_status msx__climb(msx__proposals *out, const msx__belief *belief, const msx__utility *utility,
                      const msx_history *h, const msx__climb_options *options, msx_rng *rng) {
    msx_ctx *ctx = h->ctx;
    int64_t cells, rows = 2 * (options->starts + 1), n = 0;
    msx__proposals_free(out, ctx);
    if (!msx__mul(rows, h->space->n, &cells)) return msx__nomem(ctx, SIZE_MAX);
    msx__climber c = {0};
    double *x = msx__alloc(ctx, (size_t)cells, sizeof *x);
    ranked *held = msx__alloc(ctx, (size_t)rows, sizeof *held);
    out->x = msx__alloc(ctx, (size_t)cells, sizeof *out->x);
    msx_status status =
        x && held && out->x ? msx__climber_init(&c, belief, utility, h, rng) : MSX_E_NOMEM;
    if (status == MSX_OK) {
        look_around(&c, options, x, held, &n);
        climb_all(&c, out, x, held, n);
    } else {
        msx__proposals_free(out, ctx);
    }
    msx__climber_free(&c);
    msx__free(ctx, held);
    msx__free(ctx, x);
    return status;
}
