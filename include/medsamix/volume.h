/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file volume.h
 * @brief Segmenting volumes slice by slice: prompts on slices, and objects followed through a volume.
 *
 * SAM knows no third dimension. Each slice is segmented alone, from prompts that were given for it
 * or, on the others, from the box around the object's mask on the slice before (the practice of
 * MedSAM's 3-D extension, LiteMedSAM and micro-sam). Memory does not grow with the number of slices.
 */
#ifndef MEDSAMIX_VOLUME_H
#define MEDSAMIX_VOLUME_H

#include <medsamix/model.h>

MSX_BEGIN_DECLS

/* ---- what to segment ------------------------------------------------------------------------- */

/** Boxes and points on slices of a volume, each of an object. An object has a label from 1 to 65535,
 *  its value in the result. Coordinates are pixels of the slice, see msx_volume_slice(). */
typedef struct msx_seeds msx_seeds;

MSX_API msx_status msx_seeds_create(msx_seeds **out, msx_ctx *ctx);
MSX_API void msx_seeds_free(msx_seeds *s);

/** A box (x0,y0,x1,y1; both corners inside) around object `label` on the slices first .. last. A box
 *  on one slice is exact and says nothing of the others; one that spans several is a box in space,
 *  outside of which the object is not looked for. Several boxes on a slice are joined. */
MSX_API msx_status msx_seeds_box(msx_seeds *s, int label, int64_t first, int64_t last,
                                 const double box[4]);

/** A point inside (1) or outside (0) of object `label`. The points of an object on a slice form one
 *  prompt, together with its box there when it has exactly one. */
MSX_API msx_status msx_seeds_point(msx_seeds *s, int label, int64_t slice, double x, double y,
                                   int inside);

/** One tight box for each label and slice of 8 or 16 bit slices. @return MSX_E_FORMAT when there is
 *  no label at all. */
MSX_API msx_status msx_seeds_labels(msx_seeds *s, const msx_slices *labels);

/** Boxes from a CSV file, docs/formats/boxes.md. All of its boxes are added, or none. */
MSX_API msx_status msx_seeds_read(msx_seeds *s, const char *path);

/** Boxes and points in all. */
MSX_API int64_t msx_seeds_count(const msx_seeds *s);

/* ---- segmenting ------------------------------------------------------------------------------ */

/** What carries an object from slice to slice. */
typedef enum msx_propagation {
    MSX_PROPAGATE_NONE = 0, /**< nothing: only slices with prompts of their own are segmented */
    MSX_PROPAGATE_BOX = 1,  /**< the box around its mask */
    MSX_PROPAGATE_MASK = 2  /**< that box and the mask's logits */
} msx_propagation;

/** How to segment; begin with MSX_VOLUME_OPTIONS. */
typedef struct msx_volume_options {
    size_t struct_size;
    msx_propagation propagate;
    int multimask; /**< not 0: the multimask output of highest predicted IoU, else the single one */
    double margin; /**< pixels around the mask's box; 0 or more */
    int64_t min_pixels; /**< a mask carried here with fewer counts as empty; 1 or more */
    double min_overlap; /**< as does one whose IoU with that of the slice before is lower; 0 to 1 */
    int64_t reach;      /**< slices behind the last one with a prompt of its own; 0: no limit */
} msx_volume_options;

/** No propagation; a margin of 5 pixels, as MedSAM's 3-D extension adds. */
#define MSX_VOLUME_OPTIONS                                                                         \
    { sizeof(msx_volume_options), MSX_PROPAGATE_NONE, 0, 5, 1, 0, 0 }

/** A segmented volume. */
typedef struct msx_segmentation msx_segmentation;

/** Segment 8-bit slices. Progress is reported for every slice, under the name "segment".
 *
 *  With propagation an object begins on the slice with its largest box (the middle one of a box in
 *  space; the first of several) and is followed to both ends of the volume, or of its boxes in space.
 *  On a slice with a box or points of its own these are the prompts; else the box around the mask of
 *  the slice before, widened by the margin; else, where that mask was empty, the box in space; else
 *  it ends there, until a slice with a prompt of its own. Objects are followed independently.
 *
 *  Where masks overlap, a voxel gets the label whose mask has the higher value there (logit, or
 *  probability for the presets of MedSAM), the lower label when equal.
 *
 *  @param o NULL for the defaults. @return MSX_E_ARG when a prompt lies outside the volume or an
 *  option outside its range, MSX_E_CANCELLED. */
MSX_API msx_status msx_segment_volume(msx_segmentation **out, msx_model *m, const msx_slices *image,
                                      const msx_seeds *seeds, const msx_volume_options *o);
MSX_API void msx_segmentation_free(msx_segmentation *s);

/** The label of each voxel: 16-bit slices like those of the image. Owned by the segmentation. */
MSX_API const msx_slices *msx_segmentation_labels(const msx_segmentation *s);

/** Slices that a prompt was made for. */
MSX_API int64_t msx_segmentation_slices(const msx_segmentation *s);

/** What became of an object. */
typedef struct msx_segmented_object {
    size_t struct_size; /**< set by the caller */
    int label;
    int64_t prompts;     /**< made for it */
    int64_t voxels;      /**< in the result */
    int64_t first, last; /**< slices with voxels of it; -1 without any */
    double iou;          /**< mean predicted IoU of its prompts; NaN without any */
} msx_segmented_object;

/** Objects, by label. @return MSX_E_ARG for a number outside 0 .. objects - 1. */
MSX_API int64_t msx_segmentation_objects(const msx_segmentation *s);
MSX_API msx_status msx_segmentation_object(const msx_segmentation *s, int64_t i,
                                           msx_segmented_object *out);

/** The slice with most voxels of all objects (the first prompted one when there are none), and the
 *  boxes (n, 4) prompted there. Owned by the segmentation. */
MSX_API int64_t msx_segmentation_best_slice(const msx_segmentation *s);
MSX_API const double *msx_segmentation_boxes(const msx_segmentation *s, size_t *n);

MSX_END_DECLS

#endif
