/* SPDX-License-Identifier: Apache-2.0 */
/* A store of a server copied into memory, where the report reads it as it reads a file. */
#include "search/store_internal.h"

#include <stdio.h>
#include <string.h>

/* "SELECT * FROM name" of a table of the schema. */
static void statement(int table, const char *before, const char *after, char out[128]) {
    const char *name = msx__store_schema[table] + strlen("CREATE TABLE ");
    snprintf(out, 128, "%s%.*s%s", before, (int)strcspn(name, "("), name, after);
}

static msx_status copy_rows(msx__sql *to, int table, msx__sql_rows *rows) {
    char sql[128], marks[MSX__SQL_COLUMNS * 5 + 16] = " VALUES($1";
    for (int i = 1; i < rows->n_columns; i++)
        snprintf(marks + strlen(marks), sizeof marks - strlen(marks), ", $%d", i + 1);
    strcat(marks, ")");
    statement(table, "INSERT INTO ", marks, sql);
    for (;;) {
        bool there;
        MSX_TRY(rows->db->driver->next(rows, &there));
        if (!there) return MSX_OK;
        MSX_TRY(msx__check_cancel(to->ctx));
        MSX_TRY(to->driver->run(to, sql, rows->values, rows->n_columns, NULL));
    }
}

static msx_status copy_table(msx__sql *to, msx__sql *from, int table) {
    char sql[128];
    msx__buffer create;
    msx__buffer_init(&create, to->ctx);
    msx_status status = msx__schema_statement(to, table, &create);
    if (status >= 0) status = to->driver->run(to, create.data, NULL, 0, NULL);
    msx__buffer_free(&create);
    MSX_TRY(status);
    statement(table, "SELECT * FROM ", "", sql);
    msx__sql_rows rows = {.db = from};
    status = from->driver->query(&rows, sql, NULL, 0);
    if (status >= 0) status = copy_rows(to, table, &rows);
    from->driver->finish(&rows);
    return status;
}

/* Runs on the source, once: a lost connection ends it. */
static msx_status copy_tables(msx__store *from, void *payload) {
    const msx__store *to = payload;
    MSX_TRY(msx__store_begin(payload, to->db->driver->begin_write));
    for (int i = 0; i < MSX__STORE_TABLES; i++) MSX_TRY(copy_table(to->db, from->db, i));
    return to->db->driver->run(to->db, "COMMIT", NULL, 0, NULL);
}

msx_status msx__store_copy(msx__store **out, msx_ctx *ctx, const char *where, char **name) {
    msx__store *from;
    *out = NULL;
    *name = NULL;
    MSX_TRY(msx__store_connect(&from, ctx, where));
    msx__store_set_patience(from, 0);
    msx_status status = MSX_OK;
    if (from->fresh)
        status = msx__fail(ctx, MSX_E_IO, "%s: there is no store of a search", from->db->name);
    if (status >= 0 && !(*name = msx__strdup(ctx, from->db->name))) status = MSX_E_NOMEM;
    if (status >= 0) status = msx__store_connect(out, ctx, "");
    if (status >= 0)
        status = msx__store_transact(from, from->db->driver->begin_read, copy_tables, *out);
    msx__store_close(from);
    if (status < 0) {
        msx__store_close(*out);
        msx__free(ctx, *name);
        *out = NULL;
        *name = NULL;
    }
    return status;
}
