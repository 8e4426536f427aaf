/* SPDX-License-Identifier: Apache-2.0 */
/* Which official tensor is which layer of the graph. The architecture has been checked to be complete
 * and of the right shapes, so a name that is not found is a defect of this file. */
#include "model/weights.h"

#include <stdio.h>
#include <string.h>

typedef struct binder {
    msx_model *m;
    int64_t next; /* where the last search ended: names are asked for in about the official order */
    char missing[160];
} binder;

static int64_t find(const msx_arch *a, const char *name, int64_t from) {
    int64_t n = msx_arch_tensor_count(a);
    for (int64_t i = 0; i < n; i++)
        if (!strcmp(msx_arch_tensor_name(a, (from + i) % n), name)) return (from + i) % n;
    return -1;
}

const float *msx__model_tensor(const msx_model *m, const char *name) {
    int64_t i = find(m->arch, name, 0);
    return i < 0 ? NULL : m->weights + m->offsets[i];
}

/* PREFIX + suffix; `dims` receives the shape, may be NULL */
static const float *tensor(binder *b, const char *prefix, const char *suffix, int64_t *dims) {
    char name[160];
    int64_t unused[MSX_MAX_RANK];
    snprintf(name, sizeof name, "%s%s", prefix, suffix);
    int64_t i = find(b->m->arch, name, b->next);
    if (i < 0) {
        memcpy(b->missing, name, sizeof name);
        for (int a = 0; dims && a < MSX_MAX_RANK; a++) dims[a] = 1;
        return NULL;
    }
    b->next = i + 1;
    msx_arch_tensor_shape(b->m->arch, i, dims ? dims : unused);
    return b->m->weights + b->m->offsets[i];
}

/* (out, in) or (out, in, kh, kw) */
static msx__linear linear(binder *b, const char *prefix, bool bias) {
    int64_t dims[MSX_MAX_RANK];
    msx__linear l = {0};
    l.w = tensor(b, prefix, ".weight", dims);
    l.b = bias ? tensor(b, prefix, ".bias", NULL) : NULL;
    l.out = dims[0];
    l.in = dims[1] * dims[2] * dims[3];
    l.ldy = l.out;
    l.ldx = l.in;
    return l;
}

static msx__norm norm(binder *b, const char *prefix) {
    int64_t dims[MSX_MAX_RANK];
    msx__norm n = {0};
    n.w = tensor(b, prefix, ".weight", dims);
    n.b = tensor(b, prefix, ".bias", NULL);
    n.width = dims[0];
    return n;
}

static msx__attention attention(binder *b, const char *prefix) {
    char name[128];
    msx__attention a = {0};
    msx__linear *parts[] = {&a.q, &a.k, &a.v, &a.out};
    static const char *const names[] = {"q", "k", "v", "out"};
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%s.%s_proj", prefix, names[i]);
        *parts[i] = linear(b, name, true);
    }
    return a;
}

static msx__mlp mlp(binder *b, const char *prefix) {
    char name[128];
    msx__mlp result;
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "%s.layers.%d", prefix, i);
        result.layer[i] = linear(b, name, true);
    }
    return result;
}

/* Layers below a parent such as "image_encoder.blocks.3." */
static msx__linear linear_in(binder *b, const char *parent, const char *child) {
    char name[128];
    snprintf(name, sizeof name, "%s%s", parent, child);
    return linear(b, name, true);
}
static msx__norm norm_in(binder *b, const char *parent, const char *child) {
    char name[128];
    snprintf(name, sizeof name, "%s%s", parent, child);
    return norm(b, name);
}
static msx__attention attention_in(binder *b, const char *parent, const char *child) {
    char name[128];
    snprintf(name, sizeof name, "%s%s", parent, child);
    return attention(b, name);
}

static void bind_encoder(binder *b) {
    msx_model *m = b->m;
    char block[64];
    m->pos_embed = tensor(b, "image_encoder.pos_embed", "", NULL);
    m->patch_embed = linear(b, "image_encoder.patch_embed.proj", true);
    for (int64_t i = 0; i < m->depth; i++) {
        msx__block *l = m->blocks + i;
        int64_t dims[MSX_MAX_RANK];
        snprintf(block, sizeof block, "image_encoder.blocks.%" PRId64 ".", i);
        l->norm1 = norm_in(b, block, "norm1");
        l->rel_h = tensor(b, block, "attn.rel_pos_h", dims);
        l->rel_w = tensor(b, block, "attn.rel_pos_w", NULL);
        l->side = (dims[0] + 1) / 2;
        l->qkv = linear_in(b, block, "attn.qkv");
        l->proj = linear_in(b, block, "attn.proj");
        l->norm2 = norm_in(b, block, "norm2");
        l->lin1 = linear_in(b, block, "mlp.lin1");
        l->lin2 = linear_in(b, block, "mlp.lin2");
        l->lin1.ldy = l->lin2.ldx = m->hidden;
    }
    m->neck1 = linear(b, "image_encoder.neck.0", false);
    m->neck_norm1 = norm(b, "image_encoder.neck.1");
    m->neck2 = linear(b, "image_encoder.neck.2", false);
    m->neck_norm2 = norm(b, "image_encoder.neck.3");
}

static void bind_prompt_encoder(binder *b) {
    msx_model *m = b->m;
    static const char *const convolutions[] = {"0", "3", "6"};
    for (int i = 0; i < 3; i++)
        m->mask_in[i] = linear_in(b, "prompt_encoder.mask_downscaling.", convolutions[i]);
    m->mask_norm[0] = norm(b, "prompt_encoder.mask_downscaling.1");
    m->mask_norm[1] = norm(b, "prompt_encoder.mask_downscaling.4");
}

static void bind_decoder(binder *b) {
    msx_model *m = b->m;
    char name[128], layer[64];
    for (int64_t i = 0; i < m->layers; i++) {
        msx__layer *l = m->two_way + i;
        snprintf(layer, sizeof layer, "mask_decoder.transformer.layers.%" PRId64 ".", i);
        l->self = attention_in(b, layer, "self_attn");
        l->norm1 = norm_in(b, layer, "norm1");
        l->token_to_image = attention_in(b, layer, "cross_attn_token_to_image");
        l->norm2 = norm_in(b, layer, "norm2");
        l->lin1 = linear_in(b, layer, "mlp.lin1");
        l->lin2 = linear_in(b, layer, "mlp.lin2");
        l->norm3 = norm_in(b, layer, "norm3");
        l->norm4 = norm_in(b, layer, "norm4");
        l->image_to_token = attention_in(b, layer, "cross_attn_image_to_token");
    }
    m->final = attention(b, "mask_decoder.transformer.final_attn_token_to_image");
    m->final_norm = norm(b, "mask_decoder.transformer.norm_final_attn");
    m->upscale_norm = norm(b, "mask_decoder.output_upscaling.1");
    for (int i = 0; i < 2; i++) {
        /* (in, out, 2, 2); derive.c turns it into a linear layer with 4 * out rows */
        int64_t dims[MSX_MAX_RANK];
        const char *prefix =
            i ? "mask_decoder.output_upscaling.3" : "mask_decoder.output_upscaling.0";
        tensor(b, prefix, ".weight", dims);
        m->upscale[i] =
            (msx__linear){.out = 4 * dims[1], .in = dims[0], .ldy = 4 * dims[1], .ldx = dims[0]};
        m->upscale_bias[i] = tensor(b, prefix, ".bias", NULL);
    }
    for (int64_t i = 0; i < m->masks; i++) {
        snprintf(name, sizeof name, "mask_decoder.output_hypernetworks_mlps.%" PRId64, i);
        m->hyper[i] = mlp(b, name);
    }
    m->iou = mlp(b, "mask_decoder.iou_prediction_head");
}

msx_status msx__model_bind(msx_model *m) {
    m->blocks = msx__calloc(m->ctx, (size_t)m->depth, sizeof *m->blocks);
    m->two_way = msx__calloc(m->ctx, (size_t)m->layers, sizeof *m->two_way);
    m->hyper = msx__calloc(m->ctx, (size_t)m->masks, sizeof *m->hyper);
    if (!m->blocks || !m->two_way || !m->hyper) return MSX_E_NOMEM;
    binder b = {.m = m};
    bind_encoder(&b);
    bind_prompt_encoder(&b);
    bind_decoder(&b);
    if (*b.missing)
        return msx__fail(m->ctx, MSX_E_INTERNAL, "the architecture has no tensor %s", b.missing);
    return MSX_OK;
}
