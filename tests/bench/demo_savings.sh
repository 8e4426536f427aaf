#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What keeping results, staged proposals and racing save on the demo's models and images, as Markdown: final
# calibration Dice and encoder runs (transformer blocks run / blocks of the encoder, an image being one run)
# of each variant for SEEDS seeds, and when its best first came within 0.002 of the plain search's final Dice.
# demo_savings.sh [BUILD] [SEEDS] [TRIALS] [TASK]; TASK all: the mean of all twelve. WORK names a folder that
# keeps the stores: finished searches are not run again.
set -eu
B=${1:-build} seeds=${2:-5} trials=${3:-120} task=${4:-neuromaps_37}
data=examples/data
work=${WORK:-$(mktemp -d)}
[ -n "${WORK:-}" ] && mkdir -p "$work" || trap 'rm -rf "$work"' EXIT
only="--task $task"
[ "$task" = all ] && only=
variants="plain cached staged raced saved"
declare -A options=(
    [plain]="--proposals whole --no-racing --cache-mb 0"
    [cached]="--proposals whole --no-racing"
    [staged]="--no-racing"
    [raced]="--proposals whole"
    [saved]=""
)
search() { # variant, seed
    "$B/medsamix" search -q --base $data/models/mini-base.pth --model human=$data/models/mini-human.pth \
        --model macaque=$data/models/mini-macaque.pth --dataset $data/Dataset101_HumanMR \
        --dataset $data/Dataset102_MacaqueMR $only --trials "$trials" --seed "$2" \
        ${options[$1]} --store "$work/$task-$1-$2.db" -o "$work/x.pth" >/dev/null
}
# "Dice runs trial runs": final best, encoder runs, first trial with a best of at least the given Dice and the
# encoder runs up to it ("-" when there is none).
facts() { # variant, seed, Dice
    sqlite3 -separator ' ' "$work/$task-$1-$2.db" "
      WITH depth AS (SELECT value * 1.0 AS d FROM meta WHERE key = 'encoder_depth'),
        run AS (SELECT number, 1 - min(CASE state WHEN 'done' THEN mean_cost END) OVER upto AS best,
          sum(blocks_run) OVER upto / d AS runs FROM trials, depth WINDOW upto AS (ORDER BY number)),
        reach AS (SELECT min(number) AS n FROM run WHERE best >= $3)
      SELECT printf('%.4f', max(best)), printf('%.0f', max(runs)),
        coalesce((SELECT n + 1 FROM reach), '-'),
        coalesce((SELECT printf('%.0f', runs) FROM run, reach WHERE number = n), '-') FROM run"
}
median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.4f", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

for seed in $(seq "$seeds"); do
    for v in $variants; do search "$v" "$seed"; done
    goal=$(facts plain "$seed" 2 | awk '{ printf "%.6f", $1 - 0.002 }')
    for v in $variants; do echo "$v $seed $(facts "$v" "$seed" "$goal")"; done
done >"$work/facts-$task"
echo "| $task, $trials trials, $seeds seeds | Dice, median | behind plain, median | encoder runs, median | of plain | within 0.002 of plain, seeds | at encoder runs, median |"
echo "|---|---|---|---|---|---|---|"
for v in $variants; do
    awk -v v="$v" '$1 == v' "$work/facts-$task" >"$work/rows"
    dice=$(awk '{ print $3 }' "$work/rows" | median)
    behind=$(awk -v v="$v" '$1 == "plain" { p[$2] = $3 } $1 == v { d[$2] = $3 } END { for (s in d) print p[s] - d[s] }' \
        "$work/facts-$task" | median)
    runs=$(awk '{ print $4 }' "$work/rows" | median)
    all=$(awk '$1 == "plain" { print $4 }' "$work/facts-$task" | median)
    reached=$(awk '$5 != "-"' "$work/rows" | wc -l)
    at=$(awk '$6 != "-" { print $6 }' "$work/rows" | median)
    awk -v v="$v" -v d="$dice" -v b="$behind" -v r="$runs" -v a="$all" -v n="$reached" -v m="$at" \
        'BEGIN { printf "| %s | %s | %.4f | %.0f | %.1f %% | %d | %.0f |\n", v, d, b, r, 100 * r / a, n, m }'
done
echo
echo "| seed |$(for v in $variants; do printf ' %s: Dice, runs |' "$v"; done)"
echo "|---|$(for v in $variants; do printf -- '---|'; done)"
for seed in $(seq "$seeds"); do
    echo "| $seed |$(awk -v s="$seed" '$2 == s { printf " %s, %d |", $3, $4 }' "$work/facts-$task")"
done
