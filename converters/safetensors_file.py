"""safetensors: one JSON header, then bare bytes. Read more strictly than by the format's own library, and never mapped.

The library (0.8) checks the layout, as we do; it accepts keys given twice, names such as "../x", sizes that overflow behind
a zero, and hundreds of thousands of empty tensors, as we do not.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np

from vitjax.config import Error

from .json_file import parse
from .stored import TENSOR_LIMIT, Shape, Stored

HEADER_LIMIT = 100_000_000  # bytes; the format's own limit

DTYPES = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip


def is_safetensors(start: bytes) -> bool:
    """Whether a file may be safetensors, by its first bytes: the length of a header, which no text is, and the header's brace."""
    return start[8:9] == b"{" and b"\0" in start[:8]


def read(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of a file, still in it, and what its writer says of them."""
    tensors, spans = {}, []
    try:
        header, start = _header(path)
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("__metadata__ must map names to strings")
        if len(header) > TENSOR_LIMIT:  # as for every format, but before anything is made of each
            raise Error(f"{path} holds {len(header)} tensors, more than {TENSOR_LIMIT}: save the network's own tensors alone")
        for name, entry in header.items():
            dtype, shape, span = _entry(path, name[:80], entry)
            tensors[name] = Stored(path, start + span[0], dtype, shape)
            spans.append(span)
        _check_layout(spans, path.stat().st_size - start)
    except ValueError as error:
        raise Error(f"{path} is not a whole safetensors file: {error}. Download it again") from error
    return tensors, metadata


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header, and where in the file the data begins."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if length > HEADER_LIMIT:
            raise ValueError(f"its header claims {length} bytes, more than {HEADER_LIMIT}")
        if 8 + length > os.fstat(file.fileno()).st_size:
            raise ValueError("it ends within its header")
        return parse(file.read(length)), 8 + length


def _entry(path: Path, name: str, entry: Any) -> tuple[np.dtype, Shape, tuple[int, int]]:
    """What the header says of one tensor: dtype, shape, and where its bytes begin and end."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name!r} must say dtype, shape and data_offsets, and nothing else")
    kind, shape, span = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _sizes(shape) or not _sizes(span) or len(span) != 2 or span[1] < span[0]:
        raise ValueError(f"the shape or the data_offsets of {name!r} are not sizes")
    if not isinstance(kind, str) or kind not in DTYPES:
        raise Error(
            f"{path}: {name!r} is of type {str(kind)[:20]!r}, not read, as 8-bit and 4-bit floats need their "
            "scales: save bfloat16"
        )
    itemsize = DTYPES[kind].itemsize
    if math.prod(shape) * itemsize != span[1] - span[0]:
        raise ValueError(f"{name!r} of shape {shape} and type {kind} does not fill its {span[1] - span[0]} bytes")
    return DTYPES[kind], tuple(shape), (span[0], span[1])


def _sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _check_layout(spans: list[tuple[int, int]], size: int) -> None:
    """Raise unless the tensors fill the data to its last byte: a hole could hide another file, an overlap a lie."""
    ends = [0, *itertools.chain(*sorted(spans)), size]
    for end, begin in zip(ends[::2], ends[1::2], strict=True):
        if end != begin:
            raise ValueError(
                f"its tensors overlap, or leave a hole, or do not end where the file does (data byte {min(end, begin)})"
            )


def write(
    file: IO[bytes],
    shapes: Mapping[str, tuple[Shape, np.dtype]],
    tensors: Iterable[tuple[str, np.ndarray]],
    metadata: Mapping[str, str],
) -> None:
    """Write tensors one at a time, in the order of `shapes` (name -> shape, dtype), so that no second copy of all is held."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, (shape, dtype) in shapes.items():
        start, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": names[dtype], "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data begins at a multiple of 8
    file.write(struct.pack("<Q", len(text)) + text)
    for (name, array), (wanted, (shape, dtype)) in zip(tensors, shapes.items(), strict=True):
        assert (name, array.shape, array.dtype) == (wanted, shape, dtype), f"{name} is not what the header says"
        file.write(array.tobytes())
