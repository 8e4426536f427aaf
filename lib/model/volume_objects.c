/* SPDX-License-Identifier: Apache-2.0 */
/* Which prompts an object gets on a slice. The order of preference is that of MedSAM's 3-D extension
 * (a box of its own, else the box of the mask before) and of LiteMedSAM (else the box in space). */
#include "model/volume_objects.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- from seeds --------------------------------------------------------------------------------------- */

/* The text in front of messages about a seed. */
static void where(const msx__seed *s, char out[256]) {
    out[0] = 0;
    if (s->file) snprintf(out, 256, "%.200s:%" PRId64 ": ", s->file, s->line);
}

static msx_status check_seed(msx_ctx *ctx, const msx__seed *s, const msx_slices *image) {
    char place[256];
    double width = (double)msx_slices_width(image), height = (double)msx_slices_height(image);
    where(s, place);
    if (s->last >= msx_slices_count(image))
        return msx__fail(ctx, MSX_E_ARG,
                         "%sslice %" PRId64 " of object %d is outside 0 to %" PRId64, place,
                         s->last, s->label, msx_slices_count(image) - 1);
    const double *b = s->at;
    bool outside = s->point ? b[0] < 0 || b[1] < 0 || b[0] > width || b[1] > height
                            : b[0] >= width || b[1] >= height || b[2] < 0 || b[3] < 0;
    if (!outside) return MSX_OK;
    if (s->point)
        return msx__fail(ctx, MSX_E_ARG,
                         "%spoint %g,%g lies outside the slice of %.0f x %.0f pixels", place, b[0],
                         b[1], width, height);
    return msx__fail(ctx, MSX_E_ARG,
                     "%sbox %g,%g,%g,%g lies outside the slice of %.0f x %.0f pixels", place, b[0],
                     b[1], b[2], b[3], width, height);
}

/* By label; what was given first stays first. */
static int by_label(const void *a, const void *b) {
    const msx__seed *x = *(const msx__seed *const *)a, *y = *(const msx__seed *const *)b;
    if (x->label != y->label) return x->label < y->label ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Where following an object begins and how far it may go. */
static void place_object(msx__object *x, int64_t slices) {
    double largest = -1;
    x->low = slices;
    x->high = -1;
    bool bounded = false;
    for (int64_t i = 0; i < x->n; i++) {
        const msx__seed *s = x->seeds + i;
        double area = s->point ? 0 : (s->at[2] - s->at[0] + 1) * (s->at[3] - s->at[1] + 1);
        if (area > largest) {
            largest = area;
            x->start = s->first + (s->last - s->first) / 2;
        }
        bounded |= s->last > s->first;
        if (s->first < x->low) x->low = s->first;
        if (s->last > x->high) x->high = s->last;
    }
    if (bounded) return;
    x->low = 0;
    x->high = slices - 1;
}

static msx_status room_for_traces(msx__objects *o, const msx_slices *image) {
    size_t pixels = (size_t)(msx_slices_width(image) * msx_slices_height(image));
    for (int64_t i = 0; i < o->n; i++) {
        o->objects[i].trace.mask = msx__calloc(o->ctx, pixels, 1);
        o->objects[i].origin.mask = msx__calloc(o->ctx, pixels, 1);
        if (!o->objects[i].trace.mask || !o->objects[i].origin.mask) return MSX_E_NOMEM;
    }
    return MSX_OK;
}

static msx_status make(msx__objects *o, const msx_seeds *seeds, const msx_slices *image,
                       bool propagate) {
    const msx__seed **order = msx__alloc(o->ctx, (size_t)seeds->n, sizeof *order);
    o->seeds = msx__alloc(o->ctx, (size_t)seeds->n, sizeof *o->seeds);
    int64_t n = 0;
    if (order && o->seeds) {
        for (int64_t i = 0; i < seeds->n; i++) order[i] = seeds->seeds + i;
        qsort(order, (size_t)seeds->n, sizeof *order, by_label);
        for (int64_t i = 0; i < seeds->n; i++) {
            o->seeds[i] = *order[i];
            n += i == 0 || o->seeds[i].label != o->seeds[i - 1].label;
        }
        o->objects = msx__calloc(o->ctx, (size_t)n, sizeof *o->objects);
    }
    msx__free(o->ctx, order);
    if (!o->objects) return MSX_E_NOMEM;
    for (int64_t i = 0; i < seeds->n; i++) {
        if (i == 0 || o->seeds[i].label != o->seeds[i - 1].label)
            o->objects[o->n++] = (msx__object){
                .label = o->seeds[i].label, .seeds = o->seeds + i, .first = -1, .last = -1};
        o->objects[o->n - 1].n++;
    }
    for (int64_t i = 0; i < o->n; i++) place_object(o->objects + i, msx_slices_count(image));
    return propagate ? room_for_traces(o, image) : MSX_OK;
}

msx_status msx__objects_make(msx__objects *o, msx_ctx *ctx, const msx_seeds *seeds,
                             const msx_slices *image, msx_propagation propagate) {
    *o = (msx__objects){.ctx = ctx};
    if (!seeds->n)
        return msx__fail(ctx, MSX_E_ARG, "nothing says what to segment: no box, no point");
    for (int64_t i = 0; i < seeds->n; i++) MSX_TRY(check_seed(ctx, seeds->seeds + i, image));
    msx_status status = make(o, seeds, image, propagate != MSX_PROPAGATE_NONE);
    if (status < 0) msx__objects_free(o);
    return status;
}

void msx__objects_free(msx__objects *o) {
    for (int64_t i = 0; i < o->n; i++) {
        msx__trace *traces[2] = {&o->objects[i].trace, &o->objects[i].origin};
        for (int k = 0; k < 2; k++) {
            msx__free(o->ctx, traces[k]->mask);
            msx__free(o->ctx, traces[k]->logits);
        }
    }
    if (o->ctx) {
        msx__free(o->ctx, o->objects);
        msx__free(o->ctx, o->seeds);
    }
    *o = (msx__objects){.n = 0};
}

/* ---- prompts on a slice ------------------------------------------------------------------------------- */

typedef enum source {
    NOTHING = 0,
    OWN = 1,    /* boxes and points of this very slice */
    BEFORE = 2, /* the mask of the slice before */
    SPACE = 3   /* boxes in space */
} source;

static bool covers(const msx__seed *s, int64_t slice) {
    return s->first <= slice && slice <= s->last;
}

static source source_of(const msx__object *x, int64_t slice, const msx_volume_options *options) {
    bool space = false;
    for (int64_t i = 0; i < x->n; i++) {
        if (!covers(x->seeds + i, slice)) continue;
        if (x->seeds[i].first == x->seeds[i].last) return OWN;
        space = true;
    }
    bool near = llabs(slice - x->trace.slice) == 1 &&
                (options->reach == 0 || x->trace.since < options->reach);
    if (options->propagate && x->trace.alive && near && x->low <= slice && slice <= x->high)
        return BEFORE;
    return space ? SPACE : NOTHING;
}

bool msx__object_wanted(const msx__object *x, int64_t slice, const msx_volume_options *options) {
    return source_of(x, slice, options) != NOTHING;
}

static msx_status begin(msx__asks *a, const msx__ask *ask, const double *box) {
    void *array = a->asks;
    MSX_TRY(msx__grow(a->ctx, &array, a->n, &a->capacity, sizeof *a->asks));
    a->asks = array;
    MSX_TRY(msx_prompts_begin(a->prompts, ask->image));
    msx__ask *added = a->asks + a->n++;
    *added = *ask;
    added->has_box = box != NULL;
    if (!box) return MSX_OK;
    memcpy(added->box, box, sizeof added->box);
    return msx_prompts_box(a->prompts, box[0], box[1], box[2], box[3]);
}

/* Boxes of one kind, a prompt each. */
static msx_status ask_boxes(msx__asks *a, const msx__ask *ask, const msx__object *x, bool in_space,
                            int64_t *boxes) {
    *boxes = 0;
    for (int64_t i = 0; i < x->n; i++) {
        const msx__seed *s = x->seeds + i;
        if (s->point || !covers(s, ask->slice) || (s->last > s->first) != in_space) continue;
        MSX_TRY(begin(a, ask, s->at));
        ++*boxes;
    }
    return MSX_OK;
}

/* The points join the only box, else they are a prompt of their own. */
static msx_status ask_own(msx__asks *a, const msx__ask *ask, const msx__object *x) {
    int64_t boxes, points = 0;
    MSX_TRY(ask_boxes(a, ask, x, false, &boxes));
    for (int64_t i = 0; i < x->n; i++) {
        const msx__seed *s = x->seeds + i;
        if (!s->point || !covers(s, ask->slice)) continue;
        if (points++ == 0 && boxes != 1) MSX_TRY(begin(a, ask, NULL));
        MSX_TRY(msx_prompts_point(a->prompts, s->at[0], s->at[1], s->inside));
    }
    return MSX_OK;
}

static msx_status ask_before(msx__asks *a, msx__ask *ask, const msx__trace *t) {
    double margin = a->options->margin;
    const double box[4] = {fmax(t->box[0] - margin, 0), fmax(t->box[1] - margin, 0),
                           fmin(t->box[2] + margin, (double)(a->width - 1)),
                           fmin(t->box[3] + margin, (double)(a->height - 1))};
    ask->carried = true;
    MSX_TRY(begin(a, ask, box));
    return t->logits ? msx_prompts_mask(a->prompts, t->logits, a->side * a->side) : MSX_OK;
}

msx_status msx__object_ask(msx__asks *a, const msx__objects *o, int64_t object, int64_t slice,
                           int64_t image) {
    const msx__object *x = o->objects + object;
    msx__ask ask = {.object = object, .slice = slice, .image = image};
    int64_t boxes;
    switch (source_of(x, slice, a->options)) {
    case OWN:
        return ask_own(a, &ask, x);
    case BEFORE:
        return ask_before(a, &ask, &x->trace);
    case SPACE:
        return ask_boxes(a, &ask, x, true, &boxes);
    case NOTHING:
        break;
    }
    return MSX_OK;
}
