// SPDX-License-Identifier: Apache-2.0
// cublasLtMatmul as the manual defines it, on CBLAS: column-major, D = epilogue(alpha op(A) op(B) +
// beta C + bias), strided batches, factors and results of 16 bits, sums in float32. Epilogues that the
// real library does not offer are refused.
#include "kernels/cuda/instructions.h"

#include <cblas.h>
#include <cublasLt.h>
#include <vector>

struct on_cpu_blas {
    int unused;
};
struct on_cpu_matmul {
    cublasComputeType_t compute;
    int32_t transa, transb;
    uint32_t epilogue;
    const void *bias;
};
struct on_cpu_layout {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld;
    int32_t batch;
    int64_t stride;
};
struct on_cpu_preference {
    uint64_t workspace;
};

namespace {

float widen(const void *at, cudaDataType_t type, int64_t i) {
    if (type == CUDA_R_32F) return static_cast<const float *>(at)[i];
    msxk_low x = static_cast<const msxk_low *>(at)[i];
    return type == CUDA_R_16F ? msxk_to_float(x, msxk_fp16()) : msxk_to_float(x, msxk_bf16());
}

void store(void *at, cudaDataType_t type, int64_t i, float x) {
    if (type == CUDA_R_32F)
        static_cast<float *>(at)[i] = x;
    else
        static_cast<msxk_low *>(at)[i] =
            type == CUDA_R_16F ? msxk_to_low(x, msxk_fp16()) : msxk_to_low(x, msxk_bf16());
}

// Problem `p` of a matrix, without gaps; TF32 keeps 10 bits of mantissa.
std::vector<float> fetch(const void *at, const on_cpu_layout *l, int64_t p, bool tf32) {
    std::vector<float> values(l->rows * l->cols);
    for (uint64_t c = 0; c < l->cols; c++)
        for (uint64_t r = 0; r < l->rows; r++) {
            float x = widen(at, l->type, p * l->stride + (int64_t)c * l->ld + (int64_t)r);
            if (tf32) x = __uint_as_float((__float_as_uint(x) + 0x1000u) & 0xffffe000u);
            values[c * l->rows + r] = x;
        }
    return values;
}

bool epilogue_is_offered(uint32_t e) {
    return e == CUBLASLT_EPILOGUE_DEFAULT || e == CUBLASLT_EPILOGUE_RELU ||
           e == CUBLASLT_EPILOGUE_BIAS || e == CUBLASLT_EPILOGUE_RELU_BIAS ||
           e == CUBLASLT_EPILOGUE_GELU || e == CUBLASLT_EPILOGUE_GELU_BIAS;
}

// The form that the library has.
float tanh_gelu(float x) {
    return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
}

void multiply(const on_cpu_matmul &d, float scale, float keep, const void *a,
              const on_cpu_layout &la, const void *b, const on_cpu_layout &lb, const void *c,
              const on_cpu_layout &lc, void *out, const on_cpu_layout &lout) {
    bool tf32 = d.compute == CUBLAS_COMPUTE_32F_FAST_TF32;
    bool relu = d.epilogue & CUBLASLT_EPILOGUE_RELU, bias = d.epilogue & CUBLASLT_EPILOGUE_BIAS;
    bool gelu = d.epilogue & CUBLASLT_EPILOGUE_GELU;
    uint64_t m = lout.rows, n = lout.cols, k = d.transa ? la.rows : la.cols;
    for (int64_t p = 0; p < lout.batch; p++) {
        std::vector<float> left = fetch(a, &la, p, tf32), right = fetch(b, &lb, p, tf32),
                           sums(m * n);
        cblas_sgemm(CblasColMajor, d.transa ? CblasTrans : CblasNoTrans,
                    d.transb ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, scale,
                    left.data(), (blasint)la.rows, right.data(), (blasint)lb.rows, 0.0f,
                    sums.data(), (blasint)m);
        for (uint64_t j = 0; j < n; j++)
            for (uint64_t i = 0; i < m; i++) {
                int64_t at = p * lc.stride + (int64_t)j * lc.ld + (int64_t)i;
                float x = sums[j * m + i];
                if (keep != 0) x += keep * widen(c, lc.type, at);
                if (bias) x += widen(d.bias, lout.type, (int64_t)i);
                if (relu && x < 0) x = 0;
                if (gelu) x = tanh_gelu(x);
                store(out, lout.type, p * lout.stride + (int64_t)j * lout.ld + (int64_t)i, x);
            }
    }
}

template <class T> cublasStatus_t set(T *to, const void *value, size_t bytes) {
    if (bytes != sizeof *to) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

} // namespace

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle) {
    *handle = new on_cpu_blas();
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t compute,
                                        cudaDataType_t) {
    *d = new on_cpu_matmul{compute, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, nullptr};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
    delete d;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes) {
    switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return set(&d->transa, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return set(&d->transb, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return set(&d->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return set(&d->bias, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType_t type,
                                          uint64_t rows, uint64_t cols, int64_t ld) {
    *l = new on_cpu_layout{type, rows, cols, ld, 1, 0};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
    delete l;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l,
                                                cublasLtMatrixLayoutAttribute_t attribute,
                                                const void *value, size_t bytes) {
    return attribute == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT ? set(&l->batch, value, bytes)
                                                           : set(&l->stride, value, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) {
    *p = new on_cpu_preference{0};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
    delete p;
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes) {
    uint32_t alignment;
    return attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? set(&p->workspace, value, bytes)
                                                                 : set(&alignment, value, bytes);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t out,
                                              cublasLtMatmulPreference_t, int,
                                              cublasLtMatmulHeuristicResult_t *results,
                                              int *found) {
    *found = 0;
    bool same = a->type == b->type && c->type == out->type && a->batch == out->batch &&
                b->batch == out->batch && c->batch == out->batch;
    bool shared_c = c->batch > 1 && c->stride == 0; /* not to be relied on */
    if (!same || shared_c || !epilogue_is_offered(d->epilogue) || !out->rows || !out->cols)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    memset(results, 0, sizeof *results);
    *found = 1;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t d, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t la, const void *b,
                              cublasLtMatrixLayout_t lb, const void *beta, const void *c,
                              cublasLtMatrixLayout_t lc, void *out, cublasLtMatrixLayout_t lout,
                              const cublasLtMatmulAlgo_t *, void *, size_t, cudaStream_t stream) {
    bool bias = d->epilogue & CUBLASLT_EPILOGUE_BIAS;
    float scale = *static_cast<const float *>(alpha), keep = *static_cast<const float *>(beta);
    uint64_t m = lout->rows, n = lout->cols, k = d->transa ? la->rows : la->cols;
    if ((d->transa ? la->cols : la->rows) != m || (d->transb ? lb->rows : lb->cols) != n ||
        (d->transb ? lb->cols : lb->rows) != k || (bias && !d->bias))
        return CUBLAS_STATUS_INVALID_VALUE;
    /* a graph outlives the descriptions of its products */
    on_cpu::submit(stream, [=, d = *d, la = *la, lb = *lb, lc = *lc, lout = *lout] {
        multiply(d, scale, keep, a, la, b, lb, c, lc, out, lout);
    });
    return CUBLAS_STATUS_SUCCESS;
}
