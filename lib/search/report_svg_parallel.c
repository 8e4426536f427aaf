/* SPDX-License-Identifier: Apache-2.0 */
/* Figure: one line per trial over parallel axes, one axis per task. */
#include "search/report.h"

#include <math.h>

enum { WIDE = 980, HEIGHT = 420, BEFORE = 92, BEHIND = 40, ABOVE = 24, BELOW = 112 };
enum { MOST_LINES = 250, MOST_AXES = 64, TOP_MEMBERS = 3, ROOMY = 16 };

static double axis_x(int64_t k, int64_t n) {
    return BEFORE + (double)k * (WIDE - BEFORE - BEHIND) / (double)(n - 1);
}

static void trial_line(msx__buffer *b, const report_trial *t, const report_axis *axes, int64_t n,
                       const char *class) {
    msx__buffer_printf(b, "<path class=\"%s\" d=\"", class);
    for (int64_t k = 0; k < n; k++) {
        report_xy(b, k ? "L" : "M", axis_x(k, n));
        report_xy(b, " ", report_axis_at(&axes[k], 1 - t->costs[k]));
    }
    msx__buffer_printf(b, "\"><title>trial %" PRId64 ": mean Dice ", t->number);
    report_number(b, 1 - t->cost, 4);
    msx__buffer_text(b, "</title></path>");
}

/* With many axes only every so many say their ends; all are named. */
static void axis_ends(msx__buffer *b, const report_axis *a, double x) {
    report_label(b, "tick", "middle", x, ABOVE - 8);
    report_number(b, a->hi, 2);
    msx__buffer_text(b, "</text>");
    report_label(b, "tick", "middle", x, HEIGHT - BELOW + 16);
    report_number(b, a->lo, 2);
    msx__buffer_text(b, "</text>");
}

static void draw_axis(msx__buffer *b, const report *r, const report_axis *a, int64_t k, int64_t n) {
    double x = axis_x(k, n);
    bool roomy = n <= ROOMY;
    report_line(b, "rule", x, ABOVE, x, HEIGHT - BELOW);
    if (roomy || k % ((n + ROOMY - 1) / ROOMY) == 0) axis_ends(b, a, x);
    report_xy(b, "<text class=\"axis\" text-anchor=\"end\" transform=\"translate(",
              x + (roomy ? 6 : 4));
    msx__buffer_printf(b, " %d) rotate(%d)\">", HEIGHT - BELOW + (roomy ? 34 : 24),
                       roomy ? -28 : -90);
    report_escape(b, report_task_name(r, k), roomy ? 20 : 14);
    msx__buffer_text(b, "</text>");
}

/* Dominated trials thinned, then the front, the three best on top. */
static void draw_lines(msx__buffer *b, const report *r, const report_axis *axes, int64_t n) {
    int64_t stride = 1 + r->n_done / MOST_LINES;
    for (int64_t i = r->n_done - 1; i >= 0; i--)
        if (!r->trials[r->ranks[i]].front && report_drawn(i, stride))
            trial_line(b, &r->trials[r->ranks[i]], axes, n, "path dominated");
    stride = 1 + r->n_front / MOST_LINES;
    for (int64_t i = r->n_done - 1; i >= 0; i--)
        if (r->trials[r->ranks[i]].front && report_drawn(i, stride))
            trial_line(b, &r->trials[r->ranks[i]], axes, n,
                       r->n_front > 40 ? "path front many" : "path front");
    static const char *const classes[TOP_MEMBERS] = {"path top1", "path top2", "path top3"};
    for (int k = TOP_MEMBERS - 1; k >= 0; k--) {
        int64_t at = report_front_member(r, k);
        if (at >= 0) trial_line(b, &r->trials[r->ranks[at]], axes, n, classes[k]);
    }
}

static void legend(msx__buffer *b) {
    static const char *const texts[TOP_MEMBERS] = {"best mean Dice", "second", "third"};
    msx__buffer_text(b, "<p class=\"legend\">");
    for (int k = 0; k < TOP_MEMBERS; k++)
        msx__buffer_printf(b,
                           "<span><svg width=\"30\" height=\"14\" aria-hidden=\"true\"><path "
                           "class=\"path top%d\" d=\"M1 7H29\"/></svg>%s</span>",
                           k + 1, texts[k]);
    msx__buffer_text(b, "<span><svg width=\"30\" height=\"14\" aria-hidden=\"true\"><path "
                        "class=\"path front\" d=\"M1 7H29\"/></svg>on the front</span><span><svg "
                        "width=\"30\" height=\"14\" aria-hidden=\"true\"><path class=\"path "
                        "dominated strong\" d=\"M1 7H29\"/></svg>dominated</span></p>");
}

void report_parallel(msx__buffer *b, const report *r) {
    report_axis axes[MOST_AXES];
    int64_t n = r->n_tasks < MOST_AXES ? r->n_tasks : MOST_AXES;
    for (int64_t k = 0; k < n; k++) {
        double lo, hi;
        if (!report_task_range(r, k, &lo, &hi)) {
            b->failed = true;
            return;
        }
        axes[k] = report_axis_make(lo, hi, 0.02, 1, 20, HEIGHT - BELOW, ABOVE);
    }
    msx__buffer_text(b, "<h3>All tasks side by side</h3>");
    legend(b);
    report_figure(b, "figure", "parallel", 0, WIDE, HEIGHT, "Trials over the tasks");
    msx__buffer_printf(b,
                       "One axis for each of %" PRId64 " tasks, one line for each trial; %" PRId64
                       " trials are on the Pareto front.",
                       n, r->n_front);
    report_figure_body(b);
    draw_lines(b, r, axes, n);
    for (int64_t k = 0; k < n; k++) draw_axis(b, r, &axes[k], k, n);
    report_figure_end(b);
    msx__buffer_text(b, "<p class=\"caption\">Higher is better; each axis has its own scale, and "
                        "the worst trials are drawn on its lower end.");
    if (r->n_tasks > n)
        msx__buffer_printf(b, " The first %" PRId64 " of %" PRId64 " tasks.", n, r->n_tasks);
    msx__buffer_text(b, "</p>");
}
