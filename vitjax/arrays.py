"""Arrays out of Orbax's part of a checkpoint folder: some rows at a time, hashed as they pass, into the devices' own buffers.

By TensorStore alone: what Orbax imports takes longer than reading a ViT-B. Orbax writes them (orbax.py).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tensorstore as ts
from etils import epath

from .manifest import Entry

WORKERS = min(4, os.cpu_count() or 1)  # each has a leaf in hand
# A file is not forced to disk before the next is begun, which would take three times as long. A kill does not undo what was
# written; what a power failure undoes, the manifest's hashes notice.
CONTEXT = {"file_io_sync": False, "cache_pool#ocdbt": {"total_bytes_limit": 10**8}}

Box = tuple[tuple[int, int], ...]  # (start, stop) on every axis


def several(params: Mapping[str, Any]) -> bool:
    """Whether parameters are spread over several processes."""
    return any(isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in jax.tree.leaves(dict(params)))


def names(folder: epath.PathLike) -> list[str]:
    """The paths of the leaves in a folder; no array is read."""
    values = ts.KvStore.open(_values(absolute(folder)), context=ts.Context(CONTEXT)).result()
    keys = (key.decode().rpartition("/") for key in values.list().result())
    return sorted(name.replace(".", "/") for name, _, what in keys if what == ".zarray")


class Stored:
    """A leaf in a folder."""

    def __init__(self, folder: epath.PathLike, path: str) -> None:
        spec = place(absolute(folder), path.replace("/", "."))
        store = ts.open(spec, context=ts.Context(CONTEXT), read=True).result()
        self.shape, self.dtype = tuple(store.shape), store.dtype.name
        self.store = store if self.shape else store[ts.newaxis]
        self.step = (self.store.chunk_layout.read_chunk.shape or (0,))[0] or 1  # rows of a chunk

    def starts(self) -> range:
        """Where the chunks begin."""
        return range(0, self.store.shape[0], self.step)

    def block(self, start: int) -> np.ndarray:
        """The rows of the chunk that begins at `start`."""
        return self.store[start : min(start + self.step, self.store.shape[0])].read().result()

    def entry(self) -> Entry:
        digest = hashlib.sha256()
        for start in self.starts():
            digest.update(raw(self.block(start)))
        return Entry(self.shape, self.dtype, digest.hexdigest())


def read(
    folder: epath.PathLike, path: str, sharding: jax.sharding.Sharding, dtype: str | None, hashing: bool
) -> tuple[jax.Array, Entry]:
    """A leaf in `dtype` (None: as stored) on its devices, and what it is on disk (without a hash, unless `hashing`).

    Straight into the buffers that the devices get, which on a CPU are the arrays. Only hashing reads what no device here needs.
    """
    stored, digest = Stored(folder, path), hashlib.sha256()
    devices = dict[Box, list[Any]]()
    for device, index in sharding.addressable_devices_indices_map(stored.shape).items():
        bounds = zip(index or (slice(None),), stored.store.shape, strict=True)
        devices.setdefault(tuple(part.indices(size)[:2] for part, size in bounds), []).append(device)
    parts = {box: _empty([stop - start for start, stop in box], dtype or stored.dtype) for box in devices}
    for start in stored.starts():
        block = stored.block(start) if hashing else None
        if block is not None:
            digest.update(raw(block))
        for ((first, last), *rest), part in parts.items():
            a, b = max(start, first), min(start + stored.step, last)
            if a < b:
                others = tuple(slice(*bounds) for bounds in rest)
                rows = stored.store[a:b, *others].read().result() if block is None else block[a - start : b - start, *others]
                with np.errstate(over="ignore"):
                    part[a - first : b - first] = rows
    shape = sharding.shard_shape(stored.shape)
    arrays = [jax.device_put(part.reshape(shape), device) for box, part in parts.items() for device in devices[box]]
    array = jax.make_array_from_single_device_arrays(stored.shape, sharding, arrays)
    return array, Entry(stored.shape, stored.dtype, digest.hexdigest() if hashing else "")


def absolute(path: epath.PathLike) -> epath.Path:
    """What Orbax and tensorstore want; they know gs:// and its like for such."""
    path = epath.Path(path)
    return path if "://" in str(path) else path.absolute()


def place(folder: epath.Path, name: str) -> dict[str, Any]:
    """Where an array is, in TensorStore's words."""
    kvstore = _values(folder) | {"path": f"{name}/"}
    return {"driver": "zarr", "kvstore": kvstore, "recheck_cached_metadata": False, "recheck_cached_data": False}


def _values(folder: epath.Path) -> dict[str, Any]:
    """Where all that is in a folder is."""
    base = f"{folder}/" if "://" in str(folder) else {"driver": "file", "path": f"{folder}/"}
    return {"driver": "ocdbt", "base": base, "cache_pool": "cache_pool#ocdbt"}


def _empty(shape: Sequence[int], dtype: str) -> np.ndarray:
    """Memory that JAX takes over without a copy: it wants 64 bytes' alignment."""
    kind = jax.numpy.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    raw = np.empty(size + 64, np.uint8)
    skip = -raw.ctypes.data % 64
    return raw[skip : skip + size].view(kind).reshape(shape)


def raw(block: np.ndarray) -> memoryview:
    """The bytes of an array, row after row: hashlib does not know bfloat16."""
    return np.ascontiguousarray(block).reshape(-1).view(np.uint8).data
