/* SPDX-License-Identifier: Apache-2.0 */
/* Figure: Dice with its 95 % interval for every input, uniform merge and the winner; one panel for
 * the mean and one per task. */
#include "search/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 340, LEFT = 124, RIGHT = 50, TOP = 8, ROW = 22, BOTTOM = 26, MOST_PANELS = 24 };

/* Range of all values and intervals of a task; false when there is nothing to show. */
static bool range_of(const report *r, const char *split, int64_t task, double *lo, double *hi) {
    *lo = INFINITY;
    *hi = -INFINITY;
    for (int64_t i = 0; i < r->n_results; i++) {
        const report_result *x = &r->results[i];
        if (x->task != task || strcmp(x->split, split) || isnan(x->dice)) continue;
        *lo = fmin(*lo, isnan(x->low) ? x->dice : fmin(x->low, x->dice));
        *hi = fmax(*hi, isnan(x->high) ? x->dice : fmax(x->high, x->dice));
    }
    return *lo <= *hi;
}

static void draw_row(msx__buffer *b, const report_contestant *c, const report_result *x,
                     const report_axis *a, double y, bool best) {
    msx__buffer_printf(b, "<g class=\"row %s%s\">", report_contestant_class(c), best ? " top" : "");
    report_label_text(b, "name", "end", LEFT - 14, y + 4,
                      c->winner || !*c->name ? c->kind : c->name, 16);
    if (x && !isnan(x->dice)) {
        if (!isnan(x->low) && !isnan(x->high)) {
            report_xy(b, "<line class=\"ci\" x1=\"", report_axis_at(a, x->low));
            report_xy(b, "\" x2=\"", report_axis_at(a, x->high));
            report_xy(b, "\" y1=\"", y);
            report_xy(b, "\" y2=\"", y);
            msx__buffer_text(b, "\"/>");
        }
        report_xy(b, "<circle class=\"point\" cx=\"", report_axis_at(a, x->dice));
        report_xy(b, "\" cy=\"", y);
        msx__buffer_printf(b, "\" r=\"%s\"><title>", c->winner ? "6" : "4.5");
        report_number(b, x->dice, 4);
        msx__buffer_printf(b, " over %" PRId64 "</title></circle>", x->used);
    }
    report_label(b, "value", "end", WIDTH - 4, y + 4);
    report_number(b, x ? x->dice : NAN, 3);
    msx__buffer_text(b, "</text></g>");
}

static void draw_panel(msx__buffer *b, const report *r, const char *split, int64_t task) {
    double lo, hi, best = -1;
    if (!range_of(r, split, task, &lo, &hi)) return;
    int64_t rows = r->n_contestants;
    double bottom = TOP + (double)rows * ROW;
    report_axis a = report_axis_make(lo, hi, 0.02, 1, 3, LEFT, WIDTH - RIGHT);
    msx__buffer_printf(b, "<div class=\"panel%s\"><h4>", task < 0 ? " mean" : "");
    report_escape(b, task < 0 ? "Mean over tasks" : report_task_name(r, task), 60);
    msx__buffer_text(b, "</h4>");
    char id[32];
    snprintf(id, sizeof id, "interval-%s", split);
    report_figure(b, "plain", id, task + 1, WIDTH, bottom + BOTTOM, "Dice with 95 % intervals");
    msx__buffer_text(b, "The numbers are in the table above.");
    report_figure_body(b);
    report_axis_horizontal(b, &a, TOP, bottom);
    for (int64_t i = 0; i < r->n_results; i++) {
        const report_result *x = &r->results[i];
        if (x->task == task && !strcmp(x->split, split)) best = fmax(best, x->dice);
    }
    for (int64_t i = 0; i < rows; i++) {
        const report_contestant *c = &r->contestants[i];
        const report_result *x = report_find_result(r, c->kind, c->name, split, task);
        draw_row(b, c, x, &a, TOP + ((double)i + 0.5) * ROW, x && x->dice == best);
    }
    report_figure_end(b);
    msx__buffer_text(b, "</div>");
}

static void legend(msx__buffer *b, const report *r) {
    msx__buffer_text(b,
                     "<p class=\"legend\"><span><i class=\"dot input\"></i>input model alone</span>"
                     "<span><i class=\"dot uniform\"></i>uniform merge by one method</span><span>"
                     "<i class=\"dot winner\"></i>winner</span>");
    /* Winners stand last, the one of lowest cost first among them. */
    if (r->n_contestants && !strcmp(r->contestants[r->n_contestants - 1].kind, "winner") &&
        !r->contestants[r->n_contestants - 1].winner)
        msx__buffer_text(b, "<span><i class=\"dot runner\"></i>next best on the front</span>");
    msx__buffer_text(b, "</p>");
}

void report_intervals(msx__buffer *b, const report *r, const char *split) {
    legend(b, r);
    msx__buffer_text(b, "<div class=\"panels three\">");
    /* With one task the mean is that task. */
    if (r->n_tasks > 1) draw_panel(b, r, split, -1);
    for (int64_t task = 0; task < r->n_tasks && task < MOST_PANELS; task++)
        draw_panel(b, r, split, task);
    msx__buffer_text(b,
                     "</div><p class=\"caption\">Dot: Dice. Line: 95 % bootstrap interval; a dot "
                     "without one rests on a single unit. Each panel has its own scale.");
    if (r->n_tasks > MOST_PANELS)
        msx__buffer_printf(b, " The first %d of %" PRId64 " tasks.", MOST_PANELS, r->n_tasks);
    msx__buffer_text(b, "</p>");
}
