/* SPDX-License-Identifier: Apache-2.0 */
/* The table of options and what reads it. */
#include "search/options.h"
#include "search/boxes.h"
#include "search/space.h"

#include <medsamix/sys/optimizer_driver.h>

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_WORKER 60

typedef msx_status (*check_fn)(msx_ctx *ctx, const char *value);

static msx_status check_optimizer(msx_ctx *ctx, const char *value) {
    int64_t n = msx_optimizer_driver_count(ctx);
    if (!*value || msx_optimizer_driver_find(ctx, value)) return MSX_OK;
    const char **names = msx__alloc(ctx, (size_t)n, sizeof *names);
    if (!names) return MSX_E_NOMEM;
    for (int64_t i = 0; i < n; i++) names[i] = msx_optimizer_driver_at(ctx, i)->name;
    msx_status status = msx__unknown(ctx, "optimizer", value, names, (size_t)n);
    msx__free(ctx, names);
    return status;
}

static msx_status check_methods(msx_ctx *ctx, const char *value) {
    size_t n;
    return msx__methods_parse(NULL, &n, ctx, value);
}

static msx_status check_preset(msx_ctx *ctx, const char *value) {
    msx_preset preset;
    return msx_preset_find(&preset, ctx, value);
}

static msx_status check_box_preset(msx_ctx *ctx, const char *value) {
    const msx__box_preset *preset;
    return msx__box_preset_find(&preset, ctx, value);
}

static msx_status check_slice_axis(msx_ctx *ctx, const char *value) {
    static const char *const names[] = {"max-spacing", "i", "j", "k"};
    for (size_t i = 0; i < 4; i++)
        if (!strcmp(value, names[i])) return MSX_OK;
    return msx__unknown(ctx, "slice axis", value, names, 4);
}

static const char *const units[] = {"slice", "volume"};

static msx_status check_unit(msx_ctx *ctx, const char *value) {
    if (!strcmp(value, units[0]) || !strcmp(value, units[1])) return MSX_OK;
    return msx__unknown(ctx, "unit", value, units, 2);
}

static const char *const orders[] = {"batch", "free"};

static msx_status check_order(msx_ctx *ctx, const char *value) {
    if (!strcmp(value, orders[0]) || !strcmp(value, orders[1])) return MSX_OK;
    return msx__unknown(ctx, "order", value, orders, 2);
}

static msx_status check_worker(msx_ctx *ctx, const char *value) {
    size_t n = strlen(value);
    bool good = n <= MAX_WORKER;
    for (size_t i = 0; i < n; i++)
        good = good && (isalnum((unsigned char)value[i]) || strchr("._-", value[i]));
    return good ? MSX_OK
                : msx__fail(ctx, MSX_E_ARG,
                            "worker '%.100s': use up to %d letters, digits, '.', '_' and '-'",
                            value, MAX_WORKER);
}

static msx_status check_empty(msx_ctx *ctx, const char *value) {
    msx_empty_rule rule;
    return msx_empty_rule_find(&rule, ctx, value);
}

int msx__granularity_of(const char *value) {
    if (!strcmp(value, "auto")) return 0;
    bool digit = *value >= '1' && *value < '1' + MSX__MAX_GRANULARITY && !value[1];
    return digit ? *value - '0' : -1;
}

static msx_status check_granularity(msx_ctx *ctx, const char *value) {
    if (msx__granularity_of(value) >= 0) return MSX_OK;
    return msx__fail(ctx, MSX_E_ARG,
                     "granularity '%s': a whole number from 1 to 4, or auto, is possible", value);
}

static msx_status check_proposals(msx_ctx *ctx, const char *value) {
    static const char *const names[] = {"staged", "whole"};
    if (!strcmp(value, names[0]) || !strcmp(value, names[1])) return MSX_OK;
    return msx__unknown(ctx, "kind of proposals", value, names, 2);
}

static msx_status check_share(msx_ctx *ctx, const char *value) {
    double number;
    if (msx__parse_double(value, &number) && number > 0 && number < 1) return MSX_OK;
    return msx__fail(ctx, MSX_E_ARG, "'%s' is not a number between 0 and 1", value);
}

/* An integer (lower <= upper) or a text. */
typedef struct option {
    const char *key;
    size_t offset; /* of an int64_t or a char * */
    const char *initial;
    int64_t lower, upper;
    check_fn check; /* of a text; NULL: anything */
} option;

#define AT(member) offsetof(msx__search_options, member)
#define INTEGER(name, init, low, high)                                                             \
    { #name, AT(name), init, low, high, NULL }
#define TEXT(name, init, check)                                                                    \
    { #name, AT(name), init, 1, 0, check }

static const option table[] = {
    INTEGER(trials, "120", 1, 1000000),
    INTEGER(seed, "0", 0, INT64_MAX),
    INTEGER(min_object, "40", 1, INT32_MAX),
    INTEGER(keep_dead_groups, "0", 0, 1),
    INTEGER(batch, "0", 0, 1024),
    INTEGER(workers, "1", 1, 256),
    INTEGER(lease, "60", 1, 86400),
    INTEGER(racing, "1", 0, 1),
    INTEGER(racing_min, "4", 1, 1000000),
    INTEGER(racing_batch, "2", 1, 1000000),
    INTEGER(cache_mb, "2048", 0, 1 << 24),
    TEXT(granularity, "2", check_granularity),
    TEXT(prompt_granularity, "1", check_granularity),
    TEXT(decoder_granularity, "1", check_granularity),
    TEXT(groups, "", NULL),
    TEXT(optimizer, "", check_optimizer),
    TEXT(proposals, "staged", check_proposals),
    TEXT(methods, "linear,task_arithmetic,ties,slerp", check_methods),
    TEXT(preset, "sam", check_preset),
    TEXT(store, "", NULL),
    TEXT(box_preset, "tight", check_box_preset),
    TEXT(slice_axis, "max-spacing", check_slice_axis),
    TEXT(intensity, "", NULL),
    TEXT(unit, "slice", check_unit),
    TEXT(empty, "nnunet", check_empty),
    TEXT(order, "batch", check_order),
    TEXT(worker, "", check_worker),
    TEXT(devices, "", NULL),
    TEXT(racing_p, "0.1", check_share),
};
enum { N_OPTIONS = sizeof table / sizeof *table };

static bool is_text(const option *o) {
    return o->lower > o->upper;
}

static char **text_of(msx__search_options *o, const option *entry) {
    return (char **)(void *)((char *)o + entry->offset);
}

static msx_status set_integer(msx__search_options *o, const option *entry, const char *value) {
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    if (end == value || *end || errno || number < entry->lower || number > entry->upper)
        return msx__fail(o->ctx, MSX_E_ARG,
                         "option '%s' is '%s'; a whole number from %" PRId64 " to %" PRId64
                         " is possible",
                         entry->key, value, entry->lower, entry->upper);
    *(int64_t *)(void *)((char *)o + entry->offset) = number;
    return MSX_OK;
}

static msx_status set_text(msx__search_options *o, const option *entry, const char *value) {
    if (entry->check) MSX_TRY(entry->check(o->ctx, value));
    char *copy = msx__strdup(o->ctx, value);
    if (!copy) return MSX_E_NOMEM;
    msx__free(o->ctx, *text_of(o, entry));
    *text_of(o, entry) = copy;
    return MSX_OK;
}

static msx_status set_entry(msx__search_options *o, const option *entry, const char *value) {
    return is_text(entry) ? set_text(o, entry, value) : set_integer(o, entry, value);
}

msx_status msx__options_init(msx__search_options *o, msx_ctx *ctx) {
    *o = (msx__search_options){.ctx = ctx};
    for (size_t i = 0; i < N_OPTIONS; i++) {
        msx_status status = set_entry(o, &table[i], table[i].initial);
        if (status < 0) {
            msx__options_free(o);
            return status;
        }
    }
    return MSX_OK;
}

void msx__options_free(msx__search_options *o) {
    if (!o->ctx) return;
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (is_text(&table[i])) msx__free(o->ctx, *text_of(o, &table[i]));
    for (size_t i = 0; i < o->n_driver; i++) {
        msx__free(o->ctx, o->driver[i].driver);
        msx__free(o->ctx, o->driver[i].key);
    }
    msx__free(o->ctx, o->driver);
    *o = (msx__search_options){0};
}

/* ---- options of drivers ------------------------------------------------------------------------ */

static const msx_option *find_driver_option(const msx_optimizer_driver *d, const char *key) {
    for (size_t i = 0; i < d->n_options; i++)
        if (!strcmp(d->options[i].name, key)) return &d->options[i];
    return NULL;
}

static msx_status unknown_driver_option(msx_ctx *ctx, const msx_optimizer_driver *d,
                                        const char *key) {
    const char **names = msx__alloc(ctx, d->n_options, sizeof *names);
    if (!names) return MSX_E_NOMEM;
    for (size_t i = 0; i < d->n_options; i++) names[i] = d->options[i].name;
    msx_status status = msx__unknown(ctx, "optimizer option", key, names, d->n_options);
    msx__free(ctx, names);
    return status;
}

static msx_status keep_driver_option(msx__search_options *o, const char *driver, const char *key,
                                     double value) {
    for (size_t i = 0; i < o->n_driver; i++)
        if (!strcmp(o->driver[i].driver, driver) && !strcmp(o->driver[i].key, key)) {
            o->driver[i].value = value;
            return MSX_OK;
        }
    msx__driver_option *list = msx__realloc(o->ctx, o->driver, o->n_driver + 1, sizeof *o->driver);
    if (!list) return MSX_E_NOMEM;
    o->driver = list;
    msx__driver_option *added = &list[o->n_driver];
    added->driver = msx__strdup(o->ctx, driver);
    added->key = msx__strdup(o->ctx, key);
    added->value = value;
    o->n_driver++; /* also when incomplete, so that it is released */
    return added->driver && added->key ? MSX_OK : MSX_E_NOMEM;
}

/* "DRIVER.KEY" */
static msx_status set_driver_option(msx__search_options *o, const char *name, const char *dot,
                                    const char *value) {
    char driver[64];
    size_t length = (size_t)(dot - name);
    if (length >= sizeof driver) length = sizeof driver - 1;
    memcpy(driver, name, length);
    driver[length] = 0;
    MSX_TRY(check_optimizer(o->ctx, driver));
    const msx_optimizer_driver *d = msx_optimizer_driver_find(o->ctx, driver);
    if (!d) return msx__fail(o->ctx, MSX_E_NOTFOUND, "option '%s' names no optimizer", name);
    const msx_option *known = find_driver_option(d, dot + 1);
    if (!known) return unknown_driver_option(o->ctx, d, dot + 1);
    double number;
    if (!msx__parse_double(value, &number) ||
        !(number >= known->minimum && number <= known->maximum))
        return msx__fail(o->ctx, MSX_E_ARG,
                         "option '%s' is '%s'; a number from %g to %g is possible", name, value,
                         known->minimum, known->maximum);
    return keep_driver_option(o, driver, dot + 1, number);
}

const char *msx__options_key(size_t i) {
    return i < N_OPTIONS ? table[i].key : NULL;
}

msx_status msx__options_set(msx__search_options *o, const char *key, const char *value) {
    const char *names[N_OPTIONS];
    for (size_t i = 0; i < N_OPTIONS; i++) {
        names[i] = table[i].key;
        if (!strcmp(key, table[i].key)) return set_entry(o, &table[i], value);
    }
    const char *dot = strchr(key, '.');
    if (dot) return set_driver_option(o, key, dot, value);
    return msx__unknown(o->ctx, "option", key, names, N_OPTIONS);
}

msx_status msx__options_eval(const msx__search_options *o, msx_eval_options *out) {
    *out = (msx_eval_options){
        .struct_size = sizeof *out,
        .box_preset = o->box_preset,
        .slice_axis = o->slice_axis,
        .intensity = *o->intensity ? o->intensity : NULL,
        .min_object = o->min_object,
        .unit = strcmp(o->unit, units[1]) ? MSX_UNIT_SLICE : MSX_UNIT_VOLUME,
        .seed = (uint64_t)o->seed,
    };
    return msx_empty_rule_find(&out->empty, o->ctx, o->empty);
}
