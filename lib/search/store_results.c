/* SPDX-License-Identifier: Apache-2.0 */
/* Scores and pictures in the store: those of a split are replaced as a whole. */
#include "search/store_internal.h"

static const char *split_name(msx_split split) {
    return split == MSX_SPLIT_TEST ? "test" : "calibration";
}

static msx_status delete_split(msx__store *s, msx_split split) {
    msx__sql_value name = msx__sql_text(split_name(split));
    MSX_TRY(MSX__RUN(s, NULL, "DELETE FROM results WHERE split = $1", name));
    return MSX__RUN(s, NULL, "DELETE FROM pictures WHERE split = $1", name);
}

msx_status msx__store_begin_results(msx__store *s, msx_split split) {
    const msx__sql_driver *d = s->db->driver;
    pthread_mutex_lock(&s->lock);
    msx_status status = msx__store_begin(s, d->begin_write);
    /* Two processes that end a search at the same time come one after the other. */
    if (status >= 0) status = d->lock_schema(s->db);
    if (status >= 0) status = delete_split(s, split);
    if (status < 0) msx__store_rollback(s);
    return status;
}

msx_status msx__store_add_result(msx__store *s, msx_split split, const msx__store_result *r) {
    return MSX__RUN(s, NULL, "INSERT INTO results VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                    msx__sql_text(r->kind), msx__sql_text(r->name),
                    msx__sql_text(split_name(split)), msx__sql_integer(r->task),
                    msx__sql_real(r->summary.mean), msx__sql_real(r->summary.low),
                    msx__sql_real(r->summary.high), msx__sql_integer(r->summary.used),
                    msx__sql_integer(r->summary.left_out));
}

msx_status msx__store_add_picture(msx__store *s, msx_split split, const char *title,
                                  const char *caption, const uint8_t *png, size_t bytes) {
    if (bytes > INT32_MAX)
        return msx__fail(s->ctx, MSX_E_LIMIT, "%s: a picture of %zu bytes", s->db->name, bytes);
    return MSX__RUN(s, NULL,
                    "INSERT INTO pictures SELECT coalesce(max(idx), -1) + 1, $1, $2, $3, $4"
                    " FROM pictures",
                    msx__sql_text(title), msx__sql_text(caption), msx__sql_text(split_name(split)),
                    msx__sql_blob(png, bytes));
}
