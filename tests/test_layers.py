"""Attention in blocks of queries, and rotary positions: what no comparison with another library shows by itself."""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_mapping import TINY
from vitjax import Error, attention
from vitjax.layers import ACTS, LayerNorm, places, turn

MANY = 300  # tokens: of one head's logits, more than 2**16
ROTARY = replace(TINY, image=(24, 16), width=24, qkv_bias="qv", rotary=True)  # 6 x 4 patches, heads of 8


def draw(*shape: int) -> list[jax.Array]:
    return [jax.random.normal(key, shape) for key in jax.random.split(jax.random.key(0), 3)]


@pytest.fixture(params=[2**16, 2**62], ids=["blocks", "whole"])
def logits(request, monkeypatch):
    """As many of a head as are computed together on a CPU: what attention.LOGITS is with an older JAX, and with a newer one."""
    monkeypatch.setattr(attention, "LOGITS", request.param)
    return request.param


@pytest.mark.usefixtures("logits")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries", [1, MANY, 1000])
def test_attention_of_many_tokens(queries, causal):
    (q, *_), (_, k, v) = draw(2, queries, 3, 8), draw(2, MANY, 3, 8)
    attend = jax.jit(lambda *x: attention.attend(*x, causal))  # a function of its own, for JAX knows one again
    logits = np.einsum("bnhd,bmhd->bhnm", *(np.asarray(x, np.float64) for x in (q, k))) / np.sqrt(8)
    if causal:
        logits[..., np.triu(np.ones(logits.shape[-2:], bool), 1)] = -np.inf
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    theirs = np.einsum("bhnm,bmhd->bnhd", weights / weights.sum(-1, keepdims=True), v)
    np.testing.assert_allclose(attend(q, k, v), theirs, atol=2e-6)


@pytest.mark.usefixtures("logits")
def test_many_tokens_can_be_learned_from():
    q, k, v = draw(1, MANY, 2, 8)
    slopes = [jax.grad(lambda *x, run=run: (run(*x) ** 2).sum(), (0, 1, 2))(q, k, v) for run in (attention.attend, whole)]
    for ours, theirs in zip(*slopes, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def whole(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    weights = jax.nn.softmax(jnp.einsum("bnhd,bmhd->bhnm", q, k) / 8**0.5, -1)
    return jnp.einsum("bhnm,bmhd->bnhd", weights, v)


@pytest.mark.parametrize(
    ("platform", "tokens", "products"), [("cpu", MANY, 4), ("cpu", 5000, 2), ("tpu", MANY, 2), ("cuda", MANY, 2)]
)
def test_only_a_cpu_takes_some_queries_at_a_time(platform, tokens, products, logits):
    """And only an older JAX, and not too many times some: each is compiled."""
    shape = jax.ShapeDtypeStruct((1, tokens, 2, 8), jnp.float32)
    exported = jax.export.export(jax.jit(lambda *x: attention.attend(*x)), platforms=[platform])(shape, shape, shape)
    assert exported.mlir_module().count("stablehlo.dot_general") == (products if logits == 2**16 else 2)


def test_tokens_before_the_patches_are_not_turned():
    cfg = replace(ROTARY, registers=2)
    x, angles = draw(2, 3 + 24, 3, 8)[0], jnp.asarray(places(cfg))
    turned = turn(x, angles)
    np.testing.assert_array_equal(turned[:, :4], x[:, :4])  # three of them, and the patch at the origin
    assert not jnp.isclose(turned[:, 4:], x[:, 4:]).all(-1).any()
    np.testing.assert_allclose(jnp.linalg.norm(turned, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5)


@pytest.mark.parametrize("grid", [None, 16, (5, 9)])
def test_a_product_of_turned_tokens_tells_how_far_apart_they_are(grid):
    cfg = replace(ROTARY, cls=False, pool="mean", rotary_grid=grid)
    q, k, _ = draw(1, 1, 1, 8)
    angles = jnp.asarray(places(cfg))
    q, k = (turn(jnp.broadcast_to(x, (1, 24, 1, 8)), angles).reshape(6, 4, 8) for x in (q, k))
    products = jnp.einsum("rcd,xyd->rcxy", q, k)
    for down, across in (0, 1), (2, 0), (3, 2), (-1, 2):
        same = [products[r, c, r + down, c + across] for r in range(1, 3) for c in range(2)]
        np.testing.assert_allclose(same, same[0], atol=1e-5)
    assert not np.isclose(products[0, 0, 0, 1], products[0, 0, 1, 0], atol=1e-3)  # a step down is not a step across


def test_places_are_scaled_onto_the_grid_of_pretraining():
    wide = replace(ROTARY, image=(48, 32), rotary_grid=(6, 4))
    small, large = (places(cfg)[:, 1:].reshape(2, *cfg.grid, 8) for cfg in (replace(ROTARY, rotary_grid=(6, 4)), wide))
    np.testing.assert_allclose(large[:, ::2, ::2], small, atol=1e-6)


def test_rotary_positions_that_cannot_be():
    with pytest.raises(Error, match="multiple of 4, not 6"):
        replace(ROTARY, width=18)
    for changes in {"rotary": False, "rotary_grid": 16}, {"rotary_grid": (0, 4)}:
        with pytest.raises(Error, match="is for rotary=True"):
            replace(ROTARY, **changes)
    assert replace(ROTARY, rotary_grid=(16, 16)).rotary_grid == 16


def test_gelu_in_bfloat16():
    """Of every number there is, the neighbour of the true one at most; where digits are lost, far below zero, 1e-6."""
    x = np.arange(2**16, dtype=np.uint16).view(jnp.bfloat16)
    x = x[np.isfinite(x.astype(np.float32))]
    ours = np.asarray(ACTS["gelu"](jnp.asarray(x)), np.float64)
    exact = np.array([value * 0.5 * math.erfc(-value / math.sqrt(2)) for value in x.astype(float)])
    np.testing.assert_allclose(ours, exact, rtol=2**-8, atol=1e-6)


@pytest.mark.parametrize("mean", [0, 1, 30])
def test_variance_in_one_pass(mean):
    """LayerNorm of bfloat16 is that of float32, rounded: with means of many deviations, too."""
    x = (mean + jax.random.normal(jax.random.key(0), (64, 1024))).astype(jnp.bfloat16)
    norm: Any = LayerNorm(1e-6)
    params = norm.init(jax.random.key(0), x)
    exact = norm.apply(params, x.astype(jnp.float32))
    np.testing.assert_allclose(norm.apply(params, x).astype(jnp.float32), exact, rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_columns_are_the_same_attention(causal):
    """A TPU's way to write it, run here."""
    for dtype, atol in (jnp.float32, 2e-6), (jnp.bfloat16, 2e-2):
        q, k, v = (x.astype(dtype) for x in draw(2, 20, 3, 8))
        ours, theirs = attention._columns(q, k, v, causal), attention._attend(q, k, v, causal)
        np.testing.assert_allclose(ours.astype(jnp.float32), theirs.astype(jnp.float32), atol=atol)
