/* SPDX-License-Identifier: Apache-2.0 */
/* The report page: what is on it, what a hostile store cannot do to it, what is refused. The stores
 * are made by tests/fuzz/make_corpus_report.py. */
#include "search/report.h"
#include "support/support.h"

#include "core/file.h"

#include <math.h>
#include <medsamix/search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *store_path(const char *name) {
    char file[256];
    snprintf(file, sizeof file, "fuzz/corpus/report/%s.db", name);
    return test_path(file);
}

/* The page of a store, released with free. */
static char *page_of(const char *name) {
    const char *folder = test_make_folder();
    char path[128], *text;
    size_t n;
    snprintf(path, sizeof path, "%s/page.html", folder);
    msx_ctx *ctx = test_ctx();
    test_ok(ctx, msx_report_write(ctx, store_path(name), path));
    test_ok(ctx, msx__read_whole(ctx, path, 1 << 26, &text, &n));
    char *copy = strdup(text);
    ck_assert_uint_eq(strlen(copy), n);
    msx__free(ctx, text);
    msx_ctx_free(ctx);
    test_remove_folder(folder);
    return copy;
}

static int count(const char *text, const char *word) {
    int n = 0;
    for (; (text = strstr(text, word)); text += strlen(word)) n++;
    return n;
}

static void has(const char *page, const char *text) {
    ck_assert_msg(strstr(page, text) != NULL, "the page lacks '%s'", text);
}

static void lacks(const char *page, const char *text) {
    const char *at = strstr(page, text);
    ck_assert_msg(at == NULL, "the page has '%.60s'", at ? at : "");
}

static const char *const valid[] = {"valid_one_task",         "valid_two_tasks",
                                    "valid_three_tasks",      "valid_five_tasks",
                                    "valid_no_trials",        "valid_failed_trials_only",
                                    "valid_not_scored_yet",   "valid_hostile_names",
                                    "valid_undefined_scores", "valid_large_trial_number",
                                    "valid_running",          "valid_raced",
                                    "valid_many_trials",      "valid_all_equal",
                                    "valid_no_parameters",    "valid_pauses",
                                    "valid_no_times"};
enum { N_VALID = sizeof valid / sizeof *valid };

/* ---- the page ----------------------------------------------------------------------------------- */

START_TEST(page_says_what_was_found) {
    char *page = page_of("valid_two_tasks");
    has(page, "Merging base, human and macaque for 2 tasks");
    has(page, "How the search went");
    has(page, "The winning merge");
    has(page, "Held-out test images");
    has(page, "Trade-offs between tasks");
    has(page, "The best trials</h2>");
    has(page, "Boxes come from the reference");
    has(page, "Slices without it are never predicted");
    has(page, "research use only");
    has(page, "--seed 7");
    has(page, "--store valid_two_tasks.db");
    has(page, "1,234,567 weights");
    has(page, "left out: all models are bit-equal here");
    has(page, "left out: box prompts never reach these weights");
    has(page, "data:image/png;base64,iVBORw0KGgo");
    has(page, "uniform ties");
    has(page, "1 failed");
    free(page);
}
END_TEST

/* test: winner 0.75 + 0.05 - 0.01 = 0.79 on the mean, best input 0.75 - 0.03 - 0.01 = 0.71 */
START_TEST(headline_compares_with_the_best_input) {
    char *page = page_of("valid_two_tasks");
    has(page, "<b>0.790</b><span>mean Dice of the winner on held-out test images");
    has(page, "<b>+0.080</b><span>against the best input there (human)");
    free(page);
}
END_TEST

START_TEST(sections_follow_what_the_store_holds) {
    char *page = page_of("valid_one_task");
    lacks(page, "Trade-offs");
    has(page, "for structure_0<");
    free(page);
    page = page_of("valid_three_tasks");
    ck_assert_int_eq(count(page, ">Pareto front of two tasks</title>"), 3);
    lacks(page, "Held-out");
    lacks(page, "Pictures");
    free(page);
    page = page_of("valid_five_tasks");
    has(page, "Trials over the tasks");
    free(page);
    page = page_of("valid_no_trials");
    has(page, "no finished trial");
    lacks(page, "The winning merge");
    free(page);
    page = page_of("valid_failed_trials_only");
    has(page, "failed trials only");
    has(page, "disk &lt;full&gt;");
    free(page);
    page = page_of("valid_not_scored_yet");
    lacks(page, "Dice per task");
    has(page, "The winning merge");
    free(page);
}
END_TEST

/* Nothing is fetched, nothing runs: the only addresses are pictures inside the page. */
START_TEST(page_is_complete_in_itself) {
    for (int i = 0; i < N_VALID; i++) {
        char *page = page_of(valid[i]);
        ck_assert_int_eq(count(page, "src="), count(page, "src=\"data:image/png;base64,"));
        lacks(page, "<script");
        lacks(page, "<link");
        lacks(page, "@import");
        lacks(page, "url(");
        lacks(page, "http:");
        lacks(page, "https:");
        lacks(page, "=\"//");
        ck_assert_int_eq(count(page, "href="), count(page, "href=\"#"));
        has(page, "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"");
        free(page);
    }
}
END_TEST

/* Tags open and close like brackets, and no coordinate is NaN. */
START_TEST(markup_is_balanced) {
    for (int i = 0; i < N_VALID; i++) {
        char *page = page_of(valid[i]), names[64][16], *at = page;
        int depth = 0;
        lacks(page, "nan");
        lacks(page, "inf\"");
        while ((at = strchr(at, '<'))) {
            bool closing = at[1] == '/';
            char name[16];
            ck_assert_int_eq(sscanf(at + 1 + closing, "%15[a-z0-9!A-Z]", name), 1);
            char *end = strchr(at, '>');
            ck_assert_ptr_nonnull(end);
            at++;
            if (end[-1] == '/' || !strcmp(name, "meta") || !strcmp(name, "img") || *name == '!')
                continue;
            if (closing) {
                ck_assert_int_gt(depth, 0);
                ck_assert_msg(!strcmp(names[--depth], name), "%s: </%s> closes <%s>: %.80s",
                              valid[i], name, names[depth], at);
            } else {
                ck_assert_int_lt(depth, 64);
                strcpy(names[depth++], name);
            }
        }
        ck_assert_int_eq(depth, 0);
        free(page);
    }
}
END_TEST

/* What is drawn has a name and a description, or is no more than decoration. */
START_TEST(figures_are_described) {
    for (int i = 0; i < N_VALID; i++) {
        char *page = page_of(valid[i]);
        int images = count(page, "role=\"img\" aria-labelledby=\"");
        ck_assert_int_eq(images, count(page, "<desc id=\""));
        ck_assert_int_eq(images + count(page, "aria-hidden=\"true\"><path"), count(page, "<svg "));
        ck_assert_int_eq(count(page, "<th>"), 0);
        ck_assert_int_eq(count(page, "<thead>"), count(page, "<table"));
        /* ids are unique: every link and every label has one target */
        for (char *at = page; (at = strstr(at, " id=\"")); at++) {
            char id[64];
            ck_assert_int_eq(sscanf(at, " id=\"%50[^\"]", id), 1);
            size_t n = strlen(id);
            for (char *other = at + 1; (other = strstr(other, " id=\"")); other++)
                ck_assert_msg(strncmp(other + 5, id, n) != 0 || other[5 + n] != '"', "%s: id %s",
                              valid[i], id);
        }
        free(page);
    }
}
END_TEST

START_TEST(names_cannot_become_markup) {
    char *page = page_of("valid_hostile_names");
    lacks(page, "<script");
    lacks(page, "alert('x')");
    lacks(page, "\xE2\x80\xAE"); /* turns the reading direction round */
    lacks(page, "\x01");
    lacks(page, "\xFE");
    has(page, "&lt;script&gt;");
    has(page, "A\xEF\xBF\xBD\xEF\xBF\xBD"
              "B");
    has(page, "This picture is not a PNG");
    free(page);
}
END_TEST

START_TEST(every_figure_is_there) {
    char *page = page_of("valid_many_trials");
    static const char *const figures[] = {"curve-0",   "effort-0", "network-0",
                                          "front-0",   "groups-0", "interval-calibration-0",
                                          "timeline-0"};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        char text[64];
        snprintf(text, sizeof text, "<svg id=\"%s\"", figures[i]);
        ck_assert_int_eq(count(page, text), 1);
    }
    has(page, "<svg id=\"groups-0\"");
    has(page, "Worth of each method there");
    has(page, "learnt from 39 trials");
    free(page);
    page = page_of("valid_three_tasks");
    has(page, "<svg id=\"parallel-0\"");
    has(page, "too few, or too much alike"); /* 11 trials */
    free(page);
    page = page_of("valid_all_equal");
    has(page, "too few, or too much alike");
    free(page);
    page = page_of("valid_no_times");
    lacks(page, "<svg id=\"timeline-0\"");
    lacks(page, "<svg id=\"effort-0\"");
    free(page);
}
END_TEST

START_TEST(a_running_search_can_be_looked_at) {
    char *page = page_of("valid_running");
    has(page, "1 trial was still running");
    has(page, "<b>3</b><span>trials in");
    has(page, "running (1)");
    free(page);
    page = page_of("valid_raced");
    has(page, "stopped early (1)");
    free(page);
}
END_TEST

START_TEST(scores_that_were_told_are_not_called_ours) {
    char *page = page_of("valid_outside");
    has(page, "medsamix ask");
    has(page, "--task structure_1");
    has(page, "told by a program of the user");
    has(page, "<b>6</b><span>trials</span>");
    lacks(page, "--dataset");
    lacks(page, "--box-preset");
    lacks(page, "Box prompts");
    lacks(page, "calibration images");
    free(page);
}
END_TEST

/* Of three workers, ten trials and then a day without any; ten workers of one trial each at the end */
START_TEST(pauses_are_cut_out_of_the_timeline) {
    char *page = page_of("valid_pauses");
    ck_assert_int_eq(count(page, "pause 25 h"), 1);
    has(page, "seconds of searching");
    has(page, "13 workers ran 30 trials");
    free(page);
}
END_TEST

START_TEST(same_store_gives_same_bytes) {
    char *a = page_of("valid_two_tasks"), *b = page_of("valid_two_tasks");
    ck_assert_str_eq(a, b);
    free(a);
    free(b);
}
END_TEST

/* ---- what it is made of -------------------------------------------------------------------------- */

START_TEST(trials_are_ranked_and_the_front_is_marked) {
    msx_ctx *ctx = test_ctx();
    report r;
    test_ok(ctx, report_load(&r, ctx, store_path("valid_two_tasks")));
    ck_assert_int_eq(r.n_trials, 12);
    ck_assert_int_eq(r.n_done, 10); /* one failed, one stopped early */
    ck_assert_int_eq(r.n_plans, 10);
    for (int64_t i = 1; i < r.n_done; i++)
        ck_assert(r.trials[r.ranks[i - 1]].cost <= r.trials[r.ranks[i]].cost);
    int64_t front = 0;
    for (int64_t i = 0; i < r.n_done; i++) {
        const report_trial *t = &r.trials[r.ranks[i]];
        bool dominated = false;
        for (int64_t k = 0; k < r.n_done; k++) {
            const double *u = r.trials[r.ranks[k]].costs;
            dominated |= u[0] <= t->costs[0] && u[1] <= t->costs[1] &&
                         (u[0] < t->costs[0] || u[1] < t->costs[1]);
        }
        ck_assert(t->front == !dominated);
        front += t->front;
    }
    ck_assert_int_eq(front, r.n_front);
    /* inputs in the order of the models, uniform merges, winner */
    ck_assert_int_eq(r.n_contestants, 7);
    ck_assert_str_eq(r.contestants[2].name, "macaque");
    ck_assert_str_eq(r.contestants[3].name, "linear");
    ck_assert_str_eq(r.contestants[5].kind, "winner");
    ck_assert(r.contestants[5].winner && !r.contestants[6].winner);
    char name[32];
    snprintf(name, sizeof name, "trial %" PRId64, r.trials[r.ranks[0]].number);
    ck_assert_str_eq(r.contestants[5].name, name);
    report_free(&r);
    msx_ctx_free(ctx);
}
END_TEST

/* In these stores only the method of decoder.0 matters, and there ties is worth 0.06 of cost. */
START_TEST(forest_finds_the_group_that_matters) {
    msx_ctx *ctx = test_ctx();
    report r;
    test_ok(ctx, report_load(&r, ctx, store_path("valid_many_trials")));
    ck_assert_int_eq(r.n_sampled, 39);
    ck_assert_int_eq(r.worth.n_trials, 39);
    ck_assert_int_eq(r.worth.n_methods, 4);
    ck_assert_str_eq(r.worth.methods[2], "ties");
    double sum = 0;
    for (int64_t g = 0; g < r.n_groups; g++) {
        const report_group_worth *w = &r.worth.groups[g];
        bool searched = !strcmp(r.groups[g].state, "searched");
        ck_assert(searched == !isnan(w->share));
        if (!searched) continue;
        ck_assert(w->alone >= 0 && w->alone <= w->share);
        sum += w->share;
        if (!strcmp(r.groups[g].name, "decoder.0")) {
            const report_method_worth *m = &r.worth.methods_worth[g * 4];
            ck_assert_double_gt(w->share, 0.6);
            ck_assert_double_gt(m[2].dice, 0.015);
            for (int k = 0; k < 4; k++)
                if (k != 2) ck_assert_double_lt(m[k].dice, 0);
            ck_assert_int_eq(m[0].trials + m[1].trials + m[2].trials + m[3].trials, 39);
        }
    }
    ck_assert_double_eq_tol(sum, 1, 1e-9);
    report_free(&r);
    msx_ctx_free(ctx);
}
END_TEST

/* All of valid_one_task's 12 trials times 31 images times 12 blocks. Trial 7 stopped after 12 images;
 * half the blocks came from the cache in trials 2, 5, 8 and 11, all of them in 4 and 9. */
START_TEST(savings_are_counted) {
    char *page = page_of("valid_one_task");
    int all = 12 * 31 * 12, made = 5 * 31 * 12 + 12 * 12 + 4 * 31 * 6;
    char text[96];
    snprintf(text, sizeof text, "<td class=\"num\">%d,%03d</td><td class=\"num\">%d,%03d</td>",
             all / 1000, all % 1000, made / 1000, made % 1000);
    has(page, text);
    has(page, "1 of 12 trials were stopped early, on average after 39\xC2\xA0% of the images");
    has(page, "<td class=\"num\">7</td><td class=\"num\">5</td>"); /* groups */
    free(page);
}
END_TEST

START_TEST(thinning_keeps_every_kind) {
    int64_t even = 0, odd = 0;
    for (int64_t i = 0; i < 10000; i++) {
        ck_assert(report_drawn(i, 1));
        if (report_drawn(i, 10)) *(i % 2 ? &odd : &even) += 1;
    }
    ck_assert_int_gt(even, 400);
    ck_assert_int_gt(odd, 400);
    ck_assert_int_lt(even + odd, 1200);
}
END_TEST

static char *text_of(msx_ctx *ctx, void (*write)(msx__buffer *, double), double value) {
    msx__buffer b;
    msx__buffer_init(&b, ctx);
    write(&b, value);
    char *copy = strdup(b.data);
    msx__buffer_free(&b);
    return copy;
}
static void three(msx__buffer *b, double v) {
    report_number(b, v, 3);
}
static void coordinate(msx__buffer *b, double v) {
    report_xy(b, "", v);
}

START_TEST(numbers_are_written_exactly) {
    static const struct {
        void (*write)(msx__buffer *, double);
        double value;
        const char *text;
    } cases[] = {
        {three, 0.0625, "0.063"},
        {three, 0.9996, "1.000"},
        {three, -0.0004, "0.000"},
        {three, -0.25,
         "\xE2\x88\x92"
         "0.250"},
        {three, NAN, "\xE2\x80\x93"},
        {three, 1e300, "\xE2\x80\x93"},
        {coordinate, 12, "12"},
        {coordinate, -0.26, "-0.3"},
        {coordinate, 99.96, "100"},
        {report_duration, 3.14159, "3.14 s"},
        {report_duration, 59.9, "1 min 00 s"},
        {report_duration, 3725, "1 h 02 min"},
        {report_duration, 190000, "2 d 4 h"},
        {report_duration, NAN, "\xE2\x80\x93"},
    };
    msx_ctx *ctx = test_ctx();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = text_of(ctx, cases[i].write, cases[i].value);
        ck_assert_str_eq(text, cases[i].text);
        free(text);
    }
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(axes_are_tidy) {
    report_axis a = report_axis_make(0.713, 0.828, 0.02, 1, 5, 0, 100);
    ck_assert_double_eq_tol(a.step, 0.05, 1e-12);
    ck_assert_double_eq_tol(a.lo, 0.7, 1e-12);
    ck_assert_double_eq_tol(a.hi, 0.85, 1e-12);
    ck_assert_double_eq_tol(report_axis_at(&a, 0.775), 50, 1e-9);
    ck_assert(report_axis_at(&a, 5) == 100);
    a = report_axis_make(1, 1, 0.02, 1, 5, 0, 100);
    ck_assert(a.lo < a.hi && a.hi <= 1);
    a = report_axis_make(0, 0, 10, INFINITY, 10, 0, 100);
    ck_assert(a.lo == 0 && a.hi >= 10);
}
END_TEST

START_TEST(shell_words_are_quoted) {
    static const char *const cases[][2] = {
        {"a/b-1.pth", "a/b-1.pth"},
        {"", "&#39;&#39;"},
        {"a b", "&#39;a b&#39;"},
        {"$(x)", "&#39;$(x)&#39;"},
        {"it's", "&#39;it&#39;\\&#39;&#39;s&#39;"},
    };
    msx_ctx *ctx = test_ctx();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        msx__buffer b;
        msx__buffer_init(&b, ctx);
        report_shell_word(&b, cases[i][0]);
        ck_assert_str_eq(b.data, cases[i][1]);
        msx__buffer_free(&b);
    }
    msx_ctx_free(ctx);
}
END_TEST

/* ---- refusing -------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    msx_status status;
    const char *text;
} rejects[] = {
    {"column_missing", MSX_E_FORMAT, "no such column"},
    {"cost_missing", MSX_E_FORMAT, "trial 1 has no cost of task 0"},
    {"cost_range", MSX_E_FORMAT, "column cost: is not within"},
    {"empty_file", MSX_E_FORMAT, "not an SQLite file"},
    {"group_elements", MSX_E_FORMAT, "column elements: is negative"},
    {"group_elements_is_text", MSX_E_FORMAT, "is not an integer"},
    {"group_index", MSX_E_FORMAT, "table groups, row 6, column idx"},
    {"group_state", MSX_E_FORMAT, "is not searched, equal or unreached"},
    {"header_only", MSX_E_FORMAT, "malformed"},
    {"model_index", MSX_E_FORMAT, "table models, row 2"},
    {"model_name_is_blob", MSX_E_FORMAT, "is not text"},
    {"model_name_is_null", MSX_E_FORMAT, "is not text"},
    {"no_table_costs", MSX_E_FORMAT, "no table 'costs'"},
    {"no_table_groups", MSX_E_FORMAT, "no table 'groups'"},
    {"no_table_meta", MSX_E_FORMAT, "no table 'meta'"},
    {"no_table_models", MSX_E_FORMAT, "no table 'models'"},
    {"no_table_parameters", MSX_E_FORMAT, "no table 'parameters'"},
    {"no_table_pictures", MSX_E_FORMAT, "no table 'pictures'"},
    {"no_table_results", MSX_E_FORMAT, "no table 'results'"},
    {"no_table_tasks", MSX_E_FORMAT, "no table 'tasks'"},
    {"no_table_trials", MSX_E_FORMAT, "no table 'trials'"},
    {"not_sqlite", MSX_E_FORMAT, "not an SQLite file"},
    {"parameter_bounds", MSX_E_FORMAT, "row 1, column upper: is below"},
    {"parameter_choices", MSX_E_FORMAT, "do not fit the bounds"},
    {"parameter_index", MSX_E_FORMAT, "table parameters, row 2"},
    {"parameter_kind", MSX_E_FORMAT, "is not float, int or categorical"},
    {"picture_is_text", MSX_E_FORMAT, "is not a blob"},
    {"picture_split", MSX_E_FORMAT, "is not calibration or test"},
    {"plan_is_not_yaml", MSX_E_FORMAT, "plan of trial 1"},
    {"plan_is_null", MSX_E_FORMAT, "column plan: is not text"},
    {"plan_method", MSX_E_FORMAT, "did you mean 'slerp'"},
    {"result_dice", MSX_E_FORMAT, "not within 0..1"},
    {"result_kind", MSX_E_FORMAT, "is not input, uniform or winner"},
    {"result_split", MSX_E_FORMAT, "is not calibration or test"},
    {"result_task", MSX_E_FORMAT, "is no task of this store"},
    {"result_used", MSX_E_FORMAT, "is negative"},
    {"schema_1", MSX_E_UNSUPPORTED, "schema '1'"},
    {"schema_3", MSX_E_UNSUPPORTED, "schema '3'"},
    {"schema_missing", MSX_E_FORMAT, "has no 'schema'"},
    {"task_index", MSX_E_FORMAT, "table tasks, row 0"},
    {"text_too_long", MSX_E_LIMIT, "text of 80000 bytes"},
    {"too_many_models", MSX_E_LIMIT, "more than 65 rows"},
    {"trial_blocks", MSX_E_FORMAT, "column blocks_run: is impossibly large"},
    {"trial_blocks_are_real", MSX_E_FORMAT, "column blocks_reused: is not an integer"},
    {"trial_cost_infinite", MSX_E_FORMAT, "is not finite"},
    {"trial_cost_is_text", MSX_E_FORMAT, "is not a number"},
    {"trial_cost_missing", MSX_E_FORMAT, "of a finished trial"},
    {"trial_cost_range", MSX_E_FORMAT, "of a finished trial"},
    {"trial_ends_first", MSX_E_FORMAT, "column finished: is before"},
    {"trial_images", MSX_E_FORMAT, "column images: is negative"},
    {"trial_number", MSX_E_FORMAT, "column number: is negative"},
    {"trial_seconds", MSX_E_FORMAT, "column seconds: is negative"},
    {"trial_state", MSX_E_FORMAT, "is not running, done, raced or failed"},
    {"trial_x_choice", MSX_E_FORMAT, "trial 0, column x: value 0 is outside"},
    {"trial_x_is_short", MSX_E_FORMAT, "8 bytes for each parameter"},
    {"trial_x_is_text", MSX_E_FORMAT, "8 bytes for each parameter"},
    {"trial_x_range", MSX_E_FORMAT, "trial 0, column x: value 1 is outside"},
    {"truncated", MSX_E_FORMAT, "malformed"},
    {"view", MSX_E_FORMAT, "no table 'pictures'"},
};

START_TEST(bad_stores_are_refused_and_nothing_is_written) {
    const char *folder = test_make_folder();
    char page[128], name[128];
    snprintf(page, sizeof page, "%s/page.html", folder);
    for (size_t i = 0; i < sizeof rejects / sizeof *rejects; i++) {
        msx_ctx *ctx = test_ctx();
        snprintf(name, sizeof name, "reject_%s", rejects[i].name);
        const char *path = store_path(name);
        test_fails(ctx, msx_report_write(ctx, path, page), rejects[i].status, rejects[i].text);
        ck_assert_ptr_nonnull(strstr(msx_ctx_error(ctx), path));
        ck_assert_int_ne(access(page, F_OK), 0);
        msx_ctx_free(ctx);
    }
    test_remove_folder(folder);
}
END_TEST

START_TEST(arguments_and_paths_are_checked) {
    msx_ctx *ctx = test_ctx();
    const char *store = store_path("valid_one_task");
    ck_assert_int_eq(msx_report_write(NULL, store, "x"), MSX_E_ARG);
    test_fails(ctx, msx_report_write(ctx, NULL, "x"), MSX_E_ARG, "NULL");
    test_fails(ctx, msx_report_write(ctx, store, NULL), MSX_E_ARG, "NULL");
    test_fails(ctx, msx_report_write(ctx, "/nonexistent.db", "x"), MSX_E_IO, "/nonexistent.db");
    test_fails(ctx, msx_report_write(ctx, "tests", "x"), MSX_E_IO, "tests");
    test_fails(ctx, msx_report_write(ctx, store, "/nonexistent/x"), MSX_E_IO, "/nonexistent/x");
    msx_ctx_free(ctx);
}
END_TEST

START_TEST(memory_failures_are_returned) {
    const char *folder = test_make_folder();
    char page[128];
    snprintf(page, sizeof page, "%s/page.html", folder);
    msx_status status = MSX_E_NOMEM;
    /* Most allocations are small texts: every seventh one fails in turn. */
    for (int64_t i = 0; status == MSX_E_NOMEM && i < 20000; i += 7) {
        test_allocator a;
        test_allocator_init(&a, i, true);
        msx_ctx *ctx;
        if (msx_ctx_create(&ctx, &a.table) < 0) continue;
        status = msx_report_write(ctx, store_path("valid_many_trials"), page);
        ck_assert_msg(status == MSX_OK || status == MSX_E_NOMEM, "%s", msx_ctx_error(ctx));
        ck_assert_int_eq(access(page, F_OK) == 0, status == MSX_OK);
        msx_ctx_free(ctx);
        ck_assert_int_eq(a.live, 0);
    }
    ck_assert_int_eq(status, MSX_OK);
    test_remove_folder(folder);
}
END_TEST

int main(void) {
    Suite *s = suite_create("report");
    TCase *t = tcase_create("report");
    tcase_set_timeout(t, 120);
    suite_add_tcase(s, t);
    tcase_add_test(t, page_says_what_was_found);
    tcase_add_test(t, headline_compares_with_the_best_input);
    tcase_add_test(t, sections_follow_what_the_store_holds);
    tcase_add_test(t, page_is_complete_in_itself);
    tcase_add_test(t, markup_is_balanced);
    tcase_add_test(t, figures_are_described);
    tcase_add_test(t, names_cannot_become_markup);
    tcase_add_test(t, every_figure_is_there);
    tcase_add_test(t, a_running_search_can_be_looked_at);
    tcase_add_test(t, scores_that_were_told_are_not_called_ours);
    tcase_add_test(t, pauses_are_cut_out_of_the_timeline);
    tcase_add_test(t, same_store_gives_same_bytes);
    tcase_add_test(t, trials_are_ranked_and_the_front_is_marked);
    tcase_add_test(t, forest_finds_the_group_that_matters);
    tcase_add_test(t, savings_are_counted);
    tcase_add_test(t, thinning_keeps_every_kind);
    tcase_add_test(t, numbers_are_written_exactly);
    tcase_add_test(t, axes_are_tidy);
    tcase_add_test(t, shell_words_are_quoted);
    tcase_add_test(t, bad_stores_are_refused_and_nothing_is_written);
    tcase_add_test(t, arguments_and_paths_are_checked);
    tcase_add_test(t, memory_failures_are_returned);
    return test_run(s);
}
