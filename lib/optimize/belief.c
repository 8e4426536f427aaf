/* SPDX-License-Identifier: Apache-2.0 */
#include "optimize/belief.h"

#include "optimize/model.h"

#include <math.h>
#include <string.h>

#define LEARN_ROWS        150 /* trials that parameters are learnt from */
#define ROWS              300 /* trials that predictions are made from */
#define EVALUATIONS       30
#define TRIAL_EVALUATIONS 10
#define FEW               4 /* below so many trials the prior is all there is */

msx_status msx__belief_init(msx__belief *b, const msx_space *space, int m) {
    *b = (msx__belief){
        .ctx = space->ctx, .n_gps = m <= MSX__SEPARATE ? m : 1, .m = m, .learned = -1};
    b->centre = msx__alloc(b->ctx, (size_t)m, sizeof *b->centre);
    b->spread = msx__alloc(b->ctx, (size_t)m, sizeof *b->spread);
    b->gps = msx__calloc(b->ctx, (size_t)b->n_gps, sizeof *b->gps);
    msx_status status = b->centre && b->spread && b->gps ? MSX_OK : MSX_E_NOMEM;
    for (int g = 0; status == MSX_OK && g < b->n_gps; g++) status = msx__gp_init(&b->gps[g], space);
    if (status < 0) msx__belief_free(b);
    return status;
}

void msx__belief_free(msx__belief *b) {
    if (!b->ctx) return;
    for (int g = 0; b->gps && g < b->n_gps; g++) msx__gp_free(&b->gps[g]);
    msx__free(b->ctx, b->gps);
    msx__free(b->ctx, b->centre);
    msx__free(b->ctx, b->spread);
    msx__free(b->ctx, b->trials);
    msx__free(b->ctx, b->means);
    msx__free(b->ctx, b->score);
    *b = (msx__belief){0};
}

/* Parameters are learnt after each of the first trials, then after every tenth more of them. */
static int64_t lesson_before(int64_t n) {
    int64_t k = 0, step = 1;
    while (k + step <= n) {
        k += step;
        step = k / 10 > 1 ? k / 10 : 1;
    }
    return k;
}

/* Targets (m, n) of the costs of some rows. @return the logarithm of the density of costs over that of
 * targets, by which different ways of making targets can be compared. */
static double make_targets(msx__belief *b, const msx__told *t, const int64_t *rows, int64_t n,
                           bool logarithms, double *y, double *scratch) {
    double density = 0;
    for (int k = 0; k < t->m; k++) {
        double *row = y + k * n, sum = 0, square = 0;
        for (int64_t i = 0; i < n; i++) row[i] = t->costs[rows[i] * t->m + k];
        if (logarithms) density += msx__encode_costs(row, n, MSX__FLOOR_GAP, scratch);
        for (int64_t i = 0; i < n; i++) sum += row[i];
        b->centre[k] = sum / (double)n;
        for (int64_t i = 0; i < n; i++) {
            row[i] -= b->centre[k];
            square += row[i] * row[i];
        }
        b->spread[k] = sqrt(square / (double)n);
        if (!(b->spread[k] > 1e-12 * (1 + fabs(b->centre[k])))) b->spread[k] = 1;
        for (int64_t i = 0; i < n; i++) row[i] /= b->spread[k];
        density -= (double)n * log(b->spread[k]);
    }
    return density;
}

typedef struct work {
    int64_t capacity;
    double *x, *y, *scratch, *score;
    int64_t *rows;
} work;

static void encode_rows(const msx_history *h, const msx__told *t, const int64_t *rows, int64_t n,
                        double *x) {
    const int64_t d = h->space->n;
    for (int64_t i = 0; i < n; i++) msx__gp_encode(h->space, h->x[t->trials[rows[i]]], x + i * d);
}

/* The parameters of one process, from targets y (count, n). */
static msx_status learn_process(msx__gp *g, const work *w, int64_t n, const double *y, int count,
                                int evaluations, double *evidence) {
    *evidence = 0;
    if (n < FEW) return MSX_OK;
    return msx__gp_learn(g, w->x, y, n, count, evaluations, evidence);
}

static void begin_afresh(msx__gp *g) {
    msx__kernel_set(&g->kernel, NULL);
    g->noise = MSX__GP_NOISE;
}

/* One cost is tried as it is and as a logarithm; the more probable is learnt to the end. */
static msx_status learn_one(msx__belief *b, const msx__told *t, const work *w, int64_t rows) {
    msx__gp *g = &b->gps[0];
    const int32_t n_theta = g->kernel.n_theta;
    double evidence[2], *kept = w->scratch + w->capacity; /* n_theta + 1 */
    for (int way = 0; way < 2; way++) {
        double density = make_targets(b, t, w->rows, rows, way == 1, w->y, w->scratch);
        begin_afresh(g);
        MSX_TRY(learn_process(g, w, rows, w->y, 1, TRIAL_EVALUATIONS, &evidence[way]));
        evidence[way] += density;
        if (way) break;
        memcpy(kept, g->kernel.theta, (size_t)n_theta * sizeof *kept);
        kept[n_theta] = g->noise;
    }
    b->logarithms = evidence[1] > evidence[0];
    if (!b->logarithms) {
        make_targets(b, t, w->rows, rows, false, w->y, w->scratch);
        msx__kernel_set(&g->kernel, kept);
        g->noise = kept[n_theta];
    }
    return learn_process(g, w, rows, w->y, 1, EVALUATIONS - TRIAL_EVALUATIONS, evidence);
}

/* How many processes are worked on at once; each of them has one thread then. */
static int processes_at_once(const msx__belief *b, int64_t rows) {
    const int threads = msx__gp_threads(&b->gps[0], rows);
    return threads < b->n_gps ? threads : b->n_gps;
}

/* Texts of errors belong to threads: the caller gets one here. All that can be missing is memory. */
static msx_status passed_on(const msx__belief *b, int worst) {
    if (worst == MSX_OK) return MSX_OK;
    return msx__fail(b->ctx, (msx_status)worst, "out of memory for the model of %d costs", b->m);
}

/* The parameters of each process, for several costs. */
static msx_status learn_several(msx__belief *b, const work *w, int64_t rows) {
    const int count = b->m / b->n_gps;
    int worst = MSX_OK;
#pragma omp parallel for num_threads(processes_at_once(b, rows)) reduction(min : worst)
    for (int g = 0; g < b->n_gps; g++) {
        double evidence;
        begin_afresh(&b->gps[g]);
        msx_status status = learn_process(&b->gps[g], w, rows, w->y + g * count * rows, count,
                                          EVALUATIONS, &evidence);
        worst = status < worst ? status : worst;
    }
    return passed_on(b, worst);
}

/* Learn from the first n told trials. */
static msx_status learn(msx__belief *b, const msx_history *h, msx__told *t, const work *w,
                        int64_t n) {
    msx__told_first(t, h, n);
    msx__told_add_up(t, n, w->score);
    int64_t rows = msx__told_thin(w->score, n, LEARN_ROWS, w->rows, w->scratch);
    encode_rows(h, t, w->rows, rows, w->x);
    msx_status status = MSX_OK;
    if (t->m == 1) {
        status = learn_one(b, t, w, rows);
    } else {
        make_targets(b, t, w->rows, rows, false, w->y, w->scratch);
        status = learn_several(b, w, rows);
    }
    if (status == MSX_OK) b->learned = n;
    msx__told_first(t, h, t->n);
    return status;
}

/* Give all processes n rows and targets y (m, n). */
static msx_status condition(msx__belief *b, const double *x, const double *y, int64_t n) {
    const int count = b->m / b->n_gps;
    int worst = MSX_OK;
#pragma omp parallel for num_threads(processes_at_once(b, n)) reduction(min : worst)
    for (int g = 0; g < b->n_gps; g++) {
        msx_status status = msx__gp_condition(&b->gps[g], x, y + g * count * n, n, count);
        worst = status < worst ? status : worst;
    }
    return passed_on(b, worst);
}

/* Means (m) at a place; k: room for a value for each row. */
static void predict(const msx__belief *b, const double *place, double *k, double *means) {
    const int count = b->m / b->n_gps;
    for (int g = 0; g < b->n_gps; g++) {
        msx__gp_covariances(&b->gps[g], place, k);
        msx__gp_means(&b->gps[g], k, means + g * count);
    }
}

/* Condition on the told trials, fancy the running ones at their means, condition on all. */
static msx_status take_in(msx__belief *b, const msx_history *h, const msx__told *t, const work *w,
                          const double *score) {
    const int64_t d = h->space->n;
    const int m = t->m;
    for (int64_t i = 0; i < t->n; i++) w->score[i] = score ? score[i] : t->costs[i * m];
    const int64_t told = msx__told_thin(w->score, t->n, ROWS, w->rows, w->scratch);
    const int64_t n = told + (t->running < ROWS ? t->running : ROWS);
    make_targets(b, t, w->rows, told, b->logarithms, w->y, w->scratch);
    for (int64_t i = told; i < n; i++) w->rows[i] = t->n + i - told;
    encode_rows(h, t, w->rows, n, w->x);
    double *k = w->scratch, *means = k + n;
    MSX_TRY(condition(b, w->x, w->y, told));
    if (n > told) {
        for (int j = m - 1; j >= 0; j--) /* rows of y become longer */
            memmove(w->y + j * n, w->y + j * told, (size_t)told * sizeof *w->y);
        for (int64_t i = told; i < n; i++) {
            predict(b, w->x + i * d, k, means);
            for (int j = 0; j < m; j++) w->y[j * n + i] = means[j];
        }
        MSX_TRY(condition(b, w->x, w->y, n));
    }
    msx__free(b->ctx, b->trials);
    msx__free(b->ctx, b->means);
    msx__free(b->ctx, b->score);
    b->trials = msx__alloc(b->ctx, (size_t)n, sizeof *b->trials);
    b->means = msx__alloc(b->ctx, (size_t)(n * m), sizeof *b->means);
    b->score = msx__alloc(b->ctx, (size_t)n, sizeof *b->score);
    if (!b->trials || !b->means || !b->score) return MSX_E_NOMEM;
    b->n = n;
    for (int64_t i = 0; i < n; i++) {
        b->trials[i] = t->trials[w->rows[i]];
        predict(b, w->x + i * d, k, b->means + i * m);
        b->score[i] = b->means[i * m];
    }
    return MSX_OK;
}

msx_status msx__belief_update(msx__belief *b, const msx_history *h, msx__told *t,
                              const double *score) {
    if (!t->n) return MSX_DONE_EXHAUSTED;
    const int64_t all = t->n + t->running, lesson = lesson_before(t->n);
    const int64_t rows = all < 2 * ROWS ? all : 2 * ROWS;
    const size_t room = (size_t)all, extra = (size_t)(rows + t->m + b->gps[0].kernel.n_theta + 1);
    work w = {.capacity = all};
    int64_t cells;
    if (!msx__mul(rows, h->space->n > t->m ? h->space->n : t->m, &cells))
        return msx__nomem(b->ctx, SIZE_MAX);
    w.x = msx__alloc(b->ctx, (size_t)cells, sizeof *w.x);
    w.y = msx__alloc(b->ctx, (size_t)(rows * t->m), sizeof *w.y);
    w.scratch = msx__alloc(b->ctx, room + extra, sizeof *w.scratch);
    w.score = msx__alloc(b->ctx, room, sizeof *w.score);
    w.rows = msx__alloc(b->ctx, room, sizeof *w.rows);
    msx_status status = w.x && w.y && w.scratch && w.score && w.rows ? MSX_OK : MSX_E_NOMEM;
    if (status == MSX_OK && b->learned != lesson) status = learn(b, h, t, &w, lesson);
    if (status == MSX_OK) status = take_in(b, h, t, &w, score);
    msx__free(b->ctx, w.x);
    msx__free(b->ctx, w.y);
    msx__free(b->ctx, w.scratch);
    msx__free(b->ctx, w.score);
    msx__free(b->ctx, w.rows);
    return status;
}
