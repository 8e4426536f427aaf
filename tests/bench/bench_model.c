/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loading, encoding and decoding on the CPU, as a table: medians of several runs.
 *
 *     bench_model [--threads N] [--seconds S] [MODEL ...]
 *     bench_model [--threads N] [--bf16] --turns MODEL
 *     bench_model --write FILE
 *
 * Models are files; by default the demo's mini model and a ViT-B with computed weights, which is
 * written to build/bench at first use (--write writes it elsewhere, in the format of the ending). Every cell is repeated for S seconds (default 2). The SGEMM rate is
 * measured on 4096 x 3072 x 768, alternating with the encoder, so that both see the same machine.
 * Each row is a process of its own, so its peak memory is its own; that is taken after one image and
 * one box.
 *
 * --turns: measure what standard input asks for, one line each, and answer with milliseconds:
 * `encode N`, `decode N`; `save FILE` keeps embedding, logits and IoU scores of image 0 and the first box
 * (the embedding's image is the last encoded batch's first). For tests/bench/peers.
 */
#include "model_session.h"
#include "support/computed_vit.h"

#include <cblas.h>
#include <inttypes.h>
#include <math.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GEMM_M = 4096, GEMM_N = 3072, GEMM_K = 768, MOST_RUNS = 200, MOST_MODELS = 16 };

static const char mini_path[] = "tests/golden/b/model.pth";
static const char vit_b_path[] = "build/bench/vit_b.safetensors";

typedef struct options {
    int threads;    /* 0: the library's default */
    double seconds; /* per cell */
    bool turns;
    msx_precision precision; /* of the row to come */
    const char *write;       /* or NULL */
    const char *models[MOST_MODELS];
    int n_models;
} options;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, by_value);
    return values[n / 2];
}

/* Median milliseconds of `run`, repeated for the time allowed. */
static double time_runs(const options *o, session *s, double (*run)(session *, int), int n) {
    double times[MOST_RUNS], end = session_now() + o->seconds * 1e3;
    int runs = 0;
    do times[runs++] = run(s, n);
    while (runs < MOST_RUNS && session_now() < end);
    return median(times, runs);
}

/* ---- work and the machine's rate ---------------------------------------------------------------- */

/* Multiplications and additions of encoding one image, padding of windows left out: a window's padded
 * keys count, as they are attended to, its padded queries do not. */
static double encoder_flop(const msx_arch *a) {
    double n = (double)msx_arch_get(a, MSX_ARCH_GRID) * (double)msx_arch_get(a, MSX_ARCH_GRID);
    double d = (double)msx_arch_get(a, MSX_ARCH_WIDTH), mlp = (double)msx_arch_get(a, MSX_ARCH_MLP);
    double c = (double)msx_arch_get(a, MSX_ARCH_DECODER_WIDTH);
    double patch = (double)msx_arch_get(a, MSX_ARCH_PATCH);
    double macs = n * d * 3 * patch * patch + n * d * c + 9 * n * c * c;
    for (int64_t i = 0; i < msx_arch_tensor_count(a); i++) {
        int64_t dims[MSX_MAX_RANK];
        if (!strstr(msx_arch_tensor_name(a, i), ".attn.rel_pos_h")) continue;
        msx_arch_tensor_shape(a, i, dims);
        double side = (double)(dims[0] + 1) / 2;
        macs += n * d * (4 * d + 2 * mlp + 2 * side * side + 2 * side);
    }
    return 2 * macs;
}

/* Operands of the product that the machine's rate is measured on. */
typedef struct gemm {
    float *a, *b, *c;
} gemm;

static float *filled(int64_t n) {
    float *x = malloc((size_t)n * sizeof *x);
    if (!x) exit(1);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(i % 61) / 61.0f;
    return x;
}

/* GFLOP/s of one product; PyTorch-like layout: rows times the rows of a weight matrix. */
static double gemm_rate(const gemm *g) {
    double start = session_now();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, GEMM_M, GEMM_N, GEMM_K, 1.0f, g->a, GEMM_K,
                g->b, GEMM_K, 0.0f, g->c, GEMM_N);
    return 2.0 * GEMM_M * GEMM_N * GEMM_K / (session_now() - start) * 1e-6;
}

/* ---- a row -------------------------------------------------------------------------------------- */

typedef struct row {
    double load, encode_1, rate, share, encode_4, decode_1, decode_10, decode_100, peak_mb;
    double error; /* of the embedding against float32 */
} row;

/* Not getrusage: what that says includes the process that this one was forked from. */
static double peak_mb(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    double kb = NAN;
    while (f && fgets(line, sizeof line, f)) sscanf(line, "VmHWM: %lf", &kb);
    if (f) fclose(f);
    return kb / 1024;
}

/* The embedding of image 0; the caller frees it. */
static float *read_embedding(const session *s, int64_t *floats) {
    const msx_arch *a = msx_model_arch(s->model);
    int64_t grid = msx_arch_get(a, MSX_ARCH_GRID);
    *floats = msx_arch_get(a, MSX_ARCH_DECODER_WIDTH) * grid * grid;
    float *x = malloc((size_t)*floats * sizeof *x);
    if (!x) exit(1);
    session_need(s, msx_embedding_read(s->embedding, 0, x, *floats));
    return x;
}

static double relative_l2(const float *got, const float *expected, int64_t n) {
    double off = 0, all = 0;
    for (int64_t i = 0; i < n; i++) {
        off += ((double)got[i] - expected[i]) * ((double)got[i] - expected[i]);
        all += (double)expected[i] * expected[i];
    }
    return sqrt(off / all);
}

static double error_against_f32(const options *o, session *s) {
    session exact;
    int64_t n;
    session_open(&exact, s->path, o->threads, MSX_PRECISION_FP32);
    session_encode(&exact, 1);
    session_encode(s, 1);
    float *expected = read_embedding(&exact, &n), *got = read_embedding(s, &n);
    double error = relative_l2(got, expected, n);
    free(expected);
    free(got);
    session_close(&exact);
    return error;
}

/* Encoding one image and the product in turns: the encoder's rate and its share of the product's. */
static void measure_encoder(const options *o, session *s, row *r) {
    double flop = encoder_flop(msx_model_arch(s->model)), end = session_now() + o->seconds * 1e3;
    double times[MOST_RUNS], shares[MOST_RUNS];
    gemm g = {filled(GEMM_M * GEMM_K), filled(GEMM_N * GEMM_K), filled(GEMM_M * GEMM_N)};
    int runs = 0;
    openblas_set_num_threads(msx_ctx_threads(s->ctx));
    gemm_rate(&g);
    do {
        double rates[] = {gemm_rate(&g), gemm_rate(&g), gemm_rate(&g)};
        times[runs] = session_encode(s, 1);
        shares[runs] = flop / times[runs] * 1e-6 / median(rates, 3);
        runs++;
    } while (runs < MOST_RUNS && session_now() < end);
    r->encode_1 = median(times, runs);
    r->rate = flop / r->encode_1 * 1e-6;
    r->share = median(shares, runs);
    free(g.a);
    free(g.b);
    free(g.c);
}

static double reload(session *s, int n) {
    (void)n;
    msx_model_free(s->model);
    session_load(s);
    return s->load_ms;
}

static row measure(const options *o, const char *path) {
    session s;
    row r = {0};
    if (!session_open(&s, path, o->threads, o->precision)) return r;
    session_encode(&s, 1);
    session_decode(&s, 1);
    r.peak_mb = peak_mb();
    r.load = time_runs(o, &s, reload, 0);
    measure_encoder(o, &s, &r);
    r.encode_4 = time_runs(o, &s, session_encode, 4) / 4;
    r.decode_1 = time_runs(o, &s, session_decode, 1);
    r.decode_10 = time_runs(o, &s, session_decode, 10) / 10;
    r.decode_100 = time_runs(o, &s, session_decode, 100) / 100;
    if (o->precision != MSX_PRECISION_FP32) r.error = error_against_f32(o, &s);
    session_close(&s);
    return r;
}

static void print_head(void) {
    printf("| model | precision | threads | load ms | encode 1 ms | GFLOP/s | of SGEMM | encode 4, "
           "ms/image | decode 1 ms | decode 10, ms/box | decode 100, ms/box | peak MB | "
           "embedding against f32 |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
}

static void print_row(const options *o, const char *path) {
    row r = measure(o, path);
    const char *slash = strrchr(path, '/');
    if (!r.load) return; /* not this precision on this CPU */
    printf(
        "| %s | %s | %d | %.1f | %.2f | %.1f | %.0f %% | %.2f | %.2f | %.2f | %.2f | %.0f | %.1e |\n",
        path == mini_path    ? "mini"
        : path == vit_b_path ? "ViT-B"
        : slash              ? slash + 1
                             : path,
        msx_precision_name(o->precision), o->threads, r.load, r.encode_1, r.rate, 100 * r.share,
        r.encode_4, r.decode_1, r.decode_10, r.decode_100, r.peak_mb, r.error);
}

/* ---- turns -------------------------------------------------------------------------------------- */

static void add(session *s, msx_checkpoint *c, const char *name, int rank, const int64_t *dims,
                const float *data) {
    session_need(s, msx_checkpoint_add(c, name, rank, dims, data));
}

/* Returns 0 milliseconds: every line has an answer. */
static double save_results(session *s, const char *path) {
    const msx_arch *a = msx_model_arch(s->model);
    int64_t grid = msx_arch_get(a, MSX_ARCH_GRID);
    int64_t map[] = {msx_arch_get(a, MSX_ARCH_DECODER_WIDTH), grid, grid};
    int64_t masks[] = {msx_arch_get(a, MSX_ARCH_MASK_TOKENS), 4 * grid, 4 * grid};
    double unused;
    msx_checkpoint *c;
    msx_prediction *p = session_predict(s, 1, &unused);
    int64_t floats;
    float *embedding = read_embedding(s, &floats);
    session_need(s, msx_checkpoint_create(&c, s->ctx));
    add(s, c, "embedding", 3, map, embedding);
    add(s, c, "logits", 3, masks, msx_prediction_logits(p, 0));
    add(s, c, "iou", 1, masks, msx_prediction_iou(p, 0));
    session_need(s, msx_checkpoint_save(c, path, NULL));
    msx_checkpoint_free(c);
    free(embedding);
    msx_prediction_free(p);
    return 0;
}

static int take_turns(const options *o) {
    session s;
    char line[1024], path[1000];
    int n;
    session_open(&s, o->models[0], o->threads, o->precision);
    printf("%.4f\n", s.load_ms);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "encode %d", &n) == 1 && n >= 1 && n <= SESSION_IMAGES)
            printf("%.4f\n", session_encode(&s, n));
        else if (sscanf(line, "decode %d", &n) == 1 && n >= 1 && n <= SESSION_BOXES && s.embedding)
            printf("%.4f\n", session_decode(&s, n));
        else if (sscanf(line, "save %999[^\n]", path) == 1 && s.embedding)
            printf("%.4f\n", save_results(&s, path));
        else {
            fprintf(stderr, "bench_model: not understood (encode comes first): %s", line);
            return 2;
        }
        fflush(stdout);
    }
    session_close(&s);
    return 0;
}

/* ---- the program -------------------------------------------------------------------------------- */

static void write_vit_b(const options *o, const char *path) {
    (void)o;
    msx_ctx *ctx;
    msx_checkpoint *c;
    if (msx_ctx_create(&ctx, NULL) < 0) exit(1);
    if (test_compute_vit(&c, ctx, 768, 64, 12, 3) < 0 || msx_checkpoint_save(c, path, NULL) < 0) {
        fprintf(stderr, "bench_model: %s\n", msx_ctx_error(ctx));
        exit(1);
    }
    msx_checkpoint_free(c);
    msx_ctx_free(ctx);
}

/* In a process of its own. The parent starts no threads, so it may fork. */
static void run_apart(void (*run)(const options *, const char *), const options *o,
                      const char *path) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        run(o, path);
        exit(0);
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) exit(1);
}

static int usage(void) {
    fprintf(stderr, "usage: bench_model [--threads N] [--seconds S] [MODEL ...]\n"
                    "       bench_model [--threads N] [--bf16] --turns MODEL\n"
                    "       bench_model --write FILE\n");
    return 2;
}

static bool parse(options *o, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (!strcmp(argv[i], "--threads") && more)
            o->threads = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--seconds") && more)
            o->seconds = atof(argv[++i]);
        else if (!strcmp(argv[i], "--write") && more)
            o->write = argv[++i];
        else if (!strcmp(argv[i], "--turns"))
            o->turns = true;
        else if (!strcmp(argv[i], "--bf16"))
            o->precision = MSX_PRECISION_BF16;
        else if (argv[i][0] != '-' && o->n_models < MOST_MODELS)
            o->models[o->n_models++] = argv[i];
        else
            return false;
    }
    return !o->turns || o->n_models == 1;
}

int main(int argc, char **argv) {
    options o = {.threads = (int)sysconf(_SC_NPROCESSORS_ONLN), .seconds = 2};
    if (!parse(&o, argc, argv)) return usage();
    if (o.write) {
        write_vit_b(&o, o.write);
        return 0;
    }
    if (!o.n_models) {
        o.models[o.n_models++] = mini_path;
        o.models[o.n_models++] = vit_b_path;
        if (access(vit_b_path, R_OK) != 0) {
            mkdir("build", 0777);
            mkdir("build/bench", 0777);
            run_apart(write_vit_b, &o, vit_b_path);
        }
    }
    if (o.turns) return take_turns(&o);
    print_head();
    static const msx_precision precisions[] = {MSX_PRECISION_FP32, MSX_PRECISION_BF16};
    for (int i = 0; i < 2 * o.n_models; i++) {
        o.precision = precisions[i % 2];
        run_apart(print_row, &o, o.models[i / 2]);
    }
    return 0;
}
