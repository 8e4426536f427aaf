#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Merging against its bounds and its peers, as one table: `make bench-merge`, or
#   merge.sh [THREADS [FOLDER]]
# FOLDER keeps the models (1.1 GB) for the next time. Nothing is downloaded.
set -euo pipefail
B=${B:-build}
threads=${1:-2}
folder=${2:-}
if [ -z "$folder" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
export OMP_WAIT_POLICY=passive

echo "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores," \
    "load $(cut -d ' ' -f 1 /proc/loadavg)"
echo
"$B/bench/bench_merge_files" "$folder" "$threads"
echo
"$B/bench/bench_merge" "$threads" | tee "$folder/ours.txt"
echo
if /usr/bin/python3 -c 'import numpy, torch' 2>/dev/null; then
    /usr/bin/python3 tests/bench/peers/merge_peers.py "$folder" "$threads" "$B/medsamix" "$folder/ours.txt"
else
    echo "NumPy and PyTorch are not installed (make deps-oracles): no comparison with them"
fi
