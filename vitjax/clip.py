"""CLIP: an image and a text tower whose outputs meet in one space (arXiv:2103.00020), and SigLIP (arXiv:2303.15343)."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from .attention import Option
from .config import CLIPConfig, TextConfig
from .layers import INIT, LayerNorm, Pool, Remat, linear, stack
from .vit import ViT

Ids = Int[Array, "B N"]


class Text(nn.Module):
    """A text tower: ids -> tokens -> one vector -> the space of the image tower."""

    cfg: TextConfig
    dtype: DTypeLike = jnp.float32
    remat: Remat = "none"
    attention: Option = "auto"

    def setup(self) -> None:
        cfg, dtype = self.cfg, self.dtype
        self.embedding = self.param("embedding", INIT, (cfg.vocab, cfg.width))
        self.positions = self.param("positions", nn.initializers.normal(0.01), (cfg.context, cfg.width))
        self.blocks = stack(cfg, dtype, self.remat, self.attention)
        self.norm = LayerNorm(cfg.eps)
        if cfg.pool == "map":
            self.pool = Pool(cfg, dtype)
        if cfg.classes:
            self.head = linear("bc,ck->bk", (cfg.width, cfg.classes), cfg.head_bias, dtype)

    def __call__(self, ids: Ids, train: bool = False) -> Float[Array, "B K"]:
        """Projected features; of a tower without projection the pooled ones."""
        return self.forward_head(self.forward_features(ids, train), ids)

    def embed(self, ids: Ids) -> Float[Array, "B N C"]:
        """The tokens that enter the first block."""
        return self.embedding[ids].astype(self.dtype) + self.positions[None, : ids.shape[1]].astype(self.dtype)

    def forward_features(self, ids: Ids, train: bool = False) -> Float[Array, "B N C"]:
        """All tokens after the final norm."""
        return self.norm(self.encode(self.embed(ids), train))

    def encode(self, x: Float[Array, "B N C"], train: bool = False) -> Float[Array, "B N C"]:
        """Tokens through all blocks, as ViT's."""
        rates = jnp.linspace(0, self.cfg.drop_path, self.cfg.depth)
        return self.blocks(x, rates, train, None)[0]

    def forward_head(self, tokens: Float[Array, "B N C"], ids: Ids, pre_logits: bool = False) -> Float[Array, "B K"]:
        """What enters the projection, and unless `pre_logits` what comes out of it."""
        x = self.pooled(tokens, ids)
        return self.head(x) if self.cfg.classes and not pre_logits else x

    def pooled(self, tokens: Float[Array, "B N C"], ids: Ids) -> Float[Array, "B C"]:
        """One vector for a text. What follows the end of a text does not count, unless the last token does."""
        match self.cfg.pool:
            case "map":
                return self.pool(tokens)
            case "last":
                return tokens[:, -1]
            case "argmax":  # of several, the first, as torch.argmax on a CPU
                at = ids.argmax(1)
            case "eos":  # transformers takes the first token where there is none, and so does argmax
                at = (ids == self.cfg.eos).argmax(1)
        return jnp.take_along_axis(tokens, at[:, None, None], axis=1)[:, 0]


class CLIP(nn.Module):
    """Two towers, one temperature. Features and logits are compared in float32, whatever the towers compute in."""

    cfg: CLIPConfig
    dtype: DTypeLike = jnp.float32
    remat: Remat = "none"
    attention: Option = "auto"

    def setup(self) -> None:
        self.image = ViT(self.cfg.image, self.dtype, self.remat, self.attention)
        self.text = Text(self.cfg.text, self.dtype, self.remat, self.attention)
        # As both papers begin: 1 / 0.07 (CLIP), 10 and a bias of -10 (SigLIP). The temperature is kept as its logarithm.
        scale = math.log(10 if self.cfg.sigmoid else 1 / 0.07)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(scale), ())
        if self.cfg.sigmoid:
            self.logit_bias = self.param("logit_bias", nn.initializers.constant(-10.0), ())

    def __call__(
        self, images: Float[Array, "B H W 3"], ids: Int[Array, "T N"], train: bool = False
    ) -> tuple[Float[Array, "B T"], Float[Array, "T B"]]:
        """Logits of every image for every text, and of every text for every image."""
        logits = self.logits(unit(self.image(images, train)), unit(self.text(ids, train)))
        return logits, logits.T

    def logits(self, images: Float[Array, "B E"], texts: Float[Array, "T E"]) -> Float[Array, "B T"]:
        """How well features of length 1 fit each other, on the learned scale."""
        logits = jnp.einsum("be,te->bt", images, texts, precision="highest") * jnp.exp(self.logit_scale.astype(jnp.float32))
        return logits + self.logit_bias.astype(jnp.float32) if self.cfg.sigmoid else logits


@jax.jit  # or each of its operations would be sent by itself, and its numbers from the host
def unit(features: Float[Array, "B E"]) -> Float[Array, "B E"]:
    """Features of length 1, float32."""
    x = features.astype(jnp.float32)
    return x * jnp.broadcast_to(1 / jnp.linalg.norm(x, axis=-1, keepdims=True), x.shape)
