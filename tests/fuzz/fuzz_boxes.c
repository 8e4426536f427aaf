/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a file of boxes: seeds, or a failure that names the file and leaves none. */
#include <medsamix/medsamix.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    msx_ctx *ctx;
    msx_seeds *seeds;
    if (msx_ctx_create(&ctx, NULL) < 0 || msx_seeds_create(&seeds, ctx) < 0) abort();
    int fd = memfd_create("boxes", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) abort();
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const double box[4] = {1, 2, 3, 4};
    if (msx_seeds_box(seeds, 1, 0, 0, box) < 0) abort();
    msx_status status = msx_seeds_read(seeds, path);
    if (status < 0 && (msx_seeds_count(seeds) != 1 || !strstr(msx_ctx_error(ctx), path))) abort();
    if (status == MSX_OK && msx_seeds_count(seeds) < 2) abort();
    msx_seeds_free(seeds);
    close(fd);
    msx_ctx_free(ctx);
    return 0;
}
