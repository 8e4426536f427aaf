/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file model.h
 * @brief Devices, the SAM network, embeddings, prompts and predictions.
 *
 * Coordinates are pixels of the original image, x to the right, y down, (0,0) the top-left pixel;
 * SAM's half-pixel shift is applied inside. g is the token grid's side, C the decoder width, S the
 * input side (64, 256 and 1024 for ViT-B, -L and -H).
 *
 * Several threads may work with one device and with one model at the same time, each with images,
 * embeddings, prompts and predictions of its own; an embedding and a prediction may also be read by
 * several. Every running call takes working memory of its own, which is kept for the calls after it. The
 * bits are those of one thread. Calls on a GPU wait for each other. What changes a handle is for one
 * thread alone, while no other one uses it: msx_model_update(), msx_device_set_precision(), and every
 * _free.
 */
#ifndef MEDSAMIX_MODEL_H
#define MEDSAMIX_MODEL_H

#include <medsamix/arch.h>
#include <medsamix/image.h>

MSX_BEGIN_DECLS

/** Something that computes. */
typedef struct msx_device msx_device;

/** Open a device: "cpu", or "cuda:N" where the CUDA plug-in is installed. It must outlive the models,
 *  embeddings and predictions that are made on it.
 *  @return MSX_E_NOTFOUND (unknown name), MSX_E_DEVICE (not available; the text says why). */
MSX_API msx_status msx_device_open(msx_device **out, msx_ctx *ctx, const char *name);
MSX_API void msx_device_free(msx_device *d);
MSX_API const char *msx_device_name(const msx_device *d);

/** How the image encoder's products are computed. Norms, softmax, sums and what is passed from block
 *  to block are float32 in all of them, and so are results; prompts and masks stay in float32. */
typedef enum msx_precision {
    MSX_PRECISION_FP32 = 0, /**< float32; the default */
    MSX_PRECISION_TF32 = 1, /**< factors rounded to 10 bits of mantissa, float32 in memory (GPUs) */
    MSX_PRECISION_FP16 = 2, /**< factors in IEEE half precision (GPUs) */
    MSX_PRECISION_BF16 = 3  /**< factors in bfloat16, 7 bits of mantissa */
} msx_precision;

/** Choose the precision of models that are loaded on `d` from now on; before the first of them. BF16 on a
 *  Linux processor with AMX asks for its registers, for the whole process: alternate signal stacks that are
 *  set up later need sysconf(_SC_SIGSTKSZ) bytes. Where the system refuses, other instructions do.
 *  @return MSX_E_UNSUPPORTED where the device does not offer it, MSX_E_ARG while the device has
 *  models. */
MSX_API msx_status msx_device_set_precision(msx_device *d, msx_precision precision);
MSX_API msx_precision msx_device_precision(const msx_device *d);
/** Bound the memory that models, embeddings and working memory take on a GPU, in bytes; 0 (default): all
 *  that the GPU has. Beyond it calls fail with MSX_E_NOMEM, and everything stays usable.
 *  @return MSX_E_UNSUPPORTED for the CPU, whose memory is the context's allocator's. */
MSX_API msx_status msx_device_set_budget(msx_device *d, int64_t bytes);
/** Bytes in use on the GPU now and at most so far. @return MSX_E_UNSUPPORTED for the CPU. */
MSX_API msx_status msx_device_usage(const msx_device *d, int64_t *now, int64_t *most);

/** "fp32", "tf32", "fp16", "bf16"; NULL for other values. */
MSX_API const char *msx_precision_name(msx_precision precision);

/** A SAM with its weights on a device and a preprocessing preset. */
typedef struct msx_model msx_model;

/** Load a model. The checkpoint may be freed afterwards. */
MSX_API msx_status msx_model_load(msx_model **out, msx_device *device, const msx_checkpoint *c,
                                  msx_preset preset);

/** How to load; begin with MSX_MODEL_OPTIONS. */
typedef struct msx_model_options {
    size_t struct_size;
    msx_preset preset;
    int64_t image_size;      /**< side of the input in pixels, a multiple of the patch up to 16384;
                                  0: the checkpoint's own */
    msx_positions positions; /**< how pos_embed is resampled for another size */
} msx_model_options;

/** Preset "sam", the checkpoint's own input size. */
#define MSX_MODEL_OPTIONS                                                                          \
    { sizeof(msx_model_options), MSX_PRESET_SAM, 0, MSX_POSITIONS_BILINEAR }

/** Load a model, for inputs of another size if so asked: its tables of positions are resampled as
 *  msx_checkpoint_resize() does, also whenever msx_model_update() brings tables of the checkpoint's
 *  size. Cost and resolution of logits go with the input: at half the side a quarter of the tokens, and
 *  masks of half the resolution. msx_model_arch() is that of the other size.
 *  @param o NULL for the defaults. */
MSX_API msx_status msx_model_load_with(msx_model **out, msx_device *device, const msx_checkpoint *c,
                                       const msx_model_options *o);
MSX_API void msx_model_free(msx_model *m);
MSX_API const msx_arch *msx_model_arch(const msx_model *m);
MSX_API msx_preset msx_model_preset(const msx_model *m);

/** Replace tensors by those of `c` (same architecture). @param changed NULL for all, else one byte
 *  per tensor of the architecture, as msx_merger_run() fills it. Embeddings made before stay valid
 *  as data. Shapes are checked before anything is replaced; when reading fails half-way, update all
 *  tensors before using the model again. */
MSX_API msx_status msx_model_update(msx_model *m, const msx_checkpoint *c, const uint8_t *changed);

/** Image embeddings of one or more images, with the sizes needed to place prompts and masks. */
typedef struct msx_embedding msx_embedding;

/** Encode `n` 8-bit images. Working memory does not grow with n. On the CPU an image's embedding has the
 *  same bits alone and in company; on a GPU they are the same for batches of the same size. The embedding
 *  may outlive the model. */
MSX_API msx_status msx_model_encode(msx_embedding **out, msx_model *m,
                                    const msx_image *const *images, size_t n);

/** Encode inputs that are preprocessed already: (n, 3, S, S) float32. @param sizes n x 4: original
 *  width, height, resized width, height. */
MSX_API msx_status msx_model_encode_input(msx_embedding **out, msx_model *m, const float *input,
                                          const int64_t *sizes, size_t n);
MSX_API void msx_embedding_free(msx_embedding *e);
MSX_API int64_t msx_embedding_count(const msx_embedding *e);
/** Image `i`'s embedding (C, g, g), float32, on the host. */
MSX_API msx_status msx_embedding_read(const msx_embedding *e, int64_t i, float *out, int64_t n);

/** Sizes of image `i`: width, height, and what of the network's input it covers, width and height. */
MSX_API msx_status msx_embedding_sizes(const msx_embedding *e, int64_t i, int64_t out[4]);

/** Write an embedding of `m` to a safetensors file (docs/formats/embedding.md), which appears when
 *  complete. The first call for a model hashes its encoder's weights.
 *  @return MSX_E_ARG when `m` did not make it, or has had weights replaced since; MSX_E_IO. */
MSX_API msx_status msx_embedding_save(const msx_embedding *e, msx_model *m, const char *path);

/** Read such a file: the same bits as when it was saved. @return MSX_E_FORMAT and MSX_E_UNSUPPORTED
 *  for other files, MSX_E_SHAPE when another encoder or preset made it, as msx_checkpoint_open(). */
MSX_API msx_status msx_embedding_load(msx_embedding **out, msx_model *m, const char *path);

/** Prompts, each with the index of its image. */
typedef struct msx_prompts msx_prompts;

MSX_API msx_status msx_prompts_create(msx_prompts **out, msx_ctx *ctx);
MSX_API void msx_prompts_free(msx_prompts *p);

/** Begin a new prompt on image `image` of the embedding; the calls below add to it. A prompt without
 *  anything is legal. */
MSX_API msx_status msx_prompts_begin(msx_prompts *p, int64_t image);
/** At most one box per prompt, x0 <= x1, y0 <= y1. */
MSX_API msx_status msx_prompts_box(msx_prompts *p, double x0, double y0, double x1, double y1);
/** Any number of points; label 1 inside, 0 outside. */
MSX_API msx_status msx_prompts_point(msx_prompts *p, double x, double y, int label);
/** At most one mask per prompt: logits of an earlier prediction, (4g, 4g) float32; copied. */
MSX_API msx_status msx_prompts_mask(msx_prompts *p, const float *logits, int64_t n);
MSX_API int64_t msx_prompts_count(const msx_prompts *p);

/** What the decoder says to a set of prompts. */
typedef struct msx_prediction msx_prediction;

/** Decode. Works in chunks: memory does not grow with the number of prompts beyond the results. */
MSX_API msx_status msx_model_predict(msx_prediction **out, msx_model *m, const msx_embedding *e,
                                     const msx_prompts *p);
MSX_API void msx_prediction_free(msx_prediction *p);
MSX_API int64_t msx_prediction_count(const msx_prediction *p);
/** Masks per prompt (4): 0 is the single-mask output, 1.. the multimask ones. */
MSX_API int64_t msx_prediction_masks(const msx_prediction *p);
/** Side of the low-resolution masks: 4 g. */
MSX_API int64_t msx_prediction_side(const msx_prediction *p);
/** Low-resolution logits of a prompt: (masks, side, side). Borrowed. On a GPU they are brought to the host
 *  when the first of them is asked for. NULL out of range, and when that fails. */
MSX_API const float *msx_prediction_logits(const msx_prediction *p, int64_t prompt);
/** Predicted IoU of a prompt's masks: (masks) values. Borrowed. NULL out of range. */
MSX_API const float *msx_prediction_iou(const msx_prediction *p, int64_t prompt);

/** One mask at the size of the prompt's image, one channel, 8 bit, 0 or 1: post-processed by the
 *  model's preset (sam, microsam: two bilinear steps, > 0; medsam and its variants: sigmoid, one
 *  bilinear step, > 0.5). */
MSX_API msx_status msx_prediction_mask(msx_image **out, const msx_prediction *p, int64_t prompt,
                                       int64_t mask);
/** The same before the threshold: logits or probabilities, float32. */
MSX_API msx_status msx_prediction_map(msx_image **out, const msx_prediction *p, int64_t prompt,
                                      int64_t mask);

MSX_END_DECLS

#endif
