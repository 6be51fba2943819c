"""Files and folders of weights as lazy flat dicts of arrays, and back. Nothing in a file is ever executed."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from vitjax.config import Error

from . import npz_file, safetensors_file, torch_file
from .json_file import read_json
from .stored import NAME_LIMIT, RANK_LIMIT, TENSOR_LIMIT, Flat, Shape, Stored, Tensor
from .wrappers import TOP, Several, beginning, opened, stripped

__all__ = [  # Several and read_json are of rooms below: who reads files finds them here
    "Bundle", "Several", "check", "read", "read_json", "sha256", "whole", "write_json", "write_safetensors",
]  # fmt: skip

SIZE_LIMIT = 64 * 2**30  # bytes of one tensor
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz")
PREFERRED = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
    "open_clip_model.safetensors", "open_clip_pytorch_model.bin",
)  # fmt: skip
INDEX = ".index.json"
OPEN_CLIP_CONFIG = "open_clip_config.json"
SETTINGS = {  # of a Bundle
    "config": "config.json", "preprocessor": "preprocessor_config.json", "processor": "processor_config.json",
    "tokenizer": "tokenizer_config.json", "open_clip": OPEN_CLIP_CONFIG,
}  # fmt: skip
TREES = ("", "params/", "opt/target/")  # where big_vision's trees of parameters begin

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bundle:
    """What one download holds: tensors, what its publisher says of them, and the files they came from."""

    path: Path  # the file, or the index of its shards
    tensors: Flat
    config: dict[str, Any] | None = None  # config.json beside it
    preprocessor: dict[str, Any] | None = None  # preprocessor_config.json beside it
    processor: dict[str, Any] | None = None  # processor_config.json beside it
    tokenizer: dict[str, Any] | None = None  # tokenizer_config.json beside it
    open_clip: dict[str, Any] | None = None  # open_clip_config.json beside it
    meta: Mapping[str, Any] = field(default_factory=dict)  # what the file itself says beside its tensors, as plain values
    key: str = ""  # where in the file the tensors were: "model_ema"
    format: str = ""  # of the container
    shards: tuple[Path, ...] = ()  # where `path` is only their index

    @functools.cached_property
    def sha256(self) -> str:
        """Of the file; of several, the hash over their hexadecimal hashes in the order of their names."""
        hashes = [sha256(file) for file in self.shards or (self.path,)]
        return hashlib.sha256("".join(hashes).encode()).hexdigest() if self.shards else hashes[0]


def sha256(path: Path) -> str:
    """The hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(src: str | os.PathLike, key: str | None = None) -> Bundle:
    """The weights at a path: a file of any known format, an index of shards, or a folder that holds one of these.

    key: where in the file, if it holds several sets of weights: "model_ema", "model.state_dict", "teacher.backbone".
    """
    path = Path(src)
    if path.is_symlink() and not path.exists():
        raise Error(f"{path} is a link to {path.readlink()}, which does not exist: give a file that is here")
    if not path.exists():
        raise Error(f"{path} does not exist: check the path, or see `vitjax list` for the names of published weights")
    if not path.is_dir():
        return _read_file(path, key)
    beside = {field: read_json(path / name) for field, name in SETTINGS.items() if (path / name).exists()}
    return replace(_read_file(_weights(path), key), **beside)


def _weights(folder: Path) -> Path:
    """The file of weights in a folder: under the name that the hub uses, or else the only one."""
    for name in PREFERRED:
        if (folder / name).exists():
            return folder / name
    found = sorted(folder.glob(f"*{INDEX}")) or sorted(f for f in folder.iterdir() if f.suffix in SUFFIXES and f.is_file())
    if not found:
        raise Error(
            f"{folder} has no model in it: neither spec.json (a vitjax checkpoint) nor a file of weights "
            f"({', '.join(SUFFIXES)}); give a folder that holds one"
        )
    if len(found) > 1:
        raise Error(f"{folder} holds several weight files: {', '.join(file.name for file in found)}. Give one of them")
    return found[0]


def _read_file(path: Path, key: str | None) -> Bundle:
    """The weights in one file, or in the shards of one index."""
    start = _start(path)
    is_json = start.lstrip()[:1] == b"{" and b"\0" not in start  # the length before a safetensors header may begin so, too
    bundle = _read_index(path) if is_json else _read_one(path, start, key)
    tensors = bundle.tensors
    if key not in (None, *TOP) and not bundle.key:  # names instead of nested dicts
        tensors, bundle = _beginning(bundle, str(key)), replace(bundle, key=str(key))
    tensors = stripped(path, tensors)
    _check_limits(path, tensors)
    return replace(bundle, tensors=tensors)


def _start(path: Path) -> bytes:
    if not path.is_file():  # a pipe would wait for ever, a device would not end
        raise Error(f"{path} is not a regular file: give one that is")
    with path.open("rb") as file:
        return file.read(512)


def _read_one(path: Path, start: bytes, key: str | None = None) -> Bundle:
    """The tensors of one file, by what its first bytes say it is; its name says nothing."""
    if safetensors_file.is_safetensors(start):
        tensors, meta = safetensors_file.read(path)
        return Bundle(path, tensors, meta=meta, format="safetensors")
    if npz_file.is_npz(start):
        return Bundle(path, npz_file.read(path), format="npz")
    if torch_file.is_torch(start):
        found = opened(path, torch_file.read(path), key)
        if found.key:
            others = f"; also there: {', '.join(found.others)}" if found.others else ""
            log.info("reading %s of %s%s", found.key, path, others)
        return Bundle(path, found.tensors, meta=found.meta, key=found.key, format=_torch_format(path, start))
    raise Error(f"{path} {_instead(start)}")


def _torch_format(path: Path, start: bytes) -> str:
    if not start.startswith(b"PK"):
        return "PyTorch stream"  # before 1.6, or on request
    return "TorchScript" if torch_file.Archive(path).script else "PyTorch zip"


def _read_index(path: Path) -> Bundle:
    """The tensors of all shards, each in the shard that the index says, and in no other."""
    where = read_json(path).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise Error(f"{path} is JSON, not weights: give the file of weights, the index of its shards, or the folder")
    for name, file in where.items():
        if not isinstance(file, str) or not file.isprintable() or file in ("", ".", "..") or set(file) & set("/\\:"):
            raise Error(f"{path}: the shard of {name[:80]!r} must be a file beside it, not {str(file)[:80]!r}")
    tensors: dict[str, Tensor] = {}
    bundles = []
    for file in sorted(set(where.values())):
        shard = path.parent / file
        if not shard.exists():
            raise Error(f"{path} names {file}, which is not beside it: download it, too")
        bundles.append(_read_one(shard, _start(shard)))
        for name, tensor in bundles[-1].tensors.items():
            if where.get(name) != file:
                raise Error(
                    f"{shard} holds {name[:80]!r}, which {path.name} says is in {where.get(name, 'no shard')}: "
                    "download both again"
                )
            tensors[name] = tensor
    if missing := [name for name in where if name not in tensors]:
        raise Error(
            f"{path.parent / where[missing[0]]} does not hold {missing[0]!r}, as {path.name} says ({len(missing)} "
            "missing): download both again"
        )
    shards = tuple(bundle.path for bundle in bundles)
    return Bundle(path, tensors, meta=bundles[0].meta, format=f"sharded {bundles[0].format}", shards=shards)


def _beginning(bundle: Bundle, key: str) -> dict[str, Any]:
    """The part of a flat file at `key`: in the trees of big_vision, whose names have slashes, "img" may be "params/img", too."""
    if not any("/" in name for name in bundle.tensors):
        return beginning(bundle.path, bundle.tensors, key, ".")
    key = key.strip("/")
    tree = next((tree for tree in TREES if any(name.startswith(f"{tree}{key}/") for name in bundle.tensors)), "")
    return beginning(bundle.path, bundle.tensors, tree + key, "/")


def _check_limits(path: Path, tensors: Flat) -> None:
    """Refuse what no network has, whatever the format."""
    if not 0 < len(tensors) <= TENSOR_LIMIT:
        raise Error(
            f"{path} holds {len(tensors)} tensors; between 1 and {TENSOR_LIMIT} are read: save the network's own tensors alone"
        )
    for name, tensor in tensors.items():
        where, shape = f"{path}: {name[:80]!r}", tensor.shape
        if not name or len(name) > NAME_LIMIT or not name.isprintable() or ".." in name or name.startswith("/"):
            raise Error(f"{where} is refused as the name of a tensor")
        if len(shape) > RANK_LIMIT:
            raise Error(f"{where} has {len(shape)} dimensions, more than {RANK_LIMIT}: get the file again from its publisher")
        if math.prod(filter(None, shape)) * tensor.dtype.itemsize > SIZE_LIMIT:  # a zero must not hide the other sizes
            raise Error(f"{where} claims the shape {list(shape)}, which cannot be: get the file again from its publisher")


def check(bundle: Bundle) -> None:
    """Raise Error where the bytes of a tensor are not those that its format's checksum was made of."""
    for tensor in bundle.tensors.values():
        if isinstance(tensor, Stored):
            tensor.check()


INSTEAD = {  # first bytes -> what begins so
    b"version https://git-lfs": "a Git LFS pointer, not the weights: run `git lfs pull` where it came from",
    b"PK\5\6": "an empty zip archive: download it again",
    b"\x93NUMPY": "a single array (.npy), not a set of named ones: save it with numpy.savez",
    b"\x1f\x8b": "compressed with gzip: unpack it first",
    b"\x89HDF": "HDF5 (Keras), which vitjax does not read: save its arrays with numpy.savez",
    b"GGUF": "GGUF, which vitjax does not read: give the file that it was made from",
}
PAGE = (b"<!doctype", b"<html", b"<?xml")


def _instead(start: bytes) -> str:
    """What a file is that is no file of weights, by its first bytes."""
    if not start:
        return "is empty: download it again"
    if start.lstrip().lower().startswith(PAGE):
        return "is a web page, not weights: the download failed; download it again"
    for magic, what in INSTEAD.items():
        if start.startswith(magic):
            return f"is {what}"
    return f"is no file of weights that vitjax knows (safetensors, PyTorch, .npz): it begins with {start[:8].hex(' ')}"


def write_safetensors(
    path: Path,
    shapes: Mapping[str, tuple[Shape, np.dtype]],
    tensors: Iterable[tuple[str, np.ndarray]],
    metadata: Mapping[str, str] = {"format": "pt"},
) -> None:
    """Write tensors one at a time, in the order of `shapes`: see `safetensors_file.write`."""
    with whole(path) as file:
        safetensors_file.write(file, shapes, tensors, metadata)


def write_npz(path: Path, tensors: Iterable[tuple[str, np.ndarray]]) -> None:
    with whole(path) as file:
        npz_file.write(file, tensors)


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
