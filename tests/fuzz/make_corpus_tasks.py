#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/fuzz/corpus/tasks: valid task lists, and one file per reason to refuse one."""
import os

FILES = {
    "valid_folders": b"one\n../two\n/three\n",
    "valid_labels": b"one: a, b ,c\ntwo:d\n",
    "valid_comments": b"# all of it\n\n  one : a # the first\n\t\r\n#\ntwo",
    "valid_quotes": b'"a \\"b\\" \\\\ c": "d, e", "#:", f\n"g":h\n',
    "valid_crlf": b"one: a, b\r\ntwo\r\n",
    "valid_utf8": "Größe: Leber, 脳\n".encode(),
    "reject_no_bytes": b"",
    "reject_comments_only": b"# nothing\n   \n",
    "reject_nul": b"one\0two\n",
    "reject_control": b"one: a\x01b\n",
    "reject_open_quote": b'one: "a\nb"\n',
    "reject_quote_at_end": b'"',
    "reject_empty_quote": b'one: ""\n',
    "reject_no_folder": b": a\n",
    "reject_no_label": b"one: a,\n",
    "reject_colon_only": b"one:\n",
    "reject_no_comma": b'one: "a" "b"\n',
    "reject_no_colon": b'"one" a\n',
    "reject_label_twice": b"one: a, b, a\n",
    "reject_long_name": b"x" * 5000,
    "reject_many_names": b"a: " + b",".join(b"%d" % i for i in range(1100)) + b"\n",
}

if __name__ == "__main__":
    folder = "tests/fuzz/corpus/tasks"
    os.makedirs(folder, exist_ok=True)
    for old in os.listdir(folder):
        os.remove(os.path.join(folder, old))
    for name, data in FILES.items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
