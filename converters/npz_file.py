"""NumPy's .npz, read member by member, with the checks that numpy.load leaves out.

numpy takes the last of two members of one name, hands out what is no array as bytes, allocates what a header claims before
it looks, and inflates without a limit. Here every member is an array of plain numbers, of exactly the size that it claims.
"""

from __future__ import annotations

import ast
import math
import re
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import ml_dtypes
import numpy as np

from vitjax.config import Error

from .stored import Record, Shape, Stored
from .zip_file import LOCAL, Member, members

HEADER_LIMIT = 10_000  # bytes of an array's description; numpy's own limit is as low
RATIO_LIMIT = 100  # how much larger than its deflated form a member may be,
FREE_SIZE = 2**20  # once it is larger than this: a bias of zeros shrinks to nothing
NAME = re.compile(r"[A-Za-z0-9_./-]+\.npy")

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
RAW = -zlib.MAX_WBITS  # a deflated stream as zip has it, without a header of its own
KIND = re.compile("([<>|])(f2|f4|f8|i4|i8|u1|b1|V2)")  # V2: how numpy writes bfloat16, which it does not know


@dataclass(frozen=True)
class Deflated(Stored):
    """A tensor in a deflated member; `offset` counts from the member's first inflated byte."""

    inflated: int = 0  # bytes of the whole member

    def _read(self, size: int, memory: np.ndarray | None = None) -> np.ndarray:
        assert self.record is not None
        packed = _raw(self.path, self.record, self.record.size).data
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
    return {name.removesuffix(".npy"): _array(path, member) for name, member in members(path).items()}


def _array(path: Path, member: Member) -> Stored:
    """An array by what its description says, which must be what its bytes can hold."""
    record, size, deflated = member
    if not NAME.fullmatch(record.name):
        raise Error(f"{path}: {record.name[:80]!r} is not the name of an array: only NAME.npy is read")
    if size > max(FREE_SIZE, RATIO_LIMIT * record.size):
        raise Error(
            f"{path}: {record.name} would grow from {record.size} to {size} bytes: refused as a deflate bomb. Save it again"
        )
    try:
        packed = _raw(path, record, min(record.size, HEADER_LIMIT)).tobytes()
        data = zlib.decompressobj(RAW).decompress(packed, HEADER_LIMIT) if deflated else packed
        descr, fortran, shape, start = _description(data)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, zlib.error) as error:  # literal_eval has many words
        reason = "is not an array that can be read: its description is damaged, or no description"
        raise Error(f"{path}: {record.name} {reason}") from error
    if not (match := KIND.fullmatch(descr)):
        raise Error(f"{path}: {record.name} is of type {descr[:40]!r}: only plain numbers are read")
    if start + math.prod(shape) * int(descr[-1]) != size:
        raise Error(
            f"{path}: {record.name} claims the shape {shape} and has {size - start} bytes of numbers: download the file again"
        )
    order, code = "big" if match[1] == ">" else "little", match[2]
    dtype = BFLOAT16 if code == "V2" else np.dtype(code)
    strides = tuple(math.prod(shape[:axis]) for axis in range(len(shape))) if fortran and 0 not in shape else None
    if deflated:
        return Deflated(path, start, dtype, shape, strides, order, record=record, inflated=size)
    return Stored(path, record.offset + start, dtype, shape, strides, order, record=record)


def _raw(path: Path, record: Record, size: int) -> np.ndarray:
    """The first bytes of a member as they lie in the file, not checked."""
    return Stored(path, record.offset, np.dtype("u1"), (size,)).read()


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


def write(file: IO[bytes], tensors: Iterable[tuple[str, np.ndarray]]) -> None:
    """Write arrays one at a time and not deflated, as numpy.savez does; bfloat16, which numpy has not, as |V2 like big_vision."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in tensors:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                raw = array.view("V2") if array.dtype == BFLOAT16 else array
                np.lib.format.write_array(member, raw, allow_pickle=False)
