/* SPDX-License-Identifier: Apache-2.0 */
/* Layer groups: a table of name patterns cuts the network into units, neighbouring units of one
 * family share a group. */
#include "merge/merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum family { PATCH_EMBED, POS_EMBED, ENCODER, NECK, PROMPT, DECODER, N_FAMILIES } family;

static const char *const family_names[N_FAMILIES] = {"patch_embed", "pos_embed", "encoder",
                                                     "neck",        "prompt",    "decoder"};

/* The first rule that matches a tensor says its unit. '#' is a number and becomes the unit's; the
 * units of the decoder that follow its transformer layers count from the number of layers. A
 * tensor without a rule (the prompt encoder's gaussian matrix) is never merged. */
static const struct rule {
    const char *pattern;
    family family;
    int unit;
    bool after_layers;
} rules[] = {
    {"image_encoder.patch_embed.*", PATCH_EMBED, 0, false},
    {"image_encoder.pos_embed", POS_EMBED, 0, false},
    {"image_encoder.blocks.#.*", ENCODER, 0, false},
    {"image_encoder.neck.*", NECK, 0, false},
    {"prompt_encoder.point_embeddings.0.*", PROMPT, 0, false},
    {"prompt_encoder.point_embeddings.1.*", PROMPT, 0, false},
    {"prompt_encoder.not_a_point_embed.*", PROMPT, 0, false},
    {"prompt_encoder.point_embeddings.2.*", PROMPT, 1, false},
    {"prompt_encoder.point_embeddings.3.*", PROMPT, 1, false},
    {"prompt_encoder.mask_downscaling.*", PROMPT, 2, false},
    {"prompt_encoder.no_mask_embed.*", PROMPT, 3, false},
    {"mask_decoder.transformer.layers.#.*", DECODER, 0, false},
    {"mask_decoder.transformer.final_attn_token_to_image.*", DECODER, 0, true},
    {"mask_decoder.transformer.norm_final_attn.*", DECODER, 0, true},
    {"mask_decoder.output_upscaling.*", DECODER, 1, true},
    {"mask_decoder.output_hypernetworks_mlps.*", DECODER, 2, true},
    {"mask_decoder.mask_tokens.*", DECODER, 2, true},
    {"mask_decoder.iou_prediction_head.*", DECODER, 3, true},
    {"mask_decoder.iou_token.*", DECODER, 3, true},
};
enum { PROMPT_UNITS = 4, DECODER_UNITS_AFTER_LAYERS = 4, MAX_GRANULARITY = 4 };

typedef struct lookup {
    const char *name;
    int64_t group;
} lookup;

struct msx_groups {
    msx_ctx *ctx;
    char **names;
    int64_t n, capacity;
    int64_t n_tensors;
    char **tensors;
    int64_t *group;    /* per tensor of the architecture, -1: the base's */
    int64_t *elements; /* per tensor */
    lookup *sorted;    /* the same by name */
};

bool msx__glob(const char *pattern, const char *text) {
    const char *star = NULL, *resume = NULL;
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++;
            text++;
        } else if (star) { /* let the last star take one character more */
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return !*pattern;
}

/* A rule's pattern: a literal text, then '#' for a number, then a literal; a final '*' is the rest. */
static bool rule_matches(const char *pattern, const char *name, int64_t *number) {
    for (; *pattern; pattern++) {
        if (*pattern == '*') return true;
        if (*pattern == '#') {
            if (*name < '0' || *name > '9') return false;
            *number = 0;
            for (; *name >= '0' && *name <= '9'; name++) {
                if (*number > INT32_MAX / 10) return false;
                *number = *number * 10 + (*name - '0');
            }
        } else if (*pattern != *name++) {
            return false;
        }
    }
    return !*name;
}

/* Family and unit of a tensor; false for one that no rule names. */
static bool unit_of(const char *name, int64_t layers, family *f, int64_t *unit) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        int64_t number = 0;
        if (!rule_matches(rules[i].pattern, name, &number)) continue;
        *f = rules[i].family;
        *unit = number + rules[i].unit + (rules[i].after_layers ? layers : 0);
        return true;
    }
    return false;
}

static msx_status check_granularity(msx_ctx *ctx, const char *what, int value, int64_t *out) {
    if (value < 0 || value > MAX_GRANULARITY)
        return msx__fail(ctx, MSX_E_ARG, "granularity of the %s is %d; use 1 to %d", what, value,
                         MAX_GRANULARITY);
    *out = value ? value : 1;
    return MSX_OK;
}

/* Add a group and take over `name`, which may be NULL when memory ran out. */
static msx_status add_name(msx_groups *g, char *name) {
    if (!name) return MSX_E_NOMEM;
    if (g->n == g->capacity) {
        int64_t capacity = g->capacity ? 2 * g->capacity : 32;
        char **names = msx__realloc(g->ctx, g->names, (size_t)capacity, sizeof *names);
        if (!names) {
            msx__free(g->ctx, name);
            return MSX_E_NOMEM;
        }
        g->names = names;
        g->capacity = capacity;
    }
    g->names[g->n++] = name;
    return MSX_OK;
}

static msx_status add_family(msx_groups *g, family f, int64_t units, int64_t granularity) {
    bool single = f != ENCODER && f != PROMPT && f != DECODER;
    for (int64_t first = 0; first < units; first += granularity) {
        int64_t last = first + granularity - 1 < units ? first + granularity - 1 : units - 1;
        char name[MSX__MAX_NAME];
        if (single)
            snprintf(name, sizeof name, "%s", family_names[f]);
        else if (first == last)
            snprintf(name, sizeof name, "%s.%" PRId64, family_names[f], first);
        else
            snprintf(name, sizeof name, "%s.%" PRId64 "-%" PRId64, family_names[f], first, last);
        MSX_TRY(add_name(g, msx__strdup(g->ctx, name)));
    }
    return MSX_OK;
}

/* The default partition: every tensor that a rule names belongs to exactly one group. */
static msx_status add_default_groups(msx_groups *g, const msx_arch *arch,
                                     const msx_granularity *granularity) {
    int64_t layers = msx_arch_get(arch, MSX_ARCH_DECODER_LAYERS);
    int64_t units[N_FAMILIES] = {1,
                                 1,
                                 msx_arch_get(arch, MSX_ARCH_DEPTH),
                                 1,
                                 PROMPT_UNITS,
                                 layers + DECODER_UNITS_AFTER_LAYERS};
    int64_t share[N_FAMILIES] = {1, 1, 1, 1, 1, 1}, start[N_FAMILIES];
    if (granularity) {
        MSX_TRY(check_granularity(g->ctx, "encoder", granularity->encoder, &share[ENCODER]));
        MSX_TRY(check_granularity(g->ctx, "prompt encoder", granularity->prompt, &share[PROMPT]));
        MSX_TRY(check_granularity(g->ctx, "decoder", granularity->decoder, &share[DECODER]));
    }
    for (family f = 0; f < N_FAMILIES; f++) {
        start[f] = g->n;
        MSX_TRY(add_family(g, f, units[f], share[f]));
    }
    for (int64_t i = 0; i < g->n_tensors; i++) {
        family f;
        int64_t unit;
        g->group[i] = -1;
        if (!unit_of(g->tensors[i], layers, &f, &unit)) continue;
        if (unit >= units[f])
            return msx__fail(g->ctx, MSX_E_SHAPE,
                             "%s: the network has only %" PRId64 " units of %s", g->tensors[i],
                             units[f], family_names[f]);
        g->group[i] = start[f] + unit / share[f];
    }
    return MSX_OK;
}

static bool matches_any(const msx__plan_define *d, const char *name) {
    for (size_t k = 0; k < d->n_patterns; k++)
        if (msx__glob(d->patterns[k], name)) return true;
    return false;
}

/* Groups of a plan's own take their tensors out of what was there before. */
static msx_status add_own_groups(msx_groups *g, const msx__plan_define *defines, size_t n) {
    for (size_t d = 0; d < n; d++) {
        for (int64_t i = 0; i < g->n; i++)
            if (!strcmp(g->names[i], defines[d].group))
                return msx__fail(g->ctx, MSX_E_EXISTS,
                                 "group '%s' is one of the default groups; choose another name",
                                 defines[d].group);
        for (int64_t i = 0; i < g->n_tensors; i++)
            if (g->group[i] >= 0 && matches_any(&defines[d], g->tensors[i])) g->group[i] = g->n;
        MSX_TRY(add_name(g, msx__strdup(g->ctx, defines[d].group)));
    }
    return MSX_OK;
}

/* Remove groups that own ones have emptied; an own group without tensors is a mistake. */
static msx_status drop_empty_groups(msx_groups *g, size_t n_own) {
    int64_t *renumbered = msx__calloc(g->ctx, (size_t)g->n, sizeof *renumbered);
    if (!renumbered) return MSX_E_NOMEM;
    for (int64_t i = 0; i < g->n_tensors; i++)
        if (g->group[i] >= 0) renumbered[g->group[i]] = 1;
    msx_status status = MSX_OK;
    for (int64_t k = g->n - (int64_t)n_own; k < g->n && status == MSX_OK; k++)
        if (!renumbered[k])
            status = msx__fail(g->ctx, MSX_E_NOTFOUND,
                               "group '%s' has no tensor: its patterns match none of the network's "
                               "that may be merged, or later groups take them all",
                               g->names[k]);
    if (status == MSX_OK) {
        int64_t kept = 0;
        for (int64_t k = 0; k < g->n; k++) {
            if (!renumbered[k]) {
                msx__free(g->ctx, g->names[k]);
                continue;
            }
            g->names[kept] = g->names[k];
            renumbered[k] = kept++;
        }
        g->n = kept;
        for (int64_t i = 0; i < g->n_tensors; i++)
            if (g->group[i] >= 0) g->group[i] = renumbered[g->group[i]];
    }
    msx__free(g->ctx, renumbered);
    return status;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const lookup *)a)->name, ((const lookup *)b)->name);
}

static msx_status take_tensors(msx_groups *g, const msx_arch *arch) {
    int64_t n = msx_arch_tensor_count(arch);
    g->tensors = msx__calloc(g->ctx, (size_t)n, sizeof *g->tensors);
    g->group = msx__calloc(g->ctx, (size_t)n, sizeof *g->group);
    g->sorted = msx__calloc(g->ctx, (size_t)n, sizeof *g->sorted);
    g->elements = msx__calloc(g->ctx, (size_t)n, sizeof *g->elements);
    if (!g->tensors || !g->group || !g->sorted || !g->elements) return MSX_E_NOMEM;
    for (; g->n_tensors < n; g->n_tensors++) {
        char *name = msx__strdup(g->ctx, msx_arch_tensor_name(arch, g->n_tensors));
        if (!name) return MSX_E_NOMEM;
        g->tensors[g->n_tensors] = name;
        g->elements[g->n_tensors] = msx__tensor_elements(arch, g->n_tensors);
    }
    return MSX_OK;
}

msx_status msx__groups_create(msx_groups **out, msx_ctx *ctx, const msx_arch *arch,
                              const msx_granularity *granularity, const msx__plan_define *defines,
                              size_t n_defines) {
    *out = NULL;
    msx_groups *g = msx__calloc(ctx, 1, sizeof *g);
    if (!g) return MSX_E_NOMEM;
    g->ctx = ctx;
    msx_status status = take_tensors(g, arch);
    if (status >= 0) status = add_default_groups(g, arch, granularity);
    if (status >= 0) status = add_own_groups(g, defines, n_defines);
    if (status >= 0) status = drop_empty_groups(g, n_defines);
    if (status < 0) {
        msx_groups_free(g);
        return status;
    }
    for (int64_t i = 0; i < g->n_tensors; i++) g->sorted[i] = (lookup){g->tensors[i], g->group[i]};
    qsort(g->sorted, (size_t)g->n_tensors, sizeof *g->sorted, by_name);
    *out = g;
    return MSX_OK;
}

msx_status msx_groups_create(msx_groups **out, msx_ctx *ctx, const msx_arch *arch,
                             const msx_granularity *granularity) {
    if (out) *out = NULL;
    if (!out || !ctx || !arch) return msx__fail(ctx, MSX_E_ARG, "msx_groups_create: NULL argument");
    if (granularity && granularity->struct_size < sizeof *granularity)
        return msx__fail(ctx, MSX_E_ARG, "msx_granularity: struct_size is not set");
    return msx__groups_create(out, ctx, arch, granularity, NULL, 0);
}

void msx_groups_free(msx_groups *g) {
    if (!g) return;
    msx_ctx *ctx = g->ctx;
    for (int64_t i = 0; i < g->n; i++) msx__free(ctx, g->names[i]);
    for (int64_t i = 0; i < g->n_tensors; i++) msx__free(ctx, g->tensors[i]);
    msx__free(ctx, g->names);
    msx__free(ctx, g->tensors);
    msx__free(ctx, g->group);
    msx__free(ctx, g->sorted);
    msx__free(ctx, g->elements);
    msx__free(ctx, g);
}

int64_t msx_groups_count(const msx_groups *g) {
    return g ? g->n : 0;
}

const char *msx_groups_name(const msx_groups *g, int64_t i) {
    return g && i >= 0 && i < g->n ? g->names[i] : NULL;
}

int64_t msx_groups_of_tensor(const msx_groups *g, const char *tensor_name) {
    if (!g || !tensor_name) return -1;
    lookup key = {tensor_name, 0};
    const lookup *found =
        bsearch(&key, g->sorted, (size_t)g->n_tensors, sizeof *g->sorted, by_name);
    return found ? found->group : -1;
}

/* Elements of a group; of all its tensors, or of those that boxes reach. */
static int64_t count_elements(const msx_groups *g, int64_t group, bool reached) {
    if (!g || group < 0 || group >= g->n) return -1;
    int64_t sum = 0;
    for (int64_t i = 0; i < g->n_tensors; i++)
        if (g->group[i] == group && (!reached || msx__boxes_reach(g->tensors[i])))
            sum += g->elements[i];
    return sum;
}

int64_t msx_groups_elements(const msx_groups *g, int64_t i) {
    return count_elements(g, i, false);
}

int64_t msx_groups_reached(const msx_groups *g, int64_t i) {
    return count_elements(g, i, true);
}

int64_t msx__groups_of(const msx_groups *g, int64_t i) {
    return i >= 0 && i < g->n_tensors ? g->group[i] : -1;
}

int64_t msx__groups_tensors(const msx_groups *g) {
    return g->n_tensors;
}

const char *const *msx__groups_names(const msx_groups *g) {
    return (const char *const *)g->names;
}
