"""NumPy's .npz, read member by member, with the checks that numpy.load leaves out.

numpy takes the last of two members of one name, hands out what is no array as bytes, allocates what a header claims before
it looks, and inflates without a limit. Here every member is an array of plain numbers, of exactly the size that it claims.
"""

from __future__ import annotations

import ast
import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import ml_dtypes
import numpy as np

from vitjax.config import Error

from .stored import NAME_LIMIT, TENSOR_LIMIT, Record, Shape, Stored

HEADER_LIMIT = 10_000  # bytes of an array's description; numpy's own limit is as low
RATIO_LIMIT = 100  # how much larger than its deflated form a member may be,
FREE_SIZE = 2**20  # once it is larger than this: a bias of zeros shrinks to nothing
NAME = re.compile(r"(?!/)(?!.*\.\.)([A-Za-z0-9_./-]+)\.npy")
FLAGS = 0x080E  # of a member: how it was deflated, sizes given again behind it, name in UTF-8. Never encrypted
LOCAL = struct.Struct("<4s5H3I2H")  # what stands before each member's name and bytes
END = struct.Struct("<4s4H2IH")  # the last thing in a file without a comment
DIRECTORY_LIMIT = TENSOR_LIMIT * 200  # bytes
DESCRIPTOR = 24  # bytes: sizes and checksum again, behind members that were written to a stream

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
RAW = -zlib.MAX_WBITS  # a deflated stream as zip has it, without a header of its own
KIND = re.compile("([<>|])(f2|f4|f8|i4|i8|u1|b1|V2)")  # V2: how numpy writes bfloat16, which it does not know


@dataclass(frozen=True)
class Member:
    """One file in an archive."""

    path: Path  # of the archive
    record: Record  # its bytes, and the checksum of what they are when inflated
    size: int  # then
    deflated: bool

    def start(self) -> bytes:
        """The first of its bytes, not checked: enough to hold the description of an array."""
        with self.path.open("rb") as file:
            file.seek(self.record.offset)
            packed = file.read(min(self.record.size, HEADER_LIMIT))
        return zlib.decompressobj(RAW).decompress(packed, HEADER_LIMIT) if self.deflated else packed

    def refused(self, reason: str) -> Error:
        return Error(f"{self.path}: {self.record.name} {reason}")


@dataclass(frozen=True)
class Deflated(Stored):
    """A tensor in a deflated member; `offset` counts from the member's first inflated byte."""

    inflated: int = 0  # bytes of the whole member

    def _read(self, size: int, memory: np.ndarray | None = None) -> np.ndarray:
        assert self.record is not None
        with self.path.open("rb") as file:
            file.seek(self.record.offset)
            packed = file.read(self.record.size)
        try:
            data = zlib.decompressobj(RAW).decompress(packed, self.inflated + 1)  # never more than it claims, were it a bomb
        except zlib.error as error:
            raise Error(f"{self.path}: {self.record.name} is damaged: {error}. Download the file again") from error
        if len(data) != self.inflated or zlib.crc32(data) != self.record.crc:
            raise Error(f"{self.path}: {self.record.name} is damaged: its checksum is another. Download the file again")
        return np.frombuffer(data, np.uint8, size, self.offset).copy()


def is_npz(start: bytes) -> bool:
    """Whether a file is a zip archive whose first member is an array, by its first bytes."""
    if len(start) < LOCAL.size or start[:4] != b"PK\x03\x04":
        return False
    length = LOCAL.unpack_from(start)[-2]
    return start[LOCAL.size : LOCAL.size + length].endswith(b".npy")


def read(path: Path) -> dict[str, Stored]:
    """The arrays of a file, still in it, by the names they were saved under."""
    return {member.record.name.removesuffix(".npy"): _array(member) for member in _members(path)}


def _array(member: Member) -> Stored:
    """An array by what its description says, which must be what its bytes can hold."""
    try:
        descr, fortran, shape, start = _description(member.start())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, zlib.error) as error:  # literal_eval has many words
        raise member.refused("is not an array that can be read: its description is damaged, or no description") from error
    if not (match := KIND.fullmatch(descr)):
        raise member.refused(f"is of type {descr[:40]!r}: only plain numbers are read")
    if start + math.prod(shape) * int(descr[-1]) != member.size:
        raise member.refused(f"claims the shape {shape} and has {member.size - start} bytes of numbers")
    order, code = "big" if match[1] == ">" else "little", match[2]
    dtype = BFLOAT16 if code == "V2" else np.dtype(code)
    strides = tuple(math.prod(shape[:axis]) for axis in range(len(shape))) if fortran and 0 not in shape else None
    if member.deflated:
        return Deflated(member.path, start, dtype, shape, strides, order, record=member.record, inflated=member.size)
    return Stored(member.path, member.record.offset + start, dtype, shape, strides, order, record=member.record)


def _description(data: bytes) -> tuple[str, bool, Shape, int]:
    """Type, order, shape, and where the numbers begin. Literals only: no expression is evaluated."""
    if (version := data[:8]) not in (b"\x93NUMPY\1\0", b"\x93NUMPY\2\0"):  # 3 is for structured arrays
        raise ValueError("not an array")
    begin = 8 + 2 * version[6]
    end = begin + int.from_bytes(data[8:begin], "little")
    if end > len(data):
        raise ValueError("cut short, or far longer than any")
    match ast.literal_eval(data[begin:end].decode("latin-1")):
        case {"descr": str(descr), "fortran_order": bool(fortran), "shape": tuple(shape), **rest} if not rest:
            if all(type(size) is int and size >= 0 for size in shape):
                return descr, fortran, shape, end
    raise ValueError("another description than numpy writes")


def _members(path: Path) -> list[Member]:
    """The archive's directory, held to what numpy writes: arrays, each name once, one behind the other, nothing else around."""
    try:
        with path.open("rb") as file:
            file.seek(-END.size, io.SEEK_END)
            mark, *_, listed, _, comment = END.unpack(file.read())
            if mark != b"PK\5\6" or comment:
                raise ValueError("it does not end with its directory")
            if listed > DIRECTORY_LIMIT:
                raise ValueError(f"its directory has {listed} bytes, more than {DIRECTORY_LIMIT}")
            with zipfile.ZipFile(file) as archive:
                found = sorted(archive.infolist(), key=lambda info: info.header_offset)
                members = [_member(path, info, file) for info in found]
                starts = [info.header_offset for info in found] + [archive.start_dir]
    except (ValueError, OSError, EOFError, struct.error, zipfile.BadZipFile, NotImplementedError) as error:
        raise Error(f"{path} is not a whole .npz: {error}. Download it again") from error
    names = set()
    for member, after in zip(members, starts[1:], strict=True):
        if member.record.name in names:
            raise member.refused("is there twice: readers disagree which of them counts")
        names.add(member.record.name)
        if starts[0] != 0 or not 0 <= after - member.record.offset - member.record.size <= DESCRIPTOR:
            raise member.refused("overlaps with others, or other bytes are around it")
    return members


def _member(path: Path, info: zipfile.ZipInfo, file: IO[bytes]) -> Member:
    """One line of the directory, and the same again in front of the member's bytes."""
    file.seek(info.header_offset)
    mark, _, flags, method, *_, name_length, extra_length = LOCAL.unpack(file.read(LOCAL.size))
    name, offset = file.read(name_length), file.tell() + extra_length
    record = Record(info.filename, offset, info.compress_size, info.CRC)
    member = Member(path, record, info.file_size, method == zipfile.ZIP_DEFLATED)
    if not NAME.fullmatch(info.orig_filename) or len(name) > NAME_LIMIT:
        raise Error(f"{path}: {info.orig_filename[:80]!r} is not the name of an array: only NAME.npy is read")
    if mark != b"PK\3\4" or name != info.orig_filename.encode() or method != info.compress_type:
        raise member.refused("is described in two ways")
    if (flags | info.flag_bits) & ~FLAGS or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise member.refused("is encrypted, or packed in a way that numpy does not use")
    if not member.deflated and member.size != record.size:
        raise member.refused("is described in two ways")
    if member.size > max(FREE_SIZE, RATIO_LIMIT * record.size):
        raise member.refused(f"would grow from {record.size} to {member.size} bytes: refused as a deflate bomb")
    return member


def write(file: IO[bytes], tensors: Iterable[tuple[str, np.ndarray]]) -> None:
    """Write arrays one at a time and not deflated, as numpy.savez does; bfloat16, which numpy has not, as |V2 like big_vision."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in tensors:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                raw = array.view("V2") if array.dtype == BFLOAT16 else array
                np.lib.format.write_array(member, raw, allow_pickle=False)
