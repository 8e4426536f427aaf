# SPDX-License-Identifier: Apache-2.0
# Shared by the tests that run a search with several worker processes; sourced, with these set:
#   folder   temporary, removed by the caller
#   query    STORE SQL: prints rows with '|' between columns
#   hex      COLUMN: SQL for the upper-case hexadecimal digits of a blob
#   decimals COLUMN: SQL for a number with ten decimals
msx=${B:-build}/medsamix
seed=5
# Short by default, shorter under sanitizers; the long form is make check-workers.
trials=${TRIALS:-${MSX_SANITIZED:+24}}
trials=${trials:-60} kill_seconds=${KILL_SECONDS:-0.7} processes=4
models=examples/data/models

search() { # STORE OPTION...
    local store=$1
    shift
    exec "$msx" search --base $models/mini-base.pth --model human=$models/mini-human.pth \
        --model macaque=$models/mini-macaque.pth --dataset examples/data/Dataset101_HumanMR \
        --task thalamus --seed $seed --threads 1 --batch 4 --lease 5 --trials "$trials" -q --store "$store" "$@"
}

# Everything that must not depend on who ran what when.
dump() { # STORE
    query "$1" "SELECT key, value FROM meta WHERE key <> 'version' ORDER BY key"
    query "$1" "SELECT number, state, origin, $(hex x), plan, $(decimals mean_cost), $(hex history), images,
        $(hex dice), error FROM trials ORDER BY number"
    query "$1" "SELECT trial, task, $(decimals cost) FROM costs ORDER BY trial, task"
}

# Four processes; every kill_seconds one of them is killed and started again, until all are done.
kill_and_restart() { # STORE
    local store=$1 pids=() kills=0 left=1 i
    for ((i = 0; i < processes; i++)); do
        (search "$store" --workers 1) >/dev/null 2>"$folder/errors.$i" &
        pids[i]=$!
    done
    while [ $left = 1 ]; do
        sleep "$kill_seconds"
        left=0
        for ((i = 0; i < processes; i++)); do kill -0 "${pids[i]}" 2>/dev/null && left=1; done
        i=$((RANDOM % processes))
        kill -KILL "${pids[i]}" 2>/dev/null || continue
        wait "${pids[i]}" 2>/dev/null
        [ $? = 137 ] || continue
        kills=$((kills + 1))
        (search "$store" --workers 1) >/dev/null 2>"$folder/errors.$i" &
        pids[i]=$!
    done
    for ((i = 0; i < processes; i++)); do
        wait "${pids[i]}" || { echo "a worker failed: $(cat "$folder/errors.$i")"; return 1; }
    done
    echo "$kills kills in $trials trials," \
        "$(query "$store" "SELECT count(*) FROM trials WHERE attempt > 1") trials taken over," \
        "$(query "$store" "SELECT count(DISTINCT worker) FROM trials") workers"
}

# The store of one worker that is never killed: $folder/reference.db, dumped by the caller's first query.
reference() {
    [ -e "$folder/reference.db" ] && return
    (search "$folder/reference.db" --workers 1) >/dev/null 2>"$folder/errors" ||
        { echo "the reference run failed: $(cat "$folder/errors")"; exit 1; }
}

compare() { # FILE FILE
    cmp -s "$1" "$2" && return
    echo "the store differs from that of one worker:"
    diff "$1" "$2" | cut -c 1-300 | head -n 10
    exit 1
}
