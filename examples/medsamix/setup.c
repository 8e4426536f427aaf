/* SPDX-License-Identifier: Apache-2.0 */
#include "setup.h"

#include <string.h>

/* Options of the program that are options of the search under the same name. */
static const char *const passed_on[] = {
    "trials",
    "seed",
    "granularity",
    "prompt-granularity",
    "decoder-granularity",
    "groups",
    "proposals",
    "cache-mb",
    "optimizer",
    "methods",
    "preset",
    "store",
    "box-preset",
    "slice-axis",
    "intensity",
    "min-object",
    "unit",
    "empty",
    "workers",
    "batch",
    "order",
    "lease",
    "worker",
};

int setup_device(program *p, msx_device **out) {
    const char *devices = option_or(p, "device", "cpu");
    char first[64];
    snprintf(first, sizeof first, "%.*s", (int)strcspn(devices, ","), devices);
    return program_device_named(p, first, out);
}

static msx_status pass_options(program *p, msx_search *search) {
    const char *devices = option_or(p, "device", "cpu");
    if (strchr(devices, ',')) { /* for the workers in turn: one each, unless --workers says more */
        char workers[24];
        int n = 1;
        for (const char *c = devices; (c = strchr(c, ',')); c++) n++;
        snprintf(workers, sizeof workers, "%d", n);
        msx_status status = msx_search_set(search, "devices", devices);
        if (status >= 0) status = msx_search_set(search, "workers", workers);
        if (status < 0) return status;
    }
    for (size_t i = 0; i < sizeof passed_on / sizeof *passed_on; i++) {
        char key[64];
        const char *value = option_text(p, passed_on[i]);
        if (!value) continue;
        snprintf(key, sizeof key, "%s", passed_on[i]);
        for (char *c = key; *c; c++)
            if (*c == '-') *c = '_';
        msx_status status = msx_search_set(search, key, value);
        if (status < 0) return status;
    }
    msx_status status = MSX_OK;
    if (option_given(p, "keep-dead-groups"))
        status = msx_search_set(search, "keep_dead_groups", "1");
    if (status >= 0 && option_given(p, "no-racing")) status = msx_search_set(search, "racing", "0");
    return status;
}

static int pass_pairs(program *p, msx_search *search) {
    for (size_t i = 0; i < option_count(p, "set"); i++) {
        const char *key, *value;
        int code = option_pair(p, "set", i, &key, &value);
        if (code) return code;
        if (!key) return program_usage(p, "--set: '%s' is not KEY=VALUE", value);
        code = program_status(p, msx_search_set(search, key, value));
        if (code) return code;
    }
    return PROGRAM_DONE;
}

static int add_models(program *p, msx_search *search) {
    int code = program_status(p, msx_search_add_model(search, "base", option_text(p, "base")));
    for (size_t i = 0; !code && i < option_count(p, "model"); i++) {
        const char *name, *file;
        code = option_pair(p, "model", i, &name, &file);
        if (!code && !name)
            code = program_usage(p, "--model: '%s' has no name; write NAME=FILE", file);
        if (!code) code = program_status(p, msx_search_add_model(search, name, file));
    }
    return code;
}

int setup_options(program *p, msx_search *search) {
    int code = program_status(p, pass_options(p, search));
    return code ? code : pass_pairs(p, search);
}

int setup_search(program *p, msx_search *search) {
    int code = setup_options(p, search);
    return code ? code : add_models(p, search);
}
