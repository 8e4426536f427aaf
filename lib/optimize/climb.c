/* SPDX-License-Identifier: Apache-2.0 */
#include "optimize/climb.h"

#include "core/random.h"
#include "core/thread.h"
#include "optimize/climber.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PARENTS 5   /* best trials that mutants are made of */
#define AT_ONCE 512 /* configurations looked at together */
#define MIN_VALUES                                                                                 \
    2000 /* of the rows that climbs look at; with fewer, threads are not worth waking */

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

/* A climber for each thread. What they find is put together in the order of the configurations, so that
 * it does not depend on their number. */
typedef struct crew {
    msx_ctx *ctx;
    msx__climber *climbers;
    int n;
} crew;

static void crew_free(crew *w) {
    for (int i = 0; w->climbers && i < w->n; i++) msx__climber_free(&w->climbers[i]);
    msx__free(w->ctx, w->climbers);
}

static msx_status crew_init(crew *w, const msx__belief *b, const msx__utility *u,
                            const msx_history *h) {
    const bool small = b->n * h->space->n < MIN_VALUES;
    *w = (crew){.ctx = h->ctx, .n = small ? 1 : msx_ctx_threads(h->ctx)};
    w->climbers = msx__calloc(w->ctx, (size_t)w->n, sizeof *w->climbers);
    msx_status status = w->climbers ? MSX_OK : MSX_E_NOMEM;
    for (int i = 0; status == MSX_OK && i < w->n; i++)
        status = msx__climber_init(&w->climbers[i], b, u, h);
    if (status < 0) crew_free(w);
    return status;
}

/* Random configurations number `first` to first + n, or mutants of the parents, into rows (n, d), and their
 * utilities. Each is drawn by a generator of its own. */
static void look_at(crew *w, const msx_history *h, const msx__belief *b, const ranked *parents,
                    int64_t n_parents, uint64_t seed, int64_t first, int64_t n, double *rows,
                    double *values) {
    const int64_t d = h->space->n;
#pragma omp parallel for num_threads(w->n) schedule(dynamic, 8)
    for (int64_t i = 0; i < n; i++) {
        double *x = rows + i * d;
        msx_rng own;
        msx__rng_init(&own, seed, (uint64_t)(first + i));
        if (n_parents) {
            const ranked *parent = &parents[(first + i) % n_parents];
            mutate(h->space, h->x[b->trials[parent->row]], &own, x);
        } else {
            msx__space_draw(h->space, &own, x);
        }
        values[i] = msx__climber_place(&w->climbers[msx__thread()], x);
    }
}

/* The best random configurations into `starts` and `held`, and behind them the best mutants; `room`:
 * AT_ONCE * (d + 1) values. */
static void look_around(crew *w, const msx_history *h, const msx__belief *b,
                        const msx__climb_options *o, msx_rng *rng, double *room, double *starts,
                        ranked *held, int64_t *n) {
    const int64_t d = h->space->n, keep = (o->starts + 1) / 2;
    double *rows = room, *values = rows + AT_ONCE * d;
    ranked parents[PARENTS];
    int64_t n_parents = best_rows(b, parents);
    *n = 0;
    for (int mutants = 0; mutants < 2; mutants++) {
        const uint64_t seed = msx_rng_u64(rng);
        int64_t kept = 0, count = mutants ? o->candidates / 2 : o->candidates;
        for (int64_t first = 0; first < count; first += AT_ONCE) {
            int64_t some = count - first < AT_ONCE ? count - first : AT_ONCE;
            look_at(w, h, b, parents, mutants ? n_parents : 0, seed, first, some, rows, values);
            for (int64_t i = 0; i < some; i++)
                hold(held + *n, &kept, keep, starts + *n * d, rows + i * d, values[i], d);
        }
        for (int64_t k = 0; k < kept; k++) held[*n + k].row += *n;
        *n += kept;
    }
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
static void climb_all(crew *w, const msx_history *h, msx__proposals *out, double *rows,
                      ranked *held, int64_t n, msx_rng *rng) {
    const int64_t d = h->space->n;
    const uint64_t seed = msx_rng_u64(rng);
#pragma omp parallel for num_threads(w->n) schedule(dynamic)
    for (int64_t i = 0; i < n; i++) {
        msx__climber *c = &w->climbers[msx__thread()];
        msx_rng own;
        msx__rng_init(&own, seed, (uint64_t)i);
        msx__climber_place(c, rows + held[i].row * d);
        msx__climber_climb(c, &own);
        memcpy(rows + (n + i) * d, c->x, (size_t)d * sizeof *rows);
        held[n + i] = (ranked){c->value, n + i};
    }
    qsort(held, (size_t)(2 * n), sizeof *held, by_value);
    for (int64_t i = 0; i < 2 * n; i++) {
        const double *x = rows + held[i].row * d;
        if (seen(h, out, x)) {
            out->settled |= i == 0;
            continue;
        }
        memcpy(out->x + out->n++ * d, x, (size_t)d * sizeof *x);
    }
}

msx_status msx__climb(msx__proposals *out, const msx__belief *belief, const msx__utility *utility,
                      const msx_history *h, const msx__climb_options *options, msx_rng *rng) {
    msx_ctx *ctx = h->ctx;
    int64_t cells, rows = 2 * (options->starts + 1), d = h->space->n, n;
    msx__proposals_free(out, ctx);
    if (!msx__mul(rows, d, &cells)) return msx__nomem(ctx, SIZE_MAX);
    crew w = {0};
    double *x = msx__alloc(ctx, (size_t)cells, sizeof *x);
    double *room = msx__alloc(ctx, AT_ONCE * ((size_t)d + 1), sizeof *room);
    ranked *held = msx__alloc(ctx, (size_t)rows, sizeof *held);
    out->x = msx__alloc(ctx, (size_t)cells, sizeof *out->x);
    msx_status status =
        x && room && held && out->x ? crew_init(&w, belief, utility, h) : MSX_E_NOMEM;
    if (status == MSX_OK) {
        look_around(&w, h, belief, options, rng, room, x, held, &n);
        climb_all(&w, h, out, x, held, n, rng);
        crew_free(&w);
    } else {
        msx__proposals_free(out, ctx);
    }
    msx__free(ctx, held);
    msx__free(ctx, room);
    msx__free(ctx, x);
    return status;
}
