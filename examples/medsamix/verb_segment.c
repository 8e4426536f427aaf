/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix segment: options, loading, and what is common to images and volumes. */
#include "segment.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- canvas ---------------------------------------------------------------------------------------- */

int canvas_create(program *p, canvas *c, int64_t width, int64_t height) {
    size_t pixels = (size_t)(width * height);
    *c =
        (canvas){width, height, calloc(pixels, sizeof *c->value), calloc(pixels, sizeof *c->score)};
    return c->value && c->score ? PROGRAM_DONE : program_fail(p, PROGRAM_LIMIT, "out of memory");
}

void canvas_free(canvas *c) {
    free(c->value);
    free(c->score);
    *c = (canvas){0};
}

int64_t chosen_mask(const segmenter *s, const msx_prediction *prediction, int64_t prompt) {
    if (!s->multimask) return 0;
    const float *iou = msx_prediction_iou(prediction, prompt);
    int64_t best = 1;
    for (int64_t m = 2; m < msx_prediction_masks(prediction); m++)
        if (iou[m] > iou[best]) best = m;
    return best;
}

int canvas_paint(segmenter *s, canvas *c, const msx_prediction *prediction, int64_t prompt,
                 uint16_t value) {
    int64_t m = chosen_mask(s, prediction, prompt);
    msx_image *mask = NULL, *map = NULL;
    int code = program_status(s->p, msx_prediction_mask(&mask, prediction, prompt, m));
    if (!code) code = program_status(s->p, msx_prediction_map(&map, prediction, prompt, m));
    if (!code) {
        const uint8_t *inside = msx_image_data(mask);
        const float *score = msx_image_data(map);
        for (int64_t i = 0; i < c->width * c->height; i++)
            if (inside[i] && (!c->value[i] || score[i] > c->score[i])) {
                c->value[i] = value;
                c->score[i] = score[i];
            }
    }
    msx_image_free(mask);
    msx_image_free(map);
    return code;
}

int canvas_image(program *p, const canvas *c, msx_image **out) {
    uint16_t largest = 0;
    int64_t pixels = c->width * c->height;
    for (int64_t i = 0; i < pixels; i++)
        if (c->value[i] > largest) largest = c->value[i];
    msx_pixel type = largest > 255 ? MSX_PIXEL_U16 : MSX_PIXEL_U8;
    int code = program_status(p, msx_image_create(out, p->ctx, c->width, c->height, 1, type,
                                                  largest > 255 ? c->value : NULL));
    if (code || largest > 255) return code;
    uint8_t *to = msx_image_data(*out);
    for (int64_t i = 0; i < pixels; i++) to[i] = (uint8_t)c->value[i];
    return PROGRAM_DONE;
}

int64_t canvas_count(const canvas *c, uint16_t value) {
    int64_t n = 0;
    for (int64_t i = 0; i < c->width * c->height; i++) n += c->value[i] == value;
    return n;
}

/* ---- options --------------------------------------------------------------------------------------- */

bool is_volume(const char *path) {
    size_t n = strlen(path);
    return (n > 4 && !strcasecmp(path + n - 4, ".nii")) ||
           (n > 7 && !strcasecmp(path + n - 7, ".nii.gz"));
}

int bracketed_numbers(program *p, const char *name, const char *text, double *out, size_t n) {
    size_t length = strlen(text);
    if (length < 2 || text[0] != '[' || text[length - 1] != ']')
        return option_numbers(p, name, text, out, n);
    char *inner = strndup(text + 1, length - 2);
    if (!inner) return program_fail(p, PROGRAM_LIMIT, "out of memory");
    int code = option_numbers(p, name, inner, out, n);
    free(inner);
    return code;
}

/* Options that only one of the two kinds of input takes. */
static int refuse(program *p, const char *const *names, const char *what) {
    for (; *names; names++)
        if (option_given(p, *names)) return program_usage(p, "--%s: is for %s", *names, what);
    return PROGRAM_DONE;
}

/* One source of boxes; points alone or in the box in space. */
static int check_volume_options(program *p) {
    static const char *const carried[] = {"margin", "min-pixels", "min-overlap", "reach"};
    bool points = option_given(p, "point"), box3d = option_given(p, "box3d");
    int boxes = option_given(p, "boxes-from") + option_given(p, "boxes") + box3d;
    if (boxes > 1 || (boxes == 0 && !points))
        return program_usage(p, "a volume needs one of --boxes FILE.csv, --boxes-from "
                                "LABELS.nii.gz, --box3d i0,j0,k0,i1,j1,k1 and --point i,j,k,1");
    if (points && boxes && !box3d)
        return program_usage(p,
                             "--point goes with --box3d or alone: boxes of a file have labels of "
                             "their own");
    for (size_t i = 0; i < sizeof carried / sizeof *carried; i++)
        if (option_given(p, carried[i]) && !option_given(p, "propagate"))
            return program_usage(p, "--%s: goes with --propagate", carried[i]);
    return PROGRAM_DONE;
}

static int check_options(program *p) {
    static const char *const for_images[] = {
        "box", "mask-input", "save-logits", "save-embedding", "embedding", NULL};
    static const char *const for_volumes[] = {"boxes-from", "boxes",  "box3d",      "slice-axis",
                                              "propagate",  "margin", "min-pixels", "min-overlap",
                                              "reach",      NULL};
    bool volume = is_volume(option_text(p, "image"));
    int code = volume ? refuse(p, for_images,
                               "2-D images; a volume takes --boxes, --boxes-from, --box3d or "
                               "--point i,j,k,label")
                      : refuse(p, for_volumes, "volumes (.nii, .nii.gz)");
    if (code) return code;
    if (volume != is_volume(option_text(p, "output")))
        return program_usage(p, "-o %s: the mask of %s is written as %s", option_text(p, "output"),
                             volume ? "a volume" : "an image", volume ? ".nii or .nii.gz" : ".png");
    if (volume) return check_volume_options(p);
    if (!option_given(p, "box") && !option_given(p, "point") && !option_given(p, "mask-input"))
        return program_usage(p, "nothing says what to segment; give --box x0,y0,x1,y1 or --point "
                                "x,y,1 (or --mask-input)");
    return PROGRAM_DONE;
}

static int run(program *p) {
    msx_device *device = NULL;
    segmenter s = {.p = p, .multimask = option_given(p, "multimask")};
    int code = check_options(p);
    if (!code) code = program_device(p, &device);
    if (!code) code = program_model(p, device, option_text(p, "model"), &s.model);
    if (!code) {
        const msx_arch *arch = msx_model_arch(s.model);
        s.size = msx_arch_get(arch, MSX_ARCH_IMAGE_SIZE);
        if (s.multimask && msx_arch_get(arch, MSX_ARCH_MASK_TOKENS) < 2)
            code = program_fail(p, PROGRAM_INPUT, "%s: this model has no multimask outputs",
                                option_text(p, "model"));
    }
    if (!code) code = is_volume(option_text(p, "image")) ? segment_volume(&s) : segment_image(&s);
    msx_model_free(s.model);
    msx_device_free(device);
    return code;
}

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
     .help = "PNG, JPEG or NIfTI"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .written = true,
     .endings = ".png|.nii|.nii.gz",
     .argument = "MASK",
     .required = true,
     .help = "mask to write: PNG, for a volume NIfTI with its geometry"},
    {.name = "box",
     .kind = OPTION_TEXT,
     .argument = "x0,y0,x1,y1",
     .many = true,
     .help = "box in pixels; each is a prompt of its own, and its mask has the prompt's number"},
    {.name = "point",
     .kind = OPTION_TEXT,
     .argument = "x,y,label",
     .many = true,
     .help = "point, label 1 inside, 0 outside; all points form one prompt, with the box when "
             "there is exactly one; in a volume i,j,k,label, one prompt per slice"},
    {.name = "mask-input",
     .kind = OPTION_TEXT,
     .argument = "L.npy",
     .help = "logits of an earlier prediction, joined to the only prompt; of several the first"},
    {.name = "boxes-from",
     .kind = OPTION_TEXT,
     .argument = "LABELS",
     .help = "label volume; one tight box per label and slice"},
    {.name = "boxes",
     .kind = OPTION_TEXT,
     .argument = "FILE.csv",
     .help = "boxes on slices of a volume, one per line: slice,x0,y0,x1,y1[,label]"},
    {.name = "box3d",
     .kind = OPTION_TEXT,
     .argument = "i0,j0,k0,i1,j1,k1",
     .help = "box in voxels, both corners inside; one prompt per slice"},
    {.name = "slice-axis",
     .kind = OPTION_TEXT,
     .argument = "AXIS",
     .choices = "i|j|k|max-spacing",
     .help = "axis along which a volume is cut (max-spacing: the largest spacing, k when equal)"},
    {.name = "propagate",
     .kind = OPTION_TEXT,
     .argument = "WHAT",
     .choices = "box|mask",
     .help = "follow objects to slices without prompts, by the box around the mask of the slice "
             "before (box), or that and the mask itself (mask)"},
    {.name = "margin",
     .kind = OPTION_DOUBLE,
     .upper = 1e6,
     .argument = "PIXELS",
     .help = "widen the box that is carried on, on every side (5)"},
    {.name = "min-pixels",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 1e15,
     .argument = "N",
     .help = "an object ends where its mask has fewer pixels (1)"},
    {.name = "min-overlap",
     .kind = OPTION_DOUBLE,
     .upper = 1,
     .argument = "IOU",
     .help = "an object ends where the IoU of its masks on two slices is lower (0)"},
    {.name = "reach",
     .kind = OPTION_INT,
     .upper = 1e15,
     .argument = "N",
     .help = "follow no further than N slices from a prompt (0: no limit)"},
    {.name = "multimask",
     .kind = OPTION_FLAG,
     .help = "take the best of the multimask outputs by predicted IoU"},
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
    {.name = "overlay",
     .kind = OPTION_TEXT,
     .written = true,
     .endings = ".png",
     .argument = "O.png",
     .help = "picture of the mask and boxes; of a volume the slice with most of it"},
    {.name = "embedding",
     .kind = OPTION_TEXT,
     .argument = "E.safetensors",
     .help = "take the image's embedding from this file instead of encoding the image again"},
    {.name = "save-embedding",
     .kind = OPTION_TEXT,
     .written = true,
     .argument = "E",
     .help = "write the image embedding: .safetensors for --embedding, else .npy of (C,g,g)"},
    {.name = "save-logits",
     .kind = OPTION_TEXT,
     .written = true,
     .argument = "L.npy",
     .help = "write all low-resolution logits, (prompts,masks,4g,4g)"},
    {0}};

const program_verb verb_segment = {
    .name = "segment",
    .summary = "segment an image or a volume from boxes and points",
    .synopsis = "--model FILE --image IMG [--box x0,y0,x1,y1]... [--point x,y,label]... -o MASK\n"
                "--model FILE --image IMG.nii.gz --boxes-from LABELS.nii.gz -o MASK.nii.gz\n"
                "--model FILE --image IMG.nii.gz --boxes FILE.csv --propagate box -o MASK.nii.gz",
    .about =
        "Coordinates are pixels from the top-left corner, x to the right, y down. Where masks\n"
        "overlap, the one with the higher value there wins.",
    .options = options,
    .computes = true,
    .opens = true,
    .run = run,
};
