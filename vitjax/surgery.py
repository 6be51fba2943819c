"""A new image size, a new head: what a pretrained network needs before it is used on something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from .config import Size, Spec
from .layers import INIT

Params = Mapping[str, Any]


def resize(spec: Spec, params: Params, image: Size) -> tuple[Spec, Params]:
    """The same network for pictures of another size, its positions resampled."""
    config = replace(spec.config, image=image)
    preprocess = replace(spec.preprocess, size=image)
    if config.grid != spec.config.grid and config.positions != "none":
        prefix = config.prefix if config.positions == "all" else 0
        params = dict(params) | {"positions": resample(params["positions"], spec.config.grid, config.grid, prefix)}
    return replace(spec, config=config, preprocess=preprocess), params


def resample(positions: jax.Array, old: tuple[int, int], new: tuple[int, int], prefix: int) -> jax.Array:
    """Positions of a grid (rows, columns) for another grid; those of `prefix` tokens stay.

    Bicubic with antialiasing, as timm's resample_abs_pos_embed. HF (no antialiasing) and Google (linear) resize otherwise.
    """
    grid = jnp.asarray(positions[prefix:], jnp.float32).reshape(*old, -1)
    grid = jax.image.resize(grid, (*new, grid.shape[-1]), "cubic", precision=jax.lax.Precision.HIGHEST)
    return jnp.concatenate([positions[:prefix], grid.reshape(-1, grid.shape[-1]).astype(positions.dtype)])


def new_head(spec: Spec, params: Params, classes: int, labels: tuple[str, ...] = (), seed: int = 0) -> tuple[Spec, Params]:
    """The same network with an untrained head for `classes`; with 0, without a head."""
    params = {name: leaf for name, leaf in params.items() if name != "head"}
    config = replace(spec.config, classes=classes)
    if classes:
        kernel = INIT(jax.random.key(seed), (config.width, classes), jnp.float32)
        params["head"] = {"kernel": kernel} | ({"bias": jnp.zeros(classes)} if config.head_bias else {})
    return replace(spec, config=config, labels=labels), params
