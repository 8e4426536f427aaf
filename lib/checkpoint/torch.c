/* SPDX-License-Identifier: Apache-2.0 */
/* The state dict in the pickle of a torch file: finding it below what trainers wrap around it, and
 * its tensors, of which every number is checked against the storage it points into. */
#include "checkpoint/torch.h"

#include <stdio.h>
#include <string.h>

static msx_status broken(const msx__pickle *p, const char *tensor, const char *what) {
    return msx__fail(p->ctx, MSX_E_FORMAT, "%s: tensor '%s': %s", p->where, tensor, what);
}

/* ---- finding the state dict ---------------------------------------------------------------- */

static bool is_tensor(const msx__pickle *p, msx__ref ref) {
    return msx__node_of(p, ref)->kind == MSX__NODE_CALL;
}

static int64_t count_tensors(const msx__pickle *p, msx__ref dict) {
    const msx__node *n = msx__node_of(p, dict);
    int64_t count = 0;
    if (n->kind != MSX__NODE_DICT) return 0;
    for (uint32_t i = n->u.items.first; i; i = p->items[i].next)
        count += is_tensor(p, p->items[i].value);
    return count;
}

enum { LEVELS = 3 };

/* torch-em and micro-sam use "model_state", Lightning "state_dict", MedSAM "model". Returns the dict
 * with tensors, or 0; `nesting` gets the keys on the way. */
static msx__ref find_state(const msx__pickle *p, msx__ref dict, char *nesting, size_t room,
                           int levels) {
    static const char *const keys[] = {"model_state", "state_dict", "model"};
    for (size_t i = 0; levels > 0 && i < sizeof keys / sizeof *keys; i++) {
        msx__ref inner = msx__node_lookup(p, dict, keys[i]);
        if (msx__node_of(p, inner)->kind != MSX__NODE_DICT) continue;
        int n = snprintf(nesting, room, "%s%s", levels < LEVELS ? "." : "", keys[i]);
        msx__ref found = find_state(p, inner, nesting + n, room - (size_t)n, levels - 1);
        if (found) return found;
    }
    *nesting = 0;
    return count_tensors(p, dict) ? dict : 0;
}

static msx_status refuse_root(const msx__pickle *p, msx__ref root) {
    const msx__node *n = msx__node_of(p, root);
    const msx__node *class = msx__node_of(p, n->kind == MSX__NODE_OPAQUE ? n->u.id : 0);
    if (class->kind == MSX__NODE_GLOBAL)
        return msx__fail(p->ctx, MSX_E_UNSUPPORTED,
                         "%s: holds a whole Python object (%.*s), not a state dict; save its "
                         "state_dict() alone",
                         p->where,
                         (int)(class->u.global.name_length < 80 ? class->u.global.name_length : 80),
                         (const char *)p->bytes + class->u.global.name);
    return msx__fail(p->ctx, MSX_E_UNSUPPORTED,
                     "%s: holds no state dict: no dictionary of tensors at the top or under "
                     "model_state, state_dict, model",
                     p->where);
}

/* ---- one tensor ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    msx_dtype dtype;
} torch_types[] = {
    {"float32", MSX_DTYPE_F32}, {"float16", MSX_DTYPE_F16}, {"bfloat16", MSX_DTYPE_BF16},
    {"float64", MSX_DTYPE_F64}, {"int8", MSX_DTYPE_I8},     {"uint8", MSX_DTYPE_U8},
    {"int16", MSX_DTYPE_I16},   {"uint16", MSX_DTYPE_U16},  {"int32", MSX_DTYPE_I32},
    {"uint32", MSX_DTYPE_U32},  {"int64", MSX_DTYPE_I64},   {"uint64", MSX_DTYPE_U64},
    {"bool", MSX_DTYPE_BOOL},
};

static msx_dtype torch_type(const msx__pickle *p, msx__ref ref) {
    for (size_t i = 0; i < sizeof torch_types / sizeof *torch_types; i++)
        if (msx__node_is_global(p, ref, "torch", torch_types[i].name)) return torch_types[i].dtype;
    return (msx_dtype)0;
}

/* Parameters are tensors in a wrapping: their first argument. */
static bool is_wrapper(const msx__pickle *p, msx__ref function) {
    return msx__node_is_global(p, function, "torch._utils", "_rebuild_parameter") ||
           msx__node_is_global(p, function, "torch._utils", "_rebuild_parameter_with_state") ||
           msx__node_is_global(p, function, "torch.nn.parameter", "Parameter");
}

/* A tuple of integers >= 0; -1 when it is something else, or longer than MSX_MAX_RANK. */
static int integers(const msx__pickle *p, msx__ref ref, int64_t *out) {
    const msx__node *n = msx__node_of(p, ref);
    if ((n->kind != MSX__NODE_TUPLE && n->kind != MSX__NODE_LIST) ||
        n->u.items.count > MSX_MAX_RANK)
        return -1;
    int count = 0;
    for (uint32_t i = n->u.items.first; i; i = p->items[i].next) {
        const msx__node *v = msx__node_of(p, p->items[i].value);
        if (v->kind != MSX__NODE_INT || v->u.integer < 0) return -1;
        out[count++] = v->u.integer;
    }
    return count;
}

/* From the first element touched to the last, and that within the storage. */
static msx_status check_range(const msx_checkpoint *c, const msx__pickle *p, msx__tensor *t,
                              int64_t offset, int64_t numel) {
    if (!msx__product(t->dims, t->rank, &t->elements))
        return broken(p, t->name, "lies outside its storage");
    if (t->elements == 0) {
        t->span = 0;
        return offset <= numel ? MSX_OK : broken(p, t->name, "lies outside its storage");
    }
    int64_t reach, end;
    t->span = 1;
    for (int a = 0; a < t->rank; a++)
        if (!msx__mul(t->dims[a] - 1, t->strides[a], &reach) || !msx__add(t->span, reach, &t->span))
            return broken(p, t->name, "lies outside its storage");
    if (!msx__add(offset, t->span, &end) || end > numel)
        return broken(p, t->name, "lies outside its storage");
    /* Allocations stay in proportion to the file. */
    if (t->elements > numel)
        return msx__fail(c->ctx, MSX_E_UNSUPPORTED,
                         "%s: tensor '%s': an expanded view with more elements than are stored; "
                         "save it contiguous",
                         p->where, t->name);
    return msx__check_tensor_bytes(c, p->where, t);
}

static msx_status read_tensor(msx_checkpoint *c, const msx__pickle *p, const char *name,
                              msx__ref ref) {
    const msx__node *n = msx__node_of(p, ref);
    for (int depth = 0; depth < 3 && n->kind == MSX__NODE_CALL && is_wrapper(p, n->u.call.function);
         depth++)
        n = msx__node_of(p, msx__node_item(p, n->u.call.arguments, 0));
    if (n->kind != MSX__NODE_CALL) return broken(p, name, "is no tensor");
    msx__ref function = n->u.call.function, arguments = n->u.call.arguments;
    bool typed = msx__node_is_global(p, function, "torch._utils", "_rebuild_tensor_v3");
    if (!typed && !msx__node_is_global(p, function, "torch._utils", "_rebuild_tensor_v2") &&
        !msx__node_is_global(p, function, "torch._utils", "_rebuild_tensor"))
        return msx__fail(c->ctx, MSX_E_UNSUPPORTED,
                         "%s: tensor '%s': quantized, sparse or another special tensor; save it as "
                         "a plain one",
                         p->where, name);
    const msx__node *id = msx__node_of(p, msx__node_item(p, arguments, 0));
    const msx__node *offset = msx__node_of(p, msx__node_item(p, arguments, 1));
    msx__tensor t = {.name = (char *)name};
    t.rank = integers(p, msx__node_item(p, arguments, 2), t.dims);
    if (id->kind != MSX__NODE_PERSISTENT || offset->kind != MSX__NODE_INT ||
        offset->u.integer < 0 || t.rank < 0 ||
        integers(p, msx__node_item(p, arguments, 3), t.strides) != t.rank)
        return broken(p, name, "has no storage, offset, shape or strides that make sense");
    t.storage = id->u.id;
    const msx__storage *s = c->storages + t.storage;
    t.dtype = typed ? torch_type(p, msx__node_item(p, arguments, 6)) : s->dtype;
    size_t item = msx_dtype_size(t.dtype);
    if (item == 0)
        return msx__fail(c->ctx, MSX_E_UNSUPPORTED, "%s: tensor '%s': of an unknown element type",
                         p->where, name);
    MSX_TRY(check_range(c, p, &t, offset->u.integer, s->size / (int64_t)item));
    t.offset = s->offset + offset->u.integer * (int64_t)item;
    return msx__checkpoint_push(c, &t);
}

msx_status msx__torch_read_state(msx_checkpoint *c, const msx__pickle *p, msx__ref root) {
    msx__ref dict = find_state(p, root, c->nesting, sizeof c->nesting, LEVELS);
    if (!dict) return refuse_root(p, root);
    int64_t count = count_tensors(p, dict), limit = msx_ctx_limit(c->ctx, MSX_LIMIT_TENSORS);
    if (count > limit)
        return msx__fail(c->ctx, MSX_E_LIMIT,
                         "%s: %" PRId64 " tensors, more than the limit of %" PRId64, p->where,
                         count, limit);
    for (uint32_t i = msx__node_of(p, dict)->u.items.first; i; i = p->items[i].next) {
        const msx__node *key = msx__node_of(p, p->items[i].key);
        if (!is_tensor(p, p->items[i].value)) continue; /* counters, options, nested dicts */
        char name[MSX__NAME_BYTES];
        if (key->kind != MSX__NODE_TEXT || key->u.text.length >= sizeof name ||
            memchr(p->bytes + key->u.text.begin, 0, key->u.text.length))
            return msx__fail(c->ctx, MSX_E_FORMAT, "%s: byte %u: a tensor has no printable name",
                             p->where, msx__node_of(p, p->items[i].value)->at);
        memcpy(name, p->bytes + key->u.text.begin, key->u.text.length);
        name[key->u.text.length] = 0;
        if (!msx__name_is_sane(name))
            return msx__fail(c->ctx, MSX_E_FORMAT, "%s: byte %u: a tensor has no printable name",
                             p->where, key->at);
        MSX_TRY(read_tensor(c, p, name, p->items[i].value));
    }
    return MSX_OK;
}
