/* SPDX-License-Identifier: Apache-2.0 */
/* Text of the report: escaping, numbers without the locale, base64, shell words, colour classes. */
#include "search/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- escaping --------------------------------------------------------------------------------------- */

/* Length of the valid UTF-8 sequence at `s`, 0 when there is none. */
static size_t sequence_length(const unsigned char *s) {
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    /* overlong forms, surrogates, above U+10FFFF */
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return n;
}

/* Letters that reorder what stands around them: a name must not disguise the text beside it. */
static bool reorders(const unsigned char *s, size_t n) {
    if (n != 3 || s[0] != 0xE2) return false;
    return (s[1] == 0x80 && s[2] >= 0xAA && s[2] <= 0xAE) ||
           (s[1] == 0x81 && s[2] >= 0xA6 && s[2] <= 0xA9);
}

static const char *entity_of(unsigned char c) {
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return c < 32 || c == 127 ? "\xEF\xBF\xBD" : NULL;
    }
}

void report_escape(msx__buffer *b, const char *text, int most) {
    const unsigned char *s = (const unsigned char *)text;
    for (int count = 0; *s; count++) {
        if (most > 0 && count == most) {
            msx__buffer_text(b, "\xE2\x80\xA6");
            return;
        }
        size_t n = sequence_length(s);
        const char *entity = n == 1 ? entity_of(*s) : NULL;
        if (n == 0 || reorders(s, n))
            msx__buffer_text(b, "\xEF\xBF\xBD");
        else if (entity)
            msx__buffer_text(b, entity);
        else
            msx__buffer_add(b, s, n);
        s += n ? n : 1;
    }
}

void report_shell_word(msx__buffer *b, const char *text) {
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,:+@%";
    if (*text && strspn(text, plain) == strlen(text)) {
        msx__buffer_text(b, text);
        return;
    }
    msx__buffer_text(b, "&#39;");
    for (const char *quote; (quote = strchr(text, '\'')); text = quote + 1) {
        char part[256];
        /* Escaped in pieces: up to each quote, which the shell needs outside the quotes. */
        for (size_t left = (size_t)(quote - text); left;) {
            size_t n = left < sizeof part - 1 ? left : sizeof part - 1;
            memcpy(part, text, n);
            part[n] = 0;
            report_escape(b, part, 0);
            text += n;
            left -= n;
        }
        msx__buffer_text(b, "&#39;\\&#39;&#39;");
    }
    report_escape(b, text, 0);
    msx__buffer_text(b, "&#39;");
}

/* ---- numbers ------------------------------------------------------------------------------------------ */

void report_number(msx__buffer *b, double value, int decimals) {
    static const int64_t powers[] = {1, 10, 100, 1000, 10000, 100000, 1000000};
    if (!isfinite(value) || fabs(value) > 1e12) {
        msx__buffer_text(b, "\xE2\x80\x93");
        return;
    }
    /* By integers: printf would follow the locale of the caller. */
    int64_t scaled = llround(fabs(value) * (double)powers[decimals]);
    if (value < 0 && scaled) msx__buffer_text(b, "\xE2\x88\x92");
    msx__buffer_printf(b, "%" PRId64, scaled / powers[decimals]);
    if (decimals) msx__buffer_printf(b, ".%0*" PRId64, decimals, scaled % powers[decimals]);
}

void report_percent(msx__buffer *b, double share) {
    if (share > 0 && share < 0.005)
        msx__buffer_text(b, "&lt;1");
    else
        report_number(b, 100 * share, 0);
    msx__buffer_text(b, "\xC2\xA0%");
}

const char *report_gain_class(double gain) {
    return gain >= 0.0005 ? "plus" : gain <= -0.0005 ? "loss" : "same";
}

void report_gain(msx__buffer *b, double gain) {
    if (gain >= 0.0005) msx__buffer_text(b, "+");
    report_number(b, gain, 3);
}

void report_xy(msx__buffer *b, const char *before, double value) {
    int64_t tenths = llround(value * 10);
    msx__buffer_printf(b, "%s%s%" PRId64, before, tenths < 0 ? "-" : "",
                       (int64_t)llabs(tenths) / 10);
    if (tenths % 10) msx__buffer_printf(b, ".%" PRId64, (int64_t)llabs(tenths) % 10);
}

void report_count(msx__buffer *b, int64_t value) {
    char digits[32];
    int n = snprintf(digits, sizeof digits, "%" PRId64, value);
    for (int i = 0; i < n; i++) {
        msx__buffer_add(b, &digits[i], 1);
        if ((n - i) % 3 == 1 && i + 1 < n && digits[i] != '-') msx__buffer_text(b, ",");
    }
}

void report_duration(msx__buffer *b, double seconds) {
    if (!(seconds >= 0) || seconds > 1e9) {
        msx__buffer_text(b, "\xE2\x80\x93");
        return;
    }
    long s = lround(seconds);
    if (s >= 48 * 3600)
        msx__buffer_printf(b, "%ld d %ld h", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        msx__buffer_printf(b, "%ld h %02ld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        msx__buffer_printf(b, "%ld min %02ld s", s / 60, s % 60);
    else {
        report_number(b, seconds, seconds < 10 ? 2 : 1);
        msx__buffer_text(b, " s");
    }
}

void report_base64(msx__buffer *b, const uint8_t *bytes, size_t n) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)bytes[i] << 16;
        if (i + 1 < n) v |= (uint32_t)bytes[i + 1] << 8;
        if (i + 2 < n) v |= bytes[i + 2];
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63],
                        i + 1 < n ? digits[v >> 6 & 63] : '=', i + 2 < n ? digits[v & 63] : '='};
        msx__buffer_add(b, four, 4);
    }
}

/* ---- colours ------------------------------------------------------------------------------------------ */

static const char *class_of(const char *name, const char *const (*table)[2], const char *other) {
    for (; (*table)[0]; table++)
        if (!strcmp((*table)[0], name)) return (*table)[1];
    return other;
}

const char *report_origin_class(const char *origin) {
    static const char *const table[][2] = {{"enqueued", "o-enqueued"},
                                           {"sobol", "o-sobol"},
                                           {"model", "o-model"},
                                           {"random", "o-random"},
                                           {NULL, NULL}};
    return class_of(origin, table, "o-other");
}

const char *report_method_class(const char *method) {
    static const char *const table[][2] = {{"linear", "m-linear"},
                                           {"task_arithmetic", "m-task"},
                                           {"ties", "m-ties"},
                                           {"slerp", "m-slerp"},
                                           {NULL, NULL}};
    return class_of(method, table, "m-other");
}

const char *report_model_class(int64_t i) {
    static const char *const classes[] = {"c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"};
    return classes[i & 7];
}
