/* SPDX-License-Identifier: Apache-2.0 */
/* A growing byte buffer, and numbers as text without the locale. */
#include "core/core.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void msx__buffer_init(msx__buffer *b, msx_ctx *ctx) {
    *b = (msx__buffer){.ctx = ctx};
}

/* Room for n more bytes and a NUL. */
static bool reserve(msx__buffer *b, size_t n) {
    if (b->failed) return false;
    size_t need;
    if (__builtin_add_overflow(b->length, n, &need) || __builtin_add_overflow(need, 1, &need)) {
        msx__nomem(b->ctx, SIZE_MAX);
        b->failed = true;
        return false;
    }
    if (need <= b->capacity) return true;
    size_t capacity = b->capacity < 64 ? 64 : b->capacity;
    while (capacity < need) capacity = capacity > SIZE_MAX / 2 ? need : capacity * 2;
    char *data = msx__realloc(b->ctx, b->data, capacity, 1);
    if (!data) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

void msx__buffer_add(msx__buffer *b, const void *bytes, size_t n) {
    if (!reserve(b, n)) return;
    if (n) memcpy(b->data + b->length, bytes, n);
    b->length += n;
    b->data[b->length] = 0;
}

void msx__buffer_text(msx__buffer *b, const char *text) {
    msx__buffer_add(b, text, strlen(text));
}

void msx__buffer_printf(msx__buffer *b, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    if (n >= 0 && reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->length, (size_t)n + 1, format, again);
        b->length += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

void msx__buffer_free(msx__buffer *b) {
    if (b->ctx) msx__free(b->ctx, b->data);
    *b = (msx__buffer){0};
}

/* printf and strtod follow LC_NUMERIC; a caller's locale must not change our files. */
static void replace_point(char *text, char from, char to) {
    for (; *text; text++)
        if (*text == from) *text = to;
}

static char locale_point(void) {
    char probe[8];
    snprintf(probe, sizeof probe, "%.1f", 0.5);
    return probe[1];
}

void msx__format_double(double value, char out[32]) {
    if (isnan(value)) {
        memcpy(out, "nan", 4);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(out, 32, "%.*g", digits, value);
        if (strtod(out, NULL) == value) break;
    }
    replace_point(out, locale_point(), '.');
}

bool msx__parse_double(const char *text, double *out) {
    char copy[64];
    size_t n = strlen(text);
    if (n == 0 || n >= sizeof copy) return false;
    /* Only plain decimal numbers: strtod alone would take "nan", " 1" and "0x1". */
    if (strspn(text, "0123456789+-.eE") != n) return false;
    memcpy(copy, text, n + 1);
    replace_point(copy, '.', locale_point());
    char *end;
    double value = strtod(copy, &end);
    if (*end || !isfinite(value)) return false;
    *out = value;
    return true;
}

bool msx__is_line(const char *text, size_t most) {
    const unsigned char *p = (const unsigned char *)text;
    size_t length = strlen(text);
    if (length == 0 || length > most) return false;
    while (*p) {
        if (*p < 0x20 || *p == 0x7f) return false;
        int more = *p < 0x80 ? 0 : (*p & 0xe0) == 0xc0 ? 1 : (*p & 0xf0) == 0xe0 ? 2 : 3;
        if (*p >= 0x80 && (*p < 0xc2 || *p > 0xf4)) return false;
        /* overlong forms, surrogates, beyond U+10FFFF */
        if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
            (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
            return false;
        for (p++; more > 0; more--, p++)
            if ((*p & 0xc0) != 0x80) return false;
    }
    return true;
}
