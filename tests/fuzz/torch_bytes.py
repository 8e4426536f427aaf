# SPDX-License-Identifier: Apache-2.0
"""Zip records, pickles and legacy torch files, put together byte by byte: what the scripts share that
write the corpora of torch files. Only the standard library is used."""
import os
import struct
import zlib


# ---- zip ------------------------------------------------------------------------------------------

class Record:
    """One record; every field of both headers can be set to something wrong."""

    def __init__(self, name, data, **wrong):
        self.name = name.encode() if isinstance(name, str) else name
        self.data = data
        self.flags = 0
        self.method = 0
        self.crc = zlib.crc32(data)
        self.size = self.packed = len(data)
        self.disk = 0
        self.extra = self.local_extra = b""
        self.at = None  # offset to claim
        self.local_name = self.name
        self.local_size = None
        self.local_flags = None
        self.local_crc = None
        self.__dict__.update(wrong)

    def local(self):
        size = self.packed if self.local_size is None else self.local_size
        flags = self.flags if self.local_flags is None else self.local_flags
        crc = self.crc if self.local_crc is None else self.local_crc
        if flags & 8:
            size = crc = 0
        return (b"PK\3\4" +
                struct.pack("<HHHHHIIIHH", 20, flags, self.method, 0, 0x21, crc, size,
                            self.size if self.method else size,
                            len(self.local_name), len(self.local_extra)) + self.local_name +
                self.local_extra + self.data)

    def central(self, at):
        at = at if self.at is None else self.at
        return (b"PK\1\2" +
                struct.pack("<HHHHHHIIIHHHHHII", 20, 20, self.flags, self.method, 0, 0x21, self.crc,
                            self.packed, self.size, len(self.name), len(self.extra), 0, self.disk, 0,
                            0, at) + self.name + self.extra)


def archive(records, zip64=None, comment=b"", **end):
    """The whole file; `zip64` is a dict of wrong values for the zip64 end records, {} for right ones."""
    body, directory = b"", b""
    for r in records:
        directory += r.central(len(body))
        body += r.local()
    directory = end.get("directory", directory)
    at, size, n = len(body), len(directory), len(records)
    out = body + directory
    if zip64 is not None:
        out64 = len(out)
        out += b"PK\6\6" + struct.pack("<QHHIIQQQQ", zip64.get("record", 44), 45, 45, 0, 0,
                                       zip64.get("n", n), zip64.get("n", n), size,
                                       zip64.get("offset", at))
        out += b"PK\6\7" + struct.pack("<IQI", 0, zip64.get("at", out64), 1)
    out += b"PK\5\6" + struct.pack("<HHHHIIH", end.get("disk", 0), 0, end.get("n", n),
                                   end.get("n", n), end.get("size", size), end.get("at", at),
                                   len(comment)) + comment
    return out


# ---- pickle ---------------------------------------------------------------------------------------

def text(s):
    s = s.encode() if isinstance(s, str) else s
    return b"X" + struct.pack("<I", len(s)) + s


def short(s):
    return b"\x8c" + bytes([len(s)]) + s.encode()


def glob(module, name):
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def integer(v):
    if 0 <= v < 256:
        return b"K" + bytes([v])
    if -2**31 <= v < 2**31:
        return b"J" + struct.pack("<i", v)
    return b"\x8a\x08" + struct.pack("<q", v)


def tup(*items):
    return b"(" + b"".join(items) + b"t"


def ints(*values):
    return tup(*map(integer, values))


def call(module, name, *args):
    return glob(module, name) + tup(*args) + b"R"


DICT = call("collections", "OrderedDict")


def dictionary(pairs, head=b"}"):
    return head + b"(" + b"".join(text(k) + v for k, v in pairs) + b"u"


def storage(key="0", numel=6, kind="FloatStorage", module="torch", tail=()):
    return tup(text("storage"), glob(module, kind), text(key), text("cpu"), integer(numel),
               *tail) + b"Q"


def tensor(store=None, offset=0, size=(2, 3), stride=(3, 1), name="_rebuild_tensor_v2", more=()):
    return call("torch._utils", name, store or storage(), integer(offset), ints(*size),
                ints(*stride), b"\x89", DICT, *more)


def program(body, protocol=2):
    return b"\x80" + bytes([protocol]) + body + b"."


SIX = struct.pack("<6f", 1, 2, 3, 4, 5, 6)
FLAT = program(dictionary([("w", tensor())], DICT))


def torch(pickle, data=(("0", SIX),), more=(), root="archive", crc=None, **zip_options):
    """A whole torch file. The pickle's checksum is left out, so that a fuzzer may change it."""
    records = [Record(root + "/data.pkl", pickle, crc=0 if crc is None else crc)]
    records += [Record(root + "/data/" + key, bytes_) for key, bytes_ in data]
    records += [Record(root + "/version", b"3\n")] + list(more)
    return archive(records, **zip_options)


# ---- legacy ---------------------------------------------------------------------------------------

MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")


def legacy(pickle, keys=("0",), data=((6, SIX),), little=b"\x88", tail=b""):
    machine = program(dictionary([("protocol_version", b"M\xe9\x03"), ("little_endian", little)]))
    out = MAGIC + program(b"M\xe9\x03") + machine + pickle
    out += program(b"](" + b"".join(map(text, keys)) + b"e")
    for numel, bytes_ in data:
        out += struct.pack("<q", numel) + bytes_
    return out + tail


LEGACY_TENSOR = tensor(storage(tail=[b"N"]))
LEGACY = program(dictionary([("w", LEGACY_TENSOR)], DICT))


def state(tensor_code, name="w"):
    return program(dictionary([(name, tensor_code)], DICT))


# ---- folders --------------------------------------------------------------------------------------

class Corpus:
    """The folder of a corpus, which is emptied first."""

    def __init__(self, name):
        self.path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", name)
        os.makedirs(self.path, exist_ok=True)
        for old in os.listdir(self.path):
            os.remove(os.path.join(self.path, old))

    def write(self, name, data):
        with open(os.path.join(self.path, name), "wb") as f:
            f.write(data)

    def summary(self):
        files = [os.path.join(self.path, f) for f in os.listdir(self.path)]
        return "%d files, %d bytes" % (len(files), sum(map(os.path.getsize, files)))
