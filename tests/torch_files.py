"""PyTorch files made by hand: what torch writes, without torch, and what nobody but an attacker writes.

`pickled(...)` assembles a pickle from parts, each of which leaves one value on the stack; `zipped(...)` and `stream(...)` put
it into torch's two containers. Every field that can lie, can be made to.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.converters.stored import Stored
from vitjax.converters.torch_file import read

STOP = b"."


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def short(value: str) -> bytes:
    """Text as protocol 4 writes it."""
    return b"\x8c" + bytes([len(value.encode())]) + value.encode()


def number(value: int) -> bytes:
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def name(full: str) -> bytes:
    module, _, last = full.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def tuple_(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def numbers(values: Iterable[int]) -> bytes:
    return tuple_(*map(number, values))


def list_(*parts: bytes) -> bytes:
    return b"](" + b"".join(parts) + b"e"


def dict_(*items: tuple[str, bytes]) -> bytes:
    return b"}" + filled(*items)


def filled(*items: tuple[str, bytes]) -> bytes:
    """What fills the dict on the stack."""
    return b"(" + b"".join(text(key) + value for key, value in items) + b"u"


def call(full: str, *arguments: bytes) -> bytes:
    return name(full) + tuple_(*arguments) + b"R"


ORDERED = call("collections.OrderedDict")


def storage(key: str = "0", kind: str = "torch.FloatStorage", size: int = 6, *more: bytes) -> bytes:
    return tuple_(text("storage"), name(kind), text(key), text("cpu"), number(size), *more) + b"Q"


def tensor(of: bytes, shape: Any = (2, 3), strides: Any = None, first: int = 0, *more: bytes) -> bytes:
    """Through `_rebuild_tensor_v2`; a shape in bytes is put in as it is."""
    if strides is None:
        strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
    shape, strides = (x if isinstance(x, bytes) else numbers(x) for x in (shape, strides))
    return call("torch._utils._rebuild_tensor_v2", of, number(first), shape, strides, b"\x89", ORDERED, *more)


def pickled(body: bytes, protocol: int = 2) -> bytes:
    return b"\x80" + bytes([protocol]) + body + STOP


@dataclass
class Member:
    """One file in a zip archive, and what is said of it."""

    name: bytes
    data: bytes
    local: bytes | None = None  # its name in front of its bytes
    flags: int = 0x0808
    method: int = 0
    crc: int | None = None
    size: int | None = None  # when inflated
    header: int | None = None  # where it is said to be
    wide: bool = False  # say so in the ZIP64 field


def member(name: str, data: bytes, **lies: Any) -> Member:
    return Member(name.encode(), data, **lies)


def members(data: bytes, *records: bytes, root: str = "archive", order: str | None = "little") -> list[Member]:
    """What torch.save writes, in its order."""
    out = [member(f"{root}/data.pkl", data), member(f"{root}/.format_version", b"1")]
    out += [member(f"{root}/byteorder", order.encode())] if order is not None else []
    out += [member(f"{root}/data/{key}", record) for key, record in enumerate(records)]
    return [*out, member(f"{root}/version", b"3\n"), member(f"{root}/.data/serialization_id", b"0" * 40)]


def zipped(files: list[Member], shift: int = 0, comment: bytes = b"", zip64: bool = True, count: int | None = None) -> bytes:
    """A zip archive as torch's writer lays it out: data at multiples of 64, sizes behind it, a ZIP64 directory. shift: a lie
    about where the directory is."""
    out, directory = bytearray(), bytearray()
    for file in files:
        crc = zlib.crc32(file.data) if file.crc is None else file.crc
        packed, header = len(file.data), len(out) if file.header is None else file.header
        size = packed if file.size is None else file.size
        local = file.name if file.local is None else file.local
        padding = -(len(out) + 34 + len(local)) % 64
        out += struct.pack("<4s5H3I2H", b"PK\3\4", 0, file.flags, file.method, 0, 0, 0, 0, 0, len(local), 4 + padding)
        out += local + struct.pack("<2s H", b"FB", padding) + b"Z" * padding + file.data
        out += struct.pack("<4sIQQ", b"PK\7\x08", crc, packed, size)
        extra = struct.pack("<2H3Q", 1, 24, size, packed, header) if file.wide else b""
        told = (0xFFFFFFFF,) * 3 if file.wide else (packed, size, header)
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 0, 0, file.flags, file.method, 0, 0, crc, *told[:2], len(file.name), len(extra), 0, 0, 0, 0,
            told[2],
        ) + file.name + extra  # fmt: skip
    start, total = len(out) + shift, len(files) if count is None else count
    out += directory
    if zip64:
        end = len(out)
        out += struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0, 0, 0, 0, total, total, len(directory), start)
        out += struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    few = min(total, 0xFFFF)
    return bytes(out) + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, few, few, len(directory), start, len(comment)) + comment


def saved(data: bytes, *records: bytes, **how: Any) -> bytes:
    return zipped(members(data, *records, **how))


MAGIC = pickled(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")
VERSION = pickled(b"M\xe9\x03")


def machine(little: bytes = b"\x88") -> bytes:
    return pickled(dict_(("protocol_version", number(1001)), ("little_endian", little)))


HEAD = MAGIC + VERSION + machine()


def stream(data: bytes, *records: tuple[str, int, bytes], head: bytes = HEAD, keys: Iterable[str] | None = None) -> bytes:
    """The legacy stream: of each storage its key, how many numbers it is said to have, and these."""
    told = [key for key, _, _ in records] if keys is None else keys
    listed = pickled(list_(*map(text, told)))
    return head + data + listed + b"".join(struct.pack("<q", size) + raw for _, size, raw in records)


def script(*modules: tuple[str, bytes]) -> bytes:
    """A TorchScript module with these attributes."""
    return name("__torch__.net.Module") + b")\x81" + dict_(*modules) + b"b"


# A tensor of six numbers, and the two files that hold it.
SIX = np.arange(1, 7, dtype="<f4")
RAW = SIX.tobytes()
ONE = pickled(dict_(("w", tensor(storage()))))
ZIP = saved(ONE, RAW)
STREAM = stream(pickled(dict_(("w", tensor(storage("7", "torch.FloatStorage", 6, b"N"))))), ("7", 6, RAW))


def leaves(tree: Any) -> list[Stored]:
    """Every tensor in what was read."""
    if isinstance(tree, Stored):
        return [tree]
    inside = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    return [leaf for value in inside for leaf in leaves(value)]


def load(path: Path) -> list[np.ndarray]:
    """Every tensor in a file, as an array."""
    return [np.asarray(leaf) for leaf in leaves(read(path))]
