/* SPDX-License-Identifier: Apache-2.0 */
/* Inferring the architecture of a SAM: sizes from a few tensors, then every tensor against the
 * table. */
#include "checkpoint/arch_internal.h"
#include "checkpoint/positions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 8 }; /* of the decoder: not visible in any shape, the same in every SAM */

struct msx_arch {
    msx_ctx *ctx;
    msx__sizes sizes;
    int64_t window, extra, parameters;
    msx__arch_tensor *tensors;
    int64_t n;
};

/* ---- other families ------------------------------------------------------------------------ */

static const struct {
    const char *mark; /* part of a name that only this family has */
    const char *what;
} families[] = {
    {"image_encoder.patch_embed.seq.", "a MobileSAM (vit_t), whose image encoder is a TinyViT"},
    {"image_encoder.trunk.", "a SAM 2, whose image encoder is a Hiera"},
    {"sam_mask_decoder.", "a SAM 2"},
    {"memory_attention.", "a SAM 2"},
    {"vision_encoder.backbone.", "a SAM 2 or SAM 3 of transformers"},
    {".Adapter.", "a SAM-Med2D, whose blocks have adapters; merging would ignore them"},
    {".w_a_linear_", "a SAM with LoRA weights; fold them in first (medsamix convert --fold-lora)"},
    {".qkv_proj.", "a SAM with LoRA weights; fold them in first (medsamix convert --fold-lora)"},
    {".mlp.mlp_layer.",
     "a SAM with LoRA weights; fold them in first (medsamix convert --fold-lora)"},
    {"image_encoder.backbone.", "an EfficientViT-SAM"},
};

static msx_status refuse_families(msx_ctx *ctx, const msx_checkpoint *c) {
    for (size_t k = 0; k < sizeof families / sizeof *families; k++)
        for (int64_t i = 0; i < c->n; i++)
            if (strstr(c->tensors[i].name, families[k].mark))
                return msx__fail(ctx, MSX_E_UNSUPPORTED,
                                 "%s: tensor '%s': this is %s; only SAM (ViT) is handled",
                                 msx__checkpoint_label(c), c->tensors[i].name, families[k].what);
    return MSX_OK;
}

/* ---- sizes --------------------------------------------------------------------------------- */

/* Where each size is read; the first axis of `rank` extents that is found. */
static const struct {
    msx__size size;
    const char *name;
    int rank, axis;
} sources[] = {
    {MSX__S, "image_encoder.pos_embed", 4, 1},
    {MSX__D, "image_encoder.pos_embed", 4, 3},
    {MSX__P, "image_encoder.patch_embed.proj.weight", 4, 2},
    {MSX__HEAD, "image_encoder.blocks.0.attn.rel_pos_h", 2, 1},
    {MSX__MLP, "image_encoder.blocks.0.mlp.lin1.weight", 2, 0},
    {MSX__C, "image_encoder.neck.0.weight", 4, 0},
    {MSX__K, "prompt_encoder.mask_downscaling.3.weight", 4, 0},
    {MSX__INNER, "mask_decoder.transformer.final_attn_token_to_image.q_proj.weight", 2, 0},
    {MSX__DEC_MLP, "mask_decoder.transformer.layers.0.mlp.lin1.weight", 2, 0},
    {MSX__TOKENS, "mask_decoder.mask_tokens.weight", 2, 0},
};

/* Of those that can be zero in a complete list, for messages. */
static const char *const size_names[MSX__SIZES] = {
    [MSX__D] = "encoder width",
    [MSX__MLP] = "encoder MLP width",
    [MSX__HEAD] = "head size",
    [MSX__S] = "grid side",
    [MSX__P] = "patch side",
    [MSX__C] = "decoder width",
    [MSX__INNER] = "attention width",
    [MSX__DEC_MLP] = "decoder MLP width",
    [MSX__TOKENS] = "number of mask tokens",
    [MSX__K] = "number of mask channels",
    [MSX__DEPTH] = "number of encoder blocks",
    [MSX__LAYERS] = "number of decoder layers",
};

static int64_t extent(const msx_checkpoint *c, const char *name, int rank, int axis) {
    int64_t i = msx_checkpoint_find(c, name);
    return i >= 0 && c->tensors[i].rank == rank ? c->tensors[i].dims[axis] : 0;
}

/* 1 + the largest N in names "PREFIX<N>."; numbers that the file is too small for do not count. */
static int64_t count_numbered(const msx_checkpoint *c, const char *prefix) {
    int64_t count = 0;
    size_t length = strlen(prefix);
    for (int64_t i = 0; i < c->n; i++) {
        const char *name = c->tensors[i].name;
        if (strncmp(name, prefix, length) != 0) continue;
        char *end;
        long long number = strtoll(name + length, &end, 10);
        if (*end == '.' && number >= count && number <= c->n / 4) count = number + 1;
    }
    return count;
}

static int64_t divided(int64_t value, int64_t by) {
    return value % by ? 0 : value / by;
}

static msx_status find_sizes(msx_ctx *ctx, const msx_checkpoint *c, msx__sizes *s) {
    int64_t *v = s->value;
    v[MSX__1] = 1;
    v[MSX__2] = 2;
    v[MSX__3] = 3;
    v[MSX__POINTS] = 4;
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++)
        v[sources[i].size] = extent(c, sources[i].name, sources[i].rank, sources[i].axis);
    if (v[MSX__TOKENS] > c->n) v[MSX__TOKENS] = 0;
    v[MSX__3D] = v[MSX__D] > INT64_MAX / 3 ? 0 : 3 * v[MSX__D];
    v[MSX__C2] = divided(v[MSX__C], 2);
    v[MSX__C4] = divided(v[MSX__C], 4);
    v[MSX__C8] = divided(v[MSX__C], 8);
    v[MSX__K4] = divided(v[MSX__K], 4);
    v[MSX__DEPTH] = count_numbered(c, "image_encoder.blocks.");
    v[MSX__LAYERS] = count_numbered(c, "mask_decoder.transformer.layers.");
    s->rel = msx__alloc(ctx, (size_t)v[MSX__DEPTH], sizeof *s->rel);
    if (!s->rel) return MSX_E_NOMEM;
    for (int64_t b = 0; b < v[MSX__DEPTH]; b++) {
        char name[80];
        snprintf(name, sizeof name, "image_encoder.blocks.%" PRId64 ".attn.rel_pos_h", b);
        s->rel[b] = extent(c, name, 2, 0);
    }
    return MSX_OK;
}

/* ---- checking ------------------------------------------------------------------------------ */

/* Names of one kind of trouble: the first few and how many. */
typedef struct trouble {
    msx__buffer text;
    int64_t count;
} trouble;

enum { NAMED = 3 };

static void add_trouble(trouble *t, const char *format, const char *name, const char *detail) {
    if (t->count++ >= NAMED) return;
    if (t->count > 1) msx__buffer_text(&t->text, ", ");
    msx__buffer_printf(&t->text, format, name, detail);
}

static bool shape_fits(const msx__tensor *t, const msx__arch_tensor *expected) {
    if (t->rank != expected->rank) return false;
    for (int a = 0; a < t->rank; a++)
        if (expected->dims[a] && t->dims[a] != expected->dims[a]) return false;
    return true;
}

static void compare_lists(msx_arch *a, const msx_checkpoint *c, bool *used, trouble *missing,
                          trouble *wrong, trouble *extra) {
    for (int64_t i = 0; i < a->n; i++) {
        const msx__arch_tensor *expected = a->tensors + i;
        int64_t found = msx_checkpoint_find(c, expected->name);
        if (found < 0) {
            add_trouble(missing, "%s%s", expected->name, "");
            continue;
        }
        const msx__tensor *t = c->tensors + found;
        used[found] = true;
        a->parameters += t->elements;
        if (shape_fits(t, expected)) continue;
        char got[200], want[200], detail[440];
        snprintf(detail, sizeof detail, "%s instead of %s",
                 msx__shape_text(t->rank, t->dims, got, sizeof got),
                 msx__shape_text(expected->rank, expected->dims, want, sizeof want));
        add_trouble(wrong, "%s %s", t->name, detail);
    }
    for (int64_t i = 0; i < c->n; i++)
        if (!used[i]) add_trouble(extra, "%s%s", c->tensors[i].name, "");
}

static void tell_trouble(msx__buffer *b, const char *what, const trouble *t) {
    if (t->count == 0) return;
    msx__buffer_printf(b, "%s%" PRId64 " %s: %s%s", b->length ? "; " : "", t->count, what,
                       t->text.data ? t->text.data : "", t->count > NAMED ? ", ..." : "");
}

static msx_status check_tensors(msx_arch *a, const msx_checkpoint *c) {
    bool *used = msx__calloc(a->ctx, (size_t)c->n, sizeof *used);
    if (!used) return MSX_E_NOMEM;
    trouble missing = {0}, wrong = {0}, extra = {0};
    msx__buffer all;
    msx__buffer_init(&missing.text, a->ctx);
    msx__buffer_init(&wrong.text, a->ctx);
    msx__buffer_init(&extra.text, a->ctx);
    msx__buffer_init(&all, a->ctx);
    compare_lists(a, c, used, &missing, &wrong, &extra);
    a->extra = extra.count;
    msx_status status = MSX_OK;
    if (missing.count || wrong.count) {
        tell_trouble(&all, "missing", &missing);
        tell_trouble(&all, "of another shape", &wrong);
        tell_trouble(&all, "unexpected", &extra);
        bool failed = missing.text.failed || wrong.text.failed || extra.text.failed || all.failed;
        status = failed ? msx__nomem(a->ctx, 0)
                        : msx__fail(a->ctx, MSX_E_SHAPE, "%s: not a complete SAM: %s",
                                    msx__checkpoint_label(c), all.data);
    }
    msx__buffer_free(&missing.text);
    msx__buffer_free(&wrong.text);
    msx__buffer_free(&extra.text);
    msx__buffer_free(&all);
    msx__free(a->ctx, used);
    return status;
}

/* What the shapes alone do not say: sizes that must divide, windows that must agree. */
static msx_status check_sizes(msx_arch *a, const msx_checkpoint *c) {
    const int64_t *v = a->sizes.value;
    const char *label = msx__checkpoint_label(c);
    if (v[MSX__C] % HEADS || v[MSX__K] % 4)
        return msx__fail(a->ctx, MSX_E_SHAPE,
                         "%s: decoder width %" PRId64 " must be a multiple of %d, mask channels "
                         "%" PRId64 " one of 4",
                         label, v[MSX__C], HEADS, v[MSX__K]);
    for (int i = MSX__D; i < MSX__SIZES; i++)
        if (size_names[i] && v[i] < 1)
            return msx__fail(a->ctx, MSX_E_SHAPE, "%s: not a complete SAM: its %s is 0", label,
                             size_names[i]);
    if (v[MSX__D] % v[MSX__HEAD])
        return msx__fail(a->ctx, MSX_E_SHAPE,
                         "%s: width %" PRId64 " is not a multiple of the head size %" PRId64, label,
                         v[MSX__D], v[MSX__HEAD]);
    if (v[MSX__INNER] % HEADS || v[MSX__C] % v[MSX__INNER])
        return msx__fail(a->ctx, MSX_E_SHAPE,
                         "%s: decoder widths %" PRId64 " and %" PRId64
                         " do not fit %d heads and a whole ratio",
                         label, v[MSX__C], v[MSX__INNER], HEADS);
    for (int64_t b = 0; b < v[MSX__DEPTH]; b++) {
        int64_t rows = a->sizes.rel[b], window = (rows + 1) / 2;
        if (rows % 2 == 0 || rows < 1)
            return msx__fail(a->ctx, MSX_E_SHAPE,
                             "%s: image_encoder.blocks.%" PRId64 ".attn.rel_pos_h has %" PRId64
                             " rows; an odd number is expected",
                             label, b, rows);
        if (window == v[MSX__S]) continue;
        if (a->window && a->window != window)
            return msx__fail(a->ctx, MSX_E_SHAPE,
                             "%s: block %" PRId64 " has windows of %" PRId64
                             " tokens, an earlier one of %" PRId64
                             "; was it trained with another image size?",
                             label, b, window, a->window);
        a->window = window;
    }
    return MSX_OK;
}

msx_status msx_arch_infer(msx_arch **out, msx_ctx *ctx, const msx_checkpoint *c) {
    if (!out || !ctx || !c)
        return ctx ? msx__fail(ctx, MSX_E_ARG, "out or checkpoint is NULL") : MSX_E_ARG;
    *out = NULL;
    MSX_TRY(refuse_families(ctx, c));
    if (!strcmp(c->scheme, "other"))
        return msx__fail(ctx, MSX_E_SHAPE,
                         "%s: not a SAM: none of its %" PRId64 " tensors has a SAM's name%s%s",
                         msx__checkpoint_label(c), c->n, c->n ? "; the first is " : "",
                         c->n ? c->tensors[0].name : "");
    msx_arch *a = msx__calloc(ctx, 1, sizeof *a);
    if (!a) return MSX_E_NOMEM;
    a->ctx = ctx;
    msx_status status = find_sizes(ctx, c, &a->sizes);
    if (status == MSX_OK) status = msx__arch_list(ctx, &a->sizes, &a->tensors, &a->n);
    if (status == MSX_OK) status = check_tensors(a, c);
    if (status == MSX_OK) status = check_sizes(a, c);
    if (status < 0) {
        msx_arch_free(a);
        return status;
    }
    *out = a;
    return MSX_OK;
}

/* ---- another input size --------------------------------------------------------------------- */

enum { MOST_PIXELS = 1 << 14 };

static msx_status resize(msx_arch *to, const msx_arch *a, int64_t grid) {
    int64_t depth = a->sizes.value[MSX__DEPTH];
    to->sizes = a->sizes;
    to->sizes.value[MSX__S] = grid;
    to->sizes.rel = msx__alloc(to->ctx, (size_t)depth, sizeof *to->sizes.rel);
    if (!to->sizes.rel) return MSX_E_NOMEM;
    for (int64_t b = 0; b < depth; b++)
        to->sizes.rel[b] = msx_arch_is_global(a, b) ? 2 * grid - 1 : a->sizes.rel[b];
    MSX_TRY(msx__arch_list(to->ctx, &to->sizes, &to->tensors, &to->n));
    for (int64_t i = 0; i < to->n; i++) {
        int64_t elements;
        if (!msx__product(to->tensors[i].dims, to->tensors[i].rank, &elements) ||
            !msx__add(to->parameters, elements, &to->parameters))
            return msx__fail(to->ctx, MSX_E_ARG, "a grid of %" PRId64 " tokens is too large", grid);
    }
    return MSX_OK;
}

msx_status msx__arch_resize(msx_arch **out, const msx_arch *a, int64_t image_size) {
    int64_t patch = a->sizes.value[MSX__P];
    *out = NULL;
    if (image_size < 1 || image_size % patch || image_size > MOST_PIXELS)
        return msx__fail(a->ctx, MSX_E_ARG,
                         "an input of %" PRId64 " pixels: give a multiple of the patch of %" PRId64
                         " pixels, up to %d",
                         image_size, patch, (int)MOST_PIXELS);
    msx_arch *to = msx__calloc(a->ctx, 1, sizeof *to);
    if (!to) return MSX_E_NOMEM;
    to->ctx = a->ctx;
    to->window = a->window;
    to->extra = a->extra;
    msx_status status = resize(to, a, image_size / patch);
    if (status < 0) {
        msx_arch_free(to);
        return status;
    }
    *out = to;
    return MSX_OK;
}

void msx_arch_free(msx_arch *a) {
    if (!a) return;
    msx_ctx *ctx = a->ctx;
    msx__arch_list_free(ctx, a->tensors, a->n);
    msx__free(ctx, a->sizes.rel);
    msx__free(ctx, a);
}

/* ---- asking -------------------------------------------------------------------------------- */

const char *msx_arch_name(const msx_arch *a) {
    static const struct {
        const char *name;
        int64_t width, depth, heads;
    } known[] = {{"vit_b", 768, 12, 12}, {"vit_l", 1024, 24, 16}, {"vit_h", 1280, 32, 16}};
    for (size_t i = 0; a && i < sizeof known / sizeof *known; i++)
        if (msx_arch_get(a, MSX_ARCH_WIDTH) == known[i].width &&
            msx_arch_get(a, MSX_ARCH_DEPTH) == known[i].depth &&
            msx_arch_get(a, MSX_ARCH_HEADS) == known[i].heads &&
            msx_arch_get(a, MSX_ARCH_IMAGE_SIZE) == 1024 && msx_arch_get(a, MSX_ARCH_PATCH) == 16 &&
            msx_arch_get(a, MSX_ARCH_DECODER_WIDTH) == 256)
            return known[i].name;
    return "vit";
}

int64_t msx_arch_get(const msx_arch *a, msx_arch_key key) {
    if (!a) return -1;
    const int64_t *v = a->sizes.value;
    switch (key) {
    case MSX_ARCH_IMAGE_SIZE:
        return v[MSX__S] * v[MSX__P];
    case MSX_ARCH_PATCH:
        return v[MSX__P];
    case MSX_ARCH_GRID:
        return v[MSX__S];
    case MSX_ARCH_WIDTH:
        return v[MSX__D];
    case MSX_ARCH_DEPTH:
        return v[MSX__DEPTH];
    case MSX_ARCH_HEADS:
        return v[MSX__D] / v[MSX__HEAD];
    case MSX_ARCH_WINDOW:
        return a->window;
    case MSX_ARCH_MLP:
        return v[MSX__MLP];
    case MSX_ARCH_DECODER_WIDTH:
        return v[MSX__C];
    case MSX_ARCH_DECODER_MLP:
        return v[MSX__DEC_MLP];
    case MSX_ARCH_DECODER_LAYERS:
        return v[MSX__LAYERS];
    case MSX_ARCH_MASK_TOKENS:
        return v[MSX__TOKENS];
    case MSX_ARCH_MASK_CHANNELS:
        return v[MSX__K];
    case MSX_ARCH_ATTENTION_DOWNSAMPLE:
        return v[MSX__C] / v[MSX__INNER];
    case MSX_ARCH_PARAMETERS:
        return a->parameters;
    case MSX_ARCH_EXTRA_TENSORS:
        return a->extra;
    }
    return -1;
}

bool msx_arch_is_global(const msx_arch *a, int64_t block) {
    return a && block >= 0 && block < a->sizes.value[MSX__DEPTH] &&
           (a->sizes.rel[block] + 1) / 2 == a->sizes.value[MSX__S];
}

int64_t msx_arch_tensor_count(const msx_arch *a) {
    return a ? a->n : 0;
}

const char *msx_arch_tensor_name(const msx_arch *a, int64_t i) {
    return a && i >= 0 && i < a->n ? a->tensors[i].name : NULL;
}

int msx_arch_tensor_shape(const msx_arch *a, int64_t i, int64_t dims[MSX_MAX_RANK]) {
    if (!a || !dims || i < 0 || i >= a->n) return -1;
    memcpy(dims, a->tensors[i].dims, sizeof a->tensors[i].dims);
    return a->tensors[i].rank;
}

msx_status msx_arch_compare(msx_ctx *ctx, const msx_arch *a, const char *name_a, const msx_arch *b,
                            const char *name_b) {
    if (!ctx || !a || !b)
        return ctx ? msx__fail(ctx, MSX_E_ARG, "an architecture is NULL") : MSX_E_ARG;
    if (!name_a) name_a = "the first";
    if (!name_b) name_b = "the second";
    int64_t n = a->n < b->n ? a->n : b->n;
    for (int64_t i = 0; i < n; i++) {
        const msx__arch_tensor *x = a->tensors + i, *y = b->tensors + i;
        if (strcmp(x->name, y->name))
            return msx__fail(ctx, MSX_E_SHAPE,
                             "%s and %s are different networks: where one has %s, the other has %s",
                             name_a, name_b, x->name, y->name);
        if (x->rank == y->rank && !memcmp(x->dims, y->dims, sizeof x->dims)) continue;
        char left[200], right[200];
        return msx__fail(ctx, MSX_E_SHAPE,
                         "%s and %s are different networks: %s is %s in one and %s in the other",
                         name_a, name_b, x->name,
                         msx__shape_text(x->rank, x->dims, left, sizeof left),
                         msx__shape_text(y->rank, y->dims, right, sizeof right));
    }
    if (a->n != b->n)
        return msx__fail(ctx, MSX_E_SHAPE,
                         "%s and %s are different networks: %" PRId64 " and %" PRId64 " tensors",
                         name_a, name_b, a->n, b->n);
    return MSX_OK;
}
