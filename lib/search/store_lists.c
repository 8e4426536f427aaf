/* SPDX-License-Identifier: Apache-2.0 */
/* What a store says its search is, for those who have neither the models nor the images. */
#include "search/store_internal.h"

#include <string.h>

enum { MAX_ROWS = 100000, MAX_TEXT = 4096 };

static const struct {
    const char *what, *sql; /* three texts and an integer */
} lists[] = {
    [MSX__STORE_MODELS] = {"model", "SELECT name, path, sha256, idx FROM models ORDER BY idx"},
    [MSX__STORE_TASKS] = {"task", "SELECT name, dataset, label, idx FROM tasks ORDER BY idx"},
    [MSX__STORE_GROUPS] = {"group", "SELECT name, state, name, elements FROM groups ORDER BY idx"},
};

typedef struct reader {
    msx__store_list list;
    msx__store_row_fn each;
    void *payload;
} reader;

static msx_status read_row(msx__store *s, const reader *r, const msx__sql_rows *rows, int64_t i) {
    const char *texts[3];
    bool good = i < MAX_ROWS && rows->values[3].kind == MSX__SQL_INTEGER;
    for (int k = 0; good && k < 3; k++) {
        texts[k] = msx__row_text(rows, k);
        good = texts[k] && strlen(texts[k]) <= MAX_TEXT;
    }
    if (!good) return msx__store_damaged(s, "%s %" PRId64, lists[r->list].what, i);
    return r->each(texts, rows->values[3].integer, r->payload);
}

static msx_status read_rows(msx__store *s, const reader *r, msx__sql_rows *rows) {
    MSX_TRY(s->db->driver->query(rows, lists[r->list].sql, NULL, 0));
    for (int64_t i = 0;; i++) {
        bool there;
        MSX_TRY(s->db->driver->next(rows, &there));
        if (!there) return MSX_OK;
        MSX_TRY(read_row(s, r, rows, i));
    }
}

/* Not tried again when the connection is lost: rows have been handed out by then. */
msx_status msx__store_read_list(msx__store *s, msx__store_list list, msx__store_row_fn each,
                                void *payload) {
    reader r = {list, each, payload};
    msx__sql_rows rows = {.db = s->db};
    pthread_mutex_lock(&s->lock);
    msx_status status = read_rows(s, &r, &rows);
    s->db->driver->finish(&rows);
    pthread_mutex_unlock(&s->lock);
    return status;
}
