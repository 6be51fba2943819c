"""The stream that torch wrote until 1.5, and still does when asked: five pickles, then the numbers of every storage.

magic, version, the writer's machine, the object, the keys of its storages; and for each of these how many numbers it has,
then those (torch/serialization.py, _legacy_save). torch 2.15 gives out uninitialised memory for a key that is missing.
"""

from __future__ import annotations

import os
import struct
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

from vitjax.config import Error

from .torch_names import STORAGES, Symbol, symbol
from .torch_pickle import unpickle
from .torch_values import Storage, plain, storage

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001


def read(path: Path) -> Any:
    """What was saved, as plain values."""
    with path.open("rb") as file:
        end, known = os.fstat(file.fileno()).st_size, dict[str, Storage]()

        def bare(what: str) -> object:
            return unpickle(file, end, f"{path}: {what}", _no_name, _no_storage)

        if bare("its first pickle") != MAGIC:
            raise Error(f"{path} is a pickle that torch.save did not write: save its tensors with torch.save or as safetensors")
        if bare("its version") != VERSION:
            raise Error(f"{path} is of a version of PyTorch's stream that was never in use")
        machine = bare("its writer's machine")
        # torch itself swaps on big machines, and writes little-endian numbers always; who else says otherwise is not believed
        if not isinstance(machine, dict) or machine.get("little_endian") is not True:
            raise Error(f"{path} says that it is not little-endian, which PyTorch's stream always is: download it again")
        names = partial(symbol, script=False, file=path.name)
        found = unpickle(file, end, f"{path}: its object", names, lambda pid: storage(pid, known))
        offsets = _offsets(file, end, path, bare("its keys"), known)
    return plain(found, lambda view: view.at(path, offsets[view.storage.key]), path)


def _offsets(file: IO[bytes], end: int, path: Path, keys: object, known: dict[str, Storage]) -> dict[str, int]:
    """Where each storage's numbers begin. Every storage is there once, of the size the object says, and nothing else is."""
    if not isinstance(keys, list) or any(type(key) is not str for key in keys) or sorted(keys) != sorted(known):
        raise Error(f"{path} does not hold the {len(known)} storages that its object needs, each once: download it again")
    offsets, at = {}, file.tell()
    for key in keys:
        file.seek(at)
        numbers, size = file.read(8), known[key].size
        if numbers != struct.pack("<q", size):
            raise Error(f"{path}: storage {key[:80]!r} does not begin with its size, {size}, at byte {at}: download it again")
        offsets[key], at = at + 8, at + 8 + size * STORAGES[known[key].kind].itemsize
        if at > end:
            raise Error(f"{path} is cut short in storage {key[:80]!r}: download it again")
    if at != end:
        raise Error(f"{path} goes on behind its last storage, from byte {at}: torch.save did not write that")
    return offsets


def _no_name(module: str, name: str) -> Symbol:
    raise ValueError(f"it names {symbol(module, name, False, 'FILE').name!r}, where torch.save names nothing")


def _no_storage(pid: object) -> NoReturn:
    raise ValueError("it refers to a storage, where torch.save stores none")
