"""Arrays out of a checkpoint folder onto devices, hashed as they pass, into the devices' own buffers, which on a CPU they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from .leaves import Stored, empty, raw
from .manifest import Entry

Box = tuple[tuple[int, int], ...]  # (start, stop) on every axis


def several(params: Mapping[str, Any]) -> bool:
    """Whether parameters are spread over several processes."""
    return any(isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in jax.tree.leaves(dict(params)))


def read(stored: Stored, sharding: jax.sharding.Sharding, dtype: str | None, hashing: bool) -> tuple[jax.Array, Entry]:
    """A leaf in `dtype` (None: as stored) on its devices, and what it is on disk (without a hash, unless `hashing`)."""
    kind, size = jax.numpy.dtype(dtype or stored.dtype), stored.store.shape
    devices = dict[Box, list[Any]]()
    for device, index in sharding.addressable_devices_indices_map(stored.shape).items():
        bounds = zip(index or (slice(None),), size, strict=True)
        devices.setdefault(tuple(part.indices(length)[:2] for part, length in bounds), []).append(device)
    if stored.begun or (kind.name == stored.dtype and [*devices] == [tuple((0, length) for length in size)]):
        array, digest = stored.whole(hashing)
        parts = {box: _cut(array, box, kind) for box in devices}
    else:
        parts, digest = _in_blocks(stored, list(devices), kind, hashing)
    shape = sharding.shard_shape(stored.shape)
    arrays = [jax.device_put(part.reshape(shape), device) for box, part in parts.items() for device in devices[box]]
    return jax.make_array_from_single_device_arrays(stored.shape, sharding, arrays), stored.entry(digest)


def _cut(array: np.ndarray, box: Box, kind: np.dtype) -> np.ndarray:
    """A part of an array in another dtype; the array itself where it is all of it, as it is."""
    rows = array[tuple(slice(*bounds) for bounds in box)]
    if rows.shape == array.shape and kind == array.dtype:
        return array
    part = empty(rows.shape, kind)
    with np.errstate(over="ignore"):
        part[...] = rows
    return part


def _in_blocks(stored: Stored, boxes: list[Box], kind: np.dtype, hashing: bool) -> tuple[dict[Box, np.ndarray], str]:
    """Parts of a leaf, some rows at a time, so that no more of it is in memory. Only hashing reads what no device here needs."""
    digest = hashlib.sha256()
    parts = {box: empty([stop - start for start, stop in box], kind) for box in boxes}
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
    return parts, digest.hexdigest() if hashing else ""
