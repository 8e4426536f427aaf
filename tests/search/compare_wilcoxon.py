# SPDX-License-Identifier: Apache-2.0
"""Compare lines of "p d d d ..." with scipy.stats.wilcoxon, exact up to 100 differences."""
import sys

from scipy.stats import wilcoxon

lines = [[float(word) for word in line.split()] for line in sys.stdin]
assert len(lines) == 65, len(lines)
for p, *d in lines:
    how = "exact" if len(d) <= 100 else "approx"
    expected = wilcoxon(d, zero_method="zsplit", alternative="less", mode=how).pvalue
    assert abs(p - expected) <= 1e-9 * expected, (len(d), p, expected)
print(len(lines), "p-values as SciPy's")
