/* SPDX-License-Identifier: Apache-2.0 */
/* OpenMP where it is, one thread where it is not. */
#ifndef MSX_CORE_THREAD_H
#define MSX_CORE_THREAD_H

#ifdef _OPENMP
#include <omp.h>
#endif

/* Index of the running thread inside a parallel region. */
static inline int msx__thread(void) {
#ifdef _OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

#endif
