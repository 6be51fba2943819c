"""What the symbols of a PyTorch file stand for: containers, tensors as views of storages, and what is no data.

Calling a symbol is one of the cases of `call`; nothing else is ever called. `plain` makes of the result what users know.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitjax.config import Error

from .stored import RANK_LIMIT, Record, Shape, Stored, extent
from .torch_names import DTYPES, INERT, LISTS, REBUILD, STORAGES, Foreign, Symbol

NODE_LIMIT = 1_000_000  # values that one file may describe, repetitions counted: 100,000 tensors are a tenth of it
DEPTH_LIMIT = 100  # of containers in one another
BYTES_LIMIT = 64 * 2**30  # of one tensor
EXPANSION_LIMIT = 4  # how many times each stored number may be repeated,
FREE_SIZE = 2**20  # in a tensor of more than these bytes
ONLY_NUMBERS = "only real, plain numbers are read, and fp8 says nothing without its scales. Save it as another type"


@dataclass(frozen=True)
class Opaque:
    """Something in a file that is no data: known by the name of what made it, and by nothing else."""

    name: str


class Ordered(dict):
    """A dict that may be given attributes: torch hangs versions on a state_dict as its `_metadata`."""

    built = False


class Inert:
    """What calling a name that is no data would have made."""

    def __init__(self, name: str):
        self.name, self.built = name, False


class Module(Inert):
    """A module of a TorchScript archive: its attributes."""

    attributes: object = ()


@dataclass(frozen=True)
class Storage:
    """A run of numbers, by the key of where they are stored."""

    key: str
    kind: str  # of STORAGES
    size: int  # in elements
    first: int = 0  # in elements: where it begins, when it is itself a part of what is stored

    @property
    def name(self) -> str:
        return f"torch.{self.kind}Storage"


@dataclass(frozen=True)
class View:
    """A tensor: how a storage's numbers are counted."""

    storage: Storage
    first: int  # in elements, of the storage's key
    dtype: np.dtype
    shape: Shape
    strides: Shape | None
    negated: bool

    def at(self, path: Path, offset: int, order: str = "little", record: Record | None = None) -> Stored:
        """The tensor in a file, where its storage begins at a byte."""
        offset += self.first * self.dtype.itemsize
        return Stored(path, offset, self.dtype, self.shape, self.strides, order, self.negated, record)


def kind(value: object) -> str:
    """What a value is, in the words of a refusal."""
    words = {View: "a tensor", Symbol: "a class", Inert: "an object", Ordered: "an OrderedDict", int: "an int"}
    return words.get(type(value), f"a {type(value).__name__.lower()}")


def call(target: object, args: object) -> object:
    """What calling a symbol stands for. The names and their arguments are torch's own: torch/_utils.py, torch/_tensor.py."""
    if type(target) is not Symbol or type(args) is not tuple:
        raise ValueError(f"it calls {kind(target)}")
    if target.name in INERT:
        return Inert(target.name)
    match target.name, args:
        case "collections.OrderedDict", ():
            return Ordered()
        case "torch._utils._rebuild_tensor_v2", (storage, first, shape, strides, _, _):
            return _view(storage, first, shape, strides)
        case "torch._utils._rebuild_tensor_v2", (storage, first, shape, strides, _, _, metadata):
            return _view(storage, first, shape, strides, metadata=metadata)
        case "torch._utils._rebuild_tensor_v3", (storage, first, shape, strides, _, _, Symbol(dtype)):
            return _view(storage, first, shape, strides, dtype)
        case "torch._utils._rebuild_tensor_v3", (storage, first, shape, strides, _, _, Symbol(dtype), metadata):
            return _view(storage, first, shape, strides, dtype, metadata)
        case "torch._utils._rebuild_tensor", (storage, first, shape, strides):
            return _view(storage, first, shape, strides)
        case "torch._utils._rebuild_parameter", (View() as data, _, _):
            return data
        case "torch._utils._rebuild_parameter_with_state", (View() as data, _, _, _):
            return data
        case "torch._tensor._rebuild_from_type_v2", (Symbol(again), Symbol(), inner, _) if again in REBUILD:
            return call(Symbol(again), inner)
        case "torch.Size", (tuple() as sizes,):
            return sizes
        case "builtins.dict" | "__builtin__.dict", ():
            return {}
        case "collections.defaultdict", () | (Symbol(),):
            return {}
        case "collections.Counter", (dict() as counts,):
            return counts
        case "builtins.set" | "__builtin__.set", (list() as items,):
            return items  # as EMPTY_SET: a list needs no hashes, and nobody asks
        case name, (list() as items,) if name in LISTS:
            return items
        case "torch.jit._pickle.restore_type_tag", (value, str()):
            return value
        case name, () if name.startswith("__torch__."):
            return Module(name)
    raise ValueError(f"it calls {target.name!r} with other arguments than torch does")


def build(target: object, state: object) -> None:
    """What giving an object its state stands for."""
    if not isinstance(target, Ordered | Inert):
        raise ValueError(f"it gives {kind(target)} attributes")
    if target.built:
        raise ValueError(f"it gives {kind(target)} attributes twice")
    if isinstance(target, Ordered | Module) and not isinstance(state, dict):
        raise Foreign(f"it gives {kind(target)} {kind(state)} for attributes, and only a dict is read")
    if isinstance(target, Module):
        target.attributes = state  # not copied: a file can give one state to a million modules
    target.built = True


def storage(pid: object, known: dict[str, Storage]) -> Storage:
    """The storage that a persistent id describes; each key has one kind and one size in all the file."""
    match pid:
        case ("storage", Symbol(name), str() as key, str(), size):
            part = None
        case ("storage", Symbol(name), str() as key, str(), size, part):  # the legacy stream
            pass
        case _:
            raise ValueError("it refers to something outside the pickle that is no storage")
    numbers = name.removesuffix("Storage").rpartition(".")[2]
    if not name.endswith("Storage") or numbers not in STORAGES:
        raise Foreign(f"it stores a tensor in a {name}: {ONLY_NUMBERS}")
    found = Storage(key, numbers, _whole(size, "the size of a storage"))
    first = known.setdefault(key, found)
    if first != found and (first.size or found.size):  # torch itself gives empty ones one key
        raise ValueError(f"it describes storage {key[:80]!r} in two ways")
    match part:
        case None:
            return found
        case (_, start, length) if _whole(start, "an offset") + _whole(length, "a size") <= found.size and numbers != "Untyped":
            return Storage(key, numbers, length, start)
    raise ValueError(f"it describes a part that storage {key[:80]!r} does not have")


def _view(storage: object, first: object, shape: object, strides: object, dtype: str = "", metadata: object = None) -> View:
    """A tensor that lies within its storage."""
    if type(storage) is not Storage:
        raise ValueError(f"it makes a tensor of {kind(storage)}")
    if (storage.kind == "Untyped") != bool(dtype) or (dtype and dtype not in DTYPES):
        raise Foreign(f"it makes a tensor of {dtype or 'no dtype'} in a {storage.name}: {ONLY_NUMBERS}")
    number = DTYPES[dtype] if dtype else STORAGES[storage.kind]
    room = storage.size // number.itemsize if dtype else storage.size
    shape, strides, first = _sizes(shape, "a shape"), _sizes(strides, "strides"), _whole(first, "an offset")
    if len(shape) != len(strides):
        raise ValueError(f"it makes a tensor of {len(shape)} axes with {len(strides)} strides")
    size, reach = math.prod(filter(None, shape)) * number.itemsize, extent(shape, strides)  # an empty tensor's shape counts too
    if size > BYTES_LIMIT:
        raise ValueError(f"it makes a tensor of {size} bytes, more than {BYTES_LIMIT}")
    if first + reach > room:
        raise ValueError(f"it makes a tensor that ends at number {first + reach} of a storage of {room}")
    if reach and size > max(FREE_SIZE, EXPANSION_LIMIT * reach * number.itemsize):
        raise Foreign(f"it makes a tensor of {size} bytes by repeating {reach} numbers: save tensor.contiguous()")
    rows_first = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    usual = not reach or all(n == 1 or step == own for n, step, own in zip(shape, strides, rows_first, strict=True))
    return View(storage, storage.first + first, number, shape, None if usual else strides, _negated(metadata, number))


def _negated(metadata: object, dtype: np.dtype) -> bool:
    """Whether a tensor's sign is noted beside it (torch/_utils.py, get_tensor_metadata)."""
    match metadata:
        case None:
            return False
        case dict() if not metadata:
            return False
        case {"neg": True, **others} if not others and dtype.kind != "b":
            return True
    raise ValueError("it says something of a tensor that cannot be read: of real numbers, that their sign is turned")


def _sizes(value: object, what: str) -> Shape:
    if type(value) is not tuple or len(value) > RANK_LIMIT:
        raise ValueError(f"{what} must be a tuple of up to {RANK_LIMIT} numbers")
    return tuple(_whole(number, what) for number in value)


def _whole(value: object, what: str) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{what} must be of whole numbers from 0 to 2**63")
    return value


def plain(value: object, place: Callable[[View], Stored], path: Path) -> Any:
    """An object as dicts, lists, tuples, numbers, text, `Stored` and `Opaque`: a tree, however it was knotted."""
    left = iter(range(NODE_LIMIT))

    def copy(value: object, depth: int) -> Any:
        if next(left, None) is None:
            raise Error(
                f"{path} describes more than {NODE_LIMIT} values, repetitions counted, which torch.save does not: save it again"
            )
        if depth > DEPTH_LIMIT:
            raise Error(
                f"{path} holds containers nested deeper than {DEPTH_LIMIT}, or in themselves: save the network's state_dict alone"
            )
        match value:
            case View():
                return place(value)
            case Module():
                return copy(value.attributes, depth)
            case dict():
                return {key: copy(item, depth + 1) for key, item in value.items()}
            case list():
                return [copy(item, depth + 1) for item in value]
            case tuple():
                return tuple([copy(item, depth + 1) for item in value])
            case Symbol() | Inert() | Storage():
                return Opaque(value.name)
        return value

    return copy(value, 0)
