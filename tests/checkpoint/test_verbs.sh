#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The verbs inspect and convert: what they print, and that bad input gives exit code 3, one line, and
# no output file.
set -u
medsamix=${MEDSAMIX:-${B:-build}/medsamix}
golden=tests/golden
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0
fail() { echo "FAILED: $*"; failed=1; }
expect() { # file, pattern
    grep -q -- "$2" "$1" || { fail "no '$2' in"; head -n 20 "$1"; }
}

"$medsamix" inspect $golden/containers/training_state.pt >"$folder/text" || fail "inspect"
expect "$folder/text" '^container     torch zip$'
expect "$folder/text" '^nesting       model_state$'
expect "$folder/text" '^prefix        sam.$'
expect "$folder/text" '^tensors       174, 104940 elements of f32$'
expect "$folder/text" '^image         112 pixels, patch 16, grid 7$'
expect "$folder/text" '^global blocks 1$'
"$medsamix" inspect --tensors $golden/containers/half.pth >"$folder/text" || fail "inspect --tensors"
expect "$folder/text" '^image_encoder.pos_embed  *f16  *1 x 7 x 7 x 32  *0$'
"$medsamix" inspect --json --tensors $golden/containers/legacy.pth >"$folder/json" || fail "--json"
expect "$folder/json" '"container": "torch legacy"'
expect "$folder/json" '"window": 14'
expect "$folder/json" '"nonfinite": 0'
"$medsamix" inspect $golden/a/golden.safetensors >"$folder/text" || fail "inspect of another file"
expect "$folder/text" '^architecture  none: .*not a SAM'

"$medsamix" convert --names hf --shard-size 1 examples/data/models/mini-base.pth \
    "$folder/sam.safetensors.index.json" >/dev/null || fail "convert to shards"
[ "$(ls "$folder" | grep -c '^sam-0000[1-4]-of-00004.safetensors$')" = 4 ] || fail "number of shards"
"$medsamix" diff examples/data/models/mini-base.pth "$folder/sam.safetensors.index.json" >"$folder/text" ||
    fail "diff with shards"
grep -q differ "$folder/text" && fail "shards differ"

"$medsamix" convert $golden/containers/double.pth "$folder/x.safetensors" >"$folder/text" || fail "convert"
expect "$folder/text" '174 tensors, f32, official names$'
"$medsamix" convert --json --dtype bf16 --names hf "$folder/x.safetensors" "$folder/x.pt" >"$folder/json" ||
    fail "convert --json"
expect "$folder/json" '"dtype": "bf16"'
"$medsamix" inspect "$folder/x.pt" >"$folder/text" || fail "inspect of the conversion"
expect "$folder/text" '^names         hf$'
expect "$folder/text" 'elements of bf16$'

# exit code, pattern of the one line, arguments
refuse() {
    local code=$1 pattern=$2
    shift 2
    rm -f "$folder/out.pth"
    "$medsamix" "$@" >"$folder/out" 2>"$folder/err"
    local got=$?
    [ $got = "$code" ] || fail "exit code $got instead of $code: $*"
    [ "$(wc -l <"$folder/err")" = 1 ] || { fail "not one line: $*"; cat "$folder/err"; }
    grep -q '^medsamix: ' "$folder/err" || fail "no 'medsamix: ': $*"
    expect "$folder/err" "$pattern"
    [ ! -e "$folder/out.pth" ] || fail "an output was written: $*"
}
corpus=tests/fuzz/corpus
refuse 3 'holds no LoRA weights' convert --fold-lora $golden/containers/double.pth "$folder/out.pth"
for verb in "inspect" "convert $folder/out.pth"; do
    set -- $verb
    refuse 3 'the pickle calls posix.system' "$1" $corpus/torch_zip/reject_call_system.pth ${2-}
    refuse 3 'checksum of tensor' "$1" $corpus/torch_zip/reject_read_crc_of_data.pth ${2-}
    refuse 3 'truncated' "$1" $corpus/safetensors/reject_data_truncated.safetensors ${2-}
    refuse 3 'cannot be opened' "$1" no/such/file.pth ${2-}
done
refuse 3 'not a SAM' convert --names hf $corpus/torch_zip/valid_flat.pth "$folder/out.pth"
refuse 2 'ending chooses the format' convert $golden/a/model.pth "$folder/out.onnx"
refuse 2 "did you mean 'bf16'" convert --dtype bf61 $golden/a/model.pth "$folder/out.pth"
refuse 2 'needs' convert $golden/a/model.pth
head -c 200000 $golden/a/model.pth >"$folder/cut.pth"
refuse 3 'truncated' convert "$folder/cut.pth" "$folder/out.pth"
[ -z "$(find "$folder" -name '.*.part')" ] || fail "a temporary file was left"
[ $failed = 0 ] && echo "all as expected"
exit $failed
