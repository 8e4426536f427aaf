/* SPDX-License-Identifier: Apache-2.0 */
/* Figure: Dice of every trial, and the best so far. */
#include "search/report.h"

#include <math.h>
#include <string.h>

enum { WIDTH = 980, HEIGHT = 400, LEFT = 52, RIGHT = 150, TOP = 16, BOTTOM = 46 };
enum { MOST_MARKS = 1500 };

static double dice_of(const report_trial *t) {
    return 1 - t->cost;
}

/* A dashed line with a label on the right, for what the search has to beat. */
static void reference_line(msx__buffer *b, const report_axis *y, double value, double label_y,
                           const char *what, const char *name) {
    double at = report_axis_at(y, value);
    report_xy(b, "<line class=\"ref\" x1=\"", LEFT);
    report_xy(b, "\" x2=\"", WIDTH - RIGHT);
    report_xy(b, "\" y1=\"", at);
    report_xy(b, "\" y2=\"", at);
    report_xy(b, "\"/><text class=\"note\" x=\"", WIDTH - RIGHT + 10);
    report_xy(b, "\" y=\"", label_y + 4);
    msx__buffer_printf(b, "\">%s ", what);
    report_escape(b, name, 10);
    msx__buffer_text(b, " ");
    report_number(b, value, 3);
    msx__buffer_text(b, "</text>");
}

/* A trial that racing stopped: a cross at what it was worth by then. */
static void raced_mark(msx__buffer *b, const char *origin, double x, double y) {
    msx__buffer_printf(b, "<path class=\"%s raced\"", report_origin_class(origin));
    report_xy(b, " d=\"M", x - 3);
    report_xy(b, " ", y - 3);
    report_xy(b, "L", x + 3);
    report_xy(b, " ", y + 3);
    report_xy(b, "M", x - 3);
    report_xy(b, " ", y + 3);
    report_xy(b, "L", x + 3);
    report_xy(b, " ", y - 3);
    msx__buffer_text(b, "\">");
}

static void draw_mark(msx__buffer *b, const report_trial *t, double x, double y) {
    if (t->state == REPORT_RACED)
        raced_mark(b, t->origin, x, y);
    else
        report_mark(b, t->origin, x, y, 3.6);
    msx__buffer_printf(b, "<title>trial %" PRId64 " (", t->number);
    report_escape(b, t->origin, 20);
    msx__buffer_printf(b, ")%s: Dice ", t->state == REPORT_RACED ? ", stopped early" : "");
    report_number(b, dice_of(t), 4);
    msx__buffer_text(b, "</title></path>");
}

static void draw_marks(msx__buffer *b, const report *r, const report_axis *x,
                       const report_axis *y) {
    int64_t stride = 1 + (r->n_done + r->n_state[REPORT_RACED]) / MOST_MARKS;
    double best = -1, highest = -1;
    msx__buffer_text(b, "<g class=\"marks\">");
    for (int64_t i = 0; i < r->n_trials; i++) {
        const report_trial *t = &r->trials[i];
        if (isnan(t->cost)) continue;
        /* Every improvement that can be seen is drawn, of the others a part. */
        bool better = t->state == REPORT_DONE && dice_of(t) > best;
        double height = report_axis_at(y, dice_of(t));
        bool seen = better && fabs(height - highest) >= 0.5;
        if (better) best = dice_of(t);
        if (!seen && !report_drawn(i, stride)) continue;
        if (seen) highest = height;
        draw_mark(b, t, report_axis_at(x, (double)t->number), height);
    }
    msx__buffer_text(b, "</g>");
}

static void draw_best_line(msx__buffer *b, const report *r, const report_axis *x,
                           const report_axis *y) {
    double best = -1, height = -1;
    msx__buffer_text(b, "<path class=\"best\" d=\"");
    for (int64_t i = 0; i < r->n_trials; i++) {
        const report_trial *t = &r->trials[i];
        if (t->state != REPORT_DONE || dice_of(t) <= best) continue;
        double at = report_axis_at(y, dice_of(t));
        bool first = best < 0;
        best = dice_of(t);
        if (!first && fabs(at - height) < 0.1) continue; /* the page stays small */
        height = at;
        report_xy(b, first ? "M" : "H", report_axis_at(x, (double)t->number));
        report_xy(b, first ? " " : "V", at);
    }
    report_xy(b, "H", report_axis_at(x, (double)r->trials[r->n_trials - 1].number));
    msx__buffer_text(b, "\"/>");
}

/* The winner's mark with its value above it. */
static void draw_winner(msx__buffer *b, const report *r, const report_axis *x,
                        const report_axis *y) {
    const report_trial *w = &r->trials[r->ranks[0]];
    double at_x = report_axis_at(x, (double)w->number), at_y = report_axis_at(y, dice_of(w));
    report_xy(b, "<circle class=\"ring\" r=\"8\" cx=\"", at_x);
    report_xy(b, "\" cy=\"", at_y);
    msx__buffer_text(b, "\"/>");
    report_xy(b, "<text class=\"strong\" x=\"", WIDTH - RIGHT + 10);
    report_xy(b, "\" y=\"", at_y + 5);
    msx__buffer_text(b, "\">winner ");
    report_number(b, dice_of(w), 3);
    msx__buffer_text(b, "</text>");
}

static void legend(msx__buffer *b, const report *r) {
    static const char *const origins[][2] = {
        {"enqueued", "given: inputs alone, uniform average, defaults"},
        {"sobol", "Sobol start"},
        {"model", "proposed by the model"},
        {"random", "random"}};
    int64_t others = r->n_done + r->n_state[REPORT_RACED];
    msx__buffer_text(b, "<p class=\"legend\">");
    for (size_t i = 0; i < sizeof origins / sizeof *origins; i++) {
        int64_t n = 0;
        for (int64_t k = 0; k < r->n_trials; k++)
            n += r->trials[k].costs && !strcmp(r->trials[k].origin, origins[i][0]);
        if (!n) continue;
        others -= n;
        msx__buffer_text(b, "<span><svg width=\"14\" height=\"14\" aria-hidden=\"true\">");
        report_mark(b, origins[i][0], 7, 7, 4.4);
        msx__buffer_printf(b, "</path></svg>%s (%" PRId64 ")</span>", origins[i][1], n);
    }
    if (others) {
        msx__buffer_text(b, "<span><svg width=\"14\" height=\"14\" aria-hidden=\"true\">");
        report_mark(b, "", 7, 7, 4.4);
        msx__buffer_printf(b, "</path></svg>other (%" PRId64 ")</span>", others);
    }
    if (r->n_state[REPORT_RACED]) {
        msx__buffer_text(b, "<span><svg width=\"14\" height=\"14\" aria-hidden=\"true\">");
        raced_mark(b, "", 7, 7);
        msx__buffer_printf(b, "</path></svg>of these stopped early (%" PRId64 ")</span>",
                           r->n_state[REPORT_RACED]);
    }
    msx__buffer_text(b, "<span><svg width=\"22\" height=\"14\" aria-hidden=\"true\"><path "
                        "class=\"best\" d=\"M1 7H21\"/></svg>best so far</span></p>");
}

static void caption(msx__buffer *b, const report *r, const report_axis *y) {
    int64_t below = 0, failed = r->n_state[REPORT_FAILED];
    for (int64_t i = 0; i < r->n_trials; i++)
        below += !isnan(r->trials[i].cost) && dice_of(&r->trials[i]) < y->lo;
    msx__buffer_printf(b, "<p class=\"caption\">%s%s.",
                       r->n_tasks > 1 ? "Mean Dice over the tasks" : "Dice",
                       report_outside(r) ? ", as it was told" : " on the calibration images");
    if (below) {
        msx__buffer_printf(b, " %" PRId64 " trial%s below ", below, below == 1 ? "" : "s");
        report_number(b, y->lo, y->decimals);
        msx__buffer_text(b, below == 1 ? " is" : " are");
        msx__buffer_text(b, " drawn on the lower edge.");
    }
    if (failed) msx__buffer_printf(b, " %" PRId64 " failed.", failed);
    if (r->n_done + r->n_state[REPORT_RACED] > MOST_MARKS)
        msx__buffer_text(b, " Of many trials a part is drawn, and all that improved on the best.");
    msx__buffer_text(b, "</p>");
}

void report_curve(msx__buffer *b, const report *r) {
    const report_result *input = report_best_result(r, "input", "calibration", -1);
    const report_result *uniform = report_best_result(r, "uniform", "calibration", -1);
    double hi = dice_of(&r->trials[r->ranks[0]]), lo = report_low_decile(r, -1);
    if (isnan(lo)) {
        b->failed = true;
        return;
    }
    if (input) lo = fmin(lo, input->dice), hi = fmax(hi, input->dice);
    if (uniform) lo = fmin(lo, uniform->dice), hi = fmax(hi, uniform->dice);
    double last = (double)r->trials[r->n_trials - 1].number;
    report_axis y = report_axis_make(lo, hi + 0.04 * (hi - lo), 0.01, 1, 6, HEIGHT - BOTTOM, TOP);
    report_axis x = report_axis_make(0, last, 10, INFINITY, 10, LEFT, WIDTH - RIGHT);

    legend(b, r);
    report_figure(b, "figure", "curve", 0, WIDTH, HEIGHT, "Dice of each trial and best so far");
    msx__buffer_printf(b, "%" PRId64 " finished trials; the best is trial %" PRId64 " with Dice ",
                       r->n_done, r->trials[r->ranks[0]].number);
    report_number(b, dice_of(&r->trials[r->ranks[0]]), 3);
    msx__buffer_text(b, ".");
    report_figure_body(b);
    report_axis_vertical(b, &y, LEFT, WIDTH - RIGHT);
    report_axis_horizontal(b, &x, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4);
    report_label_text(b, "axis", "middle", (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8, "trial", 0);
    /* Labels on the right keep 16 units from the winner's and from each other. */
    double used = report_axis_at(&y, dice_of(&r->trials[r->ranks[0]]));
    const report_result *lines[] = {input, uniform};
    if (input && uniform && uniform->dice > input->dice) lines[0] = uniform, lines[1] = input;
    for (int i = 0; i < 2; i++) {
        if (!lines[i]) continue;
        double at = fmax(report_axis_at(&y, lines[i]->dice), used + 16);
        reference_line(b, &y, lines[i]->dice, at, lines[i] == input ? "input" : "uniform",
                       lines[i]->name);
        used = at;
    }
    draw_marks(b, r, &x, &y);
    draw_best_line(b, r, &x, &y);
    draw_winner(b, r, &x, &y);
    report_figure_end(b);
    caption(b, r, &y);
}
