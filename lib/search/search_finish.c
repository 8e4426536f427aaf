/* SPDX-License-Identifier: Apache-2.0 */
/* After a search: inputs, uniform merges and winners on one split, and pictures of the winner, into
 * the store. Everything is computed first and written in one transaction. */
#include "search/search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WINNERS = 3, PICTURES = 3 /* best ones and worst ones */, NAME = 80 };
#define PICTURE_PIXELS 400 /* small images are enlarged to about this */

/* One row of the table: a model's scores on all tasks. */
typedef struct entry {
    const char *kind;
    char name[NAME];
    msx_summary *summaries; /* n_tasks + 1; the last is the mean */
} entry;

typedef struct picture {
    char title[2 * NAME];
    msx__buffer caption;
    uint8_t *png;
    size_t bytes;
} picture;

typedef struct finish {
    msx_search *s;
    msx_evaluator *evaluator;
    msx_counts *counts; /* (items) of the last model */
    entry *entries;
    int64_t n_entries, n_planned;
    picture pictures[2 * PICTURES];
    int n_pictures;
} finish;

/* ---- scores ------------------------------------------------------------------------------------ */

/* Score the model in place; its counts stay in f->counts. */
static msx_status add_entry(finish *f, const char *kind, const char *name) {
    msx_search *s = f->s;
    entry *e = &f->entries[f->n_entries];
    msx__search_worker *w = &s->worker;
    bool known = f->evaluator == s->evaluator && w->prefix.ctx;
    const msx__eval_how how = {.prefix = known ? &w->prefix : NULL};
    msx__eval_result r = {.counts = f->counts};
    msx_score *score;
    MSX_TRY(msx__evaluator_run(f->evaluator, w->model, &w->work, &how, &r));
    MSX_TRY(msx__evaluator_score(&score, f->evaluator, &r));
    e->kind = kind;
    snprintf(e->name, sizeof e->name, "%s", name);
    e->summaries = msx__calloc(s->ctx, (size_t)s->n_tasks + 1, sizeof *e->summaries);
    msx_status status = e->summaries ? MSX_OK : MSX_E_NOMEM;
    for (int64_t t = 0; status >= 0 && t <= s->n_tasks; t++)
        status = msx__search_summary(s, score, t < s->n_tasks ? t : -1, &e->summaries[t]);
    f->n_entries++;
    msx_score_free(score);
    MSX_TRY(status);
    return msx__progress(s->ctx, "score", f->n_entries, f->n_planned, NAN);
}

static msx_status score_inputs(finish *f) {
    msx_search *s = f->s;
    for (size_t i = 0; i < s->n_models; i++) {
        MSX_TRY(msx__search_apply_file(&s->worker, s->models[i].file));
        MSX_TRY(add_entry(f, "input", s->models[i].name));
    }
    return MSX_OK;
}

/* The paper's four methods, then others that were searched. */
static size_t uniform_methods(const msx_search *s, const msx_merge_method **out) {
    static const char *const always[] = {"linear", "task_arithmetic", "ties", "slerp"};
    size_t n = 0;
    for (size_t i = 0; i < sizeof always / sizeof *always; i++) {
        const msx_merge_method *m = msx_merge_method_find(s->ctx, always[i]);
        if (m) out[n++] = m;
    }
    for (size_t i = 0; i < s->space.n_methods; i++) {
        size_t k = 0;
        while (k < n && out[k] != s->space.methods[i]) k++;
        if (k == n) out[n++] = s->space.methods[i];
    }
    return n;
}

static msx_status score_uniform(finish *f, const msx_merge_method *const *methods, size_t n) {
    for (size_t i = 0; i < n; i++) {
        msx_plan *plan;
        MSX_TRY(msx__merge_space_uniform_plan(&plan, &f->s->space, methods[i]));
        MSX_TRY(msx__search_apply(&f->s->worker, plan));
        MSX_TRY(add_entry(f, "uniform", methods[i]->name));
    }
    return MSX_OK;
}

/* ---- pictures ---------------------------------------------------------------------------------- */

typedef struct image_dice {
    double dice; /* mean over the image's tasks */
    int64_t image;
} image_dice;

static int by_dice(const void *a, const void *b) {
    const image_dice *x = a, *y = b;
    if (x->dice != y->dice) return x->dice < y->dice ? -1 : 1;
    return x->image < y->image ? -1 : x->image > y->image;
}

static double item_dice(const finish *f, int64_t item) {
    return msx_dice(f->counts[item], f->evaluator->empty);
}

static msx_status describe(finish *f, const image_dice *which, const char *rank, picture *p) {
    const msx_evaluator *e = f->evaluator;
    const msx__eval_image *image = &e->images[which->image];
    if (image->slice >= 0)
        snprintf(p->title, sizeof p->title, "%.*s, slice %" PRId64, NAME, image->case_name,
                 image->slice);
    else
        snprintf(p->title, sizeof p->title, "%.*s", NAME, image->case_name);
    msx__buffer_printf(&p->caption, "%s, one of the %s: mean Dice %.3f", image->dataset->name, rank,
                       which->dice);
    for (int64_t k = image->first_item; k < image->first_item + image->n_items; k++)
        msx__buffer_printf(&p->caption, "%s %s %.3f", k > image->first_item ? "," : ";",
                           e->tasks[e->items[k].task].name + strlen(image->dataset->name) + 1,
                           item_dice(f, k));
    return p->caption.failed ? MSX_E_NOMEM : MSX_OK;
}

static msx_status draw(finish *f, const image_dice *which, const char *rank) {
    msx_search *s = f->s;
    picture *p = &f->pictures[f->n_pictures++];
    msx__buffer_init(&p->caption, s->ctx);
    MSX_TRY(describe(f, which, rank, p));
    int64_t width = msx_image_width(f->evaluator->images[which->image].image);
    int64_t zoom = PICTURE_PIXELS / width;
    zoom = zoom < 1 ? 1 : zoom > 4 ? 4 : zoom;
    msx_image *overlay;
    MSX_TRY(
        msx_evaluator_overlay(&overlay, f->evaluator, s->worker.model, which->image, (int)zoom));
    msx_status status = msx_image_encode_png(overlay, &p->png, &p->bytes);
    msx_image_free(overlay);
    return status;
}

/* The worst images first, then the best, best first; every image at most once. */
static msx_status draw_extremes(finish *f) {
    const msx_evaluator *e = f->evaluator;
    int64_t n = e->n_images;
    image_dice *all = msx__alloc(f->s->ctx, (size_t)n, sizeof *all);
    if (!all) return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        const msx__eval_image *image = &e->images[i];
        double sum = 0;
        for (int64_t k = image->first_item; k < image->first_item + image->n_items; k++)
            sum += item_dice(f, k);
        all[i] = (image_dice){sum / (double)image->n_items, i};
    }
    if (n > 1) qsort(all, (size_t)n, sizeof *all, by_dice);
    msx_status status = MSX_OK;
    int64_t worst = n / 2 < PICTURES ? n / 2 : PICTURES;
    for (int64_t i = 0; status >= 0 && i < worst; i++) status = draw(f, &all[i], "worst");
    for (int64_t i = 0; status >= 0 && i < PICTURES && i < n - worst; i++)
        status = draw(f, &all[n - 1 - i], "best");
    msx__free(f->s->ctx, all);
    return status;
}

static msx_status score_winners(finish *f, const int64_t *trials, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        msx_plan *plan;
        char name[NAME];
        snprintf(name, sizeof name, "trial %" PRId64, trials[i]);
        MSX_TRY(msx_search_trial_plan(&plan, f->s, trials[i]));
        MSX_TRY(msx__search_apply(&f->s->worker, plan));
        MSX_TRY(add_entry(f, "winner", name));
        if (i == 0) MSX_TRY(draw_extremes(f));
    }
    return MSX_OK;
}

/* ---- all of it --------------------------------------------------------------------------------- */

static msx_status store_all(finish *f, msx_split split) {
    msx__store *store = f->s->store;
    int64_t tasks = f->s->n_tasks;
    MSX_TRY(msx__store_begin_results(store, split));
    msx_status status = MSX_OK;
    for (int64_t i = 0; i < f->n_entries; i++)
        for (int64_t t = 0; status >= 0 && t <= tasks; t++) {
            msx__store_result row = {.kind = f->entries[i].kind,
                                     .name = f->entries[i].name,
                                     .task = t < tasks ? t : -1,
                                     .summary = f->entries[i].summaries[t]};
            status = msx__store_add_result(store, split, &row);
        }
    for (int i = 0; status >= 0 && i < f->n_pictures; i++)
        status =
            msx__store_add_picture(store, split, f->pictures[i].title, f->pictures[i].caption.data,
                                   f->pictures[i].png, f->pictures[i].bytes);
    if (status >= 0) status = msx__store_commit(store);
    if (status < 0) msx__store_rollback(store);
    return status;
}

static msx_status open_split(finish *f, msx_split split) {
    msx_search *s = f->s;
    if (split == MSX_SPLIT_CALIBRATION) {
        f->evaluator = s->evaluator;
        return MSX_OK;
    }
    msx_eval_options options;
    MSX_TRY(msx__options_eval(&s->options, &options));
    MSX_TRY(msx_evaluator_create(&f->evaluator, s->ctx, split, &options));
    for (size_t i = 0; i < s->n_added; i++)
        MSX_TRY(msx_evaluator_add(f->evaluator, s->added[i].dataset, s->added[i].labels,
                                  s->added[i].n));
    return MSX_OK;
}

static msx_status run(finish *f, msx_split split) {
    msx_search *s = f->s;
    int64_t winners[WINNERS];
    int64_t front = msx_search_front(s, winners, s->n_tasks > 1 ? WINNERS : 1);
    int64_t n_winners = s->n_tasks > 1 ? (front < WINNERS ? front : WINNERS) : front > 0;
    if (n_winners == 0 && msx_search_best(s) >= 0) return MSX_E_NOMEM; /* of ranking the front */
    if (n_winners == 0)
        return msx__fail(s->ctx, MSX_E_ARG, "no trial has been finished; run the search first");
    size_t room = s->space.n_methods + 4;
    const msx_merge_method **methods = msx__alloc(s->ctx, room, sizeof *methods);
    f->entries = msx__calloc(s->ctx, s->n_models + room + WINNERS, sizeof *f->entries);
    msx_status status = methods && f->entries ? open_split(f, split) : MSX_E_NOMEM;
    if (status >= 0) {
        f->counts = msx__alloc(s->ctx, (size_t)f->evaluator->n_items, sizeof *f->counts);
        if (!f->counts) status = MSX_E_NOMEM;
    }
    size_t n_methods = status >= 0 ? uniform_methods(s, methods) : 0;
    f->n_planned = (int64_t)(s->n_models + n_methods) + n_winners;
    if (status >= 0) status = score_inputs(f);
    if (status >= 0) status = score_uniform(f, methods, n_methods);
    if (status >= 0) status = score_winners(f, winners, n_winners);
    msx__free(s->ctx, methods);
    return status < 0 ? status : store_all(f, split);
}

msx_status msx_search_finish(msx_search *s, msx_split split) {
    if (!s) return MSX_E_ARG;
    if (split != MSX_SPLIT_CALIBRATION && split != MSX_SPLIT_TEST)
        return msx__fail(s->ctx, MSX_E_ARG, "unknown split %d", (int)split);
    MSX_TRY(msx__search_prepare(s));
    MSX_TRY(msx__search_needs_images(s));
    finish f = {.s = s};
    msx_status status = run(&f, split);
    for (int64_t i = 0; i < f.n_entries; i++) msx__free(s->ctx, f.entries[i].summaries);
    for (int i = 0; i < f.n_pictures; i++) {
        msx__buffer_free(&f.pictures[i].caption);
        msx_free(s->ctx, f.pictures[i].png);
    }
    msx__free(s->ctx, f.counts);
    msx__free(s->ctx, f.entries);
    if (f.evaluator != s->evaluator) msx_evaluator_free(f.evaluator);
    return status;
}
