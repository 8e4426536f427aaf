#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The verb experiment: its tables say what score, search and merge say, searches are shared and gone on
# with, lists are checked line by line, and every mistake is one clear line.
set -u
B=${B:-build}
msx=$B/medsamix
python=${PYTHON:-/usr/bin/python3}
[ -x "$msx" ] || { echo "$msx is not built"; exit 77; }
"$python" -c '' 2>/dev/null || { echo "no python3 to read CSV and JSON with"; exit 77; }
folder=$(mktemp -d /tmp/medsamix-test-XXXXXX)
trap 'rm -rf "$folder"' EXIT
data=$PWD/examples/data
models=$data/models
three=(--base "$models/mini-base.pth" --model "human=$models/mini-human.pth" --model "macaque=$models/mini-macaque.pth")
failed=0
fail() { echo "FAIL: $*"; failed=1; }
expect() { # expect CODE TEXT COMMAND...: exit code, one line on stderr that holds TEXT
    local code=$1 text=$2
    shift 2
    "$@" >"$folder/out" 2>"$folder/err"
    local got=$?
    [ $got = "$code" ] || fail "$*: exit code $got, not $code: $(cat "$folder/err")"
    grep -qF -- "$text" "$folder/err" || fail "$*: '$text' is not in: $(cat "$folder/err")"
    [ "$(wc -l <"$folder/err")" = 1 ] || fail "$*: more than one line: $(cat "$folder/err")"
}
cat >"$folder/list.txt" <<EOF
# folders may be absolute, or relative to this file
$data/Dataset101_HumanMR: thalamus, "putamen"   # two of seven

EOF
trials=6
study=("$msx" experiment "${three[@]}" --threads 1 --list "$folder/list.txt" --trials $trials --min-object 200 --seed 3 -o "$folder/study")

# ---- mistakes, before anything is computed ----
expect 2 "did you mean 'granularity'" "${study[@]}" granularty
expect 2 "--values belongs to one of" "${study[@]}" uniform --values 2
expect 2 "--values belongs to one of" "${study[@]}" granularity models --values 2
expect 2 "granularity '5' is not" "${study[@]}" granularity --values 2,5
expect 2 "'3' is no number of tasks from 1 to 2" "${study[@]}" tasks --values 1,3
expect 2 "did you mean 'macaque'" "${study[@]}" models --values human+macaqe
expect 2 "write NAME=FILE" "$msx" experiment front --base x.pth --model y.pth --list "$folder/list.txt" -o "$folder/study"
list() { # list TEXT: a list that is wrong
    printf "$1" >"$folder/wrong.txt"
    expect 3 "$2" "$msx" experiment front "${three[@]}" --list "$folder/wrong.txt" -o "$folder/study"
}
list "# nothing\n" "wrong.txt: names no data set"
list "\n/nonexistent\n" "/nonexistent"
list "$data/Dataset101_HumanMR: thalamus, putamin\n" "wrong.txt:1: Dataset101_HumanMR has no label 'putamin'; did you mean 'putamen'?"
list "$data/Dataset101_HumanMR: thalamus\n\n$data/Dataset101_HumanMR: putamen\n" "wrong.txt:3: data set Dataset101_HumanMR is listed twice"
list "$data/Dataset101_HumanMR: thalamus, thalamus\n" "wrong.txt:1: label 'thalamus' is listed twice"
list "$data/Dataset101_HumanMR: \"thalamus\n" "wrong.txt:1: a quote is not closed"
list "$data/Dataset101_HumanMR: thalamus,\n" "wrong.txt:1: a name is missing"
list "\"$data/Dataset101_HumanMR\" thalamus\n" "wrong.txt:1: ':' is expected"
list "$data/Dataset101_HumanMR: \001\n" "wrong.txt:1: a control character"
list "$data/Dataset101_HumanMR: $(printf 'x%.0s' {1..5000})\n" "wrong.txt:1: a name of more than 4096 bytes"
for wrong in tests/fuzz/corpus/tasks/reject_*; do
    expect 3 "medsamix: $wrong:" "$msx" experiment front "${three[@]}" --list "$wrong" -o "$folder/study"
done
head -c 1100000 /dev/zero >"$folder/wrong.txt"
expect 3 "more than 1048576 bytes" "$msx" experiment front "${three[@]}" --list "$folder/wrong.txt" -o "$folder/study"
expect 3 "cannot be read" "$msx" experiment front "${three[@]}" --list "$folder" -o "$folder/study"
[ -e "$folder/study" ] && fail "a mistake made a folder"

# ---- interrupted, and gone on with ----
"${study[@]}" uniform >"$folder/out" 2>"$folder/err" &
pid=$!
for ((i = 0; i < 600; i++)); do
    [ -s "$folder/study/cells/all-g2-s3.db" ] && break
    sleep 0.1
done
kill -INT $pid
wait $pid
[ $? = 75 ] || fail "interrupted: no exit code 75: $(cat "$folder/err")"
grep -q "run the same command again to go on" "$folder/err" || fail "interrupted: $(cat "$folder/err")"
[ -e "$folder/study/report.html" ] && fail "an interrupted study has a report"

# ---- everything at once ----
kinds="tasks-table uniform front architecture tasks models"
"${study[@]}" $kinds >"$folder/text" 2>"$folder/err" || fail "all: $(cat "$folder/err")"
grep -q "^search 5 of 5: " "$folder/err" || fail "shared searches are run more than once: $(cat "$folder/err")"
"${study[@]}" granularity --values 2,4 -q >>"$folder/text" || fail "granularity"
for text in "Every task, Dice on the test images" "above all of these" "on the front" "decoder.3" "tasks improved"; do
    grep -qF "$text" "$folder/text" || fail "'$text' is not printed"
done
stores=$(cd "$folder/study/cells" && ls *.db | tr '\n' ' ')
[ "$stores" = "all-g2-s3.db all-g4-s3.db all-human-g2-s3.db all-macaque-g2-s3.db task-001-thalamus-g2-s3.db task-002-putamen-g2-s3.db " ] || fail "stores: $stores"

# ---- the same again: nothing is searched, the tables are the same; JSON ----
cp -r "$folder/study" "$folder/before"
sums=$(sha256sum "$folder"/study/cells/*.db)
"${study[@]}" tasks-table architecture -q --json >"$folder/json" 2>"$folder/err" || fail "again: $(cat "$folder/err")"
[ "$sums" = "$(sha256sum "$folder"/study/cells/*.db)" ] || fail "a complete study changed its stores"
diff -r "$folder/before" "$folder/study" >/dev/null || fail "a complete study changed its tables"
"${study[@]}" models --values human --repeats 2 -q >"$folder/text" || fail "repeats"
grep -q "lowest  highest" "$folder/text" || fail "repeats have no range: $(cat "$folder/text")"

# ---- other models in the same folder ----
expect 3 "belongs to another search" "$msx" experiment front --base "$models/mini-base.pth" --model "human=$models/mini-human.pth" \
    --model "macaque=$models/mini-human.pth" --list "$folder/list.txt" --trials $trials --min-object 200 --seed 3 -q -o "$folder/study"

# ---- what search, merge and score say ----
tasks=(--dataset "$data/Dataset101_HumanMR" --task thalamus --task putamen --min-object 200 --threads 1)
"$msx" search "${three[@]}" "${tasks[@]}" --trials $trials --seed 3 -o "$folder/m.pth" -q >"$folder/out" || fail search
"$msx" search "${three[@]}" --dataset "$data/Dataset101_HumanMR" --task putamen --min-object 200 --threads 1 --trials $trials --seed 3 -o "$folder/s.pth" -q >"$folder/out" || fail search
"$msx" merge --method ties "${three[@]}" -o "$folder/ties.pth" -q >"$folder/out" || fail merge
"$msx" score --model "base=$models/mini-base.pth" --model "human=$models/mini-human.pth" --model "macaque=$models/mini-macaque.pth" \
    --model "M=$folder/m.pth" --model "S=$folder/s.pth" --model "ties=$folder/ties.pth" "${tasks[@]}" -q --json >"$folder/score.json" || fail score
"$python" - "$folder" <<'PY' || failed=1
import csv, html.parser, json, os, sys
folder = sys.argv[1]
bad = 0
def check(holds, what):
    global bad
    if not holds:
        bad = 1
        print("FAIL:", what)
def table(name):
    with open(f"{folder}/before/{name}.csv", newline="") as f:
        return list(csv.DictReader(f))
scores = {t["task"]: {m["model"]: m["dice"] for m in t["models"]} for t in json.load(open(f"{folder}/score.json"))["tasks"]}
thalamus, putamen = "Dataset101_HumanMR/thalamus", "Dataset101_HumanMR/putamen"
def same(a, b, what):
    check(abs(float(a) - b) < 1e-7, f"{what}: {a} and {b}")

rows = {r["task"]: r for r in table("tasks-table")}
check(list(rows) == [thalamus, putamen, "mean"], f"rows {list(rows)}")
for task in rows:
    for model in ("base", "human", "macaque"):
        same(rows[task][model], scores[task][model], f"{task}, {model}")
    same(rows[task]["MedSAMix-M"], scores[task]["M"], f"{task}, MedSAMix-M")
same(rows[putamen]["MedSAMix-S"], scores[putamen]["S"], "MedSAMix-S")
same(rows["mean"]["MedSAMix-S"], (float(rows[thalamus]["MedSAMix-S"]) + float(rows[putamen]["MedSAMix-S"])) / 2, "mean of S")
counts = {r[""]: r for r in table("tasks-table-counts")}
for name in ("MedSAMix-S", "MedSAMix-M"):
    n = sum(float(rows[t][name]) > max(float(rows[t][m]) for m in ("base", "human", "macaque")) for t in (thalamus, putamen))
    check(counts[name]["above all of these"] == f"{n} of 2", f"{name}: {counts[name]}, not {n}")
    n = sum(float(rows[t][name]) > float(rows[t]["human"]) for t in (thalamus, putamen))
    check(counts[name]["above human"] == f"{n} of 2", f"{name}: {counts[name]}, not {n}")

uniform = {r["task"]: r for r in table("uniform")}
for task in (thalamus, putamen):
    same(uniform[task]["ties"], scores[task]["ties"], f"{task}, uniform ties")
    same(uniform[task]["MedSAMix"], scores[task]["M"], f"{task}, uniform, the winner")
front = {r["task"]: r for r in table("front")}
members = [k for k in front[putamen] if k.startswith("trial ")]
check(1 <= len(members) <= 3, f"members {members}")
same(front[putamen][members[0]], scores[putamen]["M"], "first member")
groups = table("architecture")
check([g["layer group"] for g in groups][:2] == ["patch_embed", "pos_embed"] and len(groups) == 15, f"{len(groups)} groups")
check(all(g["method"] in ("linear", "task_arithmetic", "ties", "slerp") for g in groups), "methods")

granularity = table("granularity")
check([r["granularity"] for r in granularity] == ["2", "4"], "granularities")
check([r["groups"] for r in granularity] == ["15", "12"], f"groups {[r['groups'] for r in granularity]}")
same(granularity[0]["winner"], scores["mean"]["M"], "granularity 2")
best = max(scores["mean"][m] for m in ("base", "human", "macaque"))
same(granularity[0]["best input"], best, "best input")
tasks = table("tasks")
check([r["tasks"] for r in tasks] == ["1", "2"], "numbers of tasks")
same(tasks[0]["winner, these tasks"], float(rows[thalamus]["MedSAMix-S"]), "one task")
same(tasks[1]["winner, all tasks"], scores["mean"]["M"], "all tasks")
models = table("models")
check([r["fine-tuned models"] for r in models] == ["human", "macaque", "human+macaque"], "models")
same(models[2]["winner"], scores["mean"]["M"], "all models")
best = max(scores["mean"][m] for m in ("base", "macaque"))
same(models[1]["best of these inputs"], best, "best of these")

everything = json.load(open(f"{folder}/json"))
check(list(everything) == ["tasks-table", "architecture"], "JSON")
check(everything["architecture"][0]["rows"][0][0] == "patch_embed", "JSON text")
sheet = everything["tasks-table"][0]
same(sheet["rows"][0][sheet["columns"].index("base")], scores[thalamus]["base"], "JSON number")

class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids, self.links, self.tags = [], [], []
    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for key, value in attributes:
            if key == "id":
                self.ids.append(value)
            if key in ("href", "src"):
                self.links.append(value)
page = Page()
page.feed(open(f"{folder}/before/report.html").read())
check(len(set(page.ids)) == len(page.ids), "ids are not unique")
kinds = ["tasks-table", "uniform", "front", "architecture", "granularity", "tasks", "models"]
check([i for i in page.ids if i in kinds] == kinds, f"sections {page.ids}")
check("script" not in page.tags and "link" not in page.tags and "img" not in page.tags, "the page is not complete in itself")
for link in page.links:
    check(link[1:] in page.ids if link[0] == "#" else os.path.exists(f"{folder}/before/{link}"), f"dead link {link}")
check(page.tags.count("table") == 10 and page.tags.count("desc") == 3, "tables and charts")
sys.exit(bad)
PY
# ---- as a browser shows it, where there is one ----
browser=$(command -v chromium)
if [ -n "$browser" ] && "$python" -c 'import PIL, numpy' 2>/dev/null; then
    "$python" tests/search/check_page.py page "$folder/study/report.html" "$browser" granularity-chart tasks-chart models-chart || failed=1
fi
exit $failed
