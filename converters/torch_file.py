"""PyTorch files (.pt .pth .bin .ckpt, TorchScript) without torch and without pickle: what is in them is read, nothing runs.

The pickle in such a file is a list of instructions. torch_pickle.py follows those that describe data; torch_names.py holds
all the names that a file may mention, torch_values.py what they stand for. Tensors stay in the file until they are used.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.config import Error

from . import torch_legacy
from .stored import Record, Stored
from .torch_names import STORAGES, symbol
from .torch_pickle import PICKLE_LIMIT, unpickle
from .torch_values import Storage, View, plain, storage
from .zip_file import members


def is_torch(start: bytes) -> bool:
    """Whether a file is torch's, or some pickle, by its first bytes. (A .npz begins as a zip file too.)"""
    return start.startswith(b"PK\3\4") or _is_pickle(start) or _is_tar(start)


def _is_pickle(start: bytes) -> bool:
    return start[:1] == b"\x80" and start[1:2] in (b"\2", b"\3", b"\4", b"\5") and start[8:9] != b"{"  # else safetensors


def _is_tar(start: bytes) -> bool:
    return start[257:262] == b"ustar"


def read(path: Path) -> Any:
    """What was saved, as plain values: dicts, lists, numbers, text; `Stored` for tensors, `Opaque` for what is no data.

    Of a TorchScript archive: its tensors in one flat dict, under the names of its state_dict.
    """
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PK\3\4"):
        return _read_zip(Archive(path))
    if _is_tar(start):
        raise Error(f"{path} was saved by PyTorch before 0.1.10 (2017), or is a tar file: save it again with a PyTorch since")
    if not _is_pickle(start):
        raise Error(f"{path} is not a PyTorch file: it does not begin as one. Check the path, or download it again")
    return torch_legacy.read(path)


class Archive:
    """The zip file that torch >= 1.6 writes: all under one root, its name, and the tensors' bytes as they are."""

    def __init__(self, path: Path):
        self.path, self.members = path, members(path)
        roots = [name.removesuffix("/data.pkl") for name in self.members if re.fullmatch("[^/]+/data.pkl", name)]
        if len(roots) != 1:
            some = ", ".join(roots or list(self.members)[:3]) or "nothing"
            raise Error(
                f"{path} holds {len(roots)} saved objects (X/data.pkl), not one, among {some}: torch.save did not "
                "write it. Save it again"
            )
        self.root = roots[0]
        if strays := [name for name in self.members if not name.startswith(f"{self.root}/")]:
            raise Error(f"{path} holds {strays[0]!r} beside {self.root}/: two archives in one. Save it again with torch.save")

    @property
    def script(self) -> bool:
        """Whether this is a TorchScript archive, by torch's own sign."""
        return f"{self.root}/constants.pkl" in self.members

    def find(self, name: str) -> Record | None:
        """A member of the saved object, by its name under the root. TorchScript's code may be deflated; nothing inflates it."""
        member = self.members.get(name := f"{self.root}/{name}")
        if member and member.deflated:
            raise Error(f"{self.path}: {name!r} is deflated: save it again with torch.save, which does not")
        return member and member.record


def _read_zip(archive: Archive) -> Any:
    path, root, known = archive.path, archive.root, dict[str, Storage]()
    order = _content(archive, "byteorder").decode(errors="replace") or "little"  # not said before torch 2.1
    if order not in ("little", "big"):
        raise Error(
            f"{path}: {root}/byteorder is {order[:20]!r}, neither little nor big: torch.save did not write that, "
            "get the file again"
        )

    def record(key: str) -> Record:
        if (found := archive.find(f"data/{key}")) is None:
            raise ValueError(f"it needs {f'{root}/data/{key}'[:200]!r}, which is not in the file")
        return found

    def refer(pid: object) -> Storage:
        found = storage(pid, known)
        size = found.size * STORAGES[found.kind].itemsize
        if record(found.key).size != size:
            raise ValueError(f"it claims {size} bytes in {root}/data/{found.key}, which has {record(found.key).size}")
        return found

    def place(view: View) -> Stored:
        inside = record(view.storage.key)
        return view.at(path, inside.offset, order, inside)

    data = io.BytesIO(_content(archive, "data.pkl"))
    names = partial(symbol, script=archive.script, file=path.name)
    found = unpickle(data, data.getbuffer().nbytes, f"{path}: {root}/data.pkl", names, refer)
    if data.read(1):
        raise Error(f"{path}: {root}/data.pkl goes on behind its end, at byte {data.tell() - 1}: torch.save did not write that")
    tree = plain(found, place, path)
    return _state(path, tree) if archive.script else tree


def _content(archive: Archive, name: str) -> bytes:
    """A small member's bytes, checked; none of one that is not there."""
    record = archive.find(name)
    if record is None:
        return b""
    if record.size > PICKLE_LIMIT:
        raise Error(
            f"{archive.path}: {record.name} has {record.size} bytes, more than {PICKLE_LIMIT}: save the network's "
            "state_dict alone"
        )
    return np.asarray(Stored(archive.path, record.offset, np.dtype("u1"), (record.size,), record=record)).tobytes()


def _state(path: Path, tree: object) -> dict[str, Stored]:
    """The tensors of a TorchScript archive by their attributes' names, one in another: the keys of its state_dict."""
    found = list(_tensors(tree, ""))
    state = dict(found)
    if len(state) < len(found):
        raise Error(f"{path} has two tensors of one name among its modules")
    return state


def _tensors(tree: object, name: str) -> Iterator[tuple[str, Stored]]:
    match tree:
        case Stored():
            yield name, tree
        case dict():
            for key, value in tree.items():
                yield from _tensors(value, f"{name}.{key}" if name else str(key))
        case list() | tuple():
            for index, value in enumerate(tree):
                yield from _tensors(value, f"{name}.{index}" if name else str(index))
