"""A new image size, a new head: what a pretrained network needs before it is used on something else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .config import CLIPConfig, Size, Spec, tower
from .layers import INIT
from .vit import position_count

Params = Mapping[str, Any]


def resize(spec: Spec, params: Params, image: Size) -> tuple[Spec, Params]:
    """The same network for pictures of another size, its positions resampled; of a CLIP, its image tower's."""
    resized = sized(spec, image)
    if isinstance(spec.config, CLIPConfig):
        _, part = resize(tower(spec, "image"), params["image"], image)
        return resized, dict(params) | {"image": part}
    old, config = spec.vit, resized.vit
    if config.grid != old.grid and config.positions != "none":
        prefix = position_count(config) - math.prod(config.grid)
        positions = resample(params["positions"], old.grid, config.grid, prefix, config.interpolation)
        params = dict(params) | {"positions": positions}
    return resized, params


def sized(spec: Spec, image: Size) -> Spec:
    """The same network, not yet trained, for pictures of another size."""
    if isinstance(spec.config, CLIPConfig):
        config = replace(spec.config, image=replace(spec.config.image, image=image))
    else:
        config = replace(spec.vit, image=image)
    return replace(spec, config=config, preprocess=replace(spec.preprocess, size=image))


def headed(spec: Spec, classes: int, labels: tuple[str, ...] = ()) -> Spec:
    """The same network, not yet trained, for other classes."""
    return replace(spec, config=replace(spec.vit, classes=classes), labels=labels)


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
    spec = headed(spec, classes, labels)
    config = spec.vit
    heads = ("head", "head_distilled") if config.distilled else ("head",)
    params = {name: leaf for name, leaf in params.items() if name not in heads}
    for name, key in zip(heads if classes else (), jax.random.split(jax.random.key(seed), len(heads)), strict=False):
        kernel = INIT(key, (config.features, classes), jnp.float32)
        params[name] = {"kernel": kernel} | ({"bias": jnp.zeros(classes)} if config.head_bias else {})
    return spec, params
