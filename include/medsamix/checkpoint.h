/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file checkpoint.h
 * @brief Named tensors in and out of files: torch zip (.pth, .pt) and safetensors, also in shards; torch
 * legacy in.
 *
 * A checkpoint is a list of named tensors in the order of the file. Opening reads and checks only
 * the directory of the file (for torch files: a pickle, of which nothing is ever executed); tensor
 * data is read with pread when asked for. Nesting ("model_state", "state_dict", "model") is
 * descended and common prefixes ("module.", "_orig_mod.", "sam.", "model.", "sam_model.") are
 * stripped, HF SamModel names are turned into official ones, so that the names seen here are the
 * official SAM ones wherever the file holds a SAM. Checkpoints made in memory work alike.
 */
#ifndef MEDSAMIX_CHECKPOINT_H
#define MEDSAMIX_CHECKPOINT_H

#include <medsamix/ctx.h>

MSX_BEGIN_DECLS

typedef struct msx_checkpoint msx_checkpoint;

/** Element types in files. */
typedef enum msx_dtype {
    MSX_DTYPE_F32 = 1,
    MSX_DTYPE_F16 = 2,
    MSX_DTYPE_BF16 = 3,
    MSX_DTYPE_F64 = 4,
    MSX_DTYPE_I8 = 10,
    MSX_DTYPE_U8 = 11,
    MSX_DTYPE_I16 = 12,
    MSX_DTYPE_U16 = 13,
    MSX_DTYPE_I32 = 14,
    MSX_DTYPE_U32 = 15,
    MSX_DTYPE_I64 = 16,
    MSX_DTYPE_U64 = 17,
    MSX_DTYPE_BOOL = 18
} msx_dtype;

/** "f32", "bf16", ...; NULL for an unknown value. */
MSX_API const char *msx_dtype_name(msx_dtype dtype);

/** Bytes of one element; 0 for an unknown value. */
MSX_API size_t msx_dtype_size(msx_dtype dtype);

/** Largest rank of a tensor. */
#define MSX_MAX_RANK 8

/** Open a checkpoint file; the container is found from the content, not the name. An index
 *  (model.safetensors.index.json) stands for the safetensors files beside it that it names.
 *  @return MSX_OK, MSX_E_IO, MSX_E_FORMAT, MSX_E_UNSUPPORTED, MSX_E_LIMIT, MSX_E_NOMEM. */
MSX_API msx_status msx_checkpoint_open(msx_checkpoint **out, msx_ctx *ctx, const char *path);

/** Make an empty checkpoint in memory. */
MSX_API msx_status msx_checkpoint_create(msx_checkpoint **out, msx_ctx *ctx);

/** Release a checkpoint and close its file. Accepts NULL. */
MSX_API void msx_checkpoint_free(msx_checkpoint *c);

/** Add a float32 tensor to a checkpoint made with msx_checkpoint_create(); the data is copied, or
 *  zeros when `data` is NULL. @param dims rank values, each >= 0; rank 0 is a scalar.
 *  @return MSX_E_EXISTS for a name in use, MSX_E_ARG, MSX_E_LIMIT, MSX_E_NOMEM. */
MSX_API msx_status msx_checkpoint_add(msx_checkpoint *c, const char *name, int rank,
                                      const int64_t *dims, const float *data);

/** Number of tensors. */
MSX_API int64_t msx_checkpoint_count(const msx_checkpoint *c);

/** Index of the tensor of that name, or -1. */
MSX_API int64_t msx_checkpoint_find(const msx_checkpoint *c, const char *name);

/** Name, element type, rank, extent along an axis and number of elements of tensor `i`
 *  (0 <= i < count). Out of range: NULL, 0, -1, -1, -1. */
MSX_API const char *msx_checkpoint_name(const msx_checkpoint *c, int64_t i);
MSX_API msx_dtype msx_checkpoint_dtype(const msx_checkpoint *c, int64_t i);
MSX_API int msx_checkpoint_rank(const msx_checkpoint *c, int64_t i);
MSX_API int64_t msx_checkpoint_dim(const msx_checkpoint *c, int64_t i, int axis);
MSX_API int64_t msx_checkpoint_elements(const msx_checkpoint *c, int64_t i);

/** Read tensor `i` as float32, row-major and contiguous. f16 and bf16 are exact, f64 is rounded.
 *  @param n capacity of `out`; must equal the tensor's number of elements.
 *  @return MSX_E_ARG, MSX_E_IO, MSX_E_FORMAT (file truncated since, or damaged: a torch zip has
 *  checksums, verified when a tensor is first read), MSX_E_NOMEM, MSX_E_UNSUPPORTED (not a
 *  floating type). Several threads may read from one checkpoint at the same time. */
MSX_API msx_status msx_checkpoint_read(const msx_checkpoint *c, int64_t i, float *out, int64_t n);

/** The float32 data of tensor `i` when the checkpoint lives in memory, else NULL. Writable: a
 *  merge target is filled in place. */
MSX_API float *msx_checkpoint_data(msx_checkpoint *c, int64_t i);

/** Where the tensors came from: file path ("" in memory), container ("torch zip", "torch legacy",
 *  "safetensors", "sharded safetensors", "memory"), nesting key ("model_state", "" for none), prefix that was stripped
 *  ("module.sam.", ""), naming scheme found ("official", "hf", "other"). Never NULL. */
MSX_API const char *msx_checkpoint_path(const msx_checkpoint *c);
MSX_API const char *msx_checkpoint_container(const msx_checkpoint *c);
MSX_API const char *msx_checkpoint_nesting(const msx_checkpoint *c);
MSX_API const char *msx_checkpoint_prefix(const msx_checkpoint *c);
MSX_API const char *msx_checkpoint_scheme(const msx_checkpoint *c);

/** Lower-case hex SHA-256 of the whole file (64 characters and a NUL), computed on first use. Of an
 *  index: of the hex digests of the index and of its shards in the order of their names.
 *  In memory: of names, shapes and float32 data in order. */
MSX_API msx_status msx_checkpoint_sha256(msx_checkpoint *c, char out[65]);

/** Metadata: string to string, kept in safetensors' `__metadata__` or in the zip record
 *  `medsamix.json`. The library writes keys that begin with "medsamix."; see docs/formats. */
MSX_API int64_t msx_checkpoint_meta_count(const msx_checkpoint *c);
MSX_API const char *msx_checkpoint_meta_key(const msx_checkpoint *c, int64_t i);
MSX_API const char *msx_checkpoint_meta(const msx_checkpoint *c, const char *key); /* NULL: none */
MSX_API msx_status msx_checkpoint_set_meta(msx_checkpoint *c, const char *key, const char *value);

/** Fold the LoRA weights of micro-sam into the layers they adapt: a checkpoint in memory without them,
 *  where attn.qkv.weight = qkv_proj.weight + alpha B A for q, k and v. Tensors of whole numbers are
 *  left out. @param alpha files do not store it; micro-sam's default is 1.
 *  @return MSX_E_UNSUPPORTED when there is none, or another kind (around an MLP, FacT); MSX_E_SHAPE,
 *  MSX_E_FORMAT (half of a pair), MSX_E_NOMEM, MSX_E_CANCELLED. */
MSX_API msx_status msx_checkpoint_fold_lora(msx_checkpoint **out, const msx_checkpoint *c,
                                            double alpha);

/** How tables of positions are made for another input size: PyTorch's interpolate, align_corners False,
 *  no antialiasing. It is about image_encoder.pos_embed; the tables of relative position of global
 *  blocks are always resampled linearly, as get_rel_pos of segment-anything does, and those of windows
 *  stay. */
typedef enum msx_positions {
    MSX_POSITIONS_BILINEAR = 1, /**< as SAMed and what followed it */
    MSX_POSITIONS_BICUBIC = 2   /**< as vision transformers usually */
} msx_positions;

/** A SAM for inputs of another size, in memory, float32: its tables of positions are resampled, all else is
 *  copied; tensors that are none of a SAM are left out. What the network learned at one size it does
 *  worse at another; fine-tuning there is what repairs it.
 *  @param image_size side of the input in pixels, a multiple of the patch, up to 16384.
 *  @return MSX_E_ARG; MSX_E_SHAPE when `c` is no SAM; MSX_E_UNSUPPORTED when the grid would be as wide as
 *  a window, so that shapes no longer tell the two kinds of blocks apart (msx_model_load_with()
 *  does that); MSX_E_NOMEM, MSX_E_CANCELLED. */
MSX_API msx_status msx_checkpoint_resize(msx_checkpoint **out, const msx_checkpoint *c,
                                         int64_t image_size, msx_positions how);

/** How to write. Zero-initialise and set struct_size; 0 and NULL choose the default. */
typedef struct msx_save_options {
    size_t struct_size;
    msx_dtype dtype;    /**< F32 (default), F16, BF16 or F64; rounded to nearest even */
    const char *scheme; /**< "official" (default) or "hf"; hf needs a complete SAM */
    const char
        *container; /**< "torch zip", "safetensors", "sharded safetensors", or NULL: by the ending
                                of the path, .pth/.pt, .safetensors or .safetensors.index.json */
    int64_t
        shard_bytes; /**< of data at most in one file of a sharded one, if a tensor is not larger;
                                default 5 * 10^9, as in transformers */
    int64_t
        draft; /**< 1: for trying out; saving does not wait for the disk, so that a loss of power may
                        take the file, and a merge does not hash its inputs (msx_merge_files()).  Since 0.1 */
} msx_save_options;

/** Write all floating tensors and the metadata. The file appears under its name only when complete; of a
 *  sharded one, X.safetensors.index.json and X-00001-of-0000N.safetensors beside it, the index last.
 *  A torch zip holds a plain OrderedDict of tensors: torch.load(weights_only=True) and the official
 *  sam_model_registry accept it. @param options NULL for the defaults.
 *  @return MSX_E_ARG, MSX_E_IO, MSX_E_UNSUPPORTED, MSX_E_NOMEM, MSX_E_CANCELLED. */
MSX_API msx_status msx_checkpoint_save(const msx_checkpoint *c, const char *path,
                                       const msx_save_options *options);

MSX_END_DECLS

#endif
