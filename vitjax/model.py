"""A network with its parameters: what `load` returns, and what one does with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict
from jax import Array
from jaxtyping import Float

from .attention import Choice, Option, choose
from .attention_maps import attention_maps
from .clip import CLIP, Text
from .compute import run
from .config import CLIPConfig, Config, Error, Spec, TextConfig, ViTConfig, hw
from .layers import Remat
from .preprocess import preprocess
from .vit import ViT

Params = Mapping[str, Any]  # a nested dict of arrays
Images = Array | np.ndarray  # (B, H, W, 3) float, as Model.preprocess makes them; Model checks it and says what is wrong


def build(config: Config, dtype: str = "float32", remat: Remat = "none", attention: Option = "auto") -> Any:
    """The module of a config (ViT, Text or CLIP); `module.apply({"params": params}, *inputs)` is a pure function.

    remat: what is computed again in the backward pass instead of kept: nothing, all of a block but its products with
        weights ("dots"), or all of it ("blocks"). Numbers and parameters are the same.
    attention: of the blocks. "auto": cuDNN's flash attention where it can run (an NVIDIA GPU from Ampere on, bfloat16 or
        float16), else "xla", which runs everywhere, and is what a network for jax.export needs. "cudnn" is that or an Error.
        Parameters are the same, numbers but for rounding.
    """
    module = {ViTConfig: ViT, TextConfig: Text, CLIPConfig: CLIP}[type(config)]
    return module(config, jnp.dtype(dtype), remat, attention)


def inputs(config: Config) -> tuple[jax.ShapeDtypeStruct, ...]:
    """What a network of a config takes: one picture, one text, or both."""
    match config:
        case ViTConfig():
            return (jax.ShapeDtypeStruct((1, *hw(config.image), 3), jnp.float32),)
        case TextConfig():
            return (jax.ShapeDtypeStruct((1, config.context), jnp.int32),)
        case CLIPConfig():
            return inputs(config.image) + inputs(config.text)


@lru_cache(64)  # tracing a network takes 0.2 s, and reading a file asks several times
def abstract(config: Config) -> Params:
    """The parameter tree of a config without its numbers: the one source of names and sizes."""
    module = build(config)
    # The key is made inside: outside, two programs would be compiled for it
    return dict(jax.eval_shape(lambda *x: module.init(jax.random.key(0), *x), *inputs(config))["params"])


def shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """path -> shape of every parameter, the path with slashes."""
    flat: Any = flatten_dict(abstract(config), sep="/")
    return {path: leaf.shape for path, leaf in flat.items()}


@partial(jax.jit, static_argnums=0)
def _initialise(module: Any, key: Array) -> Params:
    return module.init(key, *(jnp.zeros(x.shape, x.dtype) for x in inputs(module.cfg)))["params"]


def initialise(config: Config, seed: int = 0) -> Params:
    """Random parameters, float32."""
    return _initialise(build(config), jax.random.key(seed))


def softmax(logits: Array) -> np.ndarray:
    """Probabilities of logits (B, classes), float32. By numpy: a thousand numbers are not worth the compiling."""
    x = np.asarray(logits, np.float32)
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def ranked(images: Any, labels: Sequence[str], probabilities: np.ndarray, top: int | None) -> Any:
    """The `top` (label, probability) of each row, best first; of one picture that is no list, the only row's."""
    rows = [[(labels[i], float(row[i])) for i in np.argsort(-row, kind="stable")[:top]] for row in probabilities]
    return rows if isinstance(images, list | tuple) or np.ndim(images) == 4 else rows[0]


def _embed(module: ViT, images: Array) -> Array:
    return module.forward_head(module.forward_features(images), pre_logits=True)


def _outputs(module: ViT, images: Array) -> dict[str, Array]:
    tokens, cfg = module.forward_features(images), module.cfg
    out = {"tokens": tokens, "pooled": module.pooled(tokens)}
    out |= {"pre_logits": module.forward_head(tokens, pre_logits=True)} if cfg.representation else {}
    return out | ({"logits": module.forward_head(tokens)} if cfg.classes else {})


@partial(jax.jit, static_argnums=(0, 1))
def _stages(module: nn.Module, outputs: Callable, params: Params, x: Array) -> Any:
    """The outputs, and what the parts returned on the way: those of the blocks stacked (depth, B, N, C)."""

    def keep(part: nn.Module, method: str) -> bool:
        return method == "embed" or (method == "__call__" and part.name in ("patch", "blocks", "attn", "mlp"))

    variables = {"params": params}
    out, state = module.apply(variables, x, method=outputs, capture_intermediates=keep, mutable=["intermediates"])
    return out, state["intermediates"]


def stages(module: Any, outputs: Callable, params: Params, x: Array, names: Sequence[str]) -> dict[str, Array]:
    """What a tower computes, stage by stage: patch, embed, block_00/attn, ..., and those of its `outputs` in `names`."""
    out, inner = _stages(module, outputs, params, x)
    blocks, found = inner["blocks"], {"embed": inner["embed"][0]}
    if "patch" in inner:
        patch = inner["patch"]["__call__"][0]
        found = {"patch": patch.reshape(len(patch), -1, module.cfg.width)} | found
    for i in range(module.cfg.depth):
        found[f"block_{i:02}/attn"] = blocks["attn"]["__call__"][0][i]
        found[f"block_{i:02}/mlp"] = blocks["mlp"]["__call__"][0][i]
        found[f"block_{i:02}"] = blocks["__call__"][0][0][i]
    return found | {name: out[name] for name in names if name in out}  # jit sorts a dict's keys


def picked(config: ViTConfig | TextConfig, blocks: Sequence[int]) -> tuple[int, ...]:
    """Numbers of blocks, of which negative ones count from the last; Error where the network has no such block."""
    depth = config.depth
    if bad := [b for b in blocks if not -depth <= b < depth]:
        raise Error(f"blocks {bad} are not in a network of {depth} blocks: give numbers from {-depth} to {depth - 1}")
    return tuple(blocks)


@partial(jax.jit, static_argnums=(0, 3, 4))
def _feature_maps(module: ViT, params: Params, images: Array, blocks: tuple[int, ...], norm: bool) -> list[Array]:
    def keep(part: nn.Module, method: str) -> bool:
        return part.name == "blocks" and method == "__call__"

    variables, cfg = {"params": params}, module.cfg
    state: Any
    _, state = module.apply(variables, images, method="forward_features", capture_intermediates=keep, mutable=["intermediates"])
    tokens, _ = state["intermediates"]["blocks"]["__call__"][0]  # (depth, B, N, C)
    after = [tokens[block] for block in blocks]
    if norm and cfg.norm == "before":
        after = [jnp.asarray(module.apply(variables, x, method=lambda m, x: m.norm(x))) for x in after]
    return [x[:, cfg.prefix :].reshape(len(x), *cfg.grid, cfg.width) for x in after]


@partial(jax.tree_util.register_dataclass, data_fields=["params"], meta_fields=["spec", "dtype", "attention"])
@dataclass(frozen=True)
class Model:
    """A frozen pair of spec and parameters. It is a pytree whose leaves are the parameters.

    Images are (B, H, W, 3) float, as `preprocess` makes them; any other array is an Error that says the shape. `dtype` is that
    of the computation and of what comes out. Each method is compiled once for each shape. Numbers are those of the library in
    `spec.source.reference`, to 1e-4 of a stage's largest in float32 (1e-5 for small networks).
    """

    spec: Spec
    params: Params
    dtype: str = "float32"
    attention: Option = "auto"  # as `build` has it

    @property
    def config(self) -> ViTConfig:
        return self.spec.vit

    @property
    def module(self) -> ViT:
        return build(self.spec.config, self.dtype, attention=self.attention)

    @property
    def attention_kernel(self) -> Choice:
        """Whose attention this network runs on this machine, "xla" or "cudnn", and why."""
        return choose(self.attention, self.dtype, self.config.head_width)

    def preprocess(self, images: Any) -> np.ndarray:
        """A PIL image, a path, a uint8 array, or a list of these, as the (B, H, W, 3) float32 this network was trained on.

        As `spec.preprocess` says: resized, cropped, (value / 255 - mean) / std. What cannot be read is an Error that names it.
        """
        return preprocess(images, self.spec.preprocess)

    def __call__(self, x: Images) -> Float[Array, "B K"]:
        """Logits (B, classes), before any softmax; for a headless model the pooled features, as from `embed`."""
        return run(self.module, "__call__", self.params, self._images(x))

    def forward_features(self, x: Images) -> Float[Array, "B N C"]:
        """All tokens (B, prefix + patches, width) after the final norm (before it, where that follows pooling, as in timm)."""
        return run(self.module, "forward_features", self.params, self._images(x))

    def forward_head(self, tokens: Array | np.ndarray, pre_logits: bool = False) -> Float[Array, "B K"]:
        """Logits (B, classes) from tokens (B, N, width), or with `pre_logits` what enters the head, as from `embed`."""
        return run(self.module, "forward_head", self.params, jnp.asarray(tokens), options=(pre_logits,))

    def embed(self, x: Images) -> Float[Array, "B F"]:
        """Pooled features (B, features), which the head takes; `config.features` is the width, or a later layer's."""
        return run(self.module, _embed, self.params, self._images(x))

    def feature_maps(self, x: Images, blocks: Sequence[int] = (-1,), norm: bool = False) -> list[Float[Array, "B h w C"]]:
        """What the patch tokens are after each of `blocks`: of each (B, rows, columns, width), `config.grid` of them.

        blocks: from 0, negative ones from the last; an Error where there is none of that number.
        norm: after the final norm, too. Equals timm's forward_intermediates, channels last.
        """
        return _feature_maps(self.module, self.params, self._images(x), picked(self.config, blocks), norm)

    def attention_maps(self, x: Images, blocks: Sequence[int] | None = None) -> Float[Array, "L B H N N"]:
        """How much each token takes from each other, float32, of each of `blocks` (None: all), picture and head.

        Tokens are in the network's order: class token, registers, patches in rows. Each row [l, b, h, n] is a softmax: it adds up
        to 1. Equals timm's Attention with fused_attn off. One picture of ViT-L/14 has 24 x 16 x 257 x 257 numbers, 100 MB.
        """
        blocks = range(self.config.depth) if blocks is None else blocks
        return attention_maps(self.module, self.params, self._images(x), picked(self.config, blocks))

    def stages(self, x: Images) -> dict[str, Array]:
        """What the network computes, stage by stage, for comparing with another: patch, embed, block_00/attn, ..., logits."""
        names = ("tokens", "pooled", "pre_logits", "logits")
        return stages(self.module, _outputs, self.params, self._images(x), names)

    def classify(self, images: Any, top: int = 5) -> list[tuple[str, float]] | list[list[tuple[str, float]]]:
        """The `top` (label, probability) of a picture, best first; for a list of pictures, a list of these.

        Labels are `spec.labels`, or else the numbers of classes. Of a network without a head, an Error.
        """
        if not self.config.classes:
            raise Error(f"{self.spec.name} has no classifier: load one with classes, or use embed()")
        labels = self.spec.labels or tuple(map(str, range(self.config.classes)))
        return ranked(images, labels, softmax(self(self.preprocess(images))), top)

    def _images(self, x: Any) -> Array:
        shape, wanted = np.shape(x), (*hw(self.config.image), 3)
        if len(shape) != 4 or shape[1:] != wanted or not jnp.issubdtype(x.dtype, jnp.floating):
            raise Error(
                f"{self.spec.name} takes a float array of shape (B, {', '.join(map(str, wanted))}), not {x.dtype} {shape}: "
                "use model.preprocess(picture), or load(..., image=(height, width)) for another size"
            )
        # A copy, for on a CPU the device would share the caller's memory; jnp.asarray copies too, by a program that it compiles
        return x if isinstance(x, Array) else jax.device_put(np.array(x))
