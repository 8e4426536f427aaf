/* SPDX-License-Identifier: Apache-2.0 */
/* What the search did not have to do: transformer blocks that were taken from a cache or that racing
 * made unnecessary, weights that were merged already, groups that cannot matter. */
#include "search/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double report_block_depth(const report *r) {
    double depth = 0;
    for (int64_t i = 0; i < r->n_trials; i++) {
        const report_trial *t = &r->trials[i];
        if (t->images > 0)
            depth = fmax(depth, (double)(t->blocks_run + t->blocks_reused) / (double)t->images);
    }
    return depth;
}

double report_all_images(const report *r) {
    double images = 0, told = strtod(report_value(r, "calibration_images"), NULL);
    for (int64_t i = 0; i < r->n_trials; i++) images = fmax(images, (double)r->trials[i].images);
    return told >= images && told <= REPORT_MOST ? told : images;
}

/* ---- weights that were merged anew --------------------------------------------------------------- */

/* Mark the groups that differ between two configurations. */
static void mark_changes(const report *r, const double *x, const double *y, bool *changed) {
    memset(changed, 0, REPORT_COLUMNS * sizeof *changed);
    for (int64_t i = 0; i < r->n_parameters; i++) {
        int64_t group = r->parameters[i].group;
        if (group < 0 || group >= REPORT_COLUMNS) continue;
        changed[group] |= x[i] != y[i] && !(isnan(x[i]) && isnan(y[i]));
    }
}

enum { NEAR = 400 }; /* trials that other workers may have begun in between */

/* The trial that the same worker ran before trial `n` of the sample, if it is in the sample, too; else
 * -1. Neighbours were sampled together. */
static int64_t before(const report *r, int64_t n) {
    const report_trial *t = &r->trials[r->sampled[n]];
    for (int64_t i = n - 1; i >= 0 && r->sampled[i] > r->sampled[n] - NEAR; i--)
        if (!strcmp(r->trials[r->sampled[i]].worker, t->worker)) return i;
    return -1;
}

typedef struct weights {
    double made, all;
    bool estimated;
} weights;

/* A worker's first trial merges everything. Where only a part of the trials was sampled, their first
 * ones say nothing, and what is left stands for all. */
static weights merged_weights(const report *r) {
    int64_t trials = r->n_state[REPORT_DONE] + r->n_state[REPORT_RACED];
    weights w = {.estimated = r->n_sampled < trials};
    bool changed[REPORT_COLUMNS];
    double each = 0, seen = 0;
    for (int64_t n = 0; n < r->n_sampled; n++) {
        int64_t last = before(r, n);
        if (last < 0 && w.estimated) continue;
        if (last >= 0)
            mark_changes(r, r->x + n * r->n_parameters, r->x + last * r->n_parameters, changed);
        seen++;
        for (int64_t g = 0; g < r->n_groups && g < REPORT_COLUMNS; g++)
            if (!strcmp(r->groups[g].state, "searched") && (last < 0 || changed[g]))
                w.made += (double)r->groups[g].elements;
    }
    for (int64_t g = 0; g < r->n_groups && g < REPORT_COLUMNS; g++)
        if (!strcmp(r->groups[g].state, "searched")) each += (double)r->groups[g].elements;
    w.all = seen > 0 ? each * (double)trials : 0;
    w.made *= seen > 0 ? (double)trials / seen : 0;
    return w;
}

/* ---- the table ----------------------------------------------------------------------------------- */

/* A bar of what was done and up to two kinds of what was not. */
static void bar(msx__buffer *b, const double parts[3], double all) {
    static const char *const classes[3] = {"did", "reused", "skipped"};
    msx__buffer_text(b, "<span class=\"stack wide-bar\" aria-hidden=\"true\">");
    for (int i = 0; i < 3; i++) {
        if (!(parts[i] > 0)) continue;
        msx__buffer_printf(b, "<i class=\"%s\"", classes[i]);
        report_xy(b, " style=\"width:", 100 * parts[i] / all);
        msx__buffer_text(b, "%\"></i>");
    }
    msx__buffer_text(b, "</span>");
}

static void row(msx__buffer *b, const char *what, const char *unit, double all,
                const double parts[3]) {
    msx__buffer_printf(b, "<tr><th scope=\"row\">%s<small>%s</small></th><td class=\"num\">", what,
                       unit);
    report_count(b, llround(all));
    msx__buffer_text(b, "</td><td class=\"num\">");
    report_count(b, llround(parts[0]));
    msx__buffer_text(b, "</td><td class=\"num\"><b>");
    report_percent(b, all > 0 ? (all - parts[0]) / all : NAN);
    msx__buffer_text(b, "</b></td><td>");
    bar(b, parts, all);
    msx__buffer_text(b, "</td></tr>");
}

static void blocks(msx__buffer *b, const report *r) {
    double depth = report_block_depth(r), images = report_all_images(r), parts[3] = {0}, all = 0;
    for (int64_t i = 0; i < r->n_trials; i++) {
        const report_trial *t = &r->trials[i];
        if (t->state == REPORT_RUNNING) continue;
        all += depth * images;
        parts[0] += (double)t->blocks_run;
        parts[1] += (double)t->blocks_reused;
    }
    /* A failed trial ended early too; that is no saving, and rare. */
    parts[2] = fmax(0, all - parts[0] - parts[1]);
    if (!(all > 0)) return;
    row(b, "Image encoder", "transformer blocks times images", fmax(all, parts[0]), parts);
}

static void weights_row(msx__buffer *b, const report *r) {
    weights w = merged_weights(r);
    if (!(w.all > 0)) return;
    const double parts[3] = {w.made, w.all - w.made, 0};
    row(b, "Merging",
        w.estimated ? "weights, over all trials (estimated)" : "weights, over all trials", w.all,
        parts);
}

static void groups_row(msx__buffer *b, const report *r) {
    double all = 0, parts[3] = {0};
    for (int64_t i = 0; i < r->n_groups; i++) {
        bool searched = !strcmp(r->groups[i].state, "searched");
        all++;
        parts[searched ? 0 : 2]++;
    }
    if (!(all > 0)) return;
    row(b, "Search space", "layer groups", all, parts);
}

/* Trials that racing stopped, and after how much of the images. */
static void raced(msx__buffer *b, const report *r) {
    double seen = 0, images = report_all_images(r);
    if (!r->n_state[REPORT_RACED]) return;
    for (int64_t i = 0; i < r->n_trials; i++)
        if (r->trials[i].state == REPORT_RACED) seen += (double)r->trials[i].images;
    msx__buffer_printf(b,
                       " %" PRId64 " of %" PRId64 " trials were stopped early, on average after ",
                       r->n_state[REPORT_RACED], r->n_trials - r->n_state[REPORT_RUNNING]);
    report_percent(b, seen / (images * (double)r->n_state[REPORT_RACED]));
    msx__buffer_text(b, " of the images.");
}

void report_saved(msx__buffer *b, const report *r) {
    msx__buffer_text(b, "<p class=\"legend\"><span><i class=\"dot did\"></i>done</span><span><i "
                        "class=\"dot reused\"></i>taken from an earlier trial</span><span><i "
                        "class=\"dot skipped\"></i>not needed</span></p><div class=\"scroll\" "
                        "tabindex=\"0\" role=\"group\" aria-label=\"What was saved\"><table "
                        "class=\"saved\"><thead><tr><th scope=\"col\">Work</th><th scope=\"col\" "
                        "class=\"num\">In full</th><th scope=\"col\" class=\"num\">Done</th><th "
                        "scope=\"col\" class=\"num\">Saved</th><th scope=\"col\"><span "
                        "class=\"unseen\">Shares</span></th></tr></thead><tbody>");
    blocks(b, r);
    weights_row(b, r);
    groups_row(b, r);
    msx__buffer_text(b, "</tbody></table></div><p class=\"caption\">Image encoder: activations are "
                        "kept at group boundaries, and a trial that is clearly worse than the best "
                        "is stopped.");
    raced(b, r);
    msx__buffer_text(b,
                     " Merging: only groups whose method or values changed are merged anew. Search "
                     "space: groups that cannot change a mask are left out.</p>");
}
