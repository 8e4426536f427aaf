/* SPDX-License-Identifier: Apache-2.0 */
/* The heat map of `medsamix diff`: one HTML page without scripts and without anything from elsewhere. */
#include "diff.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
    ":root{color-scheme:light dark;--bg:#fff;--ink:#1c2430;--soft:#5c6675;--line:#d9dee6;"
    "--hot:#c2410c;--cold:#1d6fb8;--quiet:#eef1f5}"
    "@media(prefers-color-scheme:dark){:root{--bg:#14181f;--ink:#e7ebf1;--soft:#9aa5b4;--line:#2c3440;"
    "--hot:#f97316;--cold:#4aa3ea;--quiet:#1e252f}}"
    "body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}"
    "main{max-width:1200px;margin:0 auto;padding:32px 20px 48px}"
    "h1{font-size:26px;line-height:1.2;margin:0 0 6px}"
    "p,ul,dl{margin:8px 0 0;color:var(--soft);max-width:75ch}"
    "b{color:var(--ink);font-weight:600}"
    ".scroll{overflow-x:auto;margin:22px 0 0}"
    "table{border-collapse:separate;border-spacing:2px;font-size:13px;"
    "font-variant-numeric:tabular-nums}"
    "th{font-weight:600;text-align:left;padding:4px 8px;white-space:nowrap}"
    "thead th{vertical-align:bottom;color:var(--soft);text-align:center;border-bottom:1px solid "
    "var(--line)}"
    "thead th:first-child{text-align:left}"
    "td{min-width:5.2em;padding:4px 8px;text-align:center;border-radius:3px;background:var(--quiet)}"
    "td.hot{background:color-mix(in srgb,var(--hot) calc(var(--v)*1%),var(--quiet))}"
    "td.cold{background:color-mix(in srgb,var(--cold) calc(var(--v)*1%),var(--quiet))}"
    "td.deep{color:#fff}"
    "td.word{color:var(--soft);white-space:nowrap}"
    "tr.same>*{opacity:.45}"
    "@media print{body{-webkit-print-color-adjust:exact;print-color-adjust:exact}}";

static void escape(FILE *f, const char *text) {
    for (; *text; text++) switch (*text) {
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '&':
            fputs("&amp;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        default:
            fputc((unsigned char)*text < 32 || *text == 127 ? '?' : *text, f);
        }
}

/* ---- cells -------------------------------------------------------------------------------------- */

/* A coloured number. `heat` from 0 to 1, negative for the cold side. */
static void cell(FILE *f, double value, double heat, const char *format) {
    if (isnan(value)) {
        fputs("<td class=\"word\">-</td>", f);
        return;
    }
    double size = fmin(fabs(heat), 1);
    fprintf(f, "<td class=\"%s%s\" style=\"--v:%.0f\">", heat < 0 ? "cold" : "hot",
            size > 0.7 ? " deep" : "", 90 * size);
    fprintf(f, format, value);
    fputs("</td>", f);
}

/* Distances lie over decades: nothing at 1e-5 and below, everything at 1. */
static double heat_of_distance(double value) {
    return value > 0 ? fmax(0, 1 + log10(fmin(value, 1)) / 5) : 0;
}

/* Chance is one half: above is cold, below hot. */
static double heat_of_agreement(double share) {
    return 2 * (0.5 - share);
}

static void group_row(FILE *f, const diff *d, int64_t i) {
    static const char *const words[] = {"equal", "not reached", "reached"};
    diff_effect effect = diff_effect_of(d, i);
    fprintf(f, "<tr%s><th scope=\"row\">", effect == DIFF_EQUAL ? " class=\"same\"" : "");
    escape(f, msx_groups_name(d->groups, i));
    fprintf(f, "</th><td class=\"word\">%lld</td>", (long long)msx_groups_elements(d->groups, i));
    for (int k = 1; k < d->n; k++) {
        const msx_group_diff *g = &d->distances[k][i];
        cell(f, g->relative_l2, heat_of_distance(g->relative_l2), "%.3g");
        cell(f, g->cosine, heat_of_distance(1 - g->cosine), "%.4f");
    }
    for (int k = 0; k < d->n_pairs; k++) {
        const msx_group_tasks *t = &d->pairs[k].groups[i];
        double agreement = diff_sign_agreement(t);
        double colinear = t->tensors ? (double)t->colinear / (double)t->tensors : NAN;
        cell(f, agreement, heat_of_agreement(agreement), "%.3f");
        cell(f, t->cosine, -t->cosine, "%.3f");
        cell(f, 100 * colinear, -colinear, "%.0f %%");
    }
    fprintf(f, "<td class=\"word\">%s</td></tr>\n", words[effect]);
}

/* ---- the page ------------------------------------------------------------------------------------- */

static char letter(int model) {
    return (char)('A' + model - 1);
}

static void head_rows(FILE *f, const diff *d) {
    fputs("<thead><tr><th rowspan=\"2\">layer group</th><th rowspan=\"2\">elements</th>", f);
    for (int k = 1; k < d->n; k++) fprintf(f, "<th colspan=\"2\">%c</th>", letter(k));
    for (int k = 0; k < d->n_pairs; k++)
        fprintf(f, "<th colspan=\"3\">%c and %c</th>", letter(d->pairs[k].a),
                letter(d->pairs[k].b));
    fputs("<th rowspan=\"2\">box prompts</th></tr><tr>", f);
    for (int k = 1; k < d->n; k++) fputs("<th>distance</th><th>cosine</th>", f);
    for (int k = 0; k < d->n_pairs; k++)
        fputs("<th>signs agree</th><th>task cosine</th><th>colinear</th>", f);
    fputs("</tr></thead>\n", f);
}

static void list_models(FILE *f, const diff *d) {
    fputs("<ul>\n", f);
    for (int k = 0; k < d->n; k++) {
        if (k)
            fprintf(f, "<li><b>%c</b> ", letter(k));
        else
            fputs(d->n > 2 ? "<li><b>base</b> " : "<li><b>reference</b> ", f);
        escape(f, d->paths[k]);
        fputs("</li>\n", f);
    }
    fputs("</ul>\n", f);
}

/* What a person wants to know first, in one sentence each. */
static void summary(FILE *f, const diff *d) {
    int64_t counts[3] = {0}, both = 0, agree = 0, tensors = 0, colinear = 0;
    for (int64_t i = 0; i < d->n_groups; i++) {
        counts[diff_effect_of(d, i)]++;
        for (int k = 0; k < d->n_pairs; k++) {
            const msx_group_tasks *t = &d->pairs[k].groups[i];
            both += t->both;
            agree += t->agree;
            tensors += t->tensors;
            colinear += t->colinear;
        }
    }
    fprintf(f,
            "<p>Of <b>%lld</b> layer groups <b>%lld</b> are equal in all models, and <b>%lld</b> "
            "differ only where the mask of a box prompt does not depend on them. Merging "
            "<b>%lld</b> can change such a mask.</p>\n",
            (long long)d->n_groups, (long long)counts[DIFF_EQUAL],
            (long long)counts[DIFF_UNREACHED], (long long)counts[DIFF_REACHED]);
    if (both)
        fprintf(
            f,
            "<p>Of the weights that two models changed, <b>%.1f %%</b> were changed in the same "
            "direction; TIES elects signs among the others.</p>\n",
            100 * (double)agree / (double)both);
    if (tensors)
        fprintf(
            f,
            "<p><b>%lld</b> of <b>%lld</b> tensors of two models are colinear, so that SLERP takes "
            "the straight line between them.</p>\n",
            (long long)colinear, (long long)tensors);
}

static void legend(FILE *f, const diff *d) {
    fputs("<dl>\n<dt><b>distance</b></dt><dd>|x - ", f);
    fputs(d->n > 2 ? "base| / |base|" : "reference| / |reference|", f);
    fputs("; red grows with its decades, from 0.00001 to 1</dd>\n<dt><b>cosine</b></dt><dd>between "
          "the weights themselves; red grows with the decades of what lacks to 1</dd>\n",
          f);
    if (d->n_pairs)
        fputs(
            "<dt><b>signs agree</b></dt><dd>of the weights that both changed, the share that both "
            "changed in one direction: 0.5 is chance, blue is agreement, red conflict</dd>\n"
            "<dt><b>task cosine</b></dt><dd>between what both changed; blue: the same, red: the "
            "opposite</dd>\n"
            "<dt><b>colinear</b></dt><dd>share of tensors between which SLERP is a straight line"
            "</dd>\n",
            f);
    fputs("<dt><b>box prompts</b></dt><dd>reached: what differs can change the mask of a box; pale "
          "rows are equal in all models</dd>\n</dl>\n",
          f);
}

static void write_page(FILE *f, const diff *d) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>",
          f);
    escape(f, diff_name(d->paths[0]));
    fprintf(f, " and %d other%s</title>\n<style>%s</style></head><body><main>\n<h1>", d->n - 1,
            d->n > 2 ? "s" : "", style);
    fputs("How far the models are apart</h1>\n", f);
    list_models(f, d);
    summary(f, d);
    fputs("<div class=\"scroll\"><table>\n", f);
    head_rows(f, d);
    fputs("<tbody>\n", f);
    for (int64_t i = 0; i < d->n_groups; i++) group_row(f, d, i);
    fputs("</tbody></table></div>\n", f);
    legend(f, d);
    fputs("</main></body></html>\n", f);
}

int diff_page(program *p, const diff *d, const char *path) {
    char *text = NULL;
    size_t length = 0;
    FILE *f = open_memstream(&text, &length);
    if (f) write_page(f, d);
    int code = f && fclose(f) == 0 ? output_file(p, path, text, length)
                                   : program_fail(p, PROGRAM_LIMIT, "out of memory");
    free(text);
    return code;
}
