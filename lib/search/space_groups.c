/* SPDX-License-Identifier: Apache-2.0 */
/* Which layer groups are worth searching: those in which a tensor differs between the models and
 * reaches mask 0 under box prompts. */
#include "search/space_groups.h"

#include "merge/merger.h"
#include "search/prefix.h"

#include <stdlib.h>
#include <string.h>

static const int usual[MSX__PARTS] = {2, 1, 1}; /* where a search begins */
static const char *const prefixes[MSX__PARTS] = {"encoder.", "prompt.", "decoder."};

/* ---- groups of one granularity ------------------------------------------------------------------- */

msx_status msx__space_frame(msx_plan **out, msx_ctx *ctx, const int granularity[MSX__PARTS],
                            const msx_plan *own) {
    const msx_granularity g = {sizeof g, granularity[MSX__PART_ENCODER],
                               granularity[MSX__PART_PROMPT], granularity[MSX__PART_DECODER]};
    MSX_TRY(msx_plan_create(out, ctx));
    msx_status status = msx_plan_set_granularity(*out, &g);
    for (size_t i = 0; own && status >= 0 && i < own->n_defines; i++)
        status = msx_plan_add_group(*out, own->defines[i].group,
                                    (const char *const *)own->defines[i].patterns,
                                    own->defines[i].n_patterns);
    if (status >= 0) return MSX_OK;
    msx_plan_free(*out);
    *out = NULL;
    return status;
}

static msx_status groups_of(msx_groups **out, msx_ctx *ctx, const msx_arch *arch,
                            const int granularity[MSX__PARTS], const msx_plan *own) {
    msx_plan *plan;
    *out = NULL;
    MSX_TRY(msx__space_frame(&plan, ctx, granularity, own));
    msx_status status = msx_plan_groups(out, plan, arch);
    msx_plan_free(plan);
    return status;
}

/* ---- what a group is ----------------------------------------------------------------------------- */

/* The list that is made. */
typedef struct listing {
    msx_ctx *ctx;
    const msx_merger *merger;
    const msx__space_options *options;
    const int64_t *use;      /* of every tensor, as msx__encoder_uses() */
    const msx_groups *units; /* the smallest groups, in the network's order */
    msx__space_group *groups;
    int64_t n, capacity;
} listing;

/* Elements, first use and state of group `index` of g. It is searched when something that differs reaches
 * the masks. */
static void describe(const listing *l, msx__space_group *out, const msx_groups *g, int64_t index) {
    out->elements = msx_groups_elements(g, index);
    out->use = -1;
    for (int64_t t = 0; t < msx__groups_tensors(g); t++)
        if (msx__groups_of(g, t) == index && l->use[t] >= 0 &&
            (out->use < 0 || l->use[t] < out->use))
            out->use = l->use[t];
    out->state = l->options->keep_dead                         ? MSX__GROUP_SEARCHED
                 : msx_merger_group_equal(l->merger, g, index) ? MSX__GROUP_EQUAL
                 : msx__merger_equal_where(l->merger, g, index, msx__boxes_reach)
                     ? MSX__GROUP_UNREACHED
                     : MSX__GROUP_SEARCHED;
}

/* Place of a group in the network. */
static int64_t first_unit(const listing *l, const msx_groups *g, int64_t index) {
    int64_t first = INT64_MAX;
    for (int64_t t = 0; t < msx__groups_tensors(g); t++)
        if (msx__groups_of(g, t) == index && msx__groups_of(l->units, t) < first)
            first = msx__groups_of(l->units, t);
    return first;
}

/* Move the last group before those of its part that stand behind it in the network. */
static void sort_in(listing *l) {
    msx__space_group last = l->groups[l->n - 1];
    int64_t at = l->n - 1;
    for (; at > 0 && last.part != MSX__PART_NONE; at--) {
        const msx__space_group *before = &l->groups[at - 1];
        if (before->part != last.part || before->unit <= last.unit) break;
        l->groups[at] = *before;
    }
    l->groups[at] = last;
}

/* Groups of the same name have the same tensors, whatever the granularity. */
static msx_status add(listing *l, const msx_groups *g, int64_t index, msx__space_part_kind part,
                      int granularity) {
    const char *name = msx_groups_name(g, index);
    for (int64_t i = 0; i < l->n; i++)
        if (!strcmp(l->groups[i].name, name)) {
            l->groups[i].granularities |= 1u << granularity;
            return MSX_OK;
        }
    MSX_TRY(msx__grow(l->ctx, (void **)&l->groups, l->n, &l->capacity, sizeof *l->groups));
    msx__space_group *added = &l->groups[l->n];
    *added = (msx__space_group){.method_column = -1,
                                .part = part,
                                .granularities = 1u << granularity,
                                .unit = first_unit(l, g, index)};
    if (!(added->name = msx__strdup(l->ctx, name))) return MSX_E_NOMEM;
    l->n++;
    describe(l, added, g, index);
    sort_in(l);
    return MSX_OK;
}

/* ---- all groups ---------------------------------------------------------------------------------- */

/* Groups of the user's own may be named as they like. */
static msx__space_part_kind part_of(const msx__space_options *options, const char *name) {
    for (size_t i = 0; options->own && i < options->own->n_defines; i++)
        if (!strcmp(options->own->defines[i].group, name)) return MSX__PART_NONE;
    for (int p = 0; p < MSX__PARTS; p++)
        if (!strncmp(name, prefixes[p], strlen(prefixes[p]))) return (msx__space_part_kind)p;
    return MSX__PART_NONE;
}

/* The groups of a part with each of its granularities. */
static msx_status add_part(listing *l, const msx__space_part parts[MSX__PARTS],
                           msx__space_part_kind part) {
    for (int c = 0; c < parts[part].n; c++) {
        int granularity[MSX__PARTS];
        for (int p = 0; p < MSX__PARTS; p++) granularity[p] = parts[p].choices[parts[p].initial];
        granularity[part] = parts[part].choices[c];
        msx_groups *g;
        msx_status status =
            groups_of(&g, l->ctx, msx_merger_arch(l->merger), granularity, l->options->own);
        for (int64_t i = 0; status >= 0 && i < msx_groups_count(g); i++)
            if (part_of(l->options, msx_groups_name(g, i)) == part)
                status = add(l, g, i, part, granularity[part]);
        msx_groups_free(g);
        MSX_TRY(status);
    }
    return MSX_OK;
}

static msx_status add_all(listing *l, const msx__space_part parts[MSX__PARTS]) {
    int granularity[MSX__PARTS];
    bool added[MSX__PARTS] = {false};
    msx_groups *g;
    for (int p = 0; p < MSX__PARTS; p++) granularity[p] = parts[p].choices[parts[p].initial];
    msx_status status =
        groups_of(&g, l->ctx, msx_merger_arch(l->merger), granularity, l->options->own);
    for (int64_t i = 0; status >= 0 && i < msx_groups_count(g); i++) {
        msx__space_part_kind part = part_of(l->options, msx_groups_name(g, i));
        if (part == MSX__PART_NONE) {
            status = add(l, g, i, part, 0);
        } else if (!added[part]) {
            status = add_part(l, parts, part);
            added[part] = true;
        }
    }
    msx_groups_free(g);
    return status;
}

/* `possible`: bit g: there are groups of granularity g. */
static void set_choices(msx__space_part *part, int granularity, unsigned possible, int first) {
    *part = (msx__space_part){.column = -1};
    for (int g = 1; g <= MSX__MAX_GRANULARITY; g++) {
        if (granularity ? g != granularity : !(possible >> g & 1)) continue;
        if (g == first) part->initial = part->n;
        part->choices[part->n++] = g;
    }
    if (!part->n) part->choices[part->n++] = 1; /* a part without groups */
}

/* More than a part has units is the same as all of them. */
static void list_choices(msx__space_part parts[MSX__PARTS], const msx_arch *arch,
                         const msx__space_options *options) {
    const int64_t units[MSX__PARTS] = {msx_arch_get(arch, MSX_ARCH_DEPTH), 4,
                                       msx_arch_get(arch, MSX_ARCH_DECODER_LAYERS) + 4};
    for (int p = 0; p < MSX__PARTS; p++) {
        unsigned possible = 0;
        for (int g = 1; g <= MSX__MAX_GRANULARITY && g <= units[p]; g++) possible |= 1u << g;
        set_choices(&parts[p], options->granularity[p], possible, usual[p]);
    }
}

msx_status msx__space_groups(msx__space_group **groups, int64_t *n,
                             msx__space_part parts[MSX__PARTS], msx_ctx *ctx,
                             const msx_merger *merger, const msx__space_options *options) {
    const msx_arch *arch = msx_merger_arch(merger);
    int64_t *use;
    list_choices(parts, arch, options);
    MSX_TRY(msx__encoder_uses(&use, ctx, arch));
    msx_groups *units = NULL;
    msx_status status = msx_groups_create(&units, ctx, arch, NULL);
    listing l = {.ctx = ctx, .merger = merger, .options = options, .use = use, .units = units};
    if (status >= 0) status = add_all(&l, parts);
    *groups = l.groups;
    *n = l.n;
    msx_groups_free(units);
    msx__free(ctx, use);
    return status;
}

/* ---- the same without the models ----------------------------------------------------------------- */

/* A number of the list and what ends it. */
static bool next_number(const char **text, char end, int64_t least, int64_t most, int64_t *out) {
    char *rest;
    long long number = strtoll(*text, &rest, 10);
    if (rest == *text || *rest != end || number < least || number > most) return false;
    *text = rest + (end != 0);
    *out = number;
    return true;
}

msx_status msx__space_read_uses(msx__space_group *groups, int64_t n,
                                msx__space_part parts[MSX__PARTS], msx_ctx *ctx, const char *uses,
                                int64_t depth, const msx__space_options *options) {
    unsigned possible[MSX__PARTS] = {0};
    for (int64_t i = 0; i < n; i++) {
        int64_t bits;
        if (!next_number(&uses, '/', -1, depth + 1, &groups[i].use) ||
            !next_number(&uses, i + 1 < n ? ',' : 0, 1, 1 << MSX__MAX_GRANULARITY | 0xf, &bits))
            return msx__fail(ctx, MSX_E_FORMAT, "what group '%s' is used by", groups[i].name);
        groups[i].granularities = (unsigned)bits;
        groups[i].part = part_of(options, groups[i].name);
        if (groups[i].part != MSX__PART_NONE) possible[groups[i].part] |= groups[i].granularities;
    }
    for (int p = 0; p < MSX__PARTS; p++)
        set_choices(&parts[p], options->granularity[p], possible[p], usual[p]);
    return MSX_OK;
}
