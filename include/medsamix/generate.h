/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file generate.h
 * @brief Automatic mask generation: everything in an image, without prompts.
 *
 * What SAM's SamAutomaticMaskGenerator does, step by step: a grid of points over the image, and over
 * overlapping crops of it if so asked; three masks for each point; those of low predicted IoU, of low
 * stability, or cut off by the edge of a crop are dropped, then all but the best of masks whose boxes
 * overlap. Options have the names and the defaults of that class.
 */
#ifndef MEDSAMIX_GENERATE_H
#define MEDSAMIX_GENERATE_H

#include <medsamix/model.h>

MSX_BEGIN_DECLS

/** Points (n, 2): x and y as fractions of a crop's width and height, 0 to 1. */
typedef struct msx_point_grid {
    const double *points;
    size_t n;
} msx_point_grid;

/** How to look for masks; begin with MSX_GENERATE_OPTIONS. */
typedef struct msx_generate_options {
    size_t struct_size;
    int64_t points_per_side;       /**< of the grid, at cell centres; 1 to 1024 */
    int64_t points_per_batch;      /**< decoded at a time: memory against speed; 1 to 65536 */
    double pred_iou_thresh;        /**< masks of higher predicted IoU stay; 0 or less: all do */
    double stability_score_thresh; /**< masks at least that stable stay; 0 or less: all do */
    double
        stability_score_offset; /**< stability is the IoU of the mask at logits above this and of that
                                        at logits above minus this; 0 or more */
    double box_nms_thresh;      /**< of two boxes in a crop with higher IoU the better mask stays */
    int64_t crop_n_layers;      /**< layer i has 2^i x 2^i crops; 0 to 8 */
    double crop_nms_thresh;     /**< as box_nms_thresh, between crops; smaller crops win */
    double crop_overlap_ratio; /**< overlap of the first layer's crops, as a part of the image's
                                        shorter side, half of it in the next layer and so on; 0 to
                                        1, below 1 */
    int64_t crop_n_points_downscale_factor; /**< layer i has points_per_side / factor^i points */
    int64_t min_mask_region_area; /**< holes and islands with fewer pixels are removed; 0: none */
    const msx_point_grid *point_grids; /**< crop_n_layers + 1 grids instead of points_per_side, or
                                                 NULL */
} msx_generate_options;

/** The defaults of SamAutomaticMaskGenerator. */
#define MSX_GENERATE_OPTIONS                                                                       \
    {                                                                                              \
        sizeof(msx_generate_options), 32, 64, 0.88, 0.95, 1.0, 0.7, 0, 0.7, 512.0 / 1500.0, 1, 0,  \
            NULL                                                                                   \
    }

/** Masks found in an image, in the official order: by predicted IoU; after crops, those of smaller
 *  crops first; after small regions were removed, those that had none first. */
typedef struct msx_masks msx_masks;

/** Find masks in an 8-bit image. Progress is reported for every batch of points, under the name
 *  "generate". Memory does not grow with the number of points beyond the masks kept.
 *
 *  A preset of MedSAM has probabilities where SAM has logits: masks are those above 0.5, and the offset
 *  is one of logits as always. MSX_PRESET_MICROSAM stretches the image's colours before cropping.
 *
 *  @param o NULL for the defaults. @return MSX_E_ARG for options outside their range,
 *  MSX_E_UNSUPPORTED for a model without multimask outputs, MSX_E_SHAPE when the image is too small for
 *  so many crops, MSX_E_CANCELLED. */
MSX_API msx_status msx_masks_generate(msx_masks **out, msx_model *m, const msx_image *image,
                                      const msx_generate_options *o);
MSX_API void msx_masks_free(msx_masks *s);

MSX_API int64_t msx_masks_count(const msx_masks *s);
/** Size of the image. */
MSX_API int64_t msx_masks_width(const msx_masks *s);
MSX_API int64_t msx_masks_height(const msx_masks *s);

/** What is known of a mask. Boxes are x, y, width and height in pixels. */
typedef struct msx_mask_record {
    size_t struct_size; /**< set by the caller */
    int64_t area;       /**< pixels */
    double bbox[4]; /**< from the first to the last column and row of it: the width of a mask is one
                             less than its columns, as in the official records */
    double predicted_iou;
    double point_coords[2]; /**< the point that it answers */
    double stability_score; /**< NaN when there is nothing above minus the offset */
    double crop_box[4];     /**< of the crop it was found in */
} msx_mask_record;

/** @return MSX_E_ARG for a number outside 0 .. count - 1. */
MSX_API msx_status msx_masks_record(const msx_masks *s, int64_t i, msx_mask_record *out);

/** Mask `i` as COCO's uncompressed run lengths: pixels column by column, alternately outside and inside,
 *  beginning with outside (0 when the first pixel is inside). Borrowed. NULL out of range. */
MSX_API const uint32_t *msx_masks_runs(const msx_masks *s, int64_t i, size_t *n);

/** Mask `i` as an image of one channel, 8 bit, 0 or 1. */
MSX_API msx_status msx_masks_image(msx_image **out, const msx_masks *s, int64_t i);

/** All masks in one picture, one channel, 16 bit: 0, or 1 + the number of a mask. Smaller masks lie
 *  over larger ones. @return MSX_E_LIMIT for more than 65535 masks. */
MSX_API msx_status msx_masks_labels(msx_image **out, const msx_masks *s);

MSX_END_DECLS

#endif
