/* SPDX-License-Identifier: Apache-2.0 */
/* The report: one page, complete in itself, from what a store holds. The same store always gives the
 * same bytes: nothing of the time or the machine is written. */
#include "search/report.h"

#include "core/file.h"

#include <math.h>
#include <medsamix/search.h>
#include <string.h>

static void section(msx__buffer *b, const char *id, const char *title, const char *lead) {
    msx__buffer_printf(b, "<section id=\"%s\" aria-labelledby=\"%s-h\"><h2 id=\"%s-h\">%s</h2>", id,
                       id, id, title);
    if (lead) msx__buffer_printf(b, "<p class=\"lead\">%s</p>", lead);
}

static void section_end(msx__buffer *b) {
    msx__buffer_text(b, "</section>\n");
}

/* In the order of the page: what the winner is worth, then what it was chosen by. */
static const char *const splits[][2] = {
    {"test", "Held-out test images"},
    {"calibration", "Calibration images, which the winner was chosen by"}};
enum { N_SPLITS = sizeof splits / sizeof *splits };

static void scores(msx__buffer *b, const report *r) {
    bool first = true;
    for (size_t i = 0; i < N_SPLITS; i++) {
        if (!report_has_split(r, splits[i][0])) continue;
        bool folded = !first && r->n_tasks > REPORT_FOLD;
        msx__buffer_printf(b, folded ? "<details><summary>%s</summary>" : "<h3>%s</h3>",
                           splits[i][1]);
        report_scores(b, r, splits[i][0]);
        if (folded) msx__buffer_text(b, "</details>");
        /* Intervals once, where they mean most. */
        if (first) report_intervals(b, r, splits[i][0]);
        first = false;
    }
}

static void picture(msx__buffer *b, const report_picture *p) {
    msx__buffer_text(b, "<figure>");
    if (p->png.n >= 24 && !memcmp(p->png.bytes, "\x89PNG\r\n\x1a\n", 8)) {
        msx__buffer_text(b, "<img alt=\"");
        report_escape(b, p->title, 120);
        msx__buffer_text(b, "\" src=\"data:image/png;base64,");
        report_base64(b, p->png.bytes, (size_t)p->png.n);
        msx__buffer_text(b, "\">");
    } else {
        msx__buffer_text(b, "<p class=\"missing\">This picture is not a PNG.</p>");
    }
    msx__buffer_text(b, "<figcaption><b>");
    report_escape(b, p->title, 120);
    msx__buffer_text(b, "</b> ");
    report_escape(b, p->caption, 400);
    msx__buffer_text(b, "</figcaption></figure>");
}

static void gallery(msx__buffer *b, const report *r, const char *split, const char *title) {
    bool any = false;
    for (int64_t i = 0; i < r->n_pictures; i++) {
        if (strcmp(r->pictures[i].split, split)) continue;
        if (!any) msx__buffer_printf(b, "<h3>%s</h3><div class=\"gallery\">", title);
        any = true;
        picture(b, &r->pictures[i]);
    }
    if (any) msx__buffer_text(b, "</div>");
}

static void pictures(msx__buffer *b, const report *r) {
    msx__buffer_text(b, "<p class=\"legend\"><span><i class=\"dot reference\"></i>reference</span>"
                        "<span><i class=\"dot prediction\"></i>prediction</span><span><i "
                        "class=\"dot frame\"></i>box prompt</span></p>");
    for (size_t i = 0; i < N_SPLITS; i++) gallery(b, r, splits[i][0], splits[i][1]);
}

static void curves(msx__buffer *b, const report *r) {
    report_curve(b, r);
    report_effort(b, r);
}

static void winner(msx__buffer *b, const report *r) {
    report_network(b, r);
    report_plan_rows(b, r);
}

static void trade_offs(msx__buffer *b, const report *r) {
    report_front(b, r);
    if (r->n_tasks > 2) report_parallel(b, r);
}

static void best_trials(msx__buffer *b, const report *r) {
    report_best_trials(b, r, 10);
}

/* ---- which sections there are ------------------------------------------------------------------ */

static bool has_done(const report *r) {
    return r->n_done > 0;
}
static bool has_results(const report *r) {
    return r->n_done && r->n_results;
}
static bool has_trade_offs(const report *r) {
    return r->n_done && r->n_tasks > 1;
}
static bool has_pictures(const report *r) {
    return r->n_done && r->n_pictures;
}
static bool has_times(const report *r) {
    for (int64_t i = 0; i < r->n_trials; i++)
        if (!isnan(r->trials[i].started)) return true;
    return false;
}
static bool always(const report *r) {
    return r != NULL;
}

/* In the order of the page. */
static const struct {
    const char *id, *title, *link, *lead;
    bool (*there)(const report *r);
    void (*write)(msx__buffer *b, const report *r);
} sections[] = {
    {"search", "How the search went", "Search", NULL, has_done, curves},
    {"winner", "The winning merge", "Winner",
     "One block per layer group, in network order; colour and letters say the method.", has_done,
     winner},
    {"scores", "Dice per task", "Dice",
     "Every input model alone, the uniform merge by each method, and what was found. The best of "
     "each task is bold; point at a value for its interval.",
     has_results, scores},
    {"trade-offs", "Trade-offs between tasks", "Trade-offs",
     "What the trials are worth to each task; the worst are drawn on the edges. No trial is better "
     "than a member of the front at one task without being worse at another.",
     has_trade_offs, trade_offs},
    {"groups", "What matters where", "Layer groups",
     "What all trials together say about the layer groups, in network order.", has_done,
     report_groups},
    {"pictures", "Pictures", "Pictures", "Predictions of the winner.", has_pictures, pictures},
    {"best", "The best trials", "Best trials", NULL, has_done, best_trials},
    {"saved", "What was saved", "Saved", "Work that the search did not have to do.", has_done,
     report_saved},
    {"workers", "Who worked when", "Workers", NULL, has_times, report_timeline},
    {"settings", "What was searched", "Settings", NULL, always, report_settings},
    {"reproduce", "How to reproduce", "Reproduce", NULL, always, report_reproduce},
};
enum { N_SECTIONS = sizeof sections / sizeof *sections };

static void contents(msx__buffer *b, const report *r) {
    msx__buffer_text(b, "<nav aria-label=\"Sections\">");
    for (size_t i = 0; i < N_SECTIONS; i++)
        if (sections[i].there(r))
            msx__buffer_printf(b, "<a href=\"#%s\">%s</a>", sections[i].id, sections[i].link);
    msx__buffer_text(b, "</nav>");
}

static void no_results(msx__buffer *b, const report *r) {
    section(b, "nothing", "No results yet", NULL);
    int64_t failed = r->n_state[REPORT_FAILED];
    msx__buffer_printf(b, "<p>The store holds %s: run the search again with this store to go on.",
                       failed ? "failed trials only" : "no finished trial");
    for (int64_t i = r->n_trials - 1; failed && i >= 0; i--) {
        if (r->trials[i].state != REPORT_FAILED) continue;
        msx__buffer_text(b, " The last failure: ");
        report_escape(b, r->trials[i].error, 400);
        break;
    }
    msx__buffer_text(b, "</p>");
    section_end(b);
}

void report_page(msx__buffer *b, const report *r) {
    /* The policy forbids scripts and everything that is not in the page, should a name from the
     * store ever get past the escaping. */
    msx__buffer_text(b, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
                        "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                        "img-src data:; style-src 'unsafe-inline'\">"
                        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                        "<meta name=\"color-scheme\" content=\"light dark\">"
                        "<title>medsamix search report</title><style>");
    msx__buffer_text(b, report_style);
    msx__buffer_text(b, "</style></head><body><main>");
    report_headline(b, r);
    contents(b, r);
    if (!r->n_done) no_results(b, r);
    for (size_t i = 0; i < N_SECTIONS; i++) {
        if (!sections[i].there(r)) continue;
        section(b, sections[i].id, sections[i].title, sections[i].lead);
        sections[i].write(b, r);
        section_end(b);
    }
    msx__buffer_text(b, "<footer>For research use only; not a medical device and not for decisions "
                        "about patients.</footer></main></body></html>\n");
}

msx_status msx_report_write(msx_ctx *ctx, const char *store_path, const char *html_path) {
    if (!ctx) return MSX_E_ARG;
    if (!store_path || !html_path)
        return msx__fail(ctx, MSX_E_ARG, "report: the path of the store or of the page is NULL");
    report r;
    msx__buffer b;
    msx__buffer_init(&b, ctx);
    msx_status status = report_load(&r, ctx, store_path);
    if (status == MSX_OK) {
        report_page(&b, &r);
        status = b.failed ? msx_ctx_error_status(ctx)
                          : msx__write_whole(ctx, html_path, b.data, b.length);
    }
    msx__buffer_free(&b);
    report_free(&r);
    return status;
}
