/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of a store, and what other databases call their types. */
#include "search/sql.h"

#include <string.h>

/* SQLite keeps these texts: a store is accepted only when they are exactly these, so that no trigger or
 * view of a stranger ever runs. */
const char *const msx__store_schema[MSX__STORE_TABLES] = {
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT)",
    "CREATE TABLE models(idx INTEGER PRIMARY KEY, name TEXT, path TEXT, sha256 TEXT)",
    "CREATE TABLE tasks(idx INTEGER PRIMARY KEY, name TEXT, dataset TEXT, label TEXT)",
    "CREATE TABLE groups(idx INTEGER PRIMARY KEY, name TEXT, elements INTEGER, state TEXT)",
    "CREATE TABLE parameters(idx INTEGER PRIMARY KEY, name TEXT, kind TEXT, lower REAL, upper REAL,"
    " choices TEXT)",
    "CREATE TABLE trials(number INTEGER PRIMARY KEY, state TEXT, origin TEXT, x BLOB, plan TEXT,"
    " mean_cost REAL, history BLOB, worker TEXT, lease REAL, attempt INTEGER, started REAL,"
    " finished REAL, seconds REAL, images INTEGER, blocks_run INTEGER, blocks_reused INTEGER,"
    " dice BLOB, error TEXT)",
    "CREATE TABLE costs(trial INTEGER, task INTEGER, cost REAL, PRIMARY KEY(trial, task))",
    "CREATE TABLE results(kind TEXT, name TEXT, split TEXT, task INTEGER, dice REAL, low REAL,"
    " high REAL, used INTEGER, left_out INTEGER, PRIMARY KEY(kind, name, split, task))",
    "CREATE TABLE pictures(idx INTEGER PRIMARY KEY, title TEXT, caption TEXT, split TEXT,"
    " png BLOB)",
};

/* A word of the schema as the driver says it. */
static const char *word_of(const msx__sql_driver *d, const char *word, size_t n) {
    static const char *const words[] = {"INTEGER", "REAL", "BLOB"};
    const char *const said[] = {d->integer_type, d->real_type, d->blob_type};
    for (int i = 0; i < 3; i++)
        if (strlen(words[i]) == n && !memcmp(words[i], word, n)) return said[i];
    return NULL;
}

static void add_words(const msx__sql *db, msx__buffer *out, const char *text, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t length = strcspn(text + i, " (),");
        if (length > n - i) length = n - i;
        const char *said = word_of(db->driver, text + i, length);
        if (said)
            msx__buffer_text(out, said);
        else
            msx__buffer_add(out, text + i, length);
        i += length;
        if (i < n) msx__buffer_add(out, text + i++, 1);
    }
}

msx_status msx__schema_statement(const msx__sql *db, int table, msx__buffer *out) {
    add_words(db, out, msx__store_schema[table], strlen(msx__store_schema[table]));
    return out->failed ? MSX_E_NOMEM : MSX_OK;
}

static const char *name_of(int table) {
    return msx__store_schema[table] + strlen("CREATE TABLE ");
}

/* The columns of a table; its key, which may follow them, is none. */
static void add_columns(const msx__sql *db, msx__buffer *out, int table) {
    static const char key[] = " PRIMARY KEY";
    const char *name = name_of(table);
    size_t name_length = strcspn(name, "(");
    const char *at = name + name_length + 1;
    while (strncmp(at, key + 1, sizeof key - 2) != 0) {
        size_t n = strcspn(at, ",)"), kept = n;
        const char *primary = strstr(at, key);
        if (primary && primary < at + n) kept = (size_t)(primary - at);
        msx__buffer_printf(out, "%.*s.", (int)name_length, name);
        add_words(db, out, at, kept);
        msx__buffer_text(out, "\n");
        if (at[n] == ')') break;
        at += n + 2;
    }
}

msx_status msx__schema_columns(const msx__sql *db, msx__buffer *out) {
    for (int last = -1, i = 0; i < MSX__STORE_TABLES; i++) {
        int next = -1;
        for (int k = 0; k < MSX__STORE_TABLES; k++)
            if ((last < 0 || strcmp(name_of(k), name_of(last)) > 0) &&
                (next < 0 || strcmp(name_of(k), name_of(next)) < 0))
                next = k;
        add_columns(db, out, next);
        last = next;
    }
    return out->failed ? MSX_E_NOMEM : MSX_OK;
}
