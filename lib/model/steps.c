/* SPDX-License-Identifier: Apache-2.0 */
/* Steps that all parts of the graph are made of. */
#include "model/network.h"

static msxk_gemm linear_gemm(const msx__linear *l, float *y, const float *x, int64_t batch,
                             int64_t rows) {
    return (msxk_gemm){
        .m = rows,
        .n = l->out,
        .k = l->in,
        .a = x,
        .lda = l->ldx,
        .w = l->w,
        .ldw = l->in,
        .w_transposed = 1,
        .bias = l->b,
        .c = y,
        .ldc = l->ldy,
        .alpha = 1.0f,
        .batch = batch,
        .stride_a = rows * l->ldx,
        .stride_c = rows * l->ldy,
    };
}

msx_status msx__linear_run(msx_model *m, const msx__linear *l, float *y, const float *x,
                           int64_t batch, int64_t rows, int act) {
    msxk_gemm g = linear_gemm(l, y, x, batch, rows);
    g.act = act;
    MSX_RUN(m->device, gemm, &g);
    return MSX_OK;
}

msx_status msx__linear_add(msx_model *m, const msx__linear *l, float *y, const float *x,
                           int64_t batch, int64_t rows, const float *residual, bool shared) {
    msxk_gemm g = linear_gemm(l, y, x, batch, rows);
    g.residual = residual;
    g.ldr = l->out;
    g.stride_r = shared ? 0 : rows * l->out;
    MSX_RUN(m->device, gemm, &g);
    return MSX_OK;
}

msx_status msx__norm_run(msx_model *m, const msx__norm *n, float *y, const float *x, int64_t rows,
                         float eps, int act) {
    MSX_RUN(m->device, layer_norm, y, x, n->w, n->b, rows, n->width, eps, act);
    return MSX_OK;
}

/* A gemm whose factors, and with `low_c` the result, are low when the model is. */
static msx_status run_mixed(msx_model *m, const msx__linear *l, msxk_gemm *g, int low_c) {
    if (m->low) {
        g->w = (const float *)(const void *)l->low;
        g->low = MSXK_LOW_A | MSXK_LOW_W | low_c;
        if (low_c) g->low_bias = l->low_b;
    }
    MSX_RUN(m->device, gemm, g);
    return MSX_OK;
}

msx_status msx__linear_run_mixed(msx_model *m, const msx__linear *l, void *y, const void *x,
                                 int64_t batch, int64_t rows, int act) {
    msxk_gemm g = linear_gemm(l, y, x, batch, rows);
    g.act = act;
    return run_mixed(m, l, &g, MSXK_LOW_C);
}

msx_status msx__linear_add_mixed(msx_model *m, const msx__linear *l, float *y, const void *x,
                                 int64_t batch, int64_t rows, const float *residual) {
    msxk_gemm g = linear_gemm(l, y, x, batch, rows);
    g.residual = residual;
    g.ldr = l->out;
    g.stride_r = rows * l->out;
    return run_mixed(m, l, &g, 0);
}

msx_status msx__norm_run_mixed(msx_model *m, const msx__norm *n, void *y, const float *x,
                               int64_t rows, float eps) {
    if (!m->low) return msx__norm_run(m, n, y, x, rows, eps, MSXK_ACT_NONE);
    MSX_RUN(m->device, layer_norm_low, y, x, n->w, n->b, rows, n->width, eps, MSXK_ACT_NONE);
    return MSX_OK;
}

msx_status msx__repeat(msx_model *m, msx__repeat_key key, msx__body_fn body, void *payload) {
    msx_device *d = m->device;
    if (m->tap) return body(m, payload); /* it reads results in between */
    key.model = m->serial;
    int code = d->k->begin(d->dev, &key, sizeof key);
    if (code < 0) return msx__device_status(d, code);
    if (code > 0) return MSX_OK;
    msx_status status = body(m, payload);
    code = d->k->end(d->dev, status == MSX_OK);
    if (code > 0) return body(m, payload);
    return status == MSX_OK ? msx__device_status(d, code) : status;
}

/* Memory of a seat, kept from call to call and made anew when it is too small. */
static msx_status at_least(msx_device *d, float **memory, int64_t *has, int64_t floats,
                           float **out) {
    if (floats > *has) {
        msx__device_release(d, *memory);
        *memory = NULL;
        *has = 0;
        MSX_TRY(msx__device_alloc(d, memory, floats));
        *has = floats;
    }
    *out = *memory;
    return MSX_OK;
}

msx_status msx__model_work(msx_model *m, int64_t floats, float **out) {
    return at_least(m->device, &m->seat->work, &m->seat->work_floats, floats, out);
}

msx_status msx__model_shared(msx_model *m, int64_t floats, float **out) {
    return at_least(m->device, &m->seat->shared, &m->seat->shared_floats, floats, out);
}

int64_t msx__carved(int64_t floats) {
    return (floats + 63) / 64 * 64;
}

float *msx__carve(float **memory, int64_t floats) {
    float *start = *memory;
    *memory += msx__carved(floats);
    return start;
}

void msx__tap(const msx_model *m, const char *stage, int64_t index, const float *data,
              int64_t floats) {
    if (m->tap) m->tap(stage, index, data, floats, m->tap_payload);
}
