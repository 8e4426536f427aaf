/* SPDX-License-Identifier: Apache-2.0 */
/* Saving: options, final names, and one tensor at a time in memory. */
#include "checkpoint/save.h"

#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* transformers keeps the position matrix under two names. */
static const char *const matrix = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix";
static const char *const matrix_twin = "prompt_encoder.shared_embedding.positional_embedding";

static const struct {
    const char *name, *endings[2];
    msx_status (*write)(msx__save *s);
} writers[] = {
    {"torch zip", {".pth", ".pt"}, msx__write_torch_zip},
    {"safetensors", {".safetensors", ".safetensors"}, msx__write_safetensors},
    {"sharded safetensors", {".index.json", ".index.json"}, msx__write_sharded},
};
enum { WRITERS = sizeof writers / sizeof *writers };

#define SHARD_BYTES ((int64_t)5 * 1000 * 1000 * 1000)

/* ---- the list ------------------------------------------------------------------------------ */

static msx_status add_item(msx__save *s, int64_t tensor, const char *name) {
    char *copy = msx__strdup(s->ctx, name);
    if (!copy) return MSX_E_NOMEM;
    s->items[s->n++] = (msx__save_item){tensor, copy};
    return MSX_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Translated names may meet untranslated ones. */
static msx_status check_names(const msx__save *s) {
    const char **names = msx__alloc(s->ctx, (size_t)s->n, sizeof(const char *));
    if (!names) return MSX_E_NOMEM;
    msx_status status = MSX_OK;
    for (int64_t k = 0; k < s->n; k++) names[k] = s->items[k].name;
    if (s->n > 1) qsort(names, (size_t)s->n, sizeof(const char *), by_name);
    for (int64_t k = 1; k < s->n && status == MSX_OK; k++)
        if (!strcmp(names[k], names[k - 1]))
            status =
                msx__fail(s->ctx, MSX_E_UNSUPPORTED, "%s: two tensors would be written as '%s'",
                          msx__checkpoint_label(s->c), names[k]);
    msx__free(s->ctx, names);
    return status;
}

static msx_status list_items(msx__save *s, bool hf) {
    const msx_checkpoint *c = s->c;
    s->items = msx__alloc(s->ctx, (size_t)c->n + 1, sizeof *s->items);
    if (!s->items) return MSX_E_NOMEM;
    for (int64_t i = 0; i < c->n; i++) {
        char translated[MSX__NAME_BYTES];
        const char *name = c->tensors[i].name;
        if (!msx__dtype_is_float(c->tensors[i].dtype)) continue;
        bool known = hf && msx__name_to_hf(name, translated);
        MSX_TRY(add_item(s, i, known ? translated : name));
        if (hf && !strcmp(name, matrix)) MSX_TRY(add_item(s, i, matrix_twin));
    }
    return check_names(s);
}

static msx_status check_complete(msx__save *s) {
    msx_arch *a;
    MSX_TRY(msx_arch_infer(&a, s->ctx, s->c));
    msx_arch_free(a);
    return MSX_OK;
}

/* ---- data ---------------------------------------------------------------------------------- */

msx_status msx__save_open(const msx__save *s, msx__output *out, const char *path) {
    MSX_TRY(msx__output_open(out, s->ctx, path));
    out->draft = s->draft;
    return MSX_OK;
}

int64_t msx__save_bytes(const msx__save *s, int64_t k) {
    return s->c->tensors[s->items[k].tensor].elements * (int64_t)msx_dtype_size(s->dtype);
}

static msx_status make_buffers(msx__save *s) {
    int64_t largest = 0;
    for (int64_t k = 0; k < s->n; k++) {
        int64_t elements = s->c->tensors[s->items[k].tensor].elements;
        if (elements > largest) largest = elements;
    }
    if (!s->c->in_memory && !(s->values = msx__alloc(s->ctx, (size_t)largest, sizeof(float))))
        return MSX_E_NOMEM;
    if (s->dtype != MSX_DTYPE_F32 &&
        !(s->raw = msx__alloc(s->ctx, (size_t)largest, msx_dtype_size(s->dtype))))
        return MSX_E_NOMEM;
    return MSX_OK;
}

msx_status msx__save_load(msx__save *s, int64_t k, int64_t first, const void **data, int64_t *n) {
    const msx__tensor *t = s->c->tensors + s->items[k].tensor;
    const float *values = t->data;
    *data = NULL;
    *n = t->elements;
    if (s->source) {
        MSX_TRY(s->source->load(s->source->payload, s->items[k].tensor, first, &values, n));
    } else {
        MSX_TRY(msx__progress(s->ctx, "save", k, s->n, NAN));
    }
    if (!s->c->in_memory) {
        MSX_TRY(msx_checkpoint_read(s->c, s->items[k].tensor, s->values, t->elements));
        values = s->values;
    }
    if (s->raw) msx__from_f32(s->dtype, values, s->raw, *n);
    *data = s->raw ? s->raw : (const void *)values;
    return MSX_OK;
}

msx_status msx__save_item_to(msx__save *s, int64_t k, msx__output *out, uint32_t *crc) {
    int64_t elements = s->c->tensors[s->items[k].tensor].elements, first = 0, n;
    uLong sum = crc32(0, NULL, 0);
    do {
        const void *data;
        MSX_TRY(msx__save_load(s, k, first, &data, &n));
        size_t bytes = (size_t)n * msx_dtype_size(s->dtype);
        if (crc && bytes) sum = crc32_z(sum, data, bytes);
        MSX_TRY(msx__output_write(out, data, bytes));
        first += n;
    } while (first < elements);
    if (crc) *crc = (uint32_t)sum;
    return MSX_OK;
}

msx_status msx__save_finish(const msx__save *s) {
    return s->source ? s->source->finish(s->source->payload) : MSX_OK;
}

msx_status msx__save_metadata(const msx__save *s, char **out) {
    const msx_checkpoint *c = s->c;
    *out = NULL;
    json_t *object = json_object();
    if (!object) return msx__nomem(s->ctx, 0);
    for (int64_t i = 0; i < c->n_metas; i++)
        if (strcmp(c->metas[i].key, MSX__SHARD_BYTES_KEY) != 0 && /* of the file it was read from */
            json_object_set_new(object, c->metas[i].key, json_string(c->metas[i].value)) != 0) {
            json_decref(object);
            return msx__fail(s->ctx, MSX_E_ARG, "%s: metadata '%s' is not UTF-8",
                             msx__checkpoint_label(c), c->metas[i].key);
        }
    /* transformers refuses safetensors that do not say so */
    if (s->hf && !json_object_get(object, "format"))
        json_object_set_new(object, "format", json_string("pt"));
    *out = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(object);
    return *out ? MSX_OK : msx__nomem(s->ctx, 0);
}

/* ---- the call ------------------------------------------------------------------------------ */

static bool ends_with(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && !strcmp(text + n - m, ending);
}

static msx_status choose_writer(msx_ctx *ctx, const char *path, const char *container, int *out) {
    for (int w = 0; w < WRITERS; w++)
        if (container ? !strcmp(container, writers[w].name)
                      : ends_with(path, writers[w].endings[0]) ||
                            ends_with(path, writers[w].endings[1])) {
            *out = w;
            return MSX_OK;
        }
    if (container) {
        const char *names[WRITERS];
        for (int w = 0; w < WRITERS; w++) names[w] = writers[w].name;
        return msx__unknown(ctx, "container", container, names, WRITERS);
    }
    return msx__fail(ctx, MSX_E_ARG,
                     "%s: the ending chooses the format; use .pth, .pt, .safetensors or "
                     ".safetensors.index.json",
                     path);
}

static msx_status write_or_compare(msx__save *s, int writer) {
    if (s->hf) MSX_TRY(check_complete(s));
    MSX_TRY(list_items(s, s->hf));
    MSX_TRY(make_buffers(s));
    if (s->against)
        msx__output_compare(&s->out, s->ctx, &s->against->file);
    else
        MSX_TRY(msx__save_open(s, &s->out, s->path));
    MSX_TRY(writers[writer].write(s));
    return msx__output_commit(&s->out);
}

msx_status msx__save_options_take(msx_save_options *o, msx_ctx *ctx,
                                  const msx_save_options *options) {
    *o = (msx_save_options){.struct_size = sizeof *o};
    if (!options) return MSX_OK;
    if (options->struct_size < offsetof(msx_save_options, shard_bytes))
        return msx__fail(ctx, MSX_E_ARG, "struct_size of msx_save_options is not set");
    memcpy(o, options, options->struct_size < sizeof *o ? options->struct_size : sizeof *o);
    o->struct_size = sizeof *o;
    if (o->draft != 0 && o->draft != 1)
        return msx__fail(ctx, MSX_E_ARG, "draft is %" PRId64 "; use 0 or 1", o->draft);
    return MSX_OK;
}

/* The caller's options and the defaults. */
static msx_status complete_options(msx_ctx *ctx, const msx_save_options *options,
                                   msx_save_options *o) {
    static const char *const schemes[] = {"official", "hf"};
    MSX_TRY(msx__save_options_take(o, ctx, options));
    if (!o->dtype) o->dtype = MSX_DTYPE_F32;
    if (!msx__dtype_is_float(o->dtype))
        return msx__fail(ctx, MSX_E_ARG,
                         "element type %d cannot be written; use f32, f16, bf16, f64",
                         (int)o->dtype);
    if (!o->scheme) o->scheme = schemes[0];
    if (strcmp(o->scheme, schemes[0]) != 0 && strcmp(o->scheme, schemes[1]) != 0)
        return msx__unknown(ctx, "naming scheme", o->scheme, schemes, 2);
    if (!o->shard_bytes) o->shard_bytes = SHARD_BYTES;
    if (o->shard_bytes < 0)
        return msx__fail(ctx, MSX_E_ARG, "shard_bytes is %" PRId64 "; use 1 or more",
                         o->shard_bytes);
    return MSX_OK;
}

static msx_status save(msx__save *s, const msx_save_options *options) {
    msx_save_options o;
    int writer = 0;
    MSX_TRY(complete_options(s->ctx, options, &o));
    if (!s->path || !*s->path) return msx__fail(s->ctx, MSX_E_ARG, "no path to save to");
    MSX_TRY(choose_writer(s->ctx, s->path, o.container, &writer));
    s->dtype = o.dtype;
    s->hf = !strcmp(o.scheme, "hf");
    s->shard_bytes = o.shard_bytes;
    s->draft = o.draft;
    s->out.fd = -1;
    msx_status status = write_or_compare(s, writer);
    if (s->against && !s->differs_in) s->differs = s->out.differs;
    msx__output_discard(&s->out);
    for (int64_t k = 0; k < s->n; k++) msx__free(s->ctx, s->items[k].name);
    msx__free(s->ctx, s->items);
    msx__free(s->ctx, s->values);
    msx__free(s->ctx, s->raw);
    return status;
}

msx_status msx_checkpoint_save(const msx_checkpoint *c, const char *path,
                               const msx_save_options *options) {
    return msx__checkpoint_save_from(c, NULL, path, options);
}

msx_status msx__checkpoint_save_from(const msx_checkpoint *c, const msx__tensor_source *source,
                                     const char *path, const msx_save_options *options) {
    if (!c) return MSX_E_ARG;
    msx__save s = {.ctx = c->ctx, .c = c, .source = source, .path = path};
    return save(&s, options);
}

msx_status msx__save_against(const msx_checkpoint *c, const msx_checkpoint *file,
                             const msx_save_options *options, int64_t *differs, int64_t *shard) {
    msx__save s = {.ctx = c->ctx, .c = c, .path = file->file.path, .against = file};
    msx_status status = save(&s, options);
    *differs = s.differs;
    *shard = s.differs_in;
    return status;
}
