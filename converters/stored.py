"""A tensor that is still bytes in a file: what every reader here hands out, and nobody reads before it is needed."""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

import numpy as np

from vitjax.config import Error

Shape = tuple[int, ...]

TENSOR_LIMIT, RANK_LIMIT, NAME_LIMIT = 100_000, 8, 1000
BLOCK = 2**20  # bytes at a time, of those that only a checksum looks at


@runtime_checkable
class Tensor(Protocol):
    """An array that may still be on disk: `numpy.asarray` reads it."""

    @property
    def shape(self) -> Shape: ...
    @property
    def dtype(self) -> np.dtype: ...
    def __array__(self, dtype=None, copy=None) -> np.ndarray: ...


Flat = Mapping[str, Tensor]  # path -> array


@dataclass(eq=False)
class Record:
    """A run of bytes under one checksum, which is compared once: before the first number among them is used."""

    name: str
    offset: int  # in the file
    size: int
    crc: int
    sound: bool = False


@dataclass(frozen=True)
class Stored:
    """A tensor that is still bytes in a file; `numpy.asarray` makes it an array in the machine's byte order, rows first."""

    path: Path
    offset: int  # of its first element, in bytes
    dtype: np.dtype
    shape: Shape
    strides: Shape | None = None  # in elements; None where they follow from the shape
    order: str = "little"  # of the bytes of a number: little or big
    negated: bool = False  # torch can note a sign instead of writing it
    record: Record | None = None  # that its bytes are in, where the format has checksums

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        data = self.read()
        return data if dtype is None else data.astype(dtype, copy=False)

    @property
    def nbytes(self) -> int:
        """How many bytes `read` takes from the file."""
        return extent(self.shape, self.strides) * self.dtype.itemsize

    def read(self, memory: np.ndarray | None = None) -> np.ndarray:
        """The array; in these bytes, if there are enough, where it is good until they are used again."""
        raw = self._read(self.nbytes, memory)
        if self.dtype.kind == "b" and raw.max(initial=0) > 1:
            raise Error(
                f"{self.path}: a tensor of truth values at byte {self.offset} holds other bytes than 0 and 1: "
                "download the file again"
            )
        if self.order != sys.byteorder:  # as unsigned numbers, because bfloat16 knows no byte order
            raw.view(f"u{self.dtype.itemsize}").byteswap(inplace=True)
        if self.strides is None:
            data = raw.view(self.dtype).reshape(self.shape)
        else:  # checks its bounds, as numpy.lib.stride_tricks does not
            steps = [step * self.dtype.itemsize for step in self.strides]
            data = np.array(np.ndarray(self.shape, self.dtype, raw, strides=steps), order="C")
        if self.negated:
            np.negative(data, out=data)
        return data

    def piece(self, number: int, count: int) -> Stored | None:
        """One of `count` equal pieces of its first axis; None where it is not a run of sound bytes."""
        if self.strides is not None or not (self.record is None or self.record.sound):
            return None
        shape = (self.shape[0] // count, *self.shape[1:])
        return replace(self, offset=self.offset + number * self.nbytes // count, shape=shape)

    def check(self) -> None:
        """Compare the checksum of its bytes, and keep none of them."""
        self._read(0)

    def _read(self, size: int, memory: np.ndarray | None = None) -> np.ndarray:
        """`size` bytes from the offset on. The first time, all of their record passes by: once, whatever is wanted of it."""
        record = self.record
        try:
            with self.path.open("rb", buffering=0) as file:
                if record is None or record.sound:
                    return self._fetch(file, size, memory)
                crc = self._skim(file, record.offset, self.offset, 0)
                data = self._fetch(file, size, memory)
                crc = self._skim(file, self.offset + size, record.offset + record.size, zlib.crc32(data.data, crc))
        except OSError as error:
            raise Error(f"cannot read {self.path}: {error.strerror or error}; check the path and its permissions") from error
        if crc != record.crc:
            raise Error(f"{self.path}: {record.name} is damaged: its checksum is another. Download the file again")
        record.sound = True
        return data

    def _fetch(self, file: IO[bytes], size: int, memory: np.ndarray | None) -> np.ndarray:
        data = np.empty(size, np.uint8) if memory is None or memory.size < size else memory[:size]
        file.seek(self.offset)
        done = 0
        while done < size:  # the system reads no more than 2 GiB at once
            if not (found := file.readinto(data[done:])):  # type: ignore[attr-defined]
                raise Error(f"{self.path} became shorter while it was read: convert it again when nothing writes to it")
            done += found
        return data

    def _skim(self, file: IO[bytes], start: int, end: int, crc: int) -> int:
        """A checksum carried on over the bytes from `start` to `end`."""
        file.seek(start)
        for at in range(start, end, BLOCK):
            crc = zlib.crc32(file.read(min(BLOCK, end - at)), crc)
        return crc


@dataclass(frozen=True)
class Made:
    """A tensor that is made of others, or of nothing in the file, when it is read."""

    shape: Shape
    dtype: np.dtype
    make: Callable[[], np.ndarray]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.make(), dtype)


def extent(shape: Shape, strides: Shape | None = None) -> int:
    """How many elements lie from a tensor's first to its last, both counted."""
    if strides is None or 0 in shape:
        return math.prod(shape)
    return 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
