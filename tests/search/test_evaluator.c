/* SPDX-License-Identifier: Apache-2.0 */
/* The evaluator: which slices it takes, that its counts are those of the public calls, and how bad
 * data are told. */
#include "model/network.h"
#include "search/data.h"
#include "search/evaluator.h"

typedef struct fixture {
    msx_ctx *ctx;
    char folder[64];
    msx_device *device;
    msx_model *model;
} fixture;

static void set_up(fixture *f) {
    f->ctx = test_ctx();
    strcpy(f->folder, test_make_folder());
    msx_checkpoint *c;
    test_ok(f->ctx, msx_device_open(&f->device, f->ctx, "cpu"));
    test_ok(f->ctx, msx_checkpoint_open(&c, f->ctx, test_path("golden/a/model.pth")));
    test_ok(f->ctx, msx_model_load(&f->model, f->device, c, MSX_PRESET_SAM));
    msx_checkpoint_free(c);
}

static void tear_down(fixture *f) {
    test_remove_folder(f->folder);
    msx_model_free(f->model);
    msx_device_free(f->device);
    msx_ctx_free(f->ctx);
}

static msx_dataset *open_data(fixture *f) {
    msx_dataset *d;
    test_ok(f->ctx, msx_dataset_open(&d, f->ctx, f->folder));
    return d;
}

static msx_evaluator *evaluator(fixture *f, msx_split split, const msx_eval_options *options) {
    msx_evaluator *e;
    test_ok(f->ctx, msx_evaluator_create(&e, f->ctx, split, options));
    return e;
}

START_TEST(images_are_shared_by_their_tasks) {
    fixture f;
    set_up(&f);
    make_small_data(f.ctx, f.folder);
    msx_dataset *d = open_data(&f);
    msx_evaluator *e = evaluator(&f, MSX_SPLIT_CALIBRATION, NULL);
    test_ok(f.ctx, msx_evaluator_add(e, d, NULL, 0));
    ck_assert_int_eq(msx_evaluator_task_count(e), 2); /* "ignore" is none */
    ck_assert_str_eq(msx_evaluator_task(e, 0), "Small/square");
    ck_assert_str_eq(msx_evaluator_task(e, 1), "Small/disc");
    ck_assert_ptr_null(msx_evaluator_task(e, 2));
    ck_assert_int_eq(msx_evaluator_image_count(e), 3);
    ck_assert_str_eq(msx_evaluator_image_case(e, 2), "c");
    ck_assert_str_eq(msx_evaluator_image_dataset(e, 0), "Small");
    ck_assert_int_eq(msx_evaluator_image_slice(e, 0), -1);
    ck_assert_int_eq(e->n_items, 6);
    msx_evaluator_free(e);

    /* one task after the other finds the images of the first again */
    msx_evaluator *apart = evaluator(&f, MSX_SPLIT_CALIBRATION, NULL);
    test_ok(f.ctx, msx_evaluator_add(apart, d, (const char *[]){"disc"}, 1));
    test_ok(f.ctx, msx_evaluator_add(apart, d, (const char *[]){"square"}, 1));
    ck_assert_int_eq(msx_evaluator_image_count(apart), 3);
    ck_assert_int_eq(apart->n_items, 6);
    ck_assert_int_eq(apart->images[1].n_items, 2);
    test_fails(f.ctx, msx_evaluator_add(apart, d, (const char *[]){"disc"}, 1), MSX_E_EXISTS,
               "Small/disc");
    test_fails(f.ctx, msx_evaluator_add(apart, d, (const char *[]){"discs"}, 1), MSX_E_NOTFOUND,
               "did you mean 'disc'");
    ck_assert_int_eq(msx_evaluator_task_count(apart), 2);
    ck_assert_int_eq(apart->n_items, 6);
    msx_evaluator_free(apart);
    msx_evaluator_free(NULL);
    msx_dataset_free(d);
    tear_down(&f);
}
END_TEST

/* Counts of one box prompt by the public calls alone. */
static msx_counts by_hand(fixture *f, const char *image_path, const char *label_path, int label,
                          const double box[4]) {
    msx_image *image, *labels, *mask;
    msx_embedding *embedding;
    msx_prompts *prompts;
    msx_prediction *prediction;
    test_ok(f->ctx, msx_image_load(&image, f->ctx, image_path));
    test_ok(f->ctx, msx_image_load_labels(&labels, f->ctx, label_path));
    test_ok(f->ctx, msx_model_encode(&embedding, f->model, (const msx_image *[]){image}, 1));
    test_ok(f->ctx, msx_prompts_create(&prompts, f->ctx));
    test_ok(f->ctx, msx_prompts_begin(prompts, 0));
    test_ok(f->ctx, msx_prompts_box(prompts, box[0], box[1], box[2], box[3]));
    test_ok(f->ctx, msx_model_predict(&prediction, f->model, embedding, prompts));
    test_ok(f->ctx, msx_prediction_mask(&mask, prediction, 0, 0));
    msx_counts c = {0, 0, 0, 0};
    const uint8_t *predicted = msx_image_data(mask), *truth = msx_image_data(labels);
    for (int64_t i = 0; i < msx_image_width(image) * msx_image_height(image); i++) {
        c.tp += predicted[i] && truth[i] == label;
        c.fp += predicted[i] && truth[i] != label;
        c.fn += !predicted[i] && truth[i] == label;
        c.tn += !predicted[i] && truth[i] != label;
    }
    msx_image_free(image);
    msx_image_free(labels);
    msx_image_free(mask);
    msx_embedding_free(embedding);
    msx_prompts_free(prompts);
    msx_prediction_free(prediction);
    return c;
}

START_TEST(counts_are_those_of_the_public_calls) {
    fixture f;
    set_up(&f);
    make_small_data(f.ctx, f.folder);
    msx_dataset *d = open_data(&f);
    msx_evaluator *e = evaluator(&f, MSX_SPLIT_TEST, NULL);
    test_ok(f.ctx, msx_evaluator_add(e, d, NULL, 0));
    msx_score *score;
    test_ok(f.ctx, msx_evaluator_run(&score, e, f.model));
    ck_assert_int_eq(msx_score_count(score), 4);
    ck_assert_str_eq(msx_score_case(score, 2), "Small/e");
    ck_assert_str_eq(msx_score_label(score, 2), "Small/square");
    ck_assert_int_eq(msx_score_slice(score, 2), -1);
    msx_counts expected =
        by_hand(&f, msx_dataset_image_path(d, MSX_SPLIT_TEST, 1),
                msx_dataset_label_path(d, MSX_SPLIT_TEST, 1), 1, (double[]){14, 14, 25, 23});
    msx_counts found = msx_score_counts(score, 2);
    ck_assert_int_eq(found.tp + found.fn, 120);
    ck_assert_int_eq(found.tp, expected.tp);
    ck_assert_int_eq(found.fp, expected.fp);
    ck_assert_int_eq(found.fn, expected.fn);
    ck_assert_int_eq(found.tn, expected.tn);
    msx_score_free(score);
    msx_evaluator_free(e);
    msx_dataset_free(d);
    tear_down(&f);
}
END_TEST

static void same_scores(const msx_score *a, const msx_score *b) {
    ck_assert_int_eq(msx_score_count(a), msx_score_count(b));
    for (int64_t i = 0; i < msx_score_count(a); i++) {
        msx_counts x = msx_score_counts(a, i), y = msx_score_counts(b, i);
        ck_assert_str_eq(msx_score_label(a, i), msx_score_label(b, i));
        ck_assert(x.tp == y.tp && x.fp == y.fp && x.fn == y.fn && x.tn == y.tn);
    }
}

/* A prefix that changes with `salt` from boundary `from` on; trials can part at every boundary. */
static msx__prefix prefix_of(fixture *f, int64_t from, int salt) {
    msx__prefix p = {.ctx = f->ctx, .depth = f->model->depth};
    size_t n = (size_t)p.depth + 2;
    p.digest = msx__calloc(f->ctx, n, sizeof *p.digest);
    p.parts = msx__calloc(f->ctx, n, sizeof *p.parts);
    for (size_t k = 0; k < n; k++) {
        p.digest[k][0] = (uint8_t)k;
        p.digest[k][1] = (uint8_t)((int64_t)k >= from ? salt : 0);
        p.parts[k] = true;
    }
    return p;
}

static msx_score *run_kept(fixture *f, msx_evaluator *e, msx__eval_work *work, int64_t from,
                           int salt, msx__eval_result *r) {
    msx__prefix p = prefix_of(f, from, salt);
    const msx__eval_how how = {.keep = true, .prefix = &p, .batch = 2};
    msx_score *score;
    test_ok(f->ctx, msx__evaluator_run(e, f->model, work, &how, r));
    test_ok(f->ctx, msx__evaluator_score(&score, e, r));
    msx__prefix_free(&p);
    return score;
}

/* Whatever the budget holds, the scores are those of a plain run; with room for all, only what lies behind
 * the last common boundary is run. */
START_TEST(what_is_kept_changes_nothing_but_the_work) {
    static const int64_t budgets[] = {INT64_MAX / 2, 0, 1, 100000, 1000000};
    fixture f;
    set_up(&f);
    make_small_data(f.ctx, f.folder);
    msx_dataset *d = open_data(&f);
    msx_evaluator *e = evaluator(&f, MSX_SPLIT_CALIBRATION, NULL);
    test_ok(f.ctx, msx_evaluator_add(e, d, NULL, 0));
    msx_score *plain;
    test_ok(f.ctx, msx_evaluator_run(&plain, e, f.model));
    int64_t depth = f.model->depth, blocks = e->n_images * depth;
    msx_counts counts[6];
    msx__eval_result r = {.counts = counts};
    for (size_t b = 0; b < sizeof budgets / sizeof *budgets; b++) {
        msx__eval_work work = {0};
        test_ok(f.ctx, msx__activation_cache_create(&work.cache, f.ctx, budgets[b]));
        for (int64_t step = 0; step < 2 * depth + 3; step++) {
            int64_t from = step < depth + 2 ? depth + 1 - step : step - depth - 1;
            msx_score *score = run_kept(&f, e, &work, from, 1 + (int)step, &r);
            same_scores(plain, score);
            msx_score_free(score);
            ck_assert_int_eq(r.images, e->n_images);
            ck_assert_int_eq(r.blocks_run + r.blocks_reused, blocks);
            /* boundary 0 is not kept: making tokens runs no block */
            int64_t reused = b == 0 && step && from > 1 ? from - 1 : 0;
            if (b < 2) ck_assert_int_eq(r.blocks_reused, e->n_images * reused);
            score = run_kept(&f, e, &work, from, 1 + (int)step, &r);
            same_scores(plain, score);
            msx_score_free(score);
            if (b == 0) ck_assert_int_eq(r.blocks_run, 0);
        }
        msx__eval_work_free(&work);
    }
    msx_score_free(plain);
    msx_evaluator_free(e);
    msx_dataset_free(d);
    tear_down(&f);
}
END_TEST

static msx_status stop_after(const msx__eval_result *so_far, bool *stop, void *payload) {
    *stop = so_far->images >= *(int *)payload;
    return MSX_OK;
}

static msx_status fail_after(const msx__eval_result *so_far, bool *stop, void *payload) {
    (void)stop;
    return so_far->images >= *(int *)payload ? MSX_E_CANCELLED : MSX_OK;
}

START_TEST(a_run_can_be_stopped_between_batches) {
    fixture f;
    set_up(&f);
    make_small_data(f.ctx, f.folder);
    msx_dataset *d = open_data(&f);
    msx_evaluator *e = evaluator(&f, MSX_SPLIT_CALIBRATION, NULL);
    test_ok(f.ctx, msx_evaluator_add(e, d, NULL, 0));
    msx_counts counts[6];
    msx_score *score;
    int images = 2;
    msx__eval_result r = {.counts = counts};
    msx__eval_work work = {0};
    msx__eval_how how = {.batch = 1, .watch = stop_after, .payload = &images};
    test_ok(f.ctx, msx__evaluator_run(e, f.model, &work, &how, &r));
    ck_assert_int_eq(r.images, 2);
    ck_assert_int_eq(r.blocks_run, 2 * f.model->depth);
    test_ok(f.ctx, msx__evaluator_score(&score, e, &r));
    ck_assert_int_eq(msx_score_count(score), 4);
    msx_score_free(score);
    how.watch = fail_after;
    ck_assert_int_eq(msx__evaluator_run(e, f.model, &work, &how, &r), MSX_E_CANCELLED);
    msx__eval_work_free(&work);
    msx_evaluator_free(e);
    msx_dataset_free(d);
    tear_down(&f);
}
END_TEST

/* The order of visiting may be any; scores and the digest keep the order of adding. */
START_TEST(interleaving_changes_the_order_of_visiting_only) {
    for (uint64_t seed = 0; seed < 6; seed++) {
        fixture f;
        set_up(&f);
        make_small_data(f.ctx, f.folder);
        msx_dataset *d = open_data(&f);
        msx_evaluator *plain = evaluator(&f, MSX_SPLIT_CALIBRATION, NULL);
        msx_evaluator *mixed = evaluator(&f, MSX_SPLIT_CALIBRATION, NULL);
        test_ok(f.ctx, msx_evaluator_add(plain, d, NULL, 0));
        test_ok(f.ctx, msx_evaluator_add(mixed, d, NULL, 0));
        test_ok(f.ctx, msx__evaluator_interleave(mixed, seed));
        char a[MSX__SHA256_HEX], b[MSX__SHA256_HEX];
        msx__evaluator_digest(plain, a);
        msx__evaluator_digest(mixed, b);
        ck_assert_str_eq(a, b);
        for (int64_t i = 0; i < 3; i++)
            ck_assert_str_eq(mixed->images[mixed->natural[i]].case_name,
                             plain->images[i].case_name);
        msx_score *x, *y;
        test_ok(f.ctx, msx_evaluator_run(&x, plain, f.model));
        test_ok(f.ctx, msx_evaluator_run(&y, mixed, f.model));
        same_scores(x, y);
        for (int64_t i = 0; i < msx_score_count(x); i++)
            ck_assert_str_eq(msx_score_case(x, i), msx_score_case(y, i));
        msx_score_free(x);
        msx_score_free(y);
        msx_evaluator_free(plain);
        msx_evaluator_free(mixed);
        msx_dataset_free(d);
        tear_down(&f);
    }
}
END_TEST

START_TEST(ignored_pixels_do_not_count) {
    fixture f;
    set_up(&f);
    write_text(f.folder, "dataset.json", small_json);
    make_data_folders(f.folder);
    uint8_t image[SIDE * SIDE], label[SIDE * SIDE];
    for (int i = 0; i < SIDE * SIDE; i++) {
        int x = i % SIDE, y = i / SIDE;
        bool inside = x >= 10 && x < 30 && y >= 10 && y < 30;
        image[i] = inside ? 220 : 20;
        label[i] = inside ? 1 : 3; /* everything else is to be ignored */
    }
    save_png(f.ctx, f.folder, "imagesTr/a_0000.png", SIDE, SIDE, 1, image);
    save_png(f.ctx, f.folder, "labelsTr/a.png", SIDE, SIDE, 1, label);
    msx_dataset *d = open_data(&f);
    msx_evaluator *e = evaluator(&f, MSX_SPLIT_CALIBRATION, NULL);
    test_ok(f.ctx, msx_evaluator_add(e, d, (const char *[]){"square"}, 1));
    msx_score *score;
    test_ok(f.ctx, msx_evaluator_run(&score, e, f.model));
    msx_counts c = msx_score_counts(score, 0);
    ck_assert_int_eq(c.fp, 0);
    ck_assert_int_eq(c.tp + c.fn, 400);
    msx_score_free(score);
    msx_evaluator_free(e);
    msx_dataset_free(d);
    tear_down(&f);
}
END_TEST

/* Two volumes of 20 x 16 x 6 voxels; the spacing is largest along j. Label 1 is a block of
 * 6 x 4 x 3 voxels. */
static void make_volumes(const char *folder, const float *label_spacing, int label_nx, float value,
                         int type) {
    const float spacing[3] = {1, 3, 2};
    int dims[3] = {20, 16, 6}, label_dims[3] = {label_nx, 16, 6};
    write_text(folder, "dataset.json",
               "{\"name\": \"V\", \"channel_names\": {\"0\": \"MRI\"}, \"labels\": "
               "{\"background\": 0, \"block\": 1}, \"file_ending\": \".nii\"}");
    make_data_folders(folder);
    float image[20 * 16 * 6], label[24 * 16 * 6];
    memset(label, 0, sizeof label);
    for (int k = 0; k < 6; k++)
        for (int j = 0; j < 16; j++)
            for (int i = 0; i < 20; i++) {
                bool inside = i >= 4 && i < 10 && j >= 5 && j < 9 && k >= 1 && k < 4;
                image[i + 20 * (j + 16 * k)] = (float)(inside ? 900 + i : 100 + j);
                label[i + label_nx * (j + 16 * k)] = inside ? value : 0;
            }
    write_nifti(folder, "imagesTr/v_0000.nii", dims, spacing, 16, image);
    write_nifti(folder, "labelsTr/v.nii", label_dims, label_spacing ? label_spacing : spacing, type,
                label);
}

START_TEST(volumes_are_cut_along_the_largest_spacing) {
    fixture f;
    set_up(&f);
    make_volumes(f.folder, NULL, 20, 1, 2);
    msx_dataset *d = open_data(&f);
    msx_eval_options o = {.struct_size = sizeof o, .min_object = 10};
    msx_evaluator *e = evaluator(&f, MSX_SPLIT_CALIBRATION, &o);
    test_ok(f.ctx, msx_evaluator_add(e, d, NULL, 0));
    ck_assert_int_eq(msx_evaluator_image_count(e), 4); /* j = 5..8, 18 pixels each */
    ck_assert_int_eq(msx_evaluator_image_slice(e, 0), 5);
    ck_assert_int_eq(msx_image_width(e->images[0].image), 20);
    ck_assert_int_eq(msx_image_height(e->images[0].image), 6); /* row k, column i */
    const msx__box *b = &e->boxes.items[0];
    ck_assert(b->x0 == 4 && b->x1 == 9 && b->y0 == 1 && b->y1 == 3);
    msx_evaluator_free(e);

    o.slice_axis = "k";
    o.min_object = 24;
    e = evaluator(&f, MSX_SPLIT_CALIBRATION, &o);
    test_ok(f.ctx, msx_evaluator_add(e, d, NULL, 0));
    ck_assert_int_eq(msx_evaluator_image_count(e), 3);
    msx_evaluator_free(e);

    o.min_object = 25; /* one more than there are */
    e = evaluator(&f, MSX_SPLIT_CALIBRATION, &o);
    test_ok(f.ctx, msx_evaluator_add(e, d, NULL, 0));
    ck_assert_int_eq(msx_evaluator_image_count(e), 0);
    msx_score *score;
    test_fails(f.ctx, msx_evaluator_run(&score, e, f.model), MSX_E_FORMAT, "nothing to score");
    msx_evaluator_free(e);
    msx_dataset_free(d);
    tear_down(&f);
}
END_TEST

static void add_fails(fixture *f, msx_status status, const char *text) {
    msx_dataset *d = open_data(f);
    msx_evaluator *e = evaluator(f, MSX_SPLIT_CALIBRATION, NULL);
    test_fails(f->ctx, msx_evaluator_add(e, d, NULL, 0), status, text);
    ck_assert_int_eq(msx_evaluator_task_count(e), 0);
    ck_assert_int_eq(msx_evaluator_image_count(e), 0);
    msx_evaluator_free(e);
    msx_dataset_free(d);
}

START_TEST(bad_cases_have_one_clear_line) {
    fixture f;
    set_up(&f);
    switch (_i) {
    case 0: /* a mask of another size */
        make_volumes(f.folder, NULL, 24, 1, 2);
        add_fails(&f, MSX_E_SHAPE, "labelsTr/v.nii");
        break;
    case 1: /* a mask of another place */
        make_volumes(f.folder, (const float[]){2, 3, 2}, 20, 1, 2);
        add_fails(&f, MSX_E_SHAPE, "labelsTr/v.nii");
        break;
    case 2: /* not integers */
        make_volumes(f.folder, NULL, 20, 1.5f, 16);
        add_fails(&f, MSX_E_FORMAT, "labelsTr/v.nii");
        break;
    case 3: /* a PNG mask of another size */
        make_small_data(f.ctx, f.folder);
        save_png(f.ctx, f.folder, "labelsTr/b.png", 10, 12, 1, NULL);
        add_fails(&f, MSX_E_SHAPE, "labelsTr/b.png: 10x12 pixels, but the image");
        break;
    case 4: /* no image at all */
        make_small_data(f.ctx, f.folder);
        write_text(f.folder, "imagesTr/c_0000.png", "text");
        add_fails(&f, MSX_E_FORMAT, "imagesTr/c_0000.png");
        break;
    default: /* an intensity rule that is none */
        make_volumes(f.folder, NULL, 20, 1, 2);
        msx_dataset *d = open_data(&f);
        msx_eval_options o = {.struct_size = sizeof o, .intensity = "mrr"};
        msx_evaluator *e = evaluator(&f, MSX_SPLIT_CALIBRATION, &o);
        test_fails(f.ctx, msx_evaluator_add(e, d, NULL, 0), MSX_E_NOTFOUND, "mr");
        msx_evaluator_free(e);
        msx_dataset_free(d);
    }
    tear_down(&f);
}
END_TEST

START_TEST(options_are_checked) {
    fixture f;
    set_up(&f);
    msx_evaluator *e;
    ck_assert_int_eq(msx_evaluator_create(NULL, f.ctx, MSX_SPLIT_TEST, NULL), MSX_E_ARG);
    test_fails(f.ctx, msx_evaluator_create(&e, f.ctx, (msx_split)7, NULL), MSX_E_ARG, "split");
    msx_eval_options o = {.struct_size = 3};
    test_fails(f.ctx, msx_evaluator_create(&e, f.ctx, MSX_SPLIT_TEST, &o), MSX_E_ARG,
               "struct_size");
    o = (msx_eval_options){.struct_size = sizeof o, .box_preset = "tigt"};
    test_fails(f.ctx, msx_evaluator_create(&e, f.ctx, MSX_SPLIT_TEST, &o), MSX_E_NOTFOUND, "tight");
    o = (msx_eval_options){.struct_size = sizeof o, .slice_axis = "z"};
    test_fails(f.ctx, msx_evaluator_create(&e, f.ctx, MSX_SPLIT_TEST, &o), MSX_E_NOTFOUND, "axis");
    o = (msx_eval_options){.struct_size = sizeof o, .min_object = -2};
    test_fails(f.ctx, msx_evaluator_create(&e, f.ctx, MSX_SPLIT_TEST, &o), MSX_E_ARG, "min_object");
    o = (msx_eval_options){.struct_size = sizeof o, .unit = (msx_unit)9};
    test_fails(f.ctx, msx_evaluator_create(&e, f.ctx, MSX_SPLIT_TEST, &o), MSX_E_ARG, "unit");
    o = (msx_eval_options){.struct_size = sizeof o, .empty = (msx_empty_rule)9};
    test_fails(f.ctx, msx_evaluator_create(&e, f.ctx, MSX_SPLIT_TEST, &o), MSX_E_ARG, "empty");
    ck_assert_ptr_null(e);
    test_ok(f.ctx, msx_evaluator_create(&e, f.ctx, MSX_SPLIT_TEST, NULL));
    test_fails(f.ctx, msx_evaluator_add(e, NULL, NULL, 0), MSX_E_ARG, "data set");
    test_fails(f.ctx, msx_evaluator_run(NULL, e, f.model), MSX_E_ARG, "NULL");
    ck_assert_int_eq(msx_evaluator_add(NULL, NULL, NULL, 0), MSX_E_ARG);
    ck_assert_int_eq(msx_evaluator_run(NULL, NULL, NULL), MSX_E_ARG);
    ck_assert_int_eq(msx_evaluator_task_count(NULL), 0);
    msx_evaluator_free(e);
    tear_down(&f);
}
END_TEST

START_TEST(overlays_are_zoomed_pictures) {
    fixture f;
    set_up(&f);
    make_small_data(f.ctx, f.folder);
    msx_dataset *d = open_data(&f);
    msx_evaluator *e = evaluator(&f, MSX_SPLIT_CALIBRATION, NULL);
    test_ok(f.ctx, msx_evaluator_add(e, d, NULL, 0));
    msx_image *picture;
    test_ok(f.ctx, msx_evaluator_overlay(&picture, e, f.model, 1, 3));
    ck_assert_int_eq(msx_image_width(picture), 3 * SIDE);
    ck_assert_int_eq(msx_image_channels(picture), 3);
    msx_image_free(picture);
    test_fails(f.ctx, msx_evaluator_overlay(&picture, e, f.model, 3, 3), MSX_E_ARG, "image 3 of 3");
    ck_assert_ptr_null(picture);
    msx_evaluator_free(e);
    msx_dataset_free(d);
    tear_down(&f);
}
END_TEST

START_TEST(weights_that_overflow_are_told) {
    fixture f;
    set_up(&f);
    make_small_data(f.ctx, f.folder);
    msx_checkpoint *c, *wild;
    msx_model *model;
    test_ok(f.ctx, msx_checkpoint_open(&c, f.ctx, test_path("golden/a/model.pth")));
    test_ok(f.ctx, msx_checkpoint_create(&wild, f.ctx));
    for (int64_t i = 0; i < msx_checkpoint_count(c); i++) {
        int64_t dims[MSX_MAX_RANK], n = msx_checkpoint_elements(c, i);
        for (int a = 0; a < msx_checkpoint_rank(c, i); a++) dims[a] = msx_checkpoint_dim(c, i, a);
        test_ok(f.ctx, msx_checkpoint_add(wild, msx_checkpoint_name(c, i),
                                          msx_checkpoint_rank(c, i), dims, NULL));
        float *data = msx_checkpoint_data(wild, i);
        test_ok(f.ctx, msx_checkpoint_read(c, i, data, n));
        for (int64_t k = 0; k < n; k++) data[k] *= 1e30f;
    }
    test_ok(f.ctx, msx_model_load(&model, f.device, wild, MSX_PRESET_SAM));
    msx_dataset *d = open_data(&f);
    msx_evaluator *e = evaluator(&f, MSX_SPLIT_CALIBRATION, NULL);
    test_ok(f.ctx, msx_evaluator_add(e, d, NULL, 0));
    msx_score *score;
    test_fails(f.ctx, msx_evaluator_run(&score, e, model), MSX_E_FORMAT, "not finite");
    ck_assert_ptr_null(score);
    msx_evaluator_free(e);
    msx_dataset_free(d);
    msx_model_free(model);
    msx_checkpoint_free(c);
    msx_checkpoint_free(wild);
    tear_down(&f);
}
END_TEST

START_TEST(a_run_can_be_cancelled) {
    fixture f;
    set_up(&f);
    make_small_data(f.ctx, f.folder);
    msx_dataset *d = open_data(&f);
    msx_evaluator *e = evaluator(&f, MSX_SPLIT_CALIBRATION, NULL);
    test_ok(f.ctx, msx_evaluator_add(e, d, NULL, 0));
    msx_ctx_cancel(f.ctx);
    msx_score *score;
    ck_assert_int_eq(msx_evaluator_run(&score, e, f.model), MSX_E_CANCELLED);
    msx_ctx_reset_cancel(f.ctx);
    test_ok(f.ctx, msx_evaluator_run(&score, e, f.model));
    msx_score_free(score);
    msx_evaluator_free(e);
    msx_dataset_free(d);
    tear_down(&f);
}
END_TEST

START_TEST(running_out_of_memory_while_preparing_is_returned) {
    fixture f;
    set_up(&f);
    make_small_data(f.ctx, f.folder);
    for (int64_t n = 0;; n++) {
        test_allocator memory;
        test_allocator_init(&memory, n, n % 2);
        msx_ctx *ctx;
        if (msx_ctx_create(&ctx, &memory.table) < 0) continue;
        msx_dataset *d = NULL;
        msx_evaluator *e = NULL;
        msx_status status = msx_dataset_open(&d, ctx, f.folder);
        if (status >= 0) status = msx_evaluator_create(&e, ctx, MSX_SPLIT_CALIBRATION, NULL);
        if (status >= 0) status = msx_evaluator_add(e, d, NULL, 0);
        msx_evaluator_free(e);
        msx_dataset_free(d);
        msx_ctx_free(ctx);
        ck_assert_int_eq(memory.live, 0);
        if (status >= 0) break;
        ck_assert_int_eq(status, MSX_E_NOMEM);
        ck_assert_int_lt(n, 10000);
    }
    tear_down(&f);
}
END_TEST

typedef struct findings {
    int errors, remarks;
    char text[8192];
} findings;

static void collect(msx_log_level level, const char *text, void *payload) {
    findings *f = payload;
    level == MSX_LOG_WARNING ? f->errors++ : f->remarks++;
    strncat(f->text, text, sizeof f->text - strlen(f->text) - 2);
    strcat(f->text, "\n");
}

START_TEST(a_check_finds_everything_at_once) {
    fixture f;
    set_up(&f);
    make_small_data(f.ctx, f.folder);
    findings found = {0, 0, ""};
    int64_t errors = -1;
    test_ok(f.ctx, msx_dataset_check(f.ctx, f.folder, collect, &found, &errors));
    ck_assert_msg(errors == 0 && found.errors == 0, "%s", found.text);
    ck_assert_ptr_nonnull(strstr(found.text, "task 'disc': 3 calibration slices"));

    save_png(f.ctx, f.folder, "labelsTr/b.png", 10, 12, 1, NULL); /* another size */
    write_text(f.folder, "imagesTr/c_0000.png", "text");          /* no image */
    write_text(f.folder, "imagesTr/x_0000.png", "text");          /* no partner */
    uint8_t strange[SIDE * SIDE] = {0};
    memset(strange, 9, 100);
    save_png(f.ctx, f.folder, "labelsTs/d.png", SIDE, SIDE, 1, strange);
    save_png(f.ctx, f.folder, "labelsTs/e.png", SIDE, SIDE, 1, NULL); /* nothing labelled */
    found = (findings){0, 0, ""};
    test_ok(f.ctx, msx_dataset_check(f.ctx, f.folder, collect, &found, &errors));
    ck_assert_int_eq(errors, 4); /* an empty mask is only remarked on: it can be true */
    ck_assert_int_eq(found.errors, 4);
    static const char *const expected[] = {
        "labelsTr/b.png: 10x12", "imagesTr/c_0000.png", "case 'x' has no label file",
        "does not name: 1 of them, the first is 9", "labelsTs/e.png: no labelled pixel"};
    for (int i = 0; i < 5; i++)
        ck_assert_msg(strstr(found.text, expected[i]), "%s is not in:\n%s", expected[i],
                      found.text);
    test_ok(f.ctx, msx_dataset_check(f.ctx, "/nonexistent", NULL, NULL, &errors));
    ck_assert_int_eq(errors, 1);
    test_fails(f.ctx, msx_dataset_check(f.ctx, NULL, NULL, NULL, NULL), MSX_E_ARG, "no folder");
    tear_down(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("evaluator");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 180);
    tcase_add_test(t, images_are_shared_by_their_tasks);
    tcase_add_test(t, counts_are_those_of_the_public_calls);
    tcase_add_test(t, what_is_kept_changes_nothing_but_the_work);
    tcase_add_test(t, a_run_can_be_stopped_between_batches);
    tcase_add_test(t, interleaving_changes_the_order_of_visiting_only);
    tcase_add_test(t, ignored_pixels_do_not_count);
    tcase_add_test(t, volumes_are_cut_along_the_largest_spacing);
    tcase_add_loop_test(t, bad_cases_have_one_clear_line, 0, 6);
    tcase_add_test(t, options_are_checked);
    tcase_add_test(t, overlays_are_zoomed_pictures);
    tcase_add_test(t, weights_that_overflow_are_told);
    tcase_add_test(t, a_run_can_be_cancelled);
    tcase_add_test(t, running_out_of_memory_while_preparing_is_returned);
    tcase_add_test(t, a_check_finds_everything_at_once);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
