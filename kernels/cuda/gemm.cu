/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C (M,N) = act(alpha * A (M,K) op(W) + bias) + residual by cuBLASLt, whose matrices are column-major:
 * C^T (N,M) = op(W^T) A^T, with W first and A second.
 *
 * Fused into the product: bias, ReLU, the residual as beta C, and the GELU of a 16-bit result. That one is
 * cuBLASLt's, the tanh form: it is within 4.8e-4 of the exact one, half a unit in the last place of
 * fp16 where they differ most. Not fused: the GELU of a float32 result, and a residual that a batch
 * shares; they are one pass over C, which is in the L2 cache then. Problems of a batch that lie behind each other and share W are one tall
 * product. What cuBLASLt chose for a shape is kept.
 */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/instructions.h"

#include <string.h>

#define MAX_PLANS       256
#define WORKSPACE_BYTES ((size_t)32 << 20) /* what cuBLAS recommends for Hopper */

/* All that the choice of an algorithm depends on; compared as bytes. */
struct gemm_key {
    int64_t m, n, k, lda, ldw, ldc, ldr, batch, stride_a, stride_w, stride_c, stride_r;
    int32_t w_transposed, low, precision, act, bias, residual;
    uint32_t aligned[5]; /* A, W, C, bias, residual: bytes, up to 256 */
    uint32_t unused;
};

struct msxk_gemm_plan {
    gemm_key key;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t w, a, c, residual;
    cublasLtMatmulAlgo_t algorithm;
};

/* ---- plans --------------------------------------------------------------------------------------- */

static void destroy_plan(msxk_gemm_plan *p) {
    if (p->product) cublasLtMatmulDescDestroy(p->product);
    cublasLtMatrixLayout_t layouts[] = {p->w, p->a, p->c, p->residual};
    for (cublasLtMatrixLayout_t layout : layouts)
        if (layout) cublasLtMatrixLayoutDestroy(layout);
    memset(p, 0, sizeof *p);
}

int msxk_cuda_make_plans(msx_kdev *dev) {
    size_t bytes = MAX_PLANS * sizeof *dev->plans;
    dev->plans = static_cast<msxk_gemm_plan *>(msxk_cuda_host_alloc(dev, bytes));
    if (!dev->plans) return MSXK_E_NOMEM;
    memset(dev->plans, 0, bytes);
    return MSXK_OK;
}

void msxk_cuda_forget_plans(msx_kdev *dev) {
    for (size_t i = 0; i < dev->n_plans; i++) destroy_plan(dev->plans + i);
    if (dev->plans) dev->host.free(dev->plans, dev->host.payload);
    dev->plans = NULL;
    dev->n_plans = 0;
}

static uint32_t alignment(const void *pointer) {
    uintptr_t address = (uintptr_t)pointer;
    uint32_t bytes = 256;
    while (bytes > 1 && address % bytes) bytes /= 2;
    return bytes;
}

static bool make_layout(cublasLtMatrixLayout_t *out, cudaDataType_t type, int64_t rows,
                        int64_t cols, int64_t ld, int64_t batch, int64_t stride) {
    int32_t count = (int32_t)batch;
    return cublasLtMatrixLayoutCreate(out, type, (uint64_t)rows, (uint64_t)cols, ld) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                            sizeof count) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutSetAttribute(*out, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                            &stride, sizeof stride) == CUBLAS_STATUS_SUCCESS;
}

static bool make_layouts(msxk_gemm_plan *p, cudaDataType_t factor, cudaDataType_t result) {
    const gemm_key *k = &p->key;
    return make_layout(&p->w, factor, k->w_transposed ? k->k : k->n, k->w_transposed ? k->n : k->k,
                       k->ldw, k->batch, k->stride_w) &&
           make_layout(&p->a, factor, k->k, k->m, k->lda, k->batch, k->stride_a) &&
           make_layout(&p->c, result, k->n, k->m, k->ldc, k->batch, k->stride_c) &&
           make_layout(&p->residual, result, k->n, k->m, k->residual ? k->ldr : k->ldc, k->batch,
                       k->residual ? k->stride_r : k->stride_c);
}

static bool describe(msxk_gemm_plan *p, const void *bias) {
    const gemm_key *k = &p->key;
    bool tf32 = !(k->low & MSXK_LOW_A) && k->precision != MSXK_FP32;
    int32_t transposed = k->w_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    static const cublasLtEpilogue_t epilogues[][2] = {
        /* MSXK_ACT_NONE */ {CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_BIAS},
        /* MSXK_ACT_GELU */ {CUBLASLT_EPILOGUE_GELU, CUBLASLT_EPILOGUE_GELU_BIAS},
        /* MSXK_ACT_RELU */ {CUBLASLT_EPILOGUE_RELU, CUBLASLT_EPILOGUE_RELU_BIAS}};
    uint32_t epilogue = epilogues[k->act][k->bias];
    return cublasLtMatmulDescCreate(&p->product,
                                    tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
                                    CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                          sizeof transposed) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                          sizeof epilogue) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                          sizeof bias) == CUBLAS_STATUS_SUCCESS;
}

static bool choose_algorithm(msx_kdev *dev, msxk_gemm_plan *p) {
    const gemm_key *k = &p->key;
    cublasLtMatmulPreference_t preference;
    if (cublasLtMatmulPreferenceCreate(&preference) != CUBLAS_STATUS_SUCCESS) return false;
    uint64_t workspace = WORKSPACE_BYTES;
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        uint32_t bytes;
    } alignments[] = {
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, k->aligned[1]}, /* cuBLASLt's A is W */
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, k->aligned[0]},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, k->aligned[k->residual ? 4 : 2]},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, k->aligned[2]}};
    bool good =
        cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &workspace, sizeof workspace) == CUBLAS_STATUS_SUCCESS;
    for (const auto &a : alignments)
        good =
            good && cublasLtMatmulPreferenceSetAttribute(preference, a.attribute, &a.bytes,
                                                         sizeof a.bytes) == CUBLAS_STATUS_SUCCESS;
    cublasLtMatmulHeuristicResult_t result;
    int found = 0;
    good =
        good &&
        cublasLtMatmulAlgoGetHeuristic(dev->blas, p->product, p->w, p->a, p->residual, p->c,
                                       preference, 1, &result, &found) == CUBLAS_STATUS_SUCCESS &&
        found > 0;
    cublasLtMatmulPreferenceDestroy(preference);
    if (good) p->algorithm = result.algo;
    return good;
}

/* The plan for a key, made when there is none; NULL where cuBLASLt has no algorithm. */
static msxk_gemm_plan *find_plan(msx_kdev *dev, const gemm_key *key, const void *bias) {
    for (size_t i = 0; i < dev->n_plans; i++)
        if (!memcmp(&dev->plans[i].key, key, sizeof *key)) return dev->plans + i;
    size_t at = dev->n_plans < MAX_PLANS ? dev->n_plans : dev->next_plan++ % MAX_PLANS;
    msxk_gemm_plan *p = dev->plans + at;
    destroy_plan(p);
    p->key = *key;
    cudaDataType_t low = dev->precision == MSXK_FP16 ? CUDA_R_16F : CUDA_R_16BF;
    if (!make_layouts(p, key->low & MSXK_LOW_A ? low : CUDA_R_32F,
                      key->low & MSXK_LOW_C ? low : CUDA_R_32F) ||
        !describe(p, bias) || !choose_algorithm(dev, p)) {
        destroy_plan(p);
        return NULL;
    }
    if (at == dev->n_plans) dev->n_plans++;
    return p;
}

/* ---- what is not fused ----------------------------------------------------------------------------- */

struct epilogue {
    int64_t rows, cols, ldc, ldr, stride_c, stride_r;
    int64_t period;        /* rows of the residual, which repeat */
    const float *bias;     /* (cols) or NULL */
    const float *residual; /* or NULL */
    int act, from_zero;    /* from_zero: the product is empty, C holds nothing */
};

/* WIDTH neighbours of a row per thread, read and written as one vector. */
template <class T, class INDEX, int WIDTH>
static __global__ void finish_kernel(T *c, epilogue e, INDEX groups, int precision) {
    INDEX i = (INDEX)msxk_thread();
    if (i >= (INDEX)e.rows * groups) return;
    INDEX row = i / groups, col = i % groups * WIDTH;
    int64_t problem = blockIdx.y;
    T *at = c + problem * e.stride_c + row * e.ldc + col;
    const float *residual =
        e.residual ? e.residual + problem * e.stride_r + row % (INDEX)e.period * e.ldr + col : NULL;
    msxk_run<T, WIDTH> v;
    if (!e.from_zero) v = *reinterpret_cast<const msxk_run<T, WIDTH> *>(at);
#pragma unroll
    for (int k = 0; k < WIDTH; k++) {
        float x = e.from_zero ? 0.0f : msxk_read(&v.x[k], precision);
        if (e.bias) x += e.bias[col + k];
        x = msxk_activate(x, e.act);
        if (residual) x += residual[k];
        msxk_write(&v.x[k], x, precision);
    }
    *reinterpret_cast<msxk_run<T, WIDTH> *>(at) = v;
}

template <class T, int WIDTH>
static int run_finish(msx_kdev *dev, T *c, const epilogue &e, int64_t batch) {
    bool wide = e.cols % WIDTH == 0 && e.ldc % WIDTH == 0 && e.stride_c % WIDTH == 0 &&
                alignment(c) >= WIDTH * sizeof(T);
    int64_t groups = wide ? e.cols / WIDTH : e.cols;
    dim3 grid(msxk_cuda_blocks(e.rows * groups, 256), (unsigned)batch);
    if (wide && msxk_is_small(e.rows * groups))
        return MSXK_LAUNCH(dev, (finish_kernel<T, unsigned, WIDTH>), grid, 256, 0, c, e,
                           (unsigned)groups, dev->precision);
    if (wide)
        return MSXK_LAUNCH(dev, (finish_kernel<T, int64_t, WIDTH>), grid, 256, 0, c, e, groups,
                           dev->precision);
    return MSXK_LAUNCH(dev, (finish_kernel<T, int64_t, 1>), grid, 256, 0, c, e, groups,
                       dev->precision);
}

/* ---- the op ----------------------------------------------------------------------------------------- */

/* A batch that shares W and lies without gaps is one product of more rows; so is one of single rows, whose
 * strides are then leading dimensions (a token of every prompt). */
static msxk_gemm flatten(const msxk_gemm *from) {
    msxk_gemm g = *from;
    if (g.batch == 0) g.batch = 1;
    bool in_line = g.stride_w == 0 && g.stride_a == g.m * g.lda && g.stride_c == g.m * g.ldc &&
                   (!g.residual || g.stride_r == 0 || g.stride_r == g.m * g.ldr);
    if (g.batch > 1 && in_line) {
        g.m *= g.batch;
        g.batch = 1;
    }
    bool rows = g.m == 1 && g.stride_w == 0 && g.stride_a >= g.k && g.stride_c >= g.n &&
                (!g.residual || g.stride_r == 0 || g.stride_r >= g.n) &&
                (g.residual != g.c || g.stride_r == g.stride_c);
    if (g.batch > 1 && rows) {
        g.lda = g.stride_a, g.ldc = g.stride_c;
        if (g.stride_r) g.ldr = g.stride_r;
        g.m = g.batch;
        g.batch = 1;
    }
    if (g.batch == 1) g.stride_a = g.stride_w = g.stride_c = 0;
    return g;
}

static gemm_key make_key(const msx_kdev *dev, const msxk_gemm *g, const void *bias, bool residual,
                         int act) {
    gemm_key key;
    memset(&key, 0, sizeof key);
    key.m = g->m, key.n = g->n, key.k = g->k;
    key.lda = g->lda, key.ldw = g->ldw, key.ldc = g->ldc;
    key.batch = g->batch;
    key.stride_a = g->stride_a, key.stride_w = g->stride_w, key.stride_c = g->stride_c;
    key.w_transposed = g->w_transposed;
    key.low = g->low;
    key.precision = dev->precision;
    key.act = act;
    key.bias = bias != NULL;
    key.aligned[0] = alignment(g->a);
    key.aligned[1] = alignment(g->w);
    key.aligned[2] = alignment(g->c);
    key.aligned[3] = alignment(bias);
    if (residual) {
        key.residual = 1;
        key.ldr = g->ldr;
        key.stride_r = g->batch > 1 ? g->stride_r : 0;
        key.aligned[4] = alignment(g->residual);
    }
    return key;
}

static int multiply(msx_kdev *dev, const msxk_gemm *g, msxk_gemm_plan *p, const void *bias) {
    void *workspace;
    MSXK_RETURN_IF(msxk_cuda_scratch(dev, MSXK_SCRATCH_GEMM, WORKSPACE_BYTES, &workspace));
    float beta = p->key.residual ? 1.0f : 0.0f;
    bool good = cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                               sizeof bias) == CUBLAS_STATUS_SUCCESS;
    cublasStatus_t status =
        cublasLtMatmul(dev->blas, p->product, &g->alpha, g->w, p->w, g->a, p->a, &beta,
                       p->key.residual ? g->residual : g->c, p->residual, g->c, p->c, &p->algorithm,
                       workspace, WORKSPACE_BYTES, dev->stream);
    if (good && status == CUBLAS_STATUS_SUCCESS) return MSXK_OK;
    return msxk_cuda_fail(dev, MSXK_E_DEVICE, "gemm %lld x %lld x %lld: cuBLASLt status %d",
                          (long long)g->m, (long long)g->n, (long long)g->k, (int)status);
}

/* cuBLASLt takes a bias of the result's type. */
static int bias_for(msx_kdev *dev, const msxk_gemm *g, const void **out) {
    *out = g->bias;
    if (!g->bias || !(g->low & MSXK_LOW_C)) return MSXK_OK;
    *out = g->low_bias;
    if (g->low_bias) return MSXK_OK;
    void *low;
    MSXK_RETURN_IF(
        msxk_cuda_scratch(dev, MSXK_SCRATCH_BIAS, (size_t)g->n * sizeof(msxk_low), &low));
    *out = low;
    return msxk_cuda_narrow(dev, static_cast<msxk_low *>(low), g->bias, g->n);
}

static int check(msx_kdev *dev, const msxk_gemm *g) {
    int factors = g->low & (MSXK_LOW_A | MSXK_LOW_W);
    if (factors && factors != (MSXK_LOW_A | MSXK_LOW_W))
        return msxk_cuda_fail(dev, MSXK_E_ARG, "gemm: only one factor is low");
    if ((g->low & MSXK_LOW_C) && (g->residual || !factors))
        return msxk_cuda_fail(dev, MSXK_E_ARG,
                              "gemm: a low result takes low factors and no residual");
    if (g->low && dev->precision != MSXK_FP16 && dev->precision != MSXK_BF16)
        return msxk_cuda_fail(dev, MSXK_E_ARG, "gemm: low operands, but no low precision is set");
    if (g->residual == g->c && (g->act != MSXK_ACT_NONE || g->ldr != g->ldc))
        return msxk_cuda_fail(dev, MSXK_E_ARG, "gemm: a residual in place takes no activation");
    return MSXK_OK;
}

/* What the product does itself. */
struct fused {
    bool bias, residual;
    int act;
};

/* False where cuBLASLt has no algorithm. */
static int multiply_with(msx_kdev *dev, const msxk_gemm *g, const fused &f, bool *done) {
    const void *bias = NULL;
    if (f.bias) MSXK_RETURN_IF(bias_for(dev, g, &bias));
    gemm_key key = make_key(dev, g, bias, f.residual, f.act);
    msxk_gemm_plan *plan = find_plan(dev, &key, bias);
    *done = plan != NULL;
    return plan ? multiply(dev, g, plan, bias) : MSXK_OK;
}

int msxk_cuda_gemm(msx_kdev *dev, const msxk_gemm *original) {
    if (original->m <= 0 || original->n <= 0 || original->batch < 0) return MSXK_OK;
    MSXK_RETURN_IF(check(dev, original));
    msxk_gemm g = flatten(original);
    bool in_place = g.residual == g.c, repeats = original->batch > 1 && g.stride_r == 0;
    bool exact = g.act == MSXK_ACT_GELU && !(g.low & MSXK_LOW_C); /* not cuBLASLt's form */
    fused f = {g.bias && !exact, g.residual && g.act == MSXK_ACT_NONE && (in_place || !repeats),
               exact ? MSXK_ACT_NONE : g.act};
    bool done = false;
    if (g.k > 0) {
        MSXK_RETURN_IF(multiply_with(dev, &g, f, &done));
        if (!done) { /* nothing fused but a residual in place, which would be lost */
            f = {false, in_place, MSXK_ACT_NONE};
            MSXK_RETURN_IF(multiply_with(dev, &g, f, &done));
        }
        if (!done)
            return msxk_cuda_fail(dev, MSXK_E_DEVICE,
                                  "gemm %lld x %lld x %lld: cuBLASLt has no algorithm",
                                  (long long)g.m, (long long)g.n, (long long)g.k);
    } else {
        f = {false, false, MSXK_ACT_NONE};
    }
    epilogue e = {};
    e.rows = g.m, e.cols = g.n, e.ldc = g.ldc, e.stride_c = g.stride_c;
    e.period = repeats ? original->m : g.m;
    e.ldr = g.ldr, e.stride_r = g.batch > 1 ? g.stride_r : 0;
    e.bias = f.bias ? NULL : g.bias;
    e.residual = f.residual ? NULL : g.residual;
    e.act = f.act == g.act ? MSXK_ACT_NONE : g.act;
    e.from_zero = !done;
    if (done && !e.bias && !e.residual && e.act == MSXK_ACT_NONE) return MSXK_OK;
    if (g.low & MSXK_LOW_C)
        return run_finish<msxk_low, 8>(dev, reinterpret_cast<msxk_low *>(g.c), e, g.batch);
    return run_finish<float, 4>(dev, g.c, e, g.batch);
}
