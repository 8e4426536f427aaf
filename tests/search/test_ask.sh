#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The verbs ask, tell, best and front, driven by an evaluator that is not ours.
set -u
B=${B:-build}
msx=$B/medsamix
[ -x "$msx" ] || { echo "$msx is not built"; exit 77; }
folder=$(mktemp -d /tmp/medsamix-test-XXXXXX)
trap 'rm -rf "$folder"' EXIT
models=examples/data/models
three=(--base $models/mini-base.pth --model human=$models/mini-human.pth --model macaque=$models/mini-macaque.pth)
failed=0
fail() { echo "FAIL: $*"; failed=1; }

# expect CODE TEXT COMMAND...: exit code, one line on stderr that holds TEXT
expect() {
    local code=$1 text=$2
    shift 2
    "$@" >"$folder/out" 2>"$folder/err"
    local got=$?
    [ $got = "$code" ] || fail "$*: exit code $got, not $code: $(cat "$folder/err")"
    grep -qF -- "$text" "$folder/err" || fail "$*: '$text' is not in: $(cat "$folder/err")"
    [ "$(wc -l <"$folder/err")" = 1 ] || fail "$*: more than one line: $(cat "$folder/err")"
}

# ---- mistakes before there is a store ----
db=$folder/s.db
expect 3 "cannot be opened" "$msx" ask --store "$db"
expect 2 "name its tasks" "$msx" ask --store "$db" "${three[@]}"
expect 2 "begin a search, with --base" "$msx" ask --store "$db" --task liver
expect 3 "nonexistent.pth" "$msx" ask --store "$db" --base nonexistent.pth --model a=b.pth --task liver
[ -e "$db" ] && fail "a failed ask has made a store"

# ---- a loop of ask and tell: the evaluator is awk on the plan ----
evaluate() { awk '{n += length($0)} END {printf "%.4f", (n % 97) / 97}' "$1"; }
first=$("$msx" ask --store "$db" "${three[@]}" --task liver --task lung --trials 9 --plan-out "$folder/plan.yaml")
[ "$first" = 0 ] || fail "the first trial is $first"
expect 2 "of which of 2 tasks" "$msx" tell --store "$db" --trial 0 --dice 0.5
expect 2 "--dice lung=VALUE is missing" "$msx" tell --store "$db" --trial 0 --dice liver=0.5
expect 2 "did you mean 'lung'" "$msx" tell --store "$db" --trial 0 --dice liver=0.5 --dice lang=0.5
expect 2 "given twice" "$msx" tell --store "$db" --trial 0 --dice liver=0.5 --dice liver=0.6
expect 2 "not from 0 to 1" "$msx" tell --store "$db" --trial 0 --dice liver=1.5 --dice lung=0.5
expect 2 "either --dice or --failed" "$msx" tell --store "$db" --trial 0
expect 2 "has not been asked for" "$msx" tell --store "$db" --trial 5 --failed x
expect 3 "no trial has been finished" "$msx" best --store "$db"
"$msx" tell --store "$db" --trial 0 --dice liver="$(evaluate "$folder/plan.yaml")" --dice lung=0.3 || fail "tell"
expect 2 "told already" "$msx" tell --store "$db" --trial 0 --failed x
for ((i = 1; i < 9; i++)); do
    n=$("$msx" ask --store "$db" --plan-out "$folder/plan.yaml" -o "$folder/merged.pth") || fail "ask $i"
    [ "$n" = $i ] || fail "trial $n instead of $i"
    if [ $i = 4 ]; then
        "$msx" tell --store "$db" --trial "$n" --failed "out of memory" || fail "tell --failed"
    else
        "$msx" tell --store "$db" --trial "$n" --dice liver="$(evaluate "$folder/plan.yaml")" --dice lung=0.$i || fail "tell $i"
    fi
done
[ "$("$msx" ask --store "$db")" = done ] || fail "there are more than 9 trials"
"$msx" merge --verify "$folder/merged.pth" "${three[@]}" -q >/dev/null 2>"$folder/err" || fail "the asked merge is not its plan's: $(cat "$folder/err")"

# ---- looking ----
"$msx" best --store "$db" -o "$folder/best.pth" --plan-out "$folder/best.yaml" >"$folder/out" || fail "best"
grep -q liver "$folder/out" && grep -q mean "$folder/out" || fail "best: $(cat "$folder/out")"
[ -s "$folder/best.pth" ] && [ -s "$folder/best.yaml" ] || fail "best writes nothing"
"$msx" front --store "$db" -o "$folder/front" --checkpoints 1 >"$folder/out" || fail "front"
[ "$(ls "$folder/front" | grep -c pth)" = 1 ] || fail "front: checkpoints"
[ "$(ls "$folder/front" | grep -c yaml)" = "$(($(wc -l <"$folder/out") - 1))" ] || fail "front: plans"
"$msx" report "$db" -o "$folder/r.html" -q || fail "report of a search without images"

# ---- beside each other ----
pids=()
for w in a b; do
    for i in 1 2; do
        "$msx" ask -q --store "$db" --trials 13 --worker $w >>"$folder/asked" &
        pids+=($!)
    done
done
wait "${pids[@]}"
[ "$(sort -n "$folder/asked" | grep -cE '^(9|10|11|12)$')" = 4 ] || fail "four askers got: $(cat "$folder/asked")"
[ $failed = 0 ] && echo "ask, tell, best and front do as they say"
exit $failed
