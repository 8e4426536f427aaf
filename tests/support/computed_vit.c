/* SPDX-License-Identifier: Apache-2.0 */
#include "support/computed_vit.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The first failure stays; nothing is added after it. */
typedef struct computed_vit {
    msx_checkpoint *c;
    int64_t width, head;
    msx_status status;
} computed_vit;

static bool name_has(const char *name, const char *part) {
    return strstr(name, part) != NULL;
}

static bool name_ends(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* Format into `name`, which is long enough for every official name. */
enum { NAME = 160 };
static void print_name(char name[NAME], const char *format, ...) MSX_PRINTF(2, 3);
static void print_name(char name[NAME], const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(name, NAME, format, args);
    va_end(args);
}

/* value = offset + factor * r, r uniform in +-sqrt(3) */
static void value_rule(const char *name, int rank, const int64_t *dims, double *offset,
                       double *factor) {
    *offset = 0;
    *factor = 1;
    if (name_has(name, "gaussian_matrix")) return;
    if (rank == 1) {
        *offset = name_ends(name, "weight") ? 1 : 0;
        *factor = 0.2;
    } else if (name_has(name, "rel_pos_")) {
        *factor = 0.3;
    } else if (name_has(name, "pos_embed")) {
        *factor = 0.5;
    } else if (!name_has(name, "point_embeddings.") && !name_has(name, "not_a_point_embed") &&
               !name_has(name, "no_mask_embed") && !name_has(name, "iou_token") &&
               !name_has(name, "mask_tokens")) {
        int64_t fan = 1;
        for (int a = 1; a < rank; a++) fan *= dims[a];
        if (name_has(name, "output_upscaling.0.") || name_has(name, "output_upscaling.3."))
            fan = dims[0];
        *factor = 1.5 / sqrt((double)fan);
    }
}

static void fill_tensor(const char *name, int rank, const int64_t *dims, float *out) {
    uint64_t state = 0xcbf29ce484222325u;
    for (const char *s = name; *s; s++) state = (state ^ (uint8_t)*s) * 0x100000001b3u;
    double offset, factor;
    int64_t n = 1;
    for (int a = 0; a < rank; a++) n *= dims[a];
    value_rule(name, rank, dims, &offset, &factor);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; i++) {
        uint64_t z = state + ((uint64_t)i + 1) * 0x9E3779B97F4A7C15u; /* the i-th state at once */
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        double r = (2 * ((double)(z >> 40) / 16777216.0) - 1) * sqrt(3.0);
        out[i] = (float)(offset + factor * r);
    }
}

static void add_tensor(computed_vit *v, const char *name, int rank, int64_t d0, int64_t d1,
                       int64_t d2, int64_t d3) {
    const int64_t dims[4] = {d0, d1, d2, d3};
    if (v->status == MSX_OK) v->status = msx_checkpoint_add(v->c, name, rank, dims, NULL);
    if (v->status == MSX_OK)
        fill_tensor(name, rank, dims, msx_checkpoint_data(v->c, msx_checkpoint_count(v->c) - 1));
}

/* PREFIX.weight (rank extents) and PREFIX.bias (d0; d1 for transposed convolutions) */
static void add_pair(computed_vit *v, const char *prefix, int rank, int64_t d0, int64_t d1,
                     int64_t d2, int64_t d3) {
    char name[NAME];
    print_name(name, "%s.weight", prefix);
    add_tensor(v, name, rank, d0, d1, d2, d3);
    print_name(name, "%s.bias", prefix);
    bool transposed = rank == 4 && name_has(prefix, "output_upscaling");
    add_tensor(v, name, 1, transposed ? d1 : d0, 1, 1, 1);
}

static void add_encoder(computed_vit *v, int64_t depth, int64_t global_every) {
    int64_t d = v->width;
    char name[NAME];
    add_tensor(v, "image_encoder.pos_embed", 4, 1, 64, 64, d);
    add_pair(v, "image_encoder.patch_embed.proj", 4, d, 3, 16, 16);
    for (int64_t i = 0; i < depth; i++) {
        const struct {
            const char *name;
            int64_t out, in; /* in 0: a norm */
        } layers[] = {{"norm1", d, 0}, {"attn.qkv", 3 * d, d}, {"attn.proj", d, d},
                      {"norm2", d, 0}, {"mlp.lin1", 4 * d, d}, {"mlp.lin2", d, 4 * d}};
        int64_t rows = i % global_every == global_every - 1 ? 127 : 27;
        for (size_t l = 0; l < sizeof layers / sizeof *layers; l++) {
            print_name(name, "image_encoder.blocks.%" PRId64 ".%s", i, layers[l].name);
            add_pair(v, name, layers[l].in ? 2 : 1, layers[l].out, layers[l].in, 1, 1);
        }
        for (int a = 0; a < 2; a++) {
            print_name(name, "image_encoder.blocks.%" PRId64 ".attn.rel_pos_%c", i, "hw"[a]);
            add_tensor(v, name, 2, rows, v->head, 1, 1);
        }
    }
    add_tensor(v, "image_encoder.neck.0.weight", 4, 256, d, 1, 1);
    add_pair(v, "image_encoder.neck.1", 1, 256, 1, 1, 1);
    add_tensor(v, "image_encoder.neck.2.weight", 4, 256, 256, 3, 3);
    add_pair(v, "image_encoder.neck.3", 1, 256, 1, 1, 1);
}

static void add_prompt_encoder(computed_vit *v) {
    static const char *const vectors[] = {"point_embeddings.0", "point_embeddings.1",
                                          "point_embeddings.2", "point_embeddings.3",
                                          "not_a_point_embed",  "no_mask_embed"};
    char name[NAME];
    add_tensor(v, "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", 2, 2, 128, 1, 1);
    for (int i = 0; i < 6; i++) {
        print_name(name, "prompt_encoder.%s.weight", vectors[i]);
        add_tensor(v, name, 2, 1, 256, 1, 1);
    }
    add_pair(v, "prompt_encoder.mask_downscaling.0", 4, 4, 1, 2, 2);
    add_pair(v, "prompt_encoder.mask_downscaling.1", 1, 4, 1, 1, 1);
    add_pair(v, "prompt_encoder.mask_downscaling.3", 4, 16, 4, 2, 2);
    add_pair(v, "prompt_encoder.mask_downscaling.4", 1, 16, 1, 1, 1);
    add_pair(v, "prompt_encoder.mask_downscaling.6", 4, 256, 16, 1, 1);
}

static void add_attention(computed_vit *v, const char *prefix, int64_t inner) {
    static const char *const parts[] = {"q", "k", "v", "out"};
    char name[NAME];
    for (int i = 0; i < 4; i++) {
        print_name(name, "mask_decoder.transformer.%s.%s_proj", prefix, parts[i]);
        add_pair(v, name, 2, i < 3 ? inner : 256, i < 3 ? 256 : inner, 1, 1);
    }
}

static void add_mlp(computed_vit *v, const char *prefix, int64_t out) {
    char name[NAME];
    for (int i = 0; i < 3; i++) {
        print_name(name, "mask_decoder.%s.layers.%d", prefix, i);
        add_pair(v, name, 2, i < 2 ? 256 : out, 256, 1, 1);
    }
}

static void add_decoder(computed_vit *v) {
    char name[NAME];
    for (int l = 0; l < 2; l++) {
        print_name(name, "layers.%d.self_attn", l);
        add_attention(v, name, 256);
        print_name(name, "layers.%d.cross_attn_token_to_image", l);
        add_attention(v, name, 128);
        print_name(name, "layers.%d.cross_attn_image_to_token", l);
        add_attention(v, name, 128);
        for (int i = 1; i <= 4; i++) {
            print_name(name, "mask_decoder.transformer.layers.%d.norm%d", l, i);
            add_pair(v, name, 1, 256, 1, 1, 1);
        }
        print_name(name, "mask_decoder.transformer.layers.%d.mlp.lin1", l);
        add_pair(v, name, 2, 2048, 256, 1, 1);
        print_name(name, "mask_decoder.transformer.layers.%d.mlp.lin2", l);
        add_pair(v, name, 2, 256, 2048, 1, 1);
    }
    add_attention(v, "final_attn_token_to_image", 128);
    add_pair(v, "mask_decoder.transformer.norm_final_attn", 1, 256, 1, 1, 1);
    add_tensor(v, "mask_decoder.iou_token.weight", 2, 1, 256, 1, 1);
    add_tensor(v, "mask_decoder.mask_tokens.weight", 2, 4, 256, 1, 1);
    add_pair(v, "mask_decoder.output_upscaling.0", 4, 256, 64, 2, 2);
    add_pair(v, "mask_decoder.output_upscaling.1", 1, 64, 1, 1, 1);
    add_pair(v, "mask_decoder.output_upscaling.3", 4, 64, 32, 2, 2);
    for (int i = 0; i < 4; i++) {
        print_name(name, "output_hypernetworks_mlps.%d", i);
        add_mlp(v, name, 32);
    }
    add_mlp(v, "iou_prediction_head", 4);
}

msx_status test_compute_vit(msx_checkpoint **out, msx_ctx *ctx, int64_t width, int64_t head,
                            int64_t depth, int64_t global_every) {
    computed_vit v = {.width = width, .head = head};
    v.status = msx_checkpoint_create(&v.c, ctx);
    if (v.status == MSX_OK) {
        add_encoder(&v, depth, global_every);
        add_prompt_encoder(&v);
        add_decoder(&v);
    }
    if (v.status < 0) {
        msx_checkpoint_free(v.c);
        v.c = NULL;
    }
    *out = v.c;
    return v.status;
}
