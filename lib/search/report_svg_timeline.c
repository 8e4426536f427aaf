/* SPDX-License-Identifier: Apache-2.0 */
/* Figure: which worker ran which trial when. Time in which nobody worked is cut out: a search may be
 * continued days later. */
#include "search/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 980, LEFT = 190, RIGHT = 16, TOP = 22, ROW = 26, BAR = 14, BOTTOM = 44 };
enum { MOST_ROWS = 24, MOST_BREAKS = 16, BREAK = 16, MOST_TITLES = 600 };
#define SHORTEST_BREAK 30.0 /* seconds */
#define BREAK_SHARE    0.05 /* of the time worked */

typedef struct interval {
    double begin, end;
    const report_trial *trial;
    int64_t worker; /* row; -1: not drawn */
} interval;

typedef struct worker {
    const char *name;
    double first, busy, until;
    int64_t trials, states[REPORT_STATES];
} worker;

typedef struct pause {
    double at, length; /* seconds of work before it; how long */
} pause;

typedef struct timeline {
    const report *r;
    interval *intervals; /* by begin */
    int64_t n;
    worker *workers; /* by busy time, the longest first; those drawn then by first trial */
    int64_t n_workers, n_rows;
    pause pauses[MOST_BREAKS];
    int n_pauses;
    double worked; /* seconds in which somebody worked or a short pause was */
    double scale;  /* units a second */
} timeline;

/* ---- workers ----------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b) {
    const interval *x = a, *y = b;
    int order = strcmp(x->trial->worker, y->trial->worker);
    return order ? order : (x->begin > y->begin) - (x->begin < y->begin);
}

static int by_begin(const void *a, const void *b) {
    const interval *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->trial->number > y->trial->number) - (x->trial->number < y->trial->number);
}

static int by_busy(const void *a, const void *b) {
    const worker *x = a, *y = b;
    if (x->busy != y->busy) return x->busy > y->busy ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int by_first(const void *a, const void *b) {
    const worker *x = a, *y = b;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int64_t row_of(const timeline *t, const char *name) {
    int64_t i = 0;
    while (i < t->n_rows && strcmp(t->workers[i].name, name) != 0) i++;
    return i < t->n_rows ? i : -1;
}

static bool find_workers(timeline *t) {
    t->workers = msx__calloc(t->r->ctx, (size_t)t->n, sizeof *t->workers);
    if (!t->workers) return false;
    if (t->n) qsort(t->intervals, (size_t)t->n, sizeof *t->intervals, by_name);
    for (int64_t i = 0; i < t->n; i++) {
        const interval *v = &t->intervals[i];
        if (!i || strcmp(v->trial->worker, v[-1].trial->worker) != 0)
            t->workers[t->n_workers++] = (worker){.name = v->trial->worker, .first = v->begin};
        worker *w = &t->workers[t->n_workers - 1];
        w->busy += fmax(0, v->end - fmax(w->until, v->begin)); /* one may have several at once */
        w->until = fmax(w->until, v->end);
        w->trials++;
        w->states[v->trial->state]++;
    }
    t->n_rows = t->n_workers < MOST_ROWS ? t->n_workers : MOST_ROWS;
    if (t->n) {
        qsort(t->workers, (size_t)t->n_workers, sizeof *t->workers, by_busy);
        qsort(t->workers, (size_t)t->n_rows, sizeof *t->workers, by_first);
        qsort(t->intervals, (size_t)t->n, sizeof *t->intervals, by_begin);
    }
    for (int64_t i = 0; i < t->n; i++)
        t->intervals[i].worker = row_of(t, t->intervals[i].trial->worker);
    return true;
}

/* ---- time ---------------------------------------------------------------------------------------- */

/* Trials with a known beginning; running ones last until the latest time the store knows of. */
static bool find_intervals(timeline *t) {
    const report *r = t->r;
    double latest = 0;
    t->intervals = msx__alloc(r->ctx, (size_t)r->n_trials, sizeof *t->intervals);
    if (!t->intervals) return false;
    for (int64_t i = 0; i < r->n_trials; i++)
        latest = fmax(latest, fmax(r->trials[i].finished, r->trials[i].started));
    for (int64_t i = 0; i < r->n_trials; i++) {
        const report_trial *trial = &r->trials[i];
        bool running = trial->state == REPORT_RUNNING;
        double end = running ? latest : trial->finished;
        if (isnan(trial->started) || isnan(end)) continue;
        t->intervals[t->n++] = (interval){trial->started, end, trial, -1};
    }
    return true;
}

/* The longest pauses, in the order of time. */
static void keep_pause(timeline *t, pause p) {
    int least = 0;
    if (t->n_pauses < MOST_BREAKS) {
        t->pauses[t->n_pauses++] = p;
        return;
    }
    for (int i = 1; i < t->n_pauses; i++)
        if (t->pauses[i].length < t->pauses[least].length) least = i;
    if (t->pauses[least].length >= p.length) return;
    memmove(&t->pauses[least], &t->pauses[least + 1],
            (size_t)(t->n_pauses - 1 - least) * sizeof *t->pauses);
    t->pauses[t->n_pauses - 1] = p;
}

static double covered(const timeline *t) {
    double end = -INFINITY, sum = 0;
    for (int64_t i = 0; i < t->n; i++) {
        sum += fmax(0, t->intervals[i].end - fmax(end, t->intervals[i].begin));
        end = fmax(end, t->intervals[i].end);
    }
    return sum;
}

/* Find the pauses, and move all intervals to the time that is left without them. */
static void cut_pauses(timeline *t) {
    double least = fmax(SHORTEST_BREAK, BREAK_SHARE * covered(t));
    double end = t->n ? t->intervals[0].begin : 0, start = end;
    for (int64_t i = 0; i < t->n; i++) {
        double gap = t->intervals[i].begin - end;
        if (gap >= least) keep_pause(t, (pause){end, gap});
        end = fmax(end, t->intervals[i].end);
    }
    double cut = 0;
    for (int64_t i = 0, p = 0; i < t->n; i++) {
        interval *v = &t->intervals[i];
        while (p < t->n_pauses && v->begin >= t->pauses[p].at + t->pauses[p].length)
            cut += t->pauses[p++].length;
        v->begin -= start + cut;
        v->end -= start + cut;
        t->worked = fmax(t->worked, v->end);
    }
    cut = start;
    for (int p = 0; p < t->n_pauses; p++) {
        t->pauses[p].at -= cut;
        cut += t->pauses[p].length;
    }
    t->scale = (WIDTH - LEFT - RIGHT - BREAK * t->n_pauses) / fmax(t->worked, 1e-3);
}

/* Where a time is drawn. What begins at a pause stands behind it, what ends there before it. */
static double at(const timeline *t, double time, bool behind) {
    int before = 0;
    while (before < t->n_pauses &&
           (behind ? t->pauses[before].at <= time + 1e-9 : t->pauses[before].at < time - 1e-9))
        before++;
    return LEFT + time * t->scale + BREAK * before;
}

/* ---- drawing ------------------------------------------------------------------------------------- */

/* Height says the state as well as colour does. */
static const struct {
    const char *class, *text;
    double height;
} looks[REPORT_STATES] = {[REPORT_RUNNING] = {"t-running", "running", BAR},
                          [REPORT_DONE] = {"t-done", "finished", BAR},
                          [REPORT_RACED] = {"t-raced", "stopped early", BAR / 2.0},
                          [REPORT_FAILED] = {"t-failed", "failed", BAR + 6}};

static void bar_title(msx__buffer *b, const report_trial *t) {
    msx__buffer_printf(b, "<title>trial %" PRId64 " (", t->number);
    report_escape(b, t->origin, 20);
    msx__buffer_printf(b, "), %s", looks[t->state].text);
    if (t->attempt > 1) msx__buffer_printf(b, ", attempt %" PRId64, t->attempt);
    if (!isnan(t->cost)) {
        msx__buffer_text(b, ", Dice ");
        report_number(b, 1 - t->cost, 4);
    }
    if (!isnan(t->seconds)) {
        msx__buffer_text(b, ", ");
        report_duration(b, t->seconds);
    }
    msx__buffer_text(b, "</title>");
}

static void box_path(msx__buffer *b, double x0, double x1, double y, double height) {
    report_xy(b, "M", x0);
    report_xy(b, " ", y - height / 2);
    report_xy(b, "H", x1);
    report_xy(b, "V", y + height / 2);
    report_xy(b, "H", x0);
    msx__buffer_text(b, "Z");
}

/* The bars of one worker in one state. With many trials, neighbours that are thinner than a line
 * become one bar, so that the page stays small. */
static void bars(msx__buffer *b, const timeline *t, int64_t row, report_state state) {
    bool titles = t->n <= MOST_TITLES, open = false;
    double y = TOP + ((double)row + 0.5) * ROW, from = 0, to = 0;
    for (int64_t i = 0; i < t->n; i++) {
        const interval *v = &t->intervals[i];
        if (v->worker != row || v->trial->state != state) continue;
        double x0 = at(t, v->begin, true), x1 = at(t, v->end, false);
        x1 = fmax(x1 - (x1 - x0 > 3 ? 1 : 0), x0 + 0.8);
        if (titles) {
            msx__buffer_printf(b, "<path class=\"%s\" d=\"", looks[state].class);
            box_path(b, x0, x1, y, looks[state].height);
            msx__buffer_text(b, "\">");
            bar_title(b, v->trial);
            msx__buffer_text(b, "</path>");
            continue;
        }
        if (open && x0 - to < 1.2) {
            to = fmax(to, x1);
            continue;
        }
        if (open)
            box_path(b, from, to, y, looks[state].height);
        else
            msx__buffer_printf(b, "<path class=\"%s\" d=\"", looks[state].class);
        open = true;
        from = x0;
        to = x1;
    }
    if (!open) return;
    box_path(b, from, to, y, looks[state].height);
    msx__buffer_text(b, "\"/>");
}

static void pause_mark(msx__buffer *b, const timeline *t, const pause *p, double bottom) {
    double x = at(t, p->at, false) + BREAK / 2.0;
    report_line(b, "ref", x, TOP - 4, x, bottom);
    report_label(b, "tick", x > WIDTH - 90 ? "end" : "middle", fmin(x, WIDTH - 4), TOP - 9);
    msx__buffer_text(b, "pause ");
    report_duration(b, p->length);
    msx__buffer_text(b, "</text>");
}

static const struct {
    const char *name;
    double seconds;
} units[] = {{"seconds", 1}, {"minutes", 60}, {"hours", 3600}, {"days", 86400}};

static void time_axis(msx__buffer *b, const timeline *t, double bottom) {
    size_t u = 0;
    while (u + 1 < sizeof units / sizeof *units && t->worked > 3 * units[u + 1].seconds) u++;
    double end = t->worked / units[u].seconds;
    report_axis a = report_axis_make(0, end, 1e-3, INFINITY, 8, 0, 1);
    for (int i = 0; i * a.step <= end * (1 + 1e-9) && i < 100; i++) {
        double x = at(t, i * a.step * units[u].seconds, true);
        report_line(b, "grid", x, TOP, x, bottom + 4);
        report_label(b, "tick", "middle", x, bottom + 18);
        report_number(b, i * a.step, a.decimals);
        msx__buffer_text(b, "</text>");
    }
    report_label(b, "axis", "middle", (LEFT + WIDTH - RIGHT) / 2.0, bottom + 36);
    msx__buffer_printf(b, "%s of searching</text>", units[u].name);
}

static void legend(msx__buffer *b, const report *r) {
    static const report_state order[] = {REPORT_DONE, REPORT_RACED, REPORT_FAILED, REPORT_RUNNING};
    msx__buffer_text(b, "<p class=\"legend\">");
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        if (!r->n_state[order[i]]) continue;
        msx__buffer_printf(b,
                           "<span><svg width=\"14\" height=\"20\" aria-hidden=\"true\"><path "
                           "class=\"%s\" d=\"",
                           looks[order[i]].class);
        box_path(b, 1, 13, 10, looks[order[i]].height);
        msx__buffer_printf(b, "\"/></svg>%s (%" PRId64 ")</span>", looks[order[i]].text,
                           r->n_state[order[i]]);
    }
    msx__buffer_text(b, "</p>");
}

static void draw(msx__buffer *b, const timeline *t) {
    double bottom = TOP + (double)t->n_rows * ROW;
    report_figure(b, "figure", "timeline", 0, WIDTH, bottom + BOTTOM, "Timeline of the workers");
    msx__buffer_printf(b, "%" PRId64 " worker%s ran %" PRId64 " trials in ", t->n_workers,
                       t->n_workers == 1 ? "" : "s", t->n);
    report_duration(b, t->worked);
    msx__buffer_text(b, " of searching; numbers are in the table below the figure.");
    report_figure_body(b);
    time_axis(b, t, bottom);
    for (int p = 0; p < t->n_pauses; p++) pause_mark(b, t, &t->pauses[p], bottom);
    for (int64_t i = 0; i < t->n_rows; i++) {
        report_label_text(b, "axis", "end", LEFT - 12, TOP + ((double)i + 0.5) * ROW + 4,
                          *t->workers[i].name ? t->workers[i].name : "unnamed", 24);
        for (int s = 0; s < REPORT_STATES; s++) bars(b, t, i, (report_state)s);
    }
    report_figure_end(b);
}

static void worker_table(msx__buffer *b, const timeline *t) {
    msx__buffer_text(b,
                     "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Workers\">"
                     "<table class=\"trials\"><thead><tr><th scope=\"col\">Worker</th><th "
                     "scope=\"col\" class=\"num\">Finished</th><th scope=\"col\" class=\"num\">"
                     "Stopped early</th><th scope=\"col\" class=\"num\">Failed</th><th "
                     "scope=\"col\" class=\"num\">Running</th><th scope=\"col\" class=\"num\">"
                     "Busy</th><th scope=\"col\" class=\"num\">of the time</th></tr></thead>"
                     "<tbody>");
    for (int64_t i = 0; i < t->n_rows; i++) {
        const worker *w = &t->workers[i];
        msx__buffer_text(b, "<tr><th scope=\"row\">");
        report_escape(b, *w->name ? w->name : "unnamed", 60);
        msx__buffer_text(b, "</th>");
        static const report_state order[] = {REPORT_DONE, REPORT_RACED, REPORT_FAILED,
                                             REPORT_RUNNING};
        for (size_t s = 0; s < sizeof order / sizeof *order; s++)
            msx__buffer_printf(b, "<td class=\"num\">%" PRId64 "</td>", w->states[order[s]]);
        msx__buffer_text(b, "<td class=\"num\">");
        report_duration(b, w->busy);
        msx__buffer_text(b, "</td><td class=\"num\">");
        report_percent(b, t->worked > 0 ? w->busy / t->worked : NAN);
        msx__buffer_text(b, "</td></tr>");
    }
    msx__buffer_text(b, "</tbody></table></div>");
    int64_t taken_over = 0;
    for (int64_t i = 0; i < t->n; i++) taken_over += t->intervals[i].trial->attempt > 1;
    if (t->n_workers <= t->n_rows && !taken_over) return;
    msx__buffer_text(b, "<p class=\"caption\">");
    if (t->n_workers > t->n_rows)
        msx__buffer_printf(b, "The %" PRId64 " busiest of %" PRId64 " workers. ", t->n_rows,
                           t->n_workers);
    if (taken_over)
        msx__buffer_printf(b, "%" PRId64 " trial%s taken over from a worker that was lost.",
                           taken_over, taken_over == 1 ? " was" : "s were");
    msx__buffer_text(b, "</p>");
}

void report_timeline(msx__buffer *b, const report *r) {
    timeline t = {.r = r};
    if (find_intervals(&t) && find_workers(&t)) {
        cut_pauses(&t);
        legend(b, r);
        draw(b, &t);
        worker_table(b, &t);
    } else {
        b->failed = true;
    }
    msx__free(r->ctx, t.intervals);
    msx__free(r->ctx, t.workers);
}
