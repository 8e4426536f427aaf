/* SPDX-License-Identifier: Apache-2.0 */
/* Writing a checkpoint in several safetensors files, as transformers cuts a large model: the tensors in
 * their order, a new file where the next one would make the data too long; and the index that says for every
 * tensor which file holds it. The metadata is in the index. */
#include "checkpoint/save.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHARDS = 256 }; /* as many as are read */

static const char ending[] = ".safetensors.index.json";

typedef struct shards {
    msx__save *s;
    int64_t n;
    int64_t first[MAX_SHARDS + 1]; /* item that each begins with; the end */
    msx__output out[MAX_SHARDS];
    char *names[MAX_SHARDS];
} shards;

static msx_status cut(shards *x) {
    const msx__save *s = x->s;
    int64_t bytes = 0;
    for (int64_t k = 0; k < s->n; k++) {
        int64_t more = msx__save_bytes(s, k);
        if (k == 0 || more > s->shard_bytes - bytes) {
            if (x->n == MAX_SHARDS)
                return msx__fail(s->ctx, MSX_E_LIMIT,
                                 "%s: more than %d files of %" PRId64 " bytes; allow larger ones",
                                 s->path, MAX_SHARDS, s->shard_bytes);
            x->first[x->n++] = k;
            bytes = 0;
        }
        bytes += more;
    }
    x->first[x->n] = s->n;
    return MSX_OK;
}

/* X-00001-of-00003.safetensors beside X.safetensors.index.json; with the folder. */
static msx_status name_shards(shards *x) {
    const msx__save *s = x->s;
    size_t length = strlen(s->path), stem = length - (sizeof ending - 1);
    if (length < sizeof ending || strcmp(s->path + stem, ending) != 0)
        return msx__fail(s->ctx, MSX_E_ARG, "%s: the index of shards has to end in %s", s->path,
                         ending);
    for (int64_t i = 0; i < x->n; i++) {
        msx__buffer b;
        msx__buffer_init(&b, s->ctx);
        msx__buffer_add(&b, s->path, stem);
        msx__buffer_printf(&b, "-%05" PRId64 "-of-%05" PRId64 ".safetensors", i + 1, x->n);
        if (b.failed) {
            msx__buffer_free(&b);
            return MSX_E_NOMEM;
        }
        x->names[i] = b.data;
    }
    return MSX_OK;
}

static const char *without_folder(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static msx_status open_shard(shards *x, int64_t i) {
    const msx_checkpoint *against = x->s->against;
    if (!against) return msx__save_open(x->s, &x->out[i], x->names[i]);
    msx__output_compare(&x->out[i], x->s->ctx, &against->shards[i]->file);
    return MSX_OK;
}

/* Where there are fewer files to compare with the index differs, too. */
static msx_status write_shard(shards *x, int64_t i) {
    msx__save *s = x->s;
    uint64_t header_bytes;
    const msx__save_part part = {x->first[i], x->first[i + 1],
                                 s->hf ? "{\"format\":\"pt\"}" : "{}"};
    if (s->against && i >= s->against->n_shards) return MSX_OK;
    MSX_TRY(open_shard(x, i));
    MSX_TRY(msx__write_part(s, &part, &x->out[i], &header_bytes));
    MSX_TRY(msx__output_complete(&x->out[i]));
    if (s->against && !s->differs_in && x->out[i].differs >= 0) {
        s->differs_in = i + 1;
        s->differs = x->out[i].differs;
    }
    return MSX_OK;
}

/* {"metadata": {"total_size": 24, ...}, "weight_map": {...}}, as transformers writes it. */
static json_t *make_index(const shards *x, const char *metadata, int64_t total) {
    json_t *index = json_object(), *map = json_object();
    json_t *meta = json_loads(metadata, 0, NULL);
    char limit[24];
    snprintf(limit, sizeof limit, "%" PRId64, x->s->shard_bytes);
    bool good = index && map && meta &&
                !json_object_set_new(meta, "total_size", json_integer(total)) &&
                !json_object_set_new(meta, MSX__SHARD_BYTES_KEY, json_string(limit));
    for (int64_t i = 0; i < x->n && good; i++)
        for (int64_t k = x->first[i]; k < x->first[i + 1] && good; k++)
            good = !json_object_set_new(map, x->s->items[k].name,
                                        json_string(without_folder(x->names[i])));
    good = good && !json_object_set(index, "metadata", meta) &&
           !json_object_set(index, "weight_map", map);
    json_decref(meta);
    json_decref(map);
    if (good) return index;
    json_decref(index);
    return NULL;
}

static msx_status write_index(shards *x) {
    msx__save *s = x->s;
    int64_t total = 0;
    for (int64_t k = 0; k < s->n; k++) total += msx__save_bytes(s, k);
    char *metadata;
    MSX_TRY(msx__save_finish(s));
    MSX_TRY(msx__save_metadata(s, &metadata));
    json_t *index = make_index(x, metadata, total);
    free(metadata);
    char *text = index ? json_dumps(index, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    json_decref(index);
    if (!text) return msx__nomem(s->ctx, 0);
    msx_status status = msx__output_write(&s->out, text, strlen(text));
    if (status == MSX_OK) status = msx__output_write(&s->out, "\n", 1);
    free(text);
    return status;
}

/* No file appears before all are complete; the caller commits the index, which is the last. */
static msx_status write_all(shards *x) {
    MSX_TRY(cut(x));
    MSX_TRY(name_shards(x));
    for (int64_t i = 0; i < x->n; i++) MSX_TRY(write_shard(x, i));
    MSX_TRY(write_index(x));
    for (int64_t i = 0; i < x->n && !x->s->against; i++) MSX_TRY(msx__output_commit(&x->out[i]));
    return MSX_OK;
}

msx_status msx__write_sharded(msx__save *s) {
    shards *x = msx__calloc(s->ctx, 1, sizeof *x);
    if (!x) return MSX_E_NOMEM;
    x->s = s;
    for (int64_t i = 0; i < MAX_SHARDS; i++) x->out[i].fd = -1;
    msx_status status = write_all(x);
    for (int64_t i = 0; i < x->n; i++) {
        msx__output_discard(&x->out[i]);
        msx__free(s->ctx, x->names[i]);
    }
    msx__free(s->ctx, x);
    return status;
}
