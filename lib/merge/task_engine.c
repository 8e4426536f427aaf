/* SPDX-License-Identifier: Apache-2.0 */
/* Generalised task arithmetic: sparsify, rescale, weight, elect, normalise, add. */
#include "merge/task_engine.h"

#include "core/random.h"
#include "merge/lines.h"

#include <math.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

enum { BLOCK = 2048 };

typedef struct engine {
    const msx_merge_call *call;
    const msx__task_rule *rule;
    const msx__merge_kernels *kernels;
    int64_t n;
    double density;
    uint8_t *keep;                 /* (n_models - 1, n); NULL: all elements stay */
    float weight[MSX__MAX_MODELS]; /* of models[m + 1], the rescaling included */
    double share[MSX__MAX_MODELS]; /* the weight alone */
    float tie;                     /* the sign that a sum of zero elects */
} engine;

/* First value of a parameter, NULL when the method has none of this name. */
static const double *values_of(const engine *e, const char *name) {
    const double *value = e->call->values;
    for (size_t i = 0; i < e->rule->n_params; i++) {
        if (!strcmp(e->rule->params[i].name, name)) return value;
        value += e->rule->params[i].per_model ? e->call->n_models : 1;
    }
    return NULL;
}

static const char *or_name(const char *given, const char *name) {
    return given ? given : name;
}

static double value_of(const engine *e, const char *name) {
    const double *value = values_of(e, name);
    return value ? *value : 0;
}

static float change(const engine *e, size_t m, int64_t i) {
    return e->call->models[m + 1][i] - e->call->models[0][i];
}

/* ---- random masks --------------------------------------------------------------------------------- */

/* The stream of random numbers that belongs to a tensor of a model. */
static uint64_t stream_of(const engine *e, size_t m) {
    const uint64_t key[2] = {msx__hash64(e->call->tensor, strlen(e->call->tensor)), m + 1};
    return msx__hash64(key, sizeof key);
}

/* Element i stays when the i-th word of the stream is below its probability; p NULL: `density`. */
static void draw(const engine *e, size_t m, const float *p, uint8_t *keep) {
    uint64_t seed = (uint64_t)value_of(e, "seed"), stream = stream_of(e, m);
#pragma omp parallel for schedule(static) num_threads(e->call->threads) if (e->n > BLOCK)
    for (int64_t quad = 0; quad < (e->n + 3) / 4; quad++) {
        uint32_t words[4];
        msx__philox(seed, stream, (uint64_t)quad, words);
        for (int64_t i = 4 * quad; i < e->n && i < 4 * quad + 4; i++)
            keep[i] = words[i & 3] * 0x1p-32 < (p ? (double)p[i] : e->density);
    }
}

/* A change of a line by its size. The place breaks ties, so that it is part of the key: of equal
 * magnitudes the lower index counts as larger, as when TIES trims. */
typedef struct ranked {
    uint32_t magnitude; /* bits of |d|, which order like the numbers; a NaN is largest */
    int64_t place;      /* in the line */
} ranked;

/* Ascending by magnitude, keeping the order of equal ones: a byte at a time, lowest first. from (n)
 * is sorted through room (n) and back. */
static void sort_ranked(ranked *from, ranked *room, int64_t n) {
    for (int shift = 0; shift < 32; shift += 8) {
        int64_t begin[257] = {0};
        for (int64_t k = 0; k < n; k++) begin[(from[k].magnitude >> shift & 255) + 1]++;
        for (int b = 1; b < 257; b++) begin[b] += begin[b - 1];
        for (int64_t k = 0; k < n; k++) room[begin[from[k].magnitude >> shift & 255]++] = from[k];
        ranked *sorted = room;
        room = from;
        from = sorted;
    }
}

/* Probabilities from density - epsilon for the smallest change of a line to density + epsilon for the
 * largest. mergekit refuses an epsilon that leads out of (0, 1); here it is cut, so that a search may
 * vary both. A line of one element has no rank: its probability is the density. */
static void della_line(const engine *e, size_t m, int64_t start, int64_t length, int64_t stride,
                       ranked *order, float *p) {
    double epsilon = fmin(value_of(e, "epsilon"), fmin(e->density, 1 - e->density));
    for (int64_t k = 0; k < length; k++) { /* backward, for the order of equal ones */
        int64_t place = length - 1 - k;
        float magnitude = fabsf(change(e, m, start + place * stride));
        order[k].place = place;
        memcpy(&order[k].magnitude, &magnitude, sizeof magnitude);
    }
    sort_ranked(order, order + length, length);
    for (int64_t r = 0; r < length; r++)
        p[start + order[r].place * stride] =
            length == 1
                ? (float)e->density
                : (float)(e->density - epsilon + 2 * epsilon * (double)r / (double)(length - 1));
}

/* Of the thread inside a parallel region. */
static int thread_number(void) {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

static msx_status keep_della(const engine *e, size_t m, uint8_t *keep) {
    const msx_kernels *ops = e->kernels->ops;
    msx__lines lines = msx__lines_along(e->call, e->call->rank > 1 ? 1 : 0);
    void *p = NULL, *order = NULL;
    int threads = lines.count > 1 ? e->call->threads : 1;
    int code = ops->alloc(e->kernels->dev, &p, (size_t)e->n * sizeof(float));
    if (code == MSXK_OK)
        code = ops->alloc(e->kernels->dev, &order,
                          (size_t)threads * 2 * (size_t)lines.length * sizeof(ranked));
    if (code == MSXK_OK) {
#pragma omp parallel for schedule(static) num_threads(threads)
        for (int64_t l = 0; l < lines.count; l++)
            della_line(e, m, msx__line_start(&lines, l), lines.length, lines.stride,
                       (ranked *)order + (int64_t)thread_number() * 2 * lines.length, p);
        draw(e, m, p, keep);
    }
    ops->release(e->kernels->dev, order);
    ops->release(e->kernels->dev, p);
    return msx__kernel_status(code);
}

static msx_status keep_random(const engine *e, size_t m, uint8_t *keep) {
    draw(e, m, NULL, keep);
    return MSX_OK;
}

/* ---- outliers ------------------------------------------------------------------------------------- */

/* Add `step` to the marks of the k largest changes, of equal ones those of lower index, or all. */
static msx_status mark_largest(const engine *e, size_t m, int64_t k, int step, bool all_equal,
                               uint8_t *marks) {
    if (k <= 0) return MSX_OK;
    float threshold;
    int64_t ties;
    MSX_TRY(msx__kernel_status(e->kernels->ops->select_threshold(
        e->kernels->dev, e->call->models[0], e->call->models[m + 1], e->n, k, &threshold, &ties)));
    if (all_equal) ties = e->n;
    const float *x = e->call->models[m + 1], *base = e->call->models[0];
    for (int64_t i = 0; i < e->n; i++)
        marks[i] = (uint8_t)(marks[i] + (fabsf(x[i] - base[i]) > threshold ? step : 0));
    for (int64_t i = 0; i < e->n && ties > 0; i++) {
        if (fabsf(x[i] - base[i]) != threshold) continue;
        marks[i] = (uint8_t)(marks[i] + step);
        ties--;
    }
    return MSX_OK;
}

/* Of the changes by size, floor(gamma n) drop out at the top and as many at the bottom as leave
 * floor(density n); when that is not possible, fewer at the top. */
static msx_status keep_outliers(const engine *e, size_t m, uint8_t *keep) {
    int64_t top = (int64_t)floor(value_of(e, "gamma") * (double)e->n);
    int64_t bottom = e->n - (int64_t)floor(e->density * (double)e->n) - top;
    if (bottom < 0) {
        top += bottom;
        bottom = 0;
    }
    memset(keep, 0, (size_t)e->n);
    MSX_TRY(mark_largest(e, m, e->n - bottom, 1, false, keep));
    return mark_largest(e, m, top, -1, false, keep);
}

/* ---- magnitude ------------------------------------------------------------------------------------ */

/* A density like 0.9 has no exact complement: what is a whole number of elements must stay one. */
int64_t msx__kept_largest(double density, int64_t n, bool all_equal) {
    if (!all_equal || density <= 0) return (int64_t)floor(density * (double)n);
    int64_t first = (int64_t)floor(((1 - density) + 1e-9) * (double)n); /* counted from one */
    return first > 0 ? n - first + 1 : n;
}

static msx_status keep_largest(const engine *e, size_t m, uint8_t *keep) {
    bool all_equal = value_of(e, "threshold") >= 0.5;
    int64_t kept = msx__kept_largest(e->density, e->n, all_equal);
    memset(keep, 0, (size_t)e->n);
    return mark_largest(e, m, kept, 1, all_equal, keep);
}

/* ---- all masks ------------------------------------------------------------------------------------ */

enum { LANES = 8 };

/* Sums of the magnitudes of n changes, a multiple of LANES: of all and of those that are kept; in lanes, so
 * that every machine adds in one order. */
static void add_magnitudes(const engine *e, size_t m, const uint8_t *keep, int64_t n,
                           double sums[2]) {
    const float *x = e->call->models[m + 1], *base = e->call->models[0];
    double all[LANES] = {0}, kept[LANES] = {0};
    for (int64_t i = 0; i < n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            double magnitude = fabsf(x[i + l] - base[i + l]);
            all[l] += magnitude;
            kept[l] += keep[i + l] ? magnitude : 0;
        }
    for (int l = 0; l < LANES; l++) {
        sums[0] += all[l];
        sums[1] += kept[l];
    }
}

/* The factor that gives the kept changes the sum of magnitudes of all. An L1 match and not 1/density,
 * which the DARE paper has: exact where few elements are drawn. */
static double rescale(const engine *e, size_t m, const uint8_t *keep) {
    double sums[2] = {0};
    int64_t whole = e->n / LANES * LANES;
    add_magnitudes(e, m, keep, whole, sums);
    for (int64_t i = whole; i < e->n; i++) {
        double magnitude = fabsf(change(e, m, i));
        sums[0] += magnitude;
        sums[1] += keep[i] ? magnitude : 0;
    }
    return sums[0] < 1e-7 || sums[1] < 1e-7 ? 1 : sums[0] / sums[1];
}

static msx_status make_masks(engine *e) {
    static msx_status (*const make[])(const engine *, size_t, uint8_t *) = {
        [MSX__SPARSIFY_RANDOM] = keep_random,
        [MSX__SPARSIFY_DELLA] = keep_della,
        [MSX__SPARSIFY_OUTLIERS] = keep_outliers,
        [MSX__SPARSIFY_MAGNITUDE] = keep_largest,
    };
    size_t models = e->call->n_models - 1;
    for (size_t m = 0; m < models; m++) {
        e->share[m] = values_of(e, "weight")[m + 1];
        e->weight[m] = (float)e->share[m];
    }
    if (e->density >= 1) return MSX_OK;
    void *keep = NULL;
    MSX_TRY(
        msx__kernel_status(e->kernels->ops->alloc(e->kernels->dev, &keep, models * (size_t)e->n)));
    e->keep = keep;
    for (size_t m = 0; m < models; m++) {
        uint8_t *mask = e->keep + m * (size_t)e->n;
        MSX_TRY(make[e->rule->sparsify](e, m, mask));
        if (value_of(e, "rescale") >= 0.5)
            e->weight[m] = (float)(e->share[m] * rescale(e, m, mask));
    }
    return MSX_OK;
}

/* ---- the sum -------------------------------------------------------------------------------------- */

/* e_i of one block. out (n). */
static void load_block(const engine *e, size_t m, int64_t begin, int64_t n, float *out) {
    const float *x = e->call->models[m + 1] + begin, *base = e->call->models[0] + begin;
    const uint8_t *keep = e->keep ? e->keep + m * (size_t)e->n + begin : NULL;
    float weight = e->weight[m];
    for (int64_t i = 0; i < n; i++) out[i] = weight * (x[i] - base[i]);
    for (int64_t i = 0; keep && i < n; i++) out[i] = keep[i] ? out[i] : 0;
}

/* Sum of the e_i of one block, whose sign is elected. out (n). */
static void vote_block(const engine *e, int64_t begin, int64_t n, float *out) {
    float one[BLOCK];
    for (int64_t i = 0; i < n; i++) out[i] = 0;
    for (size_t m = 0; m < e->call->n_models - 1; m++) {
        load_block(e, m, begin, n, one);
        for (int64_t i = 0; i < n; i++) out[i] += one[i];
    }
}

/* -1 when more elements of the tensor elect minus than plus. */
static float majority(const engine *e) {
    int64_t balance = 0;
#pragma omp parallel for schedule(static) num_threads(e->call->threads) reduction(+ : balance)
    for (int64_t begin = 0; begin < e->n; begin += BLOCK) {
        float sum[BLOCK];
        int64_t n = e->n - begin < BLOCK ? e->n - begin : BLOCK;
        vote_block(e, begin, n, sum);
        for (int64_t i = 0; i < n; i++) balance += (sum[i] > 0) - (sum[i] < 0);
    }
    return balance < 0 ? -1 : 1;
}

/* A sum of zero elects e->tie; elements that were dropped have no sign and never agree. */
static void add_block(const engine *e, int64_t begin, int64_t n, bool normalize, float lambda) {
    float one[BLOCK], elected[BLOCK], sum[BLOCK] = {0}, weights[BLOCK] = {0};
    size_t models = e->call->n_models - 1;
    if (e->rule->elect) {
        vote_block(e, begin, n, elected);
        for (int64_t i = 0; i < n; i++) elected[i] = elected[i] == 0 ? e->tie : elected[i];
    }
    for (size_t m = 0; m < models; m++) {
        load_block(e, m, begin, n, one);
        float share = (float)e->share[m];
        for (int64_t i = 0; i < n && e->rule->elect; i++) {
            int agrees = elected[i] >= 0 ? one[i] > 0 : one[i] < 0;
            sum[i] += agrees ? one[i] : 0;
            weights[i] += agrees ? share : 0;
        }
        for (int64_t i = 0; i < n && !e->rule->elect; i++) {
            sum[i] += one[i];
            weights[i] += share;
        }
    }
    const float *base = e->call->models[0] + begin;
    for (int64_t i = 0; i < n; i++) {
        float divisor = normalize && fabsf(weights[i]) >= 1e-8f ? weights[i] : 1;
        e->call->out[begin + i] = base[i] + lambda * (sum[i] / divisor);
    }
}

msx_status msx__task_apply(const msx_merge_call *call, void *payload) {
    engine e = {
        .call = call, .rule = payload, .kernels = call->kernels, .n = call->elements, .tie = 1};
    double lambda = value_of(&e, or_name(e.rule->lambda, "lambda"));
    e.density = value_of(&e, or_name(e.rule->density, "density"));
    if (!e.n) return MSX_OK;
    if (lambda == 0 || e.density <= 0 || msx__models_equal(call)) {
        memcpy(call->out, call->models[0], (size_t)e.n * sizeof *call->out);
        return MSX_OK;
    }
    bool normalize = value_of(&e, "normalize") >= 0.5;
    msx_status status = make_masks(&e);
    if (status >= 0 && value_of(&e, "majority") >= 0.5) e.tie = majority(&e);
    if (status >= 0) {
#pragma omp parallel for schedule(static) num_threads(call->threads) if (e.n > BLOCK)
        for (int64_t begin = 0; begin < e.n; begin += BLOCK)
            add_block(&e, begin, e.n - begin < BLOCK ? e.n - begin : BLOCK, normalize,
                      (float)lambda);
    }
    e.kernels->ops->release(e.kernels->dev, e.keep);
    return status;
}
