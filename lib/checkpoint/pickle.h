/* SPDX-License-Identifier: Apache-2.0 */
/* Reading pickles without executing anything: the opcodes build nodes, a name of a function is only
 * a name. Calls are kept as nodes (function, arguments) for those functions that torch.save and the
 * usual trainers write; what any other call does depends on the context's rule: it refuses the file, or
 * is an object of no interest. */
#ifndef MSX_CHECKPOINT_PICKLE_H
#define MSX_CHECKPOINT_PICKLE_H

#include "core/core.h"

typedef uint32_t msx__ref; /* a node; 0 is "none" */

typedef enum msx__node_kind {
    MSX__NODE_OPAQUE = 0, /* an object whose content is of no interest */
    MSX__NODE_NULL,       /* None */
    MSX__NODE_BOOL,
    MSX__NODE_INT,
    MSX__NODE_TEXT,       /* str or bytes */
    MSX__NODE_TUPLE,      /* items */
    MSX__NODE_LIST,       /* items */
    MSX__NODE_DICT,       /* items with keys; also OrderedDict and the like */
    MSX__NODE_GLOBAL,     /* name of a class or function */
    MSX__NODE_PERSISTENT, /* a storage: its identifying tuple */
    MSX__NODE_CALL,       /* function (a GLOBAL) and arguments (a TUPLE) */
} msx__node_kind;

typedef struct msx__node {
    uint8_t kind;
    uint32_t at; /* byte in the pickle where it was made */
    union {
        int64_t integer;
        struct {
            uint32_t begin, length; /* in the pickle */
        } text;
        struct {
            uint32_t module, module_length, name, name_length;
        } global;
        struct {
            uint32_t first, last, count; /* items */
        } items;
        struct {
            msx__ref function, arguments;
        } call;
        msx__ref id; /* PERSISTENT: its tuple; OPAQUE: its class or 0 */
    } u;
} msx__node;

typedef struct msx__item {
    msx__ref key, value; /* key 0 outside of dicts */
    uint32_t next;       /* 0 ends the chain */
} msx__item;

typedef struct msx__refs {
    msx__ref *data;
    uint32_t n, capacity;
} msx__refs;

typedef struct msx__pickle {
    msx_ctx *ctx;
    const char *where; /* "FILE: data.pkl", for messages */
    const unsigned char *bytes;
    uint32_t size, at;
    msx__node *nodes; /* nodes[0] is unused */
    uint32_t n_nodes, nodes_capacity;
    msx__item *items; /* items[0] is unused */
    uint32_t n_items, items_capacity;
    msx__refs stack, marks, memo;
    uint32_t op; /* byte of the opcode in work */
    msx_pickle_rule rule;
} msx__pickle;

/* Run one pickle that starts at bytes[0]; p->at is behind its STOP afterwards. `bytes` and `where`
 * must live as long as p. Released with msx__pickle_free, also after a failure. */
msx_status msx__pickle_parse(msx__pickle *p, msx_ctx *ctx, const char *where,
                             const unsigned char *bytes, size_t size, msx__ref *root);
void msx__pickle_free(msx__pickle *p); /* accepts a zeroed struct */

/* ---- looking at nodes ---------------------------------------------------------------------- */

static inline const msx__node *msx__node_of(const msx__pickle *p, msx__ref ref) {
    return p->nodes + ref;
}
/* Item number i of a tuple or list, 0 when there is none. Walks the chain. */
msx__ref msx__node_item(const msx__pickle *p, msx__ref container, uint32_t i);
/* Value of a text key in a dict, the last one set; 0 when there is none. */
msx__ref msx__node_lookup(const msx__pickle *p, msx__ref dict, const char *key);
bool msx__node_is_text(const msx__pickle *p, msx__ref ref, const char *text);
/* A GLOBAL of that module and name. */
bool msx__node_is_global(const msx__pickle *p, msx__ref ref, const char *module, const char *name);

/* ---- functions (pickle_globals.c) ---------------------------------------------------------- */

typedef enum msx__callable {
    MSX__CALL_REFUSED = 0,
    MSX__CALL_KEPT,   /* a CALL node: tensors and parameters */
    MSX__CALL_DICT,   /* makes a DICT */
    MSX__CALL_TUPLE,  /* stands for its only argument: torch.Size */
    MSX__CALL_OPAQUE, /* harmless constructors of trainers' states */
} msx__callable;

msx__callable msx__classify_call(const char *module, size_t module_length, const char *name,
                                 size_t name_length);

/* True for the names that the strict rule takes. */
bool msx__global_is_strict(const char *module, size_t module_length, const char *name,
                           size_t name_length);

#endif
