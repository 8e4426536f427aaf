/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths: the instruction sets that hot loops are compiled for. A device takes the best one that the
 * processor has when it is opened; tests walk through all of them.
 *
 * Elementwise loops are one piece of C compiled once per path. Contraction is off and sums have fixed
 * lanes, so there all paths give the same bits. Products (tiles.h), GELU and what is between the products of
 * attention use fused multiply-add where the path has it.
 */
#ifndef MSX_KERNELS_CPU_PATHS_H
#define MSX_KERNELS_CPU_PATHS_H

enum {
    MSXK_PLAIN = 0,      /* what every machine has; products by CBLAS */
    MSXK_AVX2 = 1,       /* with FMA */
    MSXK_AVX512 = 2,     /* F, BW, DQ, VL */
    MSXK_AVX512BF16 = 3, /* and products of bfloat16 */
    MSXK_AMX = 4,        /* and matrix registers of bfloat16; the process has to ask for them */
    MSXK_PATHS = 5
};

/* The best path of this processor, and the name of one: "plain", "avx2", "avx512", "avx512bf16", "amx". */
int msxk_cpu_best_path(void);
/* Ask the system for the matrix registers, once for the process; 0: it may not use MSXK_AMX. From then on a
 * thread's alternate signal stack must have room for them, so nobody asks who does not compute in bfloat16. */
int msxk_cpu_ask_amx(void);
const char *msxk_cpu_path_name(int path);

#define MSXK_INLINE static inline __attribute__((always_inline))

#if defined(__GNUC__) && defined(__x86_64__)
#define MSXK_HAVE_X86 1
#define MSXK_FOR_AVX2 __attribute__((target("avx2,fma,bmi,bmi2,lzcnt,f16c")))
#ifdef __clang__
#define MSXK_FOR_AVX512                                                                            \
    __attribute__((target("avx2,fma,bmi,bmi2,lzcnt,f16c,avx512f,avx512bw,avx512dq,avx512vl")))
#else
#define MSXK_FOR_AVX512                                                                            \
    __attribute__((target("avx2,fma,bmi,bmi2,lzcnt,f16c,avx512f,avx512bw,avx512dq,avx512vl,"       \
                          "prefer-vector-width=512")))
#endif
#else
#define MSXK_HAVE_X86 0
#define MSXK_FOR_AVX2
#define MSXK_FOR_AVX512
#endif

#if MSXK_HAVE_X86 && defined(__linux__) && (__GNUC__ >= 11 || defined(__clang__))
#define MSXK_HAVE_AMX 1
#else
#define MSXK_HAVE_AMX 0
#endif

/* name_on[path](...) of a function that is there for every path. */
#define MSXK_PATH_TABLE(result, name, params)                                                      \
    static result(*const name##_on[MSXK_PATHS])                                                    \
        params = {name##_plain, name##_avx2, name##_avx512, name##_avx512, name##_avx512}

/* Compile the MSXK_INLINE function `name` for every path: name_on[path](...) runs it. */
#define MSXK_VARIANTS(result, name, params, args)                                                  \
    static result name##_plain params {                                                            \
        return name args;                                                                          \
    }                                                                                              \
    MSXK_FOR_AVX2 static result name##_avx2 params {                                               \
        return name args;                                                                          \
    }                                                                                              \
    MSXK_FOR_AVX512 static result name##_avx512 params {                                           \
        return name args;                                                                          \
    }                                                                                              \
    MSXK_PATH_TABLE(result, name, params)

#define MSXK_UNWRAP(...) __VA_ARGS__

/* The same for a function whose first parameter says whether the path has fused multiply-add; `params` and
 * `args` are without it. */
#define MSXK_FUSED_VARIANTS(result, name, params, args)                                            \
    MSXK_INLINE result name##_apart params {                                                       \
        return name(0, MSXK_UNWRAP args);                                                          \
    }                                                                                              \
    MSXK_INLINE result name##_fused params {                                                       \
        return name(1, MSXK_UNWRAP args);                                                          \
    }                                                                                              \
    static result name##_plain params {                                                            \
        return name##_apart args;                                                                  \
    }                                                                                              \
    MSXK_FOR_AVX2 static result name##_avx2 params {                                               \
        return name##_fused args;                                                                  \
    }                                                                                              \
    MSXK_FOR_AVX512 static result name##_avx512 params {                                           \
        return name##_fused args;                                                                  \
    }                                                                                              \
    MSXK_PATH_TABLE(result, name, params)

#endif
