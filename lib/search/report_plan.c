/* SPDX-License-Identifier: Apache-2.0 */
/* The winner's plan: the network as a strip of coloured groups, and one row per group with its
 * method and hyperparameters. The paper's Table 5 as a picture. */
#include "search/report.h"

#include <math.h>
#include <medsamix/sys/merge_method.h>
#include <stdio.h>
#include <string.h>

/* What happens to a group. `method` is NULL where the base's weights stay. */
typedef struct choice {
    const report_group *group;
    const char *method, *why; /* why: one of them */
    int64_t entry;            /* in the plan; -1 without */
} choice;

static choice choice_of(const report *r, const report_group *g) {
    choice c = {.group = g, .entry = -1};
    if (!strcmp(g->state, "equal")) {
        c.why = "left out: all models are bit-equal here";
        return c;
    }
    if (!strcmp(g->state, "unreached")) {
        c.why = "left out: box prompts never reach these weights";
        return c;
    }
    const msx_plan *plan = r->plans[0];
    for (int64_t i = 0; i < msx_plan_entry_count(plan); i++) {
        const char *name = msx_plan_entry_group(plan, i);
        if (!strcmp(name, g->name)) {
            c.entry = i;
            break;
        }
        if (!strcmp(name, "*")) c.entry = i;
    }
    if (c.entry >= 0)
        c.method = msx_plan_entry_method(plan, c.entry);
    else
        c.why = "no entry in the plan: the base's weights stay";
    return c;
}

/* ---- the strip --------------------------------------------------------------------------------- */

enum { STRIP_WIDTH = 980, STRIP_GAP = 26, BLOCK_TOP = 34, BLOCK_HEIGHT = 46 };

typedef struct part {
    const char *title, *prefix;
} part;

/* The image encoder is whatever no other part claims. */
static const part parts[] = {
    {"image encoder", ""}, {"prompt encoder", "prompt."}, {"mask decoder", "decoder."}};
enum { PARTS = sizeof parts / sizeof *parts };

static int part_of(const char *group) {
    for (int i = PARTS - 1; i > 0; i--)
        if (!strncmp(group, parts[i].prefix, strlen(parts[i].prefix))) return i;
    return 0;
}

/* Two letters at most, so that colours are never the only sign. */
static void method_letters(const char *method, char out[3]) {
    const char *underline = strchr(method, '_');
    out[0] = method[0] >= 'a' && method[0] <= 'z' ? (char)(method[0] - 32) : method[0];
    out[1] =
        underline && underline[1] >= 'a' && underline[1] <= 'z' ? (char)(underline[1] - 32) : 0;
    out[2] = 0;
    /* ties and task arithmetic both begin with T */
    if (!strcmp(method, "ties")) out[1] = 'I';
}

static void draw_block(msx__buffer *b, const choice *c, double x, double width) {
    const char *class = c->method ? report_method_class(c->method) : "m-none";
    msx__buffer_printf(b, "<g class=\"%s\">", class);
    report_xy(b, "<rect class=\"block\" rx=\"5\" x=\"", x + 1.5);
    msx__buffer_printf(b, "\" y=\"%d\" height=\"%d", BLOCK_TOP, BLOCK_HEIGHT);
    report_xy(b, "\" width=\"", fmax(width - 3, 1));
    msx__buffer_text(b, "\"><title>");
    report_escape(b, c->group->name, 60);
    msx__buffer_text(b, ": ");
    report_escape(b, c->method ? c->method : c->why, 60);
    msx__buffer_text(b, "</title></rect>");
    if (width >= 22) {
        char letters[3] = "";
        if (c->method) method_letters(c->method, letters);
        report_xy(b, "<text class=\"letter\" text-anchor=\"middle\" x=\"", x + width / 2);
        msx__buffer_printf(b, "\" y=\"%d\">", BLOCK_TOP + BLOCK_HEIGHT / 2 + 5);
        report_escape(b, letters, 2);
        msx__buffer_text(b, "</text>");
    }
    msx__buffer_text(b, "</g>");
    if (width < 26) return;
    const char *dot = strchr(c->group->name, '.');
    char name[32];
    snprintf(name, sizeof name, "%.31s", dot && dot[1] ? dot + 1 : c->group->name);
    char *underline = strchr(name, '_'); /* patch_embed */
    if (underline) *underline = 0;
    report_xy(b, "<text class=\"tick\" text-anchor=\"middle\" x=\"", x + width / 2);
    msx__buffer_printf(b, "\" y=\"%d\">", BLOCK_TOP + BLOCK_HEIGHT + 17);
    report_escape(b, name, 7);
    msx__buffer_text(b, "</text>");
}

void report_network(msx__buffer *b, const report *r) {
    int64_t counts[PARTS] = {0};
    int used = 0;
    for (int64_t i = 0; i < r->n_groups; i++) counts[part_of(r->groups[i].name)]++;
    for (int p = 0; p < PARTS; p++) used += counts[p] > 0;
    if (!used) return;
    double width = (STRIP_WIDTH - (used - 1) * STRIP_GAP) / (double)r->n_groups;
    width = fmin(width, 90);
    msx__buffer_printf(
        b,
        "<div class=\"figure\"><svg class=\"wide\" viewBox=\"0 0 %d 106\" role=\"img\" "
        "aria-label=\"Merge method of each layer group\">",
        STRIP_WIDTH);
    double x = 0;
    for (int p = 0; p < PARTS; p++) {
        if (!counts[p]) continue;
        double end = x + (double)counts[p] * width;
        report_xy(b, "<text class=\"part\" x=\"", x + 2);
        msx__buffer_printf(b, "\" y=\"14\">%s</text>", parts[p].title);
        report_xy(b, "<line class=\"rule\" y1=\"23\" y2=\"23\" x1=\"", x + 1.5);
        report_xy(b, "\" x2=\"", end - 1.5);
        msx__buffer_text(b, "\"/>");
        for (int64_t i = 0; i < r->n_groups; i++) {
            if (part_of(r->groups[i].name) != p) continue;
            choice c = choice_of(r, &r->groups[i]);
            draw_block(b, &c, x, width);
            x += width;
        }
        x = end + STRIP_GAP;
    }
    msx__buffer_text(b, "</svg></div>");
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
    msx__buffer_text(b, "</b></span>");
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
        if (share > 0 && share < 0.005)
            msx__buffer_text(b, "&lt;1");
        else
            report_number(b, 100 * share, 0);
        msx__buffer_text(b, "\xC2\xA0%</b></span>");
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

static void parameters(msx__buffer *b, const report *r, const choice *c) {
    const msx_plan *plan = r->plans[0];
    const msx_merge_method *method = msx_merge_method_find(r->ctx, c->method);
    if (!method) return;
    const char *class = report_method_class(c->method);
    for (size_t k = 0; k < method->n_params; k++) {
        const msx_merge_param *p = &method->params[k];
        if (!p->per_model) {
            double value = value_of(plan, c->entry, p, NULL);
            /* Those outside the default search are worth a place only when the plan sets them. */
            if (!p->search && isnan(set_value_of(plan, c->entry, p, NULL))) continue;
            if (!isnan(value)) bar(b, p->name, class, value, p->minimum, p->maximum, false);
            continue;
        }
        if (!strcmp(c->method, "linear") && shares(b, plan, c->entry, p)) continue;
        for (int64_t i = 0; i <= msx_plan_model_count(plan) && i < MOST_MODELS; i++) {
            double value = value_of(plan, c->entry, p, model_name(plan, i));
            if (!p->search && isnan(set_value_of(plan, c->entry, p, model_name(plan, i)))) continue;
            bool unit = p->search == MSX_SEARCHED_FINE_TUNED;
            if (unit && i == 0) continue;
            bool dim = !strcmp(c->method, "slerp") && !takes_part(plan, c->entry, p, i);
            if (!isnan(value))
                bar(b, model_name(plan, i), report_model_class(i), value, unit ? 0 : p->minimum,
                    unit ? 1 : p->maximum, dim);
        }
    }
}

void report_plan_rows(msx__buffer *b, const report *r) {
    msx__buffer_text(b, "<table class=\"plan\"><thead><tr><th>Layer group</th><th>Method</th>"
                        "<th>Hyperparameters</th></tr></thead><tbody>");
    for (int64_t i = 0; i < r->n_groups; i++) {
        choice c = choice_of(r, &r->groups[i]);
        msx__buffer_printf(b, "<tr%s><th scope=\"row\">", c.method ? "" : " class=\"out\"");
        report_escape(b, c.group->name, 40);
        msx__buffer_text(b, "<small>");
        report_count(b, c.group->elements);
        msx__buffer_text(b, " weights</small></th>");
        if (!c.method) {
            msx__buffer_printf(b, "<td colspan=\"2\">%s</td></tr>", c.why);
            continue;
        }
        msx__buffer_printf(b, "<td><span class=\"chip %s\">", report_method_class(c.method));
        report_escape(b, c.method, 30);
        msx__buffer_text(b, "</span></td><td><div class=\"params\">");
        parameters(b, r, &c);
        msx__buffer_text(b, "</div></td></tr>");
    }
    msx__buffer_text(b, "</tbody></table>");
}
