/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a volume: finite geometry, windows and slices that work, labels that survive writing
 * and reading; or a failure with a text. */
#include <medsamix/medsamix.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_volume(msx_ctx *ctx, msx_volume *v) {
    double affine[12];
    msx_volume_affine(v, affine);
    for (int i = 0; i < 12; i++)
        if (!isfinite(affine[i])) abort();
    for (int i = 0; i < 3; i++)
        if (!(msx_volume_spacing(v, i) > 0)) abort();
    if (msx_volume_same_space(v, "a", v, "b") < 0) abort();
    msx_axis axis;
    if (msx_volume_axis(&axis, v, "max-spacing") < 0) abort();
    msx_image *slice;
    if (msx_volume_slice(&slice, v, axis, msx_volume_dim(v, (int)axis) - 1) < 0) abort();
    if (msx_volume_set_slice(v, axis, 0, slice) < 0) abort();
    msx_image_free(slice);
    if (msx_volume_window(v, "mr") < 0) abort();
    if (msx_volume_check_labels(v) < 0) abort(); /* 0 to 255 now */
    char temporary[64];
    snprintf(temporary, sizeof temporary, "/dev/shm/medsamix-fuzz-%ld.nii", (long)getpid());
    if (msx_volume_save_labels(v, temporary) < 0) abort();
    msx_volume *again;
    if (msx_volume_load(&again, ctx, temporary) < 0) abort();
    size_t n = 1;
    for (int i = 0; i < 3; i++) n *= (size_t)msx_volume_dim(v, i);
    if (memcmp(msx_volume_data(again), msx_volume_data(v), n * sizeof(float)) != 0) abort();
    msx_volume_free(again);
    unlink(temporary);
}

/* Slice by slice the file holds the same, and the labels written are the same bytes. */
static void check_slices(msx_ctx *ctx, const char *path, const char *rule, const char *axis) {
    msx_volume *v = NULL;
    msx_slices *s = NULL;
    msx_status whole = msx_volume_load(&v, ctx, path);
    if (whole == MSX_OK) whole = rule ? msx_volume_window(v, rule) : msx_volume_check_labels(v);
    msx_status sliced = rule ? msx_slices_load(&s, ctx, path, axis, rule, "/dev/shm")
                             : msx_slices_load_labels(&s, ctx, path, axis, "/dev/shm");
    if (whole != sliced || (s == NULL) != (sliced < 0)) abort();
    for (int64_t i = 0; i < msx_slices_count(s); i++) {
        msx_image *a, *b;
        if (msx_slices_read(&a, s, i) < 0) abort();
        if (msx_volume_slice(&b, v, msx_slices_axis(s), i) < 0) abort();
        const float *want = msx_image_data(b);
        for (int64_t at = 0; at < msx_image_width(b) * msx_image_height(b); at++) {
            float got =
                rule ? ((uint8_t *)msx_image_data(a))[at] : ((uint16_t *)msx_image_data(a))[at];
            if (got != want[at]) abort();
        }
        msx_image_free(a);
        msx_image_free(b);
    }
    msx_slices_free(s);
    msx_volume_free(v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    msx_ctx *ctx;
    if (msx_ctx_create(&ctx, NULL) < 0) return 0;
    msx_ctx_set_limit(ctx, MSX_LIMIT_VOLUME_BYTES, 1 << 20);
    msx_ctx_set_threads(ctx, 1);
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    msx_volume *v;
    msx_status status = msx_volume_load(&v, ctx, path);
    if (status == MSX_OK)
        check_volume(ctx, v);
    else if (v || !strstr(msx_ctx_error(ctx), path))
        abort();
    msx_volume_free(v);
    /* Each file one way, so that the whole stays fast. */
    static const char *const rules[] = {"mr", "minmax", "ct", "none", NULL};
    static const char *const axes[] = {"i", "j", "k", "max-spacing"};
    check_slices(ctx, path, rules[size % 5], axes[size % 4]);
    close(fd);
    msx_ctx_free(ctx);
    return 0;
}
