/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the CUDA backend takes, on the GPU that the plug-in beside this program finds: ceilings (a large
 * product, a large copy), encoders, decoder, merges and whole trials of a search. Inputs are random.
 *
 *     bench [small] [once] [NETWORK ...]
 *         small: the golden model a instead of ViT-B, -L and -H, to try the program
 *         once: one fp16 encoding of one and of eight images, 16 boxes and one merge of each kind, to be
 *         looked at through a profiler
 *         NETWORK: only these of vit_b, vit_l, vit_h
 */
#include "bench.h"

#include "support/computed_vit.h"

#include <time.h>

enum { ROUNDS = 20, WARM = 3, WARM_MS = 300, ENOUGH_MS = 1500, FEWEST = 3 };
int rounds;

void need(const msx_ctx *ctx, msx_status status) {
    if (status >= 0) return;
    fprintf(stderr, "bench: %s\n", msx_ctx_error(ctx));
    exit(status == MSX_E_DEVICE ? 77 : 1);
}

void need_op(const msx_device *d, int code) {
    if (code == MSXK_OK) return;
    fprintf(stderr, "bench: %s\n", d->k->error(d->dev));
    exit(1);
}

float *noise(int64_t n) {
    float *x = malloc((size_t)n * sizeof *x);
    uint32_t state = 1;
    for (int64_t i = 0; x && i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    if (!x) exit(1);
    return x;
}

msx_device *open_device(msx_ctx *ctx, msx_precision precision) {
    msx_device *d;
    need(ctx, msx_device_open(&d, ctx, "cuda:0"));
    need(ctx, msx_device_set_precision(d, precision));
    return d;
}

/* ---- timing ---------------------------------------------------------------------------------------- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double time_of(msx_device *d, work_fn work, void *payload) {
    double times[ROUNDS], all = 0;
    int n = 0;
    double begin = now();
    for (int r = 0; rounds && r < WARM && now() - begin < WARM_MS; r++) {
        work(d, payload);
        need_op(d, d->k->sync(d->dev));
    }
    do {
        need_op(d, d->k->sync(d->dev));
        double start = now();
        work(d, payload);
        need_op(d, d->k->sync(d->dev));
        all += times[n++] = now() - start;
    } while (n < rounds && (all < ENOUGH_MS || n < FEWEST));
    qsort(times, (size_t)n, sizeof *times, by_value);
    return times[n / 2];
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

static void measure_ceilings(msx_ctx *ctx, int64_t side, ceilings *most) {
    for (int p = 0; p < PRECISIONS; p++) {
        msx_device *d = open_device(ctx, (msx_precision)p);
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
        most->tflops[p] = 2e-9 * (double)side * (double)side * (double)side / ms;
        printf("product of %lld^3, %s: %.1f TFLOP/s\n", (long long)side,
               msx_precision_name((msx_precision)p), most->tflops[p]);
        if (p == 0) {
            copying move = {c, a, (size_t)(side * side) * sizeof *a};
            most->gbytes = 2e-6 * (double)move.bytes / time_of(d, copy, &move);
            printf("copy of %.2f GB: %.0f GB/s read and written\n", (double)move.bytes * 1e-9,
                   most->gbytes);
        }
        float *areas[] = {a, low, c};
        for (int i = 0; i < 3; i++) msx__device_release(d, areas[i]);
        free(host);
        msx_device_free(d);
    }
}

static bool has(char **words, const char *word) {
    for (; *words; words++)
        if (!strcmp(*words, word)) return true;
    return false;
}

static void measure(msx_ctx *ctx, const network *n, const ceilings *most, bool small) {
    msx_checkpoint *c;
    if (n->file)
        need(ctx, msx_checkpoint_open(&c, ctx, test_path(n->file)));
    else
        need(ctx, test_compute_vit(&c, ctx, n->width, n->head, n->depth, n->global_every));
    if (rounds) {
        measure_encoders(ctx, n, c, most);
    } else {
        encode_once(ctx, c, 1);
        encode_once(ctx, c, 8);
    }
    if (!strcmp(n->name, "vit_b") || small) {
        measure_decoder(ctx, n, c);
        measure_merges(ctx, n, c, most);
        if (rounds) measure_trials(ctx, n, c, small);
    }
    msx_checkpoint_free(c);
}

int main(int argc, char **argv) {
    static const network full[] = {{"vit_b", 768, 64, 12, 3, 0.938, NULL},
                                   {"vit_l", 1024, 64, 24, 6, 2.837, NULL},
                                   {"vit_h", 1280, 80, 32, 8, 5.642, NULL}};
    static const network tiny = {"small", 0, 0, 0, 0, 2e-5, "golden/a/model.pth"};
    bool small = has(argv, "small"), once = has(argv, "once"), named = false;
    ceilings most = {{1, 1, 1, 1}, 1};
    msx_ctx *ctx;
    (void)argc;
    if (msx_ctx_create(&ctx, NULL) < 0) return 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    rounds = once ? 0 : ROUNDS;
    if (!once) measure_ceilings(ctx, small ? 64 : 8192, &most);
    for (int i = 0; i < 3; i++) named |= has(argv, full[i].name);
    for (int i = 0; i < (small ? 1 : 3); i++)
        if (small || !named || has(argv, full[i].name))
            measure(ctx, small ? &tiny : full + i, &most, small);
    msx_ctx_free(ctx);
    return 0;
}
