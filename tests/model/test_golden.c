/* SPDX-License-Identifier: Apache-2.0 */
/* lib/model against the reference implementation: every vector of the golden folders a, b, c. */
#include "golden.h"
#include "model/network.h"

static const char *const folders[] = {"a", "b", "c"};
static const char *const prompt_sets[] = {"box",        "point",    "points",
                                          "box_points", "box_mask", "boxes"};
enum { FOLDERS = 3, PROMPT_SETS = 6 };

/* ---- intermediate results ------------------------------------------------------------------------ */

typedef struct seen {
    golden *g;
    int encoder_stages;
    const char *prompt_set;
} seen;

static float *to_host(golden *g, const float *data, int64_t floats) {
    float *host = malloc((size_t)floats * sizeof *host);
    size_t bytes = (size_t)floats * sizeof *host;
    ck_assert_int_eq(g->device->k->download(g->device->dev, host, data, bytes), 0);
    return host;
}

static float *channels_first(const float *map, int64_t tokens, int64_t channels) {
    float *turned = malloc((size_t)(tokens * channels) * sizeof *turned);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t c = 0; c < channels; c++) turned[c * tokens + t] = map[t * channels + c];
    return turned;
}

static void check_encoder_stage(const char *stage, int64_t index, const float *data, int64_t floats,
                                void *payload) {
    seen *s = payload;
    char name[32];
    if (strcmp(stage, "block") == 0)
        snprintf(name, sizeof name, "block%d", (int)index);
    else
        snprintf(name, sizeof name, "%s", stage);
    if (!golden_has(s->g, name)) return;
    float *host = to_host(s->g, data, floats);
    golden_check(s->g, name, host, floats);
    s->encoder_stages++;
    free(host);
}

START_TEST(encoder_stages_and_embedding_match) {
    golden g;
    golden_open(&g, folders[_i], MSX_PRESET_SAM);
    seen s = {.g = &g};
    g.model->tap = check_encoder_stage;
    g.model->tap_payload = &s;
    msx_embedding *e = golden_encode_input(&g, "");
    ck_assert_int_eq(s.encoder_stages, g.model->depth > 2 ? 4 : 3);
    int64_t n = g.model->channels * g.model->tokens;
    float *embedding = malloc((size_t)n * sizeof *embedding);
    test_ok(g.ctx, msx_embedding_read(e, 0, embedding, n));
    golden_check(&g, "image_embedding", embedding, n);
    free(embedding);
    msx_embedding_free(e);
    golden_close(&g);
}
END_TEST

START_TEST(dense_position_encoding_matches) {
    golden g;
    golden_open(&g, folders[_i], MSX_PRESET_SAM);
    int64_t tokens = g.model->tokens, channels = g.model->channels;
    float *host = to_host(&g, g.model->dense_pe, tokens * channels);
    float *turned = channels_first(host, tokens, channels);
    golden_check(&g, "dense_pe", turned, tokens * channels);
    free(turned);
    free(host);
    golden_close(&g);
}
END_TEST

/* ---- prompts ----------------------------------------------------------------------------------------- */

static void check_prompt_stage(const char *stage, int64_t index, const float *data, int64_t floats,
                               void *payload) {
    seen *s = payload;
    msx_model *m = s->g->model;
    char name[64];
    (void)index;
    float *host = to_host(s->g, data, floats);
    if (strcmp(stage, "tokens") == 0) {
        snprintf(name, sizeof name, "%s.sparse", s->prompt_set);
        int64_t prompts = golden_dim(s->g, name, 0), sparse = golden_dim(s->g, name, 1);
        int64_t c = m->channels, own = (1 + m->masks) * c;
        ck_assert_int_eq(floats, prompts * (own + sparse * c));
        for (int64_t p = 0; p < prompts; p++)
            memmove(host + p * sparse * c, host + p * (own + sparse * c) + own,
                    (size_t)(sparse * c) * sizeof *host);
        golden_check(s->g, name, host, prompts * sparse * c);
    } else if (strcmp(stage, "dense") == 0) {
        snprintf(name, sizeof name, "%s.dense", s->prompt_set);
        float *turned = channels_first(host, m->tokens, m->channels);
        golden_check(s->g, name, turned, floats);
        free(turned);
    }
    free(host);
}

/* The prompts of a set, on image 0. */
static msx_prompts *make_prompts(const golden *g, const char *set) {
    char boxes_name[64], coords_name[64], labels_name[64], mask_name[64];
    snprintf(boxes_name, sizeof boxes_name, "%s.boxes", set);
    snprintf(coords_name, sizeof coords_name, "%s.point_coords", set);
    snprintf(labels_name, sizeof labels_name, "%s.point_labels", set);
    snprintf(mask_name, sizeof mask_name, "%s.mask_input", set);
    int64_t n = 0, n_boxes = 0, n_mask = 0;
    float *boxes = NULL, *coords = NULL, *labels = NULL, *mask = NULL;
    if (golden_has(g, boxes_name)) boxes = test_tensor(g->vectors, boxes_name, &n_boxes);
    if (golden_has(g, coords_name)) coords = test_tensor(g->vectors, coords_name, NULL);
    if (golden_has(g, labels_name)) labels = test_tensor(g->vectors, labels_name, &n);
    if (golden_has(g, mask_name)) mask = test_tensor(g->vectors, mask_name, &n_mask);
    msx_prompts *prompts;
    test_ok(g->ctx, msx_prompts_create(&prompts, g->ctx));
    for (int64_t i = 0; i < (boxes ? n_boxes / 4 : 1); i++) {
        test_ok(g->ctx, msx_prompts_begin(prompts, 0));
        const float *b = boxes + 4 * i;
        if (boxes) test_ok(g->ctx, msx_prompts_box(prompts, b[0], b[1], b[2], b[3]));
        for (int64_t p = 0; p < n; p++)
            test_ok(g->ctx,
                    msx_prompts_point(prompts, coords[2 * p], coords[2 * p + 1], (int)labels[p]));
        if (mask) test_ok(g->ctx, msx_prompts_mask(prompts, mask, n_mask));
    }
    free(boxes);
    free(coords);
    free(labels);
    free(mask);
    return prompts;
}

/* All logits, IoU and post-processed first masks of a set, joined as in the file. */
static void check_prediction(const golden *g, const char *set, const msx_prediction *p) {
    char name[64];
    int64_t n = msx_prediction_count(p), masks = msx_prediction_masks(p);
    int64_t low = masks * msx_prediction_side(p) * msx_prediction_side(p);
    snprintf(name, sizeof name, "%s.low_res_logits", set);
    golden_check(g, name, msx_prediction_logits(p, 0), n * low);
    snprintf(name, sizeof name, "%s.iou", set);
    golden_check(g, name, msx_prediction_iou(p, 0), n * masks);
    int64_t pixels = golden_dim(g, "image", 0) * golden_dim(g, "image", 1);
    float *maps = malloc((size_t)(n * pixels) * sizeof *maps);
    for (int64_t i = 0; i < n; i++) {
        msx_image *map, *mask;
        test_ok(g->ctx, msx_prediction_map(&map, p, i, 0));
        test_ok(g->ctx, msx_prediction_mask(&mask, p, i, 0));
        memcpy(maps + i * pixels, msx_image_data(map), (size_t)pixels * sizeof *maps);
        const uint8_t *bits = msx_image_data(mask);
        for (int64_t k = 0; k < pixels; k++) ck_assert_int_eq(bits[k], maps[i * pixels + k] > 0.0f);
        msx_image_free(map);
        msx_image_free(mask);
    }
    snprintf(name, sizeof name, "%s.logits0", set);
    golden_check(g, name, maps, n * pixels);
    free(maps);
}

START_TEST(every_prompt_set_matches) {
    golden g;
    golden_open(&g, folders[_i / PROMPT_SETS], MSX_PRESET_SAM);
    test_ok(g.ctx, msx_ctx_set_threads(g.ctx, 1)); /* one chunk, no lanes */
    seen s = {.g = &g, .prompt_set = prompt_sets[_i % PROMPT_SETS]};
    msx_embedding *e = golden_encode_input(&g, "");
    msx_prompts *prompts = make_prompts(&g, s.prompt_set);
    msx_prediction *p;
    g.model->tap = check_prompt_stage;
    g.model->tap_payload = &s;
    test_ok(g.ctx, msx_model_predict(&p, g.model, e, prompts));
    check_prediction(&g, s.prompt_set, p);
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    msx_embedding_free(e);
    golden_close(&g);
}
END_TEST

/* ---- from pixels to masks --------------------------------------------------------------------------- */

START_TEST(sam_preset_matches_from_the_image) {
    golden g;
    golden_open(&g, folders[_i], MSX_PRESET_SAM);
    msx_image *image = golden_image(&g);
    msx_embedding *e;
    test_ok(g.ctx, msx_model_encode(&e, g.model, (const msx_image *const[]){image}, 1));
    msx_prompts *prompts = make_prompts(&g, "boxes");
    msx_prediction *p;
    test_ok(g.ctx, msx_model_predict(&p, g.model, e, prompts));
    check_prediction(&g, "boxes", p);
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    msx_embedding_free(e);
    msx_image_free(image);
    golden_close(&g);
}
END_TEST

START_TEST(medsam_preset_matches_from_the_image) {
    golden g;
    golden_open(&g, folders[_i], MSX_PRESET_MEDSAM);
    msx_image *image = golden_image(&g);
    msx_embedding *e;
    test_ok(g.ctx, msx_model_encode(&e, g.model, (const msx_image *const[]){image}, 1));
    int64_t n = g.model->channels * g.model->tokens;
    float *embedding = malloc((size_t)n * sizeof *embedding);
    test_ok(g.ctx, msx_embedding_read(e, 0, embedding, n));
    golden_check(&g, "medsam.image_embedding", embedding, n);
    msx_prompts *prompts = make_prompts(&g, "box");
    msx_prediction *p;
    test_ok(g.ctx, msx_model_predict(&p, g.model, e, prompts));
    int64_t side = msx_prediction_side(p);
    golden_check(&g, "medsam.low_res_logits", msx_prediction_logits(p, 0), side * side);
    golden_check(&g, "medsam.iou", msx_prediction_iou(p, 0), 1);
    msx_image *map, *mask;
    test_ok(g.ctx, msx_prediction_map(&map, p, 0, 0));
    test_ok(g.ctx, msx_prediction_mask(&mask, p, 0, 0));
    int64_t pixels = msx_image_width(map) * msx_image_height(map);
    const float *probability = msx_image_data(map);
    const uint8_t *bits = msx_image_data(mask);
    golden_check(&g, "medsam.probability", probability, pixels);
    for (int64_t k = 0; k < pixels; k++) ck_assert_int_eq(bits[k], probability[k] > 0.5f);
    msx_image_free(map);
    msx_image_free(mask);
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    free(embedding);
    msx_embedding_free(e);
    msx_image_free(image);
    golden_close(&g);
}
END_TEST

/* The tests once for every path of this processor, then for the decoder in separate steps. */
static void next_path(void) {
    golden_path++;
}
static void in_steps(void) {
    golden_in_steps = true;
}

static void add_case(Suite *s, const char *name, int path, bool steps) {
    TCase *t = tcase_create(name);
    /* under sanitizers the smallest model alone on all paths but the fastest */
    bool few = getenv("MSX_SANITIZED") && (steps || path < msxk_cpu_best_path());
    int n_folders = few ? 1 : FOLDERS;
    tcase_set_timeout(t, 120);
    for (int i = 0; i <= path; i++) tcase_add_checked_fixture(t, next_path, NULL);
    if (steps) tcase_add_checked_fixture(t, in_steps, NULL);
    tcase_add_loop_test(t, every_prompt_set_matches, 0, n_folders * PROMPT_SETS);
    tcase_add_loop_test(t, sam_preset_matches_from_the_image, 0, n_folders);
    tcase_add_loop_test(t, medsam_preset_matches_from_the_image, 0, n_folders);
    if (!steps) {
        tcase_add_loop_test(t, encoder_stages_and_embedding_match, 0, n_folders);
        tcase_add_loop_test(t, dense_position_encoding_matches, 0, n_folders);
    }
    suite_add_tcase(s, t);
}

static Suite *suite(void) {
    Suite *s = suite_create("model against golden vectors");
    for (int path = 0; path <= msxk_cpu_best_path(); path++)
        add_case(s, msxk_cpu_path_name(path), path, false);
    add_case(s, "decoder in steps", msxk_cpu_best_path(), true);
    return s;
}

int main(void) {
    return test_run(suite());
}
