/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the CUDA backend takes, on the GPU that the plug-in beside this program finds: ceilings (a large
 * product, a large copy), encoders, decoder and merges. Times are medians of the host's clock around
 * calls that end in waiting for the GPU; inputs are random.
 *
 *     bench [small]     small: the golden model a instead of ViT-B, -L and -H, to try the program
 */
#include "model/network.h"
#include "support/computed_vit.h"
#include "support/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REPEATS = 20, PRECISIONS = 4 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void need(const msx_ctx *ctx, msx_status status) {
    if (status >= 0) return;
    fprintf(stderr, "bench: %s\n", msx_ctx_error(ctx));
    exit(status == MSX_E_DEVICE ? 77 : 1);
}

static void need_op(const msx_device *d, int code) {
    if (code == MSXK_OK) return;
    fprintf(stderr, "bench: %s\n", d->k->error(d->dev));
    exit(1);
}

/* Exact, cheap and without a pattern that a GPU could gain from. */
static float *noise(int64_t n) {
    float *x = malloc((size_t)n * sizeof *x);
    uint32_t state = 1;
    for (int64_t i = 0; x && i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    if (!x) exit(1);
    return x;
}

typedef void (*work_fn)(msx_device *d, void *payload);

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median milliseconds of `work`; three rounds before warm up, and let calls that repeat be recorded. */
static double time_of(msx_device *d, work_fn work, void *payload) {
    double times[REPEATS];
    for (int r = -3; r < REPEATS; r++) {
        need_op(d, d->k->sync(d->dev));
        double start = now();
        work(d, payload);
        need_op(d, d->k->sync(d->dev));
        if (r >= 0) times[r] = now() - start;
    }
    qsort(times, REPEATS, sizeof *times, by_value);
    return times[REPEATS / 2];
}

/* ---- ceilings ------------------------------------------------------------------------------------ */

static void multiply(msx_device *d, void *payload) {
    need_op(d, d->k->gemm(d->dev, payload));
}

typedef struct copying {
    float *to, *from;
    size_t bytes;
} copying;

static void copy(msx_device *d, void *payload) {
    const copying *c = payload;
    need_op(d, d->k->copy(d->dev, c->to, c->from, c->bytes));
}

/* TFLOP/s of a square product by precision, and GB/s (read and written) of a copy. */
static void ceilings(msx_ctx *ctx, int64_t side, double tflops[PRECISIONS]) {
    for (int p = 0; p < PRECISIONS; p++) {
        msx_device *d;
        need(ctx, msx_device_open(&d, ctx, "cuda:0"));
        need(ctx, msx_device_set_precision(d, (msx_precision)p));
        float *host = noise(side * side), *a, *low, *c;
        need(ctx, msx__device_alloc(d, &a, side * side));
        need(ctx, msx__device_alloc(d, &low, side * side));
        need(ctx, msx__device_alloc(d, &c, side * side));
        need_op(d, d->k->upload(d->dev, a, host, (size_t)(side * side) * sizeof *a));
        msxk_gemm g = {.m = side,
                       .n = side,
                       .k = side,
                       .a = a,
                       .lda = side,
                       .w = a,
                       .ldw = side,
                       .w_transposed = 1,
                       .c = c,
                       .ldc = side,
                       .alpha = 1};
        if (msx__device_is_low(d)) {
            need_op(d, d->k->narrow(d->dev, (msxk_low *)(void *)low, a, side * side));
            g.a = g.w = low;
            g.low = MSXK_LOW_A | MSXK_LOW_W | MSXK_LOW_C;
        }
        double ms = time_of(d, multiply, &g);
        tflops[p] = 2e-9 * (double)side * (double)side * (double)side / ms;
        printf("product of %lld^3, %s: %.1f TFLOP/s\n", (long long)side,
               msx_precision_name((msx_precision)p), tflops[p]);
        if (p == 0) {
            copying move = {c, a, (size_t)(side * side) * sizeof *a};
            ms = time_of(d, copy, &move);
            printf("copy of %.2f GB: %.0f GB/s read and written\n", (double)move.bytes * 1e-9,
                   2e-6 * (double)move.bytes / ms);
        }
        float *areas[] = {a, low, c};
        for (int i = 0; i < 3; i++) msx__device_release(d, areas[i]);
        free(host);
        msx_device_free(d);
    }
}

/* ---- networks -------------------------------------------------------------------------------------- */

typedef struct network {
    const char *name;
    int64_t width, head, depth, global_every;
    double tflop; /* of an encoding, without the windows' padding */
} network;

static const network networks[] = {{"vit_b", 768, 64, 12, 3, 0.938},
                                   {"vit_l", 1024, 64, 24, 6, 2.837},
                                   {"vit_h", 1280, 80, 32, 8, 5.642}};

typedef struct encoding {
    msx_model *m;
    const float *input;
    float *out;
    int64_t batch;
} encoding;

static void encode(msx_device *d, void *payload) {
    const encoding *e = payload;
    (void)d;
    need(e->m->ctx, msx__encode(e->m, &(msx__input){.host = e->input}, e->batch, e->out));
}

static void upload_input(msx_device *d, void *payload) {
    const encoding *e = payload;
    size_t bytes = (size_t)(e->batch * 3 * e->m->image_size * e->m->image_size) * sizeof(float);
    need_op(d, d->k->upload(d->dev, e->m->work, e->input, bytes));
}

/* Relative error of one embedding against the same network in float32 on the CPU. */
static double error_against(const encoding *e, const float *truth) {
    int64_t n = e->m->tokens * e->m->channels;
    float *got = malloc((size_t)n * sizeof *got);
    need_op(e->m->device,
            e->m->device->k->download(e->m->device->dev, got, e->out, (size_t)n * sizeof *got));
    double error = test_relative_l2(got, truth, n);
    free(got);
    return error;
}

static float *truth_of(msx_ctx *ctx, const msx_checkpoint *c, const float *input) {
    msx_device *d;
    msx_model *m;
    need(ctx, msx_device_open(&d, ctx, "cpu"));
    need(ctx, msx_model_load(&m, d, c, MSX_PRESET_SAM));
    float *out = malloc((size_t)(m->tokens * m->channels) * sizeof *out);
    need(ctx, msx__encode(m, &(msx__input){.host = input}, 1, out));
    msx_model_free(m);
    msx_device_free(d);
    return out;
}

static void encoders(msx_ctx *ctx, const network *n, const msx_checkpoint *c,
                     const double tflops[PRECISIONS]) {
    static const int64_t batches[] = {1, 4, 8, 16};
    int64_t side = 0;
    float *input = NULL, *truth = NULL;
    for (int p = 0; p < PRECISIONS; p++) {
        msx_device *d;
        msx_model *m;
        need(ctx, msx_device_open(&d, ctx, "cuda:0"));
        need(ctx, msx_device_set_precision(d, (msx_precision)p));
        need(ctx, msx_model_load(&m, d, c, MSX_PRESET_SAM));
        if (!input) {
            side = m->image_size;
            input = noise(16 * 3 * side * side);
            truth = truth_of(ctx, c, input);
        }
        encoding e = {.m = m, .input = input};
        int64_t most = msx__encode_batch(m), now_bytes, peak;
        need(ctx, msx__device_alloc(d, &e.out, 16 * m->tokens * m->channels));
        for (int i = 0; i < 4 && batches[i] <= most; i++) {
            e.batch = batches[i];
            double ms = time_of(d, encode, &e) - time_of(d, upload_input, &e);
            double rate = n->tflop * (double)e.batch / ms * 1e3;
            need(ctx, msx_device_usage(d, &now_bytes, &peak));
            printf("%-6s %-5s %5lld %10.2f %9.1f %8.0f%% %9.2e %8.0f\n", n->name,
                   msx_precision_name((msx_precision)p), (long long)e.batch, ms / (double)e.batch,
                   rate, 100 * rate / tflops[p], error_against(&e, truth), (double)peak / 1048576);
        }
        msx__device_release(d, e.out);
        msx_model_free(m);
        msx_device_free(d);
    }
    free(input);
    free(truth);
}

/* ---- decoder --------------------------------------------------------------------------------------- */

typedef struct decoding {
    msx_model *m;
    msx_embedding *e;
    msx_prompts *prompts;
} decoding;

static void decode(msx_device *d, void *payload) {
    const decoding *c = payload;
    msx_prediction *p;
    (void)d;
    need(c->m->ctx, msx_model_predict(&p, c->m, c->e, c->prompts));
    msx_prediction_free(p);
}

static void decoder(msx_ctx *ctx, const network *n, const msx_checkpoint *c) {
    static const int counts[] = {1, 16, 256};
    msx_device *d;
    decoding work;
    need(ctx, msx_device_open(&d, ctx, "cuda:0"));
    need(ctx, msx_device_set_precision(d, MSX_PRECISION_FP16));
    need(ctx, msx_model_load(&work.m, d, c, MSX_PRESET_SAM));
    int64_t side = work.m->image_size, sizes[4] = {side, side, side, side};
    float *input = noise(3 * side * side);
    need(ctx, msx_model_encode_input(&work.e, work.m, input, sizes, 1));
    for (int i = 0; i < 3; i++) {
        need(ctx, msx_prompts_create(&work.prompts, ctx));
        for (int k = 0; k < counts[i]; k++) {
            need(ctx, msx_prompts_begin(work.prompts, 0));
            need(ctx, msx_prompts_box(work.prompts, k % 16, k / 16, (double)side / 2 + k % 16,
                                      (double)side / 2));
        }
        printf("%-6s %4d boxes: %8.3f ms, with the masks on the host\n", n->name, counts[i],
               time_of(d, decode, &work));
        msx_prompts_free(work.prompts);
    }
    free(input);
    msx_embedding_free(work.e);
    msx_model_free(work.m);
    msx_device_free(d);
}

/* ---- merging ---------------------------------------------------------------------------------------- */

enum { MODELS = 3 };
typedef struct merging {
    const msx_checkpoint *c;
    const float *x[MODELS];
    float *out;
} merging;

/* Every tensor of the checkpoint by one method; they all lie at the start of the same areas. */
static void merge(msx_device *d, const merging *m, int method) {
    static const double weight[MODELS] = {0.5, 0.3, 0.2};
    for (int64_t t = 0; t < msx_checkpoint_count(m->c); t++) {
        int64_t n = msx_checkpoint_elements(m->c, t), kept[MODELS - 1];
        float threshold[MODELS - 1];
        double dots[3];
        if (method == 0) need_op(d, d->k->merge_linear(d->dev, m->out, m->x, weight, MODELS, n));
        if (method == 1)
            need_op(
                d, d->k->merge_task(d->dev, m->out, m->x[0], m->x + 1, weight, MODELS - 1, 0.4, n));
        for (int k = 0; method == 2 && k < MODELS - 1; k++)
            need_op(d, d->k->select_threshold(d->dev, m->x[0], m->x[k + 1], n, (n + 1) / 2,
                                              threshold + k, kept + k));
        if (method == 2)
            need_op(d, d->k->merge_ties(d->dev, m->out, m->x[0], m->x + 1, threshold, kept,
                                        MODELS - 1, 0.7, n));
        if (method == 3) {
            need_op(d, d->k->dots(d->dev, dots, m->x[0], m->x[1], n));
            need_op(d, d->k->merge_linear(d->dev, m->out, m->x, weight, 2, n));
        }
    }
}
static void merge_linear(msx_device *d, void *payload) {
    merge(d, payload, 0);
}
static void merge_task(msx_device *d, void *payload) {
    merge(d, payload, 1);
}
static void merge_ties(msx_device *d, void *payload) {
    merge(d, payload, 2);
}
static void merge_slerp(msx_device *d, void *payload) {
    merge(d, payload, 3);
}

static void merges(msx_ctx *ctx, const network *n, const msx_checkpoint *c) {
    static const struct {
        const char *name;
        work_fn work;
    } methods[] = {{"linear", merge_linear},
                   {"task_arithmetic", merge_task},
                   {"ties", merge_ties},
                   {"slerp", merge_slerp}};
    int64_t largest = 0;
    for (int64_t t = 0; t < msx_checkpoint_count(c); t++)
        if (msx_checkpoint_elements(c, t) > largest) largest = msx_checkpoint_elements(c, t);
    msx_device *d;
    merging m = {.c = c};
    float *areas[MODELS + 1], *host = noise(MODELS * largest);
    need(ctx, msx_device_open(&d, ctx, "cuda:0"));
    for (int k = 0; k <= MODELS; k++) need(ctx, msx__device_alloc(d, areas + k, largest));
    for (int k = 0; k < MODELS; k++) {
        need_op(d,
                d->k->upload(d->dev, areas[k], host + k * largest, (size_t)largest * sizeof *host));
        m.x[k] = areas[k];
    }
    m.out = areas[MODELS];
    for (int i = 0; i < 4; i++)
        printf("%-6s merge of %d models, %-15s: %8.2f ms\n", n->name, MODELS, methods[i].name,
               time_of(d, methods[i].work, &m));
    for (int k = 0; k <= MODELS; k++) msx__device_release(d, areas[k]);
    free(host);
    msx_device_free(d);
}

int main(int argc, char **argv) {
    bool small = argc > 1 && !strcmp(argv[1], "small");
    double tflops[PRECISIONS];
    msx_ctx *ctx;
    if (msx_ctx_create(&ctx, NULL) < 0) return 1;
    ceilings(ctx, small ? 64 : 8192, tflops);
    printf("\nnet    mode  batch   ms/image  TFLOP/s  of peak     error  MiB most\n");
    for (int i = 0; i < (small ? 1 : 3); i++) {
        network n = networks[i];
        msx_checkpoint *c;
        if (small)
            need(ctx, msx_checkpoint_open(&c, ctx, test_path("golden/a/model.pth")));
        else
            need(ctx, test_compute_vit(&c, ctx, n.width, n.head, n.depth, n.global_every));
        if (small) n.name = "small", n.tflop = 2e-5;
        encoders(ctx, &n, c, tflops);
        if (i == 0) decoder(ctx, &n, c);
        if (i == 0) merges(ctx, &n, c);
        msx_checkpoint_free(c);
    }
    msx_ctx_free(ctx);
    return 0;
}
