#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fuzz/corpus/torch_legacy: small files as torch before 1.6 wrote them, and one file for
each reason for which the reader refuses one. tests/checkpoint/test_reject.c lists what is expected.
The fuzz target puts the first three pickles in front of what does not begin with them: the files
whose names begin with part_ lack these."""
import struct

from torch_bytes import (DICT, LEGACY, LEGACY_TENSOR, MAGIC, SIX, Corpus, call, dictionary, glob,
                         integer, ints, legacy, program, state, storage, tensor, text, tup)

corpus = Corpus("torch_legacy")
write = corpus.write
HEAD_OF_LEGACY = legacy(b"", (), ())[:-len(program(b"](e"))]
HEAD = MAGIC + program(b"M\xe9\x03") + program(dictionary([("little_endian", b"\x88")]))


def legacy_storage(key="0", numel=6, kind="FloatStorage"):
    return storage(key, numel, kind, tail=[b"N"])


def valid():
    write("valid_flat.pth", legacy(LEGACY))
    pairs = b"](" + tup(text("w"), LEGACY_TENSOR) + b"e"
    write("valid_python2.pth",
          legacy(program(glob("collections", "OrderedDict") + b"(" + pairs + b"tR")))
    views = [("a", tensor(legacy_storage(), size=(2,), stride=(1,))),
             ("b", tensor(legacy_storage(), offset=2, size=(2, 2), stride=(1, 2)))]
    write("valid_two_views.pth", legacy(program(dictionary(views, DICT))))
    counter = tensor(legacy_storage("1", 2, "LongStorage"), size=(2,), stride=(1,))
    write("valid_two_storages.pth", legacy(
        program(dictionary([("w", LEGACY_TENSOR), ("n", counter)])), keys=("1", "0"),
        data=((2, struct.pack("<2q", 7, 8)), (6, SIX))))
    half = tensor(legacy_storage(kind="HalfStorage"))
    write("valid_half.pth", legacy(state(half), data=((6, struct.pack("<6e", 1, 2, 3, 4, 5, 6)),)))
    trainer = [("epoch", integer(3)), ("loss", glob("trainer.loss", "Dice") + b")\x81"),
               ("model_state", dictionary([("module.sam.mask_decoder.w", LEGACY_TENSOR)], DICT))]
    write("valid_trainer.pth", legacy(program(dictionary(trainer))))


def reject():
    keys = HEAD + LEGACY
    write("reject_call.pth", legacy(program(glob("os", "system") + tup(text("ls")) + b"R")))
    write("reject_magic_only.pth", MAGIC)
    write("reject_big_endian.pth", legacy(LEGACY, little=b"\x89"))
    write("reject_truncated.pth", legacy(LEGACY)[:-4])
    write("reject_count_missing.pth", legacy(LEGACY, data=()))
    write("reject_count_differs.pth", legacy(LEGACY, data=[(5, SIX)]))
    write("reject_count_negative.pth", legacy(LEGACY, data=[(-6, SIX)]))
    write("reject_trailing.pth", legacy(LEGACY, tail=b"x"))
    write("reject_key_unused.pth", legacy(LEGACY, keys=("0", "1")))
    write("reject_key_twice.pth", legacy(LEGACY, keys=("0", "0")))
    write("reject_key_missing.pth", legacy(LEGACY, keys=(), data=()))
    write("reject_view.pth",
          legacy(state(tensor(storage(tail=[tup(text("1"), integer(0), integer(6))])))))
    write("reject_keys_no_list.pth", keys + program(b"N"))
    write("reject_key_no_text.pth", keys + program(b"](K\1e"))
    write("reject_key_bomb.pth", keys + program(text("k" * 60) + b"q\0" + b"](" + b"h\0" * 40 + b"e"))
    source = tup(text("module"), glob("m", "Net"), text("net.py"), text("class Net")) + b"Q"
    write("reject_module_source_instance.pth", legacy(program(dictionary(
        [("net", source + b")\x81}b"), ("w", LEGACY_TENSOR)]))))
    write("reject_negative_stride.pth",
          legacy(state(tensor(legacy_storage(), offset=5, size=(6,), stride=(-1,)))))
    write("reject_no_state_dict.pth", legacy(program(dictionary([("n", integer(1))])), (), ()))


def parts():
    """Without the first three pickles, as the fuzz target also takes them."""
    for name, file in (("flat", legacy(LEGACY)), ("trailing", legacy(LEGACY, tail=b"x")),
                       ("call", legacy(program(glob("os", "system") + b")R")))):
        write("part_" + name, file[len(HEAD_OF_LEGACY):])


valid()
reject()
parts()
print(corpus.summary())
