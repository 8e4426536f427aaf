/* SPDX-License-Identifier: Apache-2.0 */
/* The signed-rank test of F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1,
 * 1945. */
#ifndef MSX_SEARCH_WILCOXON_H
#define MSX_SEARCH_WILCOXON_H

#include "core/core.h"

/* One-sided p-value of n paired differences: how likely is a rank sum of the positive ones as low as
 * theirs, or lower, if each difference was as likely to be positive as negative? Small: they are below 0.
 * Equal sizes share the mean of their ranks; zeros are ranked and half of their rank goes to either side
 * (zero-split). Exact, with ties and zeros as they are, for at most MSX__WILCOXON_EXACT differences, else
 * the normal approximation without a continuity correction. 1 for n = 0; NaN counts as zero. */
#define MSX__WILCOXON_EXACT 100
msx_status msx__wilcoxon_below(msx_ctx *ctx, const double *differences, int64_t n, double *p);

#endif
