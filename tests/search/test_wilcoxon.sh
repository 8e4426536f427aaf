#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The signed-rank test's p-values against SciPy's.
set -eu
B=${B:-build}
/usr/bin/python3 -c "import scipy.stats" 2>/dev/null || {
    echo "python3-scipy is not installed"
    exit 77
}
"$B/tests/search/test_wilcoxon" cases | /usr/bin/python3 tests/search/compare_wilcoxon.py
