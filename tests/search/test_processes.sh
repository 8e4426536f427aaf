#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Four worker processes on one SQLite file, killed at random with SIGKILL and restarted: nothing is lost, nothing
# counts twice, and every trial is the one that a single worker makes. Several workers in one process likewise, and
# a worker that is asked to stop.
set -u
folder=$(mktemp -d /tmp/medsamix-test-XXXXXX)
trap 'rm -rf "$folder"' EXIT
. tests/search/workers.sh
[ -x "$msx" ] || { echo "$msx is not built"; exit 77; }
if command -v sqlite3 >/dev/null; then
    query() { sqlite3 -cmd '.timeout 10000' "$1" "$2"; }
elif python3 -c 'import sqlite3' 2>/dev/null; then
    query() { python3 -c 'import sqlite3, sys
for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print("|".join("" if v is None else str(v) for v in row))' "$1" "$2"; }
else
    echo "neither sqlite3 nor python3 to read the store with"
    exit 77
fi
hex() { echo "hex($1)"; }
decimals() { echo "printf('%.10f', $1)"; }
RANDOM=17

reference
dump "$folder/reference.db" >"$folder/expected"
[ "$(query "$folder/reference.db" "SELECT count(*) FROM trials WHERE state = 'done'")" = "$trials" ] ||
    { echo "trials are missing"; exit 1; }

kill_and_restart "$folder/processes.db" || exit 1
dump "$folder/processes.db" >"$folder/found"
compare "$folder/expected" "$folder/found"

# in free order no two workers make the same trial, and none is left out
store=$folder/free.db pids=()
for i in 1 2 3; do
    (trials=30; search "$store" --order free) >/dev/null 2>"$folder/errors.$i" &
    pids+=($!)
done
for i in 1 2 3; do wait "${pids[i - 1]}" || { echo "free order: $(cat "$folder/errors.$i")"; exit 1; }; done
found=$(query "$store" "SELECT count(*), count(DISTINCT hex(x)), count(DISTINCT worker) > 1, max(attempt) FROM trials WHERE state = 'done'")
[ "$found" = "30|30|1|1" ] || { echo "free order: $found"; exit 1; }

# three threads, asked to stop twice by the two signals, then left alone
store=$folder/threads.db begun=0
for signal in TERM INT; do
    (trap - INT; search "$store" --workers 3) >/dev/null 2>"$folder/errors" &
    pid=$!
    begun=$((begun + 5))
    for _ in $(seq 600); do
        [ "$(query "$store" "SELECT count(*) FROM trials" 2>/dev/null || echo 0)" -ge $begun ] && break
        sleep 0.02
    done
    kill -$signal $pid
    wait $pid
    code=$?
    [ $code = 75 ] || { echo "after SIG$signal: exit code $code, not 75: $(cat "$folder/errors")"; exit 1; }
    held=$(query "$store" "SELECT count(*) FROM trials WHERE state = 'running' AND lease > 0")
    [ "$held" = 0 ] || { echo "after SIG$signal: $held trials are still held"; exit 1; }
done
(search "$store" --workers 3) >/dev/null 2>"$folder/errors" || { echo "threads: $(cat "$folder/errors")"; exit 1; }
dump "$store" >"$folder/found"
compare "$folder/expected" "$folder/found"
