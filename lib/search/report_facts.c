/* SPDX-License-Identifier: Apache-2.0 */
/* The headline with its key figures, the settings of the search, and how to run it again. */
#include "search/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- headline ------------------------------------------------------------------------------------- */

static void tile(msx__buffer *b, const char *class) {
    msx__buffer_printf(b, "<div class=\"tile%s\"><b>", class);
}

static void tile_end(msx__buffer *b, const char *label) {
    msx__buffer_printf(b, "</b><span>%s</span></div>", label);
}

/* The winner's Dice on a split and what it gains over the best input there. */
static void split_tiles(msx__buffer *b, const report *r, const char *split, const char *label,
                        const char *gain_label) {
    const report_result *winner = report_winner_result(r, split, -1);
    const report_result *input = report_best_result(r, "input", split, -1);
    if (!winner) return;
    tile(b, " main");
    report_number(b, winner->dice, 3);
    tile_end(b, label);
    if (!input) return;
    double gain = winner->dice - input->dice;
    msx__buffer_printf(b, "<div class=\"tile %s\"><b>", report_gain_class(gain));
    report_gain(b, gain);
    msx__buffer_printf(b, "</b><span>%s (", gain_label);
    report_escape(b, input->name, 20);
    msx__buffer_text(b, ")</span></div>");
}

static void title(msx__buffer *b, const report *r) {
    msx__buffer_text(b, "Merging ");
    for (int64_t i = 0; i < r->n_models && i < 5; i++) {
        if (i) msx__buffer_text(b, i + 1 == r->n_models ? " and " : ", ");
        report_escape(b, r->models[i].name, 24);
    }
    if (r->n_models > 5) msx__buffer_printf(b, " and %" PRId64 " more", r->n_models - 5);
    msx__buffer_text(b, " for ");
    if (r->n_tasks == 1)
        report_escape(b, report_task_name(r, 0), 60);
    else
        msx__buffer_printf(b, "%" PRId64 " tasks", r->n_tasks);
}

static void trials_tile(msx__buffer *b, const report *r) {
    double seconds = 0;
    for (int64_t i = 0; i < r->n_trials; i++)
        if (!isnan(r->trials[i].seconds)) seconds += r->trials[i].seconds;
    tile(b, "");
    report_count(b, r->n_trials - r->n_state[REPORT_RUNNING]);
    msx__buffer_printf(b, "</b><span>trial%s",
                       r->n_trials - r->n_state[REPORT_RUNNING] == 1 ? "" : "s");
    if (seconds > 0) {
        msx__buffer_text(b, " in ");
        report_duration(b, seconds);
        msx__buffer_text(b, " of evaluation");
    }
    msx__buffer_text(b, "</span></div>");
}

/* A store may be looked at while workers write it. */
static void running(msx__buffer *b, const report *r) {
    int64_t n = r->n_state[REPORT_RUNNING];
    if (!n) return;
    msx__buffer_printf(b,
                       "<p class=\"remark\"><b>Not finished.</b> %" PRId64 " trial%s still running "
                       "when this page was written; write it again to see more.</p>",
                       n, n == 1 ? " was" : "s were");
}

void report_headline(msx__buffer *b, const report *r) {
    msx__buffer_text(
        b,
        "<header><p class=\"eyebrow\">medsamix search report \xC2\xB7 research use only</p><h1>");
    title(b, r);
    msx__buffer_text(b, "</h1><div class=\"tiles\">");
    split_tiles(b, r, "test", "mean Dice of the winner on held-out test images",
                "against the best input there");
    if (r->n_done) {
        bool tested = report_winner_result(r, "test", -1) != NULL;
        tile(b, tested ? "" : " main");
        report_number(b, 1 - r->trials[r->ranks[0]].cost, 3);
        tile_end(b, report_outside(r)
                        ? "mean Dice of the winner, as it was told"
                        : "mean Dice of the winner on the calibration images it was chosen by");
    }
    trials_tile(b, r);
    msx__buffer_text(b, "</div>");
    running(b, r);
    msx__buffer_text(b, "</header>");
}

/* ---- settings ---------------------------------------------------------------------------------------- */

/* Keys of the store's meta table that a reader wants to know, in the order of the page. */
static const struct {
    const char *key, *label;
    bool images; /* says how images are looked at */
} facts[] = {
    {"optimizer", "Optimizer", false},
    {"optimizer_options", "Optimizer's options", false},
    {"trials", "Trials asked for", false},
    {"seed", "Seed", false},
    {"methods", "Methods allowed", false},
    {"granularity", "Encoder blocks per group", false},
    {"prompt_granularity", "Prompt rows per group", false},
    {"decoder_granularity", "Decoder rows per group", false},
    {"preset", "Preprocessing", true},
    {"box_preset", "Box prompts", true},
    {"slice_axis", "Slice axis", true},
    {"intensity", "Intensity rule", true},
    {"min_object", "Smallest object (pixels)", true},
    {"unit", "Dice is averaged over", true},
    {"empty", "Rule for empty masks", true},
    {"calibration_images", "Calibration images", true},
    {"calibration_objects", "Calibration objects", true},
};

bool report_outside(const report *r) {
    return !strcmp(report_value(r, "data"), "outside");
}

/* A value, broken at its commas only. */
static void list(msx__buffer *b, const char *value) {
    char word[80];
    for (int n = 0; *value && n < 64; n++) {
        size_t length = strcspn(value, ",");
        snprintf(word, sizeof word, "%.*s", (int)(length < 79 ? length : 79), value);
        report_escape(b, word, 0);
        value += length + (value[length] == ',');
        if (*value) msx__buffer_text(b, ", ");
    }
}

static void model_table(msx__buffer *b, const report *r) {
    msx__buffer_text(b, "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Models\">"
                        "<table><thead><tr><th scope=\"col\">Model</th><th scope=\"col\">File"
                        "</th><th scope=\"col\">SHA-256</th></tr></thead><tbody>");
    for (int64_t i = 0; i < r->n_models; i++) {
        msx__buffer_printf(b, "<tr><th scope=\"row\"><i class=\"dot %s\"></i>",
                           report_model_class(i));
        report_escape(b, r->models[i].name, 40);
        msx__buffer_text(b, "</th><td class=\"path\">");
        report_escape(b, r->models[i].path, 200);
        msx__buffer_text(b, "</td><td class=\"hash\">");
        report_escape(b, r->models[i].sha256, 64);
        msx__buffer_text(b, "</td></tr>");
    }
    msx__buffer_text(b, "</tbody></table></div>");
}

static void task_table(msx__buffer *b, const report *r) {
    if (r->n_tasks > REPORT_FOLD)
        msx__buffer_printf(b, "<details><summary>%" PRId64 " tasks</summary>", r->n_tasks);
    msx__buffer_text(b, "<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"Tasks\">"
                        "<table><thead><tr><th scope=\"col\">Task</th><th scope=\"col\">Data set"
                        "</th><th scope=\"col\">Label</th></tr></thead><tbody>");
    for (int64_t i = 0; i < r->n_tasks; i++) {
        msx__buffer_text(b, "<tr><th scope=\"row\">");
        report_escape(b, r->tasks[i].name, 60);
        msx__buffer_text(b, "</th><td class=\"path\">");
        report_escape(b, r->tasks[i].dataset, 200);
        msx__buffer_text(b, "</td><td>");
        report_escape(b, r->tasks[i].label, 60);
        msx__buffer_text(b, "</td></tr>");
    }
    msx__buffer_text(b, "</tbody></table></div>");
    if (r->n_tasks > REPORT_FOLD) msx__buffer_text(b, "</details>");
}

void report_settings(msx__buffer *b, const report *r) {
    msx__buffer_text(b, "<dl class=\"facts\">");
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
        const char *value = report_value(r, facts[i].key);
        if (!*value || (facts[i].images && report_outside(r))) continue;
        msx__buffer_printf(b, "<div><dt>%s</dt><dd>", facts[i].label);
        list(b, value);
        msx__buffer_text(b, "</dd></div>");
    }
    msx__buffer_text(b, "</dl>");
    model_table(b, r);
    task_table(b, r);
    msx__buffer_printf(
        b, "<p class=\"remark\"><b>What these scores say.</b> %s</p>",
        report_outside(r)
            ? "They were told by a program of the user's (medsamix tell); what it looked at and what "
              "its scores mean is for that program to say."
            : "Boxes come from the reference: every score answers how well a structure is filled once "
              "someone has drawn a box round it. Slices without it are never predicted, so false alarms "
              "there do not count.");
}

/* ---- again ------------------------------------------------------------------------------------------- */

/* Meta keys that are options of the program, by option name; "auto" is what no option means. */
static const struct {
    const char *key, *option;
    bool images;
} options[] = {
    {"trials", "--trials", false},
    {"seed", "--seed", false},
    {"optimizer", "--optimizer", false},
    {"methods", "--methods", false},
    {"granularity", "--granularity", false},
    {"prompt_granularity", "--prompt-granularity", false},
    {"decoder_granularity", "--decoder-granularity", false},
    {"preset", "--preset", true},
    {"intensity", "--intensity", true},
    {"box_preset", "--box-preset", true},
    {"slice_axis", "--slice-axis", true},
    {"min_object", "--min-object", true},
    {"unit", "--unit", true},
    {"empty", "--empty", true},
    {"order", "--order", false},
    {"batch", "--batch", false},
};

static void line(msx__buffer *b, const char *option, const char *value) {
    msx__buffer_printf(b, " \\\n  %s ", option);
    report_shell_word(b, value);
}

/* "trees=20,ratio=0.5": options of the optimizer, which the program calls smac.trees and so on. */
static void driver_options(msx__buffer *b, const report *r) {
    const char *text = report_value(r, "optimizer_options");
    char word[160];
    while (*text) {
        size_t length = strcspn(text, ",");
        snprintf(word, sizeof word, "%.40s.%.*s", report_value(r, "optimizer"),
                 (int)(length < 100 ? length : 100), text);
        line(b, "--set", word);
        text += length + (text[length] == ',');
    }
}

static bool seen_before(const report *r, int64_t i) {
    for (int64_t k = 0; k < i; k++)
        if (!strcmp(r->tasks[k].dataset, r->tasks[i].dataset)) return true;
    return false;
}

static void command(msx__buffer *b, const report *r) {
    const char *slash = strstr(r->path, "://") ? NULL : strrchr(r->path, '/');
    bool outside = report_outside(r);
    msx__buffer_printf(b, "<pre><code>medsamix %s", outside ? "ask" : "search");
    for (int64_t i = 0; i < r->n_models; i++) {
        msx__buffer_text(b, i ? " \\\n  --model " : " \\\n  --base ");
        if (i) {
            report_shell_word(b, r->models[i].name);
            msx__buffer_text(b, "=");
        }
        report_shell_word(b, r->models[i].path);
    }
    for (int64_t i = 0; !outside && i < r->n_tasks; i++)
        if (!seen_before(r, i)) line(b, "--dataset", r->tasks[i].dataset);
    for (int64_t i = 0; i < r->n_tasks; i++) line(b, "--task", report_task_name(r, i));
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const char *value = report_value(r, options[i].key);
        if (*value && strcmp(value, "auto") != 0 && !(options[i].images && outside))
            line(b, options[i].option, value);
    }
    driver_options(b, r);
    line(b, "--store", slash ? slash + 1 : r->path);
    msx__buffer_text(b, " \\\n  -o merged.pth --plan-out plan.yaml</code></pre>");
}

void report_reproduce(msx__buffer *b, const report *r) {
    msx__buffer_text(b, "<p class=\"lead\">The same files, seed and version give the same trials; "
                        "with the same store, a search goes on where it stopped.");
    msx__buffer_text(
        b, report_outside(r) ? "</p>" : " Data sets stand here by name: give their folders.</p>");
    command(b, r);
    msx__buffer_text(b, "<dl class=\"facts\">");
    if (*report_value(r, "version")) {
        msx__buffer_text(b, "<div><dt>Searched with</dt><dd>medsamix ");
        report_escape(b, report_value(r, "version"), 40);
        msx__buffer_text(b, "</dd></div>");
    }
    msx__buffer_printf(b, "<div><dt>Page written by</dt><dd>medsamix %s</dd></div>",
                       msx_version_string());
    static const char *const digests[][2] = {{"identity", "Identity of the search"},
                                             {"data", "Digest of the calibration data"}};
    for (size_t i = 0; i < sizeof digests / sizeof *digests; i++) {
        const char *value = report_value(r, digests[i][0]);
        if (!*value || !strcmp(value, "outside")) continue;
        msx__buffer_printf(b, "<div class=\"long\"><dt>%s</dt><dd class=\"hash\">", digests[i][1]);
        report_escape(b, value, 200);
        msx__buffer_text(b, "</dd></div>");
    }
    msx__buffer_text(b, "</dl>");
}
