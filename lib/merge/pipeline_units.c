/* SPDX-License-Identifier: Apache-2.0 */
/* Which tensors can be merged in pieces. Reading, hashing, checking, merging and writing a piece while it
 * is in the cache takes a third of the time that it takes with memory between all of these. */
#include "checkpoint/stream.h"
#include "merge/pipeline.h"

#include <string.h>

enum { BEGINNING = 256 }; /* elements at which models that differ are seen to */

static bool have_pieces(const msx__pipeline_job *job, const char *name) {
    for (size_t k = 0; k < job->n; k++)
        if (!msx__checkpoint_has_pieces(job->inputs[k], msx_checkpoint_find(job->inputs[k], name)))
            return false;
    return true;
}

/* Do two of the models that take part differ in the first elements of a tensor, of which there are more? */
static msx_status differ_early(bool *differ, const msx__pipeline_job *job, const char *name) {
    float first[BEGINNING], other[BEGINNING];
    *differ = false;
    for (size_t k = 0; k < job->schedule->n_models && !*differ; k++) {
        const msx_checkpoint *c = job->inputs[job->schedule->models[k]];
        MSX_TRY(
            msx__checkpoint_peek(c, msx_checkpoint_find(c, name), BEGINNING, k ? other : first));
        *differ = k && memcmp(first, other, sizeof first) != 0;
    }
    return MSX_OK;
}

static msx_status can_be_cut(bool *can, const msx__pipeline_job *job, int64_t tensor) {
    const char *name = msx_arch_tensor_name(job->arch, tensor);
    const msx__recipe *r = msx__schedule_recipe(job->schedule, tensor);
    *can = (!r || msx__method_is_elementwise(r->method)) && have_pieces(job, name);
    return *can && r ? differ_early(can, job, name) : MSX_OK;
}

static void add_units(msx__unit *units, int64_t *n, int64_t tensor, int64_t elements,
                      int64_t step) {
    int64_t first = 0;
    do {
        int64_t left = elements - first;
        units[(*n)++] = (msx__unit){tensor, first, left < step ? left : step};
        first += step;
    } while (first < elements);
}

msx_status msx__units_plan(msx__unit **out, int64_t *n, const msx__pipeline_job *job) {
    int64_t tensors = msx_arch_tensor_count(job->arch), room = 0;
    *out = NULL;
    *n = 0;
    for (int64_t t = 0; t < tensors; t++)
        room += 1 + msx__tensor_elements(job->arch, t) / job->piece;
    msx__unit *units = *out = msx__alloc(job->ctx, (size_t)room, sizeof *units);
    if (!units) return MSX_E_NOMEM;
    for (int64_t i = 0; i < tensors; i++) {
        int64_t t = job->order ? job->order[i] : i;
        int64_t elements = msx__tensor_elements(job->arch, t);
        bool cut = elements > job->piece && elements > BEGINNING;
        if (cut) MSX_TRY(can_be_cut(&cut, job, t));
        add_units(units, n, t, elements, cut ? job->piece : elements ? elements : 1);
    }
    return MSX_OK;
}
