/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of positions for another input size.
 *   pos_embed (1,S,S,D)             bilinear, as SAMed (Zhang & Liu, arXiv 2304.13785) and its successors, or
 *                                   bicubic, as ViTs usually (Dosovitskiy et al. 2021)
 *   rel_pos_h, rel_pos_w (2S-1, d)  linear along the rows, as get_rel_pos of segment-anything; of global
 *                                   blocks alone: windows keep their size
 * All are PyTorch's interpolate with align_corners = False and without antialiasing: output i lies at
 * (i + 0.5) * in / out - 0.5 of the input.
 */
#include "checkpoint/positions.h"

#include "checkpoint/internal.h"

#include <math.h>
#include <string.h>

enum { MOST_TAPS = 4 };

/* The inputs along one axis that an output is a sum of. */
typedef struct taps {
    int n;
    int64_t at[MOST_TAPS];
    double weight[MOST_TAPS];
} taps;

static int64_t clamp(int64_t i, int64_t n) {
    return i < 0 ? 0 : i < n ? i : n - 1;
}

static taps linear_taps(int64_t i, int64_t in, int64_t out) {
    double at = fmax(((double)i + 0.5) * (double)in / (double)out - 0.5, 0);
    int64_t low = clamp((int64_t)at, in);
    double t = at - (double)low;
    return (taps){2, {low, clamp(low + 1, in)}, {1 - t, t}};
}

/* Keys' kernel with a = -0.75 (Keys 1981; PyTorch's constant), at distance 0 <= x <= 2. */
static double keys(double x) {
    const double a = -0.75;
    return x <= 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : ((x - 5) * x + 8) * x * a - 4 * a;
}

static taps cubic_taps(int64_t i, int64_t in, int64_t out) {
    double at = ((double)i + 0.5) * (double)in / (double)out - 0.5, low = floor(at), t = at - low;
    taps k = {.n = 4};
    for (int j = 0; j < 4; j++) {
        k.at[j] = clamp((int64_t)low - 1 + j, in);
        k.weight[j] = keys(fabs(t + 1 - j));
    }
    return k;
}

typedef taps (*taps_fn)(int64_t i, int64_t in, int64_t out);

/* out (out_h, out_w, d) from in (in_h, in_w, d), `sum` (d) */
static void resample(float *out, int64_t out_h, int64_t out_w, const float *in, int64_t in_h,
                     int64_t in_w, int64_t d, taps_fn down, taps_fn across, double *sum) {
    for (int64_t y = 0; y < out_h; y++)
        for (int64_t x = 0; x < out_w; x++, out += d) {
            taps v = down(y, in_h, out_h), u = across(x, in_w, out_w);
            memset(sum, 0, (size_t)d * sizeof *sum);
            for (int j = 0; j < v.n; j++)
                for (int i = 0; i < u.n; i++) {
                    const float *from = in + (v.at[j] * in_w + u.at[i]) * d;
                    double weight = v.weight[j] * u.weight[i];
                    for (int64_t c = 0; c < d; c++) sum[c] += weight * from[c];
                }
            for (int64_t c = 0; c < d; c++) out[c] = (float)sum[c];
        }
}

bool msx__positions_known(msx_positions how) {
    return how == MSX_POSITIONS_BILINEAR || how == MSX_POSITIONS_BICUBIC;
}

msx_status msx__positions_resample(msx_ctx *ctx, float *to, const msx_arch *other,
                                   const float *from, const msx_arch *a, int64_t i,
                                   msx_positions how) {
    int64_t in[MSX_MAX_RANK], out[MSX_MAX_RANK];
    int rank = msx_arch_tensor_shape(a, i, in);
    msx_arch_tensor_shape(other, i, out);
    int64_t d = in[rank - 1];
    double *sum = msx__alloc(ctx, (size_t)d, sizeof *sum);
    if (!sum) return MSX_E_NOMEM;
    taps_fn grid = how == MSX_POSITIONS_BICUBIC ? cubic_taps : linear_taps;
    if (rank == 4) /* (1, rows, columns, D) */
        resample(to, out[1], out[2], from, in[1], in[2], d, grid, grid, sum);
    else /* (rows, d) */
        resample(to, out[0], 1, from, in[0], 1, d, linear_taps, linear_taps, sum);
    msx__free(ctx, sum);
    return MSX_OK;
}

/* ---- a whole checkpoint --------------------------------------------------------------------------- */

typedef struct job {
    msx_ctx *ctx;
    const msx_checkpoint *from;
    msx_checkpoint *to;
    msx_arch *before, *after;
    msx_positions how;
} job;

static msx_status copy_tensor(job *j, int64_t i) {
    int64_t in[MSX_MAX_RANK], out[MSX_MAX_RANK];
    const char *name = msx_arch_tensor_name(j->after, i);
    int64_t number = msx_checkpoint_find(j->from, name);
    int64_t n = msx_checkpoint_elements(j->from, number);
    int rank = msx_arch_tensor_shape(j->after, i, out);
    msx_arch_tensor_shape(j->before, i, in);
    MSX_TRY(msx_checkpoint_add(j->to, name, rank, out, NULL));
    float *data = msx_checkpoint_data(j->to, i);
    if (!memcmp(in, out, sizeof in)) return msx_checkpoint_read(j->from, number, data, n);
    float *table = msx__alloc(j->ctx, (size_t)n, sizeof *table);
    if (!table) return MSX_E_NOMEM;
    msx_status status = msx_checkpoint_read(j->from, number, table, n);
    if (status == MSX_OK)
        status = msx__positions_resample(j->ctx, data, j->after, table, j->before, i, j->how);
    msx__free(j->ctx, table);
    return status;
}

static msx_status copy_meta(job *j) {
    for (int64_t i = 0; i < msx_checkpoint_meta_count(j->from); i++) {
        const char *key = msx_checkpoint_meta_key(j->from, i);
        MSX_TRY(msx_checkpoint_set_meta(j->to, key, msx_checkpoint_meta(j->from, key)));
    }
    return MSX_OK;
}

static msx_status copy(job *j, int64_t image_size) {
    MSX_TRY(msx_arch_infer(&j->before, j->ctx, j->from));
    MSX_TRY(msx__arch_resize(&j->after, j->before, image_size));
    int64_t n = msx_arch_tensor_count(j->after);
    if (msx_arch_get(j->after, MSX_ARCH_GRID) == msx_arch_get(j->before, MSX_ARCH_WINDOW))
        return msx__fail(j->ctx, MSX_E_UNSUPPORTED,
                         "an input of %" PRId64 " pixels is one window wide: nobody could tell "
                         "from the shapes any more which blocks are global; choose another size",
                         image_size);
    MSX_TRY(msx_checkpoint_create(&j->to, j->ctx));
    for (int64_t i = 0; i < n; i++) {
        MSX_TRY(msx__progress(j->ctx, "resize", i, n, NAN));
        MSX_TRY(copy_tensor(j, i));
    }
    return copy_meta(j);
}

msx_status msx_checkpoint_resize(msx_checkpoint **out, const msx_checkpoint *c, int64_t image_size,
                                 msx_positions how) {
    if (!c) return MSX_E_ARG;
    if (out) *out = NULL;
    job j = {.ctx = c->ctx, .from = c, .how = how};
    if (!out || !msx__positions_known(how))
        return msx__fail(j.ctx, MSX_E_ARG, "out is NULL, or positions %d are unknown", (int)how);
    msx_status status = copy(&j, image_size);
    msx_arch_free(j.before);
    msx_arch_free(j.after);
    if (status < 0)
        msx_checkpoint_free(j.to);
    else
        *out = j.to;
    return status;
}
