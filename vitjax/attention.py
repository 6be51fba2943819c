"""Which attention runs where. XLA everywhere for now: a faster kernel comes in here, once measured."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

LOGITS = 2**16  # of a head that XLA's CPU kernels (jaxlib 0.10.2) keep in their cache; of more they write all heads' to memory
BLOCKS = 32  # at most: each is compiled, and a second's compiling for 1,600 tokens buys a fifth of the time


def attend(
    q: Float[Array, "B H N D"], k: Float[Array, "B H M D"], v: Float[Array, "B H M D"], causal: bool = False
) -> Float[Array, "B H N D"]:
    """softmax(q k^T / sqrt(D)) v, the softmax in float32 whatever the inputs are. causal: a token sees those up to itself.

    Heads lead, so that both products are plain batched matrix products (on CPU one library call each, no copies). On CPU some
    queries at a time: 257 tokens (ViT-B, batch 4, two cores) take 4 ms instead of 8, or 16 where memory is new to the machine.
    """
    whole = partial(_attend, causal=causal)
    if not LOGITS < q.shape[2] * k.shape[2] <= BLOCKS * LOGITS:
        return whole(q, k, v)
    return jax.lax.platform_dependent(q, k, v, cpu=partial(_blocked, causal=causal), default=whole)


def _blocked(q: Array, k: Array, v: Array, causal: bool) -> Array:
    """The same, for a few queries after the other."""
    count = -(-q.shape[2] // max(1, LOGITS // k.shape[2]))
    blocks, first, out = jnp.array_split(q, count, axis=2), 0, []
    for block in blocks:
        out.append(_attend(block, k, v, causal, first))
        first += block.shape[2]
    return jnp.concatenate(out, axis=2)


def _attend(q: Array, k: Array, v: Array, causal: bool, first: int = 0) -> Array:
    """Attention of queries of which the first is number `first`. The sum divides after the second product: N*D divisions."""
    logits = jnp.einsum("bhnd,bhmd->bhnm", q * q.shape[-1] ** -0.5, k, precision="highest", preferred_element_type=jnp.float32)
    if causal:
        logits = jnp.where(jnp.tri(*logits.shape[-2:], k=first, dtype=bool)[None, None], logits, -jnp.inf)
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))  # the maximum cancels out
    total = weights.sum(-1, keepdims=True)
    out = jnp.einsum("bhnm,bhmd->bhnd", weights.astype(v.dtype), v, precision="highest", preferred_element_type=jnp.float32)
    return (out / total).astype(v.dtype)
