/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs of the program share: options from a table, exit codes, tables and JSON on stdout,
 * progress on stderr.
 *
 * A verb is one file verb_NAME.c that defines `const program_verb verb_NAME`:
 *
 *     static const program_option options[] = {
 *         {.name = "output", .letter = 'o', .kind = OPTION_TEXT, .argument = "FILE",
 *          .required = true, .help = "where to write"},
 *         {0}};
 *     static int run(program *p) {
 *         msx_status status = msx_something(p->ctx, p->arguments[0], option_text(p, "output"));
 *         if (status < 0) return program_status(p, status);
 *         ...
 *         return PROGRAM_DONE;
 *     }
 *     const program_verb verb_something = {.name = "something", ... .options = options, .run = run};
 *
 * main() makes the context, parses, shows help, and checks stdout at the end. */
#ifndef MEDSAMIX_PROGRAM_H
#define MEDSAMIX_PROGRAM_H

#include <jansson.h>
#include <medsamix/medsamix.h>
#include <stdio.h>

/* ---- exit codes (errors.c) --------------------------------------------------------------------- */

enum {
    PROGRAM_DONE = 0,
    PROGRAM_USAGE = 2,
    PROGRAM_INPUT = 3,       /* an input is bad */
    PROGRAM_PARTIAL = 4,     /* some cases failed, the others were written */
    PROGRAM_LIMIT = 5,       /* a limit was hit: memory, size, device */
    PROGRAM_INTERNAL = 6,    /* a defect of this program */
    PROGRAM_INTERRUPTED = 75 /* can be resumed */
};

/* ---- verbs ---------------------------------------------------------------------------------------- */

typedef enum option_kind {
    OPTION_FLAG = 1,
    OPTION_INT = 2,
    OPTION_DOUBLE = 3,
    OPTION_TEXT = 4
} option_kind;

/* Choices of --preset. */
#define PROGRAM_PRESETS "sam|medsam|medsam_ct_mr|medsam_rgb|medsam_cv2|microsam"

/* A table of these ends with an entry whose name is NULL. */
typedef struct program_option {
    const char *name; /* without dashes: "min-object" */
    char letter;      /* 'o' for -o; 0: none */
    option_kind kind;
    bool many;            /* may be given several times */
    bool required;        /* usage error when missing */
    bool written;         /* names a file that the verb writes, checked before it runs */
    bool folder;          /* the same of a folder, which may be there already */
    const char *endings;  /* ".a|.b": what the name of a written file has to end in; NULL: any */
    double lower, upper;  /* bounds of a number; both 0: none */
    const char *argument; /* how help calls the value: "FILE" */
    const char *choices;  /* "a|b|c": any other value is an error with a suggestion; NULL: any */
    const char *help;     /* one sentence without a full stop, default in parentheses */
} program_option;

typedef struct program program;

typedef struct program_verb {
    const char *name;
    const char *summary;  /* one line for the list of verbs */
    const char *synopsis; /* what follows the verb in the usage line; several lines allowed */
    const char *about;    /* paragraphs for help; may be NULL */
    const program_option *options;
    int min_arguments, max_arguments; /* words that are not options; max -1: any number */
    bool computes;                    /* adds --device and --precision */
    bool opens;                       /* checkpoints: adds --pickle */
    int (*run)(program *p);           /* returns an exit code */
} program_verb;

/* One file each; main.c lists them. */
extern const program_verb verb_inspect, verb_convert, verb_diff, verb_merge, verb_segment,
    verb_generate, verb_eval, verb_score, verb_search, verb_ask, verb_tell, verb_best, verb_front,
    verb_report, verb_experiment, verb_doctor;

struct program {
    msx_ctx *ctx;
    const program_verb *verb;
    int n_arguments;
    const char *const *arguments;
    bool json, quiet;
    int verbose;            /* number of -v */
    struct values *values;  /* of the options, see options.c */
    const char *help_asked; /* "help" or "version" when that is all there is to do */
};

/* ---- options (options.c) ------------------------------------------------------------------------- */

/* Fill `p` from the words behind the verb: PROGRAM_DONE or PROGRAM_USAGE (message printed). */
int options_parse(program *p, int argc, char **argv);
void options_free(program *p);
void options_help(const program_verb *verb, FILE *to);

/* Values; the name must be in the verb's table or a common one. */
bool option_given(const program *p, const char *name);       /* also flags */
const char *option_text(const program *p, const char *name); /* NULL: not given */
const char *option_or(const program *p, const char *name, const char *missing); /* never NULL */
int64_t option_int(const program *p, const char *name, int64_t missing);
double option_double(const program *p, const char *name, double missing);
/* Options that may be given several times. */
size_t option_count(const program *p, const char *name);
const char *option_at(const program *p, const char *name, size_t i);

/* Value `i` of an option of the form NAME=VALUE, split; both are owned by the program. Without '=':
 *  *name is NULL. An empty name or value is a usage error (message printed). */
int option_pair(program *p, const char *name, size_t i, const char **left, const char **right);

/* Parse exactly `n` comma-separated numbers: PROGRAM_DONE or PROGRAM_USAGE (message printed). */
int option_numbers(program *p, const char *name, const char *text, double *out, size_t n);

/* Value `i` of all that were given, in order, and what it is a value of; NULL behind the last. */
const char *option_value(const program *p, size_t i, const program_option **option);

/* Every written file can be written and is neither another output nor an input: PROGRAM_DONE, or an
 * exit code (message printed) (outputs.c). */
int outputs_check(program *p);
/* The same of an input that only the verb knows of. */
int outputs_check_input(program *p, const char *input);

/* Open the device of --device, with --precision checked against what it offers (device.c). */
int program_device(program *p, msx_device **out);
int program_device_named(program *p, const char *name, msx_device **out);

/* Load a model as --preset, --image-size and --positions say (model.c). */
int program_model(program *p, msx_device *device, const char *path, msx_model **out);
/* The picture of --image as --intensity says, 8 bit. */
int program_image(program *p, msx_image **out);
/* What --positions names, and whether it goes with --image-size: an exit code. */
msx_positions program_positions(const program *p);
int program_check_size(program *p);
/* The line below a table that says what the model was run with. */
void program_say_model(const program *p, const msx_model *m);

/* Their entries for the tables of the verbs. */
#define PROGRAM_SIZE_OPTIONS                                                                       \
    {.name = "image-size",                                                                         \
     .kind = OPTION_INT,                                                                           \
     .lower = 1,                                                                                   \
     .upper = 16384,                                                                               \
     .argument = "N",                                                                              \
     .help = "side of the network's input in pixels; tables of positions are resampled (the "      \
             "checkpoint's)"},                                                                     \
    {                                                                                              \
        .name = "positions", .kind = OPTION_TEXT, .argument = "HOW",                               \
        .choices = "bilinear|bicubic",                                                             \
        .help = "how --image-size resamples pos_embed: bilinear or bicubic (bilinear)"             \
    }

/* ---- failing (errors.c) ---------------------------------------------------------------------------- */

/* Exit code of a status. */
int program_exit_code(msx_status status);
/* Print the context's last error as "medsamix: TEXT" and return the exit code; 0 when status >= 0. */
int program_status(program *p, msx_status status);
/* Print "medsamix: TEXT" and return `code`. */
int program_fail(program *p, int code, const char *format, ...) MSX_PRINTF(3, 4);
/* The same with PROGRAM_USAGE and where help is found. */
int program_usage(program *p, const char *format, ...) MSX_PRINTF(2, 3);

/* ---- results on stdout (output.c) -------------------------------------------------------------------- */

/* A table with aligned columns. Memory failures are kept and reported by table_print(). */
typedef struct table table;

/* Column heads; those that begin with '>' are aligned to the right. Released with table_free. */
table *table_create(const char *const *heads, size_t columns);
void table_cell(table *t, const char *format, ...) MSX_PRINTF(2, 3); /* rows fill from the left */
void table_number(table *t, double value, int decimals);             /* "-" for NaN */
int table_print(program *p, const table *t);                         /* an exit code */
void table_free(table *t);

/* Print a JSON object and release it (NULL: out of memory). NaN and infinity have no JSON form: put
 * numbers in with json_number(), which turns them into null. */
int program_json(program *p, json_t *object);
json_t *json_number(double value);

/* Write a whole file, which appears under its name only when it is complete. An exit code. */
int output_file(program *p, const char *path, const char *bytes, size_t n);

/* PROGRAM_DONE, or an error when stdout could not be written (full disk, closed pipe). */
int output_finish(program *p);

/* ---- progress, log and interrupts on stderr (progress.c) -------------------------------------------- */

/* Connect the context's progress, log and cancel with the terminal. */
void progress_begin(program *p);
/* Remove the bar, before anything else is printed to the terminal. Called by the functions above. */
void progress_clear(void);
/* Disconnect. */
void progress_end(program *p);

#endif
