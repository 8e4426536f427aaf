/* SPDX-License-Identifier: Apache-2.0 */
/* Sorting by several objectives as NSGA-II does (K. Deb et al., "A fast and elitist multiobjective
 * genetic algorithm: NSGA-II", IEEE Trans. Evol. Comput. 6, 2002). */
#ifndef MSX_OPTIMIZE_FRONTS_H
#define MSX_OPTIMIZE_FRONTS_H

#include "core/core.h"

/* a is nowhere worse than b, and somewhere better. */
bool msx__dominates(const double *a, const double *b, int64_t m);

/* Order n rows of costs (m each): by front, within a front by falling crowding distance, then by index.
 * `order` (n) receives the indices, `rank` (n) and `crowding` (n) those of each row. With one objective
 * the fronts are the groups of equal costs.
 * @return MSX_E_NOMEM. */
msx_status msx__fronts_sort(msx_ctx *ctx, const double *const *costs, int64_t n, int m,
                            int64_t *order, int64_t *rank, double *crowding);

#endif
