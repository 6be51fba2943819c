"""Where in Google's files the tensors of a network are: under a prefix, in one of two towers, all blocks in one or each apart.

two_towers.py of big_vision's models/proj/image_text calls its towers img and txt, and has two numbers beside them.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import partial

import numpy as np

from vitjax.config import Error, TextConfig, ViTConfig

from .stored import Flat, Made, Stored, Tensor

ROOTS = "params/", "opt/target/", ""  # one of which stands before the name of every parameter
TOWERS = {ViTConfig.kind: "img/", TextConfig.kind: "txt/"}
PAIR = "t", "b"  # what both towers have together: temperature and bias
ANCHORS = {  # of a tower, one of which is there, even if the other was lost
    "img/": ("embedding/kernel", "Transformer/encoder_norm/scale"),
    "txt/": ("Embed_0/embedding", "Encoder_0/encoder_norm/scale"),
}
TRAINING = r"(opt/(?!target/)|chrono/).*"  # an optimizer and its clock, which big_vision saves beside the parameters

OLD = "MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3"  # the modules of a block, counted by pre-Linen flax
NEW = "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"
BLOCKS = "((img/)?Transformer|(txt/)?Encoder_0)/encoderblock"
STACK = re.compile("((Transformer|Encoder_0)/encoderblock)/(.*)")  # all blocks in one: big_vision's scan=True


def recognise(tensors: Flat) -> bool:
    return _root(tensors) is not None


def _root(tensors: Flat) -> str | None:
    """What stands before the name of every parameter."""
    for root in ROOTS:
        for own, anchors in ANCHORS.items():
            if any(start + anchor in tensors for start in (root, root + own) for anchor in anchors):
                return root
    return None


def split(tensors: Flat) -> dict[str, dict[str, Tensor]]:
    """The tensors of either tower by the names they have in it, and under "" those of none: all of them, in a file of one."""
    root, out = _root(tensors) or "", {own: {} for own in ("", *TOWERS.values())}
    for name, tensor in tensors.items():
        bare = name.removeprefix(root)
        own = next((own for own in TOWERS.values() if bare.startswith(own)), "")
        out[own][bare.removeprefix(own)] = tensor
    return out


def tower(tensors: Flat, kind: str) -> dict[str, Tensor]:
    """The tensors of one tower by the names they have in it, without the other's; of a file that holds one, all of them."""
    found = split(tensors)
    if not any(found[own] for own in TOWERS.values()):
        return found[""]
    return {name: tensor for name, tensor in found[""].items() if name not in PAIR} | found[TOWERS[kind]]


def check(path: object, tensors: Flat) -> None:
    """Raise Error for a file that says by its names that it is none of ours, or more than one network."""
    root, names = _root(tensors) or "", [name for name in tensors if not re.fullmatch(TRAINING, name)]
    if others := [name for name in names if not name.startswith(root)]:
        raise Error(
            f"{path}: {len(others)} of {len(names)} names do not begin with {root!r}, such as {others[0]}: two sets of weights "
            f"are mixed; choose one with --key {root.strip('/')}"
        )
    found = split({name: tensors[name] for name in names})
    strays = [name for name in found[""] if name not in PAIR]
    if strays and (found["img/"] or found["txt/"]):
        raise Error(
            f"{path} holds towers, img/ or txt/ or both, and {strays[0]}, which is in none: choose one with --key img (key='img')"
        )
    if hybrid := next((name for name in names if re.match(rf"{root}(img/)?(conv_root|gn_root|block\d+/unit)", name)), None):
        raise Error(
            f"{path} is a hybrid, a ResNet before a Transformer ({hybrid}): take one of Transformers alone, without R in its name"
        )
    _check_blocks(path, [name for name in names if re.match(rf"{root}{BLOCKS}", name)])


def _check_blocks(path: object, names: list[str]) -> None:
    """Raise Error for blocks that are spelt in two ways. Each tower has its own."""
    ways = (r"block/", r"block_\d"), (rf"/({'|'.join(OLD)})/", rf"/({'|'.join(NEW)})/")
    for encoder in "Transformer/", "Encoder_0/":
        for spellings in ways:
            one, other = (next((n for n in names if encoder in n and re.search(way, n)), None) for way in spellings)
            if one and other:
                raise Error(f"{path} mixes two spellings of one network, {one} and {other}: save it again in one of them")


def unstacked(name: str, tensor: Tensor, depth: int) -> dict[str, Tensor]:
    """One tensor for each block, where one holds those of all."""
    match = STACK.fullmatch(name)
    if match is None or tensor.shape[:1] != (depth,):  # another depth: left as it is, to be reported
        return {name: tensor}
    names = [f"{match[1]}_{i}/{match[3]}" for i in range(depth)]
    shape, dtype = tensor.shape[1:], tensor.dtype
    if type(tensor) is Stored and tensor.strides is None:
        size = math.prod(shape) * dtype.itemsize
        return {new: replace(tensor, offset=tensor.offset + i * size, shape=shape) for i, new in enumerate(names)}
    stack = _Stack(tensor)
    return {new: Made(shape, dtype, partial(stack.layer, i)) for i, new in enumerate(names)}


class _Stack:
    """A deflated tensor of all blocks, read once for all of its layers: kept from the first until the last was asked for."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.array: np.ndarray | None = None

    def layer(self, i: int) -> np.ndarray:
        array = np.asarray(self.tensor) if self.array is None else self.array
        self.array = None if i == len(array) - 1 else array
        return array[i]
