/* SPDX-License-Identifier: Apache-2.0 */
/* Axes and marks of the figures. */
#include "search/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 1, 2 or 5 times a power of ten, at least `rough`. */
static double tidy_step(double rough, int *decimals) {
    static const double mantissas[] = {1, 2, 5, 10};
    double power = pow(10, floor(log10(rough)));
    double step = 10 * power;
    for (int i = 3; i >= 0; i--)
        if (mantissas[i] * power >= rough * (1 - 1e-9)) step = mantissas[i] * power;
    int d = (int)ceil(-log10(step) - 1e-9);
    *decimals = d < 0 ? 0 : d > 6 ? 6 : d;
    return step;
}

report_axis report_axis_make(double lo, double hi, double narrowest, double most, int ticks,
                             double from, double to) {
    if (hi - lo < narrowest) {
        double middle = (lo + hi) / 2;
        lo = middle - narrowest / 2;
        hi = middle + narrowest / 2;
        if (lo < 0) hi -= lo, lo = 0;
        if (hi > most) lo -= hi - most, hi = most;
    }
    report_axis a = {.from = from, .to = to};
    a.step = tidy_step((hi - lo) / ticks, &a.decimals);
    a.lo = fmax(0, floor(lo / a.step + 1e-9) * a.step);
    a.hi = fmin(most, ceil(hi / a.step - 1e-9) * a.step);
    if (a.hi <= a.lo) a.hi = a.lo + a.step;
    return a;
}

double report_axis_at(const report_axis *a, double value) {
    double part = (value - a->lo) / (a->hi - a->lo);
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    return a->from + part * (a->to - a->from);
}

static int ticks_of(const report_axis *a) {
    return (int)((a->hi - a->lo) / a->step + 1e-6);
}

void report_axis_vertical(msx__buffer *b, const report_axis *a, double x0, double x1) {
    for (int i = 0; i <= ticks_of(a); i++) {
        double value = a->lo + i * a->step, y = report_axis_at(a, value);
        report_xy(b, "<line class=\"grid\" x1=\"", x0);
        report_xy(b, "\" x2=\"", x1);
        report_xy(b, "\" y1=\"", y);
        report_xy(b, "\" y2=\"", y);
        report_xy(b, "\"/><text class=\"tick\" text-anchor=\"end\" x=\"", x0 - 8);
        report_xy(b, "\" y=\"", y + 4);
        msx__buffer_text(b, "\">");
        report_number(b, value, a->decimals);
        msx__buffer_text(b, "</text>");
    }
}

void report_axis_horizontal(msx__buffer *b, const report_axis *a, double y0, double y1) {
    for (int i = 0; i <= ticks_of(a); i++) {
        double value = a->lo + i * a->step, x = report_axis_at(a, value);
        report_xy(b, "<line class=\"grid\" x1=\"", x);
        report_xy(b, "\" x2=\"", x);
        report_xy(b, "\" y1=\"", y0);
        report_xy(b, "\" y2=\"", y1);
        report_xy(b, "\"/><text class=\"tick\" text-anchor=\"middle\" x=\"", x);
        report_xy(b, "\" y=\"", fmax(y0, y1) + 16);
        msx__buffer_text(b, "\">");
        report_number(b, value, a->decimals);
        msx__buffer_text(b, "</text>");
    }
}

/* A circle as path data. */
static void circle_path(msx__buffer *b, double x, double y, double r) {
    report_xy(b, "M", x - r);
    report_xy(b, " ", y);
    for (int half = 0; half < 2; half++) {
        report_xy(b, "a", r);
        report_xy(b, " ", r);
        report_xy(b, " 0 1 0 ", half ? -2 * r : 2 * r);
        msx__buffer_text(b, " 0");
    }
}

/* Shape and colour say the same, for those who tell few colours apart. Corners in units of the half
 * size; no corners: a circle. */
static const struct {
    const char *origin;
    int corners;
    double at[8];
} shapes[] = {
    {"enqueued", 4, {-0.9, -0.9, 0.9, -0.9, 0.9, 0.9, -0.9, 0.9}},
    {"sobol", 4, {0, -1.25, 1.25, 0, 0, 1.25, -1.25, 0}},
    {"random", 3, {0, -1.2, 1.15, 0.9, -1.15, 0.9, 0, 0}},
};

void report_mark(msx__buffer *b, const char *origin, double x, double y, double size) {
    msx__buffer_printf(b, "<path class=\"%s\" d=\"", report_origin_class(origin));
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (strcmp(shapes[i].origin, origin)) continue;
        for (int k = 0; k < shapes[i].corners; k++) {
            report_xy(b, k ? "L" : "M", x + shapes[i].at[2 * k] * size);
            report_xy(b, " ", y + shapes[i].at[2 * k + 1] * size);
        }
        msx__buffer_text(b, "Z\">");
        return;
    }
    circle_path(b, x, y, size);
    msx__buffer_text(b, "\">");
}

bool report_drawn(int64_t i, int64_t stride) {
    return (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15) >> 33 <
           (UINT64_C(1) << 31) / (uint64_t)stride;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double report_low_decile(const report *r, int64_t task) {
    double *values = msx__alloc(r->ctx, (size_t)r->n_done, sizeof *values);
    if (!values) return NAN;
    for (int64_t i = 0; i < r->n_done; i++) {
        const report_trial *t = &r->trials[r->ranks[i]];
        values[i] = 1 - (task < 0 ? t->cost : t->costs[task]);
    }
    qsort(values, (size_t)r->n_done, sizeof *values, compare_doubles);
    double value = values[r->n_done / 10];
    msx__free(r->ctx, values);
    return value;
}

bool report_task_range(const report *r, int64_t task, double *lo, double *hi) {
    *lo = report_low_decile(r, task);
    *hi = 1 - (task < 0 ? r->trials[r->ranks[0]].cost : r->best[task]);
    return !isnan(*lo);
}

int64_t report_front_member(const report *r, int64_t n) {
    for (int64_t i = 0; i < r->n_done; i++)
        if (r->trials[r->ranks[i]].front && n-- == 0) return i;
    return -1;
}
