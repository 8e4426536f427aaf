/* SPDX-License-Identifier: Apache-2.0 */
/* Options from a table: parsing, checking, help. Long options take "--name value" or "--name=value",
 * letters "-o value" or "-ovalue", flags may be joined ("-qv"), "--" ends the options. */
#include "program.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const program_option common[] = {
    {.name = "threads",
     .kind = OPTION_INT,
     .lower = 0,
     .upper = 1024,
     .argument = "N",
     .help = "threads to use (one per processor)"},
    {.name = "json", .kind = OPTION_FLAG, .help = "print the result as one JSON object"},
    {.name = "quiet", .letter = 'q', .kind = OPTION_FLAG, .help = "no progress and no warnings"},
    {.name = "verbose",
     .letter = 'v',
     .kind = OPTION_FLAG,
     .many = true,
     .help = "say more on stderr; twice: still more"},
    {.name = "help", .letter = 'h', .kind = OPTION_FLAG, .help = "this text"},
    {.name = "version", .kind = OPTION_FLAG, .help = "version and build"},
    {0},
};

static const program_option compute[] = {
    {.name = "device", .kind = OPTION_TEXT, .argument = "NAME", .help = "cpu or cuda:N (cpu)"},
    {.name = "precision",
     .kind = OPTION_TEXT,
     .argument = "NAME",
     .choices = "fp32|tf32|fp16|bf16",
     .help = "arithmetic: fp32, tf32, fp16 or bf16 (the device's default)"},
    {0},
};

static const program_option opening[] = {
    {.name = "pickle",
     .kind = OPTION_TEXT,
     .argument = "RULE",
     .choices = "known|strict|tolerant",
     .help =
         "what torch files may hold beside tensors: known (calls of harmless functions), strict "
         "(what torch.load's weights_only takes), tolerant (any call; nothing is executed) (known)"},
    {0},
};

/* The values given, in the order given; `number` is set for numeric kinds. */
typedef struct value {
    const program_option *option;
    const char *text;
    char *split; /* copy that option_pair() cut at '=' */
    double number;
    int64_t integer;
} value;

struct values {
    size_t n, capacity;
    value *at;
    const char **arguments;
};

/* ---- tables ------------------------------------------------------------------------------------- */

enum { TABLES = 4 };

static void tables_of(const program_verb *verb, const program_option *out[TABLES]) {
    static const program_option none[] = {{0}};
    out[0] = verb->options ? verb->options : none;
    out[1] = verb->computes ? compute : none;
    out[2] = verb->opens ? opening : none;
    out[3] = common;
}

static const program_option *find_name(const program_verb *verb, const char *name, size_t length) {
    const program_option *tables[TABLES];
    tables_of(verb, tables);
    for (int t = 0; t < TABLES; t++)
        for (const program_option *o = tables[t]; o->name; o++)
            if (strlen(o->name) == length && !memcmp(o->name, name, length)) return o;
    return NULL;
}

static const program_option *find_letter(const program_verb *verb, char letter) {
    const program_option *tables[TABLES];
    tables_of(verb, tables);
    for (int t = 0; t < TABLES; t++)
        for (const program_option *o = tables[t]; o->name; o++)
            if (o->letter == letter) return o;
    return NULL;
}

static int unknown_option(program *p, const char *name) {
    enum { MOST = 64 };
    const char *names[MOST];
    size_t n = 0;
    const program_option *tables[TABLES];
    tables_of(p->verb, tables);
    for (int t = 0; t < TABLES; t++)
        for (const program_option *o = tables[t]; o->name && n < MOST; o++) names[n++] = o->name;
    const char *closest = msx_closest_name(name, names, n);
    if (closest)
        return program_usage(p, "%s has no option '--%s'; did you mean '--%s'?", p->verb->name,
                             name, closest);
    return program_usage(p, "%s has no option '--%s'", p->verb->name, name);
}

/* ---- values ------------------------------------------------------------------------------------- */

/* "a|b|c" holds `text`; otherwise a usage error with a suggestion. */
static int check_choice(program *p, const program_option *o, const char *text) {
    enum { MOST = 16, LONGEST = 32 };
    char words[MOST][LONGEST];
    const char *names[MOST];
    size_t n = 0;
    for (const char *c = o->choices; *c && n < MOST; n++) {
        size_t length = strcspn(c, "|");
        snprintf(words[n], LONGEST, "%.*s", (int)length, c);
        names[n] = words[n];
        if (!strcmp(words[n], text)) return PROGRAM_DONE;
        c += length + (c[length] == '|');
    }
    const char *closest = msx_closest_name(text, names, n);
    return closest ? program_usage(p, "--%s: unknown value '%s'; did you mean '%s'?", o->name, text,
                                   closest)
                   : program_usage(p, "--%s: unknown value '%s'; known are %s", o->name, text,
                                   o->choices);
}

static int check_number(program *p, const program_option *o, value *v) {
    char *end;
    errno = 0;
    if (o->kind == OPTION_INT) {
        v->integer = strtoll(v->text, &end, 10);
        v->number = (double)v->integer;
    } else {
        v->number = strtod(v->text, &end);
    }
    if (end == v->text || *end || errno || !isfinite(v->number))
        return program_usage(p, "--%s: '%s' is not %s", o->name, v->text,
                             o->kind == OPTION_INT ? "a whole number" : "a number");
    if ((o->lower != 0 || o->upper != 0) && (v->number < o->lower || v->number > o->upper))
        return program_usage(p, "--%s: %s is out of range; %.15g to %.15g are possible", o->name,
                             v->text, o->lower, o->upper);
    return PROGRAM_DONE;
}

static int add_value(program *p, const program_option *o, const char *text) {
    struct values *s = p->values;
    if (!o->many && o->kind != OPTION_FLAG && option_given(p, o->name))
        return program_usage(p, "--%s is given twice", o->name);
    if (s->n == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 16;
        value *at = realloc(s->at, capacity * sizeof *at);
        if (!at) return program_fail(p, PROGRAM_LIMIT, "out of memory");
        s->at = at;
        s->capacity = capacity;
    }
    value *v = &s->at[s->n];
    *v = (value){.option = o, .text = text};
    if (o->choices) {
        int code = check_choice(p, o, text);
        if (code) return code;
    }
    if (o->kind == OPTION_INT || o->kind == OPTION_DOUBLE) {
        int code = check_number(p, o, v);
        if (code) return code;
    }
    s->n++;
    return PROGRAM_DONE;
}

/* One word "--name", "--name=value"; `next` moves past a value in the following word. */
static int parse_long(program *p, const char *word, int argc, char **argv, int *next,
                      const program_option **option) {
    const char *equals = strchr(word, '=');
    size_t length = equals ? (size_t)(equals - word) : strlen(word);
    const program_option *o = find_name(p->verb, word, length);
    *option = o;
    if (!o) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(length < 63 ? length : 63), word);
        return unknown_option(p, name);
    }
    if (o->kind == OPTION_FLAG)
        return equals ? program_usage(p, "--%s takes no value", o->name) : add_value(p, o, "");
    if (equals) return add_value(p, o, equals + 1);
    if (*next >= argc) return program_usage(p, "--%s needs a value: %s", o->name, o->argument);
    return add_value(p, o, argv[(*next)++]);
}

/* One word "-o", "-oVALUE" or joined flags "-qv". */
static int parse_letters(program *p, const char *word, int argc, char **argv, int *next,
                         const program_option **option) {
    for (const char *c = word; *c; c++) {
        const program_option *o = find_letter(p->verb, *c);
        *option = o;
        if (!o) return program_usage(p, "%s has no option '-%c'", p->verb->name, *c);
        if (o->kind == OPTION_FLAG) {
            int code = add_value(p, o, "");
            if (code) return code;
            continue;
        }
        if (c[1]) return add_value(p, o, c + 1);
        if (*next >= argc) return program_usage(p, "-%c needs a value: %s", *c, o->argument);
        return add_value(p, o, argv[(*next)++]);
    }
    return PROGRAM_DONE;
}

static int check_complete(program *p) {
    if (p->n_arguments < p->verb->min_arguments)
        return program_usage(p, "%s needs %s: medsamix %s %.*s", p->verb->name,
                             p->n_arguments ? "more arguments" : "an argument", p->verb->name,
                             (int)strcspn(p->verb->synopsis, "\n"), p->verb->synopsis);
    if (p->verb->max_arguments >= 0 && p->n_arguments > p->verb->max_arguments)
        return program_usage(p, "%s: '%s' is one argument too many", p->verb->name,
                             p->arguments[p->verb->max_arguments]);
    if (p->verb->options)
        for (const program_option *o = p->verb->options; o->name; o++)
            if (o->required && !option_given(p, o->name))
                return program_usage(p, "%s needs --%s %s", p->verb->name, o->name, o->argument);
    return PROGRAM_DONE;
}

int options_parse(program *p, int argc, char **argv) {
    p->values = calloc(1, sizeof *p->values);
    if (p->values) p->values->arguments = calloc((size_t)argc + 1, sizeof(char *));
    if (!p->values || !p->values->arguments) return program_fail(p, PROGRAM_LIMIT, "out of memory");
    const program_option *last = NULL; /* the option just parsed */
    bool only_arguments = false;
    for (int next = 0; next < argc;) {
        const char *word = argv[next++];
        int code = PROGRAM_DONE;
        if (!only_arguments && !strcmp(word, "--")) {
            only_arguments = true;
        } else if (!only_arguments && !strncmp(word, "--", 2)) {
            code = parse_long(p, word + 2, argc, argv, &next, &last);
        } else if (!only_arguments && word[0] == '-' && word[1]) {
            code = parse_letters(p, word + 1, argc, argv, &next, &last);
        } else if (p->verb->max_arguments == 0 && last && last->many && last->kind == OPTION_TEXT) {
            /* A verb without arguments: "--model a.pth b.pth" and "--model *.pth" work. */
            code = add_value(p, last, word);
        } else {
            p->values->arguments[p->n_arguments++] = word;
        }
        if (code) return code;
        if (option_given(p, "help") || option_given(p, "version")) {
            p->help_asked = option_given(p, "help") ? "help" : "version";
            return PROGRAM_DONE;
        }
    }
    p->arguments = p->values->arguments;
    p->json = option_given(p, "json");
    p->quiet = option_given(p, "quiet");
    p->verbose = (int)option_count(p, "verbose");
    return check_complete(p);
}

void options_free(program *p) {
    if (!p->values) return;
    for (size_t i = 0; i < p->values->n; i++) free(p->values->at[i].split);
    free(p->values->at);
    free(p->values->arguments);
    free(p->values);
    p->values = NULL;
}

/* ---- asking ------------------------------------------------------------------------------------- */

static value *find_value(const program *p, const char *name, size_t i) {
    for (size_t k = 0; k < p->values->n; k++)
        if (!strcmp(p->values->at[k].option->name, name) && i-- == 0) return &p->values->at[k];
    return NULL;
}

bool option_given(const program *p, const char *name) {
    return find_value(p, name, 0) != NULL;
}

const char *option_text(const program *p, const char *name) {
    return option_at(p, name, 0);
}

const char *option_or(const program *p, const char *name, const char *missing) {
    const char *text = option_text(p, name);
    return text ? text : missing;
}

int64_t option_int(const program *p, const char *name, int64_t missing) {
    const value *v = find_value(p, name, 0);
    return v ? v->integer : missing;
}

double option_double(const program *p, const char *name, double missing) {
    const value *v = find_value(p, name, 0);
    return v ? v->number : missing;
}

size_t option_count(const program *p, const char *name) {
    size_t n = 0;
    while (find_value(p, name, n)) n++;
    return n;
}

const char *option_at(const program *p, const char *name, size_t i) {
    const value *v = find_value(p, name, i);
    return v ? v->text : NULL;
}

const char *option_value(const program *p, size_t i, const program_option **option) {
    if (i >= p->values->n) return NULL;
    *option = p->values->at[i].option;
    return p->values->at[i].text;
}

int option_pair(program *p, const char *name, size_t i, const char **left, const char **right) {
    value *v = find_value(p, name, i);
    *left = NULL;
    *right = v ? v->text : NULL;
    if (!v || !strchr(v->text, '=')) return PROGRAM_DONE;
    if (!v->split) v->split = strdup(v->text);
    if (!v->split) return program_fail(p, PROGRAM_LIMIT, "out of memory");
    char *equals = v->split + (strchr(v->text, '=') - v->text);
    *equals = 0;
    *left = v->split;
    *right = equals + 1;
    if (**left && **right) return PROGRAM_DONE;
    return program_usage(p, "--%s: '%s' has an empty %s; write NAME=VALUE", name, v->text,
                         **left ? "value" : "name");
}

int option_numbers(program *p, const char *name, const char *text, double *out, size_t n) {
    const char *c = text;
    for (size_t i = 0; i < n; i++) {
        char *end;
        out[i] = strtod(c, &end);
        if (end == c || !isfinite(out[i]) || *end != (i + 1 < n ? ',' : 0))
            return program_usage(p, "--%s: '%s' is not %zu numbers with commas between them", name,
                                 text, n);
        c = end + 1;
    }
    return PROGRAM_DONE;
}

/* ---- help --------------------------------------------------------------------------------------- */

enum { HELP_COLUMN = 30, HELP_WIDTH = 96 };

/* `text` with lines broken at spaces, continued at `column`, where the first line stands already. */
static void print_wrapped(FILE *to, const char *text, size_t column) {
    size_t at = column;
    while (*text) {
        size_t word = strcspn(text, " ");
        if (at > column && at + 1 + word > HELP_WIDTH) {
            fprintf(to, "\n%*s", (int)column, "");
            at = column;
        } else if (at > column) {
            fputc(' ', to);
            at++;
        }
        fprintf(to, "%.*s", (int)word, text);
        at += word;
        text += word + (text[word] == ' ');
    }
    fputc('\n', to);
}

static void print_options(FILE *to, const char *title, const program_option *options) {
    if (!options->name) return;
    fprintf(to, "\n%s:\n", title);
    for (const program_option *o = options; o->name; o++) {
        char left[80], letter[8] = "    ";
        if (o->letter) snprintf(letter, sizeof letter, "-%c, ", o->letter);
        int n = snprintf(left, sizeof left, "  %s--%s%s%s%s", letter, o->name,
                         o->argument ? " " : "", o->argument ? o->argument : "",
                         o->many && o->kind != OPTION_FLAG ? "..." : "");
        if (n > HELP_COLUMN - 2)
            fprintf(to, "%s\n%*s", left, HELP_COLUMN, "");
        else
            fprintf(to, "%-*s", HELP_COLUMN, left);
        print_wrapped(to, o->help, HELP_COLUMN);
    }
}

/* A line of the synopsis is another way to call the verb; one that begins with a space is laid out
 * already. */
static void print_usage(FILE *to, const program_verb *verb) {
    const char *line = verb->synopsis;
    for (int i = 0; *line; i++) {
        size_t n = strcspn(line, "\n");
        char text[400];
        snprintf(text, sizeof text, "%.*s", (int)n, line);
        if (*line == ' ') {
            fprintf(to, "%s\n", text);
        } else {
            int column = fprintf(to, "%s medsamix %s ", i ? "      " : "usage:", verb->name);
            print_wrapped(to, text, (size_t)column);
        }
        line += n + (line[n] == '\n');
    }
}

void options_help(const program_verb *verb, FILE *to) {
    const program_option *tables[TABLES];
    tables_of(verb, tables);
    print_usage(to, verb);
    fprintf(to, "\n%s\n", verb->about ? verb->about : verb->summary);
    print_options(to, "options", tables[0]);
    print_options(to, "computing", tables[1]);
    print_options(to, "checkpoints", tables[2]);
    print_options(to, "common options", tables[3]);
}
