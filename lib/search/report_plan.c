/* SPDX-License-Identifier: Apache-2.0 */
/* The winner's plan: the network as a strip of coloured groups, and one row per group with its
 * method and hyperparameters. The paper's Table 5 as a picture. */
#include "search/report.h"

#include <math.h>
#include <medsamix/sys/merge_method.h>
#include <stdio.h>
#include <string.h>

/* ---- the strip --------------------------------------------------------------------------------- */

enum { STRIP_WIDTH = 980, BLOCK_HEIGHT = 46 };

static void draw_block(msx__buffer *b, const report *r, const report_columns *c, int64_t i,
                       double y) {
    const report_group *g = &r->groups[i];
    int64_t entry;
    const char *why, *method = report_group_method(r->plans[0], g, &entry, &why);
    msx__buffer_printf(b, "<g class=\"%s\">", method ? report_method_class(method) : "m-none");
    report_box(b, "block round", c->x[i] + 1.5, y, fmax(c->width - 3, 1), BLOCK_HEIGHT);
    msx__buffer_text(b, "<title>");
    report_escape(b, g->name, 60);
    msx__buffer_text(b, ": ");
    report_escape(b, method ? method : why, 60);
    msx__buffer_text(b, "</title></rect>");
    if (method && c->width >= 22) {
        char letters[3];
        report_method_letters(method, letters);
        report_label_text(b, "letter", "middle", c->x[i] + c->width / 2, y + BLOCK_HEIGHT / 2.0 + 5,
                          letters, 2);
    }
    msx__buffer_text(b, "</g>");
}

/* What each colour and its letters stand for. */
static void legend(msx__buffer *b, const report *r, const report_columns *c) {
    const char *seen[16];
    int n = 0;
    msx__buffer_text(b, "<p class=\"legend\">");
    for (int64_t i = 0; i < c->n && n < 16; i++) {
        int64_t entry;
        const char *why, *method = report_group_method(r->plans[0], &r->groups[i], &entry, &why);
        int k = 0;
        while (method && k < n && strcmp(seen[k], method) != 0) k++;
        if (!method || k < n) continue;
        seen[n++] = method;
        char letters[3];
        report_method_letters(method, letters);
        msx__buffer_printf(b, "<span><b class=\"tag %s\">", report_method_class(method));
        report_escape(b, letters, 2);
        msx__buffer_text(b, "</b>");
        report_escape(b, method, 30);
        msx__buffer_text(b, "</span>");
    }
    msx__buffer_text(b, "<span><b class=\"tag m-none\"></b>left out of the search</span></p>");
}

void report_network(msx__buffer *b, const report *r) {
    report_columns c = report_columns_make(r, 0, STRIP_WIDTH);
    if (!c.n) return;
    double heads = report_columns_height(&c);
    legend(b, r, &c);
    report_figure(b, "figure", "network", 0, STRIP_WIDTH, heads + BLOCK_HEIGHT + 4,
                  "Merge method of each layer group");
    msx__buffer_printf(b, "%" PRId64 " groups; the table below the figure names them.", c.n);
    report_figure_body(b);
    report_columns_heads(b, r, &c, 0);
    for (int64_t i = 0; i < c.n; i++) draw_block(b, r, &c, i, heads);
    report_figure_end(b);
}

/* ---- one row per group ---------------------------------------------------------------------------- */

enum { MOST_MODELS = 12 };

static const char *model_name(const msx_plan *plan, int64_t i) {
    return i == 0 ? "base" : msx_plan_model(plan, i - 1);
}

/* A parameter's value in the plan; NaN when it is not set. */
static double set_value_of(const msx_plan *plan, int64_t entry, const msx_merge_param *p,
                           const char *model) {
    char key[160];
    snprintf(key, sizeof key, model ? "%s.%s" : "%s", p->name, model);
    return msx_plan_entry_param(plan, entry, key);
}

/* The same, else the method's default; may be NaN. */
static double value_of(const msx_plan *plan, int64_t entry, const msx_merge_param *p,
                       const char *model) {
    double value = set_value_of(plan, entry, p, model);
    return isnan(value) ? p->initial : value;
}

static void bar(msx__buffer *b, const char *name, const char *class, double value, double low,
                double high, bool dim) {
    double filled = high > low ? (value - low) / (high - low) : 0;
    filled = filled < 0 ? 0 : filled > 1 ? 1 : filled;
    msx__buffer_printf(b, "<span class=\"param%s\"><span class=\"key\">", dim ? " dim" : "");
    report_escape(b, name, 24);
    msx__buffer_printf(b, "</span><span class=\"bar\"><i class=\"%s\"", class);
    report_xy(b, " style=\"width:", 100 * filled);
    msx__buffer_text(b, "%\"></i></span><b>");
    report_number(b, value, 2);
    msx__buffer_printf(b, "</b>%s</span>",
                       dim ? "<span class=\"unseen\"> takes no part</span>" : "");
}

static double share_of(const msx_plan *plan, int64_t entry, const msx_merge_param *p, int64_t i,
                       double sum) {
    double v = value_of(plan, entry, p, model_name(plan, i));
    return sum > 0 ? v / sum : 1.0 / (double)(msx_plan_model_count(plan) + 1);
}

/* Weights of a linear merge as shares of one bar: they are normalised to sum 1, and all zero means
 * equal. False when one is missing. */
static bool shares(msx__buffer *b, const msx_plan *plan, int64_t entry, const msx_merge_param *p) {
    int64_t n = msx_plan_model_count(plan) + 1;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = value_of(plan, entry, p, model_name(plan, i));
        if (!(v >= 0)) return false;
        sum += v;
    }
    msx__buffer_text(b, "<span class=\"shares\"><span class=\"stack\">");
    for (int64_t i = 0; i < n; i++) {
        double share = share_of(plan, entry, p, i, sum);
        if (share == 0) continue;
        msx__buffer_printf(b, "<i class=\"%s\"", report_model_class(i));
        report_xy(b, " style=\"width:", 100 * share);
        msx__buffer_text(b, "%\"></i>");
    }
    msx__buffer_text(b, "</span><span class=\"names\">");
    for (int64_t i = 0; i < n && i < MOST_MODELS; i++) {
        double share = share_of(plan, entry, p, i, sum);
        msx__buffer_printf(b, "<span%s><i class=\"dot %s\"></i>",
                           share == 0 ? " class=\"dim\"" : "", report_model_class(i));
        report_escape(b, model_name(plan, i), 20);
        msx__buffer_text(b, " <b>");
        report_percent(b, share);
        msx__buffer_text(b, "</b></span>");
    }
    msx__buffer_text(b, "</span></span>");
    return true;
}

/* SLERP goes between the two models of the highest scores; the others do not take part. */
static bool takes_part(const msx_plan *plan, int64_t entry, const msx_merge_param *p, int64_t i) {
    double mine = value_of(plan, entry, p, model_name(plan, i));
    int ahead = 0;
    for (int64_t k = 0; k <= msx_plan_model_count(plan); k++) {
        double other = value_of(plan, entry, p, model_name(plan, k));
        ahead += other > mine || (other == mine && k < i);
    }
    return ahead < 2;
}

static void parameters(msx__buffer *b, const report *r, const char *name, int64_t entry) {
    const msx_plan *plan = r->plans[0];
    const msx_merge_method *method = msx_merge_method_find(r->ctx, name);
    if (!method) return;
    const char *class = report_method_class(name);
    for (size_t k = 0; k < method->n_params; k++) {
        const msx_merge_param *p = &method->params[k];
        if (!p->per_model) {
            double value = value_of(plan, entry, p, NULL);
            /* Those outside the default search are worth a place only when the plan sets them. */
            if (!p->search && isnan(set_value_of(plan, entry, p, NULL))) continue;
            if (!isnan(value)) bar(b, p->name, class, value, p->minimum, p->maximum, false);
            continue;
        }
        if (!strcmp(name, "linear") && shares(b, plan, entry, p)) continue;
        for (int64_t i = 0; i <= msx_plan_model_count(plan) && i < MOST_MODELS; i++) {
            double value = value_of(plan, entry, p, model_name(plan, i));
            if (!p->search && isnan(set_value_of(plan, entry, p, model_name(plan, i)))) continue;
            bool unit = p->search == MSX_SEARCHED_FINE_TUNED;
            if (unit && i == 0) continue;
            bool dim = !strcmp(name, "slerp") && !takes_part(plan, entry, p, i);
            if (!isnan(value))
                bar(b, model_name(plan, i), report_model_class(i), value, unit ? 0 : p->minimum,
                    unit ? 1 : p->maximum, dim);
        }
    }
}

enum { MOST_ROWS = 200 };

static void plan_row(msx__buffer *b, const report *r, const report_group *g) {
    int64_t entry;
    const char *why, *method = report_group_method(r->plans[0], g, &entry, &why);
    msx__buffer_printf(b, "<tr%s><th scope=\"row\">", method ? "" : " class=\"out\"");
    report_escape(b, g->name, 40);
    msx__buffer_text(b, "<small>");
    report_count(b, g->elements);
    msx__buffer_text(b, " weights</small></th>");
    if (!method) {
        msx__buffer_printf(b, "<td colspan=\"2\">%s</td></tr>", why);
        return;
    }
    msx__buffer_printf(b, "<td><span class=\"chip %s\">", report_method_class(method));
    report_escape(b, method, 30);
    msx__buffer_text(b, "</span></td><td><div class=\"params\">");
    parameters(b, r, method, entry);
    msx__buffer_text(b, "</div></td></tr>");
}

void report_plan_rows(msx__buffer *b, const report *r) {
    msx__buffer_text(b, "<table class=\"plan\"><thead><tr><th scope=\"col\">Layer group</th><th "
                        "scope=\"col\">Method</th><th scope=\"col\">Hyperparameters</th></tr>"
                        "</thead><tbody>");
    for (int64_t i = 0; i < r->n_groups && i < MOST_ROWS; i++) plan_row(b, r, &r->groups[i]);
    msx__buffer_text(b, "</tbody></table>");
    if (r->n_groups > MOST_ROWS)
        msx__buffer_printf(b, "<p class=\"caption\">The first %d of %" PRId64 " groups.</p>",
                           MOST_ROWS, r->n_groups);
}
