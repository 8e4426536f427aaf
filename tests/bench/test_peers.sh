#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The PyTorch model that the benchmarks compare with computes what libmedsamix computes, and the two run
# in turns: on the demo's mini model, one run a cell.
set -u
B=${B:-build}
if ! /usr/bin/python3 -c 'import torch, numpy' 2>/dev/null; then
    echo "skipped: /usr/bin/python3 has no torch and numpy"
    exit 77
fi
out=$(/usr/bin/python3 tests/bench/peers/model_against_torch.py --threads 1 --seconds 0 \
    --cells encode:4,decode:3 "$B/bench/bench_model" tests/golden/b/model.pth) || {
    echo "$out"
    exit 1
}
for expected in 'relative error against PyTorch: embedding [0-9.]*e-0[5-9]' '^| encode 4 |' \
    '^| decode 3 |' '^load '; do
    grep -q "$expected" <<< "$out" || { echo "no '$expected' in:"; echo "$out"; exit 1; }
done
