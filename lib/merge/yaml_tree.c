/* SPDX-License-Identifier: Apache-2.0 */
/* libyaml's events, checked one by one, become a tree. */
#include "merge/yaml_tree.h"

#include <string.h>
#include <yaml.h>

enum { MAX_DEPTH = 8, MAX_CHILDREN = 4096 };

typedef struct reader {
    msx_ctx *ctx;
    const char *source;
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; zeroed when there is none */
} reader;

static msx_status fail_at(const reader *r, yaml_mark_t at, msx_status status, const char *what) {
    return msx__fail(r->ctx, status, "%s: %zu:%zu: %s", r->source, at.line + 1, at.column + 1,
                     what);
}

static msx_status next_event(reader *r) {
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event)) return MSX_OK;
    memset(&r->event, 0, sizeof r->event);
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) return msx__nomem(r->ctx, 0);
    if (p->error == YAML_READER_ERROR)
        return msx__fail(r->ctx, MSX_E_FORMAT,
                         "%s: byte %zu: not YAML in UTF-8: %s; check the file", r->source,
                         p->problem_offset, p->problem);
    return msx__fail(r->ctx, MSX_E_FORMAT,
                     "%s: %zu:%zu: not YAML: %s; check the indentation and "
                     "quotes here",
                     r->source, p->problem_mark.line + 1, p->problem_mark.column + 1,
                     p->problem ? p->problem : "syntax error");
}

/* Refuse what a plan has no use for and what makes YAML dangerous. */
static msx_status check_node_event(const reader *r) {
    const yaml_event_t *e = &r->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;
    switch (e->type) {
    case YAML_SCALAR_EVENT:
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
        if (strlen((const char *)e->data.scalar.value) != e->data.scalar.length)
            return fail_at(r, e->start_mark, MSX_E_FORMAT, "NUL in a text; remove it");
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
        break;
    case YAML_ALIAS_EVENT:
        return fail_at(r, e->start_mark, MSX_E_FORMAT,
                       "aliases (*name) are not allowed; write the value out, and '*' in quotes");
    default:
        return fail_at(r, e->start_mark, MSX_E_FORMAT, "a value is missing here");
    }
    if (anchor)
        return fail_at(r, e->start_mark, MSX_E_FORMAT,
                       "anchors (&name) are not allowed; remove it");
    if (tag)
        return fail_at(r, e->start_mark, MSX_E_FORMAT, "tags (!type) are not allowed; remove it");
    return MSX_OK;
}

static char *scalar_text(const reader *r) {
    return msx__strndup(r->ctx, (const char *)r->event.data.scalar.value,
                        r->event.data.scalar.length);
}

static msx_status read_node(reader *r, int depth, msx__yaml_node **out);

/* Key of a mapping's next child, the current event. */
static msx_status read_key(reader *r, const msx__yaml_node *mapping, char **key) {
    *key = NULL;
    MSX_TRY(check_node_event(r));
    if (r->event.type != YAML_SCALAR_EVENT)
        return fail_at(r, r->event.start_mark, MSX_E_FORMAT, "a key must be a plain text");
    const char *text = (const char *)r->event.data.scalar.value;
    if (msx__yaml_child(mapping, text))
        return msx__fail(r->ctx, MSX_E_FORMAT,
                         "%s: %zu:%zu: key '%.100s' appears twice; keep one of them", r->source,
                         r->event.start_mark.line + 1, r->event.start_mark.column + 1, text);
    *key = scalar_text(r);
    return *key ? next_event(r) : MSX_E_NOMEM;
}

static msx_status read_children(reader *r, int depth, msx__yaml_node *parent) {
    yaml_event_type_t end =
        parent->kind == MSX__YAML_MAPPING ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    msx__yaml_node **last = &parent->first;
    MSX_TRY(next_event(r));
    for (int n = 0; r->event.type != end; n++) {
        if (n == MAX_CHILDREN)
            return fail_at(r, r->event.start_mark, MSX_E_LIMIT,
                           "more than 4096 values in one list; split it");
        char *key = NULL;
        msx_status status = MSX_OK;
        if (parent->kind == MSX__YAML_MAPPING) status = read_key(r, parent, &key);
        if (status >= 0) status = read_node(r, depth + 1, last);
        if (!*last) {
            msx__free(r->ctx, key);
            return status;
        }
        (*last)->key = key; /* also of a half-read child, which is freed with the tree */
        MSX_TRY(status);
        last = &(*last)->next;
        MSX_TRY(next_event(r));
    }
    return MSX_OK;
}

/* The node that begins with the current event. `out` may hold a half-read one on failure. */
static msx_status read_node(reader *r, int depth, msx__yaml_node **out) {
    MSX_TRY(check_node_event(r));
    if (depth > MAX_DEPTH)
        return fail_at(r, r->event.start_mark, MSX_E_LIMIT, "nested too deeply; remove a level");
    msx__yaml_node *node = *out = msx__calloc(r->ctx, 1, sizeof *node);
    if (!node) return MSX_E_NOMEM;
    node->line = r->event.start_mark.line + 1;
    node->column = r->event.start_mark.column + 1;
    if (r->event.type == YAML_SCALAR_EVENT) {
        node->kind = MSX__YAML_SCALAR;
        node->text = scalar_text(r);
        return node->text ? MSX_OK : MSX_E_NOMEM;
    }
    node->kind = r->event.type == YAML_MAPPING_START_EVENT ? MSX__YAML_MAPPING : MSX__YAML_SEQUENCE;
    return read_children(r, depth, node);
}

static msx_status read_document(reader *r, msx__yaml_node **out) {
    MSX_TRY(next_event(r)); /* stream start */
    MSX_TRY(next_event(r));
    if (r->event.type != YAML_DOCUMENT_START_EVENT)
        return fail_at(r, r->event.start_mark, MSX_E_FORMAT,
                       "the text is empty; a plan begins with 'medsamix: 1'");
    MSX_TRY(next_event(r));
    MSX_TRY(read_node(r, 0, out));
    MSX_TRY(next_event(r)); /* document end */
    MSX_TRY(next_event(r));
    if (r->event.type != YAML_STREAM_END_EVENT)
        return fail_at(r, r->event.start_mark, MSX_E_FORMAT,
                       "a second document begins; a plan is one document");
    return MSX_OK;
}

msx_status msx__yaml_parse(msx__yaml_node **out, msx_ctx *ctx, const char *text, size_t length,
                           const char *source) {
    *out = NULL;
    reader r = {.ctx = ctx, .source = source};
    if (!yaml_parser_initialize(&r.parser)) return msx__nomem(ctx, sizeof r.parser);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, length);
    msx__yaml_node *root = NULL;
    msx_status status = read_document(&r, &root);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    if (status < 0) {
        msx__yaml_free(ctx, root);
        return status;
    }
    *out = root;
    return MSX_OK;
}

void msx__yaml_free(msx_ctx *ctx, msx__yaml_node *root) {
    while (root) {
        msx__yaml_node *next = root->next;
        msx__yaml_free(ctx, root->first); /* no deeper than MAX_DEPTH */
        msx__free(ctx, root->key);
        msx__free(ctx, root->text);
        msx__free(ctx, root);
        root = next;
    }
}

const msx__yaml_node *msx__yaml_child(const msx__yaml_node *mapping, const char *key) {
    for (const msx__yaml_node *n = mapping->first; n; n = n->next)
        if (n->key && !strcmp(n->key, key)) return n;
    return NULL;
}
