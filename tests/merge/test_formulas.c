/* SPDX-License-Identifier: Apache-2.0 */
/* MedSAMix' four methods and their options: the formulas again as plain loops in float64, on sizes that no
 * kernel's block divides, and the golden vectors of the options. */
#include "merge/method_call.h"

enum { MODELS = 3, MOST = 4099, SETTINGS = 12 };

static float store[(MODELS + 1) * MOST];
static const float *models[MODELS + 1];

static const int64_t sizes[] = {0, 1, 3, 17, 33, 1000, MOST};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void fill(int64_t n, uint32_t seed) {
    fill_models(store, MODELS, n, seed);
    for (int64_t m = 0; m <= MODELS; m++) models[m] = store + m * n;
}

static double change(size_t m, int64_t i) {
    return (double)(models[m][i] - models[0][i]);
}

static double value_of(const setting *s, const char *name, size_t model, double missing) {
    for (; s->name; s++)
        if (!strcmp(s->name, name) && (s->model == ALL_MODELS || (size_t)s->model == model))
            missing = s->value;
    return missing;
}

/* ---- the formulas ------------------------------------------------------------------------------- */

static void linear(double *out, int64_t n, const setting *s) {
    double sum = 0;
    for (size_t m = 0; m <= MODELS; m++) sum += value_of(s, "weight", m, .5);
    bool normalize = value_of(s, "normalize", 0, 1) >= .5;
    for (int64_t i = 0; i < n; i++) {
        out[i] = 0;
        for (size_t m = 0; m <= MODELS; m++)
            out[i] += value_of(s, "weight", m, .5) / (normalize ? sum : 1) * models[m][i];
    }
}

static void task_arithmetic(double *out, int64_t n, const setting *s) {
    double sum = 0;
    for (size_t m = 1; m <= MODELS; m++) sum += value_of(s, "weight", m, 1);
    if (value_of(s, "normalize", 0, 0) < .5 || fabs(sum) < 1e-8) sum = 1;
    for (int64_t i = 0; i < n; i++) {
        out[i] = models[0][i];
        for (size_t m = 1; m <= MODELS; m++)
            out[i] +=
                value_of(s, "scaling", 0, .5) * value_of(s, "weight", m, 1) * change(m, i) / sum;
    }
}

/* Is element i of model m's change among those that stay? */
static bool stays(size_t m, int64_t i, int64_t n, double retain, bool threshold) {
    int64_t larger = 0, before = 0;
    for (int64_t k = 0; k < n; k++) {
        larger += fabs(change(m, k)) > fabs(change(m, i));
        before += fabs(change(m, k)) == fabs(change(m, i)) && k < i;
    }
    if (!threshold) return larger + before < (int64_t)floor(retain * (double)n);
    /* the floor(rate n)-th smallest and all that are not smaller than it */
    int64_t rank = (int64_t)floor((1 - retain) * (double)n + 1e-6);
    return rank == 0 || larger <= n - rank;
}

static void ties(double *out, int64_t n, const setting *s) {
    static double e[MODELS + 1][MOST];
    double retain = value_of(s, "retain", 0, .5), scaling = value_of(s, "scaling", 0, .5);
    bool threshold = value_of(s, "threshold", 0, 0) >= .5;
    int64_t balance = 0;
    for (size_t m = 1; m <= MODELS; m++) {
        double all = 0, kept = 0, factor = value_of(s, "weight", m, 1);
        for (int64_t i = 0; i < n; i++) {
            e[m][i] = retain >= 1 || stays(m, i, n, retain, threshold) ? change(m, i) : 0;
            all += fabs(change(m, i));
            kept += fabs(e[m][i]);
        }
        if (value_of(s, "rescale", 0, 0) >= .5 && kept >= 1e-7) factor *= all / kept;
        for (int64_t i = 0; i < n; i++) e[m][i] *= factor;
    }
    for (int64_t i = 0; i < n; i++) {
        double vote = (float)(e[1][i] + e[2][i] + e[3][i]);
        balance += (vote > 0) - (vote < 0);
    }
    bool plus = value_of(s, "majority", 0, 0) < .5 || balance >= 0;
    for (int64_t i = 0; i < n; i++) {
        double vote = e[1][i] + e[2][i] + e[3][i], sum = 0, weights = 0;
        for (size_t m = 1; m <= MODELS; m++) {
            bool up = vote > 0 || (vote == 0 && plus);
            if (!(up ? e[m][i] > 0 : e[m][i] < 0)) continue;
            sum += e[m][i];
            weights += value_of(s, "weight", m, 1);
        }
        bool divide = value_of(s, "normalize", 0, 1) >= .5 && fabs(weights) >= 1e-8;
        out[i] = models[0][i] + scaling * sum / (divide ? weights : 1);
    }
}

/* Scores .9 and .6 on models 3 and 1. */
static void slerp(double *out, int64_t n, const setting *s) {
    double t = value_of(s, "t", 0, NAN), aa = 0, ab = 0, bb = 0;
    const float *x = models[3], *y = models[1];
    if (isnan(t)) {
        t = value_of(s, "ratio", 0, 0) >= .5 ? .6 / 1.5 : exp(.6) / (exp(.6) + exp(.9));
    } else { /* between the pair in the order of the models */
        x = models[1];
        y = models[3];
    }
    for (int64_t i = 0; i < n; i++) {
        aa += (double)x[i] * x[i];
        ab += (double)x[i] * y[i];
        bb += (double)y[i] * y[i];
    }
    double cosine = aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 1, angle = acos(fmin(cosine, 1));
    bool line = fabs(cosine) > value_of(s, "colinear", 0, .9995) || fabs(cosine) >= 1 - 1e-12;
    double u = line ? 1 - t : sin((1 - t) * angle) / sin(angle);
    double v = line ? t : sin(t * angle) / sin(angle);
    for (int64_t i = 0; i < n; i++) out[i] = u * x[i] + v * y[i];
}

static const struct rule {
    const char *method;
    void (*formula)(double *out, int64_t n, const setting *s);
    setting settings[SETTINGS];
} rules[] = {
    {"linear", linear, {{"weight", 0, .2}, {"weight", 1, .9}, {"weight", 2, 0}, {"weight", 3, .4}}},
    {"linear", linear, {{"weight", 0, .2}, {"weight", 1, .9}, {"normalize", 0, 0}}},
    {"task_arithmetic", task_arithmetic, {{"scaling", 0, .3}}},
    {"task_arithmetic",
     task_arithmetic,
     {{"scaling", 0, .7}, {"weight", 1, -2}, {"weight", 3, .4}}},
    {"task_arithmetic",
     task_arithmetic,
     {{"weight", 1, .3}, {"weight", 3, 2}, {"normalize", 0, 1}}},
    {"task_arithmetic",
     task_arithmetic,
     {{"weight", 1, -1}, {"weight", 2, 0}, {"weight", 3, 1}, {"normalize", 0, 1}}},
    {"ties", ties, {{"retain", 0, .3}, {"scaling", 0, .8}}},
    {"ties", ties, {{"retain", 0, 1}, {"scaling", 0, 1}}},
    {"ties", ties, {{"retain", 0, .3}, {"threshold", 0, 1}}},
    {"ties", ties, {{"retain", 0, .9}, {"threshold", 0, 1}, {"weight", 2, 2}}},
    {"ties", ties, {{"retain", 0, .6}, {"weight", 1, .2}, {"weight", 2, .8}, {"weight", 3, 1.5}}},
    {"ties", ties, {{"retain", 0, .6}, {"weight", 1, -1}, {"normalize", 0, 0}}},
    {"ties", ties, {{"retain", 0, .4}, {"rescale", 0, 1}, {"normalize", 0, 0}}},
    {"ties", ties, {{"retain", 0, .4}, {"majority", 0, 1}}},
    {"slerp", slerp, {{"score", 1, .6}, {"score", 3, .9}}},
    {"slerp", slerp, {{"score", 1, .6}, {"score", 3, .9}, {"ratio", 0, 1}}},
    {"slerp", slerp, {{"score", 1, .6}, {"score", 3, .9}, {"t", 0, .3}}},
    {"slerp", slerp, {{"score", 1, .6}, {"score", 3, .9}, {"colinear", 0, .5}}},
};
enum { RULES = sizeof rules / sizeof *rules };

START_TEST(every_option_is_its_formula_in_float64) {
    static float out[MOST + 1];
    static double expected[MOST];
    const struct rule *r = &rules[_i];
    for (int k = 0; k < SIZES; k++) {
        int64_t n = sizes[k];
        if (n > 1000 && r->formula == ties) continue; /* quadratic loops */
        fill(n, 61 + (uint32_t)k);
        out[n] = 7;
        method_call c = {.method = r->method,
                         .rank = 1,
                         .dims = {n},
                         .n_models = MODELS + 1,
                         .models = models,
                         .settings = r->settings,
                         .threads = 1 + k % 3};
        ck_assert_int_eq(run_method(&c, out), MSX_OK);
        r->formula(expected, n, r->settings);
        expect_values(r->method, out, expected, n, 1e-5);
        ck_assert(out[n] == 7); /* nothing behind the tensor is touched */
    }
}
END_TEST

/* ---- golden vectors of the options --------------------------------------------------------------- */

static const struct golden {
    const char *method;
    setting settings[SETTINGS];
    double expected[GOLDEN];
} golden[] = {
    {"ties",
     {{"retain", 0, .5}, {"scaling", 0, 1}, {"weight", 1, .2}, {"weight", 2, .8}},
     {.4, 1.5, -1.3, .9, .2, .14}},
    {"ties",
     {{"retain", 0, .5}, {"scaling", 0, .5}, {"threshold", 0, 1}},
     {.2, 1.25, -1.15, .7, .1, -.05}},
    {"task_arithmetic",
     {{"scaling", 0, .3}, {"weight", 1, 1}, {"weight", 2, 1}},
     {.09, 1.18, -1.03, .62, .11, 0}},
    {"linear",
     {{"weight", 0, 0}, {"weight", 1, .6}, {"weight", 2, .3}, {"normalize", 0, 0}},
     {.21, 1.11, -1.02, .57, .03, .21}},
};

START_TEST(golden_vectors) {
    const struct golden *g = &golden[_i];
    method_call c = {g->method, 1, {GOLDEN}, 3, golden_three, g->settings, 1, NULL, ""};
    float out[GOLDEN];
    ck_assert_int_eq(run_method(&c, out), MSX_OK);
    expect_values(g->method, out, g->expected, GOLDEN, 1e-5);
}
END_TEST

/* An election that is even everywhere but in one element goes the way of that element. */
START_TEST(a_tie_follows_the_majority_where_that_is_asked_for) {
    static const float zero[5] = {0}, down[5] = {-1, -2, -1, -1, -1}, up[5] = {1, 1, 1, 1, 1};
    const float *const three[] = {zero, down, up};
    static const setting plain[] = {{"retain", 0, 1}, {"scaling", 0, 1}, {NULL, 0, 0}};
    static const setting majority[] = {
        {"retain", 0, 1}, {"scaling", 0, 1}, {"majority", 0, 1}, {NULL, 0, 0}};
    float out[5];
    method_call c = {"ties", 1, {5}, 3, three, plain, 1, NULL, ""};
    ck_assert_int_eq(run_method(&c, out), MSX_OK);
    expect_values("plus", out, (double[]){1, -2, 1, 1, 1}, 5, 0);
    c.settings = majority;
    ck_assert_int_eq(run_method(&c, out), MSX_OK);
    expect_values("majority", out, (double[]){-1, -2, -1, -1, -1}, 5, 0);
}
END_TEST

/* The op of the kernels and the loops of the engine are one method: an option that changes nothing
 * changes no more than the last bit. */
START_TEST(options_that_do_nothing_change_nothing) {
    static const setting plain[] = {{"retain", 0, .4}, {"scaling", 0, .7}, {NULL, 0, 0}};
    static const setting doubled[] = {
        {"retain", 0, .4}, {"scaling", 0, .7}, {"weight", ALL_MODELS, 2}, {NULL, 0, 0}};
    static float out[2][MOST];
    fill(MOST, 4);
    for (int k = 0; k < 2; k++) {
        method_call c = {"ties", 1, {MOST}, MODELS + 1, models, k ? doubled : plain, 1, NULL, ""};
        ck_assert_int_eq(run_method(&c, out[k]), MSX_OK);
    }
    for (int i = 0; i < MOST; i++) ck_assert_double_eq_tol(out[0][i], out[1][i], 1e-6);
}
END_TEST

int main(void) {
    Suite *s = suite_create("formulas");
    TCase *t = tcase_create("formulas");
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    tcase_add_loop_test(t, every_option_is_its_formula_in_float64, 0, RULES);
    tcase_add_loop_test(t, golden_vectors, 0, sizeof golden / sizeof *golden);
    tcase_add_test(t, a_tie_follows_the_majority_where_that_is_asked_for);
    tcase_add_test(t, options_that_do_nothing_change_nothing);
    return test_run(s);
}
