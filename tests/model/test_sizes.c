/* SPDX-License-Identifier: Apache-2.0 */
/* lib/checkpoint and lib/model: networks for inputs of another size. test_sizes.sh compares with PyTorch. */
#include "golden.h"

static msx_checkpoint *open_weights(msx_ctx *ctx, const char *name) {
    char path[64];
    msx_checkpoint *c;
    snprintf(path, sizeof path, "golden/%s/model.pth", name);
    test_ok(ctx, msx_checkpoint_open(&c, ctx, test_path(path)));
    return c;
}

/* ---- tables ------------------------------------------------------------------------------------------ */

/* Value at `at` of n values `stride` apart, as a sum over all of them weighted by a kernel; outside, the
 * last value goes on. */
static double along(const float *x, int64_t n, int64_t stride, double at, bool cubic) {
    double sum = 0;
    for (int64_t i = -3; i < n + 3; i++) {
        double d = fabs(at - (double)i), a = -0.75, w = fmax(1 - d, 0);
        if (cubic && d < 1) w = (a + 2) * pow(d, 3) - (a + 3) * d * d + 1;
        if (cubic && d >= 1) w = d < 2 ? a * (pow(d, 3) - 5 * d * d + 8 * d - 4) : 0;
        sum += w * x[(i < 0 ? 0 : i < n ? i : n - 1) * stride];
    }
    return sum;
}

static double source(int64_t i, int64_t in, int64_t out) {
    return ((double)i + 0.5) * (double)in / (double)out - 0.5;
}

/* pos_embed: first down every column, then across. */
static void check_grid(const float *got, int64_t out, const float *from, int64_t in, int64_t width,
                       bool cubic) {
    float *row = malloc((size_t)in * sizeof *row);
    double worst = 0;
    for (int64_t y = 0; y < out; y++)
        for (int64_t c = 0; c < width; c++) {
            for (int64_t x = 0; x < in; x++)
                row[x] =
                    (float)along(from + x * width + c, in, in * width, source(y, in, out), cubic);
            for (int64_t x = 0; x < out; x++) {
                double want = along(row, in, 1, source(x, in, out), cubic);
                worst = fmax(worst, fabs(want - got[(y * out + x) * width + c]));
            }
        }
    ck_assert_msg(worst < 1e-6, "pos_embed %d -> %d: %g", (int)in, (int)out, worst);
    free(row);
}

static void check_rows(const char *name, const float *got, int64_t out, const float *from,
                       int64_t in, int64_t width) {
    double worst = 0;
    for (int64_t y = 0; y < out; y++)
        for (int64_t c = 0; c < width; c++)
            worst = fmax(worst, fabs(along(from + c, in, width, source(y, in, out), false) -
                                     got[y * width + c]));
    ck_assert_msg(worst < 1e-6, "%s %d -> %d: %g", name, (int)in, (int)out, worst);
}

static const struct {
    const char *name;
    int64_t size, before, after; /* grids */
} sizes[] = {{"a", 64, 7, 4},    {"a", 176, 7, 11}, {"b", 80, 20, 10}, {"b", 8, 20, 1},
             {"b", 176, 20, 22}, {"c", 128, 16, 8}, {"c", 160, 16, 10}};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

START_TEST(tables_are_interpolated_and_all_else_is_copied) {
    msx_positions how = _i % 2 ? MSX_POSITIONS_BICUBIC : MSX_POSITIONS_BILINEAR;
    int64_t in = sizes[_i / 2].before, out = sizes[_i / 2].after, tables = 0;
    msx_ctx *ctx = test_ctx();
    msx_checkpoint *c = open_weights(ctx, sizes[_i / 2].name), *resized;
    msx_arch *before, *after;
    test_ok(ctx, msx_checkpoint_set_meta(c, "kept", "yes"));
    test_ok(ctx, msx_checkpoint_resize(&resized, c, sizes[_i / 2].size, how));
    test_ok(ctx, msx_arch_infer(&before, ctx, c));
    test_ok(ctx, msx_arch_infer(&after, ctx, resized));
    ck_assert_int_eq(msx_arch_get(after, MSX_ARCH_IMAGE_SIZE), sizes[_i / 2].size);
    ck_assert_int_eq(msx_arch_get(after, MSX_ARCH_GRID), out);
    ck_assert_int_eq(msx_arch_get(after, MSX_ARCH_WINDOW), msx_arch_get(before, MSX_ARCH_WINDOW));
    ck_assert_int_eq(msx_checkpoint_count(resized), msx_arch_tensor_count(before));
    ck_assert_str_eq(msx_checkpoint_meta(resized, "kept"), "yes");
    for (int64_t i = 0; i < msx_arch_tensor_count(before); i++) {
        const char *name = msx_arch_tensor_name(before, i);
        int64_t dims[MSX_MAX_RANK], n, m;
        int rank = msx_arch_tensor_shape(before, i, dims);
        float *from = test_tensor(c, name, &n), *got = test_tensor(resized, name, &m);
        if (rank == 4 && strstr(name, "pos_embed")) {
            check_grid(got, out, from, in, dims[3], how == MSX_POSITIONS_BICUBIC);
            tables++;
        } else if (strstr(name, "rel_pos") && dims[0] == 2 * in - 1) {
            check_rows(name, got, 2 * out - 1, from, 2 * in - 1, dims[1]);
            tables++;
        } else {
            ck_assert_int_eq(n, m);
            ck_assert_msg(!memcmp(from, got, (size_t)n * sizeof *from), "%s was changed", name);
        }
        free(from);
        free(got);
    }
    int64_t global = 0;
    for (int64_t b = 0; b < msx_arch_get(before, MSX_ARCH_DEPTH); b++)
        global += msx_arch_is_global(before, b);
    ck_assert_int_eq(tables, 1 + 2 * global);
    msx_arch_free(before);
    msx_arch_free(after);
    msx_checkpoint_free(resized);
    msx_checkpoint_free(c);
    msx_ctx_free(ctx);
}
END_TEST

/* ---- models ------------------------------------------------------------------------------------------- */

static msx_model *load_for(msx_ctx *ctx, msx_device *d, const msx_checkpoint *c, int64_t size,
                           msx_positions how) {
    msx_model_options o = MSX_MODEL_OPTIONS;
    msx_model *m;
    o.image_size = size;
    o.positions = how;
    test_ok(ctx, msx_model_load_with(&m, d, c, &o));
    return m;
}

/* Embedding, logits and the mask of one image and box. */
static float *results_of(msx_ctx *ctx, msx_model *m, int64_t *n) {
    const msx_arch *arch = msx_model_arch(m);
    int64_t grid = msx_arch_get(arch, MSX_ARCH_GRID), tokens = grid * grid;
    int64_t floats = msx_arch_get(arch, MSX_ARCH_DECODER_WIDTH) * tokens;
    int64_t logits = msx_arch_get(arch, MSX_ARCH_MASK_TOKENS) * 16 * tokens;
    msx_image *image, *map;
    msx_embedding *e;
    msx_prompts *prompts;
    msx_prediction *p;
    test_ok(ctx, msx_image_create(&image, ctx, 90, 61, 1, MSX_PIXEL_U8, NULL));
    uint8_t *pixels = msx_image_data(image);
    for (int i = 0; i < 90 * 61; i++) pixels[i] = (uint8_t)((i % 90) * 3 ^ (i / 90) * 5);
    test_ok(ctx, msx_model_encode(&e, m, (const msx_image *const[]){image}, 1));
    test_ok(ctx, msx_prompts_create(&prompts, ctx));
    test_ok(ctx, msx_prompts_begin(prompts, 0));
    test_ok(ctx, msx_prompts_box(prompts, 10, 12, 60, 50));
    test_ok(ctx, msx_model_predict(&p, m, e, prompts));
    test_ok(ctx, msx_prediction_map(&map, p, 0, 0));
    ck_assert_int_eq(msx_image_width(map), 90);
    ck_assert_int_eq(msx_prediction_side(p), 4 * grid);
    *n = floats + logits + 90 * 61;
    float *all = malloc((size_t)*n * sizeof *all);
    test_ok(ctx, msx_embedding_read(e, 0, all, floats));
    memcpy(all + floats, msx_prediction_logits(p, 0), (size_t)logits * sizeof *all);
    memcpy(all + floats + logits, msx_image_data(map), 90 * 61 * sizeof *all);
    msx_image_free(map);
    msx_prediction_free(p);
    msx_prompts_free(prompts);
    msx_embedding_free(e);
    msx_image_free(image);
    return all;
}

static void same_results(msx_ctx *ctx, msx_model *a, msx_model *b) {
    int64_t n, m;
    float *x = results_of(ctx, a, &n), *y = results_of(ctx, b, &m);
    ck_assert_int_eq(n, m);
    ck_assert_int_eq(memcmp(x, y, (size_t)n * sizeof *x), 0);
    for (int64_t i = 0; i < n; i++) ck_assert(isfinite(x[i]));
    free(x);
    free(y);
}

START_TEST(a_model_loaded_for_a_size_is_that_of_the_resized_file) {
    msx_positions how = _i % 2 ? MSX_POSITIONS_BICUBIC : MSX_POSITIONS_BILINEAR;
    int64_t size = sizes[_i / 2].size;
    msx_ctx *ctx = test_ctx();
    msx_device *d;
    test_ok(ctx, msx_device_open(&d, ctx, "cpu"));
    msx_checkpoint *c = open_weights(ctx, sizes[_i / 2].name), *resized;
    test_ok(ctx, msx_checkpoint_resize(&resized, c, size, how));
    msx_model *direct = load_for(ctx, d, c, size, how), *through;
    test_ok(ctx, msx_model_load(&through, d, resized, MSX_PRESET_SAM));
    ck_assert_int_eq(msx_arch_get(msx_model_arch(direct), MSX_ARCH_IMAGE_SIZE), size);
    same_results(ctx, direct, through);
    /* Updates bring tables of either size. */
    uint8_t *changed = calloc((size_t)msx_arch_tensor_count(msx_model_arch(direct)), 1);
    changed[0] = 1;
    test_ok(ctx, msx_model_update(direct, c, changed));
    same_results(ctx, direct, through);
    test_ok(ctx, msx_model_update(direct, resized, NULL));
    same_results(ctx, direct, through);
    test_fails(ctx, msx_model_update(through, c, NULL), MSX_E_SHAPE, "pos_embed");
    free(changed);
    msx_model_free(direct);
    msx_model_free(through);
    msx_checkpoint_free(resized);
    msx_checkpoint_free(c);
    msx_device_free(d);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(the_own_size_changes_no_bit) {
    golden g;
    golden_open(&g, "b", MSX_PRESET_SAM);
    msx_checkpoint *c = open_weights(g.ctx, "b");
    msx_model *m = load_for(g.ctx, g.device, c, 160, MSX_POSITIONS_BICUBIC);
    same_results(g.ctx, m, g.model);
    msx_model_free(m);
    test_ok(g.ctx, msx_model_load_with(&m, g.device, c, NULL));
    same_results(g.ctx, m, g.model);
    msx_model_free(m);
    msx_checkpoint_free(c);
    golden_close(&g);
}
END_TEST

/* b: patches of 8 pixels, windows of 7 */
START_TEST(one_window_wide_is_for_models_only) {
    golden g;
    golden_open(&g, "b", MSX_PRESET_SAM);
    msx_checkpoint *c = open_weights(g.ctx, "b"), *none;
    test_fails(g.ctx, msx_checkpoint_resize(&none, c, 56, MSX_POSITIONS_BILINEAR),
               MSX_E_UNSUPPORTED, "one window wide");
    msx_model *m = load_for(g.ctx, g.device, c, 56, MSX_POSITIONS_BILINEAR);
    int64_t n;
    float *results = results_of(g.ctx, m, &n);
    for (int64_t i = 0; i < n; i++) ck_assert(isfinite(results[i]));
    free(results);
    msx_model_free(m);
    msx_checkpoint_free(c);
    golden_close(&g);
}
END_TEST

/* An embedding of one size is none of another. */
START_TEST(embeddings_know_their_size) {
    golden g;
    golden_open(&g, "a", MSX_PRESET_SAM);
    msx_checkpoint *c = open_weights(g.ctx, "a");
    msx_model *m = load_for(g.ctx, g.device, c, 64, MSX_POSITIONS_BILINEAR);
    msx_embedding *e = golden_encode_input(&g, ""), *none;
    msx_prompts *prompts;
    msx_prediction *p;
    char path[128];
    const char *folder = test_make_folder();
    snprintf(path, sizeof path, "%s/e.safetensors", folder);
    test_ok(g.ctx, msx_prompts_create(&prompts, g.ctx));
    test_fails(g.ctx, msx_model_predict(&p, m, e, prompts), MSX_E_SHAPE, "another shape");
    test_ok(g.ctx, msx_embedding_save(e, g.model, path));
    test_fails(g.ctx, msx_embedding_load(&none, m, path), MSX_E_SHAPE,
               "this model's are (32, 4, 4)");
    test_remove_folder(folder);
    msx_prompts_free(prompts);
    msx_embedding_free(e);
    msx_model_free(m);
    msx_checkpoint_free(c);
    golden_close(&g);
}
END_TEST

START_TEST(sizes_that_do_not_fit_are_refused) {
    golden g;
    golden_open(&g, "a", MSX_PRESET_SAM);
    msx_checkpoint *c = open_weights(g.ctx, "a"), *empty, *resized;
    msx_model_options o = MSX_MODEL_OPTIONS;
    msx_model *m;
    static const int64_t wrong[] = {100, 1, 16400, INT64_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        o.image_size = wrong[i];
        test_fails(g.ctx, msx_model_load_with(&m, g.device, c, &o), MSX_E_ARG,
                   "multiple of the patch of 16");
        test_fails(g.ctx, msx_checkpoint_resize(&resized, c, wrong[i], MSX_POSITIONS_BILINEAR),
                   MSX_E_ARG, "multiple of the patch of 16");
    }
    test_fails(g.ctx, msx_checkpoint_resize(&resized, c, 0, MSX_POSITIONS_BILINEAR), MSX_E_ARG,
               "0 pixels");
    o.image_size = -16;
    test_fails(g.ctx, msx_model_load_with(&m, g.device, c, &o), MSX_E_ARG, "-16");
    o.image_size = 64;
    o.positions = (msx_positions)7;
    test_fails(g.ctx, msx_model_load_with(&m, g.device, c, &o), MSX_E_ARG, "positions 7");
    test_fails(g.ctx, msx_checkpoint_resize(&resized, c, 64, o.positions), MSX_E_ARG,
               "positions 7");
    o.struct_size--;
    test_fails(g.ctx, msx_model_load_with(&m, g.device, c, &o), MSX_E_ARG, "MSX_MODEL_OPTIONS");
    test_ok(g.ctx, msx_checkpoint_create(&empty, g.ctx));
    test_fails(g.ctx, msx_checkpoint_resize(&resized, empty, 64, MSX_POSITIONS_BILINEAR),
               MSX_E_SHAPE, "not a SAM");
    ck_assert_ptr_null(resized);
    ck_assert_ptr_null(m);
    msx_checkpoint_free(empty);
    msx_checkpoint_free(c);
    golden_close(&g);
}
END_TEST

static msx_status whole_way(msx_ctx *ctx, const msx_checkpoint *c) {
    msx_checkpoint *resized = NULL;
    msx_device *d = NULL;
    msx_model *m = NULL;
    msx_model_options o = MSX_MODEL_OPTIONS;
    o.image_size = 64;
    msx_status status = msx_checkpoint_resize(&resized, c, 64, MSX_POSITIONS_BICUBIC);
    if (status >= 0) status = msx_device_open(&d, ctx, "cpu");
    if (status >= 0) status = msx_model_load_with(&m, d, c, &o);
    msx_model_free(m);
    msx_device_free(d);
    msx_checkpoint_free(resized);
    return status;
}

START_TEST(every_failing_allocation_is_returned_and_nothing_leaks) {
    for (int64_t fail_at = 0;; fail_at++) {
        test_allocator memory;
        msx_ctx *ctx;
        test_allocator_init(&memory, -1, _i != 0);
        ck_assert_int_eq(msx_ctx_create(&ctx, &memory.table), MSX_OK);
        msx_checkpoint *c = open_weights(ctx, "a");
        memory.calls = 0;
        memory.fail_at = 17 * fail_at + _i;
        msx_status status = whole_way(ctx, c);
        bool reached = memory.calls > memory.fail_at;
        if (reached)
            ck_assert_msg(status == MSX_E_NOMEM, "allocation %d: %s", (int)memory.fail_at,
                          msx_ctx_error(ctx));
        else
            test_ok(ctx, status);
        memory.fail_at = -1;
        msx_checkpoint_free(c);
        msx_ctx_free(ctx);
        ck_assert_int_eq(memory.live, 0);
        if (!reached) break;
    }
}
END_TEST

static Suite *suite(void) {
    Suite *s = suite_create("sizes");
    TCase *t = tcase_create("sizes");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, tables_are_interpolated_and_all_else_is_copied, 0, 2 * N_SIZES);
    tcase_add_loop_test(t, a_model_loaded_for_a_size_is_that_of_the_resized_file, 0, 2 * N_SIZES);
    tcase_add_test(t, the_own_size_changes_no_bit);
    tcase_add_test(t, one_window_wide_is_for_models_only);
    tcase_add_test(t, embeddings_know_their_size);
    tcase_add_test(t, sizes_that_do_not_fit_are_refused);
    tcase_add_loop_test(t, every_failing_allocation_is_returned_and_nothing_leaks, 0, 2);
    suite_add_tcase(s, t);
    return s;
}

int main(void) {
    return test_run(suite());
}
