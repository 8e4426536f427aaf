#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A store is looked at while workers write it: every report is complete, and says what still runs.
set -u
B=${B:-build}
msx=$B/medsamix
[ -x "$msx" ] || { echo "$msx is not built"; exit 77; }
folder=$(mktemp -d /tmp/medsamix-test-XXXXXX)
pid=
trap '[ -n "$pid" ] && kill -KILL $pid 2>/dev/null; rm -rf "$folder"' EXIT
models=examples/data/models
failed=0
fail() { echo "FAIL: $*"; failed=1; }
"$msx" search --base $models/mini-base.pth --model human=$models/mini-human.pth --model macaque=$models/mini-macaque.pth \
    --dataset examples/data/Dataset101_HumanMR --task thalamus --task putamen --trials 100000 --workers 2 --threads 2 \
    --store "$folder/store.db" -q -o "$folder/best.pth" >"$folder/out" 2>"$folder/err" &
pid=$!
seen=0 running=0
for ((i = 0; i < 300 && (seen < 12 || running == 0); i++)); do
    kill -0 $pid 2>/dev/null || { fail "the search ended: $(cat "$folder/err")"; break; }
    sleep 0.1
    [ -s "$folder/store.db" ] || continue
    if "$msx" report "$folder/store.db" -q -o "$folder/page.html" 2>"$folder/log"; then
        seen=$((seen + 1))
        tail -c 30 "$folder/page.html" | grep -q '</html>' || fail "a page has no end"
        grep -q "still running when this page was written" "$folder/page.html" && running=$((running + 1))
    elif ! grep -q "has no table" "$folder/log"; then # before the first commit
        fail "$(cat "$folder/log")"
    fi
    rm -f "$folder/page.html"
done
[ $seen -ge 12 ] || fail "only $seen pages were written"
[ $running -ge 1 ] || fail "no page says that trials run"
kill -INT $pid
wait $pid
[ $? = 75 ] || fail "the search did not end with 75: $(cat "$folder/err")"
pid=
"$msx" report "$folder/store.db" -q -o "$folder/page.html" || fail "afterwards"
exit $failed
