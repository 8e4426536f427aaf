/* SPDX-License-Identifier: Apache-2.0 */
/* Figure: the Pareto front. Two or three tasks: a scatter plot of each pair; more: the mean against
 * what is lost at the task that loses most. */
#include "search/report.h"

#include <math.h>
#include <string.h>

enum { MOST_DOTS = 1500, TOP_MEMBERS = 3, MOST_MEMBERS = 10 };
enum { SIDE_W = 540, SIDE_H = 430, LEFT = 60, RIGHT = 20, TOP = 14, BOTTOM = 48 };

/* Two numbers of a trial: the Dice of two tasks, or (task -1) the mean Dice and the regret. */
typedef struct plane {
    const report *r;
    int64_t i, k;
    report_axis x, y;
} plane;

static double x_of(const plane *p, const report_trial *t) {
    return 1 - (p->i < 0 ? t->cost : t->costs[p->i]);
}

static double y_of(const plane *p, const report_trial *t) {
    return p->k < 0 ? t->regret : 1 - t->costs[p->k];
}

/* The same of an input model that was scored; false when it was not. */
static bool input_at(const plane *p, const report_contestant *c, double *x, double *y) {
    if (strcmp(c->kind, "input") != 0) return false;
    double regret = 0;
    for (int64_t task = 0; task < p->r->n_tasks; task++) {
        const report_result *u = report_find_result(p->r, c->kind, c->name, "calibration", task);
        regret = fmax(regret, u ? 1 - p->r->best[task] - u->dice : INFINITY);
    }
    const report_result *u = report_find_result(p->r, c->kind, c->name, "calibration", p->i);
    const report_result *v =
        p->k < 0 ? u : report_find_result(p->r, c->kind, c->name, "calibration", p->k);
    if (!u || !v || isnan(u->dice) || isnan(v->dice) || (p->k < 0 && isinf(regret))) return false;
    *x = report_axis_at(&p->x, u->dice);
    *y = report_axis_at(&p->y, p->k < 0 ? regret : v->dice);
    return true;
}

static void dots(msx__buffer *b, const plane *p, bool front) {
    const report *r = p->r;
    int64_t n = front ? r->n_front : r->n_done - r->n_front, stride = 1 + n / MOST_DOTS;
    msx__buffer_printf(b, "<g class=\"%s\">", front ? "front" : "dominated");
    for (int64_t i = 0; i < r->n_done; i++) {
        const report_trial *t = &r->trials[r->ranks[i]];
        if (t->front != front || !report_drawn(i, stride)) continue;
        report_xy(b, "<circle cx=\"", report_axis_at(&p->x, x_of(p, t)));
        report_xy(b, "\" cy=\"", report_axis_at(&p->y, y_of(p, t)));
        msx__buffer_printf(b, "\" r=\"%s\"><title>trial %" PRId64 ": ", front ? "4.6" : "2.8",
                           t->number);
        report_number(b, x_of(p, t), 3);
        msx__buffer_text(b, ", ");
        report_number(b, y_of(p, t), 3);
        msx__buffer_text(b, "</title></circle>");
    }
    msx__buffer_text(b, "</g>");
}

/* Whether a label to the right of (x, y) would lie on the mark of another input. */
static bool crowded(const plane *p, double at_x, double at_y) {
    if (at_x > SIDE_W * 0.75) return true;
    for (int64_t n = 0; n < p->r->n_contestants; n++) {
        double x, y;
        if (!input_at(p, &p->r->contestants[n], &x, &y)) continue;
        if (x > at_x && x - at_x < 80 && fabs(y - at_y) < 14) return true;
    }
    return false;
}

/* Where the inputs lie on the calibration images, if they were scored. */
static void inputs(msx__buffer *b, const plane *p) {
    for (int64_t n = 0; n < p->r->n_contestants; n++) {
        double x, y;
        if (!input_at(p, &p->r->contestants[n], &x, &y)) continue;
        bool left = crowded(p, x, y);
        report_box(b, "alone", x - 4.5, y - 4.5, 9, 9);
        msx__buffer_text(b, "</rect>");
        report_label_text(b, "note", left ? "end" : "start", x + (left ? -10 : 10), y + 4,
                          p->r->contestants[n].name, 14);
    }
}

static void badges(msx__buffer *b, const plane *p) {
    for (int n = TOP_MEMBERS - 1; n >= 0; n--) {
        int64_t at = report_front_member(p->r, n);
        if (at < 0) continue;
        const report_trial *t = &p->r->trials[p->r->ranks[at]];
        double x = report_axis_at(&p->x, x_of(p, t)), y = report_axis_at(&p->y, y_of(p, t));
        report_xy(b, "<circle class=\"badge\" r=\"8\" cx=\"", x);
        report_xy(b, "\" cy=\"", y);
        msx__buffer_text(b, "\"/>");
        report_label(b, "badge-text", "middle", x, y + 4);
        msx__buffer_printf(b, "%d</text>", n + 1);
    }
}

/* Regret, from 0 on top down to its highest decile: the worst trials are drawn on the edge. */
static report_axis regret_axis(const report *r) {
    double most = 0;
    int64_t n = r->n_done - r->n_done / 10;
    for (int64_t i = 0; i < n; i++) most = fmax(most, r->trials[r->ranks[i]].regret);
    return report_axis_make(0, most, 0.02, 1, 5, TOP, SIDE_H - BOTTOM);
}

static bool make_axes(plane *p) {
    double lo, hi;
    if (!report_task_range(p->r, p->i, &lo, &hi)) return false;
    p->x = report_axis_make(lo, hi, 0.02, 1, 5, LEFT, SIDE_W - RIGHT);
    if (p->k < 0) {
        p->y = regret_axis(p->r);
        return true;
    }
    if (!report_task_range(p->r, p->k, &lo, &hi)) return false;
    p->y = report_axis_make(lo, hi, 0.02, 1, 5, SIDE_H - BOTTOM, TOP);
    return true;
}

static void axis_names(msx__buffer *b, const plane *p) {
    report_label_text(b, "axis", "middle", (LEFT + SIDE_W - RIGHT) / 2.0, SIDE_H - 8,
                      p->i < 0 ? "mean Dice" : report_task_name(p->r, p->i), 40);
    msx__buffer_printf(b,
                       "<text class=\"axis\" text-anchor=\"middle\" transform=\"translate(14 "
                       "%d) rotate(-90)\">",
                       (TOP + SIDE_H - BOTTOM) / 2);
    report_escape(b, p->k < 0 ? "behind the best of a task, at most" : report_task_name(p->r, p->k),
                  40);
    msx__buffer_text(b, "</text>");
}

static void scatter(msx__buffer *b, const report *r, int64_t i, int64_t k, int64_t number) {
    plane p = {.r = r, .i = i, .k = k};
    if (!make_axes(&p)) {
        b->failed = true;
        return;
    }
    report_figure(b, "panel", "front", number, SIDE_W, SIDE_H,
                  k < 0 ? "Pareto front, mean Dice and largest regret"
                        : "Pareto front of two tasks");
    msx__buffer_printf(b, "%" PRId64 " of %" PRId64 " trials are on the front.", r->n_front,
                       r->n_done);
    report_figure_body(b);
    report_axis_vertical(b, &p.y, LEFT, SIDE_W - RIGHT);
    report_axis_horizontal(b, &p.x, TOP, SIDE_H - BOTTOM);
    axis_names(b, &p);
    dots(b, &p, false);
    dots(b, &p, true);
    inputs(b, &p);
    badges(b, &p);
    report_figure_end(b);
}

static void legend(msx__buffer *b) {
    msx__buffer_text(b, "<p class=\"legend\"><span><i class=\"dot front\"></i>on the front</span>"
                        "<span><i class=\"dot dominated\"></i>dominated: another trial is at least "
                        "as good at every task</span><span><i class=\"dot square\"></i>an input "
                        "model alone</span><span><i class=\"dot badge\"></i>1, 2, 3: best mean "
                        "Dice on the front</span></p>");
}

void report_front(msx__buffer *b, const report *r) {
    bool pairs = r->n_tasks <= 3, beside = r->n_tasks != 3;
    int64_t number = 0;
    legend(b);
    msx__buffer_text(b, beside ? "<div class=\"beside\"><div>" : "<div class=\"panels\">");
    for (int64_t i = 0; pairs && i < r->n_tasks; i++)
        for (int64_t k = i + 1; k < r->n_tasks; k++) scatter(b, r, i, k, number++);
    if (!pairs) scatter(b, r, -1, -1, number);
    msx__buffer_text(b, beside ? "</div><div>" : "</div>");
    report_front_members(b, r, MOST_MEMBERS);
    if (r->n_front > MOST_MEMBERS)
        msx__buffer_printf(b, "<p class=\"caption\">The %d best of %" PRId64 " members.</p>",
                           MOST_MEMBERS, r->n_front);
    if (beside) msx__buffer_text(b, "</div></div>");
    if (!pairs)
        msx__buffer_text(b,
                         "<p class=\"caption\">Right is better on the mean; up loses less at the "
                         "task where a trial is furthest behind the best that any trial reached "
                         "there.</p>");
}
