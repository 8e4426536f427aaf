/* SPDX-License-Identifier: Apache-2.0 */
/* Merging three files of the size of ViT-B into a file, against reading the inputs and writing the
 * output with `cat`: alone, and with what a merge does beside, which is to hash the inputs (by openssl, as many
 * at a time as there are threads) and to wait for the disk; and the most memory it takes. Drafts do neither
 * of these, as cat alone.
 *
 *   bench_merge_files [FOLDER [THREADS]]
 *
 * The models are made in FOLDER, or used when they are there. Times are medians; ratios are medians of what
 * one round measured side by side, so that other work on the machine tells less; CPU time, of all threads
 * together, tells least of it. */
#include "bench/rounds.h"
#include "support/vit_files.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MODELS = 3, PATH = 512, ROUNDS = 7 };

#define PEAK (5.0 * TEST_VIT_B_LARGEST + 64e6) /* bytes that a merge may take */

typedef struct bench {
    char program[PATH], paths[MODELS][PATH + 32], models[MODELS][PATH + 64], out[PATH + 32];
    char threads[16];
} bench;

static int make_models(bench *b) {
    const char *const paths[MODELS] = {b->paths[0], b->paths[1], b->paths[2]};
    msx_ctx *ctx;
    if (access(paths[MODELS - 1], R_OK) == 0) return 1;
    if (msx_ctx_create(&ctx, NULL) < 0) return 0;
    msx_status status = test_save_vit_b(ctx, paths, MODELS);
    if (status < 0) fprintf(stderr, "%s\n", msx_ctx_error(ctx));
    msx_ctx_free(ctx);
    return status >= 0;
}

/* What a command cost in every round. */
typedef struct cost {
    series wall, cpu; /* cpu: user and system time of all its threads, and of what it started */
    int64_t peak;     /* bytes of memory that it held at most */
} cost;

static double seconds_of(struct timeval t) {
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

/* Run a program; false when it fails. A child begins with the peak of its parent, so the models are made in
 * a child, too. */
static bool run(const char *const *command, cost *c) {
    struct rusage usage;
    int code = 0;
    double start = clock_now();
    pid_t child = fork();
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        if (null >= 0) dup2(null, STDOUT_FILENO);
        execvp(command[0], (char *const *)command);
        _exit(127);
    }
    if (child < 0 || wait4(child, &code, 0, &usage) != child) return false;
    if (c) {
        series_add(&c->wall, clock_now() - start);
        series_add(&c->cpu, seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
        if (usage.ru_maxrss * (int64_t)1024 > c->peak) c->peak = usage.ru_maxrss * (int64_t)1024;
    }
    return WIFEXITED(code) && WEXITSTATUS(code) == 0;
}

/* The second run of two: a virtual machine asks its host for memory that was not in use of late, which costs
 * ten times what other memory costs, and which command is the first to need it is chance; the first
 * also brings the inputs into the page cache. There is no output when one starts: a merge would keep it until it is done, and cat overwrite it. */
static bool run_again(const bench *b, const char *const *command, cost *c) {
    unlink(b->out);
    if (!run(command, NULL)) return false;
    unlink(b->out);
    return run(command, c);
}

static bool cat(const bench *b, const char *then, cost *c) {
    char text[8 * PATH];
    snprintf(text, sizeof text, "cat '%s' '%s' '%s' > /dev/null && cat '%s' > '%s' && %s '%s'",
             b->paths[0], b->paths[1], b->paths[2], b->paths[0], b->out, then, b->out);
    return run_again(b, (const char *const[]){"sh", "-c", text, NULL}, c);
}

/* The inputs hashed while they are read, the output on the disk. */
static bool cat_and_hash(const bench *b, cost *c) {
    char text[8 * PATH];
    snprintf(text, sizeof text,
             "printf '%%s\\n' '%s' '%s' '%s' | xargs -P %s -n 1 openssl dgst -sha256 && "
             "cat '%s' > '%s' && sync '%s'",
             b->paths[0], b->paths[1], b->paths[2], b->threads, b->paths[0], b->out, b->out);
    return run_again(b, (const char *const[]){"sh", "-c", text, NULL}, c);
}

static bool merge(const bench *b, const char *method, bool draft, cost *c) {
    const char *const command[] = {b->program,   "merge",    "-q",         "--threads",
                                   b->threads,   "--method", method,       "--base",
                                   b->paths[0],  "--model",  b->models[1], "--model",
                                   b->models[2], "-o",       b->out,       draft ? "--draft" : NULL,
                                   NULL};
    return run_again(b, command, c);
}

static void print_cost(const char *what, const cost *c) {
    printf("%-32s %8.3f %8.3f", what, series_median(&c->wall), series_median(&c->cpu));
}

static const char *verdict(bool met) {
    return met ? "met" : "missed";
}

/* What a kind of merge is held against: drafts against cat alone, others have no bound in time. */
#define TARGET 1.5
static void print_merge(const char *method, bool draft, const cost *c, const cost *const peers[3]) {
    char what[64];
    double ratio = series_ratio(&c->wall, &peers[0]->wall);
    snprintf(what, sizeof what, "%s%s", method, draft ? ", draft" : "");
    print_cost(what, c);
    printf(" %8.2f", ratio);
    if (draft)
        printf(" %8.2f %-8s %11s %11s", TARGET, verdict(ratio <= TARGET), "", "");
    else
        printf(" %8s %-8s %11.2f %11.2f", "", "", series_ratio(&c->wall, &peers[1]->wall),
               series_ratio(&c->wall, &peers[2]->wall));
    printf(" %8.1f %s\n", 1e-6 * (double)c->peak, verdict((double)c->peak <= PEAK));
}

static int measure(const bench *b) {
    static const char *const methods[] = {"linear", "task_arithmetic", "ties", "slerp"};
    enum { METHODS = sizeof methods / sizeof *methods };
    static cost plain, synced, hashed, merges[METHODS], drafts[METHODS];
    const cost *const peers[] = {&plain, &synced, &hashed};
    for (int round = 0; round < ROUNDS; round++) {
        if (!cat(b, "test -s", &plain)) return 0;
        if (!cat(b, "sync", &synced)) return 0;
        if (!cat_and_hash(b, &hashed)) return 0;
        for (int i = 0; i < METHODS; i++) {
            if (!merge(b, methods[i], true, &drafts[i])) return 0;
            if (!merge(b, methods[i], false, &merges[i])) return 0;
        }
    }
    unlink(b->out);
    printf("%-32s %8s %8s %8s %8s %-8s %11s %11s %8s of %.1f\n", "file to file", "s", "CPU s",
           "/ cat", "target", "", "/ with sync", "/ with both", "peak MB", 1e-6 * PEAK);
    print_cost("cat 3 inputs, cat > output", &plain);
    printf("\n");
    print_cost("the same, and sync the output", &synced);
    printf("\n");
    print_cost("the same, inputs hashed, too", &hashed);
    printf("\n");
    for (int i = 0; i < METHODS; i++) print_merge(methods[i], true, &drafts[i], peers);
    for (int i = 0; i < METHODS; i++) print_merge(methods[i], false, &merges[i], peers);
    return 1;
}

static int measure_in(const char *self, const char *folder, const char *threads) {
    bench b;
    const char *slash = strrchr(self, '/');
    snprintf(b.program, sizeof b.program, "%.*s/../medsamix", slash ? (int)(slash - self) : 1,
             slash ? self : ".");
    snprintf(b.threads, sizeof b.threads, "%s", threads);
    snprintf(b.out, sizeof b.out, "%s/merged.safetensors", folder);
    for (int k = 0; k < MODELS; k++) {
        snprintf(b.paths[k], sizeof b.paths[k], "%s/model%d.safetensors", folder, k);
        snprintf(b.models[k], sizeof b.models[k], "m%d=%s", k, b.paths[k]);
    }
    int code = 1;
    pid_t child = fork();
    if (child == 0) _exit(!make_models(&b));
    if (child < 0 || waitpid(child, &code, 0) != child || code) return 0;
    return measure(&b);
}

int main(int argc, char **argv) {
    char folder[] = "/tmp/medsamix-bench-XXXXXX", command[64];
    const char *threads = argc > 2 ? argv[2] : "2";
    if (argc > 1) return !measure_in(argv[0], argv[1], threads);
    if (!mkdtemp(folder)) return 1;
    int good = measure_in(argv[0], folder, threads);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) != 0 || !good;
}
