"""Files of weights as lazy flat dicts of arrays, and back. Nothing in a file is ever executed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from vitjax.config import Error

from .stored import NAME_LIMIT, RANK_LIMIT, TENSOR_LIMIT, Flat, Shape, Stored

JSON_LIMIT = 64 * 2**20

DTYPES = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"), "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}  # fmt: skip


@dataclass(frozen=True)
class Bundle:
    """What one download holds: tensors, what its publisher says of them, and the files they came from."""

    path: Path  # the file, or the index of its shards
    tensors: Flat
    config: dict[str, Any] | None = None  # config.json beside it
    preprocessor: dict[str, Any] | None = None  # preprocessor_config.json beside it
    meta: Mapping[str, Any] = field(default_factory=dict)  # what the file itself says beside its tensors, as plain values
    key: str = ""  # where in the file the tensors were: "model_ema"

    @property
    def sha256(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def read(src: str | os.PathLike, key: str | None = None) -> Bundle:
    """The weights at a path: a .safetensors file, or a folder that holds one beside its config.json."""
    path = Path(src)
    if not path.exists():
        raise Error(f"{path} does not exist")
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise Error(f"{path} is not a regular file")
    with path.open("rb") as file:
        start = file.read(512)
    if problem := _not_weights(start):
        raise Error(f"{path} {problem}")
    return Bundle(path, _read_safetensors(path))


def _read_folder(path: Path) -> Bundle:
    found = sorted(path.glob("*.safetensors"))
    preferred = [file for file in found if file.name == "model.safetensors"] or found
    if not preferred:
        raise Error(f"{path} has no model in it: neither spec.json (a vitjax checkpoint) nor *.safetensors")
    if len(preferred) > 1 or any(path.glob("*.safetensors.index.json")):
        raise Error(f"{path} holds several weight files: {', '.join(f.name for f in found)}. Give one of them")
    weights = read(preferred[0])
    config = path / "config.json"
    return Bundle(weights.path, weights.tensors, read_json(config) if config.exists() else None)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; a key given twice is an error, because readers disagree which of the two counts."""
    if path.stat().st_size > JSON_LIMIT:
        raise Error(f"{path} is larger than {JSON_LIMIT >> 20} MB: not a configuration")
    try:
        data = json.loads(path.read_bytes(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Error(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise Error(f"{path} must hold a JSON object, not {type(data).__name__}")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError(f"a key is given twice among {[key for key, _ in pairs][:20]}")
    return out


def _not_weights(start: bytes) -> str:
    """What a file is when it is not safetensors, by its first bytes; "" when it may be."""
    text = start.lstrip().lower()
    if not start:
        return "is empty: download it again"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights: run `git lfs pull` where it came from"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not weights: the download failed; download it again"
    if start.startswith((b"PK\x03\x04", b"\x80\x02")):
        return "is a PyTorch (or zip) file: save it with safetensors.torch.save_file first; vitjax does not run pickles"
    if text.startswith((b"{", b"[")):
        return "is JSON, not weights: give the .safetensors file, or the folder"
    if len(start) < 9 or start[8:9] != b"{":
        return "is not a safetensors file: it does not begin as one"
    return ""


def _read_safetensors(path: Path) -> dict[str, Stored]:
    """Header to lazy tensors. The format's own reader checks the layout first; names, ranks and duplicates are checked here."""
    try:
        with safe_open(path, "numpy"):
            pass  # no holes, no overlaps, no lies about lengths
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length), object_pairs_hook=_unique)
    except (SafetensorError, ValueError, RecursionError) as error:
        raise Error(f"{path} is not a whole safetensors file: {error}. Download it again") from error
    header.pop("__metadata__", None)
    if len(header) > TENSOR_LIMIT:
        raise Error(f"{path} holds {len(header)} tensors, more than {TENSOR_LIMIT}")
    tensors = {}
    for name, entry in header.items():
        if not name or len(name) > NAME_LIMIT or not name.isprintable() or ".." in name or name.startswith("/"):
            raise Error(f"{path}: refused tensor name {name[:80]!r}")
        if len(entry["shape"]) > RANK_LIMIT:
            raise Error(f"{path}: {name} has {len(entry['shape'])} dimensions, more than {RANK_LIMIT}")
        if entry["dtype"] not in DTYPES:
            raise Error(f"{path}: {name} is of type {entry['dtype']}, which has no meaning here without its scales")
        tensors[name] = Stored(path, 8 + length + entry["data_offsets"][0], DTYPES[entry["dtype"]], tuple(entry["shape"]))
    return tensors


def write_safetensors(
    path: Path,
    shapes: Mapping[str, tuple[Shape, np.dtype]],
    tensors: Iterable[tuple[str, np.ndarray]],
    metadata: Mapping[str, str] = {"format": "pt"},
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
    with whole(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for (name, array), (wanted, (shape, dtype)) in zip(tensors, shapes.items(), strict=True):
            assert (name, array.shape, array.dtype) == (wanted, shape, dtype), f"{name} is not what the header says"
            file.write(array.tobytes())


def write_json(path: Path, data: dict[str, Any]) -> None:
    with whole(path) as file:
        file.write(json.dumps(data, indent=2, ensure_ascii=False).encode() + b"\n")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when all is written, and leaves no trace when not."""
    draft, fresh = path.with_name(f".{path.name}.{os.getpid()}.draft"), not path.parent.exists()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            yield file
        draft.replace(path)
        fresh = False
    except OSError as error:
        raise Error(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
        if fresh:
            with contextlib.suppress(OSError):  # it may never have come to be
                path.parent.rmdir()
