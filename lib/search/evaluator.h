/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the evaluator: prepared slices and prompts, and what is kept between models. */
#ifndef MSX_SEARCH_EVALUATOR_H
#define MSX_SEARCH_EVALUATOR_H

#include "search/boxes.h"
#include "search/dataset.h"
#include "search/prefix.h"

typedef struct msx__eval_task {
    char *name; /* "Dataset/label" */
    const msx_dataset *dataset;
    int label;
    int64_t slices; /* of this split */
} msx__eval_task;

typedef struct msx__eval_image {
    const msx_dataset *dataset;
    const char *case_name; /* of the data set */
    int64_t slice;         /* -1: a 2-D image */
    msx_image *image;      /* 8 bit */
    uint16_t *labels;      /* (height, width) */
    int64_t first_item, n_items;
} msx__eval_image;

/* One task on one image; its boxes are neighbours in the evaluator's list. */
typedef struct msx__eval_item {
    int64_t image, task;
    int64_t first_box, n_boxes;
} msx__eval_item;

struct msx_evaluator {
    msx_ctx *ctx;
    msx_split split;
    char *slice_axis, *intensity; /* intensity NULL: by channel */
    const msx__box_preset *box_preset;
    int64_t min_object;
    msx_unit unit;
    msx_empty_rule empty;

    msx__eval_task *tasks;
    int64_t n_tasks;
    msx__eval_image *images;
    int64_t n_images, images_capacity;
    msx__eval_item *items; /* by image, then task */
    int64_t n_items, items_capacity;
    msx__boxes boxes;

    /* Where the images were before msx__evaluator_interleave(); NULL: where they are. */
    int64_t *natural;

    /* Network inputs, (n_images, 3, side, side), made for these properties; NULL when they would not
     * fit into INPUT_BYTES. */
    msx_preset preset;
    int64_t side;
    bool here; /* false: devices make them */
    float *inputs;
    int64_t *sizes; /* of the inputs: n_images x 4 */
};

/* Bring the images, once all are added, into an order of which every first part has its share of all data
 * sets and tasks; keyed by the seed. Scores stay in the order of adding. */
msx_status msx__evaluator_interleave(msx_evaluator *e, uint64_t seed);
/* Sort the items by image and tell the images theirs. */
void msx__evaluator_index(msx_evaluator *e);

/* Make the network inputs for models of that side and preset, on the host with `here`, else by the devices
 * that run them. Afterwards any number of threads may run such models, each with a `work` of its own. */
msx_status msx__evaluator_prepare(msx_evaluator *e, msx_preset preset, int64_t side, bool here);
/* Forget inputs; called when images are added. */
void msx__evaluator_drop_inputs(msx_evaluator *e);

/* ---- running ----------------------------------------------------------------------------------- */

/* What a device with memory of its own keeps for the next run, so that a run sends only boxes and brings
 * home only counts. (evaluator_there.c) */
typedef struct msx__eval_there {
    msx_device *device; /* NULL: nothing is kept */
    const msx_evaluator *evaluator;
    uint16_t *labels; /* of all images, one after the other; NULL where they did not fit */
    int64_t *offset;  /* of an image's labels */
    float *inputs;    /* (n_images, 3, side, side); NULL where they did not fit */
    int64_t *sizes;   /* of the inputs: n_images x 4 */
} msx__eval_there;

/* What one model keeps between its runs over an evaluator; zero-initialised. Several models may have
 * their own and share the evaluator. */
typedef struct msx__eval_work {
    msx_ctx *ctx;
    msx__activation_cache *cache; /* of the model's device; NULL: no results are kept */
    msx__eval_there there;
} msx__eval_work;

void msx__eval_work_free(msx__eval_work *w); /* accepts a zeroed struct */

/* What a run gives. */
typedef struct msx__eval_result {
    msx_counts *counts;                /* (items), the caller's; set for the evaluated images */
    int64_t images;                    /* evaluated: the first so many */
    int64_t blocks_run, blocks_reused; /* transformer blocks times images, computed and not */
} msx__eval_result;

/* Asked after every batch; *stop ends the run. */
typedef msx_status (*msx__eval_watch_fn)(const msx__eval_result *so_far, bool *stop, void *payload);

/* How to run; all zero is plain. */
typedef struct msx__eval_how {
    bool keep;                 /* images and labels stay on the device for the next run */
    const msx__prefix *prefix; /* of the model's weights; NULL: unknown, so no results are reused */
    int64_t batch;             /* at most so many images at once; 0: what suits the network */
    msx__eval_watch_fn watch;  /* may be NULL */
    void *payload;
    const char *stage; /* of progress reports; NULL: none */
} msx__eval_how;

/* @return MSX_E_FORMAT when the network's output is not finite. */
msx_status msx__evaluator_run(msx_evaluator *e, msx_model *model, msx__eval_work *work,
                              const msx__eval_how *how, msx__eval_result *r);
/* The evaluated images' counts as a score. */
msx_status msx__evaluator_score(msx_score **out, const msx_evaluator *e, const msx__eval_result *r);

enum { MSX__EVAL_MAX_BATCH = 16 };

/* Images [first, first + n) in work. */
typedef struct msx__eval_batch {
    const msx_evaluator *e;
    msx_model *model;
    msx__eval_work *work;
    const msx__eval_how *how;
    msx__eval_result *result;
    uint8_t *mask, *reference; /* of the largest image */
    int64_t first, n;
    const msx_embedding *embedding;
    msx_embedding *made; /* the same, unless it is the cache's */
} msx__eval_batch;

/* The embedding of a batch, and after its use: hand it to the cache when it is good, or release it.
 * (evaluator_embed.c) */
msx_status msx__evaluator_embed(msx__eval_batch *b);
msx_status msx__evaluator_keep(msx__eval_batch *b, bool good);

/* Decode and count all items of a batch. (evaluator_count.c) */
msx_status msx__evaluator_count(msx__eval_batch *b);
int64_t msx__evaluator_pixels(const msx_evaluator *e, const msx__eval_item *item);

/* Send what runs of `model` need; where memory runs out, less of it. Inputs only with `keep`. */
msx_status msx__eval_there_prepare(const msx_evaluator *e, msx__eval_work *w, msx_model *model,
                                   bool keep);
void msx__eval_there_drop(msx__eval_work *w);
/* Give back the inputs' memory; false when there is none. */
bool msx__eval_there_drop_inputs(msx__eval_work *w);
/* True when objects of `p` are counted on the device. */
bool msx__eval_there_counts(const msx__eval_work *w, const msx_prediction *p);
/* Counts of items [first, last), whose prompts begin at 0. MSX_E_FORMAT when one is not finite. */
msx_status msx__eval_there_count(const msx_evaluator *e, const msx__eval_work *w,
                                 const msx_prediction *p, int64_t first, int64_t last,
                                 msx_counts *counts);

/* MSX_E_FORMAT for an item whose network output is not finite. */
msx_status msx__evaluator_not_finite(const msx_evaluator *e, const msx__eval_item *item);

/* Digest of all slices, labels and boxes: what a search is scored on. */
void msx__evaluator_digest(const msx_evaluator *e, char out[MSX__SHA256_HEX]);

/* Union of the masks of all boxes of one item, 0 or 1, at the image's size. The prompts of the item
 * begin at `prompt` of `p`. */
msx_status msx__evaluator_item_mask(const msx_evaluator *e, const msx__eval_item *item,
                                    const msx_prediction *p, int64_t prompt, uint8_t *mask);

#endif
