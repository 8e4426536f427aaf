/* SPDX-License-Identifier: Apache-2.0 */
/* JSON in checkpoint files: the header of safetensors, the metadata of both containers. */
#include "checkpoint/internal.h"

#include <jansson.h>
#include <string.h>

/* A parsed value takes up to a hundred bytes where its text takes two. */
msx_status msx__checkpoint_check_json(const msx_checkpoint *c, const char *text, size_t n) {
    enum { VALUES = 16 }; /* of a tensor: name, type, 8 extents, 2 offsets */
    int64_t limit = msx_ctx_limit(c->ctx, MSX_LIMIT_TENSORS), keys = 0, values = 0;
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        if (quoted && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            quoted = !quoted;
        else if (!quoted)
            switch (text[i]) {
            case '{':
            case '[':
                depth++;
                break;
            case '}':
            case ']':
                depth--;
                break;
            case ',':
                values++;
                break;
            case ':':
                keys += depth == 1;
                break;
            }
    }
    if (memmem(text, n, "\"__metadata__\"", 14)) keys--;
    if (keys <= limit && values / VALUES <= limit) return MSX_OK;
    if (keys <= limit)
        return msx__fail(c->ctx, MSX_E_LIMIT,
                         "%s: %" PRId64 " values in the header, more than %" PRId64
                         " tensors have, which is the limit",
                         c->file.path, values, limit);
    return msx__fail(c->ctx, MSX_E_LIMIT,
                     "%s: %" PRId64 " tensors, more than the limit of %" PRId64, c->file.path, keys,
                     limit);
}

msx_status msx__checkpoint_parse_json(const msx_checkpoint *c, const char *what, int64_t at,
                                      const char *text, size_t n, struct json_t **out) {
    json_error_t error;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (*out) return MSX_OK;
    if (json_error_code(&error) == json_error_out_of_memory) return msx__nomem(c->ctx, n);
    return msx__fail(c->ctx, MSX_E_FORMAT, "%s: byte %" PRId64 ": %s is not JSON: %s", c->file.path,
                     at + error.position, what, error.text);
}

msx_status msx__checkpoint_parse_meta(msx_checkpoint *c, const char *what, struct json_t *object) {
    const char *key;
    json_t *value;
    bool strings = json_is_object(object);
    json_object_foreach(object, key, value) {
        if (!json_is_string(value))
            strings = false;
        else
            MSX_TRY(msx__checkpoint_push_meta(c, key, json_string_value(value)));
    }
    if (!strings)
        return msx__fail(c->ctx, MSX_E_FORMAT, "%s: %s must map strings to strings", c->file.path,
                         what);
    return MSX_OK;
}
