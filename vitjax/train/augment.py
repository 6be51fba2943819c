"""What is done to a batch on the devices: mirrored, normalised, turned a little, erased in part, mixed. Pure functions of a key.

The references are timm 1.0.31: RandomErasing in data/random_erasing.py, as EVA and DeiT use it, and Mixup in data/mixup.py.
"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Bool, Float, Int, UInt8

from ..config import Preprocess
from .recipe import Recipe

ERASED = 0.02, 1 / 3  # the share of a picture that is erased
ERASED_RATIO = 0.3, 1 / 0.3
SWITCH = 0.5  # the share of batches that are cut where others are mixed


def augment(
    recipe: Recipe, how: Preprocess, key: Array, images: UInt8[Array, "B H W 3"], labels: Int[Array, " B"], classes: int
) -> tuple[Float[Array, "B H W 3"], Float[Array, "B K"]]:
    """A batch as the network gets it, and what it should say to each picture: shares of the classes."""
    look, mix = jax.random.split(key)
    x = pictures(recipe, how, look, images)
    y = smoothed(labels, classes, recipe.label_smoothing)
    if not (recipe.mixup or recipe.cutmix):
        return x, y
    how_much, box = mixture(recipe, mix, x.shape[1], x.shape[2])
    return mixed(x, how_much, box), mixed_targets(y, how_much)


def pictures(recipe: Recipe, how: Preprocess, key: Array, images: UInt8[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
    """The pictures of a batch, each changed by itself."""
    turn, erase, noise, mirror = jax.random.split(key, 4)
    if recipe.flip:  # here, not by Pillow: a copy by the host costs 0.7 % of a picture's decoding
        images = jnp.where(jax.random.uniform(mirror, (len(images), 1, 1, 1)) < recipe.flip, images[:, :, ::-1], images)
    x = normalized(how, images)
    if recipe.rotate or recipe.zoom or recipe.shift:
        x = jax.vmap(partial(_turned, recipe))(jax.random.uniform(turn, (len(x), 4), minval=-1, maxval=1), x)
    if recipe.erase:
        inside = jax.vmap(partial(_erased, recipe.erase, *x.shape[1:3]))(jax.random.uniform(erase, (len(x), 23)))
        x = jnp.where(inside[..., None], jax.random.normal(noise, x.shape), x)
    return x


def normalized(how: Preprocess, images: UInt8[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
    """As preprocess.normalize does it, bit for bit: where XLA sees one divisor for all, it multiplies by the inverse."""
    x = images.astype(jnp.float32)
    x = x * (257 / 65536) + x * (1 / 255 - 257 / 65536)  # x / 255, for the first product is exact
    channel = jax.lax.broadcasted_iota(jnp.int32, x.shape, 3)
    mean, std = (jax.lax.select_n(channel, *(jnp.full(x.shape, c, x.dtype) for c in of)) for of in (how.mean, how.std))
    return (x - mean) / std


def _turned(recipe: Recipe, random: Float[Array, " 4"], image: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    """An image under a random similarity, within the recipe's bounds. random: from -1 to 1."""
    turn, zoom, *shift = random
    turn, zoom = jnp.deg2rad(recipe.rotate * turn), 1 + recipe.zoom * zoom
    axes = zoom * jnp.array([[jnp.cos(turn), -jnp.sin(turn)], [jnp.sin(turn), jnp.cos(turn)]])
    size = jnp.array(image.shape[:2], jnp.float32)[:, None, None]  # (2, 1, 1)
    centre = (size - 1) / 2
    pixels = jnp.einsum("xy,yhw->xhw", axes, jnp.indices(image.shape[:2], jnp.float32) - centre)
    # Where each pixel comes from; between pixels bilinear, beyond the edge what is at the edge.
    origin = pixels + centre + recipe.shift * jnp.array(shift)[:, None, None] * size
    sample = partial(map_coordinates, coordinates=list(origin), order=1, mode="nearest")
    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)


class Box(NamedTuple):
    """A rectangle: the first row and column that are in it, and the first that are not."""

    top: Int[Array, ""]
    bottom: Int[Array, ""]
    left: Int[Array, ""]
    right: Int[Array, ""]

    def inside(self, height: int, width: int) -> Bool[Array, "H W"]:
        """True for the pixels that are in it."""
        rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None]
        return ((rows >= self.top) & (rows < self.bottom)) & ((columns >= self.left) & (columns < self.right))


def _erased(share: float, height: int, width: int, random: Float[Array, " 23"]) -> Bool[Array, "H W"]:
    """Which pixels of an image become noise: with a probability, a rectangle. Of ten that are tried the first that fits counts.

    random: from 0 to 1.
    """
    whether, place, (area, ratio) = random[0], random[1:3], random[3:].reshape(2, 10)
    area = height * width * (ERASED[0] + (ERASED[1] - ERASED[0]) * area)
    low, high = map(math.log, ERASED_RATIO)
    ratio = jnp.exp(low + (high - low) * ratio)
    h, w = (jnp.round(jnp.sqrt(x)).astype(jnp.int32) for x in (area * ratio, area / ratio))
    fits = (h < height) & (w < width)
    h, w = h[jnp.argmax(fits)], w[jnp.argmax(fits)]
    top, left = (place * jnp.array([height + 1 - h, width + 1 - w], jnp.float32)).astype(jnp.int32)
    inside = Box(top, top + h, left, left + w).inside(height, width)
    return (whether < share) & fits.any() & inside


def smoothed(labels: Int[Array, " B"], classes: int, smoothing: float) -> Float[Array, "B K"]:
    """A share of `smoothing` goes to all classes alike."""
    rest = smoothing / classes
    return jnp.where(jax.nn.one_hot(labels, classes, dtype=jnp.bool_), jnp.float32(1 - smoothing + rest), jnp.float32(rest))


def mixture(recipe: Recipe, key: Array, height: int, width: int) -> tuple[Float[Array, ""], Box]:
    """How much each picture of a batch keeps of itself, and the box in which it does not: an empty one where all is mixed."""
    switch, mix, cut, centre = jax.random.split(key, 4)
    cuts = jax.random.uniform(switch) < (SWITCH if recipe.mixup and recipe.cutmix else float(bool(recipe.cutmix)))
    mix, cut = (_beta(key, alpha) for key, alpha in ((mix, recipe.mixup), (cut, recipe.cutmix)))
    found, kept = cut_box(cut, jax.random.randint(centre, (2,), 0, jnp.array([height, width])), height, width)
    empty = Box(*[jnp.zeros((), jnp.int32)] * 4)
    return jnp.where(cuts, kept, mix), jax.tree.map(partial(jnp.where, cuts), found, empty)


def _beta(key: Array, alpha: float) -> Float[Array, ""]:
    return jax.random.beta(key, alpha, alpha, dtype=jnp.float32) if alpha else jnp.ones(())


def cut_box(keep: Float[Array, ""], centre: Int[Array, " 2"], height: int, width: int) -> tuple[Box, Float[Array, ""]]:
    """The box around a centre that leaves a share of a picture, cut off at its edges; and what it leaves then."""
    ratio = jnp.sqrt(1 - keep)
    sides = jnp.stack([height * ratio, width * ratio]).astype(jnp.int32)
    (top, left), (bottom, right) = (
        jnp.clip(edge, 0, jnp.array([height, width])) for edge in (centre - sides // 2, centre + (sides + 1) // 2)
    )
    return Box(top, bottom, left, right), 1 - ((bottom - top) * (right - left)).astype(jnp.float32) / (height * width)


def mixed(x: Float[Array, "B H W 3"], kept: Float[Array, ""], box: Box) -> Float[Array, "B H W 3"]:
    """Each picture with that of the reversed batch: in a box the other instead, or without one a weighted mean."""
    other, cut = x[::-1], (box.bottom > box.top) & (box.right > box.left)
    inside = box.inside(*x.shape[1:3])[None, ..., None]
    return jnp.where(cut, jnp.where(inside, other, x), x * kept + other * (1 - kept))


def mixed_targets(y: Float[Array, "B K"], kept: Float[Array, ""]) -> Float[Array, "B K"]:
    """The targets of the pictures that `mixed` makes."""
    return y * kept + y[::-1] * (1 - kept)
