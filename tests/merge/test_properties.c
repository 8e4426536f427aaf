/* SPDX-License-Identifier: Apache-2.0 */
/* What holds of every method that the library has: equal models merge to themselves, nothing added is the
 * base, everything kept is the untrimmed form, the order of the models does not matter, threads change no
 * bit. A method without a row here fails the test. */
#include "merge/method_call.h"

enum { MODELS = 3, N = 301, SETTINGS = 8 };

static float store[(MODELS + 1) * N];
static const float *models[MODELS + 1];

static void fill(uint32_t seed) {
    fill_models(store, MODELS, N, seed);
    for (int64_t m = 0; m <= MODELS; m++) models[m] = store + m * N;
}

typedef enum untrimmed {
    NO_DENSITY = 0,
    SUM,  /* base + scale * the sum of the changes */
    MEAN, /* base + scale * the mean of the changes of the elected sign */
    SHARE /* the same mean, weighted by each model's mean square */
} untrimmed;

/* Values near their defaults that make each method do something; what gives the base, and how near. */
static const struct row {
    const char *method;
    setting some[SETTINGS]; /* per model: different ones */
    setting base[SETTINGS]; /* lambda 0, or what says the same of a method that has none */
    double base_bound;      /* 0: to the bit; negative: no setting gives the base */
    const char *density, *lambda;
    untrimmed form; /* at density 1 */
    bool normalize; /* the form needs the method's own normalising to be on */
    bool symmetric; /* also the base may change its place */
} rows[] = {
    {.method = "linear",
     .some = {{"weight", 0, .2}, {"weight", 1, .9}, {"weight", 2, .6}, {"weight", 3, .4}},
     .base = {{"weight", ALL_MODELS, 0}, {"weight", 0, .7}},
     .symmetric = true},
    {.method = "task_arithmetic",
     .some = {{"scaling", 0, .4}, {"weight", 1, .5}, {"weight", 3, 2}},
     .base = {{"scaling", 0, 0}}},
    {.method = "ties",
     .some = {{"retain", 0, .4}, {"weight", 1, .5}, {"weight", 3, 2}},
     .base = {{"scaling", 0, 0}},
     .density = "retain",
     .lambda = "scaling",
     .form = MEAN},
    {.method = "slerp",
     .some = {{"score", 0, .2}, {"score", 1, .9}, {"score", 2, .6}, {"score", 3, .4}},
     .base = {{"score", 0, .9}, {"score", 1, .8}, {"score", 2, .1}, {"score", 3, .1}, {"t", 0, 0}},
     .symmetric = true},
    {.method = "dare_linear",
     .some = {{"weight", 1, .5}, {"weight", 3, 2}, {"lambda", 0, .7}},
     .base = {{"lambda", 0, 0}, {"density", 0, .5}},
     .density = "density",
     .lambda = "lambda",
     .form = SUM},
    {.method = "dare_ties",
     .some = {{"weight", 1, .5}, {"weight", 3, 2}, {"lambda", 0, .7}},
     .base = {{"lambda", 0, 0}, {"density", 0, .5}},
     .density = "density",
     .lambda = "lambda",
     .form = MEAN,
     .normalize = true},
    {.method = "della",
     .some = {{"weight", 1, .5}, {"weight", 3, 2}, {"lambda", 0, .7}},
     .base = {{"lambda", 0, 0}, {"density", 0, .5}},
     .density = "density",
     .lambda = "lambda",
     .form = MEAN},
    {.method = "della_linear",
     .some = {{"weight", 1, .5}, {"weight", 3, 2}, {"lambda", 0, .7}},
     .base = {{"lambda", 0, 0}, {"density", 0, .5}},
     .density = "density",
     .lambda = "lambda",
     .form = SUM},
    {.method = "breadcrumbs",
     .some = {{"density", 0, .4}, {"weight", 1, .5}, {"weight", 3, 2}, {"lambda", 0, .7}},
     .base = {{"lambda", 0, 0}, {"density", 0, .5}},
     .density = "density",
     .lambda = "lambda",
     .form = SUM},
    {.method = "breadcrumbs_ties",
     .some = {{"density", 0, .4}, {"weight", 1, .5}, {"weight", 3, 2}, {"lambda", 0, .7}},
     .base = {{"lambda", 0, 0}, {"density", 0, .5}},
     .density = "density",
     .lambda = "lambda",
     .form = MEAN,
     .normalize = true},
    {.method = "nuslerp",
     .some = {{"weight", 0, .2}, {"weight", 1, .9}, {"weight", 2, .6}, {"weight", 3, .4}},
     .base = {{"weight", ALL_MODELS, 0}, {"weight", 0, .7}},
     .symmetric = true},
    {.method = "multislerp",
     .some = {{"weight", 0, .2}, {"weight", 1, .9}, {"weight", 2, .6}, {"weight", 3, .4}},
     .base = {{"weight", ALL_MODELS, 0}, {"weight", 0, .7}},
     .base_bound = 1e-6,
     .symmetric = true},
    {.method = "karcher",
     .some = {{"use", 2, 0}},
     .base = {{"use", ALL_MODELS, 0}, {"use", 0, 1}},
     .base_bound = 1e-6,
     .symmetric = true},
    {.method = "model_stock", .base_bound = -1},
    {.method = "sce",
     .some = {{"select_topk", 0, .4}},
     .base = {{"select_topk", 0, 0}},
     .density = "select_topk",
     .form = SHARE},
    {.method = "ram", .some = {{"epsilon", 0, .1}}, .base = {{"epsilon", 0, 1}}},
    {.method = "ramplus_tl",
     .some = {{"epsilon", 0, .1}, {"r", 0, .8}, {"alpha", 0, .9}},
     .base = {{"epsilon", 0, 1}}},
    {.method = "nearswap", .some = {{"score", 2, .9}, {"t", 0, .05}}, .base = {{"t", 0, 0}}},
    {.method = "arcee_fusion", .some = {{"score", 2, .9}}, .base = {{"score", 0, .9}}},
    {.method = "passthrough",
     .some = {{"score", 2, .9}},
     .base = {{"score", 0, .9}},
     .symmetric = true},
};
enum { ROWS = sizeof rows / sizeof *rows };

static void run(const struct row *r, const setting *settings, int threads, float *out) {
    method_call c = {.method = r->method,
                     .rank = 2,
                     .dims = {7, 43},
                     .n_models = MODELS + 1,
                     .models = models,
                     .settings = settings,
                     .threads = threads};
    ck_assert_msg(run_method(&c, out) == MSX_OK, "%s: %s", r->method, c.why);
}

/* Rows follow the order of registration, so none is missing. */
START_TEST(every_method_has_a_row) {
    msx_ctx *ctx = test_ctx();
    ck_assert_int_eq(msx_merge_method_count(ctx), ROWS);
    for (int i = 0; i < ROWS; i++)
        ck_assert_str_eq(msx_merge_method_at(ctx, i)->name, rows[i].method);
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(equal_models_merge_to_themselves_to_the_bit) {
    const struct row *r = &rows[_i];
    float out[N];
    fill(3);
    store[0] = -0.0f;
    for (int m = 1; m <= MODELS; m++) memcpy(store + m * N, store, sizeof out);
    run(r, r->some, 1, out);
    ck_assert_msg(!memcmp(out, store, sizeof out), "%s", r->method);
    run(r, NULL, 1, out);
    ck_assert_msg(!memcmp(out, store, sizeof out), "%s with its defaults", r->method);
}
END_TEST

START_TEST(nothing_added_is_the_base) {
    const struct row *r = &rows[_i];
    float out[N];
    if (r->base_bound < 0) return;
    fill(8);
    store[0] = -0.0f;
    run(r, r->base, 1, out);
    if (r->base_bound == 0) ck_assert_msg(!memcmp(out, store, sizeof out), "%s", r->method);
    for (int i = 0; i < N; i++) ck_assert_double_le(fabs(out[i] - store[i]), r->base_bound);
}
END_TEST

/* Plain loops over all changes. */
static void keep_everything(double *out, untrimmed form, double lambda) {
    double share[MODELS + 1] = {0};
    for (int m = 1; m <= MODELS; m++)
        for (int i = 0; i < N; i++) {
            double d = (double)(models[m][i] - models[0][i]);
            share[m] = form == SHARE ? share[m] + d * d : 1;
        }
    for (int i = 0; i < N; i++) {
        double vote = 0, sum = 0, weights = 0;
        for (int m = 1; m <= MODELS; m++) vote += (double)(models[m][i] - models[0][i]);
        for (int m = 1; m <= MODELS; m++) {
            double d = (double)(models[m][i] - models[0][i]);
            if (form != SUM && !(vote >= 0 ? d > 0 : d < 0)) continue;
            sum += share[m] * d;
            weights += share[m];
        }
        out[i] = models[0][i] + lambda * sum / (form == SUM || weights == 0 ? 1 : weights);
    }
}

START_TEST(density_one_is_the_untrimmed_form) {
    const struct row *r = &rows[_i];
    float out[N];
    double expected[N], lambda = r->lambda ? .6 : 1;
    if (!r->form) return;
    setting settings[4] = {{r->density, 0, 1}};
    int used = 1;
    if (r->lambda) settings[used++] = (setting){r->lambda, 0, lambda};
    if (r->normalize) settings[used++] = (setting){"normalize", 0, 1};
    fill(13);
    run(r, settings, 1, out);
    keep_everything(expected, r->form, lambda);
    expect_values(r->method, out, expected, N, 2e-6);
}
END_TEST

/* Settings of the models move with them. */
START_TEST(the_order_of_models_does_not_matter) {
    static const int moved[2][MODELS + 1] = {{0, 2, 3, 1}, {3, 2, 0, 1}}; /* to where each goes */
    const struct row *r = &rows[_i];
    float out[N], other[N];
    for (int p = 0; p < 1 + r->symmetric; p++) {
        const float *there[MODELS + 1];
        setting settings[SETTINGS];
        fill(21);
        run(r, r->some, 1, out);
        memcpy(settings, r->some, sizeof settings);
        for (int m = 0; m <= MODELS; m++) there[moved[p][m]] = models[m];
        memcpy(models, there, sizeof there);
        for (setting *s = settings; s->name; s++) {
            bool per_model =
                !strcmp(s->name, "weight") || !strcmp(s->name, "score") || !strcmp(s->name, "use");
            if (per_model && s->model != ALL_MODELS) s->model = moved[p][s->model];
        }
        run(r, settings, 1, other);
        for (int i = 0; i < N; i++) ck_assert_double_eq_tol(out[i], other[i], 1e-6);
    }
}
END_TEST

START_TEST(threads_do_not_change_a_bit) {
    const struct row *r = &rows[_i];
    float out[2][N];
    fill(34);
    for (int k = 0; k < 2; k++) run(r, r->some, 1 + 2 * k, out[k]);
    ck_assert_msg(!memcmp(out[0], out[1], sizeof out[0]), "%s", r->method);
}
END_TEST

int main(void) {
    Suite *s = suite_create("properties");
    TCase *t = tcase_create("properties");
    suite_add_tcase(s, t);
    tcase_add_test(t, every_method_has_a_row);
    tcase_add_loop_test(t, equal_models_merge_to_themselves_to_the_bit, 0, ROWS);
    tcase_add_loop_test(t, nothing_added_is_the_base, 0, ROWS);
    tcase_add_loop_test(t, density_one_is_the_untrimmed_form, 0, ROWS);
    tcase_add_loop_test(t, the_order_of_models_does_not_matter, 0, ROWS);
    tcase_add_loop_test(t, threads_do_not_change_a_bit, 0, ROWS);
    return test_run(s);
}
