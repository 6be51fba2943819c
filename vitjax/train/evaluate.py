"""How good a network is on what is held out: of a classifier sums that add up over batches, of a CLIP recall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from ..config import Error

BINS = 15  # of confidence, as wide as each other (Guo et al., arXiv:1706.04599)
BLOCK = 512  # pictures that are compared with all texts at once
NEAR = 1e-6  # cosines in float32 that are no further apart are the same


class Sums(NamedTuple):
    """What a classifier did, summed over pictures, each as often as its weight says."""

    weight: Float[Array, ""]
    nll: Float[Array, ""]  # -log of the probability of the right class
    top1: Float[Array, ""]
    top5: Float[Array, ""]
    counts: Float[Array, " bins"]  # of the pictures by the probability of the class that was named
    confidence: Float[Array, " bins"]  # the sums of that probability
    correct: Float[Array, " bins"]  # how many of them were named rightly

    def plus(self, other: Sums) -> Sums:
        """The sums over both."""
        return jax.tree.map(jnp.add, self, other)


def scores(logits: Float[Array, "B K"], labels: Int[Array, " B"], weight: Float[Array, " B"]) -> Sums:
    """The sums over one batch, for use inside jit, however it is sharded. A picture of weight 0 counts nothing, whatever it is.

    A class is as high up as the number of logits above its own, and of equal ones those before it: no sorting, and with fewer
    than five classes top-5 is always right. A picture with a NaN among its logits is wrong.
    """
    real = weight > 0
    logits, labels = jnp.where(real[:, None], logits.astype(jnp.float32), 0), jnp.where(real, labels, 0)
    own = jnp.take_along_axis(logits, labels[:, None], -1)  # (B, 1)
    before = jnp.arange(logits.shape[1])[None] < labels[:, None]
    above = jnp.sum((logits > own) | ((logits == own) & before), -1)
    finite = ~jnp.isnan(logits).any(-1)
    log_sum = jax.nn.logsumexp(logits, -1)
    confidence = jnp.exp(logits.max(-1) - log_sum)
    # The first bin is [0, 1/15], the others ]n/15, (n + 1)/15], as in the paper.
    bins = jnp.clip(jnp.ceil(confidence * BINS).astype(jnp.int32) - 1, 0, BINS - 1)
    members = jax.nn.one_hot(bins, BINS, dtype=jnp.float32) * weight[:, None]  # (B, bins)
    top1, top5 = (jnp.asarray(finite & (above < k), jnp.float32) for k in (1, 5))
    return Sums(
        weight=weight.sum(),
        nll=jnp.sum(weight * (log_sum - own[:, 0])),
        top1=jnp.sum(weight * top1),
        top5=jnp.sum(weight * top5),
        counts=members.sum(0),
        confidence=jnp.sum(members * confidence[:, None], 0),
        correct=jnp.sum(members * top1[:, None], 0),
    )


def summary(sums: Sums) -> dict[str, float]:
    """The means: loss, top1, top5, calibration (the expected calibration error, 0 is best), and how many pictures there were."""
    weight, nll, top1, top5, _, confidence, correct = (np.asarray(part, np.float64) for part in sums)
    if not weight > 0:
        raise Error("nothing was evaluated: what is held out has no picture; see `held_out` of the recipe")
    return {
        "loss": float(nll / weight),
        "top1": float(top1 / weight),
        "top5": float(top5 / weight),
        "calibration": float(np.abs(correct - confidence).sum() / weight),
        "count": float(weight),
    }


def retrieval(images: Float[np.ndarray, "N E"], texts: Float[np.ndarray, "N E"]) -> dict[str, float]:
    """Of how many pictures the own text is the nearest, or among the five nearest, of all texts; and of texts the own picture.

    Nearness is the cosine; the vectors may have any length. What is as near as the own one counts half, so that a network
    which says the same of everything finds nothing. Compared in blocks: 50,000 pairs need 100 MB.
    """
    images, texts = (np.asarray(side, np.float32) for side in (images, texts))
    images, texts = (side / np.maximum(np.linalg.norm(side, axis=-1, keepdims=True), 1e-12) for side in (images, texts))
    own = np.einsum("ne,ne->n", images, texts)
    to_text, to_image = np.zeros(len(images)), np.zeros(len(texts))
    everything, cosines = jnp.asarray(texts), jnp.asarray(own)
    for first in range(0, len(images), BLOCK):
        block = slice(first, first + BLOCK)
        rows, columns = _above(images[block], everything, cosines[block], cosines, jnp.int32(first))
        to_text[block] = rows
        to_image += np.asarray(columns, np.float64)
    found = {"image_to_text": to_text, "text_to_image": to_image}
    return {f"{way}@{k}": float(np.mean(above < k)) for way, above in found.items() for k in (1, 5)}


@jax.jit
def _above(
    images: Float[np.ndarray | Array, "B E"],
    texts: Float[Array, "N E"],
    own_of_images: Float[Array, " B"],
    own_of_texts: Float[Array, " N"],
    first: Int[Array, ""],
) -> tuple[Float[Array, " B"], Float[Array, " N"]]:
    """How many texts are nearer to each of these pictures than its own, and how many of these pictures to each text."""
    cosines = jnp.einsum("be,ne->bn", images, texts, precision="highest")
    pair = first + jnp.arange(len(images))[:, None] == jnp.arange(len(texts))[None]

    def nearer(own: Array, axis: int) -> Array:
        more = jnp.where(cosines > own + NEAR, 1.0, jnp.where(cosines >= own - NEAR, 0.5, 0.0))
        return jnp.sum(jnp.where(pair, 0.0, more), axis)

    return nearer(own_of_images[:, None], 1), nearer(own_of_texts[None], 0)


def goodness(metrics: Mapping[str, float]) -> float:
    """The one number that evaluations are compared by: top-1, of a CLIP the mean recall@1; of the running mean if there is."""
    for names in (("top1",), ("image_to_text@1", "text_to_image@1")):
        for prefix in ("ema/", ""):
            if all(prefix + name in metrics for name in names):
                return sum(metrics[prefix + name] for name in names) / len(names)
    raise Error(f"these metrics cannot be compared: {', '.join(metrics)}; they must have top1 or recall")
