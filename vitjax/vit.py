"""The Vision Transformer: images -> tokens -> pooled features -> logits."""

from __future__ import annotations

import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float

from .attention import Option
from .config import ViTConfig
from .layers import INIT, LayerNorm, Pool, Remat, angles, linear, stack


class ViT(nn.Module):
    """A Vision Transformer as `cfg` says. `dtype` is that of the computation; LayerNorm statistics and softmax stay float32."""

    cfg: ViTConfig
    dtype: DTypeLike = jnp.float32
    remat: Remat = "none"  # what of the blocks is computed again backwards
    attention: Option = "auto"  # whose attention the blocks have

    def setup(self) -> None:
        cfg, dtype, width = self.cfg, self.dtype, self.cfg.width
        # A strided convolution is a product of cut-out patches: written so, it is one matrix product on every backend.
        # einsum sums axes in the order of the alphabet: with these letters as the kernel has them, so that it is not turned over
        self.patch = linear("bhpwqr,pqrd->bhwd", (cfg.patch, cfg.patch, 3, width), cfg.patch_bias, dtype)
        if cfg.cls:
            self.cls = self.param("cls", nn.initializers.normal(1e-6), (width,))
        if cfg.registers:
            self.registers = self.param("registers", nn.initializers.normal(1e-6), (cfg.registers, width))
        if cfg.positions != "none":
            self.positions = self.param("positions", INIT, (position_count(cfg), width))
        if cfg.norm_pre:
            self.norm_pre = LayerNorm(cfg.eps)
        self.blocks = stack(cfg, dtype, self.remat, self.attention)
        if cfg.norm != "none":
            self.norm = LayerNorm(cfg.eps)
        if cfg.pool == "map":
            self.pool = Pool(cfg, dtype)
        if cfg.representation:
            self.pre_logits = linear("bc,ck->bk", (cfg.width * (1 + (cfg.pool == "token_mean")), cfg.representation), True, dtype)
        if cfg.classes:
            self.head = linear("bc,ck->bk", (cfg.features, cfg.classes), cfg.head_bias, dtype)
        if cfg.classes and cfg.distilled:
            self.head_distilled = linear("bc,ck->bk", (width, cfg.classes), cfg.head_bias, dtype)

    def __call__(self, images: Float[Array, "B H W 3"], train: bool = False) -> Float[Array, "B K"]:
        """Logits; for a headless model the pooled features."""
        return self.forward_head(self.forward_features(images, train))

    def embed(self, images: Float[Array, "B H W 3"]) -> Float[Array, "B N C"]:
        """The tokens that enter the first block: class token, registers (or these first), patches in rows."""
        cfg, (rows, columns) = self.cfg, self.cfg.grid
        images = images[:, : rows * cfg.patch, : columns * cfg.patch].astype(self.dtype)
        x = self.patch(rearrange(images, "b (h p) (w q) c -> b h p w q c", p=cfg.patch, q=cfg.patch))
        x = rearrange(x, "b h w d -> b (h w) d")
        none = jnp.zeros((0, cfg.width), self.dtype)
        cls = self.cls[None].astype(self.dtype) if cfg.cls else none
        registers = self.registers.astype(self.dtype) if cfg.registers else none
        lead = none
        if cfg.positions != "none":
            lead, grid = jnp.split(self.positions.astype(self.dtype), [position_count(cfg) - rows * columns])
            x += grid[None]
        if cfg.positions == "cls":
            cls += lead
        prefix = jnp.concatenate([registers, cls] if cfg.registers_first else [cls, registers])
        if cfg.positions == "all":
            prefix += lead
        x = jnp.concatenate([jnp.broadcast_to(prefix, (len(x), *prefix.shape)), x], axis=1)
        return self.norm_pre(x) if cfg.norm_pre else x

    def forward_features(self, images: Float[Array, "B H W 3"], train: bool = False) -> Float[Array, "B N C"]:
        """All tokens after the last block, and after the final norm where that comes before pooling."""
        x = self.encode(self.embed(images), train)
        return self.norm(x) if self.cfg.norm == "before" else x

    def encode(self, x: Float[Array, "B N C"], train: bool = False) -> Float[Array, "B N C"]:
        """Tokens through all blocks. compute.py puts something else in its place where a large network runs on a CPU."""
        rates = jnp.linspace(0, self.cfg.drop_path, self.cfg.depth)
        return self.blocks(x, rates, train, angles(self.cfg))[0]

    def forward_head(self, tokens: Float[Array, "B N C"], pre_logits: bool = False) -> Float[Array, "B K"]:
        """What enters the head (pooled features, or the representation made of them), and logits from it unless `pre_logits`."""
        cfg = self.cfg
        if cfg.classes and cfg.distilled and not pre_logits:
            x = self.norm(tokens) if cfg.norm == "after" else tokens
            return (self.head(x[:, cfg.cls_at]) + self.head_distilled(x[:, cfg.registers_at])) / 2
        x = self.pooled(tokens)
        if cfg.representation:
            x = jnp.tanh(self.pre_logits(x))
        return self.head(x) if cfg.classes and not pre_logits else x

    def pooled(self, tokens: Float[Array, "B N C"]) -> Float[Array, "B F"]:
        """One vector for a picture, normed."""
        cfg = self.cfg
        token, seen = tokens[:, cfg.cls_at], tokens if cfg.pool_prefix else tokens[:, cfg.prefix :]
        match cfg.pool:
            case "token" if cfg.distilled:
                x = (token + tokens[:, cfg.registers_at]) / 2
            case "token":
                x = token
            case "mean":
                x = seen.mean(1, dtype=jnp.float32).astype(self.dtype)
            case "map":
                x = self.pool(seen)
            case "token_mean":
                x = jnp.concatenate([token, seen.mean(1, dtype=jnp.float32).astype(self.dtype)], axis=-1)
        return self.norm(x) if cfg.norm == "after" else x


def position_count(cfg: ViTConfig) -> int:
    """How many learned positions: one a patch, and one for each prefix token that has one."""
    rows, columns = cfg.grid
    return rows * columns + {"all": cfg.prefix, "cls": 1, "patches": 0, "none": 0}[cfg.positions]
