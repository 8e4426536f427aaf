/* SPDX-License-Identifier: Apache-2.0 */
/* Which instruction sets this processor has. */
#include "kernels/cpu/paths.h"

#include <stddef.h>

#if MSXK_HAVE_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* arch_prctl(2); the C library has neither its wrapper nor all its numbers. */
#define ARCH_GET_XCOMP_SUPP 0x1021
#define ARCH_REQ_XCOMP_PERM 0x1023
#define TILE_DATA           18 /* the state component of the matrix registers */

static int has_amx(void) {
    enum { BF16 = 1 << 22, TILE = 1 << 24 };
    unsigned a, b, c, d;
    unsigned long long kept = 0; /* state components that the system can keep */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & BF16) || !(d & TILE)) return 0;
    return syscall(SYS_arch_prctl, ARCH_GET_XCOMP_SUPP, &kept) == 0 && kept >> TILE_DATA & 1;
}

int msxk_cpu_ask_amx(void) {
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
}
#else
static int has_amx(void) {
    return 0;
}

int msxk_cpu_ask_amx(void) {
    return 0;
}
#endif

int msxk_cpu_best_path(void) {
#if MSXK_HAVE_X86
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return MSXK_PLAIN;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return MSXK_AVX2;
    if (!__builtin_cpu_supports("avx512bf16")) return MSXK_AVX512;
    return has_amx() ? MSXK_AMX : MSXK_AVX512BF16;
#else
    return MSXK_PLAIN;
#endif
}

const char *msxk_cpu_path_name(int path) {
    static const char *const names[MSXK_PATHS] = {"plain", "avx2", "avx512", "avx512bf16", "amx"};
    return path >= 0 && path < MSXK_PATHS ? names[path] : NULL;
}
