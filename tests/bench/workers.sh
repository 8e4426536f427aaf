#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Time of a search with one worker and with several of one thread each, in turns. WORKERS (2), ROUNDS (3), TRIALS (60);
# RUN is put before every run, as in RUN='chrt -r 1' on a machine that has other things to do.
set -eu
B=${B:-build}
workers=${WORKERS:-2} rounds=${ROUNDS:-3} trials=${TRIALS:-60}
models=examples/data/models
folder=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/medsamix-bench-XXXXXX")
trap 'rm -rf "$folder"' EXIT

search() { # workers: prints seconds
    rm -f "$folder/store.db"
    local began=$(date +%s%N)
    ${RUN:-} "$B/medsamix" search --base $models/mini-base.pth --model human=$models/mini-human.pth \
        --model macaque=$models/mini-macaque.pth --dataset examples/data/Dataset101_HumanMR --seed 5 \
        --trials "$trials" --batch $((2 * workers)) --workers "$1" --threads "$1" -q --store "$folder/store.db" >/dev/null
    awk -v a="$began" -v b="$(date +%s%N)" 'BEGIN { printf "%.2f\n", (b - a) / 1e9 }'
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

for ((i = 0; i < rounds; i++)); do
    search 1 >>"$folder/one"
    search "$workers" >>"$folder/many"
done
one=$(median <"$folder/one") many=$(median <"$folder/many")
printf '%d trials, median of %d runs in turns\n' "$trials" "$rounds"
printf '1 worker, 1 thread    %6.2f s\n' "$one"
printf '%d workers, 1 thread each %3.2f s, %.2f of the time\n' "$workers" "$many" "$(awk -v a="$one" -v b="$many" 'BEGIN { print b / a }')"
