#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Kill `medsamix search` with SIGKILL at 20 random moments and resume: the store must end with the
# content of one uninterrupted run (times aside), and hold a prefix of it after every kill.
set -u
B=${B:-build}
msx=$B/medsamix
kills=20 trials=16
[ -x "$msx" ] || { echo "$msx is not built"; exit 77; }
if command -v sqlite3 >/dev/null; then
    query() { sqlite3 "$1" "$2"; }
elif python3 -c 'import sqlite3' 2>/dev/null; then
    query() { python3 -c 'import sqlite3, sys
for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print("|".join(map(str, row)))' "$1" "$2"; }
else
    echo "neither sqlite3 nor python3 to read the store with"
    exit 77
fi
folder=$(mktemp -d /tmp/medsamix-test-XXXXXX)
trap 'rm -rf "$folder"' EXIT
models=examples/data/models

search() { # store
    exec "$msx" search --base $models/mini-base.pth --model human=$models/mini-human.pth \
        --model macaque=$models/mini-macaque.pth --dataset examples/data/Dataset101_HumanMR \
        --task thalamus --trials $trials --seed 5 --threads 1 -q --store "$1" -o "$folder/merged.pth"
}
dump() { # store, trials below this number
    query "$1" "SELECT * FROM meta ORDER BY key"
    query "$1" "SELECT * FROM models"
    query "$1" "SELECT * FROM tasks"
    query "$1" "SELECT * FROM groups"
    query "$1" "SELECT * FROM parameters"
    query "$1" "SELECT number, state, origin, hex(x), plan, mean_cost, hex(history), images,
        hex(dice), error FROM trials
        WHERE number < $2 AND state <> 'running' ORDER BY number"
    query "$1" "SELECT * FROM costs WHERE trial < $2 ORDER BY trial, task"
}
compare() { # store, trials
    dump "$folder/reference.db" "$2" >"$folder/expected"
    dump "$1" "$2" >"$folder/found"
    cmp -s "$folder/expected" "$folder/found" && return
    echo "the store differs from that of an uninterrupted run:"
    diff "$folder/expected" "$folder/found" | head -n 10
    exit 1
}

began=$(date +%s%N)
(search "$folder/reference.db") >/dev/null || { echo "the reference run failed"; exit 1; }
length=$((($(date +%s%N) - began) / 1000000)) # ms
[ "$(query "$folder/reference.db" 'SELECT count(*) FROM trials')" = $trials ] || { echo "trials are missing"; exit 1; }

store=$folder/killed.db
RANDOM=42
done=0 rounds=0 while_open=0
while [ $done -lt $kills ]; do
    (search "$store") >/dev/null 2>"$folder/errors" &
    pid=$!
    moment=$(((RANDOM * 32768 + RANDOM) % (length / 2 + 1)))
    sleep "$(printf '%d.%03d' $((moment / 1000)) $((moment % 1000)))"
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    status=$?
    if [ $status = 137 ]; then
        done=$((done + 1))
        [ -s "$store" ] || continue
        [ -e "$store-journal" ] && while_open=$((while_open + 1))
        n=$(query "$store" "SELECT count(*) FROM sqlite_master WHERE name = 'trials'")
        [ "$n" = 1 ] && compare "$store" "$(query "$store" "SELECT count(*) FROM trials WHERE state <> 'running'")"
    else
        [ $status = 0 ] || { echo "a resumed run failed: $(cat "$folder/errors")"; exit 1; }
        compare "$store" $trials
        rm -f "$store"
        rounds=$((rounds + 1))
    fi
done
(search "$store") >/dev/null 2>"$folder/errors" || { echo "the last run failed: $(cat "$folder/errors")"; exit 1; }
compare "$store" $trials
echo "$done kills, $((rounds + 1)) stores completed, $while_open killed inside a transaction; all equal"
