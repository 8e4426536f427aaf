/* SPDX-License-Identifier: Apache-2.0 */
/* sce, ram, nearswap, arcee_fusion and passthrough: golden vectors, properties, and the formulas again
 * in float64. */
#include "merge/method_call.h"

enum { MODELS = 3, MOST = 4096 * 2 };

static float store[(MODELS + 1) * MOST];
static const float *models[MODELS + 1];

static void fill(int64_t n, uint32_t seed) {
    fill_models(store, MODELS, n, seed);
    for (int64_t m = 0; m <= MODELS; m++) models[m] = store + m * n;
}

static double change(int m, int64_t i) {
    return (double)(models[m][i] - models[0][i]);
}

/* ---- golden vectors ------------------------------------------------------------------------------- */

static const struct golden {
    const char *method;
    setting settings[2];
    double expected[GOLDEN];
} golden[] = {
    {"sce", {{NULL, 0, 0}}, {.4, 1.295349, -1.3, .9, .048837, .202326}},
    {"ram", {{NULL, 0, 0}}, {.15, 1.3, -1.05, .9, .05, .2}},
    /* the fourth element is the second model's alone, which shares five: .5 + .4 (1 + .5 min(5, .2)) */
    {"ramplus_tl", {{"r", 0, .5}}, {.15, 1.3, -1.05, .94, .05, .2}},
    {"nearswap", {{"t", 0, .1}}, {.1, 1.1, -1.1, .5, .1, -.2}},
    {"passthrough", {{"score", 2, .6}}, {-.1, 1.5, -.8, .9, .1, .1}},
};

START_TEST(golden_vectors) {
    const struct golden *g = &golden[_i];
    method_call c = {g->method, 1, {GOLDEN}, 3, golden_three, g->settings, 1, NULL, ""};
    float out[GOLDEN];
    ck_assert_int_eq(run_method(&c, out), MSX_OK);
    expect_values(g->method, out, g->expected, GOLDEN, 1e-5);
}
END_TEST

/* ---- the formulas again --------------------------------------------------------------------------- */

static double variance(int64_t i) {
    double mean = (change(1, i) + change(2, i) + change(3, i)) / 3, sum = 0;
    for (int m = 1; m <= MODELS; m++) sum += (change(m, i) - mean) * (change(m, i) - mean);
    return (float)(sum / 3);
}

static void sce(double *out, int64_t n, int64_t length, double topk) {
    (void)length;
    static bool chosen[MOST];
    double g[MODELS + 1] = {0}, sum = 0;
    int64_t vary = 0;
    for (int64_t i = 0; i < n; i++) vary += variance(i) > 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t above = 0;
        for (int64_t k = 0; k < n && topk < 1; k++)
            above += variance(k) > variance(i) || (variance(k) == variance(i) && k < i);
        chosen[i] = topk >= 1 || above < (int64_t)floor(topk * (double)vary);
        for (int m = 1; m <= MODELS && chosen[i]; m++) g[m] += change(m, i) * change(m, i);
    }
    for (int m = 1; m <= MODELS; m++) sum += g[m] / (double)n;
    for (int m = 1; m <= MODELS; m++) g[m] = sum < 1e-6 ? 1.0 / MODELS : g[m] / (double)n / sum;
    for (int64_t i = 0; i < n; i++) {
        double vote = change(1, i) + change(2, i) + change(3, i), top = 0, bottom = 0;
        for (int m = 1; m <= MODELS && chosen[i]; m++)
            if (vote >= 0 ? change(m, i) > 0 : change(m, i) < 0) {
                top += g[m] * change(m, i);
                bottom += g[m];
            }
        out[i] = models[0][i] + top / fmax(bottom, 1e-6);
    }
}

static void ram(double *out, int64_t n, int64_t length, double epsilon) {
    (void)length;
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        int count = 0;
        for (int m = 1; m <= MODELS; m++)
            if (fabs(change(m, i)) > epsilon) sum += change(m, i), count++;
        out[i] = models[0][i] + (count ? sum / count : 0);
    }
}

static void ramplus_tl(double *out, int64_t n, int64_t length, double epsilon) {
    (void)length;
    double factor[MODELS + 1];
    for (int m = 1; m <= MODELS; m++) {
        double shared = 0, unique = 0;
        for (int64_t i = 0; i < n; i++) {
            int others = 0;
            for (int k = 1; k <= MODELS; k++) others += k != m && fabs(change(k, i)) > epsilon;
            if (fabs(change(m, i)) > epsilon) *(others ? &shared : &unique) += 1;
        }
        factor[m] = 1 + .1 * fmin(fmax(shared / fmax(unique, epsilon), 0), .2);
    }
    for (int64_t i = 0; i < n; i++) {
        double sum = 0;
        int count = 0, last = 0;
        for (int m = 1; m <= MODELS; m++)
            if (fabs(change(m, i)) > epsilon) sum += change(m, i), count++, last = m;
        out[i] = models[0][i] + (count == 1 ? factor[last] * sum : count ? sum / count : 0);
    }
}

/* The second model is chosen. */
static void nearswap(double *out, int64_t n, int64_t length, double t) {
    (void)length;
    for (int64_t i = 0; i < n; i++) {
        double c = fmin(t / fmax(fabs(change(2, i)), 1e-6), 1);
        out[i] = c * models[2][i] + (1 - c) * models[0][i];
    }
}

static double divergence(const float *x, const float *b, int64_t n) {
    double sum_x = 0, sum_b = 0, kl = 0;
    for (int64_t i = 0; i < n; i++) sum_x += exp(x[i]), sum_b += exp(b[i]);
    for (int64_t i = 0; i < n; i++) {
        double p = exp(x[i]) / sum_x + 1e-8, q = exp(b[i]) / sum_b + 1e-8;
        kl += p * log(p / q);
    }
    return fmax(kl, 0);
}

static double at_place(const double *values, int64_t n, double share) {
    int64_t place = (int64_t)floor(share * (double)(n - 1));
    for (int64_t i = 0; i < n; i++) {
        int64_t below = 0, equal = 0;
        for (int64_t k = 0; k < n; k++) {
            below += values[k] < values[i];
            equal += values[k] == values[i];
        }
        if (below <= place && place < below + equal) return values[i];
    }
    ck_abort_msg("no value at place %lld", (long long)place);
}

static void arcee_fusion(double *out, int64_t n, int64_t length, double score) {
    (void)score;
    static double importance[MOST];
    for (int64_t i = 0; i < n; i++) {
        int64_t row = i / length * length;
        double kl = divergence(models[2] + row, models[0] + row, length);
        importance[i] = fabs(change(2, i)) * kl;
    }
    double first = at_place(importance, n, .25), third = at_place(importance, n, .75);
    double threshold = at_place(importance, n, .5) + 1.5 * (third - first);
    for (int64_t i = 0; i < n; i++)
        out[i] = models[0][i] + (importance[i] >= threshold * (1 - 1e-9) ? change(2, i) : 0);
}

static void passthrough(double *out, int64_t n, int64_t length, double scale) {
    (void)length;
    for (int64_t i = 0; i < n; i++) out[i] = scale * models[2][i];
}

static const struct rule {
    const char *method;
    void (*formula)(double *out, int64_t n, int64_t length, double value);
    setting settings[2]; /* the first holds the value */
} rules[] = {
    {"sce", sce, {{"select_topk", 0, .4}}},
    {"sce", sce, {{"select_topk", 0, 1}}},
    {"sce", sce, {{"select_topk", 0, .01}}},
    {"ram", ram, {{"epsilon", 0, .1}}},
    {"ramplus_tl", ramplus_tl, {{"epsilon", 0, .1}}},
    {"nearswap", nearswap, {{"t", 0, .05}, {"score", 2, .9}}},
    {"arcee_fusion", arcee_fusion, {{"score", 2, .9}}},
    {"passthrough", passthrough, {{"scale", 0, .7}, {"score", 2, .9}}},
};
enum { RULES = sizeof rules / sizeof *rules };

static method_call of_shape(const struct rule *r, const setting *settings, int64_t rows,
                            int64_t length) {
    return (method_call){.method = r->method,
                         .rank = 2,
                         .dims = {rows, length},
                         .n_models = MODELS + 1,
                         .models = models,
                         .settings = settings};
}

START_TEST(every_method_is_its_formula_in_float64) {
    static const int64_t shapes[][2] = {{1, 1}, {1, 17}, {3, 33}, {5, 7}, {21, 27}};
    static float out[MOST];
    static double expected[MOST];
    for (int s = 0; s < 5; s++) {
        const struct rule *r = &rules[_i];
        int64_t rows = shapes[s][0], n = rows * shapes[s][1];
        setting settings[3] = {r->settings[0], r->settings[1], {NULL, 0, 0}};
        fill(n, 51 + (uint32_t)s);
        method_call c = of_shape(r, settings, rows, shapes[s][1]);
        ck_assert_int_eq(run_method(&c, out), MSX_OK);
        r->formula(expected, n, shapes[s][1], settings[0].value);
        expect_values(r->method, out, expected, n, 1e-5);
    }
}
END_TEST

/* ---- properties ----------------------------------------------------------------------------------- */

START_TEST(equal_models_merge_to_themselves_to_the_bit) {
    float out[301];
    fill(301, 3);
    store[0] = -0.0f;
    for (int m = 1; m <= MODELS; m++) memcpy(store + m * 301, store, sizeof out);
    method_call c = of_shape(&rules[_i], NULL, 7, 43);
    ck_assert_int_eq(run_method(&c, out), MSX_OK);
    ck_assert_msg(!memcmp(out, store, sizeof out), "%s", rules[_i].method);
}
END_TEST

START_TEST(sums_over_models_ignore_their_order) {
    static const char *const symmetric[] = {"sce", "ram", "ramplus_tl"};
    float out[301], swapped[301];
    fill(301, 21);
    for (int k = 0; k < 3; k++) {
        method_call c = {symmetric[k], 1, {301}, MODELS + 1, models, NULL, 1, NULL, ""};
        ck_assert_int_eq(run_method(&c, out), MSX_OK);
        const float *const other[] = {models[0], models[3], models[1], models[2]};
        c.models = other;
        ck_assert_int_eq(run_method(&c, swapped), MSX_OK);
        for (int i = 0; i < 301; i++) ck_assert_double_eq_tol(out[i], swapped[i], 1e-6);
    }
}
END_TEST

START_TEST(threads_do_not_change_a_bit) {
    static float out[2][MOST];
    fill(MOST, 5);
    setting settings[3] = {rules[_i].settings[0], rules[_i].settings[1], {NULL, 0, 0}};
    for (int threads = 0; threads < 2; threads++) {
        method_call c = of_shape(&rules[_i], settings, 64, MOST / 64);
        c.threads = threads ? 3 : 1;
        ck_assert_int_eq(run_method(&c, out[threads]), MSX_OK);
    }
    ck_assert(!memcmp(out[0], out[1], sizeof out[0]));
}
END_TEST

START_TEST(nothing_taken_is_the_base_to_the_bit) {
    static const struct {
        const char *method;
        setting settings[2];
    } cases[] = {{"sce", {{"select_topk", 0, 0}}},     {"ram", {{"epsilon", 0, 1}}},
                 {"nearswap", {{"t", 0, 0}}},          {"nearswap", {{"score", 0, .8}}},
                 {"arcee_fusion", {{"score", 0, .8}}}, {"passthrough", {{"score", 0, .8}}}};
    float out[35];
    fill(35, 2);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        const setting settings[] = {cases[k].settings[0], {NULL, 0, 0}};
        method_call c = {cases[k].method, 1, {35}, MODELS + 1, models, settings, 1, NULL, ""};
        ck_assert_int_eq(run_method(&c, out), MSX_OK);
        ck_assert_msg(!memcmp(out, models[0], sizeof out), "case %zu", k);
    }
}
END_TEST

START_TEST(without_scores_the_first_model_is_merged_not_the_base) {
    static const setting all[] = {{"t", 0, 1}, {NULL, 0, 0}};
    float out[35];
    fill(35, 2);
    method_call c = {"nearswap", 1, {35}, MODELS + 1, models, all, 1, NULL, ""};
    ck_assert_int_eq(run_method(&c, out), MSX_OK);
    ck_assert(!memcmp(out, models[1], sizeof out));
}
END_TEST

START_TEST(no_elements_are_nothing_to_do) {
    fill(1, 2);
    float out = 3;
    method_call c = {rules[_i].method, 1, {0}, MODELS + 1, models, NULL, 1, NULL, ""};
    ck_assert_int_eq(run_method(&c, &out), MSX_OK);
    ck_assert(out == 3);
}
END_TEST

int main(void) {
    Suite *s = suite_create("choice methods");
    TCase *t = tcase_create("choice methods");
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, golden_vectors, 0, sizeof golden / sizeof *golden);
    tcase_add_loop_test(t, every_method_is_its_formula_in_float64, 0, RULES);
    tcase_add_loop_test(t, equal_models_merge_to_themselves_to_the_bit, 0, RULES);
    tcase_add_test(t, sums_over_models_ignore_their_order);
    tcase_add_loop_test(t, threads_do_not_change_a_bit, 0, RULES);
    tcase_add_test(t, nothing_taken_is_the_base_to_the_bit);
    tcase_add_test(t, without_scores_the_first_model_is_merged_not_the_base);
    tcase_add_loop_test(t, no_elements_are_nothing_to_do, 0, RULES);
    return test_run(s);
}
