/* SPDX-License-Identifier: Apache-2.0 */
/* Find masks of everything in an image and list them: weights.pth image.png labels.png [IoU stability]
 *
 *   cc generate_masks.c $(pkg-config --cflags --libs medsamix)
 */
#include <medsamix/medsamix.h>
#include <stdio.h>
#include <stdlib.h>

static int list(const msx_masks *masks) {
    for (int64_t i = 0; i < msx_masks_count(masks); i++) {
        msx_mask_record r = {.struct_size = sizeof r};
        if (msx_masks_record(masks, i, &r) < 0) return 1;
        printf("mask %lld: %lld pixels around %.0f,%.0f, predicted IoU %.3f, stability %.3f\n",
               (long long)i + 1, (long long)r.area, r.point_coords[0], r.point_coords[1],
               r.predicted_iou, r.stability_score);
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 4 && argc != 6) {
        fprintf(stderr, "usage: %s weights.pth image.png labels.png [IoU stability]\n", argv[0]);
        return 2;
    }
    msx_generate_options o = MSX_GENERATE_OPTIONS;
    if (argc == 6) o.pred_iou_thresh = atof(argv[4]), o.stability_score_thresh = atof(argv[5]);
    msx_ctx *ctx = NULL;
    msx_checkpoint *weights = NULL;
    msx_device *device = NULL;
    msx_model *model = NULL;
    msx_image *image = NULL, *labels = NULL;
    msx_masks *masks = NULL;
    if (msx_ctx_create(&ctx, NULL) < 0) return 6;
    int failed = msx_checkpoint_open(&weights, ctx, argv[1]) < 0 ||
                 msx_device_open(&device, ctx, "cpu") < 0 ||
                 msx_model_load(&model, device, weights, MSX_PRESET_SAM) < 0 ||
                 msx_image_load(&image, ctx, argv[2]) < 0 ||
                 msx_masks_generate(&masks, model, image, &o) < 0 || list(masks) ||
                 msx_masks_labels(&labels, masks) < 0 || msx_image_save(labels, argv[3]) < 0;
    if (failed) fprintf(stderr, "generate_masks: %s\n", msx_ctx_error(ctx));
    msx_image_free(labels);
    msx_masks_free(masks);
    msx_image_free(image);
    msx_model_free(model);
    msx_device_free(device);
    msx_checkpoint_free(weights);
    msx_ctx_free(ctx);
    return failed ? 3 : 0;
}
