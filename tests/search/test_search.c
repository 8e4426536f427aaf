/* SPDX-License-Identifier: Apache-2.0 */
/* The search as a whole on tiny data: first trials, resuming, cancelling, ranking, what it writes. */
#include "search/search_run.h"
#include "search/searching.h"

START_TEST(the_first_trials_are_inputs_and_uniform_merges) {
    fixture f;
    set_up(&f);
    msx_search *s = new_search(&f, "", "8");
    ck_assert_int_eq(msx_search_best(s), -1);
    ck_assert_int_eq(msx_search_front(s, NULL, 0), 0);
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    ck_assert_int_eq(msx_search_trials(s), 8);
    static const char *const methods[] = {"linear",          "linear", "linear", "linear",
                                          "task_arithmetic", "ties",   "slerp"};
    for (int64_t i = 0; i < 7; i++) {
        msx_plan *plan;
        test_ok(f.ctx, msx_search_trial_plan(&plan, s, i));
        ck_assert_str_eq(msx_search_trial_origin(s, i), "enqueued");
        ck_assert_str_eq(msx_plan_entry_method(plan, 0), methods[i]);
        if (i < 3) {
            static const char *const keys[] = {"weight.base", "weight.one", "weight.two"};
            for (int k = 0; k < 3; k++)
                ck_assert(msx_plan_entry_param(plan, 0, keys[k]) == (double)(k == i));
        }
        msx_plan_free(plan);
    }
    ck_assert_str_eq(msx_search_trial_origin(s, 7), "random");
    ck_assert_ptr_null(msx_search_trial_origin(s, 8));

    /* trial 1 is the model "one", to the bit of its score */
    msx_checkpoint *c;
    msx_model *model;
    msx_evaluator *e;
    msx_score *score;
    test_ok(f.ctx, msx_checkpoint_open(&c, f.ctx, fine_tuned(&f, 0)));
    test_ok(f.ctx, msx_model_load(&model, f.device, c, MSX_PRESET_SAM));
    test_ok(f.ctx, msx_evaluator_create(&e, f.ctx, MSX_SPLIT_CALIBRATION, NULL));
    test_ok(f.ctx, msx_evaluator_add(e, f.data, NULL, 0));
    test_ok(f.ctx, msx_evaluator_run(&score, e, model));
    for (int t = 0; t < 2; t++) {
        msx_summary summary = {.struct_size = sizeof summary};
        test_ok(f.ctx, msx_score_summary(score, msx_search_task(s, t), MSX_METRIC_DICE,
                                         MSX_UNIT_SLICE, MSX_EMPTY_NNUNET, 0, &summary));
        ck_assert(msx_search_trial_costs(s, 1)[t] == 1 - summary.mean);
    }
    msx_score_free(score);
    msx_evaluator_free(e);
    msx_model_free(model);
    msx_checkpoint_free(c);
    msx_search_free(s);
    msx_search_free(NULL);
    tear_down(&f);
}
END_TEST

START_TEST(a_resumed_search_continues_the_same_sequence) {
    fixture f;
    set_up(&f);
    msx_search *whole = new_search(&f, "", "14");
    ck_assert_int_eq(msx_search_run(whole), MSX_DONE_TRIALS);
    for (int n = 0; n < 3; n++) { /* three lives of one store */
        static const char *const until[] = {"4", "9", "14"};
        msx_search *s = new_search(&f, f.store, "14");
        set(&f, s, "trials", until[n]);
        ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
        if (n == 2) same_trials(whole, s);
        msx_search_free(s);
    }
    /* and one that goes on in the same handle */
    msx_search *grown = new_search(&f, "", "5");
    ck_assert_int_eq(msx_search_run(grown), MSX_DONE_TRIALS);
    set(&f, grown, "trials", "14");
    ck_assert_int_eq(msx_search_run(grown), MSX_DONE_TRIALS);
    same_trials(whole, grown);
    test_fails(f.ctx, msx_search_set(grown, "seed", "9"), MSX_E_ARG, "has begun");
    msx_search_free(grown);
    msx_search_free(whole);
    tear_down(&f);
}
END_TEST

static int stop_at(const msx_progress *p, void *payload) {
    return !strcmp(p->stage, "search") && p->done == *(int *)payload;
}

START_TEST(a_cancelled_search_goes_on) {
    fixture f;
    set_up(&f);
    msx_search *whole = new_search(&f, "", "10"), *s = new_search(&f, f.store, "10");
    ck_assert_int_eq(msx_search_run(whole), MSX_DONE_TRIALS);
    int at = 6;
    msx_ctx_set_progress(f.ctx, stop_at, &at);
    ck_assert_int_eq(msx_search_run(s), MSX_E_CANCELLED);
    ck_assert_int_eq(msx_search_trials(s), 6);
    msx_ctx_set_progress(f.ctx, NULL, NULL);
    msx_ctx_cancel(f.ctx);
    ck_assert_int_eq(msx_search_run(s), MSX_E_CANCELLED);
    ck_assert_int_eq(msx_search_trials(s), 6);
    msx_ctx_reset_cancel(f.ctx);
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    same_trials(whole, s);
    msx_search_free(s);
    msx_search_free(whole);
    tear_down(&f);
}
END_TEST

/* Apply a configuration, or trial `trial` when x is NULL, and score it. */
static void score(fixture *f, msx_search *s, int64_t trial, const double *x,
                  msx__search_outcome *out) {
    msx_plan *plan;
    if (x)
        test_ok(f->ctx, msx__merge_space_plan(&plan, &s->space, x));
    else
        test_ok(f->ctx, msx_search_trial_plan(&plan, s, trial));
    test_ok(f->ctx, msx__search_apply(&s->worker, plan));
    test_ok(f->ctx, msx__search_costs(&s->worker, NULL, out));
}

/* A trial that changes few groups, or returns to earlier ones, must score as one that is merged and encoded
 * from nothing. */
START_TEST(incremental_trials_equal_full_ones) {
    fixture f;
    set_up(&f);
    msx_search *s = new_search(&f, "", "12");
    set(&f, s, "racing", "0");
    set(&f, s, "proposals", "whole");
    set(&f, s, "granularity", "1");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    const msx_space *space = s->space.space;
    double *x = malloc((size_t)msx_space_count(space) * sizeof *x);
    int64_t blocks = 3 * msx_arch_get(msx_merger_arch(s->merger), MSX_ARCH_DEPTH);
    for (int step = 0; step < 3; step++) {
        int64_t trial = 8 + step;
        double quick[2], full[2], dice[6];
        msx__search_outcome outcome = {.costs = quick, .dice = dice};
        score(&f, s, trial, NULL, &outcome);
        ck_assert(!memcmp(quick, s->trials[trial].costs, sizeof quick));
        ck_assert_int_eq(outcome.blocks_run, step ? blocks : 0); /* the cache was emptied */
        /* now the same with another decoder only */
        memcpy(x, s->trials[trial].x, (size_t)msx_space_count(space) * sizeof *x);
        for (int64_t i = 0; i < msx_space_count(space); i++)
            if (!strncmp(msx_space_name(space, i), "decoder.1/method", 16))
                x[i] = (double)(step + 1);
        msx_space_repair(space, x);
        score(&f, s, 0, x, &outcome);
        ck_assert_int_eq(outcome.blocks_run, 0);
        test_ok(f.ctx, msx__search_apply_file(&s->worker, s->models[0].file));
        msx__activation_cache_clear(s->worker.work.cache);
        outcome.costs = full;
        score(&f, s, 0, x, &outcome);
        ck_assert_int_eq(outcome.images, 3);
        ck_assert(outcome.blocks_run == blocks && outcome.blocks_reused == 0);
        ck_assert(!memcmp(quick, full, sizeof full));
        /* and with another last group of the encoder: what lies before it is not run */
        for (int64_t i = 0; i < msx_space_count(space); i++)
            if (!strncmp(msx_space_name(space, i), "encoder.1/method", 16))
                x[i] = x[i] == 0 ? 2 : 0;
        msx_space_repair(space, x);
        score(&f, s, 0, x, &outcome);
        ck_assert(outcome.blocks_run == blocks / 2 && outcome.blocks_reused == blocks / 2);
    }
    free(x);
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

/* The cache is an economy, racing a choice: without the first nothing changes but the work. */
START_TEST(cache_and_racing_can_be_switched_off) {
    fixture f;
    set_up(&f);
    msx_search *s[3];
    for (int i = 0; i < 3; i++) {
        s[i] = new_search(&f, i ? "" : f.store, "16");
        set(&f, s[i], "optimizer", "smac");
        set(&f, s[i], "cache_mb", i == 1 ? "0" : "64");
        set(&f, s[i], "racing", i == 2 ? "0" : "1");
        set(&f, s[i], "racing_min", "1");
        set(&f, s[i], "racing_batch", "1");
        set(&f, s[i], "racing_p", "0.6"); /* with three images nothing is significant */
        ck_assert_int_eq(msx_search_run(s[i]), MSX_DONE_TRIALS);
    }
    same_trials(s[0], s[1]);
    ck_assert_ptr_null(s[1]->worker.work.cache);
    int raced[3] = {0};
    for (int i = 0; i < 3; i++)
        for (int64_t t = 0; t < 16; t++) raced[i] += s[i]->trials[t].state == MSX__STORE_RACED;
    ck_assert_int_gt(raced[0], 0);
    ck_assert_int_eq(raced[0], raced[1]);
    ck_assert_int_eq(raced[2], 0);
    int64_t best = msx_search_best(s[0]), front[16];
    ck_assert(s[0]->trials[best].state == MSX__STORE_DONE);
    for (int64_t k = msx_search_front(s[0], front, 16); k-- > 0;)
        ck_assert(s[0]->trials[front[k]].state == MSX__STORE_DONE);
    for (int i = 0; i < 3; i++) msx_search_free(s[i]);
    ck_assert_int_eq(number_of(f.store, "SELECT count(*) FROM trials WHERE state = 'raced'"),
                     raced[0]);
    ck_assert_int_eq(number_of(f.store, "SELECT count(*) FROM trials WHERE (images = 3) !="
                                        " (state = 'done')"),
                     0);
    ck_assert_int_eq(number_of(f.store, "SELECT count(DISTINCT (blocks_run + blocks_reused) *"
                                        " 1.0 / images) FROM trials"),
                     1);
    tear_down(&f);
}
END_TEST

/* Whole ones are unlike anything; the others keep as much as their number says of the best that was known. */
START_TEST(staged_proposals_begin_like_the_best_trial) {
    static const int64_t stages[] = {-1, 2, 1, 2, 1, 2, 1, 2}; /* two blocks, a group each */
    fixture f;
    set_up(&f);
    for (int batch = 1; batch <= 3; batch += 2) {
        msx_search *s = new_search(&f, "", "20");
        char text[8];
        snprintf(text, sizeof text, "%d", batch);
        set(&f, s, "granularity", "1");
        set(&f, s, "batch", text);
        set(&f, s, "racing", "0");
        ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
        int64_t columns = msx_space_count(s->space.space);
        uint8_t *fixed = malloc((size_t)columns);
        for (int64_t n = 7; n < 20; n++) { /* after the enqueued ones */
            int64_t stage = msx__stage_of(s, n), differ = 0;
            int64_t best = msx__search_best_of(s, n / batch * batch);
            ck_assert_int_eq(stage, stages[n % 8]);
            if (stage < 0) continue;
            msx__merge_space_prefix(&s->space, stage, fixed);
            for (int64_t i = 0; i < columns; i++) {
                double a = s->trials[n].x[i], b = s->trials[best].x[i];
                bool same = a == b || (isnan(a) && isnan(b));
                if (fixed[i]) ck_assert(same);
                differ += !same;
            }
            ck_assert_int_gt(differ, 0);
        }
        free(fixed);
        msx_search_free(s);
    }
    /* one group for all blocks: there is nothing between everything and what follows the encoder */
    msx_search *s = new_search(&f, "", "1");
    set(&f, s, "granularity", "2");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    static const int64_t coarse[] = {-1, 2, 0, 2, 0, 2, 0, 2};
    for (int64_t n = 0; n < 8; n++) ck_assert_int_eq(msx__stage_of(s, n), coarse[n]);
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

START_TEST(the_winner_is_written_and_scored) {
    fixture f;
    set_up(&f);
    msx_search *s = new_search(&f, f.store, "9");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    int64_t best = msx_search_best(s), front[9];
    int64_t n_front = msx_search_front(s, front, 9);
    ck_assert_int_ge(n_front, 1);
    ck_assert_int_eq(front[0], best);
    char model[160], plan_path[160];
    snprintf(model, sizeof model, "%s/best.pth", f.folder);
    snprintf(plan_path, sizeof plan_path, "%s/best.yaml", f.folder);
    test_ok(f.ctx, msx_search_write(s, best, model, plan_path));
    test_fails(f.ctx, msx_search_write(s, 9, model, NULL), MSX_E_ARG, "no trial 9");

    msx_checkpoint *c;
    msx_plan *plan;
    test_ok(f.ctx, msx_checkpoint_open(&c, f.ctx, model));
    test_ok(f.ctx, msx_plan_load(&plan, f.ctx, plan_path));
    ck_assert_str_eq(msx_checkpoint_meta(c, "medsamix.plan"), msx_plan_text(plan));
    ck_assert_str_eq(msx_checkpoint_meta(c, "medsamix.input.two"), s->models[2].sha256);
    test_ok(f.ctx, msx__search_apply_file(&s->worker, c));
    double costs[2], dice[6];
    msx__search_outcome outcome = {.costs = costs, .dice = dice};
    test_ok(f.ctx, msx__search_costs(&s->worker, NULL, &outcome));
    ck_assert(!memcmp(costs, msx_search_trial_costs(s, best), sizeof costs));
    msx_plan_free(plan);
    msx_checkpoint_free(c);

    test_ok(f.ctx, msx_search_finish(s, MSX_SPLIT_TEST));
    test_ok(f.ctx, msx_search_finish(s, MSX_SPLIT_CALIBRATION));
    test_ok(f.ctx, msx_search_finish(s, MSX_SPLIT_TEST)); /* replaces */
    test_fails(f.ctx, msx_search_finish(s, (msx_split)5), MSX_E_ARG, "split");
    msx_search_free(s);
    int64_t winners = n_front < 3 ? n_front : 3;
    ck_assert_int_eq(number_of(f.store, "SELECT count(*) FROM results"), 2 * 3 * (3 + 4 + winners));
    ck_assert_int_eq(number_of(f.store, "SELECT count(*) FROM pictures WHERE split = 'test'"), 2);
    ck_assert_int_eq(
        number_of(f.store, "SELECT count(*) FROM pictures WHERE split = 'calibration'"), 3);
    /* scores of the calibration split are the costs of the trials that they repeat */
    ck_assert_int_eq(number_of(f.store, "SELECT count(*) FROM results r JOIN costs c ON"
                                        " r.task = c.task AND abs(r.dice - (1 - c.cost)) < 1e-12"
                                        " WHERE r.split = 'calibration' AND ("
                                        " (r.name = 'base' AND c.trial = 0) OR"
                                        " (r.name = 'two' AND c.trial = 2) OR"
                                        " (r.name = 'linear' AND c.trial = 3) OR"
                                        " (r.name = 'ties' AND c.trial = 5))"),
                     8);
    tear_down(&f);
}
END_TEST

START_TEST(another_search_does_not_take_the_store) {
    fixture f;
    set_up(&f);
    msx_search *s = new_search(&f, f.store, "2");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    msx_search_free(s);
    msx_search *second = new_search(&f, f.store, "2");
    set(&f, second, "seed", "4");
    test_fails(f.ctx, msx_search_run(second), MSX_E_STORE, "seed is '3' there and '4' here");
    set(&f, second, "seed", "3");
    set(&f, second, "methods", "linear,ties");
    test_fails(f.ctx, msx_search_run(second), MSX_E_STORE, "methods is");
    set(&f, second, "methods", "linear,task_arithmetic,ties,slerp");
    ck_assert_int_eq(msx_search_run(second), MSX_DONE_TRIALS); /* a refused run changes nothing */
    msx_search_free(second);

    /* other images */
    make_case(f.ctx, f.folder, "Tr", "b", 13, 8);
    second = new_search(&f, f.store, "2");
    test_fails(f.ctx, msx_search_run(second), MSX_E_STORE, "data is");
    msx_search_free(second);
    tear_down(&f);
}
END_TEST

START_TEST(a_store_whose_trials_were_edited_is_refused) {
    fixture f;
    set_up(&f);
    msx_search *s = new_search(&f, f.store, "9");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    msx_search_free(s);
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(f.store, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db,
                                  _i ? "UPDATE costs SET cost = 0.001 WHERE trial = 4"
                                     : "UPDATE trials SET x = zeroblob(length(x)) WHERE number = 8",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    s = new_search(&f, f.store, "10");
    test_fails(f.ctx, msx_search_run(s), MSX_E_STORE, "damaged");
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

/* Write the base with one tensor's values replaced by value * factor. */
static void write_variant(fixture *f, const char *path, const char *tensor, float factor) {
    msx_checkpoint *c, *copy;
    test_ok(f->ctx, msx_checkpoint_open(&c, f->ctx, test_path("golden/merge/base.safetensors")));
    test_ok(f->ctx, msx_checkpoint_create(&copy, f->ctx));
    for (int64_t i = 0; i < msx_checkpoint_count(c); i++) {
        int64_t dims[MSX_MAX_RANK], n = msx_checkpoint_elements(c, i);
        for (int a = 0; a < msx_checkpoint_rank(c, i); a++) dims[a] = msx_checkpoint_dim(c, i, a);
        const char *name = msx_checkpoint_name(c, i);
        test_ok(f->ctx, msx_checkpoint_add(copy, name, msx_checkpoint_rank(c, i), dims, NULL));
        float *data = msx_checkpoint_data(copy, i);
        test_ok(f->ctx, msx_checkpoint_read(c, i, data, n));
        for (int64_t k = 0; strstr(name, tensor) && k < n; k++) data[k] = data[k] * factor;
    }
    test_ok(f->ctx, msx_checkpoint_save(copy, path, NULL));
    msx_checkpoint_free(c);
    msx_checkpoint_free(copy);
}

static msx_search *search_variant(fixture *f, const char *tensor, float factor) {
    char path[160];
    snprintf(path, sizeof path, "%s/variant.safetensors", f->folder);
    write_variant(f, path, tensor, factor);
    msx_search *s;
    test_ok(f->ctx, msx_search_create(&s, f->device));
    test_ok(f->ctx, msx_search_add_model(s, "base", test_path("golden/merge/base.safetensors")));
    test_ok(f->ctx, msx_search_add_model(s, "variant", path));
    test_ok(f->ctx, msx_search_add_tasks(s, f->data, (const char *[]){"disc"}, 1));
    set(f, s, "optimizer", "random");
    set(f, s, "trials", "6");
    return s;
}

static const char *state_of(const msx_search *s, const char *group) {
    for (int64_t i = 0; i < s->space.n_groups; i++)
        if (!strcmp(s->space.groups[i].name, group))
            return msx__group_state_name(s->space.groups[i].state);
    return "none";
}

/* Which tensors reach mask 0 under box prompts: as decided, and as the network itself says. */
static const struct {
    const char *tensor, *group, *state;
} reach[] = {
    {"point_embeddings.0", "prompt.0", "unreached"},
    {"point_embeddings.1", "prompt.0", "unreached"},
    {"not_a_point_embed", "prompt.0", "unreached"},
    {"point_embeddings.2", "prompt.1", "searched"},
    {"point_embeddings.3", "prompt.1", "searched"},
    {"mask_downscaling.3.weight", "prompt.2", "unreached"},
    {"no_mask_embed", "prompt.3", "searched"},
    {"output_hypernetworks_mlps.0.layers.0.weight", "decoder.4", "searched"},
    {"output_hypernetworks_mlps.2.layers.0.weight", "decoder.4", "unreached"},
    {"mask_tokens", "decoder.4", "searched"},
    {"iou_prediction_head.layers.1.weight", "decoder.5", "unreached"},
    {"iou_token", "decoder.5", "searched"},
};

/* Whether scaling the tensor moves any logit of mask 0. */
static bool moves_mask(fixture *f, const char *tensor) {
    char path[160];
    snprintf(path, sizeof path, "%s/variant.safetensors", f->folder);
    float *logits[2];
    int64_t n = 0;
    for (int i = 0; i < 2; i++) {
        msx_checkpoint *c;
        msx_model *model;
        msx_image *image;
        msx_embedding *embedding;
        msx_prompts *prompts;
        msx_prediction *p;
        write_variant(f, path, tensor, i ? 3 : 1);
        test_ok(f->ctx, msx_checkpoint_open(&c, f->ctx, path));
        test_ok(f->ctx, msx_model_load(&model, f->device, c, MSX_PRESET_SAM));
        test_ok(f->ctx,
                msx_image_load(&image, f->ctx, msx_dataset_image_path(f->data, MSX_SPLIT_TEST, 0)));
        test_ok(f->ctx, msx_model_encode(&embedding, model, (const msx_image *[]){image}, 1));
        test_ok(f->ctx, msx_prompts_create(&prompts, f->ctx));
        test_ok(f->ctx, msx_prompts_begin(prompts, 0));
        test_ok(f->ctx, msx_prompts_box(prompts, 6, 20, 17, 29));
        test_ok(f->ctx, msx_model_predict(&p, model, embedding, prompts));
        n = msx_prediction_side(p) * msx_prediction_side(p);
        logits[i] = malloc((size_t)n * sizeof(float));
        memcpy(logits[i], msx_prediction_logits(p, 0), (size_t)n * sizeof(float));
        msx_prediction_free(p);
        msx_prompts_free(prompts);
        msx_embedding_free(embedding);
        msx_image_free(image);
        msx_model_free(model);
        msx_checkpoint_free(c);
    }
    bool moved = memcmp(logits[0], logits[1], (size_t)n * sizeof(float)) != 0;
    free(logits[0]);
    free(logits[1]);
    return moved;
}

START_TEST(groups_that_cannot_change_a_mask_are_left_out) {
    fixture f;
    set_up(&f);
    bool searched = !strcmp(reach[_i].state, "searched");
    ck_assert_msg(moves_mask(&f, reach[_i].tensor) == searched, "%s", reach[_i].tensor);
    msx_search *s = search_variant(&f, reach[_i].tensor, 3);
    if (searched) {
        test_ok(f.ctx, msx__search_prepare(s));
        ck_assert_str_eq(state_of(s, reach[_i].group), "searched");
        ck_assert_str_eq(state_of(s, "neck"), "equal");
        ck_assert_int_eq(msx_space_count(s->space.space), 1 + 2 + 1 + 2 + 2);
    } else {
        test_fails(f.ctx, msx__search_prepare(s), MSX_E_FORMAT, "nothing to search");
        set(&f, s, "keep_dead_groups", "1");
        test_ok(f.ctx, msx__search_prepare(s));
        ck_assert_str_eq(state_of(s, reach[_i].group), "searched");
    }
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

static msx_status take_base(const msx_merge_call *call, void *payload) {
    (void)payload;
    memcpy(call->out, call->models[0], (size_t)call->elements * sizeof *call->out);
    return MSX_OK;
}

START_TEST(methods_without_parameters_need_a_second_method) {
    static const msx_merge_method keep = {
        .struct_size = sizeof keep, .name = "keep", .apply = take_base};
    fixture f;
    set_up(&f);
    test_ok(f.ctx, msx_merge_method_register(f.ctx, &keep));
    msx_search *s = search_variant(&f, "mlp.lin2.weight", 3);
    set(&f, s, "methods", "keep");
    test_fails(f.ctx, msx__search_prepare(s), MSX_E_ARG, "no parameters to search");
    set(&f, s, "methods", "keep,dare_ties");
    test_ok(f.ctx, msx__search_prepare(s));
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

START_TEST(an_unusable_merge_is_a_failed_trial) {
    fixture f;
    set_up(&f);
    msx_search *s = search_variant(&f, "mlp.lin2.weight", 1e38f);
    set(&f, s, "store", f.store);
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    ck_assert_ptr_nonnull(msx_search_trial_costs(s, 0)); /* the base alone */
    ck_assert_ptr_null(msx_search_trial_costs(s, 1));
    ck_assert_int_eq(msx_search_best(s), 0);
    test_fails(f.ctx, msx_search_write(s, 1, "/tmp/never.pth", NULL), MSX_E_ARG, "has failed");
    msx_search_free(s);
    ck_assert_int_ge(number_of(f.store, "SELECT count(*) FROM trials WHERE state = 'failed' AND"
                                        " mean_cost IS NULL AND error LIKE '%not finite%'"),
                     1);
    s = search_variant(&f, "mlp.lin2.weight", 1e38f);
    set(&f, s, "store", f.store);
    set(&f, s, "trials", "8");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    ck_assert_int_eq(msx_search_trials(s), 8);
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

START_TEST(ranking_is_by_mean_then_regret_then_age) {
    fixture f;
    set_up(&f);
    msx_search *s = new_search(&f, "", "1");
    ck_assert_int_eq(msx_search_run(s), MSX_DONE_TRIALS);
    const double costs[][2] = {{0.5, 0.1}, {0.25, 0.35}, {0.3, 0.3}, {0.35, 0.25},
                               {0.3, 0.3}, {0.6, 0.6},   {0.1, 0.5}};
    double *x = malloc((size_t)msx_space_count(s->space.space) * sizeof *x);
    memcpy(x, s->trials[0].x, (size_t)msx_space_count(s->space.space) * sizeof *x);
    msx__search_forget_trials(s);
    for (size_t i = 0; i < 7; i++) {
        msx__store_trial t = {.number = (int64_t)i,
                              .state = MSX__STORE_DONE,
                              .origin = "t",
                              .x = x,
                              .costs = costs[i]};
        test_ok(f.ctx, msx__search_take_trial(s, &t));
    }
    const double early[2] = {0, 0};
    msx__store_trial raced = {
        .number = 7, .state = MSX__STORE_RACED, .origin = "raced", .x = x, .costs = early};
    test_ok(f.ctx, msx__search_take_trial(s, &raced));
    msx__store_trial failed = {.number = 8, .state = MSX__STORE_FAILED, .origin = "f", .x = x};
    test_ok(f.ctx, msx__search_take_trial(s, &failed));
    /* means .3, .3, .3, .3, .3, .6, .3; regrets against (.1, .1): .4, .25, .2, .25, .2, .5, .4 */
    ck_assert_int_eq(msx_search_best(s), 2);
    int64_t front[9] = {-1, -1, -1, -1, -1, -1, -1, -1, -1};
    ck_assert_int_eq(msx_search_front(s, front, 3), 6);
    ck_assert(front[0] == 2 && front[1] == 4 && front[2] == 1 && front[3] == -1);
    ck_assert_int_eq(msx_search_front(s, NULL, 0), 6);
    free(x);
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

START_TEST(mistakes_before_the_start_are_told) {
    fixture f;
    set_up(&f);
    msx_search *s;
    ck_assert_int_eq(msx_search_create(&s, NULL), MSX_E_ARG);
    test_ok(f.ctx, msx_search_create(&s, f.device));
    static const struct {
        const char *key, *value;
        msx_status status;
        const char *text;
    } bad[] = {
        {"trails", "3", MSX_E_NOTFOUND, "did you mean 'trials'"},
        {"trials", "0", MSX_E_ARG, "from 1"},
        {"trials", "3x", MSX_E_ARG, "'3x'"},
        {"seed", "-1", MSX_E_ARG, "from 0"},
        {"granularity", "5", MSX_E_ARG, "from 1 to 4"},
        {"optimizer", "randon", MSX_E_NOTFOUND, "random"},
        {"methods", "linear,tie", MSX_E_NOTFOUND, "ties"},
        {"methods", "ties,ties", MSX_E_ARG, "twice"},
        {"methods", "", MSX_E_NOTFOUND, "merge method"},
        {"preset", "sma", MSX_E_NOTFOUND, "sam"},
        {"box_preset", "tite", MSX_E_NOTFOUND, "tight"},
        {"slice_axis", "zz", MSX_E_NOTFOUND, "max-spacing"},
        {"unit", "voxel", MSX_E_NOTFOUND, "unit"},
        {"empty", "nnunett", MSX_E_NOTFOUND, "nnunet"},
        {"workers", "0", MSX_E_ARG, "from 1 to 256"},
        {"batch", "-1", MSX_E_ARG, "from 0 to 1024"},
        {"lease", "0", MSX_E_ARG, "from 1"},
        {"order", "fre", MSX_E_NOTFOUND, "did you mean 'free'"},
        {"worker", "a b", MSX_E_ARG, "letters, digits"},
        {"sobol.x", "1", MSX_E_NOTFOUND, "optimizer option 'x'"},
        {"nobody.x", "1", MSX_E_NOTFOUND, "optimizer 'nobody'"},
        {".x", "1", MSX_E_NOTFOUND, "names no optimizer"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        test_fails(f.ctx, msx_search_set(s, bad[i].key, bad[i].value), bad[i].status, bad[i].text);
    test_fails(f.ctx, msx_search_set(s, NULL, "1"), MSX_E_ARG, "NULL");
    test_fails(f.ctx, msx_search_run(s), MSX_E_ARG, "at least one more model; 0 given");
    test_fails(f.ctx, msx_search_add_model(s, "human", "x"), MSX_E_ARG, "must be named 'base'");
    test_ok(f.ctx, msx_search_add_model(s, "base", test_path("golden/merge/base.safetensors")));
    test_fails(f.ctx, msx_search_add_model(s, "base", "x"), MSX_E_EXISTS, "named 'base'");
    test_fails(f.ctx, msx_search_add_model(s, "a b", "x"), MSX_E_ARG, "letters, digits");
    test_ok(f.ctx, msx_search_add_model(s, "gone", "/nonexistent.pth"));
    test_fails(f.ctx, msx_search_run(s), MSX_E_ARG, "at least one task");
    test_fails(f.ctx, msx_search_add_tasks(s, f.data, (const char *[]){"disk"}, 1), MSX_E_NOTFOUND,
               "did you mean 'disc'");
    test_ok(f.ctx, msx_search_add_tasks(s, f.data, (const char *[]){"disc"}, 1));
    test_fails(f.ctx, msx_search_add_tasks(s, f.data, NULL, 0), MSX_E_EXISTS, "Small/disc");
    ck_assert_int_eq(msx_search_task_count(s), 1);
    set(&f, s, "optimizer", "random");
    test_fails(f.ctx, msx_search_run(s), MSX_E_IO, "/nonexistent.pth");
    msx_search_free(s);

    s = new_search(&f, "", "2");
    set(&f, s, "min_object", "1000");
    test_fails(f.ctx, msx_search_run(s), MSX_E_FORMAT, "task 'Small/square': no calibration slice");
    test_ok(f.ctx, msx_search_add_model(s, "other", test_path("golden/b/model.pth")));
    set(&f, s, "min_object", "40");
    test_fails(f.ctx, msx_search_run(s), MSX_E_SHAPE, "other");
    msx_search_free(s);
    tear_down(&f);
}
END_TEST

START_TEST(running_out_of_memory_is_returned) {
    fixture f;
    set_up(&f);
    int64_t step = 1;
    for (int64_t n = 0;; n += step) {
        if (n > 150) step = 307; /* later calls repeat: one trial is like the other */
        test_allocator memory;
        test_allocator_init(&memory, n, n % 2);
        msx_ctx *ctx;
        if (msx_ctx_create(&ctx, &memory.table) < 0) continue;
        fixture g = f;
        g.ctx = ctx;
        msx_search *s = NULL;
        g.data = NULL;
        g.device = NULL;
        msx_status status = msx_device_open(&g.device, ctx, "cpu");
        if (status >= 0) status = msx_dataset_open(&g.data, ctx, f.folder);
        if (status >= 0) status = msx_search_create(&s, g.device);
        if (status >= 0)
            status = msx_search_add_model(s, "base", test_path("golden/merge/base.safetensors"));
        if (status >= 0)
            status =
                msx_search_add_model(s, "one", test_path("golden/merge/finetuned0.safetensors"));
        if (status >= 0) status = msx_search_add_tasks(s, g.data, NULL, 0);
        if (status >= 0) status = msx_search_set(s, "optimizer", "random");
        if (status >= 0) status = msx_search_set(s, "trials", "2");
        if (status >= 0) status = msx_search_run(s);
        if (status >= 0) status = msx_search_finish(s, MSX_SPLIT_TEST);
        msx_search_free(s);
        msx_dataset_free(g.data);
        msx_device_free(g.device);
        msx_ctx_free(ctx);
        ck_assert_msg(memory.live == 0, "%d blocks left at allocation %d", (int)memory.live,
                      (int)n);
        if (status >= 0) break;
        ck_assert_msg(status == MSX_E_NOMEM, "allocation %d: %s", (int)n, msx_status_name(status));
        ck_assert_int_lt(n, 1000000);
    }
    tear_down(&f);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("search");
    TCase *t = tcase_create("all");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, the_first_trials_are_inputs_and_uniform_merges);
    tcase_add_test(t, a_resumed_search_continues_the_same_sequence);
    tcase_add_test(t, a_cancelled_search_goes_on);
    tcase_add_test(t, incremental_trials_equal_full_ones);
    tcase_add_test(t, cache_and_racing_can_be_switched_off);
    tcase_add_test(t, staged_proposals_begin_like_the_best_trial);
    tcase_add_test(t, the_winner_is_written_and_scored);
    tcase_add_test(t, another_search_does_not_take_the_store);
    tcase_add_loop_test(t, a_store_whose_trials_were_edited_is_refused, 0, 2);
    tcase_add_loop_test(t, groups_that_cannot_change_a_mask_are_left_out, 0,
                        sizeof reach / sizeof *reach);
    tcase_add_test(t, methods_without_parameters_need_a_second_method);
    tcase_add_test(t, an_unusable_merge_is_a_failed_trial);
    tcase_add_test(t, ranking_is_by_mean_then_regret_then_age);
    tcase_add_test(t, mistakes_before_the_start_are_told);
    tcase_add_test(t, running_out_of_memory_is_returned);
    suite_add_tcase(suite, t);
    return test_run(suite);
}
