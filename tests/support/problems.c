/* SPDX-License-Identifier: Apache-2.0 */
#include "support/problems.h"

#include "core/random.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define PI 3.14159265358979323846

/* ---- functions of real numbers ------------------------------------------------------------------ */

static double branin(double x, double y) {
    double a = y - 5.1 * x * x / (4 * PI * PI) + 5 * x / PI - 6;
    return a * a + 10 * (1 - 1 / (8 * PI)) * cos(x) + 10;
}
static double rosenbrock(double x, double y) {
    return 100 * (y - x * x) * (y - x * x) + (x - 1) * (x - 1);
}
static double camel(double x, double y) {
    return (4 - 2.1 * x * x + x * x * x * x / 3) * x * x + x * y + (4 * y * y - 4) * y * y;
}
static double beale(double x, double y) {
    double a = 1.5 - x + x * y, b = 2.25 - x + x * y * y, c = 2.625 - x + x * y * y * y;
    return a * a + b * b + c * c;
}

static void branin_cost(const double *x, double *costs) {
    costs[0] = branin(x[0], x[1]);
}
static void rosenbrock_cost(const double *x, double *costs) {
    costs[0] = rosenbrock(x[0], x[1]);
}
static void camel_cost(const double *x, double *costs) {
    costs[0] = camel(x[0], x[1]);
}

static void hartmann6_cost(const double *x, double *costs) {
    static const double a[4] = {1, 1.2, 3, 3.2};
    static const double A[4][6] = {{10, 3, 17, 3.5, 1.7, 8},
                                   {0.05, 10, 17, 0.1, 8, 14},
                                   {3, 3.5, 1.7, 10, 17, 8},
                                   {17, 8, 0.05, 10, 0.1, 14}};
    static const double P[4][6] = {{1312, 1696, 5569, 124, 8283, 5886},
                                   {2329, 4135, 8307, 3736, 1004, 9991},
                                   {2348, 1451, 3522, 2883, 3047, 6650},
                                   {4047, 8828, 8732, 5743, 1091, 381}};
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        double inner = 0;
        for (int k = 0; k < 6; k++) {
            double d = x[k] - 1e-4 * P[i][k];
            inner += A[i][k] * d * d;
        }
        sum -= a[i] * exp(-inner);
    }
    costs[0] = sum;
}

static msx_status add_floats(msx_space *s, int n, double lower, double upper) {
    msx_status status = MSX_OK;
    for (int i = 0; i < n && status == MSX_OK; i++) {
        char name[16];
        snprintf(name, sizeof name, "x%d", i);
        status = msx_space_add_float(s, name, lower, upper, (lower + upper) / 2, false);
    }
    return status;
}

static msx_status branin_space(msx_space *s) {
    msx_status status = msx_space_add_float(s, "x0", -5, 10, 2.5, false);
    return status < 0 ? status : msx_space_add_float(s, "x1", 0, 15, 7.5, false);
}
static msx_status rosenbrock_space(msx_space *s) {
    return add_floats(s, 2, -5, 10);
}
static msx_status camel_space(msx_space *s) {
    msx_status status = msx_space_add_float(s, "x0", -3, 3, 0, false);
    return status < 0 ? status : msx_space_add_float(s, "x1", -2, 2, 0, false);
}
static msx_status unit6_space(msx_space *s) {
    return add_floats(s, 6, 0, 1);
}

/* ---- choices and numbers (B. Ru et al., "Bayesian optimisation over multiple continuous and
 * categorical inputs", ICML 2020; without its noise) ------------------------------------------------ */

static double mixed_term(int choice, double x, double y) {
    if (choice == 0) return rosenbrock(x, y) / 300;
    if (choice == 1) return camel(x, y) / 10;
    return beale(x, y) / 50;
}

static void func2c_cost(const double *x, double *costs) {
    double u = 2 * x[2], v = 2 * x[3];
    costs[0] = mixed_term((int)x[0], u, v) + mixed_term((int)x[1], u, v);
}

static void func3c_cost(const double *x, double *costs) {
    double u = 2 * x[3], v = 2 * x[4];
    int third = (int)x[2];
    double extra = third == 0   ? 5 * camel(u, v) / 10
                   : third == 1 ? 2 * rosenbrock(u, v) / 300
                                : third * beale(u, v) / 50;
    costs[0] = mixed_term((int)x[0], u, v) + mixed_term((int)x[1], u, v) + extra;
}

static const char *const five[] = {"0", "1", "2", "3", "4"};

static msx_status func2c_space(msx_space *s) {
    msx_status status = msx_space_add_categorical(s, "c0", five, 3, 0);
    if (status == MSX_OK) status = msx_space_add_categorical(s, "c1", five, 5, 0);
    return status < 0 ? status : add_floats(s, 2, -1, 1);
}
static msx_status func3c_space(msx_space *s) {
    msx_status status = msx_space_add_categorical(s, "c0", five, 3, 0);
    if (status == MSX_OK) status = msx_space_add_categorical(s, "c1", five, 5, 0);
    if (status == MSX_OK) status = msx_space_add_categorical(s, "c2", five, 4, 0);
    return status < 0 ? status : add_floats(s, 2, -1, 1);
}

/* ---- a tree of conditions (R. Jenatton et al., ICML 2017) ------------------------------------------ */

enum { J_X1, J_X2, J_X3, J_R8, J_R9, J_X4, J_X5, J_X6, J_X7 };

static msx_status jenatton_space(msx_space *s) {
    static const struct {
        const char *name;
        int parent;
        size_t when;
        bool choice;
    } rows[] = {{"x1", -1, 0, true},    {"x2", J_X1, 0, true},  {"x3", J_X1, 1, true},
                {"r8", J_X1, 0, false}, {"r9", J_X1, 1, false}, {"x4", J_X2, 0, false},
                {"x5", J_X2, 1, false}, {"x6", J_X3, 0, false}, {"x7", J_X3, 1, false}};
    msx_status status = MSX_OK;
    for (int i = 0; i < 9 && status == MSX_OK; i++) {
        status = rows[i].choice ? msx_space_add_categorical(s, rows[i].name, five, 2, 0)
                                : msx_space_add_float(s, rows[i].name, 0, 1, 0.5, false);
        if (status == MSX_OK && rows[i].parent >= 0)
            status = msx_space_condition(s, i, rows[i].parent, &rows[i].when, 1);
    }
    return status;
}

static void jenatton_cost(const double *x, double *costs) {
    if (x[J_X1] == 0)
        costs[0] = (x[J_X2] == 0 ? x[J_X4] * x[J_X4] + 0.1 : x[J_X5] * x[J_X5] + 0.2) + x[J_R8];
    else
        costs[0] = (x[J_X3] == 0 ? x[J_X6] * x[J_X6] + 0.3 : x[J_X7] * x[J_X7] + 0.4) + x[J_R9];
}

/* ---- a merge of 3 models in 19 layer groups ---------------------------------------------------------- */

/* The real search's conditional space, 10 columns a group. A group costs the offset of its method
 * (the best one's is 0) plus the mean squared distance of that method's numbers from where they are
 * best; groups matter less and less. Lowest cost 0. */
enum { GROUPS = 19, MODELS = 3, COLUMNS = 4 + 2 * MODELS };

static const struct {
    const char *name;
    size_t method;
} merge_columns[COLUMNS] = {
    {"method", 0},      {"linear.w0", 0},    {"linear.w1", 0}, {"linear.w2", 0}, {"ta.scaling", 1},
    {"ties.retain", 2}, {"ties.scaling", 2}, {"slerp.s0", 3},  {"slerp.s1", 3},  {"slerp.s2", 3}};

static msx_status merge_space(msx_space *s) {
    static const char *const methods[] = {"linear", "task_arithmetic", "ties", "slerp"};
    msx_status status = MSX_OK;
    for (int g = 0; g < GROUPS; g++)
        for (int c = 0; c < COLUMNS && status == MSX_OK; c++) {
            char name[32];
            snprintf(name, sizeof name, "g%d.%s", g, merge_columns[c].name);
            status = c == 0 ? msx_space_add_categorical(s, name, methods, 4, 0)
                            : msx_space_add_float(s, name, 0, 1, 0.5, false);
            if (c && status == MSX_OK)
                status = msx_space_condition(s, g * COLUMNS + c, g * COLUMNS,
                                             &merge_columns[c].method, 1);
        }
    return status;
}

static void merge_cost(const double *x, double *costs) {
    double sum = 0, weights = 0;
    for (int g = 0; g < GROUPS; g++) {
        msx_rng rng;
        msx__rng_init(&rng, 2025, (uint64_t)g);
        double offset[4], lowest = 1, target[COLUMNS], weight = pow(0.85, g);
        for (int m = 0; m < 4; m++) {
            offset[m] = 0.5 * msx_rng_uniform(&rng);
            lowest = fmin(lowest, offset[m]);
        }
        for (int c = 1; c < COLUMNS; c++) target[c] = msx_rng_uniform(&rng);
        const double *row = x + g * COLUMNS;
        double square = 0;
        int n = 0;
        for (int c = 1; c < COLUMNS; c++)
            if (merge_columns[c].method == (size_t)row[0]) {
                square += (row[c] - target[c]) * (row[c] - target[c]);
                n++;
            }
        sum += weight * (offset[(int)row[0]] - lowest + square / n);
        weights += weight;
    }
    costs[0] = sum / weights;
}

/* ---- several objectives ------------------------------------------------------------------------------ */

/* E. Zitzler, K. Deb, L. Thiele, Evol. Comput. 8, 2000, with 6 numbers instead of 30. */
static double zdt_g(const double *x) {
    double sum = 0;
    for (int i = 1; i < 6; i++) sum += x[i];
    return 1 + 9 * sum / 5;
}
static void zdt1_cost(const double *x, double *costs) {
    double g = zdt_g(x);
    costs[0] = x[0];
    costs[1] = g * (1 - sqrt(x[0] / g));
}
static void zdt2_cost(const double *x, double *costs) {
    double g = zdt_g(x);
    costs[0] = x[0];
    costs[1] = g * (1 - x[0] / g * x[0] / g);
}
static void zdt3_cost(const double *x, double *costs) {
    double g = zdt_g(x);
    costs[0] = x[0];
    costs[1] = g * (1 - sqrt(x[0] / g) - x[0] / g * sin(10 * PI * x[0]));
}

static void dtlz2(const double *x, int d, int m, double *costs) {
    double g = 0;
    for (int i = m - 1; i < d; i++) g += (x[i] - 0.5) * (x[i] - 0.5);
    for (int k = 0; k < m; k++) {
        costs[k] = 1 + g;
        for (int i = 0; i < m - 1 - k; i++) costs[k] *= cos(x[i] * PI / 2);
        if (k) costs[k] *= sin(x[m - 1 - k] * PI / 2);
    }
}
static void dtlz2_m2_cost(const double *x, double *costs) {
    dtlz2(x, 6, 2, costs);
}
static void dtlz2_m3_cost(const double *x, double *costs) {
    dtlz2(x, 6, 3, costs);
}

const test_problem test_problems[] = {
    {"branin", 1, 0.39788735772973816, 0, branin_space, branin_cost},
    {"hartmann6", 1, -3.322368011391339, 0, unit6_space, hartmann6_cost},
    {"func2c", 1, -0.20632569, 0, func2c_space, func2c_cost},
    {"func3c", 1, -0.72213992, 0, func3c_space, func3c_cost},
    {"jenatton", 1, 0.1, 0, jenatton_space, jenatton_cost},
    {"rosenbrock2", 1, 0, 0, rosenbrock_space, rosenbrock_cost},
    {"camel", 1, -1.0316284534898772, 0, camel_space, camel_cost},
    {"merge19", 1, 0, 0, merge_space, merge_cost},
    {"zdt1", 2, 0.8766666666666667, 1.1, unit6_space, zdt1_cost},
    {"zdt2", 2, 0.5433333333333333, 1.1, unit6_space, zdt2_cost},
    {"zdt3", 2, 1.331763, 1.1, unit6_space, zdt3_cost},
    {"dtlz2_m2", 2, 0.42460183660255176, 1.1, unit6_space, dtlz2_m2_cost},
    {"dtlz2_m3", 3, 0.8074012244, 1.1, unit6_space, dtlz2_m3_cost},
};
const int test_problem_count = sizeof test_problems / sizeof *test_problems;

const test_problem *test_problem_find(const char *name) {
    for (int i = 0; i < test_problem_count; i++)
        if (!strcmp(name, test_problems[i].name)) return &test_problems[i];
    return NULL;
}
