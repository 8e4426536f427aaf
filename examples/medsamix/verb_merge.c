/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix merge: merge checkpoints by a plan, or by one method everywhere. */
#include "program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MODELS = 65 };

/* The models, the base first: those of the command line, and those that only the plan has a file for. */
typedef struct models {
    size_t n;
    const char *names[MAX_MODELS],
        *paths[MAX_MODELS]; /* the base's path is NULL where none is given */
} models;

static int add_model(program *p, models *m, const char *name, const char *path) {
    if (m->n == MAX_MODELS)
        return program_usage(p, "more than %d models are given", MAX_MODELS - 1);
    m->names[m->n] = name;
    m->paths[m->n++] = path;
    return PROGRAM_DONE;
}

static int take_models(program *p, models *m) {
    m->names[0] = "base";
    m->paths[0] = option_text(p, "base");
    m->n = 1;
    for (size_t i = 0; i < option_count(p, "model"); i++) {
        const char *name, *path;
        int code = option_pair(p, "model", i, &name, &path);
        if (!code && !name)
            code = program_usage(p, "--model: '%s' has no name; write NAME=FILE", path);
        if (!code) code = add_model(p, m, name, path);
        if (code) return code;
    }
    return PROGRAM_DONE;
}

static bool is_given(const models *m, const char *name) {
    for (size_t i = 1; i < m->n; i++)
        if (!strcmp(m->names[i], name)) return true;
    return false;
}

/* Files that the plan names for models that the command line does not give; none may be replaced. */
static int take_files(program *p, msx_plan *plan, models *m) {
    int code = PROGRAM_DONE;
    if (!m->paths[0]) {
        m->paths[0] = msx_plan_file(plan, "base");
        if (m->paths[0]) code = outputs_check_input(p, m->paths[0]);
    }
    for (int64_t i = 0; i < msx_plan_model_count(plan) && !code; i++) {
        const char *name = msx_plan_model(plan, i), *file = msx_plan_file(plan, name);
        if (!file || is_given(m, name)) continue;
        code = outputs_check_input(p, file);
        if (!code) code = add_model(p, m, name, file);
    }
    if (code) return code;
    if (!m->paths[0])
        return program_usage(p, "merge needs --base FILE%s",
                             option_given(p, "plan") ? ", or a plan with 'base: FILE'" : "");
    return m->n > 1 ? PROGRAM_DONE : program_usage(p, "merge needs at least one --model NAME=FILE");
}

/* ---- the plan ------------------------------------------------------------------------------------- */

/* One "key=value,key=value" of --set. */
static int set_values(program *p, msx_plan *plan, const char *list) {
    char *copy = strdup(list), *rest = copy;
    if (!copy) return program_fail(p, PROGRAM_LIMIT, "out of memory");
    int code = PROGRAM_DONE;
    for (char *item; !code && (item = strsep(&rest, ","));) {
        char *equals = strchr(item, '='), *end = NULL;
        double value = equals ? strtod(equals + 1, &end) : 0;
        if (!equals || end == equals + 1 || *end) {
            code = program_usage(p, "--set: '%s' is not PARAMETER=NUMBER", item);
            break;
        }
        *equals = 0;
        code = isnan(msx_plan_entry_param(plan, 0, item))
                   ? program_status(p, msx_plan_set_param(plan, "*", item, value))
                   : program_usage(p, "--set: '%s' is given twice", item);
    }
    free(copy);
    return code;
}

static bool has_scores(const msx_plan *plan, const models *m) {
    char key[128];
    for (size_t i = 0; i < m->n; i++) {
        snprintf(key, sizeof key, "score.%s", m->names[i]);
        if (!isnan(msx_plan_entry_param(plan, 0, key))) return true;
    }
    return false;
}

/* slerp's t alone lies between the two models named by --model, or between the base and the only
 * one. */
static int choose_pair(program *p, msx_plan *plan, const models *m) {
    if (strcmp(msx_plan_entry_method(plan, 0), "slerp") ||
        isnan(msx_plan_entry_param(plan, 0, "t")) || has_scores(plan, m) || m->n == 2)
        return PROGRAM_DONE;
    if (m->n > 3)
        return program_usage(p,
                             "--set t: lies between two models, but %zu are named; give two of "
                             "them a higher score.NAME",
                             m->n - 1);
    return program_status(p, msx_plan_set_param(plan, "*", "score.base", 0));
}

static int make_plan(program *p, msx_plan *plan, const models *m) {
    for (size_t i = 1; i < m->n; i++) {
        int code = program_status(p, msx_plan_add_model(plan, m->names[i]));
        if (code) return code;
    }
    int code = program_status(p, msx_plan_set_method(plan, "*", option_text(p, "method")));
    for (size_t i = 0; !code && i < option_count(p, "set"); i++)
        code = set_values(p, plan, option_at(p, "set", i));
    return code ? code : choose_pair(p, plan, m);
}

/* A model that the plan does not name would be left out without a word. */
static int check_models(program *p, const msx_plan *plan, const models *m) {
    int64_t named = msx_plan_model_count(plan);
    for (size_t i = 1; named && i < m->n; i++) {
        int64_t k = 0;
        while (k < named && strcmp(msx_plan_model(plan, k), m->names[i])) k++;
        if (k == named)
            return program_usage(p,
                                 "--model %s: %s does not name this model; add it there, or "
                                 "leave it out",
                                 m->names[i], option_text(p, "plan"));
    }
    return PROGRAM_DONE;
}

static int get_plan(program *p, const models *m, msx_plan **plan) {
    if (option_given(p, "plan") == option_given(p, "method"))
        return program_usage(p, "merge needs either --plan FILE or --method NAME");
    if (option_given(p, "plan")) {
        if (option_given(p, "set"))
            return program_usage(p, "--set goes with --method; a plan has its own parameters");
        int code = program_status(p, msx_plan_load(plan, p->ctx, option_text(p, "plan")));
        return code ? code : check_models(p, *plan, m);
    }
    int code = program_status(p, msx_plan_create(plan, p->ctx));
    return code ? code : make_plan(p, *plan, m);
}

/* ---- the result ------------------------------------------------------------------------------------- */

static bool next_setting(const msx_plan *plan, int64_t entry, int64_t k, msx_plan_setting *s,
                         char key[160]) {
    s->struct_size = sizeof *s;
    if (msx_plan_entry_setting(s, plan, entry, k) < 0) return false;
    snprintf(key, 160, "%s%s%s", s->param, s->model ? "." : "", s->model ? s->model : "");
    return true;
}

/* A number, or a list of them over the depth. */
static json_t *values_json(const msx_plan_setting *s) {
    if (s->n == 1) return json_real(s->values[0]);
    json_t *list = json_array();
    for (size_t i = 0; i < s->n; i++) json_array_append_new(list, json_real(s->values[i]));
    return list;
}

/* Keys with filters become lists of {filter, value}, the last perhaps without a filter. */
static json_t *entry_json(const msx_plan *plan, int64_t i) {
    json_t *entry = json_pack("{s:s}", "method", msx_plan_entry_method(plan, i));
    msx_plan_setting s;
    char key[160];
    for (int64_t k = 0; k < msx_plan_entry_setting_count(plan, i); k++) {
        if (!next_setting(plan, i, k, &s, key)) break;
        json_t *list = json_object_get(entry, key);
        if (!s.filter && !list) {
            json_object_set_new(entry, key, values_json(&s));
            continue;
        }
        if (!list) json_object_set_new(entry, key, list = json_array());
        json_t *item = json_pack("{s:o}", "value", values_json(&s));
        if (s.filter) json_object_set_new(item, "filter", json_string(s.filter));
        json_array_append_new(list, item);
    }
    return entry;
}

static int print_json(program *p, const msx_plan *plan, const models *m) {
    json_t *inputs = json_object(), *groups = json_object();
    for (size_t i = 0; i < m->n; i++)
        json_object_set_new(inputs, m->names[i], json_string(m->paths[i]));
    for (int64_t i = 0; i < msx_plan_entry_count(plan); i++)
        json_object_set_new(groups, msx_plan_entry_group(plan, i), entry_json(plan, i));
    return program_json(p, json_pack("{s:s, s:o, s:o}", "output", option_text(p, "output"),
                                     "models", inputs, "groups", groups));
}

/* "score.human=0.9 t[attn]=0.5,1" */
static void add_settings(FILE *stream, const msx_plan *plan, int64_t entry) {
    msx_plan_setting s;
    char key[160];
    for (int64_t k = 0; k < msx_plan_entry_setting_count(plan, entry); k++) {
        if (!next_setting(plan, entry, k, &s, key)) break;
        fprintf(stream, "%s%s", k ? " " : "", key);
        if (s.filter) fprintf(stream, "[%s]", s.filter);
        for (size_t i = 0; i < s.n; i++) fprintf(stream, "%s%.6g", i ? "," : "=", s.values[i]);
    }
}

static int print_table(program *p, const msx_plan *plan) {
    table *t = table_create((const char *const[]){"group", "method", "parameters"}, 3);
    for (int64_t i = 0; i < msx_plan_entry_count(plan); i++) {
        char *text = NULL;
        size_t length;
        FILE *stream = open_memstream(&text, &length);
        if (stream) add_settings(stream, plan, i);
        if (!stream || fclose(stream) != 0) {
            free(text);
            table_free(t);
            return program_fail(p, PROGRAM_LIMIT, "out of memory");
        }
        table_cell(t, "%s", msx_plan_entry_group(plan, i));
        table_cell(t, "%s", msx_plan_entry_method(plan, i));
        table_cell(t, "%s", *text ? text : "defaults");
        free(text);
    }
    int code = table_print(p, t);
    table_free(t);
    return code;
}

static msx_dtype dtype_named(const char *name) {
    static const msx_dtype all[] = {MSX_DTYPE_F32, MSX_DTYPE_F16, MSX_DTYPE_BF16, MSX_DTYPE_F64};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(msx_dtype_name(all[i]), name)) return all[i];
    return MSX_DTYPE_F32;
}

static int merge(program *p, const msx_plan *plan, const models *m) {
    const char *dtype = option_text(p, "dtype");
    const msx_save_options save = {.struct_size = sizeof save,
                                   .dtype = dtype ? dtype_named(dtype) : 0, /* the plan's */
                                   .scheme = option_text(p, "names"),
                                   .shard_bytes = 1000000 * option_int(p, "shard-size", 0),
                                   .draft = option_given(p, "draft")};
    int code = program_status(p, msx_merge_files(p->ctx, plan, m->paths, m->names, m->n,
                                                 option_text(p, "output"), &save,
                                                 option_given(p, "allow-nonfinite")));
    if (code) return code;
    return p->json ? print_json(p, plan, m) : print_table(p, plan);
}

/* ---- verifying ---------------------------------------------------------------------------------------- */

static void print_check(const char *file, const msx_merge_check *check) {
    progress_clear();
    if (check->equal)
        printf("%s: equal to its rebuild, byte for byte\n", file);
    else
        printf("%s: differs from its rebuild at byte %lld; %s%s\n", file,
               (long long)check->first_byte,
               *check->tensor ? "first tensor that differs: " : "all tensors are equal",
               check->tensor);
    if (check->draft)
        printf("It is a draft, which carries no SHA-256 of its inputs: %s\n",
               check->equal ? "that these give the same bytes is all that can be checked"
                            : "it may have been merged from other files than these");
}

static int verify(program *p, const models *m) {
    static const char *const others[] = {"plan",       "method",          "set",
                                         "output",     "dtype",           "names",
                                         "shard-size", "allow-nonfinite", "draft"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (option_given(p, others[i]))
            return program_usage(p, "--%s does not go with --verify: the file says it itself",
                                 others[i]);
    const char *file = option_text(p, "verify");
    bool by_plan = m->n == 1 && !m->paths[0]; /* the files that the plan in the file names */
    if (!by_plan && !m->paths[0])
        return program_usage(p, "--verify with --model needs --base FILE");
    msx_merge_check check = {.struct_size = sizeof check};
    int code = program_status(
        p, by_plan ? msx_merge_verify(&check, p->ctx, file, NULL, NULL, 0)
                   : msx_merge_verify(&check, p->ctx, file, m->paths, m->names, m->n));
    if (code) return code;
    if (p->json)
        code =
            program_json(p, json_pack("{s:s, s:b, s:I, s:s, s:b}", "file", file, "equal",
                                      (int)check.equal, "first_byte", (json_int_t)check.first_byte,
                                      "tensor", check.tensor, "draft", (int)check.draft));
    else
        print_check(file, &check);
    return code || check.equal ? code : PROGRAM_INPUT;
}

static int run(program *p) {
    models m;
    msx_plan *plan = NULL;
    int code = take_models(p, &m);
    if (!code && option_given(p, "verify")) return verify(p, &m);
    if (!code && !option_given(p, "output"))
        code = program_usage(p, "merge needs --output FILE, or --verify FILE");
    if (!code) code = get_plan(p, &m, &plan);
    if (!code) code = take_files(p, plan, &m);
    if (!code) code = merge(p, plan, &m);
    msx_plan_free(plan);
    return code;
}

static const program_option options[] = {
    {.name = "plan", .kind = OPTION_TEXT, .argument = "FILE", .help = "method of each layer group"},
    {.name = "method",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     .help = "one method for all groups: linear, task_arithmetic, ties, slerp, or another of "
             "docs/methods.md"},
    {.name = "set",
     .kind = OPTION_TEXT,
     .many = true,
     .argument = "KEY=VALUE",
     .help =
         "parameters of --method, with commas between them: weight.NAME of linear; scaling of task_arithmetic; retain, "
         "scaling of ties; score.NAME or t of slerp; each 0 to 1 (0.5); others in docs/methods.md"},
    {.name = "base",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     .help = "checkpoint the others were fine-tuned from; its name in plans is base"},
    {.name = "model",
     .kind = OPTION_TEXT,
     .many = true,
     .argument = "NAME=FILE",
     .help = "fine-tuned checkpoint and what the plan calls it"},
    {.name = "output",
     .letter = 'o',
     .kind = OPTION_TEXT,
     .written = true,
     .argument = "FILE",
     .help = "merged checkpoint, .pth or .safetensors; .safetensors.index.json for shards"},
    {.name = "dtype",
     .kind = OPTION_TEXT,
     .choices = "f32|f16|bf16|f64",
     .argument = "TYPE",
     .help = "element type to write: f32, f16, bf16 or f64 (the plan's, else f32)"},
    {.name = "names",
     .kind = OPTION_TEXT,
     .argument = "SCHEME",
     .choices = "official|hf",
     .help = "names of the tensors: official, or hf for transformers' SamModel (official)"},
    {.name = "shard-size",
     .kind = OPTION_INT,
     .lower = 1,
     .upper = 1000000,
     .argument = "MB",
     .help = "megabytes of one file, with an --output that is an index of several (5000)"},
    {.name = "allow-nonfinite",
     .kind = OPTION_FLAG,
     .help = "merge also weights that are not numbers or infinite"},
    {.name = "draft",
     .kind = OPTION_FLAG,
     .help =
         "for trying many merges: do not hash the inputs and do not wait for the disk; the file says "
         "that it is a draft. Publish files that were merged without it"},
    {.name = "verify",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     .help = "rebuild a merged checkpoint from the plan in it and compare byte for byte"},
    {0},
};

const program_verb verb_merge = {
    .name = "merge",
    .summary = "merge checkpoints by a plan, or by one method",
    .synopsis = "--plan FILE [--base FILE] [--model NAME=FILE]... -o OUT\n"
                "       medsamix merge --method NAME [--set KEY=VALUE,...] --base FILE\n"
                "                --model NAME=FILE... -o OUT\n"
                "       medsamix merge --verify FILE [--base FILE --model NAME=FILE...]",
    .about =
        "Merges fine-tuned SAM checkpoints with their base, group by group. Models that a plan names\n"
        "files for need not be given. The plan, the SHA-256 of every input and the version are kept\n"
        "in the file that is written; --verify rebuilds such a file from the same inputs: exit code 0\n"
        "when it is equal, 3 when not. With --draft the file has the same tensors sooner, but does not\n"
        "say which inputs it was merged from.",
    .options = options,
    .opens = true,
    .run = run,
};
