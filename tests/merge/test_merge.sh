#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The verbs merge and diff, and the two merging examples, on the demo models.
set -u
B=${B:-build}
program=$B/medsamix
models=examples/data/models
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0

fail() {
    echo "FAIL: $*"
    status=1
}

# expect CODE TEXT COMMAND...: exit code, and stdout with stderr contains TEXT
expect() {
    local code=$1 text=$2 output got
    shift 2
    output=$("$@" 2>&1)
    got=$?
    [ $got = "$code" ] || fail "exit code $got instead of $code: $* : $output"
    case $output in *"$text"*) ;; *) fail "'$text' is not in the output of $* : $output" ;; esac
}

inputs=(--base $models/mini-base.pth --model human=$models/mini-human.pth
    --model macaque=$models/mini-macaque.pth)
merge() { "$program" merge -q "${inputs[@]}" "$@"; }

# one method everywhere, every method
expect 0 "weight.human=1" merge --method linear --set weight.base=0,weight.human=1 \
    --set weight.macaque=0 -o "$folder/human.pth"
expect 0 "scaling=0.7" merge --method ties --set retain=0.5,scaling=0.7 -o "$folder/ties.safetensors"
expect 0 "defaults" merge --method task_arithmetic -o "$folder/task.pth" --dtype f16
expect 0 "t=0.25" merge --method slerp --set t=0.25 -o "$folder/slerp.pth"

# a weight of one gives that model's bits; base and human do differ
"$program" diff "$folder/human.pth" $models/mini-human.pth >"$folder/diff" || fail "diff"
grep -q differ "$folder/diff" && fail "linear with one weight is not that model"
grep -q equal "$folder/diff" || fail "diff prints no group"
expect 0 differ "$program" diff $models/mini-base.pth $models/mini-human.pth --granularity 2
expect 0 '"relative_l2"' "$program" diff --json $models/mini-base.pth "$folder/ties.safetensors"

# with a base: what the two task vectors have in common
three=($models/mini-base.pth $models/mini-human.pth $models/mini-macaque.pth)
expect 0 "sign agreement" "$program" diff "${three[@]}"
expect 0 "\"equal\": true" "$program" diff --json "${three[@]}"
expect 0 '"sign_agreement": 1.0' "$program" diff --json "${three[@]:0:2}" $models/mini-human.pth
expect 0 "    \"encoder.0\"," "$program" diff --json "${three[0]}" "${three[0]}" "${three[0]}"
expect 3 "tests/golden/c/model.pth" "$program" diff "${three[@]:0:2}" tests/golden/c/model.pth
expect 0 "equal in all models, merging does nothing: prompt.0, prompt.1" "$program" diff "${three[@]}"
expect 0 "D mini-base.pth" "$program" diff "${three[@]}" "$folder/slerp.pth" "${three[0]}"
expect 0 '"box_prompts": "reached"' "$program" diff --json "${three[@]}" "$folder/slerp.pth"
expect 2 "argument" "$program" diff "${three[@]}" "${three[@]}" "${three[@]}" "${three[@]}"

# the same as a picture: a row for each group, names of files cannot become markup
cp $models/mini-human.pth "$folder/<b>&human.pth"
expect 0 "sign agreement" "$program" diff "${three[0]}" "$folder/<b>&human.pth" "${three[2]}" \
    --html "$folder/page.html"
[ "$(grep -c '<th scope="row">' "$folder/page.html")" = 25 ] || fail "the page has not 25 rows"
grep -q '/&lt;b&gt;&amp;human.pth' "$folder/page.html" || fail "the page lacks the model's name"
grep -q '<b>&human' "$folder/page.html" && fail "a file's name is markup"
grep -Eq '<script|https?://' "$folder/page.html" && fail "the page is not complete in itself"
for tag in html head body main h1 ul table thead tbody tr td th dl p; do
    [ "$(grep -o "<$tag[ >]" "$folder/page.html" | wc -l)" = "$(grep -o "</$tag>" "$folder/page.html" | wc -l)" ] ||
        fail "the page's <$tag> is not balanced"
done
expect 2 "has to end in .html" "$program" diff "${three[@]}" --html "$folder/page.txt"
expect 3 "cannot be written" "$program" diff "${three[@]}" --html "$folder/nowhere/page.html"

# what a merge speaks of, in one file
"$program" inspect --groups "${three[0]}" >"$folder/groups" || fail "inspect --groups"
grep -q '^prompt.2  *10  *1420  *0.16 %  *0 %  *0.1877  *0$' "$folder/groups" || fail "a group of inspect"
expect 0 '"reached_by_boxes": 9096' "$program" inspect --json --groups "${three[0]}"
expect 2 "goes with --groups" "$program" inspect --granularity 2 "${three[0]}"
expect 3 "--groups needs a complete SAM" "$program" inspect --groups tests/golden/a/golden.safetensors

# a plan file, and JSON
cat >"$folder/plan.yaml" <<PLAN
medsamix: 1
granularity: {encoder: 2}
models: [human, macaque]
groups:
  encoder.0-1: {method: ties, retain: 0.5, scaling: 0.7}
  "*": {method: slerp, score: {base: 0, human: 0.9}}
PLAN
expect 0 '"score.human": 0.9' merge --json --plan "$folder/plan.yaml" -o "$folder/plan.pth"

# the same merge again has the same bytes, whatever the number of threads
merge --threads 1 --plan "$folder/plan.yaml" -o "$folder/again.pth" >/dev/null || fail "merge again"
"$program" diff "$folder/plan.pth" "$folder/again.pth" | grep -q differ && fail "threads change bits"

# a merged file is rebuilt from what it carries
verify() { "$program" merge --verify "$folder/plan.pth" "$@"; }
expect 0 "equal to its rebuild" verify "${inputs[@]}"
expect 0 '"equal": true' verify --json "${inputs[@]}"
expect 3 "the SHA-256 differs of macaque ($models/mini-human.pth)" verify "${inputs[@]:0:4}" \
    --model macaque=$models/mini-human.pth
expect 2 "'macaque', which is not given" verify "${inputs[@]:0:4}"
expect 2 "--plan does not go with --verify" verify "${inputs[@]}" --plan "$folder/plan.yaml"
expect 3 "carries no plan" "$program" merge --verify $models/mini-base.pth "${inputs[@]}"
cp "$folder/ties.safetensors" "$folder/flipped.safetensors"
printf 'x' | dd of="$folder/flipped.safetensors" bs=1 seek=99999 conv=notrunc 2>/dev/null
expect 3 "first tensor that differs: image_encoder." "$program" merge "${inputs[@]}" \
    --verify "$folder/flipped.safetensors"

# a draft: the same tensors, and no word of its inputs
merge --draft --plan "$folder/plan.yaml" -o "$folder/draft.pth" >/dev/null || fail "a draft"
"$program" diff "$folder/plan.pth" "$folder/draft.pth" | grep -q differ && fail "a draft has other bits"
expect 0 "medsamix.draft: inputs not hashed" "$program" inspect "$folder/draft.pth"
"$program" inspect "$folder/draft.pth" | grep -q medsamix.input && fail "a draft speaks of its inputs"
draft() { "$program" merge --verify "$folder/draft.pth" "$@"; }
expect 0 "is all that can be checked" draft "${inputs[@]}"
expect 0 '"draft": true' draft --json "${inputs[@]}"
expect 0 '"draft": false' verify --json "${inputs[@]}"
expect 3 "may have been merged from other files" draft "${inputs[@]:0:4}" \
    --model macaque=$models/mini-human.pth
expect 2 "--draft does not go with --verify" verify "${inputs[@]}" --draft

# a plan that says all of a merge: files beside it, element type, values over the depth, filters
cp $models/mini-base.pth "$folder/base.pth"
cp $models/mini-human.pth "$folder/human.pth"
cat >"$folder/whole.yaml" <<PLAN
medsamix: 1
dtype: bf16
base: base.pth
models: {human: human.pth, macaque: $PWD/$models/mini-macaque.pth}
groups:
  "encoder.*":
    method: linear
    weight:
      human: [0, 0.5, 1]
      macaque: [{filter: attn, value: 0.25}, {value: 0.75}]
  "*": {method: task_arithmetic, scaling: 0.3}
PLAN
expect 0 "weight.human=0,0.5,1 weight.macaque[attn]=0.25 weight.macaque=0.75" "$program" merge -q \
    --plan "$folder/whole.yaml" -o "$folder/whole.safetensors"
"$program" inspect "$folder/whole.safetensors" | grep -q "elements of bf16" || fail "the plan's element type"
expect 0 "equal to its rebuild" "$program" merge --verify "$folder/whole.safetensors"
expect 0 '"filter": "attn"' "$program" merge --json --plan "$folder/whole.yaml" --dtype f32 \
    -o "$folder/wide.safetensors"
"$program" inspect "$folder/wide.safetensors" | grep -q "elements of f32" || fail "--dtype goes before the plan"
expect 0 "\"human\": \"$models/mini-macaque.pth\"" "$program" merge --json --plan "$folder/whole.yaml" \
    --model human=$models/mini-macaque.pth -o "$folder/other.pth"
expect 3 "the SHA-256 differs of human" "$program" merge --verify "$folder/other.pth"
expect 2 "is the same file as the input" "$program" merge --plan "$folder/whole.yaml" -o "$folder/human.pth"
cmp -s "$folder/human.pth" $models/mini-human.pth || fail "an input of the plan was replaced"
expect 2 "or a plan with 'base: FILE'" "$program" merge --plan "$folder/plan.yaml" -o "$folder/x.pth"
expect 2 "needs --base FILE" "$program" merge --verify "$folder/whole.safetensors" --model human=x
expect 2 "names no file for 'base'" "$program" merge --verify "$folder/plan.pth"

# faults: one line, the right exit code, no file
mkdir "$folder/empty"
out=$folder/empty/out.pth
sed 's/ties/teis/' "$folder/plan.yaml" >"$folder/method.yaml"
sed 's/encoder.0-1/encoder.0/' "$folder/plan.yaml" >"$folder/group.yaml"
sed 's/human/hunan/' "$folder/plan.yaml" >"$folder/model.yaml"
head -c 100000 $models/mini-human.pth >"$folder/cut.pth"
expect 2 "did you mean 'ties'" merge --method teis -o "$out"
expect 2 "did you mean 'scaling'" merge --method ties --set scalling=1 -o "$out"
expect 2 "use 0 to 1" merge --method ties --set scaling=2 -o "$out"
expect 2 "'scaling' is given twice" merge --method ties --set scaling=1,scaling=0.5 -o "$out"
expect 2 "not PARAMETER=NUMBER" merge --method ties --set scaling -o "$out"
expect 2 "either --plan" merge -o "$out"
expect 2 "either --plan" merge --method ties --plan "$folder/plan.yaml" -o "$out"
expect 2 "--set goes with --method" merge --plan "$folder/plan.yaml" --set t=1 -o "$out"
expect 2 "5:25: unknown merge method 'teis'" merge --plan "$folder/method.yaml" -o "$out"
expect 2 "group.yaml: 5:14: unknown layer group 'encoder.0'; did you mean 'encoder.0-1'" merge --plan "$folder/group.yaml" -o "$out"
expect 2 "model.yaml does not name this model" merge --plan "$folder/model.yaml" -o "$out"
expect 2 "unknown model of the plan 'human'" "$program" merge --plan "$folder/plan.yaml" \
    --base $models/mini-base.pth --model macaque=$models/mini-macaque.pth -o "$out"
expect 2 "--output" "$program" merge --method ties "${inputs[@]}"
expect 2 "write NAME=FILE" "$program" merge --method ties --base $models/mini-base.pth \
    --model $models/mini-human.pth -o "$out"
expect 2 "at least one --model" "$program" merge --method ties --base $models/mini-base.pth -o "$out"
expect 3 "no-such-plan.yaml" merge --plan no-such-plan.yaml -o "$out"
expect 3 "tests/golden/c/model.pth" "$program" merge --method ties --base $models/mini-base.pth \
    --model a=tests/golden/c/model.pth -o "$out"
expect 3 "cut.pth" "$program" merge --method ties --base $models/mini-base.pth \
    --model "a=$folder/cut.pth" -o "$out"
expect 3 "tests/golden/c/model.pth" "$program" diff $models/mini-base.pth tests/golden/c/model.pth
[ -z "$(ls -A "$folder/empty")" ] || fail "a failed merge left $(ls -A "$folder/empty")"

# the examples
expect 0 "whole-encoder: {method: ties" "$B/examples/merge_two" "${three[@]}" "$folder/two.pth"
"$program" diff $models/mini-base.pth "$folder/two.pth" >"$folder/diff" || fail "diff of merge_two"
grep -q "^prompt.0 .*equal" "$folder/diff" || fail "merge_two changed the prompt encoder"
grep -q "^decoder.0 .*differ" "$folder/diff" || fail "merge_two left the decoder as it was"
expect 0 "median of" "$B/examples/custom_merge_method" "${three[@]}" "$folder/median.pth"
expect 0 differ "$program" diff $models/mini-base.pth "$folder/median.pth"
expect 1 "nowhere.pth" "$B/examples/merge_two" nowhere.pth "${three[@]:1}" "$folder/x.pth"

exit $status
