/* SPDX-License-Identifier: Apache-2.0 */
/* Growing the trees. Columns are sorted once; a node owns the same segment of every sorted column,
 * and a split partitions the segments stably, so that no node sorts again. */
#include "optimize/forest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIN_GAP      1e-6  /* closer values of a column are not told apart */
#define MIN_GAIN     1e-10 /* reduction of the squared error that is worth a split */
#define MIN_VARIANCE 1e-10

typedef struct segment {
    int32_t node, begin, end;
} segment;

/* Everything one training needs; n rows, d columns. */
typedef struct grower {
    const msx_space *space;
    const msx__forest_options *options;
    int64_t n, d;
    const double *y;
    double *columns;  /* d x n, transposed x */
    int32_t *sorted;  /* d x n: rows in the order of each column; categories in row order */
    int32_t *order;   /* d x n: the rows of this tree, by segments */
    int32_t *spare;   /* n */
    int32_t *weight;  /* n: copies of each row in the bootstrap sample */
    uint8_t *left;    /* n: side of each row in the split being made */
    int64_t leading;  /* the column whose order leaves read their rows from */
    int64_t *varying; /* columns with more than one value */
    int64_t n_varying;
    segment *stack; /* n */
    uint64_t state; /* of the generator */
} grower;

typedef struct split {
    int64_t feature; /* -1: none */
    double score;    /* sum of s^2 / w over both sides */
    double below, above;
    uint64_t mask[MSX__MASK_WORDS];
} split;

/* SplitMix64 (S. Vigna): a split needs many cheap draws; the seed comes from Philox. */
static uint64_t next(grower *g) {
    uint64_t z = g->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static double uniform(grower *g) {
    return (double)(next(g) >> 11) * 0x1p-53;
}

static int64_t below(grower *g, int64_t n) {
    return (int64_t)(uniform(g) * (double)n);
}

/* ---- the best split of one column ---------------------------------------------------------------- */

typedef struct sums {
    double weight, y;
} sums;

static double score_of(sums left, sums all) {
    sums right = {all.weight - left.weight, all.y - left.y};
    return left.y * left.y / left.weight + right.y * right.y / right.weight;
}

static bool big_enough(const grower *g, sums left, sums all) {
    return left.weight >= g->options->min_leaf && all.weight - left.weight >= g->options->min_leaf;
}

static void try_number(const grower *g, int64_t f, segment s, sums all, split *best) {
    const double *column = g->columns + f * g->n;
    const int32_t *rows = g->order + f * g->n;
    if (column[rows[s.end - 1]] - column[rows[s.begin]] <= MIN_GAP) return;
    sums left = {0, 0};
    for (int32_t i = s.begin; i + 1 < s.end; i++) {
        int32_t row = rows[i];
        left.weight += g->weight[row];
        left.y += g->weight[row] * g->y[row];
        if (column[rows[i + 1]] - column[row] <= MIN_GAP || !big_enough(g, left, all)) continue;
        double score = score_of(left, all);
        if (score <= best->score) continue;
        *best = (split){f, score, column[row], column[rows[i + 1]], {0}};
    }
}

/* For squared error the best subset of categories is a prefix of them in the order of their means
 * (W. Fisher, 1958). */
static void try_category(const grower *g, int64_t f, segment s, sums all, split *best) {
    const double *column = g->columns + f * g->n;
    const int32_t *rows = g->order + f * g->n;
    sums of[MSX__MAX_CHOICES + 1];
    int present[MSX__MAX_CHOICES + 1], n = 0;
    for (int64_t c = 0; c <= g->space->params[f].n_choices; c++) of[c] = (sums){0, 0};
    for (int32_t i = s.begin; i < s.end; i++) {
        int32_t row = rows[i];
        int c = (int)column[row];
        if (of[c].weight == 0) present[n++] = c;
        of[c].weight += g->weight[row];
        of[c].y += g->weight[row] * g->y[row];
    }
    for (int i = 1; i < n; i++) /* few: insertion sort by mean */
        for (int k = i; k > 0; k--) {
            int a = present[k - 1], b = present[k];
            if (of[a].y / of[a].weight <= of[b].y / of[b].weight) break;
            present[k - 1] = b;
            present[k] = a;
        }
    sums left = {0, 0};
    uint64_t mask[MSX__MASK_WORDS] = {0};
    for (int i = 0; i + 1 < n; i++) {
        int c = present[i];
        left.weight += of[c].weight;
        left.y += of[c].y;
        mask[c / 64] |= UINT64_C(1) << c % 64;
        if (!big_enough(g, left, all)) continue;
        double score = score_of(left, all);
        if (score <= best->score) continue;
        *best = (split){.feature = f, .score = score};
        memcpy(best->mask, mask, sizeof mask);
    }
}

/* ---- one tree ------------------------------------------------------------------------------------ */

static bool is_category(const grower *g, int64_t f) {
    return g->space->params[f].kind == MSX_PARAM_CATEGORICAL;
}

/* Look at a random share of the columns, at more of them only while none can split. Going through
 * them in random order also breaks ties at random. */
static split find_split(grower *g, segment s, sums all) {
    split best = {.feature = -1, .score = all.y * all.y / all.weight + MIN_GAIN};
    int64_t share = (int64_t)((double)g->n_varying * g->options->feature_ratio);
    if (share < 1) share = 1;
    for (int64_t i = 0; i < g->n_varying && (i < share || best.feature < 0); i++) {
        int64_t k = i + below(g, g->n_varying - i), f = g->varying[k];
        g->varying[k] = g->varying[i];
        g->varying[i] = f;
        (is_category(g, f) ? try_category : try_number)(g, f, s, all, &best);
    }
    return best;
}

/* Categories that the node has not seen go either way by chance. */
static void add_unseen(grower *g, segment s, split *best) {
    const double *column = g->columns + best->feature * g->n;
    const int32_t *rows = g->order + best->feature * g->n;
    uint64_t seen[MSX__MASK_WORDS] = {0};
    for (int32_t i = s.begin; i < s.end; i++) {
        unsigned c = (unsigned)column[rows[i]];
        seen[c / 64] |= UINT64_C(1) << c % 64;
    }
    for (int w = 0; w < MSX__MASK_WORDS; w++) best->mask[w] |= ~seen[w] & next(g);
}

/* Partition the segment in every column; @return where the right part begins. Of two rows each
 * becomes a leaf, which looks at the leading column only. */
static int32_t partition(grower *g, segment s, const split *best, double threshold) {
    const double *column = g->columns + best->feature * g->n;
    const int32_t *rows = g->order + best->feature * g->n;
    for (int32_t i = s.begin; i < s.end; i++) {
        double v = column[rows[i]];
        unsigned c = v < 0 ? 0 : (unsigned)v;
        g->left[rows[i]] =
            is_category(g, best->feature) ? best->mask[c / 64] >> c % 64 & 1 : v <= threshold;
    }
    int32_t middle = s.begin;
    for (int64_t k = 0; k < g->n_varying; k++) {
        int32_t *order = g->order + g->varying[k] * g->n, n_right = 0;
        middle = s.begin;
        for (int32_t i = s.begin; i < s.end; i++) {
            int32_t row = order[i];
            if (g->left[row])
                order[middle++] = row;
            else
                g->spare[n_right++] = row;
        }
        memcpy(order + middle, g->spare, (size_t)n_right * sizeof *order);
    }
    return middle;
}

/* log of the mean of exp(y) in the segment, safe for any y. */
static double leaf_value(const grower *g, const int32_t *rows, segment s) {
    double highest = -INFINITY, sum = 0, weight = 0;
    for (int32_t i = s.begin; i < s.end; i++) highest = fmax(highest, g->y[rows[i]]);
    for (int32_t i = s.begin; i < s.end; i++) {
        int32_t copies = g->options->distinct ? 1 : g->weight[rows[i]];
        sum += copies * exp(g->y[rows[i]] - highest);
        weight += copies;
    }
    return highest + log(sum / weight);
}

/* Draw the rows of the tree into every column's order; @return how many different ones. */
static int32_t sample_rows(grower *g) {
    memset(g->weight, 0, (size_t)g->n * sizeof *g->weight);
    for (int64_t i = 0; i < g->n; i++) g->weight[g->options->bootstrap ? below(g, g->n) : i]++;
    int32_t n = 0;
    for (int64_t k = 0; k < g->n_varying; k++) {
        const int32_t *sorted = g->sorted + g->varying[k] * g->n;
        int32_t *order = g->order + g->varying[k] * g->n;
        n = 0;
        for (int64_t i = 0; i < g->n; i++)
            if (g->weight[sorted[i]]) order[n++] = sorted[i];
    }
    return n;
}

static void grow_tree(grower *g, msx__forest *f, int tree) {
    msx__forest_node *nodes = f->nodes + tree * f->stride;
    int32_t n_nodes = 1, n_stack = 1, n_masks = (int32_t)(tree * (f->stride / 2));
    g->stack[0] = (segment){0, 0, sample_rows(g)};
    g->leading = g->varying[0];
    const int32_t *rows = g->order + g->leading * g->n;
    while (n_stack) {
        segment s = g->stack[--n_stack];
        sums all = {0, 0};
        for (int32_t i = s.begin; i < s.end; i++) {
            all.weight += g->weight[rows[i]];
            all.y += g->weight[rows[i]] * g->y[rows[i]];
        }
        split best = {.feature = -1};
        if (s.end - s.begin > 1 && all.weight >= g->options->min_split)
            best = find_split(g, s, all);
        msx__forest_node *node = &nodes[s.node];
        if (best.feature < 0) {
            *node = (msx__forest_node){-1, 0, -1, leaf_value(g, rows, s)};
            continue;
        }
        *node = (msx__forest_node){(int32_t)best.feature, n_nodes, -1, 0};
        if (is_category(g, best.feature)) {
            add_unseen(g, s, &best);
            node->mask = n_masks++;
            memcpy(f->masks + (size_t)node->mask * MSX__MASK_WORDS, best.mask, sizeof best.mask);
        } else {
            /* Anywhere between the neighbours: midpoints would make steps of all trees coincide. */
            node->value = best.below + uniform(g) * (best.above - best.below);
            if (!(node->value < best.above)) node->value = best.below;
        }
        int32_t middle = partition(g, s, &best, node->value);
        g->stack[n_stack++] = (segment){n_nodes, s.begin, middle};
        g->stack[n_stack++] = (segment){n_nodes + 1, middle, s.end};
        n_nodes += 2;
    }
    f->n_nodes[tree] = n_nodes;
}

/* ---- the forest ---------------------------------------------------------------------------------- */

typedef struct ranked {
    double value;
    int32_t row;
} ranked;

static int by_value(const void *a, const void *b) {
    const ranked *p = a, *q = b;
    if (p->value != q->value) return p->value < q->value ? -1 : 1;
    return p->row - q->row;
}

static void sort_columns(grower *g, const double *x, ranked *keys) {
    for (int64_t f = 0; f < g->d; f++) {
        double *column = g->columns + f * g->n;
        for (int64_t i = 0; i < g->n; i++) {
            column[i] = x[i * g->d + f];
            keys[i] = (ranked){column[i], (int32_t)i};
        }
        qsort(keys, (size_t)g->n, sizeof *keys, by_value);
        for (int64_t i = 0; i < g->n; i++) g->sorted[f * g->n + i] = keys[i].row;
        if (keys[g->n - 1].value - keys[0].value > MIN_GAP) g->varying[g->n_varying++] = f;
    }
    if (!g->n_varying) g->varying[g->n_varying++] = 0; /* one leaf, which needs rows */
}

static void free_grower(msx_ctx *ctx, grower *g, ranked *keys) {
    msx__free(ctx, g->columns);
    msx__free(ctx, g->sorted);
    msx__free(ctx, g->order);
    msx__free(ctx, g->spare);
    msx__free(ctx, g->weight);
    msx__free(ctx, g->left);
    msx__free(ctx, g->varying);
    msx__free(ctx, g->stack);
    msx__free(ctx, keys);
}

msx_status msx__forest_train(msx__forest *f, const msx_space *space, const double *x,
                             const double *y, int64_t n, const msx__forest_options *options,
                             uint64_t seed) {
    msx_ctx *ctx = space->ctx;
    msx__forest_free(f);
    *f = (msx__forest){.ctx = ctx, .space = space, .trees = options->trees, .stride = 2 * n};
    int64_t cells, nodes;
    if (n > INT32_MAX / 4 || !msx__mul(n, space->n, &cells) ||
        !msx__mul(f->stride, f->trees, &nodes) || nodes > INT32_MAX)
        return msx__fail(ctx, MSX_E_LIMIT, "random forest: %" PRId64 " trials are too many", n);
    const size_t rows = (size_t)n, all = (size_t)cells;
    grower g = {.space = space, .options = options, .n = n, .d = space->n, .y = y, .state = seed};
    f->nodes = msx__alloc(ctx, (size_t)nodes, sizeof *f->nodes);
    f->masks = msx__alloc(ctx, (size_t)nodes / 2 * MSX__MASK_WORDS, sizeof *f->masks);
    f->n_nodes = msx__alloc(ctx, (size_t)f->trees, sizeof *f->n_nodes);
    g.columns = msx__alloc(ctx, all, sizeof *g.columns);
    g.sorted = msx__alloc(ctx, all, sizeof *g.sorted);
    g.order = msx__alloc(ctx, all, sizeof *g.order);
    g.spare = msx__alloc(ctx, rows, sizeof *g.spare);
    g.weight = msx__alloc(ctx, rows, sizeof *g.weight);
    g.left = msx__alloc(ctx, rows, sizeof *g.left);
    g.varying = msx__alloc(ctx, (size_t)space->n, sizeof *g.varying);
    g.stack = msx__alloc(ctx, rows + 1, sizeof *g.stack);
    ranked *keys = msx__alloc(ctx, rows, sizeof *keys);
    bool complete = f->nodes && f->masks && f->n_nodes && g.columns && g.sorted && g.order &&
                    g.spare && g.weight && g.left && g.varying && g.stack && keys;
    if (complete) {
        sort_columns(&g, x, keys);
        for (int tree = 0; tree < f->trees; tree++) grow_tree(&g, f, tree);
    }
    free_grower(ctx, &g, keys);
    if (complete) return MSX_OK;
    msx__forest_free(f);
    return MSX_E_NOMEM;
}

void msx__forest_free(msx__forest *f) {
    if (!f->ctx) return;
    msx__free(f->ctx, f->nodes);
    msx__free(f->ctx, f->masks);
    msx__free(f->ctx, f->n_nodes);
    *f = (msx__forest){0};
}

void msx__forest_moments(const double *predictions, int trees, double *mean, double *variance) {
    double sum = 0, square = 0;
    for (int t = 0; t < trees; t++) sum += predictions[t];
    *mean = sum / trees;
    for (int t = 0; t < trees; t++) square += (predictions[t] - *mean) * (predictions[t] - *mean);
    *variance = fmax(square / trees, MIN_VARIANCE);
}

void msx__forest_predict(const msx__forest *f, const double *x, double *mean, double *variance) {
    double predictions[MSX__MAX_TREES];
    for (int t = 0; t < f->trees; t++) predictions[t] = msx__forest_tree(f, t, x);
    msx__forest_moments(predictions, f->trees, mean, variance);
}
