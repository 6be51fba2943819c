"""Where each token looks: attention's weights, which no network here keeps.

A fused kernel shows nobody its softmax (attention.py). So the network runs as ever, its queries and keys are kept on the way, and
the softmax is taken once more beside it: no path of the network has a switch for being looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from .attention import product
from .layers import Tower, angles, turn


@partial(jax.jit, static_argnums=(0, 3))
def attention_maps(module: Any, params: Mapping[str, Any], x: Array, blocks: tuple[int, ...]) -> Float[Array, "L B H N M"]:
    """How much each token (N) takes from each token (M), float32: for each of `blocks`, input and head; rows add up to 1.

    module: a ViT or a text tower. x: what it takes, (B, H, W, 3) pictures or (B, N) ids.
    """

    def keep(part: Any, method: str) -> bool:
        return method == "__call__" and part.name in ("query", "key", "query_norm", "key_norm")

    variables = {"params": params}
    _, state = module.apply(variables, x, method="forward_features", capture_intermediates=keep, mutable=["intermediates"])
    kept = state["intermediates"]["blocks"]["attn"]
    norm = "_norm" if module.cfg.qk_norm else ""
    one_block = jax.vmap(partial(_weights, module.cfg))
    return one_block(*(kept[name + norm]["__call__"][0][jnp.array(blocks)] for name in ("query", "key")))


def _weights(cfg: Tower, q: Float[Array, "B N H D"], k: Float[Array, "B N H D"]) -> Float[Array, "B H N N"]:
    """softmax(q k^T / sqrt(D)), as `attend` has it."""
    if (turned := angles(cfg)) is not None:
        q, k = turn(q, turned), turn(k, turned)
    logits = product("bnhd,bmhd->bhnm", q * q.shape[-1] ** -0.5, k)
    if cfg.causal:
        logits = jnp.where(jnp.tri(*logits.shape[-2:], dtype=bool)[None, None], logits, -jnp.inf)
    return jax.nn.softmax(logits)
