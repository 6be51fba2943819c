"""A method of a network on a batch: one program for each shape. A large network on a CPU goes block by block through one program.

A loop over blocks inside a program compiles as fast, but XLA's CPU copies each block's weights out of those that are stacked
before it multiplies by them. Of one picture through ViT-L/16 that is a tenth of the time.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.core import Tracer

from .layers import Block, angles
from .networks import TextConfig, ViTConfig

# All measured by hand, in turns, on two Zen 5 cores; no benchmark does it.
# Bytes of an MLP's hidden units in float32, the widest there is of a part. Of more, each elementwise pass waits for memory:
# 32 pictures whole take 1.2 times as long as by fours (ViT-B/16), 1.4 times (EVA-02 B). Of fewer, weights are read too often.
CACHE = 2**24
# A block is a program where its parameters have so many bytes (to start one takes 0.1 ms, which is more than ViT-S saves), and
# so many times those of a part's hidden units (each time it is given new memory, which is slower than to copy the weights:
# EVA-02 L of 448 pixels in float32 would take 1.17 times as long).
LARGE, OUTWEIGHS = 2**23, 3

_slices = dict[int, list[Array]]()  # of a leaf, by its id, for as long as it lives


def run(module: Any, method: Callable | str, params: Mapping[str, Any], x: Array, options: tuple = ()) -> Any:
    """`module`'s method of a batch of pictures or texts, each by itself."""
    if not _on_a_cpu(params, x):
        return apply(module, method, params, x, options=options)
    part, blocks = _part(module.cfg, x), params["blocks"]
    if not _outweighs(blocks, module, part * _hidden(module.cfg, x)):
        return apply(module, method, params, x, options=options, part=part)
    others = {name: leaf for name, leaf in params.items() if name != "blocks"}
    tokens, out = around(module, method, others, x, options=options)
    if tokens is None:
        return out
    block = Block(module.cfg, module.dtype, module.attention)
    for weights in slices(blocks):
        tokens = through(block, weights, tokens, part=part)
    return around(module, method, others, x, tokens, options=options)[1]


@partial(jax.jit, static_argnums=(0, 1), static_argnames=("options", "part"))
def apply(module: Any, method: Callable | str, params: Any, *x: Array, options: tuple = (), part: int | None = None) -> Any:
    """One compilation for each module, method and shape; parameters are an argument, never a constant.

    part: how many of the batch, which this divides, are computed at a time; None: all.
    """
    return _by_parts(lambda *x: module.apply({"params": params}, *x, *options, method=method), part, *x)


@partial(jax.jit, static_argnums=(0, 1), static_argnames="options")
def around(
    module: Any, method: Callable | str, params: Any, x: Array, tokens: Array | None = None, options: tuple = ()
) -> tuple[Array | None, Any]:
    """The tokens that enter the blocks; or with those that leave them (or if it has no blocks), what the method returns.

    Either way the other one is None. All of the method is traced but the blocks, and the compiler drops what is not asked for.
    """
    entering = None

    def skip(call: Callable[..., Any], args: Any, names: Any, context: nn.module.InterceptorContext) -> Any:
        nonlocal entering
        if context.method_name != "encode":
            return call(*args, **names)
        entering = args[0]
        return entering if tokens is None else tokens

    with nn.intercept_methods(skip):
        out = module.apply({"params": params}, x, *options, method=method)
    return (None, out) if entering is None or tokens is not None else (entering, None)


@partial(jax.jit, static_argnums=0, static_argnames="part")
def through(block: Block, params: Any, tokens: Array, part: int) -> Array:
    """Tokens of a batch through a block, `part` of them at a time."""
    rate, turned = jnp.zeros(()), angles(block.cfg)
    return _by_parts(lambda x: block.apply({"params": params}, x, rate, False, turned)[0], part, tokens)  # type: ignore[index]


def _by_parts(function: Callable[..., Any], part: int | None, *x: Array) -> Any:
    """A function of a batch, of which `part` at a time."""
    if part in (None, len(x[0])):
        return function(*x)
    parts = [one.reshape(-1, part, *one.shape[1:]) for one in x]
    return jax.tree.map(lambda out: out.reshape(-1, *out.shape[2:]), jax.lax.map(lambda some: function(*some), parts))


def _on_a_cpu(params: Mapping[str, Any], x: Array) -> bool:
    """Whether it is to be computed here and now, by one CPU; else it is part of somebody's own program, or devices share it."""
    leaf = jax.tree.leaves(params)[0]
    if isinstance(x, Tracer) or isinstance(leaf, Tracer) or not isinstance(leaf, Array):
        return False
    return len(leaf.devices()) == 1 and next(iter(leaf.devices())).platform == "cpu"


def _hidden(config: ViTConfig | TextConfig, x: Array) -> int:
    """How many hidden units an MLP has for one picture or text."""
    tokens = config.prefix + config.grid[0] * config.grid[1] if isinstance(config, ViTConfig) else x.shape[1]
    return tokens * config.mlp


def _part(config: ViTConfig | TextConfig, x: Array) -> int:
    """The largest part of a batch that divides it and fits into a CPU's cache."""
    fit = max(1, CACHE // (4 * _hidden(config, x)))
    return max(size for size in range(1, min(fit, len(x)) + 1) if len(x) % size == 0)


def _outweighs(blocks: Any, module: Any, hidden: int) -> bool:
    """Whether a block's parameters are so many, beside its hidden units, that it is better not to copy them."""
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(blocks)) // module.cfg.depth
    return weights >= max(LARGE, OUTWEIGHS * hidden * (1 + module.cfg.gated) * jnp.dtype(module.dtype).itemsize)


def slices(stacked: Any) -> list[Any]:
    """Each block's parameters, of those of all that are stacked, in the same memory. Made once."""
    leaves, tree = jax.tree.flatten(stacked)
    return [jax.tree.unflatten(tree, block) for block in zip(*map(_sliced, leaves), strict=True)]


def _sliced(leaf: Array) -> list[Array]:
    """The rows of an array, where it is. XLA copies those that do not begin where it wants them to, which are small ones."""
    if (rows := _slices.get(id(leaf))) is None:
        where = leaf.sharding if leaf.committed else None  # what is bound to no device may still go to that of the pictures
        rows = _slices[id(leaf)] = [jax.device_put(row, where, may_alias=True) for row in jax.device_get(leaf)]
        weakref.finalize(leaf, _slices.pop, id(leaf), None)
    return rows
