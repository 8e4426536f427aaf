/* SPDX-License-Identifier: Apache-2.0 */
/* The abstract machine of the pickle protocols 0 to 5 (Lib/pickletools.py), as a table of handlers.
 * Every opcode makes at most one node and every node, item and memo entry costs at least a byte of
 * the pickle, so memory is bounded by a multiple of its size. Nothing recurses. */
#include "checkpoint/pickle_stack.h"

#include <string.h>

/* ---- operands ------------------------------------------------------------------------------ */

static msx_status take(msx__pickle *p, uint64_t n, const unsigned char **bytes) {
    *bytes = p->bytes + p->at;
    if (n > p->size - p->at) return msx__pickle_broken(p, "the pickle ends inside an opcode");
    p->at += (uint32_t)n;
    return MSX_OK;
}

static msx_status take_unsigned(msx__pickle *p, int width, uint64_t *out) {
    const unsigned char *b = NULL;
    MSX_TRY(take(p, (uint64_t)width, &b));
    *out = 0;
    for (int i = width - 1; i >= 0; i--) *out = *out << 8 | b[i];
    return MSX_OK;
}

/* Text up to a line break, without it. */
static msx_status take_line(msx__pickle *p, uint32_t *begin, uint32_t *length) {
    const unsigned char *from = p->bytes + p->at;
    const unsigned char *end = memchr(from, '\n', p->size - p->at);
    *begin = *length = 0;
    if (!end) return msx__pickle_broken(p, "the pickle ends inside a line");
    *begin = p->at;
    *length = (uint32_t)(end - from);
    p->at += *length + 1;
    return MSX_OK;
}

/* ---- values -------------------------------------------------------------------------------- */

static msx_status op_proto(msx__pickle *p, int arg) {
    uint64_t version = 0;
    (void)arg;
    MSX_TRY(take_unsigned(p, 1, &version));
    return version <= 5 ? MSX_OK : msx__pickle_broken(p, "unknown pickle protocol");
}

static msx_status op_skip(msx__pickle *p, int width) {
    const unsigned char *b = NULL;
    return take(p, (uint64_t)width, &b);
}

static msx_status op_constant(msx__pickle *p, int kind) {
    return msx__pickle_push_node(p, (msx__node){.kind = (uint8_t)kind});
}

static msx_status op_bool(msx__pickle *p, int value) {
    return msx__pickle_push_node(p, (msx__node){.kind = MSX__NODE_BOOL, .u.integer = value});
}

/* Width in bytes; negative: signed. */
static msx_status op_int(msx__pickle *p, int width) {
    uint64_t v = 0;
    MSX_TRY(take_unsigned(p, width < 0 ? -width : width, &v));
    int64_t value = width < 0 ? (int32_t)(uint32_t)v : (int64_t)v;
    return msx__pickle_push_node(p, (msx__node){.kind = MSX__NODE_INT, .u.integer = value});
}

/* Two's complement of any length; what exceeds 64 bits is of no interest. */
static msx_status op_long(msx__pickle *p, int width) {
    uint64_t n = 0;
    const unsigned char *b = NULL;
    MSX_TRY(take_unsigned(p, width, &n));
    MSX_TRY(take(p, n, &b));
    if (n > 8) return op_constant(p, MSX__NODE_OPAQUE);
    uint64_t v = n && b[n - 1] & 0x80 ? UINT64_MAX : 0;
    for (uint64_t i = n; i-- > 0;) v = v << 8 | b[i];
    return msx__pickle_push_node(p, (msx__node){.kind = MSX__NODE_INT, .u.integer = (int64_t)v});
}

static msx_status op_float(msx__pickle *p, int width) {
    MSX_TRY(op_skip(p, width));
    return op_constant(p, MSX__NODE_OPAQUE);
}

static msx_status op_text(msx__pickle *p, int width) {
    uint64_t n = 0;
    const unsigned char *b = NULL;
    MSX_TRY(take_unsigned(p, width, &n));
    MSX_TRY(take(p, n, &b));
    return msx__pickle_push_node(
        p, (msx__node){.kind = MSX__NODE_TEXT, .u.text = {(uint32_t)(b - p->bytes), (uint32_t)n}});
}

/* Protocol 0, which torch never writes but attackers do: text is kept as it stands. */
static msx_status op_line(msx__pickle *p, int kind) {
    uint32_t begin, length;
    MSX_TRY(take_line(p, &begin, &length));
    if (p->bytes[p->op] == 'S' && length >= 2) begin++, length -= 2; /* quotes */
    msx__node n = {.kind = (uint8_t)kind};
    if (kind == MSX__NODE_TEXT) n.u.text.begin = begin, n.u.text.length = length;
    return msx__pickle_push_node(p, n);
}

/* ---- containers ---------------------------------------------------------------------------- */

static msx_status move_items(msx__pickle *p, msx__ref container, uint32_t from, uint32_t to) {
    for (uint32_t i = from; i < to; i++)
        MSX_TRY(msx__pickle_add_item(p, container, 0, p->stack.data[i]));
    return MSX_OK;
}

static msx_status move_pairs(msx__pickle *p, msx__ref dict, uint32_t from, uint32_t to) {
    if ((to - from) % 2) return msx__pickle_broken(p, "a key has no value");
    for (uint32_t i = from; i < to; i += 2)
        MSX_TRY(msx__pickle_add_item(p, dict, p->stack.data[i], p->stack.data[i + 1]));
    return MSX_OK;
}

/* A container of the items [from, to) of the stack, which it replaces. */
static msx_status collect(msx__pickle *p, int kind, uint32_t from, uint32_t to) {
    p->stack.n = to; /* keep the items in place while the node is made */
    MSX_TRY(op_constant(p, kind));
    msx__ref container = p->stack.data[to];
    MSX_TRY(kind == MSX__NODE_DICT ? move_pairs(p, container, from, to)
                                   : move_items(p, container, from, to));
    p->stack.n = from;
    return msx__pickle_push(p, &p->stack, container);
}

static msx_status op_collect(msx__pickle *p, int kind) {
    uint32_t from, to;
    MSX_TRY(msx__pickle_pop_mark(p, &from, &to));
    return collect(p, kind, from, to);
}

static msx_status op_tuple(msx__pickle *p, int n) {
    if (p->stack.n - msx__pickle_floor(p) < (uint32_t)n)
        return msx__pickle_broken(p, "the stack is empty");
    return collect(p, MSX__NODE_TUPLE, p->stack.n - (uint32_t)n, p->stack.n);
}

/* Items go into lists and dicts; those of other objects are of no interest. */
static msx_status fill(msx__pickle *p, int kind, uint32_t from, uint32_t to) {
    msx__ref target;
    p->stack.n = from;
    MSX_TRY(msx__pickle_top(p, &target));
    int found = p->nodes[target].kind;
    if (found == MSX__NODE_OPAQUE || found == MSX__NODE_CALL) return MSX_OK;
    if (found != kind) return msx__pickle_broken(p, "items for something that is no container");
    return kind == MSX__NODE_DICT ? move_pairs(p, target, from, to)
                                  : move_items(p, target, from, to);
}

static msx_status op_fill_one(msx__pickle *p, int kind) {
    uint32_t n = kind == MSX__NODE_DICT ? 2 : 1;
    if (p->stack.n - msx__pickle_floor(p) <= n) return msx__pickle_broken(p, "the stack is empty");
    return fill(p, kind, p->stack.n - n, p->stack.n);
}

static msx_status op_fill(msx__pickle *p, int kind) {
    uint32_t from, to;
    MSX_TRY(msx__pickle_pop_mark(p, &from, &to));
    return fill(p, kind, from, to);
}

/* ---- stack and memo ------------------------------------------------------------------------ */

static msx_status op_mark(msx__pickle *p, int arg) {
    (void)arg;
    return msx__pickle_push(p, &p->marks, p->stack.n);
}

static msx_status op_pop(msx__pickle *p, int arg) {
    msx__ref ref;
    uint32_t from, to;
    (void)arg;
    if (p->marks.n && p->stack.n == msx__pickle_floor(p))
        return msx__pickle_pop_mark(p, &from, &to);
    return msx__pickle_pop(p, &ref);
}

static msx_status op_pop_mark(msx__pickle *p, int arg) {
    uint32_t from, to;
    (void)arg;
    return msx__pickle_pop_mark(p, &from, &to);
}

static msx_status op_dup(msx__pickle *p, int arg) {
    msx__ref ref;
    (void)arg;
    MSX_TRY(msx__pickle_top(p, &ref));
    return msx__pickle_push(p, &p->stack, ref);
}

/* Memo index: a number of `width` bytes, or a line of decimal digits for width 0. */
static msx_status take_index(msx__pickle *p, int width, uint64_t *index) {
    if (width) return take_unsigned(p, width, index);
    uint32_t begin, length;
    MSX_TRY(take_line(p, &begin, &length));
    *index = 0;
    for (uint32_t i = begin; i < begin + length; i++) {
        if (p->bytes[i] < '0' || p->bytes[i] > '9' || *index > UINT32_MAX)
            return msx__pickle_broken(p, "a memo index is no number");
        *index = *index * 10 + (p->bytes[i] - '0');
    }
    return MSX_OK;
}

static msx_status memoize(msx__pickle *p, uint64_t index) {
    msx__ref ref;
    MSX_TRY(msx__pickle_top(p, &ref));
    /* Picklers count from 0, so an honest index is smaller than the number of bytes. */
    if (index >= p->size) return msx__pickle_broken(p, "a memo index is too large");
    if (!msx__pickle_grow(p->ctx, (void **)&p->memo.data, &p->memo.capacity, (uint32_t)index + 1,
                          sizeof *p->memo.data))
        return MSX_E_NOMEM;
    while (p->memo.n <= index) p->memo.data[p->memo.n++] = 0;
    p->memo.data[index] = ref;
    return MSX_OK;
}

static msx_status op_put(msx__pickle *p, int width) {
    uint64_t index = 0;
    MSX_TRY(take_index(p, width, &index));
    return memoize(p, index);
}

static msx_status op_memoize(msx__pickle *p, int arg) {
    (void)arg;
    return memoize(p, p->memo.n);
}

static msx_status op_get(msx__pickle *p, int width) {
    uint64_t index = 0;
    MSX_TRY(take_index(p, width, &index));
    if (index >= p->memo.n || !p->memo.data[index])
        return msx__pickle_broken(p, "the memo has no such entry");
    return msx__pickle_push(p, &p->stack, p->memo.data[index]);
}

/* ---- names and calls ----------------------------------------------------------------------- */

/* At most 80 characters of a name, what is not printable as '?'. */
static const char *printable(const msx__pickle *p, uint32_t begin, uint32_t length, char out[81]) {
    uint32_t n = length < 80 ? length : 80;
    for (uint32_t i = 0; i < n; i++) {
        unsigned char ch = p->bytes[begin + i];
        out[i] = ch > 0x20 && ch < 0x7f ? (char)ch : '?';
    }
    out[n] = 0;
    return out;
}

static msx_status push_global(msx__pickle *p, uint32_t module, uint32_t module_length,
                              uint32_t name, uint32_t name_length) {
    const char *bytes = (const char *)p->bytes;
    char shown[2][81];
    if (p->rule == MSX_PICKLE_STRICT &&
        !msx__global_is_strict(bytes + module, module_length, bytes + name, name_length))
        return msx__fail(
            p->ctx, MSX_E_UNSUPPORTED,
            "%s: byte %u: the pickle names %s.%s, which the strict rule does not take; "
            "save the state dict alone",
            p->where, p->op, printable(p, module, module_length, shown[0]),
            printable(p, name, name_length, shown[1]));
    return msx__pickle_push_node(
        p, (msx__node){.kind = MSX__NODE_GLOBAL,
                       .u.global = {module, module_length, name, name_length}});
}

static msx_status op_global(msx__pickle *p, int arg) {
    uint32_t module, module_length, name, name_length;
    (void)arg;
    MSX_TRY(take_line(p, &module, &module_length));
    MSX_TRY(take_line(p, &name, &name_length));
    return push_global(p, module, module_length, name, name_length);
}

static msx_status op_stack_global(msx__pickle *p, int arg) {
    msx__ref module, name;
    (void)arg;
    MSX_TRY(msx__pickle_pop(p, &name));
    MSX_TRY(msx__pickle_pop(p, &module));
    const msx__node *m = p->nodes + module, *n = p->nodes + name;
    if (m->kind != MSX__NODE_TEXT || n->kind != MSX__NODE_TEXT)
        return msx__pickle_broken(p, "the name of a class is no text");
    return push_global(p, m->u.text.begin, m->u.text.length, n->u.text.begin, n->u.text.length);
}

/* OrderedDict(), or OrderedDict([(key, value), ...]) as Python 2 wrote it. */
static msx_status make_dict(msx__pickle *p, msx__ref arguments) {
    MSX_TRY(op_constant(p, MSX__NODE_DICT));
    msx__ref dict = p->stack.data[p->stack.n - 1];
    msx__ref pairs = msx__node_item(p, arguments, 0);
    if (p->nodes[pairs].kind != MSX__NODE_LIST || !pairs) return MSX_OK;
    for (uint32_t i = p->nodes[pairs].u.items.first; i; i = p->items[i].next) {
        msx__ref pair = p->items[i].value;
        int kind = p->nodes[pair].kind;
        if ((kind != MSX__NODE_TUPLE && kind != MSX__NODE_LIST) ||
            p->nodes[pair].u.items.count != 2)
            return msx__pickle_broken(p, "a dictionary made of something else than pairs");
        MSX_TRY(
            msx__pickle_add_item(p, dict, msx__node_item(p, pair, 0), msx__node_item(p, pair, 1)));
    }
    return MSX_OK;
}

static msx_status call(msx__pickle *p, msx__ref function, msx__ref arguments) {
    const msx__node *f = p->nodes + function;
    bool tolerant = p->rule == MSX_PICKLE_TOLERANT;
    if (tolerant && (f->kind != MSX__NODE_GLOBAL || p->nodes[arguments].kind != MSX__NODE_TUPLE))
        return op_constant(p, MSX__NODE_OPAQUE);
    if (f->kind != MSX__NODE_GLOBAL || p->nodes[arguments].kind != MSX__NODE_TUPLE)
        return msx__fail(p->ctx, MSX_E_UNSUPPORTED,
                         "%s: byte %u: the pickle calls something that has no name; nothing was "
                         "executed, the file is refused",
                         p->where, p->op);
    const char *bytes = (const char *)p->bytes;
    char module[81], name[81];
    switch (msx__classify_call(bytes + f->u.global.module, f->u.global.module_length,
                               bytes + f->u.global.name, f->u.global.name_length)) {
    case MSX__CALL_KEPT:
        return msx__pickle_push_node(
            p, (msx__node){.kind = MSX__NODE_CALL, .u.call = {function, arguments}});
    case MSX__CALL_DICT:
        return make_dict(p, arguments);
    case MSX__CALL_TUPLE:
        if (p->nodes[arguments].u.items.count != 1)
            return msx__pickle_broken(p, "torch.Size needs a tuple");
        return msx__pickle_push(p, &p->stack, msx__node_item(p, arguments, 0));
    case MSX__CALL_OPAQUE:
        return op_constant(p, MSX__NODE_OPAQUE);
    case MSX__CALL_REFUSED:
        if (tolerant) return op_constant(p, MSX__NODE_OPAQUE);
        break;
    }
    return msx__fail(p->ctx, MSX_E_UNSUPPORTED,
                     "%s: byte %u: the pickle calls %s.%s, which is no part of a model; nothing "
                     "was executed, the file is refused; save the state dict alone, or allow it "
                     "by the tolerant rule",
                     p->where, p->op,
                     printable(p, f->u.global.module, f->u.global.module_length, module),
                     printable(p, f->u.global.name, f->u.global.name_length, name));
}

static msx_status op_reduce(msx__pickle *p, int arg) {
    msx__ref function, arguments;
    (void)arg;
    MSX_TRY(msx__pickle_pop(p, &arguments));
    MSX_TRY(msx__pickle_pop(p, &function));
    return call(p, function, arguments);
}

/* INST names the function in two lines, OBJ has it on the stack behind the mark. */
static msx_status op_inst(msx__pickle *p, int arg) {
    (void)arg;
    MSX_TRY(op_collect(p, MSX__NODE_TUPLE));
    msx__ref arguments, function;
    MSX_TRY(op_global(p, 0));
    MSX_TRY(msx__pickle_pop(p, &function));
    MSX_TRY(msx__pickle_pop(p, &arguments));
    return call(p, function, arguments);
}

static msx_status op_obj(msx__pickle *p, int arg) {
    uint32_t from, to;
    (void)arg;
    MSX_TRY(msx__pickle_pop_mark(p, &from, &to));
    if (from == to) return msx__pickle_broken(p, "an object has no class");
    msx__ref function = p->stack.data[from], arguments;
    MSX_TRY(collect(p, MSX__NODE_TUPLE, from + 1, to));
    MSX_TRY(msx__pickle_pop(p, &arguments));
    p->stack.n = from;
    return call(p, function, arguments);
}

/* cls.__new__(cls, *arguments): an instance of any class, kept as an opaque object. `n`: operands
 * besides the class. */
static msx_status op_newobj(msx__pickle *p, int n) {
    msx__ref class, ignored;
    while (n-- > 0) MSX_TRY(msx__pickle_pop(p, &ignored));
    MSX_TRY(msx__pickle_pop(p, &class));
    /* Legacy files keep the class with its source code as a persistent object. */
    int kind = p->nodes[class].kind;
    if (kind != MSX__NODE_GLOBAL && kind != MSX__NODE_PERSISTENT)
        return msx__pickle_broken(p, "an object has no class");
    return msx__pickle_push_node(p, (msx__node){.kind = MSX__NODE_OPAQUE, .u.id = class});
}

/* The state of an object (of a state dict: '_metadata') is of no interest. */
static msx_status op_build(msx__pickle *p, int arg) {
    msx__ref state, object;
    (void)arg;
    MSX_TRY(msx__pickle_pop(p, &state));
    return msx__pickle_top(p, &object);
}

static msx_status op_persistent(msx__pickle *p, int arg) {
    msx__ref id;
    (void)arg;
    MSX_TRY(msx__pickle_pop(p, &id));
    if (p->nodes[id].kind != MSX__NODE_TUPLE)
        return msx__pickle_broken(p, "a storage has no identification");
    return msx__pickle_push_node(p, (msx__node){.kind = MSX__NODE_PERSISTENT, .u.id = id});
}

/* ---- the machine --------------------------------------------------------------------------- */

typedef struct handler {
    msx_status (*run)(msx__pickle *p, int arg);
    int arg;
} handler;

enum { STOP = '.' };

static const handler handlers[256] = {
    [0x80] = {op_proto, 0},
    [0x95] = {op_skip, 8}, /* FRAME */
    ['N'] = {op_constant, MSX__NODE_NULL},
    [0x88] = {op_bool, 1},
    [0x89] = {op_bool, 0},
    ['K'] = {op_int, 1},
    ['M'] = {op_int, 2},
    ['J'] = {op_int, -4},
    [0x8a] = {op_long, 1},
    [0x8b] = {op_long, 4},
    ['G'] = {op_float, 8},
    ['X'] = {op_text, 4},
    [0x8c] = {op_text, 1},
    [0x8d] = {op_text, 8},
    ['T'] = {op_text, 4},
    ['U'] = {op_text, 1},
    ['B'] = {op_text, 4},
    ['C'] = {op_text, 1},
    [0x8e] = {op_text, 8},
    [0x96] = {op_text, 8},
    ['S'] = {op_line, MSX__NODE_TEXT},
    ['V'] = {op_line, MSX__NODE_TEXT},
    ['I'] = {op_line, MSX__NODE_OPAQUE},
    ['L'] = {op_line, MSX__NODE_OPAQUE},
    ['F'] = {op_line, MSX__NODE_OPAQUE},
    [')'] = {op_constant, MSX__NODE_TUPLE},
    [']'] = {op_constant, MSX__NODE_LIST},
    ['}'] = {op_constant, MSX__NODE_DICT},
    [0x8f] = {op_constant, MSX__NODE_LIST}, /* EMPTY_SET */
    ['t'] = {op_collect, MSX__NODE_TUPLE},
    ['l'] = {op_collect, MSX__NODE_LIST},
    ['d'] = {op_collect, MSX__NODE_DICT},
    [0x91] = {op_collect, MSX__NODE_LIST}, /* FROZENSET */
    [0x85] = {op_tuple, 1},
    [0x86] = {op_tuple, 2},
    [0x87] = {op_tuple, 3},
    ['a'] = {op_fill_one, MSX__NODE_LIST},
    ['e'] = {op_fill, MSX__NODE_LIST},
    [0x90] = {op_fill, MSX__NODE_LIST}, /* ADDITEMS */
    ['s'] = {op_fill_one, MSX__NODE_DICT},
    ['u'] = {op_fill, MSX__NODE_DICT},
    ['('] = {op_mark, 0},
    ['0'] = {op_pop, 0},
    ['1'] = {op_pop_mark, 0},
    ['2'] = {op_dup, 0},
    ['p'] = {op_put, 0},
    ['q'] = {op_put, 1},
    ['r'] = {op_put, 4},
    [0x94] = {op_memoize, 0},
    ['g'] = {op_get, 0},
    ['h'] = {op_get, 1},
    ['j'] = {op_get, 4},
    ['c'] = {op_global, 0},
    [0x93] = {op_stack_global, 0},
    ['R'] = {op_reduce, 0},
    ['i'] = {op_inst, 0},
    ['o'] = {op_obj, 0},
    [0x81] = {op_newobj, 1},
    [0x92] = {op_newobj, 2},
    ['b'] = {op_build, 0},
    ['Q'] = {op_persistent, 0},
};

msx_status msx__pickle_parse(msx__pickle *p, msx_ctx *ctx, const char *where,
                             const unsigned char *bytes, size_t size, msx__ref *root) {
    *p = (msx__pickle){.ctx = ctx,
                       .where = where,
                       .bytes = bytes,
                       .n_nodes = 1,
                       .n_items = 1,
                       .rule = msx_ctx_pickle_rule(ctx)};
    *root = 0;
    if (size > INT32_MAX)
        return msx__fail(ctx, MSX_E_LIMIT, "%s: pickles of 2 GiB are not read", where);
    p->size = (uint32_t)size;
    /* Entry 0 stands for "none": an opaque node, an item that ends every chain. */
    if (!msx__pickle_grow(ctx, (void **)&p->nodes, &p->nodes_capacity, 1, sizeof *p->nodes) ||
        !msx__pickle_grow(ctx, (void **)&p->items, &p->items_capacity, 1, sizeof *p->items))
        return MSX_E_NOMEM;
    p->nodes[0] = (msx__node){0};
    p->items[0] = (msx__item){0};
    while (p->at < p->size) {
        p->op = p->at++;
        unsigned char op = bytes[p->op];
        if (op == STOP) return msx__pickle_pop(p, root);
        if (!handlers[op].run)
            return msx__fail(ctx, MSX_E_FORMAT, "%s: byte %u: unknown opcode 0x%02x", where, p->op,
                             op);
        MSX_TRY(handlers[op].run(p, handlers[op].arg));
    }
    return msx__fail(ctx, MSX_E_FORMAT, "%s: byte %u: the pickle has no end; the file is truncated",
                     where, p->size);
}
