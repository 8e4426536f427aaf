/* SPDX-License-Identifier: Apache-2.0 */
/* Which instruction sets this processor has. */
#include "kernels/cpu/paths.h"

#include <stddef.h>

int msxk_cpu_best_path(void) {
#if MSXK_HAVE_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return MSXK_PLAIN;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return MSXK_AVX2;
    return __builtin_cpu_supports("avx512bf16") ? MSXK_AVX512BF16 : MSXK_AVX512;
#else
    return MSXK_PLAIN;
#endif
}

const char *msxk_cpu_path_name(int path) {
    static const char *const names[MSXK_PATHS] = {"plain", "avx2", "avx512", "avx512bf16"};
    return path >= 0 && path < MSXK_PATHS ? names[path] : NULL;
}
