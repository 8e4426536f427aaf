/* SPDX-License-Identifier: Apache-2.0 */
/* medsamix: merge, run and score Segment Anything models, and search for the best merge. */
#include "program.h"

#include <signal.h>
#include <string.h>

/* In the order of the help. */
static const program_verb *const verbs[] = {
    &verb_inspect, &verb_convert, &verb_diff,       &verb_merge,  &verb_segment, &verb_generate,
    &verb_eval,    &verb_score,   &verb_search,     &verb_ask,    &verb_tell,    &verb_best,
    &verb_front,   &verb_report,  &verb_experiment, &verb_doctor,
};
enum { N_VERBS = sizeof verbs / sizeof *verbs };

static void print_version(void) {
    printf("medsamix %s\n%s\n", msx_version_string(), msx_build_info());
}

static void print_help(FILE *to) {
    fputs("usage: medsamix VERB [OPTIONS]\n\n"
          "Merge, run and score Segment Anything models, and search for the merge that segments\n"
          "your images best. For research; not a medical device.\n\nverbs:\n",
          to);
    for (int i = 0; i < N_VERBS; i++)
        fprintf(to, "  %-10s %s\n", verbs[i]->name, verbs[i]->summary);
    fputs(
        "\n'medsamix VERB -h' explains a verb; 'medsamix --version' says what this is.\n"
        "\nexit codes: 0 done; 2 usage; 3 an input is bad; 4 some cases failed; 5 a limit was hit;"
        "\n            6 internal error; 75 interrupted, can be resumed\n",
        to);
}

static const program_verb *find_verb(const char *name) {
    for (int i = 0; i < N_VERBS; i++)
        if (!strcmp(verbs[i]->name, name)) return verbs[i];
    return NULL;
}

static int unknown_verb(program *p, const char *name) {
    const char *names[N_VERBS];
    for (int i = 0; i < N_VERBS; i++) names[i] = verbs[i]->name;
    const char *closest = msx_closest_name(name, names, N_VERBS);
    return closest ? program_usage(p, "unknown verb '%s'; did you mean '%s'?", name, closest)
                   : program_usage(p, "unknown verb '%s'", name);
}

static msx_pickle_rule pickle_rule(const char *name) {
    return !strcmp(name, "strict")     ? MSX_PICKLE_STRICT
           : !strcmp(name, "tolerant") ? MSX_PICKLE_TOLERANT
                                       : MSX_PICKLE_KNOWN;
}

static int run_verb(program *p, int argc, char **argv) {
    int code = options_parse(p, argc, argv);
    if (code) return code;
    if (p->help_asked) {
        if (!strcmp(p->help_asked, "help"))
            options_help(p->verb, stdout);
        else
            print_version();
        return PROGRAM_DONE;
    }
    code = outputs_check(p);
    if (code) return code;
    msx_status status = msx_ctx_set_threads(p->ctx, (int)option_int(p, "threads", 0));
    if (status >= 0 && p->verb->opens)
        status = msx_ctx_set_pickle_rule(p->ctx, pickle_rule(option_or(p, "pickle", "known")));
    if (status < 0) return program_status(p, status);
    progress_begin(p);
    code = p->verb->run(p);
    progress_end(p);
    return code;
}

static int dispatch(program *p, int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        return PROGRAM_USAGE;
    }
    const char *word = argv[1];
    if (!strcmp(word, "-h") || !strcmp(word, "--help") || (!strcmp(word, "help") && argc == 2)) {
        print_help(stdout);
        return PROGRAM_DONE;
    }
    if (!strcmp(word, "--version")) {
        print_version();
        return PROGRAM_DONE;
    }
    bool help = !strcmp(word, "help");
    const char *name = help ? argv[2] : word;
    if (word[0] == '-') return program_usage(p, "'%s' stands where a verb is expected", word);
    const program_verb *verb = find_verb(name);
    if (!verb) return unknown_verb(p, name);
    if (help) {
        options_help(verb, stdout);
        return PROGRAM_DONE;
    }
    p->verb = verb;
    return run_verb(p, argc - 2, argv + 2);
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is a failed write */
    signal(SIGXFSZ, SIG_IGN); /* and so is a limit on the size of files */
    program p = {0};
    if (msx_ctx_create(&p.ctx, NULL) < 0) return program_fail(&p, PROGRAM_LIMIT, "out of memory");
    int code = dispatch(&p, argc, argv);
    int written = output_finish(&p);
    options_free(&p);
    msx_ctx_free(p.ctx);
    return code ? code : written;
}
