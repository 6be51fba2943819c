"""Arrays in Orbax's part of a checkpoint folder, as TensorStore reads them into the system's memory. Knows no JAX.

By TensorStore alone: what Orbax imports takes longer than reading a ViT-B. Orbax writes them (orbax.py), arrays.py gives them to
devices.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorstore as ts
from etils import epath

from .manifest import Entry

WORKERS = min(4, os.cpu_count() or 1)  # each has a leaf in hand
# A file is not forced to disk before the next is begun, which would take three times as long. A kill does not undo what was
# written; what a power failure undoes, the manifest's hashes notice.
CONTEXT = {"file_io_sync": False, "cache_pool#ocdbt": {"total_bytes_limit": 10**8}}
# A context reads by one thread: a second would be in the way of other workers, and of imports (`reading_ahead`)
READING = CONTEXT | {"data_copy_concurrency": {"limit": 1}, "file_io_concurrency": {"limit": 1}}

_ahead = dict[tuple[str, bool], Future[dict[str, "Stored"]]]()  # by folder, and whether it is hashed


class Stored:
    """A leaf in a folder."""

    def __init__(self, folder: epath.PathLike, path: str, context: ts.Context | None = None) -> None:
        spec = place(absolute(folder), path.replace("/", "."))
        store = ts.open(spec, context=context or ts.Context(READING), read=True).result()
        self.path, self.shape, self.dtype = path, tuple(store.shape), store.dtype.name
        self.store = store if self.shape else store[ts.newaxis]
        self.step = (self.store.chunk_layout.read_chunk.shape or (0,))[0] or 1  # rows of a chunk
        self.begun: Future[tuple[np.ndarray, str]] | None = None  # being read already

    def starts(self) -> range:
        """Where the chunks begin."""
        return range(0, self.store.shape[0], self.step)

    def block(self, start: int) -> np.ndarray:
        """The rows of the chunk that begins at `start`."""
        return self.store[start : min(start + self.step, self.store.shape[0])].read().result()

    def whole(self, hashing: bool) -> tuple[np.ndarray, str]:
        """All of it, shaped as `store`, in memory that JAX takes over without a copy, and its hash ("" unless `hashing`)."""
        begun, self.begun = self.begun, None  # whose result is whoever asks for it's alone
        return self.read(hashing) if begun is None or begun.cancel() else begun.result()

    def skip(self) -> None:
        """Nobody asks for it: what is begun of it is let go."""
        if self.begun is not None:
            self.begun.cancel()
            self.begun = None

    def read(self, hashing: bool) -> tuple[np.ndarray, str]:
        """As `whole` does, here and now."""
        array = empty(self.store.shape, self.store.dtype.numpy_dtype)
        ts.array(array).write(self.store).result()  # in place
        return array, hashlib.sha256(raw(array)).hexdigest() if hashing else ""

    def entry(self, sha256: str | None = None) -> Entry:
        """What a manifest says of it; without a hash that is known, all of it is read for one."""
        if sha256 is None:
            digest = hashlib.sha256()
            for start in self.starts():
                digest.update(raw(self.block(start)))
            sha256 = digest.hexdigest()
        return Entry(self.shape, self.dtype, sha256)


def opened(folder: epath.PathLike, verify: bool = False) -> dict[str, Stored]:
    """The leaves in a folder by path; no array is read. Those that are being read ahead, for whoever first asks for them."""
    begun = _ahead.pop((str(absolute(folder)), verify), None)
    if begun is not None and begun.exception() is None and begun.result():  # nothing there may mean: not downloaded yet
        return begun.result()
    return _opened(absolute(folder))


def _opened(folder: epath.Path) -> dict[str, Stored]:
    # The leaves of a context share what is read of the folder's tables: there is one for each worker
    contexts = [ts.Context(READING) for _ in range(WORKERS)]
    values = ts.KvStore.open(_values(folder), context=contexts[0]).result()
    keys = (key.decode().rpartition("/") for key in values.list().result())
    names = sorted(name.replace(".", "/") for name, _, what in keys if what == ".zarray")
    return {name: Stored(folder, name, contexts[number % WORKERS]) for number, name in enumerate(names)}


@contextlib.contextmanager
def reading_ahead(folder: epath.PathLike, verify: bool) -> Iterator[None]:
    """Read a folder, and hash it to `verify`, beside what is done in here: importing JAX takes about as long.

    A program that is about to load one model does so; the library by itself reads nothing that it was not asked for. Of no
    folder, or a damaged one, nothing is read: whoever loads it says what is wrong.
    """
    pool = ThreadPoolExecutor(max(1, WORKERS - 1), "vitjax-ahead")  # one core imports

    def begin() -> dict[str, Stored]:
        found = _opened(absolute(folder))
        for leaf in found.values():
            leaf.begun = pool.submit(leaf.read, verify)
        return found

    _ahead[str(absolute(folder)), verify] = pool.submit(begin)
    try:
        yield
    finally:
        _ahead.clear()
        pool.shutdown(wait=False, cancel_futures=True)


def empty(shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
    """Memory that JAX takes over without a copy: it wants 64 bytes' alignment."""
    size = math.prod(shape) * dtype.itemsize
    room = np.empty(size + 64, np.uint8)
    skip = -room.ctypes.data % 64
    return room[skip : skip + size].view(dtype).reshape(shape)


def raw(block: np.ndarray) -> memoryview:
    """The bytes of an array, row after row: hashlib does not know bfloat16."""
    return np.ascontiguousarray(block).reshape(-1).view(np.uint8).data


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
