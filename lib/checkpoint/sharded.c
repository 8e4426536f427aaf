/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint in several safetensors files: NAME.safetensors.index.json of transformers, whose
 * weight_map says for every tensor which file beside the index holds it. The index can name no other
 * folder, every file must hold exactly the tensors that the index says, and nothing is read twice. */
#include "checkpoint/internal.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SHARDS = 256 }; /* each stays open */

static bool ends_with(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && !strcmp(text + n - m, ending);
}

/* A name of a file beside the index. */
static msx_status check_shard_name(const msx_checkpoint *c, const char *tensor,
                                   const json_t *value) {
    const char *name = json_string_value(value);
    if (!name)
        return msx__fail(c->ctx, MSX_E_FORMAT,
                         "%s: weight_map: tensor '%.100s': needs the name of a file", c->file.path,
                         tensor);
    if (!msx__name_is_sane(name) || strpbrk(name, "/\\"))
        return msx__fail(c->ctx, MSX_E_FORMAT,
                         "%s: weight_map: tensor '%.100s': the file must lie beside the index: a "
                         "plain name without '/', '\\' or control characters",
                         c->file.path, tensor);
    if (!ends_with(name, ".safetensors"))
        return msx__fail(c->ctx, MSX_E_UNSUPPORTED,
                         "%s: weight_map: '%.100s' is not a .safetensors file; save the model with "
                         "safe_serialization=True",
                         c->file.path, name);
    return MSX_OK;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different names of files, sorted, owned by the JSON; `names` has room for all values. */
static msx_status list_shards(const msx_checkpoint *c, json_t *map, const char **names,
                              size_t *count) {
    const char *tensor;
    json_t *value;
    size_t n = 0, kept = 0;
    json_object_foreach(map, tensor, value) {
        if (!msx__name_is_sane(tensor))
            return msx__fail(c->ctx, MSX_E_FORMAT,
                             "%s: weight_map: a tensor's name is empty, too long, or no printable "
                             "UTF-8",
                             c->file.path);
        MSX_TRY(check_shard_name(c, tensor, value));
        names[n++] = json_string_value(value);
    }
    qsort(names, n, sizeof *names, by_text);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(names[i], names[kept - 1]) != 0) names[kept++] = names[i];
    *count = kept;
    return kept <= MAX_SHARDS ? MSX_OK
                              : msx__fail(c->ctx, MSX_E_LIMIT,
                                          "%s: weight_map names %zu files, at most %d are read",
                                          c->file.path, kept, MAX_SHARDS);
}

/* Open shard number c->n_shards. */
static msx_status open_shard(msx_checkpoint *c, const char *name) {
    const char *slash = strrchr(c->file.path, '/');
    msx__buffer path;
    msx__buffer_init(&path, c->ctx);
    msx__buffer_add(&path, c->file.path, slash ? (size_t)(slash + 1 - c->file.path) : 0);
    msx__buffer_text(&path, name);
    msx_checkpoint *shard = NULL;
    msx_status status = path.failed ? MSX_E_NOMEM : msx_checkpoint_create(&shard, c->ctx);
    if (status == MSX_OK) {
        c->shards[c->n_shards++] = shard;
        status = msx__file_open(&shard->file, c->ctx, path.data);
    }
    if (status == MSX_OK) {
        shard->in_memory = false;
        status = msx__safetensors_open(shard);
    }
    msx__buffer_free(&path);
    return status;
}

/* Take over the tensors of the latest shard. What it holds is what the index says it holds, so that
 * all shards together have no more tensors than the index. */
static msx_status take_tensors(msx_checkpoint *c, const json_t *map, const char *name) {
    msx_checkpoint *shard = c->shards[c->n_shards - 1];
    for (int64_t i = 0; i < shard->n; i++) {
        msx__tensor t = shard->tensors[i];
        const char *said = json_string_value(json_object_get(map, t.name));
        if (!said)
            return msx__fail(c->ctx, MSX_E_FORMAT,
                             "%s: tensor '%s' is not in the weight_map of %s; the files do not "
                             "belong together",
                             shard->file.path, t.name, c->file.path);
        if (strcmp(said, name) != 0)
            return msx__fail(c->ctx, MSX_E_FORMAT,
                             "%s: tensor '%s' is in this file, but weight_map of %s says in '%s'",
                             shard->file.path, t.name, c->file.path, said);
        t.shard = c->n_shards;
        MSX_TRY(msx__checkpoint_push(c, &t));
    }
    return MSX_OK;
}

/* Every tensor of the index was met. */
static msx_status check_all_there(msx_checkpoint *c, json_t *map) {
    if ((size_t)c->n == json_object_size(map)) return MSX_OK;
    const char *tensor;
    json_t *value;
    MSX_TRY(msx__checkpoint_index(c));
    json_object_foreach(map, tensor, value) {
        if (msx_checkpoint_find(c, tensor) < 0)
            return msx__fail(c->ctx, MSX_E_FORMAT,
                             "%s: weight_map: tensor '%s' is not in '%s'; fetch the files again",
                             c->file.path, tensor, json_string_value(value));
    }
    return MSX_OK;
}

static msx_status read_shards(msx_checkpoint *c, json_t *map) {
    size_t listed = json_object_size(map), n = 0;
    int64_t limit = msx_ctx_limit(c->ctx, MSX_LIMIT_TENSORS);
    if ((int64_t)listed > limit)
        return msx__fail(c->ctx, MSX_E_LIMIT,
                         "%s: weight_map has %zu tensors, more than the limit of %" PRId64,
                         c->file.path, listed, limit);
    const char **names = msx__alloc(c->ctx, listed, sizeof *names);
    if (!names) return MSX_E_NOMEM;
    msx_status status = list_shards(c, map, names, &n);
    if (status == MSX_OK && !(c->shards = msx__calloc(c->ctx, n, sizeof *c->shards)))
        status = MSX_E_NOMEM;
    for (size_t i = 0; i < n && status == MSX_OK; i++) {
        status = open_shard(c, names[i]);
        if (status == MSX_OK) status = take_tensors(c, map, names[i]);
    }
    msx__free(c->ctx, names);
    return status == MSX_OK ? check_all_there(c, map) : status;
}

/* Texts in the index's metadata are the checkpoint's; transformers keeps numbers there. */
static msx_status take_metadata(msx_checkpoint *c, json_t *root) {
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(root, "metadata"), key, value) {
        if (json_is_string(value))
            MSX_TRY(msx__checkpoint_push_meta(c, key, json_string_value(value)));
    }
    return MSX_OK;
}

msx_status msx__sharded_open(msx_checkpoint *c) {
    int64_t limit = msx_ctx_limit(c->ctx, MSX_LIMIT_HEADER_BYTES);
    if (c->file.size > limit)
        return msx__fail(c->ctx, MSX_E_LIMIT,
                         "%s: an index of %" PRId64 " bytes, more than the limit of %" PRId64,
                         c->file.path, c->file.size, limit);
    c->container = "sharded safetensors";
    char *text = msx__alloc(c->ctx, (size_t)c->file.size, 1);
    if (!text) return MSX_E_NOMEM;
    json_t *root = NULL;
    msx_status status = msx__file_read(&c->file, 0, text, (size_t)c->file.size);
    if (status == MSX_OK)
        status = msx__checkpoint_parse_json(c, "the index", 0, text, (size_t)c->file.size, &root);
    msx__free(c->ctx, text);
    json_t *map = json_object_get(root, "weight_map");
    if (status == MSX_OK && !map)
        status = msx__fail(c->ctx, MSX_E_UNSUPPORTED,
                           "%s: JSON without a weight_map; give the checkpoint, or its "
                           "model.safetensors.index.json",
                           c->file.path);
    if (status == MSX_OK && json_object_size(map) == 0)
        status =
            msx__fail(c->ctx, MSX_E_FORMAT,
                      "%s: weight_map must map names of tensors to names of files", c->file.path);
    if (status == MSX_OK) status = read_shards(c, map);
    if (status == MSX_OK) status = take_metadata(c, root);
    json_decref(root);
    return status;
}
