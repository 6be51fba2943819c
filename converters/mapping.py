"""One table of rules, read in both directions: another library's tensors to our tree, and back.

A rule names one tensor of theirs, one leaf of ours (or several that share the tensor) and the axes of both, as an einops
pattern. Sizes are never written: they come from our own abstract tree, and theirs follow from the pattern.

    Rule("blocks/attn/{query,key,value}/kernel", "blocks.{i}.attn.qkv.weight", "(part head d) c -> part c head d")

`{i}` stands for every layer; our leaves stack them on a leading axis. Leaves in `{a,b,c}` are slices of one tensor along
the axis `part`. A `0` is a slice, or a whole tensor, that our network does not have: it must be zero on import and is
written as zeros on export.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from einops import rearrange

from .stored import Flat, Shape, Stored, Tensor

COLUMNS = 64  # of a transposed matrix that are copied together


class Rule(NamedTuple):
    ours: str
    theirs: str
    pattern: str  # theirs -> ours


class Slot(NamedTuple):
    """One tensor of theirs, and where in our leaves it belongs."""

    theirs: str
    shape: Shape  # of theirs
    leaves: tuple[str, ...]  # of ours; "0" where there is none
    layer: int | None  # index on the leading axis of our leaves
    pattern: str
    sizes: dict[str, int]  # of the axes that a pattern cannot tell by itself

    def __str__(self) -> str:
        layer = "" if self.layer is None else f"[{self.layer}]"
        return f"{self.theirs} {list(self.shape)} <-> " + ", ".join(f"{x}{layer}" for x in self.leaves if x != "0")


@dataclass
class Report:
    """What did not fit, in both languages. Silence means agreement to the last tensor."""

    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshaped: list[str] = field(default_factory=list)
    not_floating: list[str] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)
    not_zero: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def __str__(self) -> str:
        found = {kind.replace("_", " "): names for kind, names in vars(self).items() if names}
        return "".join(
            f"\n  {kind} ({len(names)}):" + "".join(f"\n    {name}" for name in names) for kind, names in found.items()
        )


def norm(ours: str, theirs: str) -> list[Rule]:
    return [Rule(f"{ours}/scale", f"{theirs}.weight", "c -> c"), Rule(f"{ours}/bias", f"{theirs}.bias", "c -> c")]


def dense(ours: str, theirs: str, bias: bool = True) -> list[Rule]:
    rules = [Rule(f"{ours}/kernel", f"{theirs}.weight", "o c -> c o"), Rule(f"{ours}/bias", f"{theirs}.bias", "o -> o")]
    return rules if bias else rules[:1]


def conv(ours: str, theirs: str, bias: bool = True) -> list[Rule]:
    return [Rule(f"{ours}/kernel", f"{theirs}.weight", "o c h w -> h w c o"), Rule(f"{ours}/bias", f"{theirs}.bias", "o -> o")][
        : 1 + bias
    ]


def under(ours: str, theirs: str, rules: Sequence[Rule]) -> list[Rule]:
    """The rules of a network that is a part of another, here and there."""
    return [Rule(rule.ours if rule.ours == "0" else ours + rule.ours, theirs + rule.theirs, rule.pattern) for rule in rules]


def slots(rules: Sequence[Rule], like: Mapping[str, Shape]) -> list[Slot]:
    """Every tensor of theirs that `rules` promise for leaves of the shapes `like`."""
    out = [slot for rule in rules for slot in _slots(rule, like)]
    covered, names = {leaf for slot in out for leaf in slot.leaves} - {"0"}, {slot.theirs for slot in out}
    assert covered == set(like), f"rules leave out or invent {sorted(covered ^ set(like))}"
    assert len(names) == len(out), "two rules name the same tensor"
    return out


def _slots(rule: Rule, like: Mapping[str, Shape]) -> Iterator[Slot]:
    before, _, rest = rule.ours.partition("{")
    parts, _, after = rest.partition("}")
    leaves = tuple(part if part == "0" else before + part + after for part in parts.split(",")) if rest else (rule.ours,)
    left, right = rule.pattern.split(" -> ")
    stacked = "{i}" in rule.theirs
    shape: Shape = next((like[leaf] for leaf in leaves if leaf != "0"), ())
    axes = [axis for axis in right.split() if axis != "part" and not axis.isdigit()]
    sizes = dict(zip(axes, shape[stacked:], strict=True)) | ({"part": len(leaves)} if rest else {})
    theirs = tuple(_size(group, sizes) for group in re.findall(r"\([^)]*\)|\S+", left))
    for layer in range(*shape[:1]) if stacked else (None,):
        yield Slot(rule.theirs.replace("{i}", str(layer)), theirs, leaves, layer, rule.pattern, sizes)


def _size(group: str, sizes: Mapping[str, int]) -> int:
    return math.prod(int(axis) if axis.isdigit() else sizes[axis] for axis in group.strip("()").split())


def compare(wanted: Sequence[Slot], theirs: Flat) -> Report:
    """Names, shapes and kinds of number, before anything is read."""
    report, known = Report(), {slot.theirs for slot in wanted}
    report.missing = [str(slot) for slot in wanted if slot.theirs not in theirs]
    report.unexpected = [f"{name} {list(tensor.shape)}" for name, tensor in theirs.items() if name not in known]
    for slot in wanted:
        if (found := theirs.get(slot.theirs)) is None:
            continue
        if tuple(found.shape) != slot.shape:
            report.misshaped.append(f"{slot}: the file has {list(found.shape)}")
        elif not is_floating(found.dtype):
            report.not_floating.append(f"{slot}: the file has {found.dtype}")
    return report


def is_floating(dtype: np.dtype) -> bool:
    """Real floating numbers, those of ml_dtypes (bfloat16) among them."""
    return np.issubdtype(dtype, np.floating) or (dtype.kind == "V" and "float" in dtype.name)


@dataclass(frozen=True)
class Leaf:
    """One leaf of ours that is still in their tensors: `numpy.asarray` reads it, `rows` layer by layer."""

    shape: Shape
    dtype: np.dtype
    parts: tuple[tuple[Slot, int], ...]  # one for each layer: the slot, and which of its slices
    theirs: Flat
    seen: Callable[[np.ndarray], None]  # is shown every part when it is read

    def rows(self) -> Iterator[np.ndarray]:
        """Our layers, each valid until the next; of a leaf that is not stacked, what it has on its first axis."""
        if self.parts[0][0].layer is None:
            yield from np.asarray(self)
            return
        row, memory = np.empty(self.shape[1:], self.dtype), _memory(self.theirs[slot.theirs] for slot, _ in self.parts)
        for part in self.parts:
            yield self._read(part, row, memory)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        out, memory = np.empty(self.shape, self.dtype), _memory(self.theirs[slot.theirs] for slot, _ in self.parts)
        for part in self.parts:
            self._read(part, out if part[0].layer is None else out[part[0].layer], memory)
        return out if dtype is None else out.astype(dtype, copy=False)

    def _read(self, part: tuple[Slot, int], out: np.ndarray, memory: np.ndarray) -> np.ndarray:
        slot, number = part
        tensor, count = self.theirs[slot.theirs], len(slot.leaves)
        runs = count > 1 and re.match(r"\(?part\b", slot.pattern)  # our parts lie one after another
        if runs and isinstance(tensor, Stored) and (piece := tensor.piece(number, count)) is not None:
            slot, tensor, number = slot._replace(sizes=slot.sizes | {"part": 1}), piece, 0  # read no more than is wanted
        with np.errstate(over="ignore"):  # an overflow becomes infinite, for `seen` to find
            _copy(_split(slot, _read(tensor, memory))[number], out)
        self.seen(out)
        return out


def _memory(tensors: Iterable[Tensor]) -> np.ndarray:
    """Bytes for one tensor after the other: memory that is new has to be cleared first, which takes as long as reading."""
    return np.empty(max((tensor.nbytes for tensor in tensors if isinstance(tensor, Stored)), default=0), np.uint8)


def _read(tensor: Tensor, memory: np.ndarray) -> np.ndarray:
    return tensor.read(memory) if isinstance(tensor, Stored) else np.asarray(tensor)


def _copy(src: np.ndarray, out: np.ndarray) -> None:
    """out[...] = src; what is transposed, some columns at a time, which is three times as fast.

    Their memory is read along its rows, and ours written in runs of whole cache lines.
    """
    if src.ndim < 2 or src.strides[0] != src.itemsize:  # not transposed
        out[...] = src
    elif src.ndim > 2:  # of attention: each head has about so many columns
        for i in range(src.shape[1]):
            _copy(src[:, i], out[:, i])
    else:
        for i in range(0, src.shape[1], COLUMNS):
            out[:, i : i + COLUMNS] = src[:, i : i + COLUMNS]


def to_ours(
    wanted: Sequence[Slot],
    like: Mapping[str, Shape],
    theirs: Flat,
    dtype: np.dtype | None = None,
    seen: Callable[[np.ndarray], None] = lambda part: None,
) -> tuple[dict[str, Leaf], Report]:
    """Our leaves, to be read when they are needed, in `dtype` (None: theirs); and what is wrong with their tensors.

    Only what must be zero is read here. Whether the others are finite is asked when they are read, by `seen`: a look through
    the file beforehand would read all of it once more.
    """
    report = compare(wanted, theirs)
    if report:
        return {}, report
    parts: dict[str, list[tuple[Slot, int]]] = {}
    for slot in wanted:
        for part, leaf in enumerate(slot.leaves):
            if leaf != "0":
                parts.setdefault(leaf, []).append((slot, part))
                continue
            tensor = np.asarray(theirs[slot.theirs])
            if np.any(tensor if len(slot.leaves) == 1 else _split(slot, tensor)[part]):
                report.not_zero.append(f"{slot}: our network has no parameter for a part that is not zero")
    dtypes = {leaf: dtype or _kept([theirs[slot.theirs].dtype for slot, _ in found]) for leaf, found in parts.items()}
    if dtype is not None:  # a number by itself is never rounded: vitjax/checkpoint.py
        dtypes |= {leaf: np.dtype(np.float32) for leaf in parts if like[leaf] == ()}
    return {leaf: Leaf(like[leaf], dtypes[leaf], tuple(found), theirs, seen) for leaf, found in parts.items()}, report


def not_finite(wanted: Sequence[Slot], theirs: Flat, dtype: np.dtype | None) -> list[str]:
    """Every tensor that is not finite in `dtype`, after reading all of them, one at a time."""
    memory = _memory(theirs.values())

    def finite(slot: Slot) -> bool:
        tensor = _read(theirs[slot.theirs], memory)
        with np.errstate(over="ignore"):
            return bool(np.isfinite(tensor.astype(dtype or _kept([tensor.dtype]), copy=False)).all())

    return [str(slot) for slot in wanted if not finite(slot)]


def _kept(dtypes: Sequence[np.dtype]) -> np.dtype:
    """The dtype of stacked layers: theirs if it is one and JAX has it by default, else float32."""
    return dtypes[0] if len(set(dtypes)) == 1 and dtypes[0] != np.float64 else np.dtype(np.float32)


def _split(slot: Slot, tensor: np.ndarray) -> list[np.ndarray]:
    """Their tensor with our axes, one slice for each of our leaves."""
    left = slot.pattern.split(" -> ")[0]
    sizes = {axis: size for axis, size in slot.sizes.items() if re.search(rf"\b{axis}\b", left)}  # einops refuses others
    parts = rearrange(tensor, slot.pattern, **sizes)
    return list(parts) if len(slot.leaves) > 1 else [np.asarray(parts)]


def to_theirs(wanted: Sequence[Slot], ours: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Their tensors one at a time, in the order of `wanted`."""
    for slot in wanted:
        found = {leaf: ours[leaf] if slot.layer is None else ours[leaf][slot.layer] for leaf in slot.leaves if leaf != "0"}
        if not found:
            yield slot.theirs, np.zeros(slot.shape, next(iter(ours.values())).dtype)
            continue
        zeros = np.zeros_like(next(iter(found.values())))
        parts = [np.asarray(found.get(leaf, zeros)) for leaf in slot.leaves]
        left, right = slot.pattern.split(" -> ")
        yield slot.theirs, rearrange(np.stack(parts) if len(parts) > 1 else parts[0], f"{right} -> {left}")
