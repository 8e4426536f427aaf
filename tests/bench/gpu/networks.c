/* SPDX-License-Identifier: Apache-2.0 */
/* Encoders by mode and batch, inputs from 8-bit images, and the decoder by number of boxes. */
#include "bench.h"

/* ---- encoder ---------------------------------------------------------------------------------------- */

typedef struct encoding {
    msx_model *m;
    msx__input input;
    float *out;
    int64_t batch;
} encoding;

static void encode_at_seat(const msx_model *m, const msx__input *input, int64_t batch, float *out) {
    msx__seat *seat;
    need(m->ctx, msx__seat_take(m->device, msx_ctx_threads(m->ctx), &seat));
    msx_model view = msx__model_at(m, seat);
    need(m->ctx, msx__encode(&view, input, NULL, batch, out));
    msx__seat_leave(m->device, seat);
}

static void encode(msx_device *d, void *payload) {
    const encoding *e = payload;
    (void)d;
    encode_at_seat(e->m, &e->input, e->batch, e->out);
}

/* The input of the call before is there still. */
static msx_status leave(msx_model *m, float *input, int64_t batch, void *payload) {
    (void)m, (void)input, (void)batch, (void)payload;
    return MSX_OK;
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
    encode_at_seat(m, &(msx__input){.host = input}, 1, out);
    msx_model_free(m);
    msx_device_free(d);
    return out;
}

void measure_encoders(msx_ctx *ctx, const network *n, const msx_checkpoint *c,
                      const ceilings *most) {
    static const int64_t batches[] = {1, 4, 8, 16};
    float *input = NULL, *truth = NULL;
    printf("\nnet    mode  batch   ms/image  TFLOP/s  of peak     error  MiB most\n");
    for (int p = 0; p < PRECISIONS; p++) {
        msx_device *d = open_device(ctx, (msx_precision)p);
        msx_model *m;
        need(ctx, msx_model_load(&m, d, c, MSX_PRESET_SAM));
        if (!input) {
            input = noise(16 * 3 * m->image_size * m->image_size);
            truth = truth_of(ctx, c, input);
        }
        int64_t fit = msx__encode_batch(m);
        for (int i = 0; i < 4 && batches[i] <= fit; i++) {
            encoding e = {.m = m, .input = {.host = input}, .batch = batches[i]};
            int64_t now, peak;
            need(ctx, msx__device_alloc(d, &e.out, e.batch * m->tokens * m->channels));
            encode(d, &e);
            e.input = (msx__input){.fill = leave};
            double ms = time_of(d, encode, &e), rate = n->tflop * (double)e.batch / ms * 1e3;
            need(ctx, msx_device_usage(d, &now, &peak));
            printf("%-6s %-5s %5lld %10.3f %9.1f %8.0f%% %9.2e %8.0f\n", n->name,
                   msx_precision_name((msx_precision)p), (long long)e.batch, ms / (double)e.batch,
                   rate, 100 * rate / most->tflops[p], error_against(&e, truth),
                   (double)peak / 1048576);
            msx__device_release(d, e.out);
        }
        msx_model_free(m);
        msx_device_free(d);
    }
    free(input);
    free(truth);
}

void encode_once(msx_ctx *ctx, const msx_checkpoint *c, int64_t batch) {
    msx_device *d = open_device(ctx, MSX_PRECISION_FP16);
    msx_model *m;
    need(ctx, msx_model_load(&m, d, c, MSX_PRESET_SAM));
    float *input = noise(batch * 3 * m->image_size * m->image_size);
    encoding e = {.m = m, .input = {.host = input}, .batch = batch};
    need(ctx, msx__device_alloc(d, &e.out, batch * m->tokens * m->channels));
    printf("encoding of %lld in fp16, once: %.3f ms\n", (long long)batch, time_of(d, encode, &e));
    msx__device_release(d, e.out);
    free(input);
    msx_model_free(m);
    msx_device_free(d);
}

/* ---- from pixels, and decoder ------------------------------------------------------------------------ */

typedef struct segmenting {
    msx_model *m;
    const msx_image *image;
    msx_embedding *e;
    msx_prompts *prompts;
    bool bring; /* logits to the host */
} segmenting;

static void embed(msx_device *d, void *payload) {
    const segmenting *s = payload;
    msx_embedding *e;
    (void)d;
    need(s->m->ctx, msx_model_encode(&e, s->m, (const msx_image *const[]){s->image}, 1));
    msx_embedding_free(e);
}

static void decode(msx_device *d, void *payload) {
    const segmenting *s = payload;
    msx_prediction *p;
    (void)d;
    need(s->m->ctx, msx_model_predict(&p, s->m, s->e, s->prompts));
    if (s->bring && !msx_prediction_logits(p, 0)) need(s->m->ctx, MSX_E_NOMEM);
    msx_prediction_free(p);
}

static void measure_pixels(msx_ctx *ctx, const network *n, const msx_checkpoint *c) {
    static const msx_preset presets[] = {MSX_PRESET_SAM, MSX_PRESET_MEDSAM};
    enum { SIDE = 512 };
    for (int i = 0; i < 2; i++) {
        msx_device *d = open_device(ctx, MSX_PRECISION_FP16);
        msx_image *image;
        segmenting s = {0};
        float *values = noise(SIDE * SIDE * 3);
        need(ctx, msx_model_load(&s.m, d, c, presets[i]));
        need(ctx, msx_image_create(&image, ctx, SIDE, SIDE, 3, MSX_PIXEL_U8, NULL));
        for (int k = 0; k < SIDE * SIDE * 3; k++)
            ((uint8_t *)msx_image_data(image))[k] = (uint8_t)(127.5f * (values[k] + 1));
        s.image = image;
        printf("%-6s fp16, %s preset, from a %d x %d image in host memory: %.3f ms\n", n->name,
               msx_preset_name(presets[i]), SIDE, SIDE, time_of(d, embed, &s));
        free(values);
        msx_image_free(image);
        msx_model_free(s.m);
        msx_device_free(d);
    }
}

static msx_prompts *make_boxes(msx_ctx *ctx, int64_t side, int count) {
    msx_prompts *p;
    need(ctx, msx_prompts_create(&p, ctx));
    for (int k = 0; k < count; k++) {
        need(ctx, msx_prompts_begin(p, 0));
        need(ctx, msx_prompts_box(p, k % 16, k / 16, (double)side / 2 + k % 16, (double)side / 2));
    }
    return p;
}

void measure_decoder(msx_ctx *ctx, const network *n, const msx_checkpoint *c) {
    static const int counts[] = {1, 16, 256};
    printf("\n");
    if (rounds) measure_pixels(ctx, n, c);
    for (int p = rounds ? 0 : MSX_PRECISION_FP16; p < (rounds ? PRECISIONS : MSX_PRECISION_BF16);
         p++) {
        msx_device *d = open_device(ctx, (msx_precision)p);
        segmenting s = {0};
        int64_t now, peak;
        need(ctx, msx_model_load(&s.m, d, c, MSX_PRESET_SAM));
        int64_t side = s.m->image_size, sizes[4] = {side, side, side, side};
        float *input = noise(3 * side * side);
        need(ctx, msx_model_encode_input(&s.e, s.m, input, sizes, 1));
        for (int i = rounds ? 0 : 1; i < (rounds ? 3 : 2); i++) {
            s.prompts = make_boxes(ctx, side, counts[i]);
            s.bring = false;
            double there = time_of(d, decode, &s);
            s.bring = true;
            double here = time_of(d, decode, &s);
            need(ctx, msx_device_usage(d, &now, &peak));
            printf("%-6s %-5s %4d boxes: %8.3f ms, with logits on the host %8.3f ms, MiB most "
                   "%.0f\n",
                   n->name, msx_precision_name((msx_precision)p), counts[i], there, here,
                   (double)peak / 1048576);
            msx_prompts_free(s.prompts);
        }
        free(input);
        msx_embedding_free(s.e);
        msx_model_free(s.m);
        msx_device_free(d);
    }
}
