/* SPDX-License-Identifier: Apache-2.0 */
/* Writing safetensors. The header is padded with spaces so that the data begins at a multiple of 64
 * bytes; tensors keep their order and touch each other. */
#include "checkpoint/save.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    msx_dtype dtype;
    const char *name;
} types[] = {
    {MSX_DTYPE_F32, "F32"},
    {MSX_DTYPE_F16, "F16"},
    {MSX_DTYPE_BF16, "BF16"},
    {MSX_DTYPE_F64, "F64"},
};

static const char *type_name(msx_dtype dtype) {
    size_t i = 0;
    while (types[i].dtype != dtype) i++;
    return types[i].name;
}

/* "name":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]} */
static msx_status add_tensor(msx__save *s, int64_t k, int64_t *at, msx__buffer *header) {
    const msx__tensor *t = s->c->tensors + s->items[k].tensor;
    json_t *name = json_string(s->items[k].name);
    char *quoted = name ? json_dumps(name, JSON_ENCODE_ANY) : NULL;
    json_decref(name);
    if (!quoted) return msx__nomem(s->ctx, 0);
    int64_t end;
    if (!msx__add(*at, msx__save_bytes(s, k), &end)) {
        free(quoted);
        return msx__fail(s->ctx, MSX_E_LIMIT, "%s: too large for one file",
                         msx__checkpoint_label(s->c));
    }
    msx__buffer_printf(header, ",%s:{\"dtype\":\"%s\",\"shape\":[", quoted, type_name(s->dtype));
    free(quoted);
    for (int a = 0; a < t->rank; a++)
        msx__buffer_printf(header, "%s%" PRId64, a ? "," : "", t->dims[a]);
    msx__buffer_printf(header, "],\"data_offsets\":[%" PRId64 ",%" PRId64 "]}", *at, end);
    *at = end;
    return MSX_OK;
}

msx_status msx__part_header(msx__save *s, const msx__save_part *part, msx__buffer *header) {
    msx__buffer_printf(header, "{\"__metadata__\":%s", part->metadata);
    int64_t at = 0;
    for (int64_t k = part->first; k < part->last; k++) {
        if (!strcmp(s->items[k].name, "__metadata__"))
            return msx__fail(s->ctx, MSX_E_UNSUPPORTED,
                             "%s: a tensor is called __metadata__, which safetensors reserves",
                             msx__checkpoint_label(s->c));
        MSX_TRY(add_tensor(s, k, &at, header));
    }
    msx__buffer_text(header, "}");
    while (!header->failed && (header->length + 8) % 64) msx__buffer_text(header, " ");
    return header->failed ? MSX_E_NOMEM : MSX_OK;
}

msx_status msx__write_part(msx__save *s, const msx__save_part *part, msx__output *out,
                           uint64_t *header_bytes) {
    msx__buffer header;
    msx__buffer_init(&header, s->ctx);
    msx_status status = msx__part_header(s, part, &header);
    uint64_t length = *header_bytes = header.length;
    if (status == MSX_OK) status = msx__output_write(out, &length, sizeof length);
    if (status == MSX_OK) status = msx__output_write(out, header.data, header.length);
    msx__buffer_free(&header);
    for (int64_t k = part->first; status == MSX_OK && k < part->last; k++)
        status = msx__save_item_to(s, k, out, NULL);
    return status;
}

/* With a source the metadata is complete only behind the last tensor: the header, of the same length
 * then, is written once more. */
static msx_status rewrite_header(msx__save *s, uint64_t length) {
    char *metadata;
    MSX_TRY(msx__save_finish(s));
    MSX_TRY(msx__save_metadata(s, &metadata));
    const msx__save_part all = {0, s->n, metadata};
    msx__buffer header;
    msx__buffer_init(&header, s->ctx);
    msx_status status = msx__part_header(s, &all, &header);
    if (status == MSX_OK && header.length != length)
        status = msx__fail(s->ctx, MSX_E_INTERNAL, "metadata changed its length while saving");
    if (status == MSX_OK) status = msx__output_patch(&s->out, 8, header.data, header.length);
    msx__buffer_free(&header);
    free(metadata);
    return status;
}

msx_status msx__write_safetensors(msx__save *s) {
    char *metadata;
    uint64_t length;
    MSX_TRY(msx__save_metadata(s, &metadata));
    const msx__save_part all = {0, s->n, metadata};
    msx_status status = msx__write_part(s, &all, &s->out, &length);
    free(metadata);
    return status == MSX_OK && s->source ? rewrite_header(s, length) : status;
}
