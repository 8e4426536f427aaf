/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file image.h
 * @brief Images (PNG, JPEG where built in) and volumes (NIfTI), slices, intensity rules, resampling.
 */
#ifndef MEDSAMIX_IMAGE_H
#define MEDSAMIX_IMAGE_H

#include <medsamix/ctx.h>

MSX_BEGIN_DECLS

/* ---- images ---------------------------------------------------------------------------------- */

/** A 2-D image of 1 to 4 interleaved channels: data[(y * width + x) * channels + c]. */
typedef struct msx_image msx_image;

typedef enum msx_pixel { MSX_PIXEL_U8 = 1, MSX_PIXEL_U16 = 2, MSX_PIXEL_F32 = 3 } msx_pixel;

/** Make an image; `data` is copied, or zeros when NULL. */
MSX_API msx_status msx_image_create(msx_image **out, msx_ctx *ctx, int64_t width, int64_t height,
                                    int channels, msx_pixel type, const void *data);

/** Read a PNG (1, 2, 4, 8 and 16 bit, grey, palette, colour, alpha kept) or JPEG. Palettes become
 *  colours, except in msx_image_load_labels(). */
MSX_API msx_status msx_image_load(msx_image **out, msx_ctx *ctx, const char *path);

/** Read a label image: PNG of one channel; a palette's indices are the labels. JPEG is refused. */
MSX_API msx_status msx_image_load_labels(msx_image **out, msx_ctx *ctx, const char *path);

/** Write an 8 or 16 bit PNG (the file appears when complete). */
MSX_API msx_status msx_image_save(const msx_image *image, const char *path);

/** As msx_image_save(), into memory; released with msx_free(). */
MSX_API msx_status msx_image_encode_png(const msx_image *image, uint8_t **out, size_t *out_bytes);

/** Release an image. Accepts NULL. */
MSX_API void msx_image_free(msx_image *image);

MSX_API int64_t msx_image_width(const msx_image *image);
MSX_API int64_t msx_image_height(const msx_image *image);
MSX_API int msx_image_channels(const msx_image *image);
MSX_API msx_pixel msx_image_type(const msx_image *image);
/** The pixels; type by msx_image_type(). Writable, owned by the image. */
MSX_API void *msx_image_data(const msx_image *image);

/** How to resample. */
typedef enum msx_resample {
    MSX_RESAMPLE_NEAREST = 1,
    /** Pillow's BILINEAR, bit-exact for 8 bit: antialiased triangle, 22-bit fixed point. */
    MSX_RESAMPLE_PILLOW_BILINEAR = 2,
    /** skimage.transform.resize(order=3, mode="reflect", anti_aliasing, preserve_range), float32
     *  result: Gaussian, then cubic B-spline with prefilter, clipped to the input's range. */
    MSX_RESAMPLE_SKIMAGE_CUBIC = 3
} msx_resample;

/** Resample to width x height. The result has the type of the input, float32 for SKIMAGE_CUBIC. */
MSX_API msx_status msx_image_resize(msx_image **out, const msx_image *image, int64_t width,
                                    int64_t height, msx_resample how);

/* ---- volumes --------------------------------------------------------------------------------- */

/** A 3-D volume with geometry. Voxel (i,j,k) is stored at i + nx * (j + ny * k), as in NIfTI. */
typedef struct msx_volume msx_volume;

/** Read a NIfTI-1 or -2 file, .nii or .nii.gz, either byte order, all integer and float types,
 *  scl_slope/scl_inter applied (0, NaN and infinity mean none). 4-D files are refused unless the
 *  4th extent is 1. */
MSX_API msx_status msx_volume_load(msx_volume **out, msx_ctx *ctx, const char *path);

/** Make a volume with the geometry of `like`, filled with zeros. */
MSX_API msx_status msx_volume_create_like(msx_volume **out, const msx_volume *like);

/** Make a volume with unit spacing and an identity affine; `data` (float32) is copied, or zeros. */
MSX_API msx_status msx_volume_create(msx_volume **out, msx_ctx *ctx, const int64_t dims[3],
                                     const float *data);

/** Write a NIfTI-1 label volume (u8, or u16 when a value exceeds 255; NIfTI-2 when an extent exceeds
 *  32767), with the geometry (both forms and codes) kept and free text dropped. .gz by the ending.
 *  Values must be integers in 0..65535. */
MSX_API msx_status msx_volume_save_labels(const msx_volume *v, const char *path);

/** Release a volume. Accepts NULL. */
MSX_API void msx_volume_free(msx_volume *v);

/** Extents (axis 0, 1, 2 = i, j, k); spacing in mm; the 3x4 affine in use (sform, else qform, else
 *  spacing), row-major. */
MSX_API int64_t msx_volume_dim(const msx_volume *v, int axis);
MSX_API double msx_volume_spacing(const msx_volume *v, int axis);
MSX_API void msx_volume_affine(const msx_volume *v, double out[12]);
/** All voxels as float32, scaled. Writable, owned by the volume. */
MSX_API float *msx_volume_data(const msx_volume *v);

/** MSX_OK when all values are integers within 1e-3 and in 0..65535 (they are rounded in place),
 *  else MSX_E_FORMAT naming the first voxel that is not. */
MSX_API msx_status msx_volume_check_labels(msx_volume *v);

/** Compare geometry: extents, and the 8 corner voxels to 0.1 voxel. `name_a`/`name_b` for the text.
 *  @return MSX_OK, MSX_E_SHAPE. A difference above 1e-3 voxel is logged as a warning. */
MSX_API msx_status msx_volume_same_space(const msx_volume *a, const char *name_a,
                                         const msx_volume *b, const char *name_b);

/** Along which axis a volume is cut into slices. */
typedef enum msx_axis { MSX_AXIS_I = 0, MSX_AXIS_J = 1, MSX_AXIS_K = 2 } msx_axis;

/** Axis by name: "i", "j", "k", or "max-spacing" (largest spacing; k when equal).
 *  @return MSX_E_NOTFOUND for another name. */
MSX_API msx_status msx_volume_axis(msx_axis *out, const msx_volume *v, const char *name);

/** Copy slice `index` as a one-channel float32 image. The remaining axes keep their order, the
 *  slower one is the row: k: row j, column i; j: row k, column i; i: row k, column j. */
MSX_API msx_status msx_volume_slice(msx_image **out, const msx_volume *v, msx_axis axis,
                                    int64_t index);

/** Copy a one-channel image of any type into slice `index`. */
MSX_API msx_status msx_volume_set_slice(msx_volume *v, msx_axis axis, int64_t index,
                                        const msx_image *image);

/** Map voxels to 0..255 integers in place, over the whole volume. Rules: "ct" or "ct:WIDTH,LEVEL"
 *  (default 400,40), "mr" (0.5 and 99.5 percentile of voxels > 0, min-max, zeros stay zero),
 *  "minmax", "none" (values must lie in 0..255; fractions are truncated). NaN and infinite voxels
 *  count as 0, with a warning in the log; a constant volume becomes 0.
 *  Source: MedSAM pre_CT_MR.py. @return MSX_E_NOTFOUND for an unknown rule, MSX_E_ARG. */
MSX_API msx_status msx_volume_window(msx_volume *v, const char *rule);

/** The same for a 2-D image; the result is 8 bit with the same channels. For 8-bit images "none"
 *  and NULL copy; 16-bit and float images are treated as a volume of one slice ("minmax" for NULL). */
MSX_API msx_status msx_image_window(msx_image **out, const msx_image *image, const char *rule);

/* ---- volumes slice by slice ------------------------------------------------------------------ */

/** The slices of a volume along one axis, one-channel images of one type. They are kept in a scratch
 *  file, so that memory is that of a few slices however many there are. Not for use by two threads
 *  at a time, unless both only read. */
typedef struct msx_slices msx_slices;

/** Read a NIfTI file (what msx_volume_load() reads) block by block, with its values mapped to 0..255
 *  over the whole volume by `rule`: the bits that msx_volume_window() gives. 8-bit slices.
 *  @param axis a name that msx_volume_axis() knows. @param scratch a folder with room for the slices;
 *  the file there has no name and goes away with the handle or the process. */
MSX_API msx_status msx_slices_load(msx_slices **out, msx_ctx *ctx, const char *path,
                                   const char *axis, const char *rule, const char *scratch);

/** The same for labels, which are checked as msx_volume_check_labels() does. 16-bit slices. */
MSX_API msx_status msx_slices_load_labels(msx_slices **out, msx_ctx *ctx, const char *path,
                                          const char *axis, const char *scratch);

/** Slices of zeros in the space, along the axis and in the scratch folder of `like`. Zeros take no
 *  room on most file systems. */
MSX_API msx_status msx_slices_create_like(msx_slices **out, const msx_slices *like, msx_pixel type);

/** Release slices. Accepts NULL. */
MSX_API void msx_slices_free(msx_slices *s);

/** The volume's extents, spacing and affine: a volume without voxels (msx_volume_data() is NULL),
 *  owned by the slices. */
MSX_API const msx_volume *msx_slices_space(const msx_slices *s);
MSX_API msx_axis msx_slices_axis(const msx_slices *s);
/** How many slices there are, and the size of each. */
MSX_API int64_t msx_slices_count(const msx_slices *s);
MSX_API int64_t msx_slices_width(const msx_slices *s);
MSX_API int64_t msx_slices_height(const msx_slices *s);

/** Copy slice `index`, rows and columns as msx_volume_slice(). */
MSX_API msx_status msx_slices_read(msx_image **out, const msx_slices *s, int64_t index);

/** Replace slice `index` by an image of the same size and type. */
MSX_API msx_status msx_slices_write(msx_slices *s, int64_t index, const msx_image *image);

/** Write 8 or 16 bit slices as a label volume: the bytes that msx_volume_save_labels() writes. */
MSX_API msx_status msx_slices_save_labels(const msx_slices *s, const char *path);

/* ---- preprocessing --------------------------------------------------------------------------- */

/** How an image becomes the network's input and how masks come back. */
typedef enum msx_preset {
    MSX_PRESET_SAM = 1,    /**< longest side to S (Pillow), mean/std, zero pad right and bottom */
    MSX_PRESET_MEDSAM = 2, /**< square S x S (skimage cubic, truncated), min-max to 0..1 */
    MSX_PRESET_MEDSAM_CT_MR = 3, /**< square (skimage cubic, zeros outside), min-max to 0..1 */
    MSX_PRESET_MEDSAM_RGB = 4,   /**< square (skimage cubic, zeros outside), divided by 255 */
    MSX_PRESET_MEDSAM_CV2 = 5,   /**< square (OpenCV cubic, 8 bit), min-max to 0..1 */
    MSX_PRESET_MICROSAM = 6      /**< each colour's range to 0..255, then as MSX_PRESET_SAM */
} msx_preset;

/** Preset by name ("sam", "medsam", "medsam_ct_mr", "medsam_rgb", "medsam_cv2", "microsam"):
 *  MSX_E_NOTFOUND with a suggestion otherwise. Name of a preset, NULL when unknown. */
MSX_API msx_status msx_preset_find(msx_preset *out, msx_ctx *ctx, const char *name);
MSX_API const char *msx_preset_name(msx_preset preset);

/** Preprocess an 8-bit image, grey (repeated) or colour, with or without alpha (ignored), into
 *  `input` (3, size, size). @param resized_width, resized_height receive the part of the input that
 *  the image covers; may be NULL. @param resized NULL, or receives the 8-bit resized image: grey or
 *  RGB as the input where the longest side is resized, RGB (truncated) for the square presets.
 *  @return MSX_E_SHAPE when less than a row or column would be left. */
MSX_API msx_status msx_preprocess(msx_ctx *ctx, msx_preset preset, const msx_image *image,
                                  int64_t size, float *input, int64_t *resized_width,
                                  int64_t *resized_height, msx_image **resized);

/* ---- pictures -------------------------------------------------------------------------------- */

/** Draw `prediction` and `reference` (one-channel label images of the image's size; any non-zero
 *  pixel counts; reference may be NULL) over an 8-bit image: fills and outlines, prediction orange,
 *  reference blue. @param boxes n_boxes x 4 (x0,y0,x1,y1) outlines, may be NULL. RGB result,
 *  `zoom` (1 to 8) times larger. */
MSX_API msx_status msx_image_overlay(msx_image **out, const msx_image *image,
                                     const msx_image *prediction, const msx_image *reference,
                                     const double *boxes, size_t n_boxes, int zoom);

MSX_END_DECLS

#endif
