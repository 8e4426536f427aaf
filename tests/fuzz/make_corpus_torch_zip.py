#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fuzz/corpus/torch_zip: small valid torch files, and one file for each reason for which
the reader refuses one. File names say what is in them; tests/checkpoint/test_reject.c lists what is
expected."""
import struct
import zlib

from torch_bytes import (DICT, FLAT, SIX, Corpus, Record, archive, call, dictionary, glob, integer,
                         ints, program, short, state, storage, tensor, text, torch, tup)

corpus = Corpus("torch_zip")
write = corpus.write


def valid():
    write("valid_flat.pth", torch(FLAT))
    write("valid_checksums.pth", torch(FLAT, crc=zlib.crc32(FLAT)))
    write("valid_zip64_end.pth", torch(FLAT, zip64={}))
    write("valid_comment.pth", torch(FLAT, comment=b"hello"))
    write("valid_descriptor.pth",
          archive([Record("a/data.pkl", FLAT, flags=0x0808), Record("a/data/0", SIX, flags=0x0808),
                   Record("a/byteorder", b"little", flags=0x0808)]))
    sizes = b"\1\0\x10\0" + struct.pack("<QQ", len(SIX), len(SIX))
    wide = Record("a/data/0", SIX, size=0xFFFFFFFF, packed=0xFFFFFFFF, extra=b"FB\1\0Z" + sizes,
                  local_extra=sizes + b"FB\0\0")
    write("valid_zip64_sizes.pth", archive([Record("a/data.pkl", FLAT, crc=0), wide]))
    write("valid_nested.pth", torch(program(dictionary(
        [("epoch", integer(3)), ("model_state", dictionary([("module.sam.mask_decoder.w", tensor())],
                                                           DICT))]))))
    write("valid_parameter.pth", torch(state(call("torch._utils", "_rebuild_parameter", tensor(),
                                                  b"\x88", DICT))))
    write("valid_strided.pth", torch(state(tensor(size=(3, 2), stride=(1, 3)))))
    write("valid_size_class.pth", torch(state(call(
        "torch._utils", "_rebuild_tensor_v2", storage(), integer(0),
        call("torch", "Size", ints(2, 3)), ints(3, 1), b"\x89", DICT))))
    write("valid_two_views.pth", torch(program(dictionary(
        [("a", tensor(size=(2,), stride=(1,))), ("b", tensor(offset=2, size=(4,), stride=(1,)))]))))
    write("valid_untyped_v3.pth", torch(state(tensor(
        storage(numel=24, kind="UntypedStorage", module="torch.storage"), name="_rebuild_tensor_v3",
        more=[glob("torch", "float32")]))))
    for kind, dtype, item in (("Half", "e", 2), ("BFloat16", "e", 2), ("Double", "d", 8)):
        data = struct.pack("<6" + dtype, 1, 2, 3, 4, 5, 6)
        write("valid_%s.pth" % kind.lower(),
              torch(state(tensor(storage(kind=kind + "Storage"))), [("0", data)]))
    write("valid_scalar_and_empty.pth", torch(program(dictionary(
        [("s", tensor(size=(), stride=())), ("e", tensor(size=(0, 5), stride=(5, 1)))]))))
    write("valid_long_is_listed.pth",
          torch(state(tensor(storage(kind="LongStorage"))), [("0", bytes(48))]))
    write("valid_meta.pth", torch(FLAT, more=[Record("archive/medsamix.json", b'{"a":"b"}')]))
    scalar = call("numpy.core.multiarray", "scalar",
                  call("numpy", "dtype", text("f8"), integer(0), integer(1)),
                  call("_codecs", "encode", text("abc"), text("latin1")))
    thing = glob("trainer.loss", "Dice") + b")\x81" + dictionary([("k", integer(1))]) + b"b"
    write("valid_trainer.pth", torch(program(dictionary(
        [("best", scalar), ("init", dictionary([("class", glob("trainer.net", "Net")),
                                                ("loss", thing)])),
         ("lr", b"G\x3f\xf0\0\0\0\0\0\0"), ("big", b"\x8a\x0a" + bytes(10)), ("list", b"](K\1K\2e"),
         ("set", b"\x8f(K\1\x90"), ("dropped", b"(K\1K\0021N"), ("model_state", dictionary([("w", tensor())], DICT))]))))
    four = (b"\x95" + struct.pack("<Q", 100) + b"}\x94(" + short("w") + b"\x94" +
            short("torch._utils") + short("_rebuild_tensor_v2") + b"\x93" + b"(" + b"(" +
            short("storage") + short("torch") + short("FloatStorage") + b"\x93" + short("0") +
            short("cpu") + b"K\6tQK\0K\2K\3\x86K\3K\1\x86\x89" + short("collections") +
            short("OrderedDict") + b"\x93)RtRu")
    write("valid_protocol4.pth", torch(program(four, 4)))
    names = ["image_encoder.pos_embed", "mask_decoder.iou_token.weight"]
    write("valid_incomplete_sam.pth", torch(program(dictionary([(n, tensor()) for n in names]))))


def tolerant():
    """Read by the tolerant rule alone."""
    made = glob("trainer.loss", "make") + tup(text("dice")) + b"R"
    nameless = integer(1) + b")R"
    write("tolerant_trainer.pth", torch(program(dictionary(
        [("init", dictionary([("loss", made), ("what", nameless)])),
         ("model_state", dictionary([("sam.mask_decoder.w", tensor())], DICT))]))))
    other = glob("quant", "make") + b")R"
    write("tolerant_tensor_of_a_call.pth",
          torch(program(dictionary([("w", tensor()), ("v", other)], DICT))))
    write("tolerant_parameter_of_a_call.pth", torch(program(dictionary(
        [("w", tensor()), ("v", call("torch._utils", "_rebuild_parameter", other, b"\x88", DICT))],
        DICT))))


def reject_zip():
    pickle, data = Record("a/data.pkl", FLAT), Record("a/data/0", SIX)
    good = archive([pickle, data])
    write("reject_zip_truncated.pth", good[:-30])
    write("reject_zip_several_parts.pth", archive([pickle, data], disk=1))
    write("reject_zip_more_records_than_directory.pth", archive([pickle, data], n=60))
    write("reject_zip_directory_misplaced.pth", archive([pickle, data], at=3))
    write("reject_zip_directory_outside.pth", archive([pickle, data], at=99999))
    write("reject_zip_directory_longer.pth", archive([pickle, data], n=1))
    write("reject_zip_directory_signature.pth",
          archive([pickle, data], directory=bytes(len(pickle.central(0)) + len(data.central(0)))))
    write("reject_zip_directory_short_name.pth",
          archive([data], directory=data.central(0)[:-4]))
    write("reject_zip64_contradicts.pth", archive([pickle, data], zip64={"n": 3}))
    write("reject_zip64_misplaced.pth", archive([pickle, data], zip64={"at": 5}))
    write("reject_zip64_broken.pth", archive([pickle, data], zip64={"record": 99}))
    write("reject_zip64_size_missing.pth",
          archive([pickle, Record("a/data/0", SIX, size=0xFFFFFFFF)]))
    write("reject_zip64_extra_short.pth",
          archive([pickle, Record("a/data/0", SIX, size=0xFFFFFFFF, extra=b"\1\0\4\0\0\0\0\0")]))
    write("reject_zip_compressed.pth", archive([pickle, Record("a/data/0", SIX, method=8, size=99)]))
    write("reject_zip_encrypted.pth", archive([pickle, Record("a/data/0", SIX, flags=1)]))
    write("reject_zip_unknown_flags.pth", archive([pickle, Record("a/data/0", SIX, flags=0x2000)]))
    write("reject_zip_sizes_contradict.pth", archive([pickle, Record("a/data/0", SIX, size=23)]))
    write("reject_zip_duplicate_name.pth", archive([pickle, data, Record("a/data/0", SIX)]))
    quine = Record("a/b", b"")  # a record within the payload of another
    inner = quine.local()
    write("reject_zip_overlap.pth",
          archive([Record("a/c", inner), Record("a/b", b"", at=30 + 3)]))
    write("reject_zip_parent_folder.pth", archive([pickle, Record("a/../b", SIX)]))
    write("reject_zip_absolute_name.pth", archive([pickle, Record("/a/b", SIX)]))
    write("reject_zip_control_name.pth", archive([pickle, Record(b"a/\n", SIX)]))
    write("reject_zip_empty_name.pth", archive([pickle, Record("", SIX)]))
    write("reject_zip_outside.pth", archive([pickle, Record("a/data/0", SIX, at=99999)]))
    write("reject_zip_no_local_header.pth", archive([pickle, Record("a/data/0", SIX, at=1)]))
    write("reject_zip_local_name_differs.pth",
          archive([pickle, Record("a/data/0", SIX, local_name=b"a/data/1")]))
    write("reject_zip_local_size_differs.pth",
          archive([pickle, Record("a/data/0", SIX, local_size=9)]))
    write("reject_zip_local_checksum_differs.pth",
          archive([pickle, Record("a/data/0", SIX, local_crc=1)]))
    write("reject_zip_local_flags_differ.pth",
          archive([pickle, Record("a/data/0", SIX, local_flags=2)]))
    write("reject_zip_crc_of_pickle.pth", torch(FLAT, crc=1))
    write("reject_read_crc_of_data.pth",
          archive([pickle, Record("a/data/0", SIX, crc=1)]))
    write("reject_zip_no_root.pth", archive([Record("data.pkl", FLAT)]))
    write("reject_zip_no_records.pth", b"PK\3\4" + archive([], at=4))
    write("reject_zip_other_content.pth", archive([Record("word/document.xml", b"x")]))


def reject_torch():
    write("reject_torchscript.pth", torch(FLAT, more=[Record("archive/constants.pkl", b"x")]))
    write("reject_torchscript_compressed.pth",
          archive([Record("a/code/net.py", b"\x03\0", method=8, size=9),
                   Record("a/data.pkl", FLAT), Record("a/constants.pkl", b"x")]))
    write("reject_big_endian.pth", torch(FLAT, more=[Record("archive/byteorder", b"big")]))
    write("reject_meta_not_json.pth", torch(FLAT, more=[Record("archive/medsamix.json", b"{,}")]))
    write("reject_meta_not_strings.pth",
          torch(FLAT, more=[Record("archive/medsamix.json", b'{"a":1}')]))
    write("reject_storage_missing.pth", torch(FLAT, data=()))
    write("reject_storage_short.pth", torch(FLAT, data=[("0", SIX[:-4])]))
    write("reject_storage_two_types.pth", torch(program(dictionary(
        [("a", tensor()), ("b", tensor(storage(kind="IntStorage")))]))))
    write("reject_storage_two_sizes.pth", torch(program(dictionary(
        [("a", tensor()), ("b", tensor(storage(numel=5)))]))))
    write("reject_storage_unknown_type.pth", torch(state(tensor(storage(kind="OddStorage")))))
    write("reject_storage_identification.pth", torch(state(tensor(
        tup(text("stowage"), glob("torch", "FloatStorage"), text("0"), text("cpu"), integer(6)) +
        b"Q"))))
    write("reject_storage_negative.pth", torch(state(tensor(storage(numel=-6)))))
    write("reject_module_source.pth",
          torch(program(tup(text("module"), glob("m", "Net"), text("net.py"), text("class Net")) +
                        b"Q")))
    write("reject_tensor_outside.pth", torch(state(tensor(offset=1))))
    write("reject_tensor_outside_empty.pth",
          torch(state(tensor(offset=7, size=(0,), stride=(1,)))))
    write("reject_tensor_stride_overflow.pth",
          torch(state(tensor(size=(3, 2), stride=(2**62, 2**62)))))
    write("reject_tensor_shape_overflow.pth",
          torch(state(tensor(size=(2**62, 2**62), stride=(0, 0)))))
    write("reject_tensor_negative_size.pth", torch(state(tensor(size=(-2, 3)))))
    write("reject_tensor_negative_offset.pth", torch(state(tensor(offset=-1))))
    write("reject_tensor_negative_stride.pth",
          torch(state(tensor(offset=5, size=(6,), stride=(-1,)))))
    write("reject_tensor_rank_9.pth", torch(state(tensor(size=(1,) * 9, stride=(1,) * 9))))
    write("reject_tensor_strides_missing.pth", torch(state(tensor(size=(2, 3), stride=(3,)))))
    write("reject_tensor_expanded.pth", torch(state(tensor(size=(4, 6), stride=(0, 1)))))
    write("reject_tensor_sparse.pth", torch(state(tensor(name="_rebuild_sparse_tensor"))))
    write("reject_tensor_untyped.pth", torch(state(tensor(
        storage(numel=24, kind="UntypedStorage")))))
    write("reject_tensor_parameter_of_nothing.pth",
          torch(state(call("torch._utils", "_rebuild_parameter", integer(1)))))
    write("reject_tensor_name_control.pth", torch(state(tensor(), "a\nb")))
    write("reject_tensor_name_not_utf8.pth",
          torch(state(tensor(), b"a\xff")))
    write("reject_tensor_name_long.pth", torch(state(tensor(), "n" * 600)))
    write("reject_tensor_name_number.pth", torch(program(b"}K\1" + tensor() + b"s")))
    write("reject_tensor_twice.pth", torch(program(dictionary([("w", tensor()), ("w", tensor())]))))
    write("reject_prefix_clash.pth", torch(program(dictionary(
        [("module.mask_decoder.w", tensor()), ("module.mask_decoder.v", tensor()),
         ("mask_decoder.w", tensor())]))))
    write("reject_no_state_dict.pth", torch(program(dictionary([("epoch", integer(1))]))))
    write("reject_single_tensor.pth", torch(program(tensor())))
    write("reject_whole_object.pth",
          torch(program(glob("net", "Net") + b")\x81" + dictionary([("w", tensor())]) + b"b")))
    write("reject_state_cycle.pth", torch(program(b"}q\0" + text("model") + b"h\0s")))


def reject_pickle():
    system = glob("posix", "system") + tup(text("touch /tmp/medsamix-was-here")) + b"R"
    write("reject_call_system.pth", torch(program(system)))
    write("reject_call_beside_the_weights.pth", torch(program(dictionary(
        [("epoch", system), ("model_state", dictionary([("w", tensor())], DICT))]))))
    write("reject_call_protocol4.pth",
          torch(program(short("builtins") + short("eval") + b"\x93" + short("1+1") + b"\x85R", 4)))
    write("reject_call_inst.pth", torch(b"(S'ls'\nios\nsystem\n."))
    write("reject_call_obj.pth", torch(b"(cos\nsystem\nS'ls'\no."))
    write("reject_call_protocol0.pth", torch(b"cos\nsystem\np0\n(S'ls'\np1\ntp2\nRp3\n."))
    write("reject_call_control_characters.pth",
          torch(program(b"cos\x1b[31m\nsystem\n)R")))
    write("reject_call_nameless.pth", torch(program(b"K\1)R")))
    write("reject_call_arguments.pth", torch(program(glob("collections", "OrderedDict") + b"K\1R")))
    write("reject_opcode_unknown.pth", torch(program(b"\xff")))
    write("reject_opcode_persid.pth", torch(program(b"P0\n")))
    write("reject_pickle_protocol.pth", torch(program(b"N", 9)))
    write("reject_pickle_no_end.pth", torch(FLAT[:-1]))
    write("reject_pickle_empty.pth", torch(b""))
    write("reject_pickle_ends_in_opcode.pth", torch(b"\x80\x02X\xff\0\0\0abc"))
    write("reject_pickle_ends_in_line.pth", torch(b"\x80\x02ctorch"))
    write("reject_pickle_long_text.pth", torch(b"\x80\x04\x8d" + b"\xff" * 8 + b"."))
    write("reject_pickle_stack_empty.pth", torch(program(b"")))
    write("reject_pickle_below_mark.pth", torch(program(b"K\1(\x85")))
    write("reject_pickle_no_mark.pth", torch(program(b"t")))
    write("reject_pickle_memo_missing.pth", torch(program(b"h\5")))
    write("reject_pickle_memo_large.pth", torch(program(b"Nr\xff\xff\xff\x7f")))
    write("reject_pickle_memo_no_number.pth", torch(program(b"Npx\n")))
    write("reject_pickle_odd_items.pth", torch(program(b"}(K\1u")))
    write("reject_pickle_items_for_a_tuple.pth", torch(program(b")K\1a")))
    write("reject_pickle_class_no_text.pth", torch(program(b"K\1K\2\x93")))
    write("reject_pickle_object_no_class.pth", torch(program(b"K\1)\x81")))
    write("reject_pickle_obj_no_class.pth", torch(program(b"(o")))
    write("reject_pickle_storage_no_tuple.pth", torch(program(b"NQ")))
    write("reject_pickle_size_arguments.pth", torch(program(call("torch", "Size"))))
    write("reject_pickle_dict_of_no_pairs.pth",
          torch(program(glob("collections", "OrderedDict") + b"(](K\1etR")))
    pairs = b"](" + b"".join(tup(integer(i), integer(i)) for i in range(40)) + b"eq\0"
    bomb = b"ccollections\nOrderedDict\nq\1" + b"0" + b"h\1(h\0tR0" * 200
    write("reject_pickle_dict_bomb.pth", torch(program(pairs + bomb)))


def reject_others():
    write("reject_plain_pickle.pkl", program(dictionary([("a", integer(1))])))
    write("reject_plain_pickle_call.pkl", program(glob("posix", "system") + tup(text("ls")) + b"R"))
    write("reject_tar.pth", (b"weights" + bytes(250) + b"ustar" + bytes(1000))[:1024])
    write("reject_empty.pth", b"")
    write("reject_text.pth", b"<html>404</html>")


valid()
tolerant()
reject_zip()
reject_torch()
reject_pickle()
reject_others()
print(corpus.summary())
