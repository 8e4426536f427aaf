/* SPDX-License-Identifier: Apache-2.0 */
/* The registry of optimizer drivers: built-in ones go in through the same door as the caller's. */
#include "optimize/drivers.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

static const msx_optimizer_driver *const builtins[] = {
    &msx__driver_random, &msx__driver_sobol, &msx__driver_smac,  &msx__driver_parego,
    &msx__driver_nsga2,  &msx__driver_tpe,   &msx__driver_cmaes,
};

static bool is_name(const char *name) {
    if (!name || !*name) return false;
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(name);
}

static msx_status check_option(msx_ctx *ctx, const msx_optimizer_driver *d, size_t i) {
    const msx_option *o = &d->options[i];
    if (!is_name(o->name))
        return msx__fail(ctx, MSX_E_ARG,
                         "driver '%s': options[%zu].name must be lower-case letters, digits, '_'",
                         d->name, i);
    if (!o->about)
        return msx__fail(ctx, MSX_E_ARG, "driver '%s': option '%s' has no about text", d->name,
                         o->name);
    if (!isfinite(o->minimum) || !isfinite(o->maximum) ||
        !(o->initial >= o->minimum && o->initial <= o->maximum))
        return msx__fail(ctx, MSX_E_ARG,
                         "driver '%s': option '%s': initial %g is not within %g to %g", d->name,
                         o->name, o->initial, o->minimum, o->maximum);
    for (size_t k = 0; k < i; k++)
        if (!strcmp(o->name, d->options[k].name))
            return msx__fail(ctx, MSX_E_ARG, "driver '%s': option '%s' stands there twice", d->name,
                             o->name);
    return MSX_OK;
}

static msx_status check_preset(msx_ctx *ctx, const msx_optimizer_driver *d, size_t i) {
    const msx_option_preset *p = d->presets ? &d->presets[i] : NULL;
    if (!p || !p->values || p->option >= d->n_options)
        return msx__fail(ctx, MSX_E_ARG, "driver '%s': presets[%zu] is incomplete", d->name, i);
    for (size_t k = 0; k < d->n_options; k++)
        if (!(p->values[k] >= d->options[k].minimum && p->values[k] <= d->options[k].maximum))
            return msx__fail(ctx, MSX_E_ARG, "driver '%s': presets[%zu]: '%s' cannot be %g",
                             d->name, i, d->options[k].name, p->values[k]);
    return MSX_OK;
}

static msx_status add(msx_ctx *ctx, const msx_optimizer_driver *d) {
    const size_t first = offsetof(msx_optimizer_driver, presets);
    if (d->struct_size < first)
        return msx__fail(ctx, MSX_E_ARG, "driver: struct_size is %zu, must be at least %zu",
                         d->struct_size, first);
    if (!is_name(d->name))
        return msx__fail(ctx, MSX_E_ARG, "driver: name must be lower-case letters, digits and '_'");
    if (!d->about) return msx__fail(ctx, MSX_E_ARG, "driver '%s': about is NULL", d->name);
    if (!d->propose) return msx__fail(ctx, MSX_E_ARG, "driver '%s': propose is NULL", d->name);
    if (d->max_objectives < 0)
        return msx__fail(ctx, MSX_E_ARG, "driver '%s': max_objectives is %d", d->name,
                         d->max_objectives);
    if (d->n_options && !d->options)
        return msx__fail(ctx, MSX_E_ARG, "driver '%s': options is NULL but n_options is %zu",
                         d->name, d->n_options);
    for (size_t i = 0; i < d->n_options; i++) MSX_TRY(check_option(ctx, d, i));
    for (size_t i = 0; d->struct_size >= sizeof *d && i < d->n_presets; i++)
        MSX_TRY(check_preset(ctx, d, i));
    return msx__registry_add(ctx, MSX__DRIVERS, d->name, d);
}

static msx_status add_builtins(msx_ctx *ctx) {
    for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++) MSX_TRY(add(ctx, builtins[i]));
    return MSX_OK;
}

msx_status msx_optimizer_driver_register(msx_ctx *ctx, const msx_optimizer_driver *driver) {
    if (!ctx) return MSX_E_ARG;
    if (!driver) return msx__fail(ctx, MSX_E_ARG, "driver is NULL");
    MSX_TRY(msx__registry_once(ctx, MSX__DRIVERS, add_builtins));
    return add(ctx, driver);
}

/* The readers have no way to fail; without memory for the registry they find nothing. */
static bool ready(const msx_ctx *ctx) {
    return ctx && msx__registry_once((msx_ctx *)ctx, MSX__DRIVERS, add_builtins) == MSX_OK;
}

int64_t msx_optimizer_driver_count(const msx_ctx *ctx) {
    return ready(ctx) ? msx__registry_count(ctx, MSX__DRIVERS) : 0;
}

const msx_optimizer_driver *msx_optimizer_driver_at(const msx_ctx *ctx, int64_t i) {
    return ready(ctx) ? msx__registry_at(ctx, MSX__DRIVERS, i) : NULL;
}

const msx_optimizer_driver *msx_optimizer_driver_find(const msx_ctx *ctx, const char *name) {
    return name && ready(ctx) ? msx__registry_find(ctx, MSX__DRIVERS, name) : NULL;
}
