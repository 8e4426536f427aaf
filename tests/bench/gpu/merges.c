/* SPDX-License-Identifier: Apache-2.0 */
/* Merging whole networks in device memory, and trials of a search over them. */
#include "bench.h"

#include "merge/merger.h"
#include "search/search.h"

#include <medsamix/search.h>

#include <time.h>
#include <unistd.h>

enum { MODELS = 3 };
static const char *const names[MODELS] = {"base", "ft0", "ft1"};

msx_checkpoint *move_weights(msx_ctx *ctx, const msx_checkpoint *c, uint32_t seed) {
    msx_checkpoint *moved;
    need(ctx, msx_checkpoint_create(&moved, ctx));
    uint32_t state = seed;
    for (int64_t t = 0; t < msx_checkpoint_count(c); t++) {
        int64_t n = msx_checkpoint_elements(c, t), dims[MSX_MAX_RANK];
        const char *name = msx_checkpoint_name(c, t);
        int rank = msx_checkpoint_rank(c, t);
        float *x = malloc((size_t)n * sizeof *x + 1);
        need(ctx, msx_checkpoint_read(c, t, x, n));
        for (int a = 0; a < rank; a++) dims[a] = msx_checkpoint_dim(c, t, a);
        for (int64_t i = 0; i < n && !strstr(name, "gaussian"); i++) {
            state = state * 1664525u + 1013904223u;
            x[i] += 1e-3f * ((float)(state >> 8) / 8388608.0f - 1.0f);
        }
        need(ctx, msx_checkpoint_add(moved, name, rank, dims, x));
        free(x);
    }
    return moved;
}

/* ---- merges ------------------------------------------------------------------------------------------ */

typedef struct merging {
    msx_merger *merger;
    msx_plan *plan;
    float *out;
    uint8_t *changed;
} merging;

static float *place(int64_t tensor, void *payload) {
    const merging *m = payload;
    return m->out + m->merger->offset[tensor];
}

static void merge(msx_device *d, void *payload) {
    merging *m = payload;
    (void)d;
    need(m->merger->ctx, msx__merger_run_there(m->merger, m->plan, NULL, place, m, m->changed));
}

void measure_merges(msx_ctx *ctx, const network *n, const msx_checkpoint *c, const ceilings *most) {
    static const struct {
        const char *name, *plan;
        double passes; /* over a model's weights, read or written, at the least */
    } methods[] = {{"linear", "method: linear", 4},
                   {"task_arithmetic", "method: task_arithmetic, scaling: 0.4", 4},
                   {"ties", "method: ties, retain: 0.5, scaling: 0.7", 16},
                   {"slerp", "method: slerp, score: {base: 0.1, ft0: 0.9, ft1: 0.4}", 5}};
    msx_checkpoint *copies[MODELS];
    merging m = {0};
    for (uint32_t k = 0; k < MODELS; k++) copies[k] = move_weights(ctx, c, k + 1);
    need(ctx, msx_merger_create(&m.merger, ctx, copies, names, MODELS, false));
    for (int k = 0; k < MODELS; k++) msx_checkpoint_free(copies[k]);
    msx_device *d = open_device(ctx, MSX_PRECISION_FP32);
    int64_t floats = m.merger->offset[m.merger->n_tensors];
    need(ctx, msx__merger_reside(m.merger, d->k, d->dev));
    need(ctx, msx__device_alloc(d, &m.out, floats));
    m.changed = calloc((size_t)m.merger->n_tensors, 1);
    printf("\n");
    for (int i = 0; i < 4; i++) {
        char text[256];
        snprintf(text, sizeof text, "medsamix: 1\nmodels: [ft0, ft1]\ngroups: {'*': {%s}}\n",
                 methods[i].plan);
        need(ctx, msx_plan_parse(&m.plan, ctx, text, strlen(text), "plan"));
        double ms = time_of(d, merge, &m);
        double rate = methods[i].passes * (double)floats * sizeof(float) * 1e-6 / ms;
        printf("%-6s merge of %d models, %-15s: %8.2f ms, %6.0f GB/s, %3.0f%% of a copy's\n",
               n->name, MODELS, methods[i].name, ms, rate, 100 * rate / most->gbytes);
        msx_plan_free(m.plan);
    }
    free(m.changed);
    msx__device_release(d, m.out);
    msx_merger_free(m.merger);
    msx_device_free(d);
}

/* ---- trials ------------------------------------------------------------------------------------------- */

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A random search on the demo's human images (for a small network: its shapes): every trial is another merge
 * of the whole network. */
void measure_trials(msx_ctx *ctx, const network *n, const msx_checkpoint *c, bool small) {
    static const msx_precision modes[] = {MSX_PRECISION_FP32, MSX_PRECISION_FP16};
    const int first = small ? 2 : 8, more = small ? 2 : 24;
    char folder[] = "/tmp/medsamix-bench-XXXXXX", path[MODELS][64], store[2][64], number[24];
    msx_dataset *data;
    if (!mkdtemp(folder)) exit(1);
    need(ctx, msx_dataset_open(&data, ctx,
                               test_path(small ? "examples/data/Dataset103_Shapes"
                                               : "examples/data/Dataset101_HumanMR")));
    for (uint32_t k = 0; k < MODELS; k++) {
        msx_checkpoint *moved = move_weights(ctx, c, k + 1);
        snprintf(path[k], sizeof path[k], "%s/%s.safetensors", folder, names[k]);
        need(ctx, msx_checkpoint_save(moved, path[k], NULL));
        msx_checkpoint_free(moved);
    }
    printf("\n");
    for (int i = 0; i < 2; i++) {
        msx_device *d = open_device(ctx, modes[i]);
        msx_search *s;
        int64_t now, peak;
        snprintf(store[i], sizeof store[i], "%s/%d.db", folder, i);
        need(ctx, msx_search_create(&s, d));
        for (int k = 0; k < MODELS; k++) need(ctx, msx_search_add_model(s, names[k], path[k]));
        need(ctx, msx_search_add_tasks(s, data, NULL, 0));
        need(ctx, msx_search_set(s, "optimizer", "random"));
        need(ctx, msx_search_set(s, "store", store[i]));
        snprintf(number, sizeof number, "%d", first);
        need(ctx, msx_search_set(s, "trials", number));
        need(ctx, msx_search_run(s));
        snprintf(number, sizeof number, "%d", first + more);
        need(ctx, msx_search_set(s, "trials", number));
        double start = seconds();
        need(ctx, msx_search_run(s));
        double ms = 1e3 * (seconds() - start) / more;
        need(ctx, msx_device_usage(d, &now, &peak));
        printf(
            "%-6s %-5s trial of a search, %d models, %lld images, %lld objects: %8.2f ms, MiB most "
            "%.0f\n",
            n->name, msx_precision_name(modes[i]), MODELS, (long long)s->evaluator->n_images,
            (long long)s->evaluator->n_items, ms, (double)peak / 1048576);
        msx_search_free(s);
        msx_device_free(d);
        unlink(store[i]);
    }
    for (int k = 0; k < MODELS; k++) unlink(path[k]);
    rmdir(folder);
    msx_dataset_free(data);
}
