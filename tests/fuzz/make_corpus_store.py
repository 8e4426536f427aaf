#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/fuzz/corpus/store: a valid store of the search in fuzz_store.c, and one per reject reason.
found_*.db are findings of the fuzzer, kept as they were."""
import hashlib
import os
import re
import sqlite3
import struct

here = os.path.dirname(os.path.abspath(__file__))
folder = os.path.join(here, "corpus", "store")
# the schema's texts, from the one place that defines them
source = open(os.path.join(here, "..", "..", "lib", "search", "store_schema.c")).read()
table = source[source.index("store_schema[MSX__STORE_TABLES] = {"):source.index("};")]
schema = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', table)).replace("CREATE TABLE", "\nCREATE TABLE").split("\n")[1:]

meta = [("schema", "2"), ("seed", "7")]
models = [("base", "/a.pth", "aa"), ("human", "/b.pth", "bb")]
tasks = [("D/x", "D", "x"), ("D/y", "D", "y")]
parameters = [("neck/method", "categorical", "0", "1", ["linear", "ties"]), ("neck/ties.retain", "float", "0", "1", [])]
identity = hashlib.sha256()
for text in ([t for pair in meta for t in pair] + [t for m in models for t in (m[0], m[2])] + [t[0] for t in tasks]
             + ["neck", "searched", "10"] + [t for p in parameters for t in (*p[:4], *p[4])]):
    identity.update(text.encode() + b"\0")

# the trials of schema 1
OLDER = """DROP TABLE trials; UPDATE meta SET value = '1' WHERE key = 'schema';
CREATE TABLE trials(number INTEGER PRIMARY KEY, state TEXT, origin TEXT, x BLOB, plan TEXT,
 mean_cost REAL, rng BLOB, seconds REAL, finished TEXT, error TEXT)"""

damages = {
    "ok_three_trials": "",
    "bad_trial_missing": "DELETE FROM trials WHERE number = 1",
    "bad_x_short": "UPDATE trials SET x = x'00' WHERE number = 2",
    "bad_x_text": "UPDATE trials SET x = 'text' WHERE number = 2",
    "ok_running": "UPDATE trials SET state = 'running', lease = 1.8e9, plan = NULL, mean_cost = NULL,"
                  " finished = NULL, dice = NULL WHERE number = 2; DELETE FROM costs WHERE trial = 2",
    "ok_raced": "UPDATE trials SET state = 'raced' WHERE number = 2",
    "bad_history": "UPDATE trials SET history = NULL WHERE number = 0",
    "bad_worker": "UPDATE trials SET worker = NULL WHERE number = 0",
    "bad_attempt": "UPDATE trials SET attempt = 0 WHERE number = 0",
    "bad_lease_missing": "UPDATE trials SET state = 'running' WHERE number = 2",
    "bad_lease_left": "UPDATE trials SET lease = 1.8e9 WHERE number = 2",
    "bad_state": "UPDATE trials SET state = 'odd' WHERE number = 0",
    "bad_origin": "UPDATE trials SET origin = NULL WHERE number = 0",
    "bad_cost_large": "UPDATE costs SET cost = 7.5",
    "bad_cost_missing": "DELETE FROM costs WHERE trial = 2",
    "bad_cost_of_failed": "INSERT INTO costs VALUES(1, 0, 0.5)",
    "bad_identity": "UPDATE meta SET value = 'f' WHERE key = 'identity'",
    "bad_seed": "UPDATE meta SET value = '8' WHERE key = 'seed'",
    "bad_model": "UPDATE models SET sha256 = 'cc' WHERE idx = 1",
    "bad_task": "DELETE FROM tasks WHERE idx = 1",
    "bad_group": "UPDATE groups SET state = 'equal'",
    "bad_parameter": "DELETE FROM parameters WHERE idx = 1",
    "bad_older": OLDER,
    "bad_newer": "ALTER TABLE trials ADD COLUMN more; UPDATE meta SET value = '3' WHERE key = 'schema'",
    "bad_view": "CREATE VIEW v AS SELECT 1",
    "bad_column": "ALTER TABLE trials ADD COLUMN more",
    "bad_table_missing": "DROP TABLE pictures",
}


def build(path, sql):
    db = sqlite3.connect(path)
    db.execute("PRAGMA page_size = 512")
    for statement in schema:
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES('identity', ?)", (identity.hexdigest(),))
    db.executemany("INSERT INTO meta VALUES(?, ?)", meta)
    db.executemany("INSERT INTO models VALUES(?, ?, ?, ?)", [(i, *m) for i, m in enumerate(models)])
    db.executemany("INSERT INTO tasks VALUES(?, ?, ?, ?)", [(i, *t) for i, t in enumerate(tasks)])
    db.execute("INSERT INTO groups VALUES(0, 'neck', 10, 'searched')")
    db.executemany("INSERT INTO parameters VALUES(?, ?, ?, ?, ?, ?)",
                   [(i, p[0], p[1], float(p[2]), float(p[3]), ",".join(p[4])) for i, p in enumerate(parameters)])
    for n in range(3):
        db.execute("INSERT INTO trials VALUES(?, ?, 'sobol', ?, 'plan', 0.2, ?, 'host:1:0', NULL, 1, 1.7e9, 1.7e9,"
                   " 0.5, 3, 12, 0, ?, NULL)",
                   (n, "failed" if n == 1 else "done", struct.pack("<2d", n % 2, 0.25), struct.pack("<4Q", 1, 2, 3, n),
                    struct.pack("<2d", 0.9, float("nan"))))
        if n != 1:
            db.executemany("INSERT INTO costs VALUES(?, ?, ?)", [(n, 0, 0.1), (n, 1, 0.3)])
    if sql:
        db.executescript(sql)
    db.commit()
    db.close()


os.makedirs(folder, exist_ok=True)
for old in os.listdir(folder):
    if not old.startswith("found_"):
        os.remove(os.path.join(folder, old))
for name, sql in damages.items():
    path = os.path.join(folder, name + ".db")
    build(path, sql)
good = open(os.path.join(folder, "ok_three_trials.db"), "rb").read()
for name, data in {"ok_empty": b"", "bad_text": b"no database at all, but long enough to be looked at as one\n" * 3,
                   "bad_truncated": good[:len(good) // 2 // 512 * 512], "bad_page": good[:1024] + b"garbage!" * 64 + good[1536:]}.items():
    with open(os.path.join(folder, name + ".db"), "wb") as f:
        f.write(data)
