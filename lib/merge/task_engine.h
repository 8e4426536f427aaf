/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generalised task arithmetic (Goddard et al., EMNLP 2024 industry track): the methods of this family
 * differ in how they sparsify the task vectors, in whether signs are elected, and in their defaults.
 *
 *   d_i = x_i - base -> sparsify -> rescale -> e_i = weight_i d_i -> consensus -> normalise
 *   out = base + lambda * sum_i M_i e_i / D
 */
#ifndef MSX_MERGE_TASK_ENGINE_H
#define MSX_MERGE_TASK_ENGINE_H

#include "merge/merge.h"

typedef enum msx__sparsify {
    MSX__SPARSIFY_RANDOM = 1,   /* each element stays with probability density */
    MSX__SPARSIFY_DELLA = 2,    /* the same, likelier for larger elements of a line along axis 1 */
    MSX__SPARSIFY_OUTLIERS = 3, /* neither the smallest nor the share gamma of the largest */
    MSX__SPARSIFY_MAGNITUDE =
        4 /* the largest; with "threshold" also what equals the smallest of them */
} msx__sparsify;

typedef struct msx__task_rule {
    msx__sparsify sparsify;
    bool elect;                    /* only what has the sign of the weighted sum takes part */
    const msx_merge_param *params; /* the method's table: values are found by name */
    size_t n_params;
    const char *density, *lambda; /* what the method calls them; NULL: so */
} msx__task_rule;

/* How many of n elements a density keeps: exactly floor(density * n); or with `all_equal` those from
 * number floor((1 - density) * n) of the sorted ones on, to which those equal to it come. */
int64_t msx__kept_largest(double density, int64_t n, bool all_equal);

/* `payload` is a msx__task_rule. */
msx_status msx__task_apply(const msx_merge_call *call, void *payload);

/* Rows of the methods' tables. Weights may be negative: to take away what a model has learned. */
#define MSX__TASK_COMMON(normalize)                                                                \
    {"weight",                                                                                     \
     true,                                                                                         \
     MSX_SEARCHED_FINE_TUNED,                                                                      \
     -10,                                                                                          \
     10,                                                                                           \
     1,                                                                                            \
     "factor of a model's changes; the base has none"},                                            \
        {"density", false, true, 0, 1, 1, "share of each model's changes that is kept"},           \
        {"lambda", false, true, 0, 1, 1, "how much of the combined change is added"}, {            \
        "normalize", false, false, 0, 1, normalize, "1: divide by the weights that take part"      \
    }
#define MSX__TASK_RESCALE(initial)                                                                 \
    { "rescale", false, false, 0, 1, initial, "1: keep the sum of magnitudes of every change" }
#define MSX__TASK_SEED                                                                             \
    { "seed", false, false, 0, 4294967295, 0, "of the random masks" }

/* The table of a method with the given rule. */
#define MSX__TASK_METHOD(id, text, paper)                                                          \
    {                                                                                              \
        .struct_size = sizeof(msx_merge_method), .name = id, .about = text, .source = paper,       \
        .params = params, .n_params = sizeof params / sizeof *params, .apply = msx__task_apply,    \
        .payload = (void *)&rule                                                                   \
    }

#endif
