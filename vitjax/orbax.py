"""Arrays into Orbax's part of a checkpoint folder: some rows at a time, hashed as they pass. leaves.py reads them.

Orbax by itself takes two to three times the largest leaf, and does not notice a flipped bit. The folder is as Orbax would
write it, and Orbax alone restores it.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from etils import epath

from .arrays import several
from .draft import letting_go
from .leaves import CONTEXT, WORKERS, Stored, absolute, place, raw
from .manifest import Entry

ROW = 2**20  # bytes from which on a row of a leaf (a layer of a stacked one) is a chunk by itself
STAGED = 2**26  # bytes that a worker gathers before it writes: fewer files, and less of OCDBT's bookkeeping


@runtime_checkable
class Stacked(Protocol):
    """A leaf that is not in memory: its rows are read one after another."""

    def rows(self) -> Iterator[np.ndarray]: ...


class Leaf:
    """A leaf on its way to disk, and its path in the tree."""

    def __init__(self, path: str, value: Any) -> None:
        self.path, self.value, self.shape, self.dtype = path, value, tuple(value.shape), np.dtype(value.dtype)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize
        rows = self.shape[0] if self.shape else 1
        self.step = max(1, min(rows, ROW * rows // max(1, self.nbytes)))  # rows of a chunk

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows, as many at a time as are a chunk. Each is valid until the next."""
        if isinstance(self.value, Stacked) and self.shape and self.step == 1:
            yield from (row[None] for row in self.value.rows())
            return
        # Not numpy.asarray of a jax.Array, which keeps its copy as long as the array lives
        value: Any = self.value.addressable_data(0) if isinstance(self.value, jax.Array) else self.value
        value = np.atleast_1d(np.asarray(value))
        yield from (value[start : start + self.step] for start in range(0, len(value), self.step))

    def create(self, info: Any, context: ts.Context, transaction: ts.Transaction) -> ts.TensorStore:
        """Its place in the folder that this process writes; Orbax joins these folders at the end."""
        chunks = (self.step, *self.shape[1:]) if self.shape else ()
        spec = place(info.parent_dir / f"ocdbt.process_{jax.process_index()}", info.name) | {
            "dtype": self.dtype.name,
            "metadata": {"shape": self.shape, "chunks": chunks, "compressor": None},
            "store_data_equal_to_fill_value": True,  # or a chunk of zeros would be a missing one, which is damage
        }
        store = ts.open(spec, create=True, context=context, transaction=transaction).result()
        return store if self.shape else store[ts.newaxis]


class _Rows(ocp.type_handlers.NumpyHandler):
    """Writes leaves some rows at a time, and hashes them."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self.stop, self.context, self.entries = stop, ts.Context(CONTEXT), dict[str, Entry]()

    async def serialize(self, values: Any, infos: Any, args: Any = None) -> Any:
        queue = iter(sorted(zip(values, infos, strict=True), key=lambda pair: -pair[0].nbytes))
        with ThreadPoolExecutor(WORKERS) as pool:
            for worker in [pool.submit(self._work, queue) for _ in range(WORKERS)]:
                worker.result()
        return []

    def _work(self, queue: Iterator[tuple[Leaf, Any]]) -> None:
        transaction, staged = ts.Transaction(), 0
        try:
            for leaf, info in queue:
                store, digest, start = leaf.create(info, self.context, transaction), hashlib.sha256(), 0
                for block in leaf.blocks():
                    if self.stop.is_set():
                        raise InterruptedError("stopped")
                    if staged + block.nbytes > STAGED:
                        transaction.commit_sync()
                        transaction, staged = ts.Transaction(), 0
                        store = store.with_transaction(transaction)
                    digest.update(raw(block))
                    stop = start + len(block)
                    store[start:stop].write(block).result()
                    start, staged = stop, staged + block.nbytes
                self.entries[leaf.path] = Entry(leaf.shape, leaf.dtype.name, digest.hexdigest())
            transaction.commit_sync()
        except BaseException:
            self.stop.set()  # nobody waits for what other workers have in hand
            raise

    def memory_size(self, values: Any) -> Any:
        return [(value.nbytes, value.nbytes) for value in values]


class _Spread(ocp.type_handlers.ArrayHandler):
    """Writes an array that is spread over several devices as Orbax does, and waits for it before it turns to the next."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self.stop = stop

    async def serialize(self, values: Any, infos: Any, args: Any = ()) -> Any:
        for value, info, arg in zip(values, infos, args, strict=True):
            if self.stop.is_set():
                raise InterruptedError("stopped")
            for written in await super().serialize([value], [info], [arg]):
                written.result()
        return []


def write(folder: epath.PathLike, params: Mapping[str, Any], stop: threading.Event) -> dict[str, Entry]:
    """Write a tree as a plain Orbax checkpoint; what it holds then. Stops, with an exception, when `stop` is set.

    Of what several processes have, each writes its own, and the first one reads and says what there is.
    """
    rows, spread = _Rows(stop), dict[str, jax.Array]()

    def wrap(keys: Any, value: Any) -> Any:
        path = "/".join(key.key for key in keys)
        if not isinstance(value, jax.Array) or len(value.sharding.device_set) == 1:
            return Leaf(path, value)
        spread[path] = value
        return value

    tree = jax.tree_util.tree_map_with_path(wrap, dict(params))
    registry = ocp.type_handlers.create_type_handler_registry((Leaf, rows), (jax.Array, _Spread(stop)))
    # Weights hardly compress (7 %), and compressing takes twice the time.
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, type_handler_registry=registry)
    mine = jax.process_index()
    # What one process has it writes without waiting for others, who may be waiting for it to be done
    alone = ocp.options.MultiprocessingOptions(primary_host=mine, active_processes={mine}, barrier_sync_key_prefix=f"{mine}")
    options: Any = {} if several(params) or jax.process_count() == 1 else {"multiprocessing_options": alone}
    with letting_go(absolute(folder)), ocp.Checkpointer(handler, **options) as checkpointer:
        checkpointer.save(absolute(folder), args=ocp.args.PyTreeSave(tree))
    if several(params) and mine:
        return {}
    entries = rows.entries | {path: Stored(folder, path).entry() for path in spread}
    return {path: entries[path] for path in sorted(entries)}
