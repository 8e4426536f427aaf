/* SPDX-License-Identifier: Apache-2.0 */
/* The device that --device and --precision name. */
#include "program.h"

#include <string.h>

/* The choices of --precision are the names that the library knows. */
static msx_precision find_precision(const char *name) {
    msx_precision p = MSX_PRECISION_FP32;
    while (msx_precision_name(p) && strcmp(msx_precision_name(p), name)) p++;
    return p;
}

int program_device_named(program *p, const char *name, msx_device **out) {
    *out = NULL;
    const char *precision = option_text(p, "precision");
    msx_status status = msx_device_open(out, p->ctx, name);
    if (status == MSX_OK && precision)
        status = msx_device_set_precision(*out, find_precision(precision));
    if (status == MSX_E_UNSUPPORTED)
        return program_usage(p, "--precision %s: %s", precision, msx_ctx_error(p->ctx));
    return program_status(p, status);
}

int program_device(program *p, msx_device **out) {
    return program_device_named(p, option_or(p, "device", "cpu"), out);
}
