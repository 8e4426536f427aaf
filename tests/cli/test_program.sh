#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The program as its users meet it: help of every verb, usage errors, exit codes, JSON, pipes, and
# that a failing command writes nothing.
set -u
m=${B:-build}/medsamix
data=examples/data
stores=tests/fuzz/corpus/report
verbs="inspect convert diff merge segment eval score search report experiment doctor"
t=$(mktemp -d)
trap 'rm -rf "$t"' EXIT
failed=0
complain() { echo "FAIL: $*"; failed=1; }

# expect CODE TEXT COMMAND...: the exit code, and TEXT somewhere in what was printed
expect() {
    local code=$1 text=$2
    shift 2
    "$@" >"$t/stdout" 2>"$t/stderr" </dev/null
    local got=$?
    [ "$got" = "$code" ] || complain "exit code $got instead of $code: $* ($(head -n 1 "$t/stderr"))"
    grep -qF -e "$text" "$t/stdout" "$t/stderr" || complain "no '$text' from: $*"
}
# The failure is one line, and begins with the program's name.
one_line() {
    [ "$(wc -l <"$t/stderr")" = 1 ] || complain "$1: not one line on stderr: $(cat "$t/stderr")"
    grep -q '^medsamix: ' "$t/stderr" || complain "$1: $(cat "$t/stderr")"
}

# ---- help and usage ------------------------------------------------------------------------------
expect 0 "usage: medsamix" "$m" --help
for verb in $verbs; do
    "$m" --help | grep -q "^  $verb " || complain "--help does not list $verb"
    expect 0 "usage: medsamix $verb " "$m" "$verb" -h
    [ -s "$t/stderr" ] && complain "$verb -h writes to stderr"
    awk 'length > 100' "$t/stdout" | grep -q . && complain "$verb -h has lines over 100 characters"
    for option in --threads --json --quiet --verbose --help --version; do
        grep -q -e "$option" "$t/stdout" || complain "$verb -h does not explain $option"
    done
    # The manual knows every option. In roff, dashes are escaped.
    for option in $(grep -o -e '--[a-z][a-z0-9-]*' "$t/stdout" | sort -u); do
        sed 's/\\-/-/g' docs/man/medsamix.1 | grep -q -e "$option" ||
            complain "the manual lacks $verb $option"
    done
    expect 0 "medsamix 0." "$m" "$verb" --version
    expect 2 "did you mean '--json'?" "$m" "$verb" --jsno
    one_line "$verb --jsno"
    expect 2 "has no option '-Z'" "$m" "$verb" -Z
    expect 2 "is not a whole number" "$m" "$verb" --threads many
    expect 2 "out of range" "$m" "$verb" --threads 5000
    expect 2 "takes no value" "$m" "$verb" --json=yes
    expect 2 "needs a value" "$m" "$verb" --threads
done
for verb in segment score search; do
    "$m" $verb -h | grep -q -e '--device' || complain "$verb has no --device"
    expect 2 "did you mean 'fp16'?" "$m" $verb --precision fp61
done
expect 0 "zlib" "$m" --version
expect 2 "usage:" "$m"
expect 2 "did you mean 'segment'?" "$m" segmnet
one_line "unknown verb"
expect 2 "stands where a verb is expected" "$m" --json inspect
expect 2 "needs an argument" "$m" inspect
expect 2 "one argument too many" "$m" doctor a b
expect 2 "report needs --output" "$m" report "$stores/valid_one_task.db"
expect 2 "given twice" "$m" report -o a -o b "$stores/valid_one_task.db"

# ---- exit codes, and nothing written ----------------------------------------------------------------
out=$t/out
mkdir "$out"
nothing_written() {
    [ -z "$(ls -A "$out")" ] || complain "$1 left $(ls -A "$out")"
    rm -rf "$out" && mkdir "$out"
}
head -c 5000 $data/models/mini-base.pth >"$t/cut.pth"
head -c 5000 $data/Dataset101_HumanMR/imagesTs/colin27_test_0000.nii.gz >"$t/cut.nii.gz"
expect 3 "nowhere.pth" "$m" inspect "$t/nowhere.pth"
one_line "missing file"
expect 3 "cut.pth" "$m" convert "$t/cut.pth" "$out/x.safetensors"
one_line "cut checkpoint"
nothing_written "convert of a cut checkpoint"
expect 3 "nowhere.pth" "$m" diff $data/models/mini-base.pth "$t/nowhere.pth"
expect 2 "slerp" "$m" merge --method slurp --base $data/models/mini-base.pth \
    --model human=$data/models/mini-human.pth -o "$out/x.pth"
nothing_written "merge by an unknown method"
expect 3 "cut.pth" "$m" merge --method linear --base $data/models/mini-base.pth \
    --model "human=$t/cut.pth" -o "$out/x.pth"
nothing_written "merge of a cut checkpoint"
expect 3 "cut.nii.gz" "$m" segment --model $data/models/mini-base.pth --image "$t/cut.nii.gz" \
    --box3d 1,1,1,9,9,9 -o "$out/x.nii.gz"
nothing_written "segment of a cut image"
expect 3 "nowhere" "$m" eval --reference "$t/nowhere" --prediction "$t/nowhere" --csv "$out/x.csv"
nothing_written "eval of nothing"
expect 2 "cpu does not offer fp16: it computes in fp32 and bf16" "$m" score \
    --model $data/models/mini-base.pth --dataset $data/Dataset103_Shapes --precision fp16
expect 3 "nowhere" "$m" search --base "$t/nowhere.pth" --model human=$data/models/mini-human.pth \
    --dataset $data/Dataset103_Shapes --trials 1 -o "$out/x.pth" --plan-out "$out/x.yaml" \
    --store "$t/s.db" --report "$out/x.html"
nothing_written "search without a base"
expect 3 "no table 'costs'" "$m" report $stores/reject_no_table_costs.db -o "$out/x.html"
nothing_written "report of a bad store"
expect 5 "limit" "$m" report $stores/reject_text_too_long.db -o "$out/x.html"
expect 3 "dataset.json" "$m" doctor "$t"

# Outputs are looked at first: no hours of search for a folder that is not there, and no file that
# the same command reads, or another output, is replaced.
cp $stores/valid_one_task.db "$t/kept.db"
cp $data/models/mini-base.pth "$t/kept.pth"
searched=(search --base "$t/kept.pth" --model human=$data/models/mini-human.pth
    --dataset $data/Dataset103_Shapes --trials 100000)
segmented=(segment --model "$t/kept.pth" --image $data/Dataset103_Shapes/imagesTs/shape01_0000.png
    --box 20,20,120,120)
expect 3 "another folder" timeout 20 "$m" "${searched[@]}" -o "$out/x.pth" --plan-out "$out/no/x.yaml"
one_line "search into a missing folder"
expect 3 "is a folder" timeout 20 "$m" "${searched[@]}" -o "$out/x.pth" --plan-out "$out"
expect 3 "is no folder" timeout 20 "$m" "${searched[@]}" -o "$out/x.pth" --front "$t/kept.pth"
expect 2 ".safetensors" timeout 20 "$m" "${searched[@]}" -o "$out/x.onnx"
expect 2 "same file as --plan-out" timeout 20 "$m" "${searched[@]}" -o "$out/x.pth" --plan-out "$out/x.pth"
expect 2 "same file as --base" timeout 20 "$m" "${searched[@]}" -o "$t/kept.pth"
expect 2 "same file as --model" "$m" merge --method linear --base $data/models/mini-base.pth \
    --model human="$t/kept.pth" -o "$t/kept.pth"
expect 2 "same file as the input" "$m" report "$t/kept.db" -o "$t/../$(basename "$t")/kept.db"
expect 3 "another folder" "$m" "${segmented[@]}" -o "$out/no/x.png" --save-logits "$out/x.npy"
expect 2 "end in .png" "$m" "${segmented[@]}" -o "$out/x.png" --overlay "$out/x.jpg"
expect 3 "another folder" "$m" eval --reference $data/Dataset103_Shapes/labelsTs \
    --prediction $data/Dataset103_Shapes/labelsTs --summary "$out/s.json" --csv "$out/no/x.csv"
# Devices, pipes and loops of links are neither read nor written, and nobody waits for them.
mkfifo "$t/pipe" && ln -s loop "$t/loop"
human=(--model human=$data/models/mini-human.pth)
linear=(merge --method linear "${human[@]}")
for odd in "$t/pipe" "$t" /dev/zero "$t/loop" "$t/nothing"; do
    expect 3 "" timeout 20 "$m" inspect "$odd"
    expect 3 "" timeout 20 "$m" "${linear[@]}" --base "$odd" -o "$out/x.pth"
    expect 3 "" timeout 20 "$m" merge "${human[@]}" --base "$t/kept.pth" --plan "$odd" -o "$out/x.pth"
done
for odd in "$t/pipe" "$t" /dev/null; do
    expect 3 "give a file name to --output" timeout 20 "$m" "${linear[@]}" --base "$t/kept.pth" -o "$odd"
done
(
    ulimit -f 500
    expect 3 "cannot be written: File too large" "$m" "${linear[@]}" --base "$t/kept.pth" -o "$out/x.pth"
    exit $failed
) || failed=1
nothing_written "outputs that cannot be written"
cmp -s "$t/kept.db" $stores/valid_one_task.db && cmp -s "$t/kept.pth" $data/models/mini-base.pth ||
    complain "an input was overwritten"

# ---- results ---------------------------------------------------------------------------------------
expect 0 "x.html" "$m" report $stores/valid_two_tasks.db -o "$out/x.html"
[ -s "$out/x.html" ] || complain "report wrote nothing"
"$m" report -q $stores/valid_two_tasks.db -o "$out/x.html" >"$t/stdout" 2>&1 || complain "report -q"
[ -s "$t/stdout" ] && complain "report -q prints $(cat "$t/stdout")"
"$m" doctor $data/Dataset103_Shapes 2>&1 | grep -q $'\033' && complain "colours in a pipe"

is_json() {
    "$@" >"$t/json" 2>"$t/stderr" </dev/null || complain "$*: $(cat "$t/stderr")"
    /usr/bin/python3 -m json.tool "$t/json" >"$t/log" 2>&1 || complain "no JSON: $*: $(cat "$t/log")"
}
if /usr/bin/python3 -c 'import json' 2>/dev/null; then
    is_json "$m" inspect --json --tensors $data/models/mini-base.pth
    is_json "$m" convert --json $data/models/mini-base.pth "$out/x.safetensors"
    is_json "$m" diff --json $data/models/mini-base.pth $data/models/mini-human.pth
    is_json "$m" merge --json --method linear --base $data/models/mini-base.pth \
        --model human=$data/models/mini-human.pth -o "$out/x.pth"
    is_json "$m" doctor --json $data/Dataset103_Shapes
    is_json "$m" report --json $stores/valid_one_task.db -o "$out/y.html"
    is_json "$m" segment --json --model $data/models/mini-base.pth \
        --image $data/Dataset103_Shapes/imagesTs/shape01_0000.png --box 20,20,120,120 -o "$out/m.png"
    is_json "$m" eval --json --reference $data/Dataset103_Shapes/labelsTs/shape01.png \
        --prediction "$out/m.png"
    is_json "$m" score --json --model $data/models/mini-base.pth $data/models/mini-human.pth \
        --dataset $data/Dataset103_Shapes
    [ "$(grep -c 'mini-' "$t/json")" -ge 2 ] || complain "score takes one of two models only"
fi

# ---- pipes, full disks, interrupts -------------------------------------------------------------------
if [ -c /dev/full ]; then
    "$m" --help >/dev/full 2>"$t/stderr"
    [ $? = 3 ] || complain "a full stdout is not an error"
    one_line "full stdout"
fi
{
    sleep 0.2
    "$m" --help 2>"$t/stderr"
    echo $? >"$t/code"
} | true
sleep 0.5
[ "$(cat "$t/code")" = 3 ] || complain "a closed pipe gives exit code $(cat "$t/code")"

rm -rf "$out" && mkdir "$out"
"$m" search --base $data/models/mini-base.pth --model human=$data/models/mini-human.pth \
    --dataset $data/Dataset103_Shapes --trials 5000 -o "$out/x.pth" --store "$t/store.db" \
    >"$t/stdout" 2>"$t/stderr" &
search=$!
for _ in $(seq 60); do # until the search has begun
    [ -s "$t/store.db" ] && break
    sleep 0.5
done
kill -INT $search
wait $search
code=$?
[ $code = 75 ] || complain "an interrupted search gives exit code $code: $(tail -n 1 "$t/stderr")"
grep -q $'\033' "$t/stderr" && complain "escape sequences on a stderr that is no terminal"
nothing_written "an interrupted search"

# On a terminal the progress is one line that is drawn again; NO_COLOR takes its colour away.
in_terminal() {
    /usr/bin/python3 -c 'import pty, sys; pty.spawn(sys.argv[1:])' "$@" </dev/null >"$t/tty" 2>&1
}
if /usr/bin/python3 -c 'import pty; pty.openpty()' 2>/dev/null; then
    search_three=(search --base $data/models/mini-base.pth --model human=$data/models/mini-human.pth
        --dataset $data/Dataset103_Shapes --trials 3 -o "$out/x.pth")
    TERM=xterm in_terminal "$m" "${search_three[@]}"
    grep -q $'\r.*search .*\[36m.*/3' "$t/tty" || complain "no bar on a terminal: $(cat "$t/tty")"
    TERM=xterm NO_COLOR=1 in_terminal "$m" "${search_three[@]}"
    grep -q $'\r.*search .*/3' "$t/tty" || complain "no bar with NO_COLOR"
    grep -q $'\033\[36m' "$t/tty" && complain "NO_COLOR is not honoured"
    TERM=xterm in_terminal "$m" "${search_three[@]}" -q
    grep -q $'\r.*search' "$t/tty" && complain "a bar with -q"
fi

[ $failed = 0 ] && echo "the program keeps its contract"
exit $failed
