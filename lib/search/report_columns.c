/* SPDX-License-Identifier: Apache-2.0 */
/* Layer groups side by side in network order: where their columns are, and what stands above. */
#include "search/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    GAP = 22,
    WIDEST = 90,
    HEAD = 30,
    NAME = 18,
    NAME_UPRIGHT = 52,
    NARROW = 30,
    NARROWEST = 11
};

typedef struct part {
    const char *title, *abbreviation, *prefix;
} part;

/* The image encoder is whatever no other part claims. */
static const part parts[] = {{"image encoder", "encoder", ""},
                             {"prompt encoder", "prompt", "prompt."},
                             {"mask decoder", "decoder", "decoder."}};
enum { PARTS = sizeof parts / sizeof *parts };

static int part_of(const char *group) {
    for (int i = PARTS - 1; i > 0; i--)
        if (!strncmp(group, parts[i].prefix, strlen(parts[i].prefix))) return i;
    return 0;
}

/* Whether a new part begins at group i. */
static bool begins(const report *r, int64_t i) {
    return i == 0 || part_of(r->groups[i].name) != part_of(r->groups[i - 1].name);
}

report_columns report_columns_make(const report *r, double from, double to) {
    report_columns c = {.n = r->n_groups < REPORT_COLUMNS ? r->n_groups : REPORT_COLUMNS};
    if (!c.n) return c;
    int64_t gaps = 0;
    for (int64_t i = 1; i < c.n; i++) gaps += begins(r, i);
    /* A store may name its groups in any order: then there is no room for gaps. */
    double gap = gaps <= 8 ? GAP : 0;
    c.width = fmin((to - from - (double)gaps * gap) / (double)c.n, WIDEST);
    double x = from;
    for (int64_t i = 0; i < c.n; i++) {
        if (i && begins(r, i)) x += gap;
        c.x[i] = x;
        x += c.width;
    }
    c.end = x;
    return c;
}

/* "10-11" of encoder.10-11, "patch" of patch_embed. */
static void short_name(const char *group, char out[32]) {
    const char *dot = strchr(group, '.');
    snprintf(out, 32, "%.31s", dot && dot[1] ? dot + 1 : group);
    char *underline = strchr(out, '_');
    if (underline) *underline = 0;
}

static void column_name(msx__buffer *b, const report *r, const report_columns *c, int64_t i,
                        double y) {
    char name[32];
    short_name(r->groups[i].name, name);
    double middle = c->x[i] + c->width / 2;
    if (c->width >= NARROW) {
        report_label_text(b, "tick", "middle", middle, y + NAME - 5, name, 7);
        return;
    }
    if (c->width < NARROWEST) return;
    report_xy(b, "<text class=\"tick\" transform=\"translate(", middle + 4);
    report_xy(b, " ", y + NAME_UPRIGHT - 4);
    msx__buffer_text(b, ") rotate(-90)\">");
    report_escape(b, name, 7);
    msx__buffer_text(b, "</text>");
}

double report_columns_height(const report_columns *c) {
    return HEAD + (c->width >= NARROW ? NAME : c->width >= NARROWEST ? NAME_UPRIGHT : 0);
}

void report_columns_heads(msx__buffer *b, const report *r, const report_columns *c, double y) {
    for (int64_t i = 0; i < c->n;) {
        int64_t end = i + 1;
        while (end < c->n && !begins(r, end)) end++;
        const part *p = &parts[part_of(r->groups[i].name)];
        double right = c->x[end - 1] + c->width;
        bool room = right - c->x[i] >= 96;
        if (right - c->x[i] >= 50)
            report_label_text(b, "part", "start", c->x[i] + 2, y + 14,
                              room ? p->title : p->abbreviation, 0);
        report_line(b, "rule", c->x[i] + 1.5, y + 22, right - 1.5, y + 22);
        i = end;
    }
    for (int64_t i = 0; i < c->n; i++) column_name(b, r, c, i, y + HEAD - 4);
}

/* ---- what happens to a group ------------------------------------------------------------------- */

void report_method_letters(const char *method, char out[3]) {
    const char *underline = strchr(method, '_');
    out[0] = method[0] >= 'a' && method[0] <= 'z' ? (char)(method[0] - 32) : method[0];
    out[1] =
        underline && underline[1] >= 'a' && underline[1] <= 'z' ? (char)(underline[1] - 32) : 0;
    out[2] = 0;
    /* ties and task arithmetic both begin with T */
    if (!strcmp(method, "ties")) out[1] = 'I';
}

const char *report_group_method(const msx_plan *plan, const report_group *g, int64_t *entry,
                                const char **why) {
    *entry = -1;
    *why = NULL;
    if (!strcmp(g->state, "equal"))
        *why = "left out: all models are bit-equal here";
    else if (!strcmp(g->state, "unreached"))
        *why = "left out: box prompts never reach these weights";
    if (*why) return NULL;
    for (int64_t i = 0; i < msx_plan_entry_count(plan); i++) {
        const char *name = msx_plan_entry_group(plan, i);
        if (!strcmp(name, "*")) *entry = i;
        if (strcmp(name, g->name) != 0) continue;
        *entry = i;
        break;
    }
    if (*entry >= 0) return msx_plan_entry_method(plan, *entry);
    *why = "no entry in the plan: the base's weights stay";
    return NULL;
}
