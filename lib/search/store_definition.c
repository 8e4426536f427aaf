/* SPDX-License-Identifier: Apache-2.0 */
/* What a search is: written once, compared whenever it is continued. */
#include "search/store_internal.h"

#include <stdio.h>
#include <string.h>

static const char *const kind_names[] = {
    [MSX_PARAM_FLOAT] = "float", [MSX_PARAM_INT] = "int", [MSX_PARAM_CATEGORICAL] = "categorical"};

/* Choices joined by ','; "" for numbers. */
static msx_status choices_of(const msx_space *space, int64_t i, msx__buffer *out) {
    msx__buffer_text(out, "");
    for (int64_t c = 0; c < msx_space_choices(space, i); c++)
        msx__buffer_printf(out, "%s%s", c ? "," : "", msx_space_choice(space, i, c));
    return out->failed ? MSX_E_NOMEM : MSX_OK;
}

static void hash_text(msx__sha256 *h, const char *text) {
    msx__sha256_add(h, text, strlen(text) + 1);
}

static void hash_double(msx__sha256 *h, double value) {
    char text[32];
    msx__format_double(value, text);
    hash_text(h, text);
}

void msx__definition_identity(const msx__definition *d, char out[MSX__SHA256_HEX]) {
    msx__sha256 h;
    msx__sha256_begin(&h);
    for (size_t i = 0; i < d->n_meta; i++)
        if (d->meta[i].defines) {
            hash_text(&h, d->meta[i].key);
            hash_text(&h, d->meta[i].value);
        }
    for (size_t i = 0; i < d->n_models; i++) {
        hash_text(&h, d->models[i].name);
        hash_text(&h, d->models[i].sha256);
    }
    for (size_t i = 0; i < d->n_tasks; i++) hash_text(&h, d->tasks[i].name);
    for (size_t i = 0; i < d->n_groups; i++) {
        hash_text(&h, d->groups[i].name);
        hash_text(&h, d->groups[i].state);
        char elements[24];
        snprintf(elements, sizeof elements, "%" PRId64, d->groups[i].elements);
        hash_text(&h, elements);
    }
    for (int64_t i = 0; i < msx_space_count(d->space); i++) {
        hash_text(&h, msx_space_name(d->space, i));
        hash_text(&h, kind_names[msx_space_kind(d->space, i)]);
        hash_double(&h, msx_space_lower(d->space, i));
        hash_double(&h, msx_space_upper(d->space, i));
        for (int64_t c = 0; c < msx_space_choices(d->space, i); c++)
            hash_text(&h, msx_space_choice(d->space, i, c));
    }
    msx__sha256_hex(&h, out);
}

/* ---- writing --------------------------------------------------------------------------------- */

static msx_status write_meta(msx__store *s, const char *key, const char *value) {
    return MSX__RUN(s, NULL, "INSERT INTO meta VALUES($1, $2)", msx__sql_text(key),
                    msx__sql_text(value));
}

static msx_status write_parameter(msx__store *s, const msx_space *space, int64_t i) {
    msx__buffer choices;
    msx__buffer_init(&choices, s->ctx);
    msx_status status = choices_of(space, i, &choices);
    if (status >= 0)
        status = MSX__RUN(s, NULL, "INSERT INTO parameters VALUES($1, $2, $3, $4, $5, $6)",
                          msx__sql_integer(i), msx__sql_text(msx_space_name(space, i)),
                          msx__sql_text(kind_names[msx_space_kind(space, i)]),
                          msx__sql_real(msx_space_lower(space, i)),
                          msx__sql_real(msx_space_upper(space, i)), msx__sql_text(choices.data));
    msx__buffer_free(&choices);
    return status;
}

msx_status msx__store_write_definition(msx__store *s, const msx__definition *d) {
    char identity[MSX__SHA256_HEX];
    msx__definition_identity(d, identity);
    MSX_TRY(write_meta(s, "identity", identity));
    for (size_t i = 0; i < d->n_meta; i++) MSX_TRY(write_meta(s, d->meta[i].key, d->meta[i].value));
    for (size_t i = 0; i < d->n_models; i++)
        MSX_TRY(MSX__RUN(s, NULL, "INSERT INTO models VALUES($1, $2, $3, $4)",
                         msx__sql_integer((int64_t)i), msx__sql_text(d->models[i].name),
                         msx__sql_text(d->models[i].path), msx__sql_text(d->models[i].sha256)));
    for (size_t i = 0; i < d->n_tasks; i++)
        MSX_TRY(MSX__RUN(s, NULL, "INSERT INTO tasks VALUES($1, $2, $3, $4)",
                         msx__sql_integer((int64_t)i), msx__sql_text(d->tasks[i].name),
                         msx__sql_text(d->tasks[i].dataset), msx__sql_text(d->tasks[i].label)));
    for (size_t i = 0; i < d->n_groups; i++)
        MSX_TRY(MSX__RUN(s, NULL, "INSERT INTO groups VALUES($1, $2, $3, $4)",
                         msx__sql_integer((int64_t)i), msx__sql_text(d->groups[i].name),
                         msx__sql_integer(d->groups[i].elements),
                         msx__sql_text(d->groups[i].state)));
    for (int64_t i = 0; i < msx_space_count(d->space); i++)
        MSX_TRY(write_parameter(s, d->space, i));
    return MSX_OK;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static msx_status read_meta(msx__store *s, const char *key, char **out) {
    msx__sql_rows rows = {.db = s->db};
    bool there = false;
    msx_status status =
        MSX__QUERY(&rows, "SELECT value FROM meta WHERE key = $1", msx__sql_text(key));
    if (status >= 0) status = s->db->driver->next(&rows, &there);
    if (status >= 0 && there) {
        const char *text = msx__row_text(&rows, 0);
        if (!(*out = msx__strdup(s->ctx, text ? text : ""))) status = MSX_E_NOMEM;
    }
    s->db->driver->finish(&rows);
    return status;
}

msx_status msx__store_read_meta(msx__store *s, const char *key, char **out) {
    *out = NULL;
    if (s->fresh) return MSX_OK;
    pthread_mutex_lock(&s->lock);
    msx_status status = read_meta(s, key, out);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static msx_status differs(msx__store *s, const char *what, const char *there, const char *here) {
    return msx__fail(s->ctx, MSX_E_STORE,
                     "%s: belongs to another search: %s is '%s' there and '%s' here; give another "
                     "store or repeat that search",
                     s->db->name, what, there, here);
}

static msx_status compare_meta(msx__store *s, const char *key, const char *here) {
    char *there;
    MSX_TRY(msx__store_read_meta(s, key, &there));
    msx_status status =
        there && !strcmp(there, here) ? MSX_OK : differs(s, key, there ? there : "(missing)", here);
    msx__free(s->ctx, there);
    return status;
}

/* One text per row of the stored table against one text per row of ours. */
typedef msx_status (*row_text_fn)(const msx__definition *d, int64_t i, msx__buffer *out);

static msx_status model_text(const msx__definition *d, int64_t i, msx__buffer *out) {
    msx__buffer_printf(out, "%s with SHA-256 %s", d->models[i].name, d->models[i].sha256);
    return out->failed ? MSX_E_NOMEM : MSX_OK;
}

static msx_status task_text(const msx__definition *d, int64_t i, msx__buffer *out) {
    msx__buffer_text(out, d->tasks[i].name);
    return out->failed ? MSX_E_NOMEM : MSX_OK;
}

static msx_status group_text(const msx__definition *d, int64_t i, msx__buffer *out) {
    msx__buffer_printf(out, "%s, %" PRId64 " elements, %s", d->groups[i].name,
                       d->groups[i].elements, d->groups[i].state);
    return out->failed ? MSX_E_NOMEM : MSX_OK;
}

static msx_status parameter_text(const msx__definition *d, int64_t i, msx__buffer *out) {
    msx__buffer_printf(out, "%s, %s, ", msx_space_name(d->space, i),
                       kind_names[msx_space_kind(d->space, i)]);
    return choices_of(d->space, i, out);
}

/* `there` against row i of ours; NULL: there is none. */
static msx_status compare_row(msx__store *s, const msx__definition *d, const char *what, int64_t i,
                              int64_t n, const char *there, row_text_fn text) {
    msx__buffer here;
    msx__buffer_init(&here, s->ctx);
    msx_status status = MSX_OK;
    if (i < n)
        status = text(d, i, &here);
    else
        msx__buffer_text(&here, "(missing)");
    if (status >= 0 && here.failed) status = MSX_E_NOMEM;
    if (status >= 0 && (!there || strcmp(there, here.data) != 0)) {
        char label[64];
        snprintf(label, sizeof label, "%s %" PRId64, what, i);
        status = differs(s, label, there ? there : "(missing)", here.data);
    }
    msx__buffer_free(&here);
    return status;
}

static msx_status compare_rows(msx__store *s, const msx__definition *d, const char *what,
                               const char *sql, int64_t n, row_text_fn text) {
    msx__sql_rows rows = {.db = s->db};
    bool there = true;
    msx_status status = s->db->driver->query(&rows, sql, NULL, 0);
    for (int64_t i = 0; status >= 0; i++) {
        status = s->db->driver->next(&rows, &there);
        if (status < 0 || (!there && i == n)) break;
        status = compare_row(s, d, what, i, n, there ? msx__row_text(&rows, 0) : NULL, text);
    }
    s->db->driver->finish(&rows);
    return status;
}

msx_status msx__store_compare_space(msx__store *s, const msx__definition *d) {
    return compare_rows(
        s, d, "parameter",
        "SELECT name || ', ' || kind || ', ' || choices FROM parameters ORDER BY idx",
        msx_space_count(d->space), parameter_text);
}

msx_status msx__store_compare(msx__store *s, const msx__definition *d) {
    for (size_t i = 0; i < d->n_meta; i++)
        if (d->meta[i].defines) MSX_TRY(compare_meta(s, d->meta[i].key, d->meta[i].value));
    MSX_TRY(compare_rows(s, d, "model",
                         "SELECT name || ' with SHA-256 ' || sha256 FROM models ORDER BY idx",
                         (int64_t)d->n_models, model_text));
    MSX_TRY(compare_rows(s, d, "task", "SELECT name FROM tasks ORDER BY idx", (int64_t)d->n_tasks,
                         task_text));
    MSX_TRY(compare_rows(
        s, d, "group",
        "SELECT name || ', ' || elements || ' elements, ' || state FROM groups ORDER BY idx",
        (int64_t)d->n_groups, group_text));
    MSX_TRY(msx__store_compare_space(s, d));
    char identity[MSX__SHA256_HEX];
    msx__definition_identity(d, identity);
    return compare_meta(s, "identity", identity);
}
