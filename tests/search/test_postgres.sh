#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Stores in PostgreSQL: a server of its own in a temporary folder, on a socket there and nowhere else; the unit tests of
# the store against it, then four workers that are killed at random, a server that is restarted under them, and the
# report of such a store.
set -u
bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
[ -n "$bin" ] && [ -x "$bin/initdb" ] || { echo "no PostgreSQL server is installed"; exit 77; }
command -v psql >/dev/null || { echo "no psql to read the store with"; exit 77; }
folder=$(mktemp -d /tmp/medsamix-test-XXXXXX)
. tests/search/workers.sh
[ -x "$msx" ] || { echo "$msx is not built"; exit 77; }
as_server=
if [ "$(id -u)" = 0 ]; then # the server refuses to run as root
    id postgres >/dev/null 2>&1 && command -v runuser >/dev/null || { echo "no user 'postgres' to run a server as"; exit 77; }
    as_server="runuser -u postgres --"
    mkdir "$folder/server" && chown postgres "$folder/server" && chmod 755 "$folder"
else
    mkdir "$folder/server"
fi
# A server that is slow to stop must not outlive the test.
stop_server() { $as_server "$bin/pg_ctl" -D "$folder/server/data" -m immediate -w stop >/dev/null 2>&1; }
trap 'stop_server; rm -rf "$folder"' EXIT
start_server() {
    (cd / && $as_server "$bin/pg_ctl" -D "$folder/server/data" -l "$folder/server/log" -w -t 60 \
        -o "-c listen_addresses= -c unix_socket_directories=$folder/server" start) >/dev/null 2>&1
}
(cd / && $as_server "$bin/initdb" -D "$folder/server/data" -U tester -A trust -E UTF8 --no-sync) >"$folder/log" 2>&1 &&
    start_server || { echo "no server could be started: $(tail -n 1 "$folder/log" "$folder/server/log" 2>/dev/null | tail -n 1)"; exit 77; }
server="postgresql://tester@/postgres?host=$folder/server"

query() { # STORE SQL; a file name is SQLite
    case $1 in
    postgresql:*) PGOPTIONS="-c search_path=${1#*#}" psql -q -t -A -c "$2" "${1%#*}" ;;
    *) python3 -c 'import sqlite3, sys
for row in sqlite3.connect(sys.argv[1]).execute(sys.argv[2]): print("|".join("" if v is None else str(v) for v in row))' "$1" "$2" ;;
    esac
}
python3 -c 'import sqlite3' 2>/dev/null || { echo "no python3 to read the reference with"; exit 77; }
answer=$("$msx" report "$server#none" -o "$folder/none.html" 2>&1)
case $answer in *"not known to this build"*) echo "this build is without libpq"; exit 77 ;; esac
hex() { case $target in reference) echo "hex($1)" ;; *) echo "upper(encode($1, 'hex'))" ;; esac; }
decimals() { case $target in reference) echo "printf('%.10f', $1)" ;; *) echo "round($1::numeric, 10)" ;; esac; }
RANDOM=23

# ---- the store alone ----
if [ -x "${B:-build}/tests/search/test_store" ]; then
    MEDSAMIX_TEST_POSTGRES=$server "${B:-build}/tests/search/test_store" >"$folder/unit" 2>&1 ||
        { cat "$folder/unit"; exit 1; }
fi

# ---- four processes, killed and restarted ----
target=reference
reference
dump "$folder/reference.db" >"$folder/expected"
target=server
kill_and_restart "$server#killed" || exit 1
dump "$server#killed" >"$folder/found"
compare "$folder/expected" "$folder/found"

# ---- the server itself is restarted: workers connect again ----
trials=24
(search "$server#restarted" --workers 2) >/dev/null 2>"$folder/errors" &
pid=$!
for _ in $(seq 100); do
    sleep 0.1
    [ "$(query "$server#restarted" "SELECT count(*) FROM trials" 2>/dev/null || echo 0)" -ge 3 ] && break
done
stop_server
sleep 0.5
start_server || { echo "the server does not start again"; exit 1; }
wait $pid || { echo "a restarted server ends the search: $(cat "$folder/errors")"; exit 1; }
[ "$(query "$server#restarted" "SELECT count(*) FROM trials WHERE state = 'done'")" = $trials ] || { echo "trials are missing"; exit 1; }

# ---- its report, which is as that of a file ----
"$msx" report "$server#restarted" -o "$folder/server.html" -q 2>"$folder/errors" || { echo "no report: $(cat "$folder/errors")"; exit 1; }
grep -q -- "--store .*postgresql://tester@/postgres#restarted" "$folder/server.html" || { echo "the report does not name its store"; exit 1; }
"$msx" report "$server#nothing" -o "$folder/never.html" -q 2>"$folder/errors"
[ $? = 3 ] && grep -q "there is no store of a search" "$folder/errors" || { echo "a report of nothing: $(cat "$folder/errors")"; exit 1; }

# ---- what is wrong is said ----
(seed=6; search "$server#restarted" --workers 1) >/dev/null 2>"$folder/errors"
[ $? = 3 ] && grep -q "seed is '5' there and '6' here" "$folder/errors" || { echo "another seed: $(cat "$folder/errors")"; exit 1; }
