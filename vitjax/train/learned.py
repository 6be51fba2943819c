"""Which parameters learn, which stay, and how both together are the network's again; LoRA (arXiv:2106.09685)."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array
from jaxtyping import Float

from ..config import Error
from ..model import Params
from .recipe import Recipe

A, B = "lora_a", "lora_b"  # under the path of the kernel that they are added to
INPUTS = {"out": 2, "patch": 3}  # how many axes of a kernel are its input's, where it is not one


def flat(tree: Params) -> dict[str, Any]:
    """path -> leaf, the path with slashes."""
    return flatten_dict(dict(tree), sep="/")


def split(recipe: Recipe, params: Params) -> tuple[Params, Params]:
    """(learned, fixed): disjoint trees. Leaves may be abstract; `lora` adds its own to what learns."""
    leaves = flat(params)
    for pattern in recipe.train:
        if not any(fnmatchcase(path, pattern) for path in leaves):
            raise Error(f"train: no parameter is called {pattern!r}; name some of these:\n  " + "\n  ".join(leaves))
    learned = {path for path in leaves if any(fnmatchcase(path, pattern) for pattern in recipe.train)}
    return _tree(leaves, learned), _tree(leaves, leaves.keys() - learned)


def adapted(recipe: Recipe, fixed: Params) -> list[str]:
    """The fixed kernels to which LoRA adds."""
    if not recipe.lora_rank:
        return []
    paths = [path for path in flat(fixed) if any(fnmatchcase(path, pattern) for pattern in recipe.lora)]
    odd = [path for path in paths if not path.endswith("/kernel")]
    if odd or not paths:
        found = f"{', '.join(odd)} are no kernels" if odd else "no fixed parameter is called so"
        raise Error(f"lora = {list(recipe.lora)}: {found}; name kernels, as in blocks/attn/query/kernel")
    return paths


def with_lora(recipe: Recipe, learned: Params, fixed: Params, key: Array) -> Params:
    """`learned`, and for each adapted kernel a random lora_a and a lora_b of zeros: at first nothing changes."""
    leaves = flat(learned)
    for number, path in enumerate(adapted(recipe, fixed)):
        kernel = flat(fixed)[path]
        depth, inputs, outputs = _axes(path, kernel.shape)
        bound = 1 / math.sqrt(math.prod(inputs))  # as torch.nn.Linear begins, and LoRA's own code
        a = (*depth, *inputs, recipe.lora_rank)
        leaves[f"{path}/{A}"] = jax.random.uniform(jax.random.fold_in(key, number), a, jnp.float32, -bound, bound)
        leaves[f"{path}/{B}"] = jnp.zeros((*depth, recipe.lora_rank, *outputs))
    return unflatten_dict(leaves, sep="/")


def join(recipe: Recipe, learned: Params, fixed: Params) -> Params:
    """The network's parameters: what stays, what learned, and what LoRA adds to what stays."""
    leaves, alpha = flat(fixed), recipe.lora_alpha or recipe.lora_rank
    new = flat(learned)
    for path in adapted(recipe, fixed):
        a, b = new.pop(f"{path}/{A}"), new.pop(f"{path}/{B}")
        leaves[path] = leaves[path] + _product(path, leaves[path], a, b) * (alpha / recipe.lora_rank)
    return unflatten_dict(leaves | new, sep="/")


def _product(path: str, kernel: Array, a: Array, b: Array) -> Float[Array, ...]:
    depth, inputs, outputs = _axes(path, kernel.shape)
    a = a.reshape(*depth, math.prod(inputs), a.shape[-1])
    b = b.reshape(*depth, a.shape[-1], math.prod(outputs))
    return jnp.einsum("...ir,...ro->...io", a, b, precision="highest").reshape(kernel.shape)


def _axes(path: str, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """(depth, input, output) axes of a kernel."""
    start = 1 if "blocks/" in path else 0
    stop = start + INPUTS.get(path.split("/")[-2], 1)
    return shape[:start], shape[start:stop], shape[stop:]


def _tree(leaves: dict[str, Any], paths: Any) -> Params:
    return unflatten_dict({path: leaf for path, leaf in leaves.items() if path in paths}, sep="/")
