/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix segment on a volume: slice by slice, from boxes, labels or points, and on from there. */
#include "segment.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct job {
    segmenter *s;
    char *scratch; /* folder of the output */
    msx_slices *image;
    msx_seeds *seeds;
    msx_volume_options options;
    msx_segmentation *result;
} job;

/* ---- what to segment --------------------------------------------------------------------------------- */

/* The axes that are the columns and rows of a slice. */
static int column_axis(const job *j) {
    return msx_slices_axis(j->image) == MSX_AXIS_I ? 1 : 0;
}
static int row_axis(const job *j) {
    return msx_slices_axis(j->image) == MSX_AXIS_K ? 1 : 2;
}

static int boxes_from_labels(job *j, const char *path) {
    program *p = j->s->p;
    const char axis[2] = {"ijk"[msx_slices_axis(j->image)], 0};
    msx_slices *labels = NULL;
    int code = program_status(p, msx_slices_load_labels(&labels, p->ctx, path, axis, j->scratch));
    if (!code)
        code = program_status(p, msx_volume_same_space(msx_slices_space(labels), path,
                                                       msx_slices_space(j->image),
                                                       option_text(p, "image")));
    if (!code) {
        msx_status status = msx_seeds_labels(j->seeds, labels);
        code = status == MSX_E_FORMAT
                   ? program_fail(p, PROGRAM_INPUT, "%s: %s", path, msx_ctx_error(p->ctx))
                   : program_status(p, status);
    }
    msx_slices_free(labels);
    return code;
}

/* One corner and the other, in voxels. */
static int box_in_space(job *j, const char *text) {
    program *p = j->s->p;
    const msx_volume *space = msx_slices_space(j->image);
    msx_axis axis = msx_slices_axis(j->image);
    double v[6];
    int code = bracketed_numbers(p, "box3d", text, v, 6);
    if (code) return code;
    for (int a = 0; a < 3; a++)
        if (v[a] > v[a + 3] || v[a] < 0 || v[a + 3] > (double)msx_volume_dim(space, a) - 1)
            return program_usage(p, "--box3d %s: %g to %g along axis %c does not lie in 0 to %lld",
                                 text, v[a], v[a + 3], "ijk"[a],
                                 (long long)msx_volume_dim(space, a) - 1);
    int column = column_axis(j), row = row_axis(j);
    const double box[4] = {v[column], v[row], v[column + 3], v[row + 3]};
    return program_status(p,
                          msx_seeds_box(j->seeds, 1, (int64_t)v[axis], (int64_t)v[axis + 3], box));
}

static int add_point(job *j, const char *text) {
    program *p = j->s->p;
    const msx_volume *space = msx_slices_space(j->image);
    double v[4];
    int code = bracketed_numbers(p, "point", text, v, 4);
    if (code) return code;
    if (v[3] != 0 && v[3] != 1)
        return program_usage(p, "--point %s: the label is 1 (inside) or 0 (outside)", text);
    for (int a = 0; a < 3; a++)
        if (!(v[a] >= 0 && v[a] <= (double)msx_volume_dim(space, a) - 1))
            return program_usage(p, "--point %s: %g along axis %c does not lie in 0 to %lld", text,
                                 v[a], "ijk"[a], (long long)msx_volume_dim(space, a) - 1);
    int64_t slice = llround(v[msx_slices_axis(j->image)]);
    return program_status(
        p, msx_seeds_point(j->seeds, 1, slice, v[column_axis(j)], v[row_axis(j)], (int)v[3]));
}

static int add_seeds(job *j) {
    program *p = j->s->p;
    const char *labels = option_text(p, "boxes-from"), *file = option_text(p, "boxes"),
               *box3d = option_text(p, "box3d");
    int code = program_status(p, msx_seeds_create(&j->seeds, p->ctx));
    if (!code && labels) code = boxes_from_labels(j, labels);
    if (!code && file) code = program_status(p, msx_seeds_read(j->seeds, file));
    if (!code && box3d) code = box_in_space(j, box3d);
    for (size_t i = 0; !code && i < option_count(p, "point"); i++)
        code = add_point(j, option_at(p, "point", i));
    return code;
}

/* ---- results --------------------------------------------------------------------------------------- */

/* The slice with most of the mask. */
static int save_overlay(job *j) {
    program *p = j->s->p;
    const char *path = option_text(p, "overlay");
    if (!path) return PROGRAM_DONE;
    msx_image *image = NULL, *mask = NULL, *picture = NULL;
    size_t n;
    const double *boxes = msx_segmentation_boxes(j->result, &n);
    int64_t best = msx_segmentation_best_slice(j->result);
    int code = program_status(p, msx_slices_read(&image, j->image, best));
    if (!code)
        code = program_status(p, msx_slices_read(&mask, msx_segmentation_labels(j->result), best));
    if (!code)
        code = program_status(p, msx_image_overlay(&picture, image, mask, NULL, boxes, n, 1));
    if (!code) code = program_status(p, msx_image_save(picture, path));
    msx_image_free(image);
    msx_image_free(mask);
    msx_image_free(picture);
    return code;
}

static int report_table(job *j) {
    static const char *const heads[] = {">label",  ">prompts", ">predicted IoU",
                                        ">voxels", ">first",   ">last slice"};
    program *p = j->s->p;
    table *t = table_create(heads, 6);
    for (int64_t i = 0; i < msx_segmentation_objects(j->result); i++) {
        msx_segmented_object x = {.struct_size = sizeof x};
        msx_segmentation_object(j->result, i, &x);
        table_cell(t, "%d", x.label);
        table_cell(t, "%lld", (long long)x.prompts);
        table_number(t, x.iou, 3);
        table_cell(t, "%lld", (long long)x.voxels);
        for (int end = 0; end < 2; end++) {
            int64_t slice = end ? x.last : x.first;
            if (slice < 0)
                table_cell(t, "-");
            else
                table_cell(t, "%lld", (long long)slice);
        }
    }
    int code = table_print(p, t);
    table_free(t);
    if (!code) program_say_model(p, j->s->model);
    return code;
}

static int report_json(job *j) {
    program *p = j->s->p;
    json_t *labels = json_array();
    int64_t prompts = 0;
    for (int64_t i = 0; i < msx_segmentation_objects(j->result); i++) {
        msx_segmented_object x = {.struct_size = sizeof x};
        msx_segmentation_object(j->result, i, &x);
        prompts += x.prompts;
        json_array_append_new(labels,
                              json_pack("{s:i, s:I, s:o, s:I, s:o, s:o}", "label", x.label,
                                        "prompts", (json_int_t)x.prompts, "iou", json_number(x.iou),
                                        "voxels", (json_int_t)x.voxels, "first",
                                        x.first < 0 ? json_null() : json_integer(x.first), "last",
                                        x.last < 0 ? json_null() : json_integer(x.last)));
    }
    const char axis[2] = {"ijk"[msx_slices_axis(j->image)], 0};
    return program_json(p, json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:s, s:I, s:I, s:o}", "model",
                                     option_text(p, "model"), "image", option_text(p, "image"),
                                     "preset", msx_preset_name(msx_model_preset(j->s->model)),
                                     "image_size", (json_int_t)j->s->size, "output",
                                     option_text(p, "output"), "axis", axis, "propagate",
                                     option_or(p, "propagate", "none"), "slices",
                                     (json_int_t)msx_segmentation_slices(j->result), "prompts",
                                     (json_int_t)prompts, "labels", labels));
}

/* ---- the whole -------------------------------------------------------------------------------------- */

/* The folder of the output has room for it, and for the slices. */
static int find_scratch(job *j) {
    const char *output = option_text(j->s->p, "output"), *slash = strrchr(output, '/');
    j->scratch =
        slash ? strndup(output, slash == output ? 1 : (size_t)(slash - output)) : strdup(".");
    return j->scratch ? PROGRAM_DONE : program_fail(j->s->p, PROGRAM_LIMIT, "out of memory");
}

static void read_options(job *j) {
    program *p = j->s->p;
    const char *how = option_text(p, "propagate");
    j->options = (msx_volume_options)MSX_VOLUME_OPTIONS;
    j->options.multimask = j->s->multimask;
    if (how) j->options.propagate = strcmp(how, "mask") ? MSX_PROPAGATE_BOX : MSX_PROPAGATE_MASK;
    j->options.margin = option_double(p, "margin", j->options.margin);
    j->options.min_pixels = option_int(p, "min-pixels", j->options.min_pixels);
    j->options.min_overlap = option_double(p, "min-overlap", j->options.min_overlap);
    j->options.reach = option_int(p, "reach", j->options.reach);
}

static int run(job *j) {
    program *p = j->s->p;
    int code = find_scratch(j);
    if (!code)
        code = program_status(p, msx_slices_load(&j->image, p->ctx, option_text(p, "image"),
                                                 option_or(p, "slice-axis", "max-spacing"),
                                                 option_or(p, "intensity", "minmax"), j->scratch));
    if (!code) code = add_seeds(j);
    if (code) return code;
    read_options(j);
    return program_status(
        p, msx_segment_volume(&j->result, j->s->model, j->image, j->seeds, &j->options));
}

int segment_volume(segmenter *s) {
    job j = {.s = s};
    int code = run(&j);
    if (!code) code = save_overlay(&j);
    if (!code)
        code = program_status(s->p, msx_slices_save_labels(msx_segmentation_labels(j.result),
                                                           option_text(s->p, "output")));
    if (!code && s->p->json)
        code = report_json(&j);
    else if (!code && !s->p->quiet)
        code = report_table(&j);
    msx_segmentation_free(j.result);
    msx_seeds_free(j.seeds);
    msx_slices_free(j.image);
    free(j.scratch);
    return code;
}
