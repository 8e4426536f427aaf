#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# SMAC against random search on the demo's models and images: best calibration Dice after TRIALS trials
# for SEEDS seeds, as a Markdown table. Both begin with the same trials (inputs alone, uniform merges).
# demo_search.sh [BUILD] [SEEDS] [TRIALS] [TASK]; TASK all: the mean of all twelve.
set -eu
B=${1:-build} seeds=${2:-10} trials=${3:-60} task=${4:-all}
data=examples/data
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
only="--task $task"
[ "$task" = all ] && only=
best() { # driver, seed
    "$B/medsamix" search -q --json --proposals whole --no-racing --base $data/models/mini-base.pth --model human=$data/models/mini-human.pth \
        --model macaque=$data/models/mini-macaque.pth --dataset $data/Dataset101_HumanMR \
        --dataset $data/Dataset102_MacaqueMR $only --trials "$trials" --seed "$2" --optimizer "$1" \
        -o "$work/x.pth" | awk '/"mean":/ && !n++ { gsub(/[",]/, ""); printf "%.4f", $2 }'
}
# Middle of the sorted numbers on stdin; the mean of the two middle ones for an even count.
median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.4f", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
echo "| $task, $trials trials | smac | random |"
echo "|---|---|---|"
for seed in $(seq "$seeds"); do
    smac=$(best smac "$seed") random=$(best random "$seed")
    echo "$smac" >>"$work/smac"
    echo "$random" >>"$work/random"
    echo "| seed $seed | $smac | $random |"
done
echo "| median | $(median <"$work/smac") | $(median <"$work/random") |"
