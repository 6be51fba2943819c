"""A method of a network on a batch: one program for each shape, and on a CPU a large batch in parts that its cache can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
from jax import Array
from jax.core import Tracer

from .networks import TextConfig, ViTConfig

# Bytes of an MLP's hidden units in float32, the widest there is of a part. Of more, each elementwise pass waits for memory: on
# two Zen 5 cores 32 pictures whole take 1.2 times as long as by fours (ViT-B/16), 1.4 times (EVA-02 B). Of fewer, weights are
# read too often: ViT-B/16 one by one takes 1.2 times as long as eight together. Measured by hand, in turns; no benchmark does it.
CACHE = 2**24


@partial(jax.jit, static_argnums=(0, 1), static_argnames=("options", "part"))
def apply(module: Any, method: Callable | str, params: Any, *x: Array, options: tuple = (), part: int = 0) -> Any:
    """One compilation for each module, method and shape; parameters are an argument, never a constant.

    part: how many of the batch, which this divides, are computed at a time; 0 for all of them.
    """

    def whole(*x: Array) -> Any:
        return module.apply({"params": params}, *x, *options, method=method)

    if not part:
        return whole(*x)
    parts = [one.reshape(-1, part, *one.shape[1:]) for one in x]
    return jax.tree.map(lambda out: out.reshape(-1, *out.shape[2:]), jax.lax.map(lambda some: whole(*some), parts))


def run(module: Any, method: Callable | str, params: Mapping[str, Any], x: Array, options: tuple = ()) -> Any:
    """`apply` to one batch of pictures or texts, each by itself."""
    return apply(module, method, params, x, options=options, part=_part(module.cfg, params, x))


def _part(config: ViTConfig | TextConfig, params: Mapping[str, Any], x: Array) -> int:
    """The largest part of a batch that divides it and fits into a CPU's cache; 0 where all of it does, or this is no CPU."""
    leaf = jax.tree.leaves(params)[0]
    if isinstance(x, Tracer) or isinstance(leaf, Tracer) or not isinstance(leaf, Array):
        return 0  # part of somebody's own program
    if len(leaf.devices()) > 1 or next(iter(leaf.devices())).platform != "cpu":
        return 0
    tokens = config.prefix + config.grid[0] * config.grid[1] if isinstance(config, ViTConfig) else x.shape[1]
    fit = max(1, CACHE // (4 * tokens * config.mlp))
    return 0 if len(x) <= fit else max(size for size in range(1, fit + 1) if len(x) % size == 0)
