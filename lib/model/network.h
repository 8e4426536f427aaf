/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The SAM network on a device: its weights, what is derived from them, and the parts of its graph.
 *
 * Letters of all comments: B images, P prompts, g grid side, N = g*g image tokens, D encoder width,
 * C decoder width, I inner width of the decoder's cross attentions, T tokens of a prompt (1 IoU + M
 * mask tokens + its sparse ones), M mask tokens. Maps are channels last: (N, C).
 */
#ifndef MSX_MODEL_NETWORK_H
#define MSX_MODEL_NETWORK_H

#include "model/seats.h"

/* y = x W^T + b; w (out, in), b (out) or NULL. A convolution is one on its patches. */
typedef struct msx__linear {
    const float *w, *b;
    int64_t out, in;
    int64_t ldy, ldx;      /* distances of the rows of y and x: out and in, but for hidden layers */
    msxk_low *low, *low_b; /* w and b in the device's low format; NULL where they are not used */
} msx__linear;

typedef struct msx__norm {
    const float *w, *b;
    int64_t width;
} msx__norm;

typedef struct msx__block {
    msx__norm norm1, norm2;
    msx__linear qkv, proj, lin1, lin2;
    const float *rel_h, *rel_w; /* (2 side - 1, D / heads) */
    int64_t side;               /* of the window; g: global */
} msx__block;

typedef struct msx__attention {
    msx__linear q, k, v, out;
    /* Made at load, as they are constant. (N, I): what the dense position encoding and the bias add to the
     * projection of the image tokens (k of token to image, q of image to token). (C): the bias of `out`
     * with that of the values projected, for sweeps. NULL where the device's way of decoding has no use for
     * them. */
    float *position, *absorbed_bias;
} msx__attention;

typedef struct msx__layer {
    msx__attention self, token_to_image, image_to_token;
    msx__norm norm1, norm2, norm3, norm4;
    msx__linear lin1, lin2;
} msx__layer;

typedef struct msx__mlp {
    msx__linear layer[3];
} msx__mlp;

/* Sees intermediate results: device memory, valid during the call. For tests. */
typedef void (*msx__tap_fn)(const char *stage, int64_t index, const float *data, int64_t floats,
                            void *payload);

struct msx_model {
    msx_ctx *ctx;
    msx_device *device;
    msx_arch *arch;
    msx_arch *source;        /* of checkpoints for another input size; NULL where there is none */
    msx_positions positions; /* how tables of positions are resampled from it */
    msx_preset preset;

    int64_t image_size, patch, grid, tokens; /* tokens = N */
    int64_t width, depth, heads, mlp;        /* D */
    int64_t hidden;                          /* distance of rows of the encoder's hidden layers */
    int64_t channels, inner, decoder_mlp;    /* C, I */
    int64_t layers, masks;                   /* M */

    /* the official tensors, in the architecture's order, on the device */
    float *weights;
    int64_t *offsets; /* of each tensor in `weights`, in floats */

    /* image encoder */
    msx__linear patch_embed, neck1, neck2; /* neck2: columns (ky, kx, c), derived */
    const float *pos_embed;                /* (N, D) */
    msx__norm neck_norm1, neck_norm2;
    msx__block *blocks;

    /* prompt encoder; `host` is memory of the host */
    float *host;
    float *gaussian;        /* host (2, C/2) */
    float *point_embed[4];  /* host (C): outside, inside, first and second corner */
    float *not_a_point;     /* host (C) */
    float *output_tokens;   /* host (1 + M, C): IoU token, mask tokens */
    float *no_mask;         /* device (N, C), derived */
    float *dense_pe;        /* device (N, C), derived */
    msx__linear mask_in[3]; /* mask_downscaling.0, .3, .6 */
    msx__norm mask_norm[2];

    /* mask decoder */
    msx__layer *two_way;
    msx__attention final;
    msx__norm final_norm, upscale_norm;
    msx__linear upscale[2]; /* rows (ky, kx, c), no bias, derived */
    const float *upscale_bias[2];
    msx__mlp *hyper; /* M */
    msx__mlp iou;

    float *derived; /* device memory of everything called derived */
    msxk_low *low;  /* device memory of the encoder's weights in the low format; NULL in fp32 */

    /* In what a call works with, a copy of the model as it is seen from a seat: `device` is the
     * seat's. NULL in the model itself. */
    msx__seat *seat;
    int64_t shared_image; /* of the embedding: whose keys the seat's `shared` holds; -1: none */

    uint64_t serial; /* of this model: no other one of the process has or had it */
    uint64_t stamp;  /* of these weights; likewise */
    char encoder_hash[MSX__SHA256_HEX]; /* "" until embedding_file.c needs it */

    msx__tap_fn tap; /* may be NULL */
    void *tap_payload;
};

/* The model as it is seen from a seat. */
static inline msx_model msx__model_at(const msx_model *m, msx__seat *seat) {
    msx_model view = *m;
    view.device = &seat->device;
    view.seat = seat;
    view.shared_image = -1;
    return view;
}

/* Elements of official tensor `i`, and its place on the device; weights.c. */
int64_t msx__tensor_floats(const msx_model *m, int64_t i);
float *msx__tensor_place(const msx_model *m, int64_t i);
/* Weights were written to their places: those whose byte in `changed` is set (all for NULL). What is made
 * from them is made anew. */
msx_status msx__model_renewed(msx_model *m, const uint8_t *changed);

/* ---- steps.c ---------------------------------------------------------------------------------------- */

/* y (batch, rows, out) = act(x (batch, rows, in) W^T + b) + residual (batch or shared, rows, out) */
msx_status msx__linear_run(msx_model *m, const msx__linear *l, float *y, const float *x,
                           int64_t batch, int64_t rows, int act);
msx_status msx__linear_add(msx_model *m, const msx__linear *l, float *y, const float *x,
                           int64_t batch, int64_t rows, const float *residual, bool shared);
msx_status msx__norm_run(msx_model *m, const msx__norm *n, float *y, const float *x, int64_t rows,
                         float eps, int act);

/* The same with results that feed products: of the model's low format where it has one, float32
 * otherwise. x of msx__linear_*_mixed is such a result. */
msx_status msx__linear_run_mixed(msx_model *m, const msx__linear *l, void *y, const void *x,
                                 int64_t batch, int64_t rows, int act);
/* y (float32) = x W^T + b + residual, which may be NULL */
msx_status msx__linear_add_mixed(msx_model *m, const msx__linear *l, float *y, const void *x,
                                 int64_t batch, int64_t rows, const float *residual);
msx_status msx__norm_run_mixed(msx_model *m, const msx__norm *n, void *y, const float *x,
                               int64_t rows, float eps);

/* Do `body`, which only runs ops on memory whose addresses `key` determines, or start a recording of it.
 * Keys of a model: what it does, its working memory, and sizes. */
typedef struct msx__repeat_key {
    uint64_t model; /* set here */
    const void *memory;
    int64_t what, sizes[2];
} msx__repeat_key;
enum { MSX__REPEAT_ENCODE = 1, MSX__REPEAT_DECODE = 2 };
typedef msx_status (*msx__body_fn)(msx_model *m, void *payload);
msx_status msx__repeat(msx_model *m, msx__repeat_key key, msx__body_fn body, void *payload);

/* At least `floats` floats of the seat's working memory, valid until the next call. */
msx_status msx__model_work(msx_model *m, int64_t floats, float **out);
/* The same of its shared memory, which lasts for the call. */
msx_status msx__model_shared(msx_model *m, int64_t floats, float **out);

/* Cut the next `floats` floats, aligned for any device, off `*memory`. */
float *msx__carve(float **memory, int64_t floats);
/* What msx__carve takes for them. */
int64_t msx__carved(int64_t floats);

void msx__tap(const msx_model *m, const char *stage, int64_t index, const float *data,
              int64_t floats);

/* Encoder norms and all maps' norms; norms of the decoder's transformer. */
#define MSX__ENCODER_EPS 1e-6f
#define MSX__DECODER_EPS 1e-5f

/* ---- encoder.c -------------------------------------------------------------------------------------- */

/* Working memory for one image, in bytes, and how many images are encoded in one go. */
int64_t msx__encode_bytes(const msx_model *m);
int64_t msx__encode_batch(const msx_model *m);
/* Where the inputs of a batch come from: `host` (B,3,S,S) in host memory, or, where that is NULL,
 * `fill` writes them into the device's memory. */
typedef struct msx__input {
    const float *host;
    msx_status (*fill)(msx_model *m, float *input, int64_t batch, void *payload);
    void *payload;
} msx__input;
/* Where in the encoder to begin, and what to hand out on the way. Boundary k, 0 .. depth, is x (B,N,D) as it
 * enters block k, or the neck for k = depth. What follows from a boundary has the bits of a run from the
 * input. */
typedef struct msx__passage {
    const float *x; /* device (B,N,D) at boundary `first`; NULL: from the input */
    int64_t first;
    /* depth + 1 places (B,N,D) on the device, NULL where a boundary is not wanted or was passed already;
     * NULL: none is wanted */
    float *const *keep;
} msx__passage;
/* -> out (B,N,C) on the device; B up to msx__encode_batch(). `p` NULL: from the input to the end; `in` is not
 * read where that begins later. */
msx_status msx__encode(msx_model *m, const msx__input *in, const msx__passage *p, int64_t batch,
                       float *out);

/* ---- prompt_encoder.c, decoder.c ------------------------------------------------------------------- */

/* Prompts of one chunk: all with the same number of tokens, all with or all without a mask. */
typedef struct msx__chunk {
    int64_t prompts, tokens;    /* P, T */
    bool masked;                /* with masks */
    float *host_tokens;         /* host (P, T, C), filled by the caller */
    const int64_t *image;       /* host (P): which map of the embedding; one alone for sweeps */
    const float *const *mask;   /* host P pointers to (4g, 4g), where masked */
    float *token, *key, *a, *b; /* device: (P,T,C), (P,N,C), two areas (P,N,region) */
    float *logits, *iou;        /* (P,M,4g,4g), (P,M) */
    float *small, *absorbed;    /* token-sized intermediates, and those of sweeps */
    /* for sweeps: the first layer's keys and their projections; of every prompt where masked, else shared */
    const float *first_key, *first_k, *first_v;
} msx__chunk;

/* Whether the device decodes in sweeps over the image's tokens (decoder_sweeps.c); chunks without masks are
 * on one image then. Else it is given separate steps (decoder_steps.c). */
bool msx__sweeps(const msx_model *m);

/* Floats of device memory that a chunk of P prompts of T tokens needs; the pointers in it. */
int64_t msx__chunk_floats(const msx_model *m, int64_t prompts, int64_t tokens, bool masked);
void msx__chunk_place(const msx_model *m, msx__chunk *c, float *memory);

/* Positional encoding (C) of a point in the unit square. */
void msx__position(const msx_model *m, double x, double y, float *out);

/* Number of sparse tokens of a prompt, and its tokens (T, C): output tokens, points, corners; sx and
 * sy take coordinates of box (NULL: none) and points to the frame of the network's input. */
typedef struct msx__point {
    double x, y;
    int label;
} msx__point;
int64_t msx__sparse_count(bool has_box, int64_t n_points);
void msx__prompt_tokens(const msx_model *m, const double *box, const msx__point *points,
                        int64_t n_points, double sx, double sy, float *out);

/* Tokens to the device, and key = embedding[image] + dense prompt; for sweeps first_key, _k and _v. */
msx_status msx__prompt_encode(msx_model *m, msx__chunk *c, const float *embedding);
/* Tokens and keys to logits and iou. */
msx_status msx__decode(msx_model *m, msx__chunk *c);

#endif
