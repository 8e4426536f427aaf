/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix merge: merge checkpoints by a plan, or by one method everywhere. */
#include "program.h"

#include <math.h>
#include <medsamix/sys/merge_method.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MODELS = 65 };

/* The models of the command line; the base is the first. */
typedef struct models {
    size_t n;
    const char *names[MAX_MODELS], *paths[MAX_MODELS];
} models;

static int take_models(program *p, models *m) {
    m->names[0] = "base";
    m->paths[0] = option_text(p, "base");
    m->n = 1;
    for (size_t i = 0; i < option_count(p, "model"); i++) {
        if (m->n == MAX_MODELS)
            return program_usage(p, "more than %d models are given", MAX_MODELS - 1);
        const char *name, *path;
        int code = option_pair(p, "model", i, &name, &path);
        if (code) return code;
        if (!name) return program_usage(p, "--model: '%s' has no name; write NAME=FILE", path);
        m->names[m->n] = name;
        m->paths[m->n++] = path;
    }
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

/* Call `visit` for every parameter that an entry sets. */
static void each_value(program *p, const msx_plan *plan, int64_t entry,
                       void (*visit)(const char *key, double value, void *payload), void *payload) {
    const msx_merge_method *method =
        msx_merge_method_find(p->ctx, msx_plan_entry_method(plan, entry));
    for (size_t i = 0; method && i < method->n_params; i++) {
        int64_t places = method->params[i].per_model ? msx_plan_model_count(plan) + 1 : 1;
        for (int64_t k = 0; k < places; k++) {
            char key[160];
            snprintf(key, sizeof key, "%s%s%s", method->params[i].name,
                     method->params[i].per_model ? "." : "",
                     !method->params[i].per_model ? ""
                     : k                          ? msx_plan_model(plan, k - 1)
                                                  : "base");
            double value = msx_plan_entry_param(plan, entry, key);
            if (!isnan(value)) visit(key, value, payload);
        }
    }
}

static void add_json(const char *key, double value, void *object) {
    json_object_set_new(object, key, json_real(value));
}

static int print_json(program *p, const msx_plan *plan, const models *m) {
    json_t *inputs = json_object(), *groups = json_object();
    for (size_t i = 0; i < m->n; i++)
        json_object_set_new(inputs, m->names[i], json_string(m->paths[i]));
    for (int64_t i = 0; i < msx_plan_entry_count(plan); i++) {
        json_t *entry = json_pack("{s:s}", "method", msx_plan_entry_method(plan, i));
        each_value(p, plan, i, add_json, entry);
        json_object_set_new(groups, msx_plan_entry_group(plan, i), entry);
    }
    return program_json(p, json_pack("{s:s, s:o, s:o}", "output", option_text(p, "output"),
                                     "models", inputs, "groups", groups));
}

static void add_text(const char *key, double value, void *stream) {
    fprintf(stream, "%s%s=%.6g", ftell(stream) ? " " : "", key, value);
}

static int print_table(program *p, const msx_plan *plan) {
    table *t = table_create((const char *const[]){"group", "method", "parameters"}, 3);
    for (int64_t i = 0; i < msx_plan_entry_count(plan); i++) {
        char *text = NULL;
        size_t length;
        FILE *stream = open_memstream(&text, &length);
        if (stream) each_value(p, plan, i, add_text, stream);
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
    const msx_save_options save = {.struct_size = sizeof save,
                                   .dtype = dtype_named(option_or(p, "dtype", "f32"))};
    int code = program_status(p, msx_merge_files(p->ctx, plan, m->paths, m->names, m->n,
                                                 option_text(p, "output"), &save,
                                                 option_given(p, "allow-nonfinite")));
    if (code) return code;
    return p->json ? print_json(p, plan, m) : print_table(p, plan);
}

/* ---- verifying ---------------------------------------------------------------------------------------- */

static int verify(program *p, const models *m) {
    static const char *const others[] = {"plan",   "method", "set",
                                         "output", "dtype",  "allow-nonfinite"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (option_given(p, others[i]))
            return program_usage(p, "--%s does not go with --verify: the file says it itself",
                                 others[i]);
    const char *file = option_text(p, "verify");
    msx_merge_check check = {.struct_size = sizeof check};
    int code = program_status(p, msx_merge_verify(&check, p->ctx, file, m->paths, m->names, m->n));
    if (code) return code;
    if (p->json) {
        code = program_json(p, json_pack("{s:s, s:b, s:I, s:s}", "file", file, "equal",
                                         (int)check.equal, "first_byte",
                                         (json_int_t)check.first_byte, "tensor", check.tensor));
    } else {
        progress_clear();
        if (check.equal)
            printf("%s: equal to its rebuild, byte for byte\n", file);
        else
            printf("%s: differs from its rebuild at byte %lld; %s%s\n", file,
                   (long long)check.first_byte,
                   *check.tensor ? "first tensor that differs: " : "all tensors are equal",
                   check.tensor);
    }
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
     .required = true,
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
     .help = "merged checkpoint, .pth or .safetensors"},
    {.name = "dtype",
     .kind = OPTION_TEXT,
     .choices = "f32|f16|bf16|f64",
     .argument = "TYPE",
     .help = "element type to write: f32, f16, bf16 or f64 (f32)"},
    {.name = "allow-nonfinite",
     .kind = OPTION_FLAG,
     .help = "merge also weights that are not numbers or infinite"},
    {.name = "verify",
     .kind = OPTION_TEXT,
     .argument = "FILE",
     .help = "rebuild a merged checkpoint from the plan in it and compare byte for byte"},
    {0},
};

const program_verb verb_merge = {
    .name = "merge",
    .summary = "merge checkpoints by a plan, or by one method",
    .synopsis = "--plan FILE --base FILE --model NAME=FILE... -o OUT\n"
                "       medsamix merge --method NAME [--set KEY=VALUE,...] --base FILE\n"
                "                --model NAME=FILE... -o OUT\n"
                "       medsamix merge --verify FILE --base FILE --model NAME=FILE...",
    .about =
        "Merges fine-tuned SAM checkpoints with their base, group by group. The plan, the\n"
        "SHA-256 of every input and the version are kept in the file that is written; --verify\n"
        "rebuilds such a file from the same inputs: exit code 0 when it is equal, 3 when not.",
    .options = options,
    .opens = true,
    .run = run,
};
