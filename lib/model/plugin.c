/* SPDX-License-Identifier: Apache-2.0 */
/* The CUDA plug-in, opened when a CUDA device is asked for: from the folder of this library, else from
 * where the loader looks. The library itself needs nothing of CUDA. */
#include "model/device.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

/* FOLDER/libmedsamix-cuda.so where FOLDER holds this library (or the program that it is linked into),
 * when there is such a file; NULL otherwise. */
static msx_status find_beside(msx_ctx *ctx, char **out) {
    static const char here;
    Dl_info info;
    *out = NULL;
    if (!dladdr(&here, &info) || !info.dli_fname) return MSX_OK;
    const char *slash = strrchr(info.dli_fname, '/');
    size_t folder = slash ? (size_t)(slash + 1 - info.dli_fname) : 0;
    if (!folder) return MSX_OK;
    char *path = msx__alloc(ctx, folder + sizeof MSXK_CUDA_FILE, 1);
    if (!path) return MSX_E_NOMEM;
    memcpy(path, info.dli_fname, folder);
    memcpy(path + folder, MSXK_CUDA_FILE, sizeof MSXK_CUDA_FILE);
    if (access(path, R_OK) == 0)
        *out = path;
    else
        msx__free(ctx, path);
    return MSX_OK;
}

static msx_status check_table(msx_ctx *ctx, const char *device, const char *file,
                              const msx_kernels *k) {
    if (!k)
        return msx__fail(ctx, MSX_E_DEVICE, "device %s: %s is not a plug-in of libmedsamix", device,
                         file);
    if (k->struct_size != sizeof *k || k->version != MSXK_VERSION)
        return msx__fail(ctx, MSX_E_DEVICE,
                         "device %s: %s belongs to another version of libmedsamix; install both "
                         "from one build",
                         device, file);
    return MSX_OK;
}

/* A plug-in stays in memory once it is loaded: the CUDA runtime cannot be unloaded safely. */
static msx_status open_file(msx_ctx *ctx, const char *device, const char *file, bool beside,
                            const msx_kernels **k, void **library) {
    *library = dlopen(file, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!*library) {
        const char *why = dlerror();
        bool missing = !beside && why && strncmp(why, file, strlen(file)) == 0;
        return msx__fail(ctx, MSX_E_DEVICE,
                         missing
                             ? "device %s: the CUDA plug-in %s is not installed (%s); build and "
                               "install libmedsamix where nvcc is found, or use device cpu"
                             : "device %s: the CUDA plug-in %s cannot be loaded: %s",
                         device, file, why ? why : "unknown error");
    }
    *k = dlsym(*library, MSXK_CUDA_SYMBOL);
    return check_table(ctx, device, file, *k);
}

msx_status msx__plugin_open(msx_ctx *ctx, const char *device, const msx_kernels **k,
                            void **library) {
    char *path;
    const msx_kernels *found = NULL;
    *k = NULL;
    *library = NULL;
    MSX_TRY(find_beside(ctx, &path));
    msx_status status =
        open_file(ctx, device, path ? path : MSXK_CUDA_FILE, path != NULL, &found, library);
    msx__free(ctx, path);
    if (status == MSX_OK) {
        *k = found;
        return MSX_OK;
    }
    msx__plugin_close(*library);
    *library = NULL;
    return status;
}

void msx__plugin_close(void *library) {
    if (library) dlclose(library);
}
