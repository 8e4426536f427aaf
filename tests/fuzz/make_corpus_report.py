#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the trial stores of tests/fuzz/corpus/report: valid ones, and one for each way to be wrong.

Run from the repository root. The stores are also the input of tests/search/test_report.c.
"""
import os
import random
import sqlite3
import struct
import zlib

FOLDER = "tests/fuzz/corpus/report"

SCHEMA = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE models(idx INTEGER PRIMARY KEY, name TEXT, path TEXT, sha256 TEXT);
CREATE TABLE tasks(idx INTEGER PRIMARY KEY, name TEXT, dataset TEXT, label TEXT);
CREATE TABLE groups(idx INTEGER PRIMARY KEY, name TEXT, elements INTEGER, state TEXT);
CREATE TABLE parameters(idx INTEGER PRIMARY KEY, name TEXT, kind TEXT, lower REAL, upper REAL,
                        choices TEXT);
CREATE TABLE trials(number INTEGER PRIMARY KEY, state TEXT, origin TEXT, x BLOB, plan TEXT,
                    mean_cost REAL, history BLOB, worker TEXT, lease REAL, attempt INTEGER,
                    started REAL, finished REAL, seconds REAL, images INTEGER, blocks_run INTEGER,
                    blocks_reused INTEGER, dice BLOB, error TEXT);
CREATE TABLE costs(trial INTEGER, task INTEGER, cost REAL, PRIMARY KEY(trial, task));
CREATE TABLE results(kind TEXT, name TEXT, split TEXT, task INTEGER, dice REAL, low REAL, high REAL,
                     used INTEGER, left_out INTEGER, PRIMARY KEY(kind, name, split, task));
CREATE TABLE pictures(idx INTEGER PRIMARY KEY, title TEXT, caption TEXT, split TEXT, png BLOB);
"""
META = {
    "schema": "2", "version": "0.1.0", "data": "c0ffee", "optimizer": "parego", "seed": "7",
    "trials": "12", "preset": "sam", "box_preset": "tight", "slice_axis": "max-spacing",
    "intensity": "mr", "min_object": "40", "unit": "slice", "empty": "nnunet",
    "methods": "linear,task_arithmetic,ties,slerp", "granularity": "2",
    "prompt_granularity": "1", "decoder_granularity": "1", "calibration_images": "31",
    "calibration_objects": "148",
}
GROUPS = [("patch_embed", 64, "searched"), ("encoder.0-1", 1234567, "searched"),
          ("neck", 41216, "searched"), ("prompt.1", 128, "equal"),
          ("prompt.2", 4000, "unreached"), ("decoder.0", 40000, "searched"),
          ("decoder.5", 12, "searched")]
SCORED = [("input", "base", -.06), ("input", "human", -.03), ("input", "macaque", -.04),
          ("uniform", "linear", 0), ("uniform", "ties", -.05)]


def png():
    """A valid PNG of one orange pixel."""
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(b"\0\xe6\x9f\0")) + chunk(b"IEND", b""))


METHODS = ["linear", "task_arithmetic", "ties", "slerp"]


def searched(groups):
    return [name for name, _, state in groups if state == "searched"]


def plan(rnd, groups, chosen):
    """The plan of a trial: one method for each searched group."""
    def value():
        return round(rnd.random(), 3)

    def models():
        return f"{{base: {value()}, human: {value()}, macaque: {value()}}}"
    text = ("medsamix: 1\ngranularity: {encoder: 2, prompt: 1, decoder: 1}\n"
            "models: [human, macaque]\ngroups:\n")
    for name, k in zip(searched(groups), chosen):
        method = [f"linear, weight: {models()}", f"task_arithmetic, scaling: {value()}",
                  f"ties, retain: {value()}, scaling: {value()}", f"slerp, score: {models()}"][k]
        text += f"  {name}: {{method: {method}}}\n"
    return text


def configuration(rnd, groups, chosen):
    """Three parameters a group: the method, and what linear and ties need of it."""
    nan, x = float("nan"), []
    for k in chosen:
        x += [k, rnd.random() if k == 0 else nan, rnd.random() if k == 2 else nan]
    return struct.pack(f"<{len(x)}d", *x)


def write_parameters(db, groups):
    rows = []
    for name in searched(groups):
        rows += [(f"{name}/method", "categorical", 0, len(METHODS) - 1, ",".join(METHODS)),
                 (f"{name}/linear.weight.human", "float", 0, 1, ""),
                 (f"{name}/ties.retain", "float", 0, 1, "")]
    db.executemany("INSERT INTO parameters VALUES(?, ?, ?, ?, ?, ?)",
                   [(i, *row) for i, row in enumerate(rows)])


def write_trials(db, rnd, tasks, trials, groups, workers):
    """Costs fall with the trials, and where decoder.0 is merged by ties. Returns their sums."""
    matters = searched(groups).index("decoder.0")
    sums, free, images, depth = {}, [1.75e9 + i for i in range(workers)], 31, 12
    rows, costs = [], []
    for t in range(trials):
        origin = "enqueued" if t < 3 else "sobol" if t < 6 else "random" if t % 4 == 0 else "model"
        chosen = [rnd.randrange(len(METHODS)) for _ in searched(groups)]
        low = .3 - .11 * t / max(trials, 12) - (.06 if chosen[matters] == 2 else 0)
        mine = [round(low + .05 * rnd.random() + .02 * k / tasks, 4) for k in range(tasks)]
        state = "failed" if t == 5 else "raced" if t > 5 and t % 7 == 0 else "done"
        seen = 12 if state == "raced" else images
        reused = depth * seen if t % 5 == 4 else depth // 2 * seen if t % 3 == 2 else 0
        seconds = .1 + .2 * (depth * seen - reused) / (depth * images) + .05 * rnd.random()
        who = min(range(workers), key=free.__getitem__)
        start, free[who] = free[who], free[who] + seconds + .01
        rows.append((t, state, origin, configuration(rnd, groups, chosen),
                     plan(rnd, groups, chosen), None if state == "failed" else sum(mine) / tasks,
                     struct.pack("<4Q", 7, t, 1, 2), f"host:{10 + who}:0", None,
                     2 if t % 50 == 11 else 1, start, start + seconds, seconds, seen,
                     depth * seen - reused, reused,
                     None if state == "failed" else struct.pack("<2d", .5, .5),
                     "out of memory" if state == "failed" else None))
        if state == "done":
            sums[t] = sum(mine)
        if state != "failed":
            costs += [(t, k, cost) for k, cost in enumerate(mine)]
    db.executemany(f"INSERT INTO trials VALUES({', '.join('?' * 18)})", rows)
    db.executemany("INSERT INTO costs VALUES(?, ?, ?)", costs)
    return sums


def write_store(path, tasks=2, trials=12, splits=("calibration", "test"), pictures=1,
                groups=GROUPS, workers=2, edits=()):
    """Write a store; `edits` are SQL statements, or (statement, parameters)."""
    if os.path.exists(path):
        os.remove(path)
    rnd = random.Random(5)
    db = sqlite3.connect(path)
    db.execute("PRAGMA page_size = 512")
    db.executescript(SCHEMA)
    db.executemany("INSERT INTO meta VALUES(?, ?)", META.items())
    for i, model in enumerate(["base", "human", "macaque"]):
        db.execute("INSERT INTO models VALUES(?, ?, ?, ?)",
                   (i, model, f"models/{model}.pth", f"{i:x}" * 64))
    for i in range(tasks):
        db.execute("INSERT INTO tasks VALUES(?, ?, ?, ?)",
                   (i, f"Brain/structure_{i}", "data/Brain", f"structure_{i}"))
    db.executemany("INSERT INTO groups VALUES(?, ?, ?, ?)",
                   [(i, *group) for i, group in enumerate(groups)])
    write_parameters(db, groups)
    sums = write_trials(db, rnd, tasks, trials, groups, workers)
    best = sorted(sums, key=sums.get)[:2]
    winners = [("winner", f"trial {t}", .05 - .02 * i) for i, t in enumerate(best)]
    for split in splits:
        for kind, who, shift in SCORED + winners:
            for k in range(-1, tasks):
                dice = .75 + shift + .01 * k / max(1, tasks // 10)
                db.execute("INSERT INTO results VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)",
                           (kind, who, split, k, dice, dice - .02, dice + .02, 12, 1))
    for i in range(pictures):
        db.execute("INSERT INTO pictures VALUES(?, ?, ?, ?, ?)",
                   (i, f"case_{i} slice 7", "winner: Dice 0.81", "test", png()))
    for edit in edits:
        db.execute(*edit) if isinstance(edit, tuple) else db.execute(edit)
    db.commit()
    db.execute("VACUUM")
    db.close()


def store(name, **how):
    write_store(os.path.join(FOLDER, name + ".db"), **how)


def write(name, data):
    with open(os.path.join(FOLDER, name), "wb") as f:
        f.write(data)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    for old in os.listdir(FOLDER):
        os.remove(os.path.join(FOLDER, old))
    store("valid_one_task", tasks=1)
    store("valid_two_tasks")
    store("valid_three_tasks", tasks=3, splits=("calibration",), pictures=0)
    store("valid_five_tasks", tasks=5, trials=8, pictures=0)
    store("valid_no_trials", trials=0, splits=(), pictures=0)
    store("valid_failed_trials_only", trials=1, splits=(), pictures=0,
          edits=["UPDATE trials SET state = 'failed', mean_cost = NULL, error = 'disk <full>'",
                 "DELETE FROM costs"])
    store("valid_not_scored_yet", trials=4, splits=(), pictures=0)
    hostile = "<script>alert('x')</script>\"&\x01\u202e"
    store("valid_hostile_names", trials=4, edits=[
        ("UPDATE models SET name = name || ?, path = ?", (hostile, hostile)),
        ("UPDATE tasks SET name = ?, label = ?, dataset = ?", (hostile,) * 3),
        ("UPDATE groups SET name = name || ?", (hostile,)),
        ("UPDATE trials SET origin = ?", (hostile,)),
        ("UPDATE results SET name = name || ?", (hostile,)),
        ("UPDATE pictures SET title = ?, caption = ?", (hostile,) * 2),
        ("UPDATE meta SET value = ? WHERE key <> 'schema'", (hostile,)),
        "UPDATE models SET sha256 = CAST(x'41fffe42' AS TEXT) WHERE idx = 0",
        "UPDATE pictures SET png = x'00'"])
    store("valid_running", trials=4, splits=(), pictures=0, edits=[
        "UPDATE trials SET state = 'running', lease = 1.76e9, mean_cost = NULL, finished = NULL,"
        " seconds = NULL, dice = NULL WHERE number = 3",
        "DELETE FROM costs WHERE trial = 3"])
    store("valid_raced", trials=4, edits=["UPDATE trials SET state = 'raced' WHERE number = 3"])
    store("valid_many_trials", trials=40, splits=("calibration",), pictures=0)
    store("valid_all_equal", tasks=1, trials=30, splits=(), pictures=0,
          edits=["UPDATE trials SET mean_cost = 0.25 WHERE state <> 'failed'",
                 "UPDATE costs SET cost = 0.25"])
    store("valid_no_parameters", trials=30, splits=(), pictures=0,
          edits=["DELETE FROM parameters", "UPDATE trials SET x = x''"])
    store("valid_pauses", tasks=1, trials=30, splits=(), pictures=0, workers=3, edits=[
        "UPDATE trials SET started = started + 90000, finished = finished + 90000 WHERE number > 9",
        "UPDATE trials SET worker = worker || ':' || number WHERE number > 19"])
    store("valid_outside", trials=6, splits=(), pictures=0, edits=[
        "UPDATE meta SET value = 'outside' WHERE key = 'data'",
        "UPDATE tasks SET dataset = '', name = label", "UPDATE trials SET worker = 'outside:one',"
        " seconds = NULL, images = 0, blocks_run = 0, blocks_reused = 0, dice = NULL"])
    store("valid_no_times", trials=8, splits=(), pictures=0,
          edits=["UPDATE trials SET started = NULL, finished = NULL, seconds = NULL, images = NULL,"
                 " blocks_run = NULL, blocks_reused = NULL, worker = NULL, attempt = NULL"])
    store("valid_undefined_scores", trials=4,
          edits=["UPDATE results SET dice = NULL, low = NULL, high = NULL WHERE task = 0"])
    store("valid_large_trial_number", trials=3, splits=(), pictures=0, edits=[
        "UPDATE trials SET number = 9223372036854775807 WHERE number = 2",
        "UPDATE costs SET trial = 9223372036854775807 WHERE trial = 2"])

    small = {"tasks": 1, "trials": 2, "splits": (), "pictures": 0}
    for table in ["meta", "models", "tasks", "groups", "parameters", "trials", "costs", "results",
                  "pictures"]:
        store(f"reject_no_table_{table}", **small, edits=[f"DROP TABLE {table}"])
    wrong = {
        "view": ["DROP TABLE pictures",
                 "CREATE VIEW pictures AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i FROM n)"
                 " SELECT i AS idx, '' AS title, '' AS caption, '' AS split, x'' AS png FROM n"],
        "column_missing": ["ALTER TABLE groups DROP COLUMN elements"],
        "schema_missing": ["DELETE FROM meta WHERE key = 'schema'"],
        "schema_1": ["UPDATE meta SET value = '1' WHERE key = 'schema'"],
        "schema_3": ["UPDATE meta SET value = '3' WHERE key = 'schema'"],
        "model_name_is_null": ["UPDATE models SET name = NULL WHERE idx = 1"],
        "model_name_is_blob": ["UPDATE models SET name = x'00' WHERE idx = 1"],
        "model_index": ["UPDATE models SET idx = 9 WHERE idx = 2"],
        "task_index": ["UPDATE tasks SET idx = 1"],
        "group_index": ["UPDATE groups SET idx = 99 WHERE idx = 6"],
        "group_elements": ["UPDATE groups SET elements = -1"],
        "group_elements_is_text": ["UPDATE groups SET elements = 'many'"],
        "group_state": ["UPDATE groups SET state = 'lost'"],
        "trial_state": ["UPDATE trials SET state = 'lost'"],
        "trial_number": ["UPDATE trials SET number = -1 WHERE number = 0"],
        "trial_seconds": ["UPDATE trials SET seconds = -1"],
        "trial_images": ["UPDATE trials SET images = -1"],
        "trial_blocks": ["UPDATE trials SET blocks_run = 9223372036854775807"],
        "trial_blocks_are_real": ["UPDATE trials SET blocks_reused = 0.5"],
        "trial_ends_first": ["UPDATE trials SET finished = started - 1"],
        "trial_x_is_text": ["UPDATE trials SET x = 'x'"],
        "trial_x_is_short": ["UPDATE trials SET x = substr(x, 9)"],
        "trial_x_choice": [("UPDATE trials SET x = ?", (struct.pack("<15d", 1.5, *[0] * 14),))],
        "trial_x_range": [("UPDATE trials SET x = ?", (struct.pack("<15d", 0, -5, *[0] * 13),))],
        "parameter_index": ["UPDATE parameters SET idx = 99 WHERE idx = 2"],
        "parameter_kind": ["UPDATE parameters SET kind = 'real'"],
        "parameter_bounds": ["UPDATE parameters SET upper = -1 WHERE idx = 1"],
        "parameter_choices": ["UPDATE parameters SET choices = 'linear' WHERE idx = 0"],
        "trial_cost_missing": ["UPDATE trials SET mean_cost = NULL"],
        "trial_cost_is_text": ["UPDATE trials SET mean_cost = 'low'"],
        "trial_cost_range": ["UPDATE trials SET mean_cost = 1.5"],
        "trial_cost_infinite": ["UPDATE trials SET mean_cost = 9e999"],
        "plan_is_null": ["UPDATE trials SET plan = NULL"],
        "plan_is_not_yaml": ["UPDATE trials SET plan = '{{'"],
        "plan_method": ["UPDATE trials SET plan = replace(replace(plan, 'slerp', 'slurp'), 'ties', "
                        "'slurp')"],
        "cost_missing": ["DELETE FROM costs WHERE trial = 1"],
        "cost_range": ["UPDATE costs SET cost = -1"],
        "result_kind": ["INSERT INTO results VALUES('guess', '', 'test', 0, .5, .4, .6, 1, 0)"],
        "result_split": ["INSERT INTO results VALUES('input', '', 'train', 0, .5, .4, .6, 1, 0)"],
        "result_task": ["INSERT INTO results VALUES('input', '', 'test', 5, .5, .4, .6, 1, 0)"],
        "result_dice": ["INSERT INTO results VALUES('input', '', 'test', 0, 7, .4, .6, 1, 0)"],
        "result_used": ["INSERT INTO results VALUES('input', '', 'test', 0, .5, .4, .6, -1, 0)"],
        "picture_is_text": ["INSERT INTO pictures VALUES(0, '', '', '', 'png')"],
        "picture_split": ["INSERT INTO pictures VALUES(0, '', '', '', x'89')"],
        "text_too_long": ["UPDATE models SET path = hex(zeroblob(40000)) WHERE idx = 0"],
        "too_many_models": ["INSERT INTO models SELECT a.idx * 40 + b.idx + 10, 'm', '', '' FROM "
                            "groups a, groups b UNION SELECT a.idx * 40 + b.idx + 400, 'm', '', '' "
                            "FROM groups a, groups b"],
    }
    for name, edits in wrong.items():
        store("reject_" + name, **small, edits=edits)
    with open(os.path.join(FOLDER, "valid_one_task.db"), "rb") as f:
        valid = f.read()
    write("reject_truncated.db", valid[:len(valid) // 2])
    write("reject_not_sqlite.db", b"medsamix: 1\n" * 60)
    write("reject_header_only.db", valid[:512])
    write("reject_empty_file.db", b"")


if __name__ == "__main__":
    main()
