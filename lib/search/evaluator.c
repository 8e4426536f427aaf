/* SPDX-License-Identifier: Apache-2.0 */
/* The evaluator's handle: which slices of which cases carry which tasks, prepared once. */
#include "search/evaluator.h"
#include "search/slices.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_MIN_OBJECT 40

/* Fields of an options struct of an older caller that are not there read as zero. */
static msx_status read_options(msx_eval_options *out, msx_ctx *ctx,
                               const msx_eval_options *options) {
    *out = (msx_eval_options){0};
    if (!options) return MSX_OK;
    if (options->struct_size < sizeof(size_t) || options->struct_size > sizeof *out)
        return msx__fail(ctx, MSX_E_ARG, "msx_eval_options: struct_size is %zu, use sizeof",
                         options->struct_size);
    memcpy(out, options, options->struct_size);
    return MSX_OK;
}

static msx_status create_into(msx_evaluator *e, const msx_eval_options *o) {
    msx_ctx *ctx = e->ctx;
    static const char *const axes[] = {"max-spacing", "i", "j", "k"};
    const char *axis = o->slice_axis ? o->slice_axis : axes[0];
    size_t known = 0;
    while (known < 4 && strcmp(axis, axes[known]) != 0) known++;
    if (known == 4) return msx__unknown(ctx, "slice axis", axis, axes, 4);
    MSX_TRY(msx__box_preset_find(&e->box_preset, ctx, o->box_preset));
    e->min_object = o->min_object ? o->min_object : DEFAULT_MIN_OBJECT;
    e->unit = o->unit ? o->unit : MSX_UNIT_SLICE;
    e->empty = o->empty ? o->empty : MSX_EMPTY_NNUNET;
    if (e->min_object < 1)
        return msx__fail(ctx, MSX_E_ARG, "min_object is %" PRId64 "; use 1 or more", o->min_object);
    if (e->unit != MSX_UNIT_SLICE && e->unit != MSX_UNIT_VOLUME)
        return msx__fail(ctx, MSX_E_ARG, "unknown unit %d", (int)e->unit);
    if (!msx_empty_rule_name(e->empty))
        return msx__fail(ctx, MSX_E_ARG, "unknown rule for empty masks %d", (int)e->empty);
    if (!(e->slice_axis = msx__strdup(ctx, axis))) return MSX_E_NOMEM;
    if (o->intensity && !(e->intensity = msx__strdup(ctx, o->intensity))) return MSX_E_NOMEM;
    return MSX_OK;
}

msx_status msx_evaluator_create(msx_evaluator **out, msx_ctx *ctx, msx_split split,
                                const msx_eval_options *options) {
    if (!out || !ctx) return MSX_E_ARG;
    *out = NULL;
    if (split != MSX_SPLIT_CALIBRATION && split != MSX_SPLIT_TEST)
        return msx__fail(ctx, MSX_E_ARG, "unknown split %d", (int)split);
    msx_eval_options o;
    MSX_TRY(read_options(&o, ctx, options));
    msx_evaluator *e = msx__calloc(ctx, 1, sizeof *e);
    if (!e) return MSX_E_NOMEM;
    e->ctx = ctx;
    e->split = split;
    e->boxes.ctx = ctx;
    msx_status status = create_into(e, &o);
    if (status < 0) {
        msx_evaluator_free(e);
        return status;
    }
    *out = e;
    return MSX_OK;
}

static void free_image(msx_evaluator *e, msx__eval_image *i) {
    msx_image_free(i->image);
    msx__free(e->ctx, i->labels);
}

void msx_evaluator_free(msx_evaluator *e) {
    if (!e) return;
    msx__evaluator_drop_inputs(e);
    for (int64_t i = 0; i < e->n_images; i++) free_image(e, &e->images[i]);
    for (int64_t i = 0; i < e->n_tasks; i++) msx__free(e->ctx, e->tasks[i].name);
    msx__boxes_free(&e->boxes);
    msx__free(e->ctx, e->natural);
    msx__free(e->ctx, e->images);
    msx__free(e->ctx, e->items);
    msx__free(e->ctx, e->tasks);
    msx__free(e->ctx, e->slice_axis);
    msx__free(e->ctx, e->intensity);
    msx__free(e->ctx, e);
}

/* ---- adding tasks ------------------------------------------------------------------------------ */

static msx_status add_task(msx_evaluator *e, const msx_dataset *d, int64_t label_index) {
    msx__buffer name;
    msx__buffer_init(&name, e->ctx);
    msx__buffer_printf(&name, "%s/%s", d->name, msx_dataset_task(d, label_index));
    if (name.failed) return MSX_E_NOMEM;
    for (int64_t i = 0; i < e->n_tasks; i++)
        if (!strcmp(e->tasks[i].name, name.data)) {
            msx_status status =
                msx__fail(e->ctx, MSX_E_EXISTS, "task '%s' is there already", name.data);
            msx__buffer_free(&name);
            return status;
        }
    e->tasks[e->n_tasks++] = (msx__eval_task){
        .name = name.data, .dataset = d, .label = msx_dataset_task_label(d, label_index)};
    return MSX_OK;
}

static msx_status add_tasks(msx_evaluator *e, const msx_dataset *d, const char *const *tasks,
                            size_t n) {
    size_t more = tasks ? n : (size_t)msx_dataset_task_count(d);
    msx__eval_task *grown =
        msx__realloc(e->ctx, e->tasks, (size_t)e->n_tasks + more, sizeof *grown);
    if (!grown) return MSX_E_NOMEM;
    e->tasks = grown;
    for (size_t i = 0; i < more; i++) {
        int64_t index = (int64_t)i;
        if (tasks) MSX_TRY(msx__dataset_find_task(&index, d, tasks[i]));
        MSX_TRY(add_task(e, d, index));
    }
    return MSX_OK;
}

static bool reserve(msx_ctx *ctx, void **items, int64_t n, int64_t *capacity, size_t size) {
    if (n < *capacity) return true;
    int64_t grown = *capacity ? 2 * *capacity : 64;
    void *p = msx__realloc(ctx, *items, (size_t)grown, size);
    if (!p) return false;
    *items = p;
    *capacity = grown;
    return true;
}

/* ---- preparing slices -------------------------------------------------------------------------- */

/* The case in work. */
typedef struct prepare {
    msx_evaluator *e;
    const msx_dataset *d;
    const msx__case *item;
    msx__slices slices;
    int64_t first_task;  /* tasks from here on are being added */
    int64_t first_image; /* so are images */
    uint16_t *labels;    /* of the slice in work; handed over to an image that is made */
    int64_t dropped;     /* objects below min_object */
} prepare;

/* The image of a slice, made when the first task needs it. Tasks that were added by an earlier call
 * may have made it. */
static msx_status image_of(prepare *p, int64_t slice, int64_t *index) {
    msx_evaluator *e = p->e;
    int64_t number = p->slices.image ? -1 : slice;
    for (int64_t i = 0; i < p->first_image; i++)
        if (e->images[i].dataset == p->d && e->images[i].slice == number &&
            e->images[i].case_name == p->item->name) {
            *index = i;
            return MSX_OK;
        }
    if (!reserve(e->ctx, (void **)&e->images, e->n_images, &e->images_capacity, sizeof *e->images))
        return MSX_E_NOMEM;
    msx_image *image;
    MSX_TRY(msx__slices_image(&p->slices, slice, &image));
    e->images[e->n_images] = (msx__eval_image){.dataset = p->d,
                                               .case_name = p->item->name,
                                               .slice = number,
                                               .image = image,
                                               .labels = p->labels};
    p->labels = NULL;
    *index = e->n_images++;
    return MSX_OK;
}

static int64_t count_pixels(const uint16_t *labels, int64_t n, int label) {
    int64_t pixels = 0;
    for (int64_t i = 0; i < n; i++) pixels += labels[i] == label;
    return pixels;
}

static msx_status prepare_slice(prepare *p, int64_t slice) {
    msx_evaluator *e = p->e;
    int64_t w = p->slices.width, h = p->slices.height, image = -1;
    if (!p->labels && !(p->labels = msx__alloc(e->ctx, (size_t)(w * h), sizeof *p->labels)))
        return MSX_E_NOMEM;
    const uint16_t *labels = p->labels;
    MSX_TRY(msx__slices_labels(&p->slices, slice, p->labels));
    for (int64_t t = p->first_task; t < e->n_tasks; t++) {
        int64_t pixels = count_pixels(labels, w * h, e->tasks[t].label);
        int64_t first = e->boxes.n;
        if (pixels >= e->min_object)
            MSX_TRY(e->box_preset->derive(&e->boxes, labels, w, h, (uint16_t)e->tasks[t].label));
        if (e->boxes.n == first) {
            p->dropped += pixels > 0;
            continue;
        }
        if (image < 0) {
            MSX_TRY(image_of(p, slice, &image));
            labels = e->images[image].labels;
        }
        if (!reserve(e->ctx, (void **)&e->items, e->n_items, &e->items_capacity, sizeof *e->items))
            return MSX_E_NOMEM;
        e->items[e->n_items++] = (msx__eval_item){
            .image = image, .task = t, .first_box = first, .n_boxes = e->boxes.n - first};
        e->tasks[t].slices++;
    }
    return MSX_OK;
}

static msx_status prepare_case(prepare *p) {
    msx_evaluator *e = p->e;
    MSX_TRY(msx__slices_open(&p->slices, e->ctx, p->item, p->d->description.ending, e->slice_axis));
    msx_status status = msx__slices_window(&p->slices, e->intensity, p->d->description.channel);
    for (int64_t k = 0; status >= 0 && k < p->slices.n; k++) status = prepare_slice(p, k);
    msx__free(e->ctx, p->labels);
    p->labels = NULL;
    msx__slices_close(&p->slices);
    return status;
}

static int by_image_and_task(const void *a, const void *b) {
    const msx__eval_item *x = a, *y = b;
    if (x->image != y->image) return x->image < y->image ? -1 : 1;
    return x->task < y->task ? -1 : x->task > y->task;
}

void msx__evaluator_index(msx_evaluator *e) {
    if (e->n_items > 1) qsort(e->items, (size_t)e->n_items, sizeof *e->items, by_image_and_task);
    for (int64_t i = 0; i < e->n_images; i++) e->images[i].n_items = 0;
    for (int64_t k = e->n_items - 1; k >= 0; k--) {
        e->images[e->items[k].image].first_item = k;
        e->images[e->items[k].image].n_items++;
    }
}

static msx_status prepare_all(msx_evaluator *e, const msx_dataset *d, int64_t first_task) {
    const msx__cases *cases = &d->splits[e->split == MSX_SPLIT_TEST];
    prepare p = {.e = e, .d = d, .first_task = first_task, .first_image = e->n_images};
    for (int64_t i = 0; i < cases->n; i++) {
        p.item = &cases->items[i];
        MSX_TRY(prepare_case(&p));
        MSX_TRY(msx__progress(e->ctx, "read", i + 1, cases->n, __builtin_nan("")));
    }
    if (p.dropped > 0)
        msx__log(e->ctx, MSX_LOG_INFO,
                 "%s: %" PRId64 " objects smaller than %" PRId64 " pixels in a slice are left out",
                 d->name, p.dropped, e->min_object);
    for (int64_t t = first_task; t < e->n_tasks; t++)
        if (e->tasks[t].slices == 0)
            msx__log(e->ctx, MSX_LOG_WARNING, "task '%s': no slice has %" PRId64 " labelled pixels",
                     e->tasks[t].name, e->min_object);
    return MSX_OK;
}

/* Take back what a failed call has added. */
static void roll_back(msx_evaluator *e, int64_t tasks, int64_t images, int64_t items,
                      int64_t boxes) {
    while (e->n_images > images) free_image(e, &e->images[--e->n_images]);
    while (e->n_tasks > tasks) msx__free(e->ctx, e->tasks[--e->n_tasks].name);
    e->n_items = items;
    e->boxes.n = boxes;
}

msx_status msx_evaluator_add(msx_evaluator *e, const msx_dataset *d, const char *const *tasks,
                             size_t n) {
    if (!e) return MSX_E_ARG;
    if (!d) return msx__fail(e->ctx, MSX_E_ARG, "msx_evaluator_add: no data set given");
    int64_t n_tasks = e->n_tasks, n_images = e->n_images, n_items = e->n_items;
    int64_t n_boxes = e->boxes.n;
    msx_status status = add_tasks(e, d, tasks, n);
    if (status >= 0) status = prepare_all(e, d, n_tasks);
    if (status < 0) {
        roll_back(e, n_tasks, n_images, n_items, n_boxes);
        return status;
    }
    msx__evaluator_drop_inputs(e);
    msx__evaluator_index(e);
    return MSX_OK;
}

/* ---- looking ----------------------------------------------------------------------------------- */

int64_t msx_evaluator_task_count(const msx_evaluator *e) {
    return e ? e->n_tasks : 0;
}

const char *msx_evaluator_task(const msx_evaluator *e, int64_t i) {
    return e && i >= 0 && i < e->n_tasks ? e->tasks[i].name : NULL;
}

int64_t msx_evaluator_image_count(const msx_evaluator *e) {
    return e ? e->n_images : 0;
}

static const msx__eval_image *image_at(const msx_evaluator *e, int64_t i) {
    return e && i >= 0 && i < e->n_images ? &e->images[i] : NULL;
}

const char *msx_evaluator_image_case(const msx_evaluator *e, int64_t i) {
    return image_at(e, i) ? e->images[i].case_name : NULL;
}

int64_t msx_evaluator_image_slice(const msx_evaluator *e, int64_t i) {
    return image_at(e, i) ? e->images[i].slice : -1;
}

const char *msx_evaluator_image_dataset(const msx_evaluator *e, int64_t i) {
    return image_at(e, i) ? e->images[i].dataset->name : NULL;
}

/* In the order of adding, whatever order the images are visited in. */
void msx__evaluator_digest(const msx_evaluator *e, char out[MSX__SHA256_HEX]) {
    msx__sha256 h;
    msx__sha256_begin(&h);
    for (int64_t i = 0; i < e->n_images; i++) {
        const msx__eval_image *image = &e->images[e->natural ? e->natural[i] : i];
        int64_t size[3] = {msx_image_width(image->image), msx_image_height(image->image),
                           msx_image_channels(image->image)};
        size_t pixels = (size_t)(size[0] * size[1]);
        msx__sha256_add(&h, size, sizeof size);
        msx__sha256_add(&h, msx_image_data(image->image), pixels * (size_t)size[2]);
        msx__sha256_add(&h, image->labels, pixels * sizeof *image->labels);
    }
    for (int64_t i = 0; i < e->n_images; i++) {
        const msx__eval_image *image = &e->images[e->natural ? e->natural[i] : i];
        for (int64_t k = image->first_item; k < image->first_item + image->n_items; k++) {
            const msx__eval_item *item = &e->items[k];
            msx__sha256_add(&h, &i, sizeof i);
            msx__sha256_add(&h, &item->task, sizeof item->task);
            msx__sha256_add(&h, &e->boxes.items[item->first_box],
                            (size_t)item->n_boxes * sizeof *e->boxes.items);
        }
    }
    msx__sha256_hex(&h, out);
}
