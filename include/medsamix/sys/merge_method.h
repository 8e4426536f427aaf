/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file merge_method.h
 * @brief For people who add a merge method.
 *
 * A method is a table: a name, its parameters, and one function that merges one tensor. The methods
 * of the library are registered the same way in every new context.
 */
#ifndef MEDSAMIX_SYS_MERGE_METHOD_H
#define MEDSAMIX_SYS_MERGE_METHOD_H

#include <medsamix/merge.h>

MSX_BEGIN_DECLS

/** Does a hyperparameter belong to the default search space? */
enum {
    MSX_SEARCHED_NOT = 0,
    MSX_SEARCHED = 1,            /**< between its bounds */
    MSX_SEARCHED_FINE_TUNED = 2, /**< per model: within [0, 1], and of all models but the base */
    MSX_SEARCHED_LOG = 3 /**< on a logarithmic scale; from 1e-6 of the maximum, if it may be 0 */
};

/** A hyperparameter of a method. */
typedef struct msx_merge_param {
    const char *name;     /**< "scaling"; per model: "weight", set as "weight.NAME" */
    bool per_model;       /**< one value for every model, the base included */
    unsigned char search; /**< MSX_SEARCHED_NOT, ... */
    double minimum;       /**< inclusive */
    double maximum;       /**< inclusive */
    double initial;       /**< the default; NaN: the method decides when it is not set */
    const char *about;    /**< one line of help */
} msx_merge_param;

/** One tensor to merge. All arrays have `elements` values. */
typedef struct msx_merge_call {
    size_t struct_size;
    const char *tensor;         /**< official name */
    int64_t elements;           /**< >= 0 */
    int rank;                   /**< of the tensor */
    const int64_t *dims;        /**< rank extents */
    size_t n_models;            /**< >= 2, the base included */
    const float *const *models; /**< models[0] is the base; read only */
    const double *values;       /**< parameter values, in table order; a per-model parameter takes
                                     n_models places; NaN where not set and `initial` is NaN */
    float *out;                 /**< result; does not overlap the models */
    int threads;                /**< threads the call may use; the result must not depend on it */
    const void *kernels;        /**< for the library's own methods; others leave it alone */
    char *why;                  /**< room for one line that says why the call failed, may be NULL */
    size_t why_size;            /**< bytes of `why` */
} msx_merge_call;

/** A merge method. Zero-initialise what is not needed. */
typedef struct msx_merge_method {
    size_t struct_size;
    const char *name;              /**< lower-case letters, digits and '_' */
    const char *about;             /**< one line of help */
    const char *source;            /**< paper and equation */
    const msx_merge_param *params; /**< n_params entries */
    size_t n_params;
    /** Merge one tensor. Called from several threads for different tensors. Return MSX_OK or a
     *  negative status; no memory of the library needs to be released on failure. */
    msx_status (*apply)(const msx_merge_call *call, void *payload);
    void *payload;
} msx_merge_method;

/** Register a method with a context. The table and all it points to must outlive the context.
 *  @return MSX_E_EXISTS, MSX_E_ARG (text says which field). */
MSX_API msx_status msx_merge_method_register(msx_ctx *ctx, const msx_merge_method *method);

/** Registered methods in order of registration: number, table (NULL out of range), by name. */
MSX_API int64_t msx_merge_method_count(const msx_ctx *ctx);
MSX_API const msx_merge_method *msx_merge_method_at(const msx_ctx *ctx, int64_t i);
MSX_API const msx_merge_method *msx_merge_method_find(const msx_ctx *ctx, const char *name);

MSX_END_DECLS

#endif
