/* SPDX-License-Identifier: Apache-2.0 */
/* A model as --preset, --image-size and --positions say, and a picture for it. */
#include "program.h"

#include <string.h>

msx_positions program_positions(const program *p) {
    return strcmp(option_or(p, "positions", "bilinear"), "bicubic") ? MSX_POSITIONS_BILINEAR
                                                                    : MSX_POSITIONS_BICUBIC;
}

int program_check_size(program *p) {
    if (option_given(p, "positions") && !option_given(p, "image-size"))
        return program_usage(p, "--positions goes with --image-size");
    return PROGRAM_DONE;
}

int program_model(program *p, msx_device *device, const char *path, msx_model **out) {
    msx_model_options o = MSX_MODEL_OPTIONS;
    msx_checkpoint *weights = NULL;
    *out = NULL;
    o.image_size = option_int(p, "image-size", 0);
    o.positions = program_positions(p);
    int code = program_check_size(p);
    if (code) return code;
    msx_status status = msx_preset_find(&o.preset, p->ctx, option_or(p, "preset", "sam"));
    if (status >= 0) status = msx_checkpoint_open(&weights, p->ctx, path);
    if (status >= 0) status = msx_model_load_with(out, device, weights, &o);
    msx_checkpoint_free(weights);
    return program_status(p, status);
}

int program_image(program *p, msx_image **out) {
    msx_image *raw = NULL;
    *out = NULL;
    msx_status status = msx_image_load(&raw, p->ctx, option_text(p, "image"));
    if (status >= 0) status = msx_image_window(out, raw, option_text(p, "intensity"));
    msx_image_free(raw);
    return program_status(p, status);
}

void program_say_model(const program *p, const msx_model *m) {
    printf("\npreset '%s'", msx_preset_name(msx_model_preset(m)));
    if (option_given(p, "image-size"))
        printf(", input of %lld pixels",
               (long long)msx_arch_get(msx_model_arch(m), MSX_ARCH_IMAGE_SIZE));
    putchar('\n');
}
