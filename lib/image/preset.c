/* SPDX-License-Identifier: Apache-2.0 */
/* The presets by name. What MedSAM's scripts do differs from one to the next:
 *   medsam        MedSAM_Inference.py, gui.py
 *   medsam_ct_mr  pre_CT_MR.py, which made the training data of CT and MR
 *   medsam_rgb    pre_grey_rgb.py, which made that of photographs
 *   medsam_cv2    utils/demo.py and the script for sparse markers in 3-D
 * MedicoSAM predicts through micro-sam: `microsam` is its _to_image(), then SAM. */
#include "image/pixels.h"
#include "image/resample.h"

#include <string.h>

static const msx__preset presets[] = {
    {MSX_PRESET_SAM, "sam", false, NULL, false, MSX__RANGE_MEAN_STD, MSX__POST_LOGITS},
    {MSX_PRESET_MEDSAM, "medsam", false, msx__resize_skimage, true, MSX__RANGE_MIN_MAX,
     MSX__POST_SIGMOID},
    {MSX_PRESET_MEDSAM_CT_MR, "medsam_ct_mr", false, msx__resize_skimage_zero, false,
     MSX__RANGE_MIN_MAX, MSX__POST_SIGMOID},
    {MSX_PRESET_MEDSAM_RGB, "medsam_rgb", false, msx__resize_skimage_zero, false, MSX__RANGE_255,
     MSX__POST_SIGMOID},
    {MSX_PRESET_MEDSAM_CV2, "medsam_cv2", false, msx__resize_opencv, false, MSX__RANGE_MIN_MAX,
     MSX__POST_SIGMOID},
    {MSX_PRESET_MICROSAM, "microsam", true, NULL, false, MSX__RANGE_MEAN_STD, MSX__POST_LOGITS}};
enum { N_PRESETS = sizeof presets / sizeof *presets };

const msx__preset *msx__preset_get(msx_preset preset) {
    for (size_t i = 0; i < N_PRESETS; i++)
        if (presets[i].preset == preset) return &presets[i];
    return NULL;
}

msx_status msx_preset_find(msx_preset *out, msx_ctx *ctx, const char *name) {
    if (!out || !name) return msx__fail(ctx, MSX_E_ARG, "msx_preset_find: NULL argument");
    const char *names[N_PRESETS];
    for (size_t i = 0; i < N_PRESETS; i++) {
        names[i] = presets[i].name;
        if (strcmp(name, names[i])) continue;
        *out = presets[i].preset;
        return MSX_OK;
    }
    return msx__unknown(ctx, "preset", name, names, N_PRESETS);
}

const char *msx_preset_name(msx_preset preset) {
    const msx__preset *p = msx__preset_get(preset);
    return p ? p->name : NULL;
}
