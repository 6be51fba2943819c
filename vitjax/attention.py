"""Which attention runs where. XLA everywhere for now: a faster kernel comes in here, once measured."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def attend(
    q: Float[Array, "B H N D"], k: Float[Array, "B H M D"], v: Float[Array, "B H M D"], causal: bool = False
) -> Float[Array, "B H N D"]:
    """softmax(q k^T / sqrt(D)) v, the softmax in float32 whatever the inputs are. causal: a token sees those up to itself.

    Heads lead, so that both products are plain batched matrix products (on CPU one library call each, no copies).
    The sum divides after the second product: N*D divisions, not N*M.
    """
    logits = jnp.einsum("bhnd,bhmd->bhnm", q * q.shape[-1] ** -0.5, k, precision="highest", preferred_element_type=jnp.float32)
    if causal:
        logits = jnp.where(jnp.tri(*logits.shape[-2:], dtype=bool)[None, None], logits, -jnp.inf)
    weights = jnp.exp(logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True)))  # the maximum cancels out
    total = weights.sum(-1, keepdims=True)
    out = jnp.einsum("bhnm,bhmd->bhnd", weights.astype(v.dtype), v, precision="highest", preferred_element_type=jnp.float32)
    return (out / total).astype(v.dtype)
