"""Attention, Mlp and Block: every encoder here is a stack of Blocks that differ in configuration, not in class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen.dtypes import promote_dtype
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from . import mesh
from .attention import Option, attend, product
from .config import TextConfig, ViTConfig, hw

Tower = ViTConfig | TextConfig  # what goes through Blocks
Remat = Literal["none", "dots", "blocks"]
INIT = nn.initializers.truncated_normal(0.02)


@partial(jax.checkpoint, prevent_cse=False)  # going backwards it needs what came in, not three arrays of float32 made of it
def gelu(x: Array) -> Array:
    """x times the share of a normal distribution below x, in float32, as torch writes it.

    jax.nn.gelu takes erfc, for its relative error far below zero, where the product is next to nothing. On TPU that is most of
    an MLP's time but for its products (ViT-L/14 on v5e, 16 pictures: the compiler's estimate is 691 thousand cycles an MLP,
    582 so), and is computed twice, as a part of the next product.
    """
    y = x.astype(jnp.float32)
    return (0.5 * y * (1 + jax.lax.erf(y * np.float32(0.5**0.5)))).astype(x.dtype)


# The three GELUs are three functions: erf (timm, HF ViT, EVA), tanh (Google's own code, and what jax.nn.gelu means when
# not told otherwise), and the sigmoid of OpenAI's CLIP. They differ by 5e-4 and 2e-2 per activation.
ACTS = {
    "gelu": gelu,
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "silu": jax.nn.silu,
}


def linear(equation: str, shape: tuple[int, ...], bias: bool, dtype: DTypeLike, name: str | None = None) -> nn.Einsum:
    """A product with a kernel whose axes have names. float32 asked for is float32 given, on TPU and with TF32 too.

    In bfloat16 the precision changes no number; but a TPU's compiler merges products of the default one into the next, as that
    of queries into their logits, and computes them several times (ViT-L/14 on v5e: 1.28 times the cycles, by its estimate).
    """
    axes = equation.split("->")[0].split(",")[1]

    def operands(*arrays: Array | None, dtype: DTypeLike) -> list[Array | None]:
        x, kernel, bias = promote_dtype(*arrays, dtype=dtype)
        return [x, mesh.whole(kernel, [axis in "hm" for axis in axes]), bias]  # all but heads and hidden units

    how: dict[str, Any] = {"precision": "highest", "kernel_init": INIT, "promote_dtype": operands}
    return nn.Einsum(shape, equation, bias, dtype=dtype, name=name, **how)


class LayerNorm(nn.Module):
    """LayerNorm in float32, whatever comes in and goes out; flax's mixes dtypes, and rounds float32's variance in one pass."""

    eps: float

    @nn.compact
    def __call__(self, x: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:]).astype(jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:]).astype(jnp.float32)
        y = x.astype(jnp.float32)
        mean = y.mean(-1, keepdims=True)
        if x.dtype == jnp.bfloat16:
            # In one pass, which a TPU makes a part of the product before (8 % of the cycles of ViT-L/14, by the compiler's
            # estimate). It is off by more than bfloat16 is where the mean is a hundred deviations: x has lost these already
            variance = jnp.maximum(jnp.square(y).mean(-1, keepdims=True) - jnp.square(mean), 0)
        else:
            variance = jnp.square(y - mean).mean(-1, keepdims=True)
        y = (y - mean) * jax.lax.rsqrt(variance + self.eps)
        return (y * jnp.broadcast_to(scale, y.shape) + jnp.broadcast_to(bias, y.shape)).astype(x.dtype)


@cache
def places(cfg: ViTConfig) -> np.ndarray:
    """(2, tokens, head width): sine and cosine of the angle by which a query or key at its place is turned, pair by pair.

    As timm/layers/pos_embed_sincos.py (build_rotary_pos_embed) and EVA-02/asuka/rope.py have them: half of the pairs tell the
    row, half the column. In float32, as there, and once for a network: an angle that is rounded otherwise has another sine.
    Tokens before the patches are not turned.
    """
    count = cfg.head_width // 4
    periods = 10000.0 ** (np.arange(count, dtype=np.float32) / np.float32(count)).astype(np.float64)
    bands = np.float32(1) / periods.astype(np.float32)  # as torch rounds them
    axes = [np.arange(n, dtype=np.float32) for n in cfg.grid]
    if cfg.rotary_grid is not None:
        axes = [axis / np.float32(len(axis)) * np.float32(n) for axis, n in zip(axes, hw(cfg.rotary_grid), strict=True)]
    angles = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2, 1) * bands
    angles = np.pad(angles.reshape(len(angles), -1).repeat(2, axis=1), ((cfg.prefix, 0), (0, 0)))
    return np.stack([np.sin(angles), np.cos(angles)])


def angles(cfg: Tower) -> Float[Array, "2 N D"] | None:
    """`places` of a network that has rotary positions."""
    return jnp.asarray(places(cfg)) if isinstance(cfg, ViTConfig) and cfg.rotary else None


def turn(x: Float[Array, "B N H D"], angles: Float[Array, "2 N D"]) -> Float[Array, "B N H D"]:
    """Every pair (a, b) of x turned by its angle: (a cos - b sin, b cos + a sin), in float32.

    (-b, a) is a product with a matrix of 0, 1 and -1, which is exact. By slices it would cost a TPU two thirds more of a Block
    (EVA-02 B on v5e, batch 32: the compiler's estimate is 5.8 million cycles a Block, 3.6 so, and 3.4 without any turning).
    """
    sin, cos = jnp.broadcast_to(angles[:, None, :, None], (2, *x.shape))
    quarter = jnp.asarray(np.kron(np.eye(x.shape[-1] // 2), [[0, 1], [-1, 0]]), x.dtype)
    turned = product("bnhd,de->bnhe", x, quarter)
    return (x.astype(jnp.float32) * cos + turned * sin).astype(x.dtype)


class Attention(nn.Module):
    """Multi-head attention of x to `context` (to itself, if None); `angles` as `places` has them, where positions are rotary."""

    cfg: Tower
    dtype: DTypeLike = jnp.float32
    attention: Option = "xla"

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B N C"],
        context: Float[Array, "B M C"] | None = None,
        angles: Float[Array, "2 N D"] | None = None,
    ) -> Float[Array, "B N C"]:
        cfg, shape = self.cfg, (self.cfg.width, self.cfg.heads, self.cfg.head_width)
        context = x if context is None else context
        q = linear("bnc,chd->bnhd", shape, bool(cfg.qkv_bias), self.dtype, "query")(x)
        k = linear("bnc,chd->bnhd", shape, cfg.qkv_bias is True, self.dtype, "key")(context)
        v = linear("bnc,chd->bnhd", shape, bool(cfg.qkv_bias), self.dtype, "value")(context)
        if cfg.qk_norm:
            q = LayerNorm(cfg.eps, name="query_norm")(q)
            k = LayerNorm(cfg.eps, name="key_norm")(k)
        if angles is not None:
            q, k = turn(q, angles), turn(k, angles)
        y = attend(q, k, v, cfg.causal and context is x, self.attention)
        if cfg.attn_norm:  # over all heads at once
            y = LayerNorm(cfg.eps, name="norm")(y.reshape(x.shape)).reshape(y.shape)
        # h before k, for einsum sums in the order of the alphabet: by "hdc" a CPU turned over each kernel, d before h
        return linear("bnhk,hkc->bnc", (*shape[1:], cfg.width), cfg.bias, self.dtype, "out")(y)


class Mlp(nn.Module):
    """down(act(up(x))), or down(act(gate(x)) * up(x))."""

    cfg: Tower
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B N C"]) -> Float[Array, "B N C"]:
        cfg, act = self.cfg, ACTS[self.cfg.act]
        y = linear("bnc,cm->bnm", (cfg.width, cfg.mlp), cfg.bias, self.dtype, "up")(x)
        if cfg.gated:
            y = act(linear("bnc,cm->bnm", (cfg.width, cfg.mlp), cfg.bias, self.dtype, "gate")(x)) * y
        else:
            y = act(y)
        if cfg.mlp_norm:
            y = LayerNorm(cfg.eps, name="norm")(y)
        return linear("bnm,mc->bnc", (cfg.mlp, cfg.width), cfg.bias, self.dtype, "down")(y)


class Block(nn.Module):
    """x + attn(norm(x)), then x + mlp(norm(x)). An encoder is this, `depth` times."""

    cfg: Tower
    dtype: DTypeLike = jnp.float32
    attention: Option = "auto"

    @nn.compact
    def __call__(
        self, x: Float[Array, "B N C"], rate: Float[Array, ""], train: bool, angles: Float[Array, "2 N D"] | None = None
    ) -> tuple[Array, None]:
        x = mesh.spread(x)
        attn = Attention(self.cfg, self.dtype, self.attention, name="attn")
        x = self.add(x, partial(attn, angles=angles), 1, rate, train)
        x = self.add(x, Mlp(self.cfg, self.dtype, name="mlp"), 2, rate, train)
        return x, None  # (carry, output): the shape nn.scan asks for

    def add(self, x: Array, branch: Callable[[Array], Array], number: int, rate: Array, train: bool) -> Array:
        """x + the branch, normed before or after, scaled, and dropped for some images while training."""
        cfg = self.cfg
        norm = LayerNorm(cfg.eps, name=f"norm{number}")
        y = norm(branch(x)) if cfg.norm_post else branch(norm(x))
        if cfg.layer_scale is not None:
            scale = self.param(f"scale{number}", nn.initializers.constant(cfg.layer_scale), (cfg.width,))
            y = y * scale[None, None].astype(self.dtype)
        if train and cfg.drop_path:
            # stochastic depth (Huang et al. 2016, arXiv:1603.09382): an image goes round the branch, or has more of it
            keep = jax.random.bernoulli(self.make_rng("drop_path"), 1 - rate, (len(x), 1, 1))
            y = y * (keep.astype(rate.dtype) / (1 - rate)).astype(y.dtype)
        return x + y


# What is computed again going backwards, so that it need not be kept: by name, what may be kept.
REMAT: dict[str, Callable[..., Any]] = {
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,  # products with weights; not logits, norms and activations
    "blocks": jax.checkpoint_policies.nothing_saveable,  # what enters a Block
}


def stack(cfg: Tower, dtype: DTypeLike, remat: Remat = "none", attention: Option = "auto") -> nn.Module:
    """The Blocks of a tower as one that is scanned: parameters have a leading depth axis, and one block is compiled."""
    block = Block
    if remat != "none":  # a loop's passes are not merged anyway; 3: `train`
        block = nn.remat(Block, policy=REMAT[remat], prevent_cse=False, static_argnums=(3,))
    scanned = nn.scan(
        block,
        variable_axes={"params": 0, "intermediates": 0},
        split_rngs={"params": True, "drop_path": True},
        in_axes=(0, nn.broadcast, nn.broadcast),  # type: ignore[arg-type]
        length=cfg.depth,
        check_constancy_invariants=False,  # nothing is broadcast out of a block, and the check traces it a second time
    )
    return scanned(cfg, dtype, attention)


class Pool(nn.Module):
    """Attention pooling: a learned probe looks at all tokens (MAP of Zhai et al. 2021, arXiv:2106.04560).

    With one query there is nothing for a flash kernel to save, so it is XLA's attention everywhere.
    """

    cfg: Tower
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "B N C"]) -> Float[Array, "B C"]:
        # timm's AttentionPoolLatent and big_vision's MAPHead have all biases and a plain MLP, whatever the blocks have.
        act, eps = self.cfg.pool_act or self.cfg.act, self.cfg.pool_eps or self.cfg.eps
        cfg = replace(self.cfg, act=act, eps=eps, qkv_bias=True, bias=True, qk_norm=False, attn_norm=False)
        cfg = replace(cfg, mlp_norm=False, gated=False)
        probe = self.param("probe", INIT, (cfg.width,)).astype(self.dtype)
        y = Attention(cfg, self.dtype, name="attn")(jnp.broadcast_to(probe, (len(x), 1, cfg.width)), x)
        y += Mlp(cfg, self.dtype, name="mlp")(LayerNorm(cfg.eps, name="norm")(y))
        return y[:, 0]
