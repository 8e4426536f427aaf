/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the store of a small search: trials that obey the schema's rules, or a failure that says what is wrong.
 * MSX_E_NOMEM is among them: SQLite says so of some damaged schemas. */
#include "search/store.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The search of tests/fuzz/make_corpus_store.py. */
static const msx__store_meta meta[] = {{"schema", MSX__STORE_SCHEMA, true}, {"seed", "7", true}};
static const msx__store_model models[] = {{"base", "/a.pth", "aa"}, {"human", "/b.pth", "bb"}};
static const msx__store_task tasks[] = {{"D/x", "D", "x"}, {"D/y", "D", "y"}};
static const msx__store_group groups[] = {{"neck", "searched", 10}};

static msx_status check_trial(const msx__store_trial *t, void *payload) {
    int64_t *n = payload;
    if (t->number != (*n)++ || !t->origin || strlen(t->origin) > 128) abort();
    if (!t->worker || strlen(t->worker) > 128 || t->attempt < 1) abort();
    for (int i = 0; t->costs && i < 2; i++)
        if (!(t->costs[i] >= 0 && t->costs[i] <= 1)) abort();
    volatile double touched = t->x[0] + t->x[1];
    (void)touched;
    return MSX_OK;
}

static void run(msx_ctx *ctx, const char *path, const msx_space *space) {
    msx__definition d = {.meta = meta,
                         .n_meta = 2,
                         .models = models,
                         .n_models = 2,
                         .tasks = tasks,
                         .n_tasks = 2,
                         .groups = groups,
                         .n_groups = 1,
                         .n_items = 2,
                         .space = space};
    msx__store *s;
    int64_t n = 0;
    msx_status status = msx__store_open(&s, ctx, path, &d);
    if (status >= 0) status = msx__store_read_trials(s, 0, INT64_MAX, check_trial, &n);
    double dice[2] = {0};
    if (status >= 0 && n > 0 && msx__store_read_dice(s, n - 1, dice) >= 0)
        for (int i = 0; i < 2; i++)
            if (dice[i] < 0 || dice[i] > 1) abort();
    if (status < 0 && status != MSX_E_STORE && status != MSX_E_IO && status != MSX_E_NOMEM) abort();
    if (status < 0 && !*msx_ctx_error(ctx)) abort();
    msx__store_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, sizeof path, "%s/medsamix-fuzz-store-%d", folder, (int)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0) return 0;
    bool written = write(fd, data, size) == (ssize_t)size;
    close(fd);
    msx_ctx *ctx = NULL;
    msx_space *space = NULL;
    const char *choices[] = {"linear", "ties"};
    if (written && msx_ctx_create(&ctx, NULL) >= 0 && msx_space_create(&space, ctx) >= 0 &&
        msx_space_add_categorical(space, "neck/method", choices, 2, 0) >= 0 &&
        msx_space_add_float(space, "neck/ties.retain", 0, 1, 0.5, false) >= 0)
        run(ctx, path, space);
    msx_space_free(space);
    msx_ctx_free(ctx);
    unlink(path);
    return 0;
}
