/* SPDX-License-Identifier: Apache-2.0 */
/* Storages of torch files: ('storage', torch.FloatStorage, key, location, numel) in the pickle. */
#include "checkpoint/torch.h"

#include <stdlib.h>
#include <string.h>

/* Classes in torch, torch.cuda and torch.storage. Types that the library does not read have only a
 * size: what lies behind them in a legacy file must still be found. */
static const struct {
    const char *name;
    msx_dtype dtype;
    size_t item;
} classes[] = {
    {"FloatStorage", MSX_DTYPE_F32, 4},
    {"HalfStorage", MSX_DTYPE_F16, 2},
    {"BFloat16Storage", MSX_DTYPE_BF16, 2},
    {"DoubleStorage", MSX_DTYPE_F64, 8},
    {"CharStorage", MSX_DTYPE_I8, 1},
    {"ByteStorage", MSX_DTYPE_U8, 1},
    {"ShortStorage", MSX_DTYPE_I16, 2},
    {"IntStorage", MSX_DTYPE_I32, 4},
    {"LongStorage", MSX_DTYPE_I64, 8},
    {"BoolStorage", MSX_DTYPE_BOOL, 1},
    {"UntypedStorage", 0, 1},
    {"_UntypedStorage", 0, 1},
    {"ComplexFloatStorage", 0, 8},
    {"ComplexDoubleStorage", 0, 16},
    {"QInt8Storage", 0, 1},
    {"QUInt8Storage", 0, 1},
    {"QInt32Storage", 0, 4},
    {"QUInt4x2Storage", 0, 1},
    {"QUInt2x4Storage", 0, 1},
};

static int by_key(const void *a, const void *b) {
    return strcmp(((const msx__storage *)a)->key, ((const msx__storage *)b)->key);
}

msx_status msx__torch_sort_storages(msx_checkpoint *c) {
    if (c->n_storages > 1) qsort(c->storages, (size_t)c->n_storages, sizeof *c->storages, by_key);
    for (int64_t i = 1; i < c->n_storages; i++)
        if (!strcmp(c->storages[i].key, c->storages[i - 1].key))
            return msx__fail(c->ctx, MSX_E_FORMAT, "%s: storage '%s' occurs twice", c->file.path,
                             c->storages[i].key);
    return MSX_OK;
}

static int find_class(const msx__pickle *p, msx__ref ref) {
    static const char *const modules[] = {"torch", "torch.storage", "torch.cuda"};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        for (size_t m = 0; m < sizeof modules / sizeof *modules; m++)
            if (msx__node_is_global(p, ref, modules[m], classes[i].name)) return (int)i;
    return -1;
}

static msx__storage *find_storage(msx_checkpoint *c, const msx__pickle *p, msx__ref key) {
    const msx__node *n = msx__node_of(p, key);
    char text[64];
    if (n->kind != MSX__NODE_TEXT || n->u.text.length >= sizeof text) return NULL;
    memcpy(text, p->bytes + n->u.text.begin, n->u.text.length);
    text[n->u.text.length] = 0;
    if (strlen(text) != n->u.text.length || c->n_storages == 0) return NULL;
    msx__storage sought = {.key = text};
    return bsearch(&sought, c->storages, (size_t)c->n_storages, sizeof sought, by_key);
}

static msx_status bind(msx_checkpoint *c, msx__pickle *p, msx__node *id) {
    msx__ref tuple = id->u.id;
    msx__ref class = msx__node_item(p, tuple, 1), key = msx__node_item(p, tuple, 2);
    const msx__node *numel = msx__node_of(p, msx__node_item(p, tuple, 4));
    const msx__node *view = msx__node_of(p, msx__node_item(p, tuple, 5));
    bool source = msx__node_is_text(p, msx__node_item(p, tuple, 0), "module");
    if (source && p->rule == MSX_PICKLE_TOLERANT) {
        id->kind = MSX__NODE_OPAQUE;
        return MSX_OK;
    }
    if (source)
        return msx__fail(c->ctx, MSX_E_UNSUPPORTED,
                         "%s: byte %u: holds the source code of a class, not only tensors; save "
                         "the state dict alone",
                         p->where, id->at);
    int k = find_class(p, class);
    if (!msx__node_is_text(p, msx__node_item(p, tuple, 0), "storage") ||
        numel->kind != MSX__NODE_INT || numel->u.integer < 0)
        return msx__fail(c->ctx, MSX_E_FORMAT, "%s: byte %u: not the identification of a storage",
                         p->where, id->at);
    if (k < 0)
        return msx__fail(c->ctx, MSX_E_UNSUPPORTED, "%s: byte %u: a storage of an unknown type",
                         p->where, id->at);
    if (view->kind != MSX__NODE_NULL && msx__node_item(p, tuple, 5) != 0)
        return msx__fail(c->ctx, MSX_E_UNSUPPORTED,
                         "%s: byte %u: a view of a storage, as only torch before 0.4 wrote it",
                         p->where, id->at);
    msx__storage *s = find_storage(c, p, key);
    if (!s)
        return msx__fail(c->ctx, MSX_E_FORMAT,
                         "%s: byte %u: a storage is not in the file; it is incomplete", p->where,
                         id->at);
    if (s->numel >= 0 && (s->numel != numel->u.integer || s->dtype != classes[k].dtype ||
                          s->item != classes[k].item))
        return msx__fail(c->ctx, MSX_E_FORMAT,
                         "%s: byte %u: storage '%s' is used with two types or sizes", p->where,
                         id->at, s->key);
    s->numel = numel->u.integer;
    s->dtype = classes[k].dtype;
    s->item = classes[k].item;
    id->u.id = (msx__ref)(s - c->storages);
    return MSX_OK;
}

msx_status msx__torch_bind_storages(msx_checkpoint *c, msx__pickle *p) {
    for (uint32_t i = 1; i < p->n_nodes; i++)
        if (p->nodes[i].kind == MSX__NODE_PERSISTENT) MSX_TRY(bind(c, p, p->nodes + i));
    return MSX_OK;
}
