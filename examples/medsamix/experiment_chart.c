/* SPDX-License-Identifier: Apache-2.0 */
/* A small chart for the report of a study: one point for each cell, with the range of its repeats. */
#include "experiment.h"

#include <math.h>

enum { WIDTH = 720, HEIGHT = 300, LEFT = 56, RIGHT = 20, TOP = 16, BOTTOM = 64, TICKS = 5 };

/* Shape and colour say the same. */
static const char *const marks[] = {"s0", "s1", "s2"};

typedef struct axis {
    double lo, hi, step;
    int decimals;
} axis;

static void widen(axis *a, const double *values, size_t n) {
    for (size_t i = 0; values && i < n; i++) {
        if (isnan(values[i])) continue;
        a->lo = fmin(a->lo, values[i]);
        a->hi = fmax(a->hi, values[i]);
    }
}

static axis make_axis(const chart_series *series, size_t n_series, size_t n) {
    axis a = {.lo = INFINITY, .hi = -INFINITY};
    for (size_t s = 0; s < n_series; s++) {
        widen(&a, series[s].values, n);
        widen(&a, series[s].low, n);
        widen(&a, series[s].high, n);
    }
    if (!(a.lo <= a.hi)) a.lo = 0, a.hi = 1;
    if (a.hi - a.lo < 0.02) {
        double middle = (a.lo + a.hi) / 2;
        a.lo = middle - 0.01;
        a.hi = middle + 0.01;
    }
    double rough = (a.hi - a.lo) / TICKS, power = pow(10, floor(log10(rough)));
    a.step = power * (rough <= power * 1.0001 ? 1
                      : rough <= 2 * power    ? 2
                      : rough <= 5 * power    ? 5
                                              : 10);
    a.lo = floor(a.lo / a.step + 1e-9) * a.step;
    a.hi = ceil(a.hi / a.step - 1e-9) * a.step;
    a.decimals = (int)fmax(0, ceil(-log10(a.step) - 1e-9));
    return a;
}

static double y_of(const axis *a, double value) {
    return HEIGHT - BOTTOM - (value - a->lo) / (a->hi - a->lo) * (HEIGHT - BOTTOM - TOP);
}

static double x_of(size_t i, size_t n) {
    return LEFT + ((double)i + 0.5) * (WIDTH - LEFT - RIGHT) / (double)n;
}

static void grid(FILE *to, const axis *a, const char *x_title) {
    int ticks = (int)((a->hi - a->lo) / a->step + 1e-6);
    for (int i = 0; i <= ticks; i++) {
        double value = a->lo + i * a->step, y = y_of(a, value);
        fprintf(to,
                "<path class=\"grid\" d=\"M%d %.1fH%d\"/><text class=\"tick\" text-anchor=\"end\" "
                "x=\"%d\" y=\"%.1f\">%.*f</text>",
                LEFT, y, WIDTH - RIGHT, LEFT - 8, y + 4, a->decimals, value);
    }
    fprintf(to, "<text class=\"axis\" text-anchor=\"middle\" x=\"%d\" y=\"%d\">",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8);
    html_text(to, x_title);
    fputs("</text>", to);
}

static void place_names(FILE *to, const char *const *places, size_t n) {
    bool slanted = n > 6;
    for (size_t i = 0; i < n; i++) {
        if (slanted)
            fprintf(to,
                    "<text class=\"tick\" text-anchor=\"end\" transform=\"translate(%.1f %d) "
                    "rotate(-24)\">",
                    x_of(i, n) + 6, HEIGHT - BOTTOM + 16);
        else
            fprintf(to, "<text class=\"tick\" text-anchor=\"middle\" x=\"%.1f\" y=\"%d\">",
                    x_of(i, n), HEIGHT - BOTTOM + 18);
        html_text(to, places[i]);
        fputs("</text>", to);
    }
}

/* Circle, square, diamond. */
static void mark(FILE *to, size_t kind, double x, double y) {
    if (kind == 0)
        fprintf(to, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"5\">", x, y);
    else if (kind == 1)
        fprintf(to, "<rect x=\"%.1f\" y=\"%.1f\" width=\"9\" height=\"9\">", x - 4.5, y - 4.5);
    else
        fprintf(to, "<path class=\"point\" d=\"M%.1f %.1fl6 6l-6 6l-6 -6Z\">", x, y - 6);
}

static const char *end_of(size_t kind) {
    return kind == 0 ? "</circle>" : kind == 1 ? "</rect>" : "</path>";
}

static void draw_series(FILE *to, const axis *a, const chart_series *s, size_t kind, size_t n,
                        bool joined) {
    fprintf(to, "<g class=\"%s\"><path class=\"line\" d=\"", marks[kind]);
    bool pen = false;
    for (size_t i = 0; joined && i < n; i++) {
        if (!isnan(s->values[i]))
            fprintf(to, "%s%.1f %.1f", pen ? "L" : "M", x_of(i, n), y_of(a, s->values[i]));
        pen = !isnan(s->values[i]);
    }
    fputs("\"/>", to);
    for (size_t i = 0; i < n; i++) {
        if (isnan(s->values[i])) continue;
        double x = x_of(i, n);
        if (s->low && s->high && s->high[i] > s->low[i])
            fprintf(to, "<path class=\"range\" d=\"M%.1f %.1fV%.1f\"/>", x, y_of(a, s->low[i]),
                    y_of(a, s->high[i]));
        mark(to, kind, x, y_of(a, s->values[i]));
        fprintf(to, "<title>%.4f</title>%s", s->values[i], end_of(kind));
    }
    fputs("</g>", to);
}

static void legend(FILE *to, const chart_series *series, size_t n) {
    fputs("<p class=\"legend\">", to);
    for (size_t s = 0; s < n; s++) {
        fprintf(to, "<span><svg width=\"14\" height=\"14\" aria-hidden=\"true\"><g class=\"%s\">",
                marks[s]);
        mark(to, s, 7, 7);
        fprintf(to, "%s</g></svg>", end_of(s));
        html_text(to, series[s].name);
        fputs("</span>", to);
    }
    fputs("</p>", to);
}

void chart_write_html(FILE *to, const char *id, const char *title, const char *x_title,
                      const char *const *places, size_t n, const chart_series *series,
                      size_t n_series, bool joined) {
    axis a = make_axis(series, n_series, n);
    legend(to, series, n_series);
    fprintf(to,
            "<div class=\"figure\" role=\"group\" tabindex=\"0\" aria-label=\"%s\"><svg id=\"%s\" "
            "viewBox=\"0 0 %d %d\" role=\"img\" aria-labelledby=\"%s-t %s-d\"><title id=\"%s-t\">%s"
            "</title><desc id=\"%s-d\">The numbers are in the table below.</desc>",
            title, id, WIDTH, HEIGHT, id, id, id, title, id);
    grid(to, &a, x_title);
    place_names(to, places, n);
    for (size_t s = n_series; s-- > 0;) draw_series(to, &a, &series[s], s, n, joined);
    fputs("</svg></div>", to);
}
