/* SPDX-License-Identifier: Apache-2.0 */
/* Figure: the layer groups in network order; how much each matters, what each method is worth there,
 * and what the best trials chose. The paper's Table 5 for many trials. */
#include "search/report.h"

#include <math.h>
#include <string.h>

enum { WIDE = 980, LEFT = 142, RIGHT = 4 };
enum { TITLE = 24, BARS = 84, BAND_GAP = 26, WORTH_ROW = 27, TRIAL_ROW = 17 };
enum { TEXT_FITS = 27, LETTERS_FIT = 15 };

typedef struct figure {
    msx__buffer *b;
    const report *r;
    report_columns columns;
    double y; /* what is above is drawn */
} figure;

static bool searched(const report_group *g) {
    return !strcmp(g->state, "searched");
}

static void band_title(figure *f, const char *title) {
    report_label_text(f->b, "part", "start", 0, f->y + 13, title, 0);
    f->y += TITLE;
}

/* ---- importance ------------------------------------------------------------------------------------ */

static void importance_bar(figure *f, int64_t i, double most) {
    const report_group_worth *g = &f->r->worth.groups[i];
    double base = f->y + BARS, x = f->columns.x[i] + 2, width = fmax(f->columns.width - 4, 1);
    double room = BARS - 16, all = room * g->share / most, alone = room * g->alone / most;
    msx__buffer_text(f->b, "<g>");
    report_box(f->b, "share-all", x, base - all, width, all);
    msx__buffer_text(f->b, "<title>");
    report_escape(f->b, f->r->groups[i].name, 60);
    msx__buffer_text(f->b, ": ");
    report_percent(f->b, g->share);
    msx__buffer_text(f->b, ", ");
    report_percent(f->b, g->alone);
    msx__buffer_text(f->b, " by itself</title></rect>");
    report_box(f->b, "share-alone", x, base - alone, width, alone);
    msx__buffer_text(f->b, "</rect></g>");
    if (f->columns.width < TEXT_FITS && g->share < most) return;
    report_label(f->b, "value", "middle", x + width / 2, base - all - 4);
    report_number(f->b, 100 * g->share, 0);
    msx__buffer_text(f->b, "</text>");
}

static void importance(figure *f) {
    const report_worth *w = &f->r->worth;
    double most = 0;
    for (int64_t i = 0; i < f->columns.n; i++) most = fmax(most, w->groups[i].share);
    band_title(f, "Importance, %");
    for (int64_t i = 0; i < f->columns.n; i++)
        if (!isnan(w->groups[i].share)) importance_bar(f, i, most);
    f->y += BARS;
    report_line(f->b, "rule", f->columns.x[0], f->y, f->columns.end, f->y);
    f->y += 4;
}

/* ---- worth of methods ------------------------------------------------------------------------------ */

static double largest_worth(const figure *f) {
    const report_worth *w = &f->r->worth;
    double most = 0;
    for (int64_t i = 0; i < f->columns.n * w->n_methods; i++)
        most = fmax(most, fabs(w->methods_worth[i].dice));
    return most;
}

static void signed_number(msx__buffer *b, double value, int decimals) {
    if (value > 0) msx__buffer_text(b, "+");
    report_number(b, value, decimals);
}

/* Hundredths: "+0.42" would not fit beside its neighbours. */
static void worth_text(figure *f, double dice, double x, double y) {
    double value = 100 * dice;
    bool wide = f->columns.width >= TEXT_FITS;
    report_label(f->b, "cell-text", "middle", x, y);
    if (fabs(value) < 0.05)
        msx__buffer_text(f->b, "0");
    else if (wide)
        signed_number(f->b, value, fabs(value) < 9.95);
    else
        msx__buffer_text(f->b, value > 0 ? "+" : "\xE2\x88\x92");
    msx__buffer_text(f->b, "</text>");
}

static void worth_cell(figure *f, int64_t i, int64_t k, double most) {
    const report_worth *w = &f->r->worth;
    const report_method_worth *cell = &w->methods_worth[i * w->n_methods + k];
    double x = f->columns.x[i] + 1, width = fmax(f->columns.width - 2, 1), y = f->y + 1;
    if (!searched(&f->r->groups[i])) return;
    const char *class = isnan(cell->dice) ? "cell" : cell->dice > 0 ? "cell gain" : "cell harm";
    msx__buffer_printf(f->b, "<rect class=\"%s\"", class);
    report_xy(f->b, " x=\"", x);
    report_xy(f->b, "\" y=\"", y);
    report_xy(f->b, "\" width=\"", width);
    report_xy(f->b, "\" height=\"", WORTH_ROW - 2);
    if (!isnan(cell->dice)) {
        /* Never so strong that the number is hard to read. */
        msx__buffer_text(f->b, "\" style=\"fill-opacity:");
        report_number(f->b, 0.05 + (most > 0 ? 0.5 * fabs(cell->dice) / most : 0), 2);
    }
    msx__buffer_text(f->b, "\"><title>");
    report_escape(f->b, f->r->groups[i].name, 60);
    msx__buffer_text(f->b, ", ");
    report_escape(f->b, w->methods[k], 30);
    msx__buffer_text(f->b, ": ");
    if (isnan(cell->dice))
        msx__buffer_text(f->b, "too few trials");
    else {
        signed_number(f->b, cell->dice, 4);
        msx__buffer_text(f->b, " Dice");
    }
    msx__buffer_printf(f->b, " (%" PRId64 " trials)</title></rect>", cell->trials);
    if (!isnan(cell->dice) && f->columns.width >= 10)
        worth_text(f, cell->dice, x + width / 2, y + WORTH_ROW / 2.0 + 3);
}

/* A ring round what the winner has there. */
static void winner_ring(figure *f, int64_t i, double top) {
    const report_worth *w = &f->r->worth;
    int64_t entry;
    const char *why, *method = report_group_method(f->r->plans[0], &f->r->groups[i], &entry, &why);
    for (int64_t k = 0; method && k < w->n_methods; k++) {
        if (strcmp(w->methods[k], method) != 0) continue;
        report_box(f->b, "ring", f->columns.x[i] + 1, top + (double)k * WORTH_ROW + 1,
                   fmax(f->columns.width - 2, 1), WORTH_ROW - 2);
        msx__buffer_text(f->b, "</rect>");
    }
}

static void method_label(figure *f, const char *method) {
    char letters[3];
    report_method_letters(method, letters);
    msx__buffer_printf(f->b, "<g class=\"%s\">", report_method_class(method));
    report_box(f->b, "block", 0, f->y + 5, 22, WORTH_ROW - 10);
    msx__buffer_text(f->b, "</rect>");
    report_label_text(f->b, "letter small", "middle", 11, f->y + WORTH_ROW / 2.0 + 3.5, letters, 2);
    msx__buffer_text(f->b, "</g>");
    report_label_text(f->b, "axis", "start", 29, f->y + WORTH_ROW / 2.0 + 4, method, 15);
}

static void worth(figure *f) {
    const report_worth *w = &f->r->worth;
    double most = largest_worth(f), top;
    f->y += BAND_GAP - 8;
    band_title(f, "Worth of each method there, in hundredths of Dice");
    top = f->y;
    for (int64_t k = 0; k < w->n_methods; k++) {
        method_label(f, w->methods[k]);
        for (int64_t i = 0; i < f->columns.n; i++) worth_cell(f, i, k, most);
        f->y += WORTH_ROW;
    }
    for (int64_t i = 0; i < f->columns.n; i++) winner_ring(f, i, top);
    f->y += BAND_GAP;
}

/* ---- what the best trials chose --------------------------------------------------------------------- */

static void chosen_cell(figure *f, const msx_plan *plan, int64_t i) {
    const report_group *g = &f->r->groups[i];
    int64_t entry;
    const char *why, *method = report_group_method(plan, g, &entry, &why);
    if (!searched(g)) return;
    msx__buffer_printf(f->b, "<g class=\"%s\">", method ? report_method_class(method) : "m-none");
    report_box(f->b, "block", f->columns.x[i] + 0.5, f->y + 0.5, fmax(f->columns.width - 1, 1),
               TRIAL_ROW - 1);
    msx__buffer_text(f->b, "<title>");
    report_escape(f->b, g->name, 40);
    msx__buffer_text(f->b, ": ");
    report_escape(f->b, method ? method : why, 40);
    msx__buffer_text(f->b, "</title></rect>");
    if (method && f->columns.width >= LETTERS_FIT) {
        char letters[3];
        report_method_letters(method, letters);
        report_label_text(f->b, "letter small", "middle", f->columns.x[i] + f->columns.width / 2,
                          f->y + TRIAL_ROW - 5, letters, 2);
    }
    msx__buffer_text(f->b, "</g>");
}

static void chosen(figure *f) {
    msx__buffer *b = f->b;
    band_title(f, f->r->n_plans == 1 ? "The best trial" : "The best trials, best on top");
    for (int64_t n = 0; n < f->r->n_plans; n++) {
        const report_trial *t = &f->r->trials[f->r->ranks[n]];
        report_label(b, "tick", "end", LEFT - 66, f->y + TRIAL_ROW - 4);
        msx__buffer_printf(b, "trial %" PRId64 "</text>", t->number);
        report_label(b, n ? "tick" : "strong small", "end", LEFT - 12, f->y + TRIAL_ROW - 4);
        report_number(b, 1 - t->cost, 4);
        msx__buffer_text(b, "</text>");
        for (int64_t i = 0; i < f->columns.n; i++) chosen_cell(f, f->r->plans[n], i);
        f->y += TRIAL_ROW;
    }
}

/* ---- the section ------------------------------------------------------------------------------------- */

static double height_of(const report *r, double heads) {
    double height = heads + TITLE + (double)r->n_plans * TRIAL_ROW + 4;
    if (!r->worth.n_trials) return height + 10;
    return height + TITLE + BARS + 4 + BAND_GAP - 8 + TITLE +
           (double)r->worth.n_methods * WORTH_ROW + BAND_GAP;
}

static int64_t most_important(const report *r) {
    int64_t best = -1;
    for (int64_t i = 0; i < r->n_groups; i++)
        if (!isnan(r->worth.groups[i].share) &&
            (best < 0 || r->worth.groups[i].share > r->worth.groups[best].share))
            best = i;
    return best;
}

static void describe(msx__buffer *b, const report *r) {
    msx__buffer_printf(b,
                       "One column for each layer group; the methods of the %" PRId64
                       " best trials, row by row.",
                       r->n_plans);
    int64_t most = r->worth.n_trials ? most_important(r) : -1;
    if (most < 0) return;
    msx__buffer_text(b, " The most important group is ");
    report_escape(b, r->groups[most].name, 60);
    msx__buffer_text(b, " with ");
    report_percent(b, r->worth.groups[most].share);
    msx__buffer_text(b, " of the importance. The numbers are in the table below the figure.");
}

static void legend(msx__buffer *b, const report *r) {
    if (!r->worth.n_trials) return;
    msx__buffer_text(b, "<p class=\"legend\"><span><i class=\"dot share-alone\"></i>matters by "
                        "itself</span><span><i class=\"dot share-all\"></i>matters together with "
                        "other groups</span><span><i class=\"dot gain\"></i>+ better than the "
                        "mean</span><span><i class=\"dot harm\"></i>\xE2\x88\x92 worse</span><span>"
                        "<i class=\"dot runner\"></i>what the winner has</span></p>");
}

static void worth_table(msx__buffer *b, const report *r) {
    const report_worth *w = &r->worth;
    msx__buffer_text(b, "<details><summary>The same as a table</summary><div class=\"scroll\" "
                        "tabindex=\"0\" role=\"group\" aria-label=\"Layer groups\"><table><thead>"
                        "<tr><th scope=\"col\">Layer group</th><th scope=\"col\" class=\"num\">"
                        "Importance</th><th scope=\"col\" class=\"num\">by itself</th>");
    for (int64_t k = 0; k < w->n_methods; k++) {
        msx__buffer_text(b, "<th scope=\"col\" class=\"num\">");
        report_escape(b, w->methods[k], 30);
        msx__buffer_text(b, "</th>");
    }
    msx__buffer_text(b, "</tr></thead><tbody>");
    for (int64_t i = 0; i < r->n_groups && i < REPORT_COLUMNS; i++) {
        if (isnan(w->groups[i].share)) continue;
        msx__buffer_text(b, "<tr><th scope=\"row\">");
        report_escape(b, r->groups[i].name, 60);
        msx__buffer_text(b, "</th><td class=\"num\">");
        report_percent(b, w->groups[i].share);
        msx__buffer_text(b, "</td><td class=\"num\">");
        report_percent(b, w->groups[i].alone);
        msx__buffer_text(b, "</td>");
        for (int64_t k = 0; k < w->n_methods; k++) {
            const report_method_worth *cell = &w->methods_worth[i * w->n_methods + k];
            msx__buffer_text(b, "<td class=\"num\">");
            signed_number(b, cell->dice, 4);
            msx__buffer_printf(b, " <small>(%" PRId64 ")</small></td>", cell->trials);
        }
        msx__buffer_text(b, "</tr>");
    }
    msx__buffer_text(b, "</tbody></table></div><p class=\"caption\">Dice against the mean, and the "
                        "trials that had the method there.</p></details>");
}

void report_groups(msx__buffer *b, const report *r) {
    figure f = {.b = b, .r = r, .columns = report_columns_make(r, LEFT, WIDE - RIGHT)};
    if (!f.columns.n || !r->n_plans) return;
    legend(b, r);
    report_figure(b, "figure", "groups", 0, WIDE, height_of(r, report_columns_height(&f.columns)),
                  "Layer groups");
    describe(b, r);
    report_figure_body(b);
    if (r->worth.n_trials) importance(&f);
    report_columns_heads(b, r, &f.columns, f.y);
    f.y += report_columns_height(&f.columns);
    if (r->worth.n_trials)
        worth(&f);
    else
        f.y += 10;
    chosen(&f);
    report_figure_end(b);
    msx__buffer_text(b, "<p class=\"caption\">");
    if (r->worth.n_trials)
        msx__buffer_printf(b,
                           "Importance and worth are what a random forest has learnt from %" PRId64
                           " trials: how much its prediction changes when a group gets the method "
                           "and values of another trial. ",
                           r->worth.n_trials);
    else
        msx__buffer_text(b, "The trials are too few, or too much alike, to say what matters. ");
    msx__buffer_text(b, "Groups without cells were not searched.");
    if (r->n_groups > f.columns.n)
        msx__buffer_printf(b, " The first %" PRId64 " of %" PRId64 " groups.", f.columns.n,
                           r->n_groups);
    msx__buffer_text(b, "</p>");
    if (r->worth.n_trials) worth_table(b, r);
}
