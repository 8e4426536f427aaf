/* SPDX-License-Identifier: Apache-2.0 */
/* Searches on tiny data, shared by the tests that run them. */
#ifndef MSX_TESTS_SEARCH_SEARCHING_H
#define MSX_TESTS_SEARCH_SEARCHING_H

#include "search/data.h"
#include "search/search.h"

#include <sqlite3.h>

typedef struct fixture {
    msx_ctx *ctx;
    char folder[64], store[128];
    msx_device *device;
    msx_dataset *data;
} fixture;

static inline void set_up(fixture *f) {
    f->ctx = test_ctx();
    strcpy(f->folder, test_make_folder());
    snprintf(f->store, sizeof f->store, "%s/store.db", f->folder);
    make_small_data(f->ctx, f->folder);
    test_ok(f->ctx, msx_device_open(&f->device, f->ctx, "cpu"));
    test_ok(f->ctx, msx_dataset_open(&f->data, f->ctx, f->folder));
}

static inline void tear_down(fixture *f) {
    msx_dataset_free(f->data);
    msx_device_free(f->device);
    test_remove_folder(f->folder);
    msx_ctx_free(f->ctx);
}

static inline void set(fixture *f, msx_search *s, const char *key, const char *value) {
    test_ok(f->ctx, msx_search_set(s, key, value));
}

/* A fine-tuned golden model with the base's positional encoding, as fine-tuning leaves it. */
static inline const char *fine_tuned(fixture *f, int number) {
    static char path[160];
    snprintf(path, sizeof path, "%s/finetuned%d.pth", f->folder, number);
    struct stat st;
    if (stat(path, &st) == 0) return path;
    char source[64];
    snprintf(source, sizeof source, "golden/merge/finetuned%d.safetensors", number);
    msx_checkpoint *base, *c, *copy;
    test_ok(f->ctx, msx_checkpoint_open(&base, f->ctx, test_path("golden/merge/base.safetensors")));
    test_ok(f->ctx, msx_checkpoint_open(&c, f->ctx, test_path(source)));
    test_ok(f->ctx, msx_checkpoint_create(&copy, f->ctx));
    for (int64_t i = 0; i < msx_checkpoint_count(c); i++) {
        const char *name = msx_checkpoint_name(c, i);
        const msx_checkpoint *from = strstr(name, "gaussian_matrix") ? base : c;
        int64_t dims[MSX_MAX_RANK], n = msx_checkpoint_elements(c, i);
        for (int a = 0; a < msx_checkpoint_rank(c, i); a++) dims[a] = msx_checkpoint_dim(c, i, a);
        test_ok(f->ctx, msx_checkpoint_add(copy, name, msx_checkpoint_rank(c, i), dims, NULL));
        test_ok(f->ctx, msx_checkpoint_read(from, msx_checkpoint_find(from, name),
                                            msx_checkpoint_data(copy, i), n));
    }
    test_ok(f->ctx, msx_checkpoint_save(copy, path, NULL));
    msx_checkpoint_free(base);
    msx_checkpoint_free(c);
    msx_checkpoint_free(copy);
    return path;
}

static inline void add_models(fixture *f, msx_search *s) {
    test_ok(f->ctx, msx_search_add_model(s, "base", test_path("golden/merge/base.safetensors")));
    test_ok(f->ctx, msx_search_add_model(s, "one", fine_tuned(f, 0)));
    test_ok(f->ctx, msx_search_add_model(s, "two", fine_tuned(f, 1)));
}

/* A search of both tasks by the driver "random". */
static inline msx_search *new_search(fixture *f, const char *store, const char *trials) {
    msx_search *s;
    test_ok(f->ctx, msx_search_create(&s, f->device));
    add_models(f, s);
    test_ok(f->ctx, msx_search_add_tasks(s, f->data, NULL, 0));
    set(f, s, "optimizer", "random");
    set(f, s, "seed", "3");
    set(f, s, "store", store);
    set(f, s, "trials", trials);
    return s;
}

static inline void same_trials(const msx_search *a, const msx_search *b) {
    ck_assert_int_eq(msx_search_trials(a), msx_search_trials(b));
    size_t n = (size_t)msx_space_count(a->space.space);
    for (int64_t i = 0; i < msx_search_trials(a); i++) {
        ck_assert_msg(msx_space_equal(a->space.space, a->trials[i].x, b->trials[i].x),
                      "trial %d differs in %zu columns", (int)i, n);
        ck_assert_str_eq(msx_search_trial_origin(a, i), msx_search_trial_origin(b, i));
        ck_assert(!memcmp(a->trials[i].history, b->trials[i].history, sizeof a->trials[i].history));
        ck_assert(!memcmp(msx_search_trial_costs(a, i), msx_search_trial_costs(b, i),
                          2 * sizeof(double)));
    }
}

static inline int64_t number_of(const char *path, const char *sql) {
    sqlite3 *db;
    sqlite3_stmt *q;
    ck_assert_int_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &q, NULL), SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(q), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    sqlite3_close(db);
    return n;
}

/* Change a store behind its back. */
static inline void edit(const char *store, const char *sql) {
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(store, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

#endif
