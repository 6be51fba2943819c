"""No two steps see the same picture: each is turned, zoomed and shifted a little."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Float

from .recipe import Recipe


def augment(recipe: Recipe, key: Array, images: Float[Array, "B H W 3"]) -> Float[Array, "B H W 3"]:
    """Every image under a random similarity, each its own, within the recipe's bounds."""
    keys = jax.random.split(key, len(images))
    return jax.vmap(partial(_augment, recipe))(keys, images)


def _augment(recipe: Recipe, key: Array, image: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    turn, zoom, *shift = jax.random.uniform(key, (4,), minval=-1, maxval=1)
    turn, zoom = jnp.deg2rad(recipe.rotate * turn), 1 + recipe.zoom * zoom
    axes = zoom * jnp.array([[jnp.cos(turn), -jnp.sin(turn)], [jnp.sin(turn), jnp.cos(turn)]])
    size = jnp.array(image.shape[:2], jnp.float32)[:, None, None]  # (2, 1, 1)
    centre = (size - 1) / 2
    pixels = jnp.einsum("xy,yhw->xhw", axes, jnp.indices(image.shape[:2], jnp.float32) - centre)
    # Where each pixel comes from; between pixels bilinear, beyond the edge what is at the edge.
    origin = pixels + centre + recipe.shift * jnp.array(shift)[:, None, None] * size
    sample = partial(map_coordinates, coordinates=list(origin), order=1, mode="nearest")
    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)
