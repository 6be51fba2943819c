"""A new image size, a new head: what a pretrained network needs before it is used on something else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .config import Size, Spec
from .layers import INIT
from .vit import position_count

Params = Mapping[str, Any]


def resize(spec: Spec, params: Params, image: Size) -> tuple[Spec, Params]:
    """The same network for pictures of another size, its positions resampled."""
    config = replace(spec.config, image=image)
    preprocess = replace(spec.preprocess, size=image)
    if config.grid != spec.config.grid and config.positions != "none":
        prefix = position_count(config) - math.prod(config.grid)
        positions = resample(params["positions"], spec.config.grid, config.grid, prefix, config.interpolation)
        params = dict(params) | {"positions": positions}
    return replace(spec, config=config, preprocess=preprocess), params


def resample(positions: jax.Array, old: tuple[int, int], new: tuple[int, int], prefix: int, how: str = "cubic") -> jax.Array:
    """Positions of a grid (rows, columns) for another grid, as their publisher would; those of `prefix` tokens stay.

    cubic: with antialiasing (timm's resample_abs_pos_embed, birder's adjust_size, HF's Dinov2WithRegisters).
    cubic-pytorch: without (HF otherwise).
    bilinear: from corner to corner (scipy.ndimage.zoom of order 1, in Google's vit_jax/checkpoint.py and big_vision).
    """
    grid = jnp.asarray(positions[prefix:], jnp.float32).reshape(*old, -1)
    if how == "bilinear":
        rows, columns = (_corner_to_corner(*sizes) for sizes in zip(old, new, strict=True))
        grid = jnp.einsum("rh,cw,hwd->rcd", rows, columns, grid, precision="highest")
    else:
        shape, precision = (*new, grid.shape[-1]), jax.lax.Precision.HIGHEST
        grid = jax.image.resize(grid, shape, how, antialias=how == "cubic", precision=precision)
    return jnp.concatenate([positions[:prefix], grid.reshape(-1, grid.shape[-1]).astype(positions.dtype)])


def _corner_to_corner(old: int, new: int) -> np.ndarray:
    """(new, old) weights of linear interpolation, the first and the last point kept."""
    at = np.linspace(0, old - 1, new)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(old))).astype(np.float32)


def new_head(spec: Spec, params: Params, classes: int, labels: tuple[str, ...] = (), seed: int = 0) -> tuple[Spec, Params]:
    """The same network with an untrained head for `classes`; with 0, without a head."""
    heads = ("head", "head_distilled") if spec.config.distilled else ("head",)
    params = {name: leaf for name, leaf in params.items() if name not in heads}
    config = replace(spec.config, classes=classes)
    for name, key in zip(heads if classes else (), jax.random.split(jax.random.key(seed), len(heads)), strict=False):
        kernel = INIT(key, (config.features, classes), jnp.float32)
        params[name] = {"kernel": kernel} | ({"bias": jnp.zeros(classes)} if config.head_bias else {})
    return replace(spec, config=config, labels=labels), params
