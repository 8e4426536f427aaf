/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix generate: masks of everything in an image, without prompts. */
#include "segment.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    program *p;
    msx_device *device;
    msx_model *model;
    msx_image *image; /* 8 bit */
    msx_masks *masks;
    msx_image *labels;
} job;

/* ---- looking ----------------------------------------------------------------------------------------- */

static msx_generate_options read_options(const program *p) {
    msx_generate_options o = MSX_GENERATE_OPTIONS;
    const struct {
        const char *name;
        double *real;
        int64_t *whole;
    } given[] = {
        {"points-per-side", NULL, &o.points_per_side},
        {"points-per-batch", NULL, &o.points_per_batch},
        {"pred-iou-thresh", &o.pred_iou_thresh, NULL},
        {"stability-score-thresh", &o.stability_score_thresh, NULL},
        {"stability-score-offset", &o.stability_score_offset, NULL},
        {"box-nms-thresh", &o.box_nms_thresh, NULL},
        {"crop-n-layers", NULL, &o.crop_n_layers},
        {"crop-nms-thresh", &o.crop_nms_thresh, NULL},
        {"crop-overlap-ratio", &o.crop_overlap_ratio, NULL},
        {"crop-n-points-downscale-factor", NULL, &o.crop_n_points_downscale_factor},
        {"min-mask-region-area", NULL, &o.min_mask_region_area},
    };
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        if (given[i].real)
            *given[i].real = option_double(p, given[i].name, *given[i].real);
        else
            *given[i].whole = option_int(p, given[i].name, *given[i].whole);
    return o;
}

static int find_masks(job *j) {
    program *p = j->p;
    const msx_generate_options o = read_options(p);
    msx_status status = msx_masks_generate(&j->masks, j->model, j->image, &o);
    if (status == MSX_E_SHAPE || status == MSX_E_UNSUPPORTED)
        return program_fail(p, PROGRAM_INPUT, "%s: %s",
                            option_text(p, status == MSX_E_SHAPE ? "image" : "model"),
                            msx_ctx_error(p->ctx));
    if (status >= 0) status = msx_masks_labels(&j->labels, j->masks);
    return program_status(p, status);
}

/* ---- results ------------------------------------------------------------------------------------------ */

static json_t *numbers(const double *values, int n) {
    json_t *array = json_array();
    for (int i = 0; array && i < n; i++) {
        bool whole = values[i] == floor(values[i]);
        json_array_append_new(array,
                              whole ? json_integer((json_int_t)values[i]) : json_number(values[i]));
    }
    return array;
}

/* COCO's uncompressed form. */
static json_t *runs_json(const job *j, int64_t i) {
    size_t n;
    const uint32_t *runs = msx_masks_runs(j->masks, i, &n);
    json_t *counts = json_array();
    for (size_t k = 0; counts && k < n; k++) json_array_append_new(counts, json_integer(runs[k]));
    return json_pack("{s:[I,I], s:o}", "size", (json_int_t)msx_masks_height(j->masks),
                     (json_int_t)msx_masks_width(j->masks), "counts", counts);
}

/* The official record of mask `i`, with its value in the label picture. */
static json_t *record_json(const job *j, int64_t i, bool with_runs) {
    msx_mask_record r = {.struct_size = sizeof r};
    msx_masks_record(j->masks, i, &r);
    json_t *record = json_pack("{s:I, s:I, s:o, s:o, s:[o], s:o, s:o}", "id", (json_int_t)i + 1,
                               "area", (json_int_t)r.area, "bbox", numbers(r.bbox, 4),
                               "predicted_iou", json_number(r.predicted_iou), "point_coords",
                               numbers(r.point_coords, 2), "stability_score",
                               json_number(r.stability_score), "crop_box", numbers(r.crop_box, 4));
    if (record && with_runs) json_object_set_new(record, "segmentation", runs_json(j, i));
    return record;
}

static json_t *result_json(const job *j, bool with_runs) {
    program *p = j->p;
    json_t *records = json_array();
    for (int64_t i = 0; records && i < msx_masks_count(j->masks); i++)
        json_array_append_new(records, record_json(j, i, with_runs));
    return json_pack(
        "{s:s, s:s, s:I, s:{s:s, s:I, s:I}, s:s, s:o}", "model", option_text(p, "model"), "preset",
        msx_preset_name(msx_model_preset(j->model)), "image_size",
        (json_int_t)msx_arch_get(msx_model_arch(j->model), MSX_ARCH_IMAGE_SIZE), "image",
        "file_name", option_text(p, "image"), "width", (json_int_t)msx_masks_width(j->masks),
        "height", (json_int_t)msx_masks_height(j->masks), "output", option_text(p, "output"),
        "annotations", records);
}

static int save_masks(job *j) {
    const char *path = option_text(j->p, "masks");
    if (!path) return PROGRAM_DONE;
    json_t *result = result_json(j, true);
    char *text = result ? json_dumps(result, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    json_decref(result);
    if (!text) return program_fail(j->p, PROGRAM_LIMIT, "out of memory");
    int code = output_file(j->p, path, text, strlen(text));
    free(text);
    return code;
}

/* Neighbouring numbers have colours far apart: hues by the golden ratio. */
static void colour_of(int label, double rgb[3]) {
    double hue = fmod(label * 0.61803398875, 1) * 6;
    for (int c = 0; c < 3; c++) {
        double d = fabs(fmod(hue + 6 - 2 * c, 6) - 3);
        rgb[c] = 255 * (0.15 + 0.85 * fmin(fmax(d - 1, 0), 1));
    }
}

/* Masks half transparent over the image, with bright outlines. */
static int save_overlay(job *j) {
    program *p = j->p;
    const char *path = option_text(p, "overlay");
    if (!path) return PROGRAM_DONE;
    int64_t w = msx_image_width(j->image), h = msx_image_height(j->image);
    int channels = msx_image_channels(j->image);
    const uint8_t *from = msx_image_data(j->image);
    const uint16_t *label = msx_image_data(j->labels);
    msx_image *picture = NULL;
    int code = program_status(p, msx_image_create(&picture, p->ctx, w, h, 3, MSX_PIXEL_U8, NULL));
    if (code) return code;
    uint8_t *to = msx_image_data(picture);
    for (int64_t i = 0; i < w * h; i++) {
        bool edge = (i % w + 1 < w && label[i + 1] != label[i]) ||
                    (i / w + 1 < h && label[i + w] != label[i]);
        double rgb[3], share = !label[i] ? 0 : edge ? 1 : 0.5;
        colour_of(label[i], rgb);
        for (int c = 0; c < 3; c++) {
            double under = from[i * channels + (channels < 3 ? 0 : c)];
            to[3 * i + c] = (uint8_t)(under * (1 - share) + rgb[c] * share);
        }
    }
    code = program_status(p, msx_image_save(picture, path));
    msx_image_free(picture);
    return code;
}

static int report(job *j) {
    static const char *const heads[] = {">mask",  ">area",          ">x",
                                        ">y",     ">width",         ">height",
                                        ">point", ">predicted IoU", ">stability"};
    program *p = j->p;
    if (p->json) return program_json(p, result_json(j, false));
    if (p->quiet) return PROGRAM_DONE;
    table *t = table_create(heads, 9);
    for (int64_t i = 0; i < msx_masks_count(j->masks); i++) {
        msx_mask_record r = {.struct_size = sizeof r};
        msx_masks_record(j->masks, i, &r);
        table_cell(t, "%lld", (long long)i + 1);
        table_cell(t, "%lld", (long long)r.area);
        for (int k = 0; k < 4; k++) table_number(t, r.bbox[k], 0);
        table_cell(t, "%.1f,%.1f", r.point_coords[0], r.point_coords[1]);
        table_number(t, r.predicted_iou, 3);
        table_number(t, r.stability_score, 3);
    }
    int code = table_print(p, t);
    table_free(t);
    if (!code && !msx_masks_count(j->masks))
        printf("no mask passed the thresholds; lower --pred-iou-thresh or "
               "--stability-score-thresh\n");
    if (!code) program_say_model(p, j->model);
    return code;
}

/* ---- the verb ------------------------------------------------------------------------------------------ */

static int run(program *p) {
    job j = {.p = p};
    if (is_volume(option_text(p, "image")))
        return program_usage(p, "--image %s: generate takes 2-D images (PNG, JPEG)",
                             option_text(p, "image"));
    int code = program_image(p, &j.image);
    if (!code) code = program_device(p, &j.device);
    if (!code) code = program_model(p, j.device, option_text(p, "model"), &j.model);
    if (!code) code = find_masks(&j);
    if (!code) code = save_masks(&j);
    if (!code) code = save_overlay(&j);
    if (!code) code = program_status(p, msx_image_save(j.labels, option_text(p, "output")));
    if (!code) code = report(&j);
    msx_image_free(j.labels);
    msx_masks_free(j.masks);
    msx_model_free(j.model);
    msx_device_free(j.device);
    msx_image_free(j.image);
    return code;
}

/* Thresholds and counts; their ranges are those of msx_generate_options. */
#define NUMBER(option, type, low, high, text)                                                      \
    { .name = option, .kind = type, .lower = low, .upper = high, .argument = "X", .help = text }

static const program_option options[] = {
    {.name = "model",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     .required = true,
     .help = "checkpoint, .pth or .safetensors"},
    {.name = "image",
     .kind = OPTION_TEXT,
     .argument = "IMG",
     .required = true,
     .help = "PNG or JPEG"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .written = true,
     .endings = ".png",
     .argument = "LABELS.png",
     .required = true,
     .help = "picture to write, 16 bit: 0, or the number of a mask; smaller ones lie on top"},
    {.name = "masks",
     .kind = OPTION_TEXT,
     .written = true,
     .endings = ".json",
     .argument = "M.json",
     .help = "write all masks as run lengths (COCO, uncompressed) with what is known of them"},
    {.name = "overlay",
     .kind = OPTION_TEXT,
     .written = true,
     .endings = ".png",
     .argument = "O.png",
     .help = "picture of the masks over the image"},
    NUMBER("points-per-side", OPTION_INT, 1, 1024, "points along each side of the grid (32)"),
    NUMBER("points-per-batch", OPTION_INT, 1, 65536, "points decoded at a time (64)"),
    NUMBER("pred-iou-thresh", OPTION_DOUBLE, 0, 0, "drop masks of lower predicted IoU (0.88)"),
    NUMBER("stability-score-thresh", OPTION_DOUBLE, 0, 0,
           "drop masks that change more when the threshold does (0.95)"),
    NUMBER("stability-score-offset", OPTION_DOUBLE, 0, 1e9,
           "by how much the threshold is moved for that, in logits (1)"),
    NUMBER("box-nms-thresh", OPTION_DOUBLE, 0, 1, "of boxes with a higher IoU one stays (0.7)"),
    NUMBER("crop-n-layers", OPTION_INT, 0, 8,
           "look at crops too: layer i has 2^i x 2^i of them (0)"),
    NUMBER("crop-nms-thresh", OPTION_DOUBLE, 0, 1, "the same between masks of crops (0.7)"),
    NUMBER("crop-overlap-ratio", OPTION_DOUBLE, 0, 1,
           "overlap of crops, as a part of the shorter side (512/1500)"),
    NUMBER("crop-n-points-downscale-factor", OPTION_INT, 1, 1024,
           "divide the points per side by this in every layer (1)"),
    NUMBER("min-mask-region-area", OPTION_INT, 0, 1e15,
           "remove holes and islands of fewer pixels (0)"),
    {.name = "preset",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     .choices = PROGRAM_PRESETS,
     .help = "preprocessing that the model was trained with: " PROGRAM_PRESETS " (sam)"},
    PROGRAM_SIZE_OPTIONS,
    {.name = "intensity",
     .kind = OPTION_TEXT,
     .argument = "RULE",
     .help = "ct[:WIDTH,LEVEL], mr, minmax or none (none for 8-bit images, else minmax)"},
    {0}};

const program_verb verb_generate = {
    .name = "generate",
    .summary = "find masks of everything in an image, without prompts",
    .synopsis = "--model FILE --image IMG [--masks M.json] [--overlay O.png] -o LABELS.png",
    .about =
        "Does what SAM's automatic mask generator does, with its options and defaults: a grid\n"
        "of points, three masks for each, and of those the confident, stable and different\n"
        "ones. Masks are numbered from the best.",
    .options = options,
    .computes = true,
    .run = run,
};
