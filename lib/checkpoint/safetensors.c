/* SPDX-License-Identifier: Apache-2.0 */
/* Reading safetensors: u64 length, JSON header, data. The rules are those of the reference reader
 * and of its text: no duplicate keys, ranges that start at 0, touch each other and end with the
 * file. */
#include "checkpoint/internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    msx_dtype dtype;
} types[] = {
    {"F32", MSX_DTYPE_F32},   {"F16", MSX_DTYPE_F16}, {"BF16", MSX_DTYPE_BF16},
    {"F64", MSX_DTYPE_F64},   {"I8", MSX_DTYPE_I8},   {"U8", MSX_DTYPE_U8},
    {"I16", MSX_DTYPE_I16},   {"U16", MSX_DTYPE_U16}, {"I32", MSX_DTYPE_I32},
    {"U32", MSX_DTYPE_U32},   {"I64", MSX_DTYPE_I64}, {"U64", MSX_DTYPE_U64},
    {"BOOL", MSX_DTYPE_BOOL},
};

typedef struct entry {
    const char *name; /* of the JSON object */
    int64_t begin, end;
    msx__tensor tensor;
} entry;

static int by_range(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* A JSON array of `n` integers >= 0. */
static bool integers(const json_t *array, size_t n, int64_t *out) {
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(array, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0) return false;
        out[i] = json_integer_value(v);
    }
    return true;
}

static msx_status parse_entry(msx_checkpoint *c, const char *name, const json_t *object,
                              entry *out) {
    msx_ctx *ctx = c->ctx;
    const char *path = c->file.path;
    const char *type = json_string_value(json_object_get(object, "dtype"));
    const json_t *shape = json_object_get(object, "shape");
    const json_t *range = json_object_get(object, "data_offsets");
    if (!type || !json_is_array(shape) || !json_is_array(range) || json_object_size(object) != 3)
        return msx__fail(ctx, MSX_E_FORMAT,
                         "%s: tensor '%s': needs exactly dtype, shape and data_offsets", path,
                         name);
    size_t rank = json_array_size(shape), k = 0;
    if (rank > MSX_MAX_RANK)
        return msx__fail(ctx, MSX_E_UNSUPPORTED, "%s: tensor '%s': rank %zu, at most %d is read",
                         path, name, rank, MSX_MAX_RANK);
    *out = (entry){.name = name, .tensor.storage = -1};
    msx__tensor *t = &out->tensor;
    t->name = (char *)name;
    t->rank = (int)rank;
    int64_t offsets[2], bytes;
    if (!integers(shape, rank, t->dims) || json_array_size(range) != 2 ||
        !integers(range, 2, offsets))
        return msx__fail(ctx, MSX_E_FORMAT,
                         "%s: tensor '%s': shape and data_offsets must be integers >= 0", path,
                         name);
    while (k < sizeof types / sizeof *types && strcmp(types[k].name, type)) k++;
    if (k == sizeof types / sizeof *types)
        return msx__fail(ctx, MSX_E_UNSUPPORTED,
                         "%s: tensor '%s': element type '%.32s' is not read; convert it to F32",
                         path, name, type);
    t->dtype = types[k].dtype;
    out->begin = offsets[0];
    out->end = offsets[1];
    if (!msx__product(t->dims, t->rank, &t->elements) ||
        !msx__mul(t->elements, (int64_t)msx_dtype_size(t->dtype), &bytes) ||
        out->end < out->begin || bytes != out->end - out->begin) {
        char text[200];
        return msx__fail(ctx, MSX_E_FORMAT,
                         "%s: tensor '%s': data_offsets [%" PRId64 ", %" PRId64
                         "] do not fit shape %s of %s",
                         path, name, out->begin, out->end,
                         msx__shape_text(t->rank, t->dims, text, sizeof text), type);
    }
    t->span = t->elements;
    msx__contiguous_strides(t->rank, t->dims, t->strides);
    return MSX_OK;
}

/* The ranges cover the data exactly once. */
static msx_status check_cover(const msx_checkpoint *c, const entry *entries, size_t n,
                              int64_t data_bytes) {
    int64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const entry *e = entries + i;
        if (e->begin != at)
            return msx__fail(c->ctx, MSX_E_FORMAT,
                             "%s: tensor '%s': data begins at %" PRId64 ", the one before ends at "
                             "%" PRId64 " (%s)",
                             c->file.path, e->name, e->begin, at,
                             e->begin > at ? "a hole" : "an overlap");
        at = e->end;
    }
    if (at != data_bytes)
        return msx__fail(c->ctx, MSX_E_FORMAT,
                         "%s: the tensors need %" PRId64 " bytes, the file holds %" PRId64
                         "; it is %s, fetch it again",
                         c->file.path, at, data_bytes, at > data_bytes ? "truncated" : "too long");
    return MSX_OK;
}

/* `root` is an object: the header begins with '{'. */
static msx_status parse_header(msx_checkpoint *c, json_t *root, int64_t data_at) {
    size_t n = 0, room = json_object_size(root);
    entry *entries = msx__alloc(c->ctx, room, sizeof *entries);
    if (!entries) return MSX_E_NOMEM;
    const char *name;
    json_t *value;
    msx_status status = MSX_OK;
    json_object_foreach(root, name, value) {
        if (!strcmp(name, "__metadata__"))
            status = msx__checkpoint_parse_meta(c, name, value);
        else if (!msx__name_is_sane(name))
            status = msx__fail(c->ctx, MSX_E_FORMAT,
                               "%s: a tensor's name is empty, too long, or no printable UTF-8",
                               c->file.path);
        else
            status = parse_entry(c, name, value, &entries[n++]);
        if (status < 0) break;
    }
    if (status == MSX_OK) {
        qsort(entries, n, sizeof *entries, by_range);
        status = check_cover(c, entries, n, c->file.size - data_at);
    }
    for (size_t i = 0; status == MSX_OK && i < n; i++) {
        status = msx__check_tensor_bytes(c, c->file.path, &entries[i].tensor);
        if (status < 0) break;
        entries[i].tensor.offset = data_at + entries[i].begin;
        status = msx__checkpoint_push(c, &entries[i].tensor);
    }
    msx__free(c->ctx, entries);
    return status;
}

msx_status msx__safetensors_open(msx_checkpoint *c) {
    uint64_t bytes;
    int64_t limit = msx_ctx_limit(c->ctx, MSX_LIMIT_HEADER_BYTES);
    MSX_TRY(msx__file_read(&c->file, 0, &bytes, sizeof bytes));
    if (bytes > (uint64_t)c->file.size - 8)
        return msx__fail(c->ctx, MSX_E_FORMAT,
                         "%s: byte 0: the header should have %" PRIu64 " bytes, but the file has "
                         "%" PRId64 "; it is truncated or damaged, fetch it again",
                         c->file.path, bytes, c->file.size);
    if (bytes > (uint64_t)limit)
        return msx__fail(c->ctx, MSX_E_LIMIT,
                         "%s: the header has %" PRIu64 " bytes, more than the limit of %" PRId64,
                         c->file.path, bytes, limit);
    c->container = "safetensors";
    char *text = msx__alloc(c->ctx, (size_t)bytes, 1);
    if (!text) return MSX_E_NOMEM;
    msx_status status = msx__file_read(&c->file, 8, text, (size_t)bytes);
    json_t *root = NULL;
    if (status == MSX_OK) status = msx__checkpoint_check_json(c, text, (size_t)bytes);
    if (status == MSX_OK)
        status = msx__checkpoint_parse_json(c, "the header", 8, text, (size_t)bytes, &root);
    if (status == MSX_OK) status = parse_header(c, root, 8 + (int64_t)bytes);
    json_decref(root);
    msx__free(c->ctx, text);
    return status;
}
