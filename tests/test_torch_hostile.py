"""Bad PyTorch files: each is refused by name in one line, fast, in little memory, and nothing in it runs.

All of them are read in a process that imports nothing else meanwhile, each in a fork of it, so that what it takes is its own.
The numbers in the names are those of the list of bad inputs that this table was made from.
"""

from __future__ import annotations

import io
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from pathlib import Path

import pytest

from tests.torch_files import (
    HEAD,
    MAGIC,
    ONE,
    ORDERED,
    RAW,
    SIX,
    STREAM,
    VERSION,
    ZIP,
    Member,
    call,
    dict_,
    list_,
    load,
    machine,
    member,
    members,
    name,
    number,
    numbers,
    pickled,
    saved,
    script,
    short,
    storage,
    stream,
    tensor,
    text,
    tuple_,
    zipped,
)

CANARY = "touched"  # a file that a payload makes, where it runs
PAYLOAD = text(f"touch {CANARY}")


def object_(*parts: bytes, protocol: int = 2) -> bytes:
    """A zip file whose pickle is this."""
    return saved(pickled(b"".join(parts), protocol), RAW)


def weights(*of: bytes) -> bytes:
    """A zip file with one tensor, made so."""
    return object_(dict_(("w", tensor(*of) if len(of) > 1 else of[0])))


def shaped(shape: object, strides: object, first: int = 0, *more: bytes) -> bytes:
    return object_(tensor(storage(), shape, strides, first, *more))


def untyped(first: int, *more: bytes) -> bytes:
    """A tensor of two numbers in a storage of 24 bytes."""
    of = storage(kind="torch.storage.UntypedStorage", size=24)
    return rebuilt("torch._utils._rebuild_tensor_v3", of, number(first), *V3[1:], *more)


def part(kind: str, first: int) -> bytes:
    """A tensor in three numbers of a legacy storage."""
    of = storage("7", kind, 6, tuple_(text("8"), number(first), number(3)))
    return legacy(tensor(of, (1,)))


def truth(*more: bytes) -> bytes:
    """A tensor of truth values, one of which is 2."""
    return saved(pickled(tensor(storage("0", "torch.BoolStorage"), (2,), (1,), 1, *more)), b"\0\1\2\0\1\0")


def rebuilt(full: str, *arguments: bytes) -> bytes:
    return object_(call(full, *arguments))


def stacked(module: str, last: str) -> bytes:
    return short(module) + short(last) + b"\x93"


def changed(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data and len(old) == len(new)
    return data.replace(old, new)


def legacy(body: bytes = b"", **how: object) -> bytes:
    of = tensor(storage("7", "torch.FloatStorage", 6, b"N"))
    return stream(pickled(body or of), *how.pop("records", [("7", 6, RAW)]), **how)


def laughs() -> bytes:
    """Ten lists of ten of the list before: 10**12 values in less than a kilobyte."""
    body = list_(number(1)) + b"q\0"
    for level in range(1, 13):
        body += b"](" + b"h" + bytes([level - 1]) + (b"h" + bytes([level - 1])) * 9 + b"eq" + bytes([level])
    return object_(list_(body))


def archive(body: bytes, *more: Member) -> bytes:
    return zipped([*members(pickled(body), RAW), member("archive/constants.pkl", pickled(b")")), *more])


def with_member(full: str, **lies: object) -> bytes:
    return zipped([*members(ONE, RAW), member(full, b"x", **lies)])


def tar(kind: bytes, full: str = "storages") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for what in ("sys_info", "pickle", full):
            info = tarfile.TarInfo(what)
            info.type, info.linkname = kind if what == full else tarfile.REGTYPE, "/etc/passwd"
            archive.addfile(info)
    return out.getvalue()


def deflated() -> list[Member]:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = squeeze.compress(bytes(10**8)) + squeeze.flush()
    return [*members(ONE), member("archive/data/0", bomb, method=8, size=10**8)]


OS = call("os.system", PAYLOAD)
REDUCE_OS = tuple_(PAYLOAD) + b"R"
AGAIN = "torch._tensor._rebuild_from_type_v2"
V3 = (number(0), numbers((2,)), numbers((1,)), b"\x89", ORDERED)

# name -> (the file, or what makes it; what the error says)
CODE = {
    "1 os.system": (object_(OS), "'os.system'.*tries to run code"),
    "2 posix.system": (object_(call("posix.system", PAYLOAD)), "'posix.system'.*tries to run code"),
    "2 nt.system": (object_(call("nt.system", PAYLOAD)), "'nt.system'.*tries to run code"),
    "3 Python 2's eval": (object_(call("__builtin__.eval", text("1"))), "'__builtin__.eval'.*tries to run code"),
    "4 getattr by stack": (object_(stacked("builtins", "getattr"), protocol=4), "'builtins.getattr'.*tries to run code"),
    "4 __import__": (object_(call("builtins.__import__", text("os"))), "__import__'.*tries to run code"),
    "5 names from the memo": (
        object_(short("os") + b"\x94" + short("system") + b"\x94\x86" + b"h\0h\1\x93" + REDUCE_OS, protocol=4),
        "'os.system'",
    ),
    "5 POP between": (object_(short("os") + b"0", protocol=4), "opcode POP"),
    "6 a dotted name": (object_(stacked("collections", "OrderedDict.clear"), protocol=4), r"'collections\.OrderedDict\.clear'"),
    "6 a module too deep": (object_(stacked("torch", "storage.UntypedStorage"), protocol=4), "UntypedStorage'.*no part"),
    "7 INST": (object_(b"(" + PAYLOAD + b"ios\nsystem\n"), "opcode INST"),
    "8 OBJ": (object_(b"(" + name("argparse.Namespace") + b"o"), "opcode OBJ"),
    "9 NEWOBJ_EX": (object_(name("argparse.Namespace") + b")}\x92", protocol=4), "NEWOBJ_EX"),
    "9 Popen": (object_(name("subprocess.Popen") + b")\x81"), "'subprocess.Popen'.*tries to run code"),
    "10 EXT1": (object_(b"\x82\1"), "EXT1"),
    "10 EXT2": (object_(b"\x83\1\0"), "EXT2"),
    "10 EXT4": (object_(b"\x84\1\0\0\0"), "EXT4"),
    "11 runstring": (object_(call("numpy.testing._private.utils.runstring", PAYLOAD, b"}")), "runstring'.*tries to run code"),
    "12 a pickle within": (object_(call("torch.storage._load_from_bytes", b"C\1.")), "_load_from_bytes'.*tries to run code"),
    "13 torch.hub": (object_(call("torch.hub.load", text("a/b"), text("c"))), "'torch.hub.load'.*tries to run code"),
    "14 partial": (object_(call("functools.partial", name("os.system"))), "'functools.partial'"),
    "15 _codecs.decode": (object_(call("_codecs.decode", b"C\1x", text("zip"))), "'_codecs.decode'.*tries to run code"),
    "16 before a broken tail": (object_(OS, b"\xff\xff"), "'os.system'"),
    "16 before a cut": (saved((b"\x80\2" + OS)[:40], RAW), "'os.system'"),
    "17 popped, then a dict": (object_(OS, b"0", dict_()), "'os.system'"),
    "17 popped": (object_(b"N0", dict_()), "opcode POP"),
    "18 behind STOP": (saved(ONE + pickled(OS), RAW), "goes on behind its end"),
    "19 BUILD on a class": (object_(name("torch.Size") + tuple_(b"N", dict_()) + b"b"), "gives a class attributes"),
    "20 BUILD on a tensor": (object_(tensor(storage()) + dict_(("z", number(7))) + b"b"), "gives a tensor attributes"),
    "20 BUILD on a dict": (object_(dict_() + dict_() + b"b"), "gives a dict attributes"),
    "20 BUILD twice": (object_(ORDERED + dict_() + b"b" + dict_() + b"b"), "an OrderedDict attributes twice"),
    "20 BUILD with slots": (object_(ORDERED + tuple_(b"N", dict_()) + b"b"), "gives an OrderedDict a tuple"),
    "21 SETITEM on a tensor": (object_(tensor(storage()) + number(0) + number(1) + b"s"), "sets items of a tensor"),
    "21 SETITEM on a storage": (object_(storage() + number(0) + number(1) + b"s"), "sets items of a storage"),
    "21 half an item": (object_(b"}(Nu"), "key without a value"),
    "22 APPEND on a dict": (object_(ORDERED + b"Na"), "appends to an OrderedDict"),
    "23 REDUCE on a string": (object_(text("os.system") + REDUCE_OS), "calls a str"),
    "23 REDUCE without a tuple": (object_(name("collections.OrderedDict") + b"]R"), "calls a class"),
    "23 an OrderedDict of more": (rebuilt("collections.OrderedDict", list_()), "other arguments"),
    "23 a dtype called": (rebuilt("torch.float32"), "other arguments"),
    "23 a wrapped wrapper": (rebuilt(AGAIN, name(AGAIN), name("torch.Tensor"), b")", b"}"), "other arguments"),
    "24 a module by reference": (object_(tuple_(text("module"), name("os.system"), text(""), text("")) + b"Q"), "'os.system'"),
    "24 a module of ours": (object_(tuple_(text("module"), name("torch.Size"), text(""), text("")) + b"Q"), "no storage"),
    "24 a whole model": (object_(name("timm.models.vision_transformer.VisionTransformer")), r"VisionTransformer'.*save_file\("),
    "25 PERSID": (object_(b"P0\n"), "PERSID"),
    "26 the first pickle of a stream": (pickled(OS) + STREAM[len(MAGIC) :], "'os.system'"),
    "26 the third": (MAGIC + VERSION + pickled(OS) + STREAM[len(HEAD) :], "'os.system'"),
    "26 the object": (legacy(OS), "'os.system'"),
    "26 the keys": (STREAM[: STREAM.index(b"\x80", len(HEAD) + 2)] + pickled(OS), "'os.system'"),
    "26 a name where none is": (MAGIC + VERSION + pickled(name("torch.Size")), "names nothing"),
    "26 a storage where none is": (MAGIC + VERSION + pickled(b"NQ"), "stores none"),
    "27 a tar": (tar(tarfile.REGTYPE), r"before 0\.1\.10"),
    "28 a class that sets itself": (archive(name("__torch__.Net") + b")\x81N\x85b"), "gives a module a tuple"),
    "28 a class with arguments": (archive(call("__torch__.Net", number(1))), "other arguments"),
    "28 two of one name": (archive(script(("a.b", tensor(storage())), ("a", script(("b", tensor(storage())))))), "of one name"),
    "a class outside TorchScript": (object_(script()), "'__torch__.net.Module'"),
    "a bare pickle": (pickled(dict_()), "torch.save did not write"),
    "a bare pickle that names": (pickled(name("collections.OrderedDict")), "names nothing"),
}

RESOURCES = {
    "29 a deep tuple as a key": (lambda: object_(b"})", b"\x85" * 2_000_000, b"Ns"), "more than 1000000 values"),
    "29 a nested tuple as a key": (object_(b"})\x85\x85Ns"), "a tuple as a key"),
    "29 a list as a key": (object_(b"}]Ns"), "a list as a key"),
    "29 too many tuples as keys": (
        lambda: object_(b"}(", b"".join(numbers((index, 1)) + b"N" for index in range(2000)), b"u"),
        "a tuple as a key",
    ),
    "31 a deep list": (lambda: object_(b"]" * 1_000_000, b"a" * 999_999), "nested too deep"),
    "31 a deep list with marks": (lambda: object_(b"](" * 1_000_000), "open at once"),
    "31 nested 200 deep": (object_(b"]" * 200, b"a" * 199), "nested deeper than 100"),
    "32 billion laughs": (laughs, "more than 1000000 values"),
    "33 a dict in itself": (object_(b"}q\0" + text("x") + b"h\0s"), "in themselves"),
    "33 a list in itself": (object_(b"]q\0h\0a"), "in themselves"),
    "34 numbers that collide": (
        lambda: object_(b"}(", b"".join(number(index * (2**61 - 1)) + b"N" for index in range(20_000)), b"u"),
        "64 bits",
    ),
    "35 LONG4": (lambda: object_(b"\x8b" + struct.pack("<i", 20_000_000) + bytes(20_000_000)), "LONG4"),
    "36 text of 4 GiB": (object_(b"X\xff\xff\xff\xff"), "4294967295 bytes"),
    "36 text past the end": (object_(b"X\0\0\1\0x"), "cut short"),
    "37 BINBYTES8": (object_(b"\x8e" + struct.pack("<Q", 2**60)), "BINBYTES8"),
    "37 BYTEARRAY8": (object_(b"\x96" + struct.pack("<Q", 2**60)), "BYTEARRAY8"),
    "37 BINUNICODE8": (object_(b"\x8d" + struct.pack("<Q", 2**60)), "BINUNICODE8"),
    "38 protocol 9": (object_(b"N", protocol=9), "protocol 9"),
    "38 protocol 0": (object_(b"I1\n"), "INT"),
    "39 no STOP": (saved(ONE[:-1], RAW), "without STOP"),
    "40 an empty stack": (object_(b"R"), "missing on the stack"),
    "40 nothing to remember": (object_(b"q\0"), "missing on the stack"),
    "40 nothing to append to": (object_(b"(e"), "missing on the stack"),
    "40 a missing MARK": (object_(b"Nt"), "MARK"),
    "40 a MARK too many": (object_(b"(N"), "before it is complete"),
    "40 two values": (object_(b"NN"), "before it is complete"),
    "40 memo miss": (object_(b"h\5"), "memo has no 5"),
    "40 an empty pickle": (saved(b"", RAW), "without STOP"),
    "40 text that is none": (object_(b"X\1\0\0\0\xff"), "utf-8"),
    "40 a name without an end": (object_(b"c" + b"a" * 2000), "name without an end"),
    "40 a name of a million packages": (lambda: object_(text("a." * 10**6) + short("a") + b"\x93", protocol=4), "up to 1000"),
    "40 a name of numbers": (object_(b"NN\x93", protocol=4), "not text"),
    "41 a key twice": (object_(dict_(("w", b"N"), ("w", b"N"))), "'w' is given twice"),
    "more tensors than anybody has": (
        lambda: object_(
            storage() + b"q\0" + name("torch._utils._rebuild_tensor") + b"q\1(h\0" + b"".join(V3[:3]) + b"tq\2]",
            (b"(" + b"h\1h\2R" * 50_001 + b"e") * 2,
        ),
        "more than 100000 tensors",
    ),
}

TENSORS = {
    "42 a negative offset": (shaped((2,), (1,), -1), "an offset must be"),
    "43 an offset past the end": (shaped((1,), (1,), 6), "ends at number 7 of a storage of 6"),
    "44 past the end": (shaped((4, 2), (2, 1)), "ends at number 8 of a storage of 6"),
    "45 a negative stride": (shaped((2,), (-1,), 3), "strides must be"),
    "46 a negative size": (shaped((-2,), (1,)), "a shape must be"),
    "47 a product of 2**124": (shaped((2**62, 2**62), (0, 0)), "more than 68719476736"),
    "47 an empty product": (shaped((0, 2**62, 2**62), (1, 1, 1)), "more than 68719476736"),
    "48 strides that overflow": (shaped((2, 2), (2**62, 2**62)), "ends at number"),
    "48 a stride of 65 bits": (shaped((1,), (2**64,)), "strides must be"),
    "49 another rank": (shaped((2, 3), (1,)), "2 axes with 1 strides"),
    "50 1000 axes": (shaped((1,) * 1000, (1,) * 1000), "up to 8"),
    "51 2**40 times one number": (shaped((2**40,), (0,)), "more than 68719476736"),
    "51 a million times six": (shaped((10**6, 6), (0, 1)), "by repeating 6"),
    "52 a bool for a size": (shaped(tuple_(b"\x88"), (1,)), "a shape must be"),
    "52 a float for a size": (shaped(tuple_(b"G" + bytes(8)), (1,)), "a shape must be"),
    "52 a list for sizes": (shaped(list_(number(2)), (1,)), "a tuple of up to"),
    "52 a bool for an offset": (rebuilt("torch._utils._rebuild_tensor", storage(), b"\x88", *V3[1:3]), "an offset must be"),
    "53 2**40 numbers in 24 bytes": (weights(storage(size=2**40), (1,)), "claims 4398046511104 bytes"),
    "54 fewer than there are": (weights(storage(size=5), (1,)), "claims 20 bytes in archive/data/0, which has 24"),
    "55 a negative number of numbers": (weights(storage(size=-6), (1,)), "size of a storage must be"),
    "55 a bool of numbers": (
        object_(tuple_(text("storage"), name("torch.FloatStorage"), text("0"), text("cpu"), b"\x88") + b"Q"),
        "size of a storage must be",
    ),
    "56 a missing storage": (weights(storage("1"), (1,)), "archive/data/1'.*not in the file"),
    "57 a key that climbs": (weights(storage("../../../etc/passwd"), (1,)), "not in the file"),
    "57 a key with lines": (weights(storage("a\nb"), (1,)), "not in the file"),
    "58 one storage as two kinds": (object_(list_(storage(), storage(kind="torch.IntStorage"))), "in two ways"),
    "58 one storage of two sizes": (object_(list_(storage(), storage(kind="torch.DoubleStorage", size=3))), "in two ways"),
    "59 an unknown storage": (weights(storage(kind="torch.FooStorage"), (1,)), "'torch.FooStorage'"),
    "59 no storage class": (weights(storage(kind="torch.float32"), (1,)), "only real, plain numbers"),
    "60 a bool of 2": (truth(), "truth values"),
    "61 a negated bool": (truth(dict_(("neg", b"\x88"))), "sign"),
    "61 conj of a real number": (shaped((1,), (1,), 0, dict_(("conj", b"\x88"))), "sign"),
    "61 other metadata": (shaped((1,), (1,), 0, dict_(("neg", b"\x88"), ("x", b"\x88"))), "sign"),
    "61 metadata that is none": (shaped((1,), (1,), 0, text("neg")), "sign"),
    "65 complex": (weights(storage(kind="torch.ComplexFloatStorage", size=3), (1,)), "ComplexFloatStorage"),
    "65 fp8": (untyped(0, name("torch.float8_e4m3fn")), "float8_e4m3fn"),
    "65 a dtype for a typed storage": (
        rebuilt("torch._utils._rebuild_tensor_v3", storage(), *V3, name("torch.float32")),
        "in a torch.FloatStorage",
    ),
    "65 bytes without a dtype": (weights(storage(kind="torch.storage.UntypedStorage", size=24), (1,)), "no dtype"),
    "65 past the end in bytes": (untyped(3, name("torch.float64")), "ends at number 5 of a storage of 3"),
    "65 sparse": (rebuilt("torch._utils._rebuild_sparse_tensor"), "a sparse tensor"),
    "65 quantised": (rebuilt("torch._utils._rebuild_qtensor"), "a quantised tensor"),
    "65 meta": (rebuilt("torch._utils._rebuild_meta_tensor_no_storage"), "meta device"),
    "65 nested": (rebuilt("torch._utils._rebuild_nested_tensor"), "a nested tensor"),
    "a tensor of no storage": (weights(number(1), (1,)), "a tensor of an int"),
    "a parameter of no tensor": (rebuilt("torch._utils._rebuild_parameter", b"N", b"\x89", b"N"), "other arguments"),
    "a part that is not there": (part("torch.FloatStorage", 4), "a part"),
    "a part of bytes": (part("torch.storage.UntypedStorage", 0), "a part"),
}

TWO = members(ONE, RAW)
NAMES = [
    "archive/../../evil",
    "/etc/x",
    "archive/a\\b",
    "C:x",
    "archive/a\0b",
    "archive//x",
    "archive/\nx",
    "archive/" + 1000 * "x",
]
CONTAINERS = {
    "67 half": (ZIP[: len(ZIP) // 2], "does not end as a zip file"),
    "67 a cut end": (ZIP[:-3], "does not end as a zip file"),
    "67 only a beginning": (ZIP[:20], "cut short"),
    "68 a flipped bit": (changed(ZIP, RAW, RAW[:9] + bytes([RAW[9] ^ 4]) + RAW[10:]), "archive/data/0 is damaged"),
    "68 a flipped bit in the pickle": (changed(ZIP, b"_tensor_v2", b"_tensor_v3"), r"archive/data\.pkl is damaged"),
    "68 another byte order": (changed(ZIP, b"little", b"mittel"), "byteorder is damaged"),
    "69 a program in front": (b"MZ" + ZIP, "not a PyTorch file"),
    "69 a member in front": (b"PK\3\4" + bytes(60) + ZIP, "contradict|lies"),
    "70 a trailing byte": (ZIP + b"x", "does not end as a zip file"),
    "70 a comment": (zipped(TWO, comment=b"hello"), "does not end as a zip file"),
    "71 deflated data": (lambda: zipped(deflated()), "archive/data/0' is deflated"),
    "71 a deflated pickle": (zipped([member("archive/data.pkl", ONE, method=8), *members(ONE, RAW)[1:]]), "deflated"),
    "71 another method": (with_member("archive/x", method=12), "encrypted, or packed"),
    "72 data.pkl twice": (zipped([*TWO, member("archive/data.pkl", ONE)]), "twice"),
    "73 two roots": (zipped([*TWO, *members(ONE, root="other")]), "2 saved objects"),
    "73 something beside the root": (with_member("other/x"), "two archives in one"),
    "73 no object": (zipped([member("archive/x", b"")]), "0 saved objects"),
    "73 nothing at all": (b"PK\3\4" + zipped([], zip64=False), "lies"),
    **{f"74 {bad!r}": (with_member(bad), "which torch does not write") for bad in NAMES},
    "74 a name that is no text": (zipped([*TWO, Member(b"archive/\xff", b"")]), "which torch does not write"),
    "75 encrypted": (with_member("archive/x", flags=0x0809), "encrypted"),
    "75 strongly encrypted": (with_member("archive/x", flags=0x0840), "encrypted"),
    "76 two names": (with_member("archive/x", local=b"archive/y"), "in two ways"),
    "76 no header where it should be": (changed(ZIP, b"PK\3\4\0\0\x08\x08", b"PK\3\5\0\0\x08\x08"), "not a PyTorch|in two ways"),
    "77 two members in one place": (with_member("archive/data.pkl2", header=0), "overlaps|two ways"),
    "77 a member in another": (lambda: overlapping(), "overlaps"),
    "77 a member in the directory": (with_member("archive/x", header=10**6), "overlaps"),
    "77 a member beyond all": (with_member("archive/x", header=2**64 - 2, wide=True), "overlaps"),
    "77 stored in two sizes": (with_member("archive/x", size=2), "two sizes"),
    "78 a directory elsewhere": (zipped(TWO, shift=1), "lies about where its directory is"),
    "78 two directories": (ZIP[:-6] + bytes(4) + ZIP[-2:], "contradict"),
    "78 a ZIP64 end elsewhere": (ZIP.replace(b"PK\6\6", b"PK\6\5"), "ZIP64"),
    "78 fewer members": (zipped(TWO, count=len(TWO) - 1), "longer than"),
    "78 more members": (zipped(TWO, count=len(TWO) + 1), "shorter than"),
    "78 a damaged line": (ZIP.replace(b"PK\1\2", b"PK\1\3"), "damaged directory"),
    "79 a byte order of its own": (saved(ONE, RAW, order="middle"), "'middle', neither"),
    "80 a claim of a million members": (zipped(TWO, count=10**6 + 1), "claims 1000001 members"),
    "81 a bad magic": (changed(STREAM, MAGIC[:8], MAGIC[:7] + b"\0"), "torch.save did not write"),
    "81 a bad version": (MAGIC + pickled(b"M\xea\x03") + STREAM[len(MAGIC + VERSION) :], "version"),
    "81 big-endian": (legacy(head=MAGIC + VERSION + machine(b"\x89")), "little-endian"),
    "81 a machine that is none": (legacy(head=MAGIC + VERSION + pickled(b"N")), "little-endian"),
    "81 numel 2**50": (legacy(records=[("7", 2**50, RAW)]), "does not begin with its size, 6"),
    "81 numel -1": (legacy(records=[("7", -1, RAW)]), "does not begin with its size, 6"),
    "81 truncated": (STREAM[:-1], "cut short in storage '7'"),
    "81 truncated before the numbers": (STREAM[: -len(RAW) - 4], "does not begin with its size"),
    "81 truncated keys": (STREAM[: -len(RAW) - 12], "without STOP|cut short"),
    "81 a missing key": (legacy(records=[]), "the 1 storages that its object needs"),
    "81 another key": (legacy(keys=["8"]), "the 1 storages"),
    "81 an extra key": (legacy(records=[("7", 6, RAW), ("8", 6, RAW)]), "the 1 storages"),
    "81 a key twice": (legacy(records=[("7", 6, RAW), ("7", 6, RAW)]), "the 1 storages"),
    "81 keys that are no text": (changed(STREAM, text("7") + b"e.", b"K\7NNNNe."), "the 1 storages"),
    "81 trailing bytes": (STREAM + b"x", "goes on behind its last storage"),
    "82 a tar with a symbolic link": (tar(tarfile.SYMTYPE), r"before 0\.1\.10"),
    "82 a tar with a hard link": (tar(tarfile.LNKTYPE), r"before 0\.1\.10"),
    "82 a tar with a device": (tar(tarfile.CHRTYPE), r"before 0\.1\.10"),
    "82 a tar that climbs": (tar(tarfile.REGTYPE, "../../storages"), r"before 0\.1\.10"),
    "82 a gzip'd tar": (b"\x1f\x8b\x08" + bytes(40), "not a PyTorch file"),
    "no file of torch": (b"hello", "not a PyTorch file"),
}


def overlapping() -> bytes:
    """A second member whose header lies in the first one's bytes."""
    inner = zipped([member("archive/y", b"")])[:64]
    first = [member("archive/data.pkl", ONE), member("archive/data/0", RAW), member("archive/x", inner)]
    at = zipped(first).index(inner)
    return zipped([*first, member("archive/y", b"", header=at)])


BAD = CODE | RESOURCES | TENSORS | CONTAINERS

READ_ALL = """
import json, os, resource, sys, time
from pathlib import Path
from tests.torch_files import load
from vitjax.config import Error

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def one(path, out):
    before, modules, start = peak(), set(sys.modules), time.process_time()
    try:
        kind, message = "loaded", str([array.shape for array in load(path)])
    except BaseException as error:
        kind, message = type(error).__qualname__, str(error)
    found = dict(kind=kind, message=message, seconds=time.process_time() - start, memory=peak() - before,
                 imported=sorted(set(sys.modules) - modules))
    out.write(json.dumps(found).encode())

try:
    load(Path("warm"))
except Error:
    pass
for path in sorted(Path("bad").iterdir(), key=lambda path: int(path.name)):
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        with open(writer, "wb") as out:
            one(path, out)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        print(file.read().decode(), flush=True)
    _, status = os.waitpid(child, 0)
    assert status == 0, (path, status)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What came of every bad file: in order, read by forks of one process without the strict conditions of tests."""
    place = tmp_path_factory.mktemp("hostile")
    (place / "bad").mkdir()
    (place / "warm").write_bytes(object_(b"X"))
    sizes = {}
    for index, (key, (content, _)) in enumerate(BAD.items()):
        sizes[key] = (place / "bad" / str(index)).write_bytes(content if isinstance(content, bytes) else content())
    root = Path(__file__).parents[1]
    result = subprocess.run(
        [sys.executable, "-c", READ_ALL], cwd=place, env=os.environ | {"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert not list(place.rglob(CANARY)), "a payload ran"
    return {
        key: json.loads(line) | {"size": sizes[key], "path": f"bad/{index}"}
        for index, (key, line) in enumerate(zip(BAD, result.stdout.splitlines(), strict=True))
    }


@pytest.mark.parametrize("kind", BAD)
def test_refused(kind, found):
    one = found[kind]
    message = one["message"]
    assert one["kind"] == "Error", one
    assert re.search(BAD[kind][1], message) and one["path"] in message and "\n" not in message, message
    assert one["seconds"] < 5 and one["memory"] < 2 * one["size"] + 100 * 2**20, one
    assert one["imported"] == []


CODE_THAT_RUNS = f"import os; os.system('touch {CANARY}')".encode()
EMPTY = (storage("1", "torch.FloatStorage", 0), storage("1", "torch.IntStorage", 0))

GOOD = {
    "28 TorchScript with code that would run": archive(
        script(("w", tensor(storage()))), member("archive/code/__torch__/net.py", CODE_THAT_RUNS)
    ),
    "30 an index of 2**31 - 1": object_(tensor(storage()) + b"r\xff\xff\xff\x7f"),
    "58 an empty storage of two kinds": saved(pickled(list_(tensor(storage()), *EMPTY)), RAW, b""),
    "61 a sign beside the numbers": shaped((2, 3), (3, 1), 0, dict_(("neg", b"\x88"))),
    "62 NaN and infinity": saved(ONE, struct.pack("<6f", 1, 2, float("nan"), float("inf"), 5, 6)),
    "79 big-endian": saved(ONE, SIX.astype(">f4").tobytes(), order="big"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_odd_and_good(kind, tmp_path):
    (tmp_path / "x.pt").write_bytes(GOOD[kind])
    start = time.process_time()
    (array,) = load(tmp_path / "x.pt")
    sign = -1 if kind.startswith("61") else 1
    assert array.ravel()[[0, 1, 4, 5]].tolist() == [sign, 2 * sign, 5 * sign, 6 * sign]
    assert time.process_time() - start < 5 and not Path(CANARY).exists()
