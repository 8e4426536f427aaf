/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix segment on one 2-D image. */
#include "npy.h"
#include "segment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    segmenter *s;
    msx_image *image; /* 8 bit */
    msx_prompts *prompts;
    double *boxes; /* (n_boxes, 4) */
    size_t n_boxes;
    msx_embedding *embedding;
    msx_prediction *prediction;
    canvas canvas;
} job;

/* ---- prompts --------------------------------------------------------------------------------------- */

static int add_boxes(job *j) {
    program *p = j->s->p;
    j->n_boxes = option_count(p, "box");
    j->boxes = calloc(j->n_boxes + 1, 4 * sizeof *j->boxes);
    if (!j->boxes) return program_fail(p, PROGRAM_LIMIT, "out of memory");
    double width = (double)msx_image_width(j->image), height = (double)msx_image_height(j->image);
    int code = PROGRAM_DONE;
    for (size_t i = 0; !code && i < j->n_boxes; i++) {
        double *b = j->boxes + 4 * i;
        code = bracketed_numbers(p, "box", option_at(p, "box", i), b, 4);
        if (!code && (b[0] >= width || b[1] >= height || b[2] < 0 || b[3] < 0))
            code = program_usage(p, "--box %s: lies outside the image of %.0f x %.0f pixels",
                                 option_at(p, "box", i), width, height);
        if (!code) code = program_status(p, msx_prompts_begin(j->prompts, 0));
        if (!code) code = program_status(p, msx_prompts_box(j->prompts, b[0], b[1], b[2], b[3]));
    }
    return code;
}

/* Points join the only box, else they are a prompt of their own. */
static int add_points(job *j) {
    program *p = j->s->p;
    size_t n = option_count(p, "point");
    double width = (double)msx_image_width(j->image), height = (double)msx_image_height(j->image);
    int code = PROGRAM_DONE;
    if (n && j->n_boxes != 1) code = program_status(p, msx_prompts_begin(j->prompts, 0));
    for (size_t i = 0; !code && i < n; i++) {
        double v[3];
        code = bracketed_numbers(p, "point", option_at(p, "point", i), v, 3);
        if (!code && v[2] != 0 && v[2] != 1)
            code = program_usage(p, "--point %s: the label is 1 (inside) or 0 (outside)",
                                 option_at(p, "point", i));
        if (!code && (v[0] < 0 || v[1] < 0 || v[0] > width || v[1] > height))
            code = program_usage(p, "--point %s: lies outside the image of %.0f x %.0f pixels",
                                 option_at(p, "point", i), width, height);
        if (!code) code = program_status(p, msx_prompts_point(j->prompts, v[0], v[1], (int)v[2]));
    }
    return code;
}

static int add_mask(job *j) {
    program *p = j->s->p;
    const char *path = option_text(p, "mask-input");
    if (!path) return PROGRAM_DONE;
    const msx_arch *arch = msx_model_arch(j->s->model);
    int64_t side = 4 * msx_arch_get(arch, MSX_ARCH_GRID);
    int64_t most = msx_arch_get(arch, MSX_ARCH_MASK_TOKENS) * side * side;
    if (msx_prompts_count(j->prompts) > 1)
        return program_usage(p, "--mask-input goes with one prompt, but there are %lld",
                             (long long)msx_prompts_count(j->prompts));
    npy mask;
    char error[NPY_ERROR];
    if (npy_read(&mask, path, most, error)) return program_fail(p, PROGRAM_INPUT, "%s", error);
    int code = PROGRAM_DONE, r = mask.rank;
    if (r < 2 || mask.dims[r - 1] != side || mask.dims[r - 2] != side || !mask.elements)
        code = program_fail(p, PROGRAM_INPUT,
                            "%s: its last two extents are not %lld x %lld, the size of this "
                            "model's logits",
                            path, (long long)side, (long long)side);
    if (!code && !msx_prompts_count(j->prompts))
        code = program_status(p, msx_prompts_begin(j->prompts, 0));
    if (!code) code = program_status(p, msx_prompts_mask(j->prompts, mask.data, side * side));
    free(mask.data);
    return code;
}

/* ---- results --------------------------------------------------------------------------------------- */

static int write_array(program *p, const char *path, int rank, const int64_t *dims,
                       const float *data) {
    char error[NPY_ERROR];
    if (!npy_write(path, rank, dims, data, error)) return PROGRAM_DONE;
    return program_fail(p, PROGRAM_INPUT, "%s", error);
}

/* (C, g, g) without anything beside it, for NumPy. */
static int save_embedding_array(job *j, const char *path) {
    program *p = j->s->p;
    const msx_arch *arch = msx_model_arch(j->s->model);
    int64_t grid = msx_arch_get(arch, MSX_ARCH_GRID);
    int64_t dims[3] = {msx_arch_get(arch, MSX_ARCH_DECODER_WIDTH), grid, grid};
    int64_t n = dims[0] * grid * grid;
    float *data = malloc((size_t)n * sizeof *data);
    if (!data) return program_fail(p, PROGRAM_LIMIT, "out of memory");
    int code = program_status(p, msx_embedding_read(j->embedding, 0, data, n));
    if (!code) code = write_array(p, path, 3, dims, data);
    free(data);
    return code;
}

static int save_embedding(job *j) {
    static const char ending[] = ".safetensors";
    program *p = j->s->p;
    const char *path = option_text(p, "save-embedding");
    if (!path) return PROGRAM_DONE;
    size_t n = strlen(path), m = sizeof ending - 1;
    if (n > m && !strcmp(path + n - m, ending))
        return program_status(p, msx_embedding_save(j->embedding, j->s->model, path));
    return save_embedding_array(j, path);
}

static int save_logits(job *j) {
    const char *path = option_text(j->s->p, "save-logits");
    if (!path) return PROGRAM_DONE;
    int64_t side = msx_prediction_side(j->prediction);
    int64_t dims[4] = {msx_prediction_count(j->prediction), msx_prediction_masks(j->prediction),
                       side, side};
    const float *logits = msx_prediction_logits(j->prediction, 0);
    if (!logits && dims[0])
        return program_fail(j->s->p, PROGRAM_LIMIT, "%s", msx_ctx_error(j->s->p->ctx));
    return write_array(j->s->p, path, 4, dims, logits);
}

static int save_overlay(job *j, const msx_image *mask) {
    program *p = j->s->p;
    const char *path = option_text(p, "overlay");
    if (!path) return PROGRAM_DONE;
    msx_image *picture = NULL;
    int code = program_status(
        p, msx_image_overlay(&picture, j->image, mask, NULL, j->boxes, j->n_boxes, 1));
    if (!code) code = program_status(p, msx_image_save(picture, path));
    msx_image_free(picture);
    return code;
}

static int report(job *j) {
    program *p = j->s->p;
    int64_t n = msx_prediction_count(j->prediction), masks = msx_prediction_masks(j->prediction);
    if (p->json) {
        json_t *ious = json_array(), *chosen = json_array(), *pixels = json_array();
        for (int64_t i = 0; i < n; i++) {
            json_t *row = json_array();
            for (int64_t m = 0; m < masks; m++)
                json_array_append_new(row, json_number(msx_prediction_iou(j->prediction, i)[m]));
            json_array_append_new(ious, row);
            json_array_append_new(chosen, json_integer(chosen_mask(j->s, j->prediction, i)));
            json_array_append_new(pixels,
                                  json_integer(canvas_count(&j->canvas, (uint16_t)(i + 1))));
        }
        return program_json(p, json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:o, s:o, s:o}", "model",
                                         option_text(p, "model"), "image", option_text(p, "image"),
                                         "preset", msx_preset_name(msx_model_preset(j->s->model)),
                                         "image_size", (json_int_t)j->s->size, "output",
                                         option_text(p, "output"), "prompts", (json_int_t)n, "iou",
                                         ious, "mask", chosen, "pixels", pixels));
    }
    if (p->quiet) return PROGRAM_DONE;
    static const char *const heads[] = {">prompt", ">mask", ">predicted IoU", ">pixels"};
    table *t = table_create(heads, 4);
    for (int64_t i = 0; i < n; i++) {
        int64_t m = chosen_mask(j->s, j->prediction, i);
        table_cell(t, "%lld", (long long)i + 1);
        table_cell(t, "%lld", (long long)m);
        table_number(t, msx_prediction_iou(j->prediction, i)[m], 3);
        table_cell(t, "%lld", (long long)canvas_count(&j->canvas, (uint16_t)(i + 1)));
    }
    int code = table_print(p, t);
    table_free(t);
    if (!code) program_say_model(p, j->s->model);
    return code;
}

/* ---- the whole -------------------------------------------------------------------------------------- */

/* From a file, or by encoding the image. */
static int make_embedding(job *j) {
    program *p = j->s->p;
    const char *path = option_text(p, "embedding");
    const msx_image *images[] = {j->image};
    if (!path) {
        msx_status status = msx_model_encode(&j->embedding, j->s->model, images, 1);
        if (status == MSX_E_SHAPE)
            return program_fail(p, PROGRAM_INPUT, "%s: %s", option_text(p, "image"),
                                msx_ctx_error(p->ctx));
        return program_status(p, status);
    }
    int64_t size[4], width = msx_image_width(j->image), height = msx_image_height(j->image);
    int code = program_status(p, msx_embedding_load(&j->embedding, j->s->model, path));
    if (!code && msx_embedding_count(j->embedding) != 1)
        return program_fail(p, PROGRAM_INPUT, "%s: holds %lld images; one is wanted here", path,
                            (long long)msx_embedding_count(j->embedding));
    if (!code) code = program_status(p, msx_embedding_sizes(j->embedding, 0, size));
    if (!code && (size[0] != width || size[1] != height))
        code = program_fail(p, PROGRAM_INPUT,
                            "%s: of an image of %lld x %lld pixels, but %s has %lld x %lld", path,
                            (long long)size[0], (long long)size[1], option_text(p, "image"),
                            (long long)width, (long long)height);
    return code;
}

static int predict(job *j) {
    program *p = j->s->p;
    int code = program_status(p, msx_prompts_create(&j->prompts, p->ctx));
    if (!code) code = add_boxes(j);
    if (!code) code = add_points(j);
    if (!code) code = add_mask(j);
    if (!code && msx_prompts_count(j->prompts) > UINT16_MAX)
        code = program_usage(p, "more than %d prompts are given", UINT16_MAX);
    if (!code) code = make_embedding(j);
    if (!code)
        code = program_status(
            p, msx_model_predict(&j->prediction, j->s->model, j->embedding, j->prompts));
    if (!code)
        code = canvas_create(p, &j->canvas, msx_image_width(j->image), msx_image_height(j->image));
    for (int64_t i = 0; !code && i < msx_prompts_count(j->prompts); i++)
        code = canvas_paint(j->s, &j->canvas, j->prediction, i, (uint16_t)(i + 1));
    return code;
}

int segment_image(segmenter *s) {
    job j = {.s = s};
    msx_image *mask = NULL;
    int code = program_image(s->p, &j.image);
    if (!code) code = predict(&j);
    if (!code) code = canvas_image(s->p, &j.canvas, &mask);
    if (!code) code = save_embedding(&j);
    if (!code) code = save_logits(&j);
    if (!code) code = save_overlay(&j, mask);
    if (!code) code = program_status(s->p, msx_image_save(mask, option_text(s->p, "output")));
    if (!code) code = report(&j);
    msx_image_free(mask);
    canvas_free(&j.canvas);
    msx_prediction_free(j.prediction);
    msx_embedding_free(j.embedding);
    msx_prompts_free(j.prompts);
    msx_image_free(j.image);
    free(j.boxes);
    return code;
}
