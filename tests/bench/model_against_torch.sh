#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# libmedsamix and an own PyTorch model of the same network, timed in turns: the demo's mini model and a
# ViT-B with computed weights. Further arguments go to peers/model_against_torch.py (-h lists them).
# Needs python3-torch (make deps-oracles).
set -eu
B=${B:-build}
python=${PYTHON:-/usr/bin/python3}
if ! "$python" -c 'import torch, numpy' 2>/dev/null; then
    echo "model_against_torch: $python has no torch; make deps-oracles installs it"
    exit 77
fi
. tests/bench/blas_core.sh
vit_b=build/bench/vit_b.safetensors
[ -e $vit_b ] || "$B/bench/bench_model" --write $vit_b
exec "$python" tests/bench/peers/model_against_torch.py "$@" "$B/bench/bench_model" \
    tests/golden/b/model.pth $vit_b
