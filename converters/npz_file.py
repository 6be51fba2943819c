"""NumPy's .npz, read member by member, with the checks that numpy.load leaves out.

numpy takes the last of two members of one name, hands out what is no array as bytes, allocates what a header claims before
it looks, and inflates without a limit. Here every member is an array of plain numbers, of exactly the size that it claims.
"""

from __future__ import annotations

import io
import math
import re
import struct
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import ml_dtypes
import numpy as np

from vitjax.config import Error

from .stored import NAME_LIMIT, TENSOR_LIMIT, Shape

HEADER_LIMIT = 10_000  # bytes of one array's description; numpy's own limit
RATIO_LIMIT = 100  # how much larger than its deflated form a member may be,
FREE_SIZE = 2**20  # once it is larger than this: a bias of zeros shrinks to nothing
NAME = re.compile(r"(?!/)(?!.*\.\.)([A-Za-z0-9_./-]+)\.npy")
FLAGS = 0x080E  # of a member: how it was deflated, sizes given again behind it, name in UTF-8. Never encrypted
LOCAL = struct.Struct("<4s5H3I2H")  # what stands before each member's name and bytes
END = struct.Struct("<4s4H2IH")  # the last thing in a file without a comment
DIRECTORY_LIMIT = TENSOR_LIMIT * 200  # bytes
DESCRIPTOR = 24  # bytes: sizes and checksum again, behind members that were written to a stream

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
KINDS = {"f2", "f4", "f8", "i4", "i8", "u1", "b1", "V2"}  # V2: how numpy writes bfloat16, which it does not know


@dataclass(frozen=True)
class Member:
    """One file in an archive."""

    path: Path  # of the archive
    name: str
    offset: int  # of its bytes in the archive
    packed: int  # how many those are
    size: int  # and how many when inflated
    crc: int
    deflated: bool

    def read(self, limit: int | None = None) -> bytes:
        """Its bytes, checked; or up to `limit` of the first of them, not checked."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(self.packed if limit is None else min(self.packed, limit))
        try:
            if self.deflated:  # never more than it claims, were it a bomb
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, limit or self.size + 1)
        except zlib.error as error:
            raise self.refused(f"is damaged: {error}. Download it again") from error
        if limit is None and (len(data) != self.size or zlib.crc32(data) != self.crc):
            raise self.refused("is damaged: it is not what its checksum was made of. Download it again")
        return data

    def refused(self, reason: str) -> Error:
        return Error(f"{self.path}: {self.name} {reason}")


@dataclass(frozen=True)
class Array:
    """A tensor that is still a member of an archive."""

    member: Member
    start: int  # of its numbers, behind the description
    kind: np.dtype  # as stored, in either byte order
    shape: Shape
    fortran: bool

    @property
    def dtype(self) -> np.dtype:
        return self.kind.newbyteorder("=")

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        data = np.frombuffer(self.member.read(), self.kind, offset=self.start)
        data = data.reshape(self.shape, order="F" if self.fortran else "C")
        return np.asarray(data, dtype or self.dtype, order="C")


def is_npz(start: bytes) -> bool:
    """Whether a file is a zip archive whose first member is an array, by its first bytes."""
    if len(start) < LOCAL.size or start[:4] != b"PK\x03\x04":
        return False
    length = LOCAL.unpack_from(start)[-2]
    return start[LOCAL.size : LOCAL.size + length].endswith(b".npy")


def read(path: Path) -> dict[str, Array]:
    """The arrays of a file, still in it, by the names they were saved under."""
    return {member.name.removesuffix(".npy"): _array(member) for member in _members(path)}


def _array(member: Member) -> Array:
    """What a member's description says. numpy's own parser reads it: literals only, no expression is evaluated."""
    text = io.BytesIO(member.read(HEADER_LIMIT))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a description that numpy has to mend
            version = np.lib.format.read_magic(text)
            readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
            if version not in readers:
                raise ValueError(f"version {version} of the format is for structured arrays")
            shape, fortran, kind = readers[version](text, max_header_size=HEADER_LIMIT)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, Warning) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise member.refused(f"is not an array that can be read: {reason}") from error
    if kind.str[1:] not in KINDS:
        raise member.refused(f"is of type {str(kind)[:80]}: only plain numbers are read")
    if min(shape, default=0) < 0 or text.tell() + math.prod(shape) * kind.itemsize != member.size:
        raise member.refused(f"claims the shape {shape} and holds {member.size - text.tell()} bytes of numbers")
    return Array(member, text.tell(), BFLOAT16 if kind.kind == "V" else kind, shape, fortran)


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
        if member.name in names:
            raise member.refused("is there twice")
        names.add(member.name)
        if starts[0] != 0 or not 0 <= after - member.offset - member.packed <= DESCRIPTOR:
            raise member.refused("overlaps with others, or other bytes are around it")
    return members


def _member(path: Path, info: zipfile.ZipInfo, file: IO[bytes]) -> Member:
    """One line of the directory, and the same again in front of the member's bytes."""
    file.seek(info.header_offset)
    mark, _, flags, method, *_, name_length, extra_length = LOCAL.unpack(file.read(LOCAL.size))
    name, offset = file.read(name_length), file.tell() + extra_length
    member = Member(path, info.filename, offset, info.compress_size, info.file_size, info.CRC, method == zipfile.ZIP_DEFLATED)
    if not NAME.fullmatch(info.orig_filename) or len(name) > NAME_LIMIT:
        raise Error(f"{path}: {info.orig_filename[:80]!r} is not the name of an array: only NAME.npy is read")
    if mark != b"PK\3\4" or name != info.orig_filename.encode() or method != info.compress_type:
        raise member.refused("is described in two ways")
    if (flags | info.flag_bits) & ~FLAGS or method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise member.refused("is encrypted, or packed in a way that numpy does not use")
    if not member.deflated and member.size != member.packed:
        raise member.refused("is described in two ways")
    if member.size > max(FREE_SIZE, RATIO_LIMIT * member.packed):
        raise member.refused(f"would grow from {member.packed} to {member.size} bytes: refused as a deflate bomb")
    return member
