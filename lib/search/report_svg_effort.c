/* SPDX-License-Identifier: Apache-2.0 */
/* Figure: the best Dice so far against the work of the image encoder, as it was and as it would have
 * been without a cache and without stopping early. */
#include "search/report.h"

#include <math.h>

enum { WIDTH = 980, HEIGHT = 280, LEFT = 52, RIGHT = 150, TOP = 16, BOTTOM = 46 };

/* Encoder runs up to some trial: made, and as many as all images in all trials take. */
typedef struct effort {
    double depth, images; /* blocks of one run; calibration images */
    double made, all;
} effort;

static void add(effort *e, const report_trial *t) {
    if (t->state == REPORT_RUNNING) return;
    e->made += (double)t->blocks_run / e->depth;
    e->all += e->images;
}

static effort effort_of(const report *r) {
    effort e = {.depth = report_block_depth(r), .images = report_all_images(r)};
    for (int64_t i = 0; e.depth > 0 && i < r->n_trials; i++) add(&e, &r->trials[i]);
    return e;
}

/* Encoder runs when the winner was found. */
static effort effort_to_winner(const report *r) {
    effort e = {.depth = report_block_depth(r), .images = report_all_images(r)};
    for (int64_t i = 0; i <= r->ranks[0]; i++) add(&e, &r->trials[i]);
    return e;
}

static void staircase(msx__buffer *b, const report *r, const report_axis *x, const report_axis *y,
                      bool made) {
    effort e = {.depth = report_block_depth(r), .images = report_all_images(r)};
    double best = -1, height = -1;
    msx__buffer_printf(b, "<path class=\"best%s\" d=\"", made ? "" : " without");
    for (int64_t i = 0; i < r->n_trials; i++) {
        const report_trial *t = &r->trials[i];
        add(&e, t);
        if (t->state != REPORT_DONE || 1 - t->cost <= best) continue;
        double at = report_axis_at(y, 1 - t->cost);
        bool first = best < 0;
        best = 1 - t->cost;
        if (!first && fabs(at - height) < 0.1) continue; /* the page stays small */
        height = at;
        report_xy(b, first ? "M" : "H", report_axis_at(x, made ? e.made : e.all));
        report_xy(b, first ? " " : "V", at);
    }
    report_xy(b, "H", report_axis_at(x, made ? e.made : e.all));
    msx__buffer_text(b, "\"/>");
}

/* How many runs a line ends at: above its end, or to the right of it. */
static void end_label(msx__buffer *b, const report_axis *x, double y, double runs, bool above,
                      const char *class, const char *text) {
    double at = report_axis_at(x, runs);
    report_label(b, class, above ? "middle" : "start", above ? at : at + 10, above ? y - 9 : y + 5);
    report_count(b, llround(runs));
    msx__buffer_printf(b, "%s</text>", text);
}

static void legend(msx__buffer *b, bool saved) {
    msx__buffer_text(b, "<p class=\"legend\"><span><svg width=\"22\" height=\"14\" "
                        "aria-hidden=\"true\"><path class=\"best\" d=\"M1 7H21\"/></svg>this "
                        "search</span>");
    if (saved)
        msx__buffer_text(b, "<span><svg width=\"22\" height=\"14\" aria-hidden=\"true\"><path "
                            "class=\"best without\" d=\"M1 7H21\"/></svg>the same trials, every "
                            "image through the whole encoder</span>");
    msx__buffer_text(b, "</p>");
}

static void caption(msx__buffer *b, const report *r, bool saved) {
    effort e = effort_to_winner(r);
    msx__buffer_text(b, "<p class=\"caption\">One encoder run is one image through all transformer "
                        "blocks. The winner was found after ");
    report_count(b, llround(e.made));
    if (saved) {
        msx__buffer_text(b, " instead of ");
        report_count(b, llround(e.all));
    }
    msx__buffer_text(b, ".</p>");
}

void report_effort(msx__buffer *b, const report *r) {
    effort all = effort_of(r);
    if (!(all.depth > 0) || !(all.all > 0)) return;
    bool saved = all.all - all.made > 0.005 * all.all;
    double hi = 1 - r->trials[r->ranks[0]].cost, lo = hi;
    for (int64_t i = 0; i < r->n_trials; i++) /* the first one that is there */
        if (r->trials[i].state == REPORT_DONE) {
            lo = 1 - r->trials[i].cost;
            break;
        }
    report_axis y = report_axis_make(lo, hi + 0.06 * (hi - lo), 0.01, 1, 5, HEIGHT - BOTTOM, TOP);
    report_axis x =
        report_axis_make(0, fmax(all.all, all.made), 10, INFINITY, 8, LEFT, WIDTH - RIGHT);
    msx__buffer_text(b, "<h3>Best so far over encoder runs</h3>");
    legend(b, saved);
    report_figure(b, "figure", "effort", 0, WIDTH, HEIGHT, "Best Dice so far over encoder runs");
    msx__buffer_text(b, "The search took ");
    report_count(b, llround(all.made));
    msx__buffer_text(b, " encoder runs; all images in all trials would have taken ");
    report_count(b, llround(all.all));
    msx__buffer_text(b, ".");
    report_figure_body(b);
    report_axis_vertical(b, &y, LEFT, WIDTH - RIGHT);
    report_axis_horizontal(b, &x, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 4);
    report_label_text(b, "axis", "middle", (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 8, "encoder runs",
                      0);
    if (saved) staircase(b, r, &x, &y, false);
    staircase(b, r, &x, &y, true);
    double end = report_axis_at(&y, hi);
    if (saved) end_label(b, &x, end, all.all, false, "note", " without");
    end_label(b, &x, end, all.made, saved, "strong", " runs");
    report_figure_end(b);
    caption(b, r, saved);
}
