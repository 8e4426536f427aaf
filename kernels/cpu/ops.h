/* SPDX-License-Identifier: Apache-2.0 */
/* The ops of the CPU backend, one line a slot of the table; shapes and contracts: kernels.h. */
#ifndef MSX_KERNELS_CPU_OPS_H
#define MSX_KERNELS_CPU_OPS_H

#include "kernels/cpu/cpu.h"
#include "kernels/cpu/tiles.h"

/* gemm.c */
int msxk_cpu_gemm(msx_kdev *dev, const msxk_gemm *g);

/* gemm_tiles.c; for paths that have tiles of the operands' type */
int msxk_cpu_gemm_tiles(msx_kdev *dev, const msxk_gemm *g, int threads);

/* norm.c */
int msxk_cpu_layer_norm(msx_kdev *dev, float *y, const float *x, const float *w, const float *b,
                        int64_t rows, int64_t cols, float eps, int act);
int msxk_cpu_layer_norm_low(msx_kdev *dev, msxk_low *y, const float *x, const float *w,
                            const float *b, int64_t rows, int64_t cols, float eps, int act);

/* low.c */
int msxk_cpu_narrow(msx_kdev *dev, msxk_low *y, const float *x, int64_t n);
int msxk_cpu_gemm_low(msx_kdev *dev, const msxk_gemm *g);
int msxk_cpu_attention_low(msx_kdev *dev, const msxk_attention *a);

/* attention.c, cross.c, two_way.c, upscale.c */
int msxk_cpu_attention(msx_kdev *dev, const msxk_attention *a);
int msxk_cpu_cross(msx_kdev *dev, const msxk_cross *c);
int msxk_cpu_two_way(msx_kdev *dev, const msxk_two_way *t);
int msxk_cpu_masks(msx_kdev *dev, const msxk_masks *m);

/* layout.c */
int msxk_cpu_patchify_low(msx_kdev *dev, msxk_low *rows, const float *image, int64_t batch,
                          int64_t grid, int64_t patch);
int msxk_cpu_im2col3_low(msx_kdev *dev, msxk_low *rows, const msxk_low *x, int64_t batch,
                         int64_t grid, int64_t channels);
int msxk_cpu_patchify(msx_kdev *dev, float *rows, const float *image, int64_t batch, int64_t grid,
                      int64_t patch);
int msxk_cpu_add_rows(msx_kdev *dev, float *y, const float *x, const float *add, int64_t batch,
                      int64_t n);
int msxk_cpu_im2col3(msx_kdev *dev, float *rows, const float *x, int64_t batch, int64_t grid,
                     int64_t channels);
int msxk_cpu_transpose(msx_kdev *dev, float *y, const float *x, int64_t batch, int64_t rows,
                       int64_t cols);
int msxk_cpu_gather_add(msx_kdev *dev, float *y, const float *x, const int64_t *index,
                        const float *add, int add_per_prompt, int64_t prompts, int64_t n);
int msxk_cpu_shuffle2(msx_kdev *dev, float *out, const float *in, const float *bias, int64_t batch,
                      int64_t h, int64_t w, int64_t channels, int act);
int msxk_cpu_unshuffle2(msx_kdev *dev, float *rows, const float *x, int64_t batch, int64_t h,
                        int64_t w, int64_t channels);

/* masks.c */
int msxk_cpu_bilinear(msx_kdev *dev, float *out, const float *in, int64_t n, int64_t in_h,
                      int64_t in_w, int64_t crop_h, int64_t crop_w, int64_t out_h, int64_t out_w);
int msxk_cpu_sigmoid(msx_kdev *dev, float *y, const float *x, int64_t n);
int msxk_cpu_threshold(msx_kdev *dev, uint8_t *mask, const float *x, int64_t n, float threshold);
int msxk_cpu_overlap(msx_kdev *dev, int64_t counts[4], const uint8_t *reference,
                     const uint8_t *prediction, int64_t n);

/* ---- shared by several ops --------------------------------------------------------------------- */

/* In place, x (rows, cols) with leading dimension ld: x = act(x + bias) + residual; bias (cols) and
 * residual (rows, cols; leading dimension ldr) may be NULL. One thread. */
void msxk_cpu_epilogue(const msx_kdev *dev, float *x, int64_t ld, int64_t rows, int64_t cols,
                       const float *bias, int act, const float *residual, int64_t ldr);

/* layer_norm without an activation; one thread. */
void msxk_cpu_norm_rows(const msx_kdev *dev, float *y, const float *x, const float *w,
                        const float *b, int64_t rows, int64_t cols, float eps);

/* Rows of bfloat16, the low format of this backend, from and to float; one thread. */
void msxk_cpu_round(const msx_kdev *dev, msxk_low *y, const float *x, int64_t n);
void msxk_cpu_widen(const msx_kdev *dev, float *y, const msxk_low *x, int64_t n);

#endif
