"""A recipe's optimiser: optax's parts in order, weight decay for what it is good for, a learning rate for each depth."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import path_aware_map
from jax import Array

from ..config import TOWERS, CLIPConfig, Config
from ..model import Params
from .learned import A, B
from .recipe import Recipe

DECAYED = ("kernel", "embedding", A, B)
FIRST = {"patch", "cls", "registers", "positions", "norm_pre", "embedding"}  # what comes before the blocks


def optimizer(recipe: Recipe, config: Config) -> optax.GradientTransformation:
    """Gradients to steps, for a learning rate of 1: `rate` is multiplied on by who knows the step."""
    first = jnp.dtype(recipe.momentum_dtype)
    decay = optax.add_decayed_weights(recipe.weight_decay, mask=decayed)
    adam = partial(optax.scale_by_adam, recipe.beta1, recipe.beta2, recipe.epsilon, mu_dtype=first)
    match recipe.optimizer:
        case "adamw":  # arXiv:1711.05101
            parts = [adam(), decay]
        case "lamb":  # arXiv:1904.00962
            parts = [adam(), decay, optax.stateless(trusted)]
        case "lion":  # arXiv:2302.06675
            parts = [optax.scale_by_lion(recipe.beta1, recipe.beta2, mu_dtype=first), decay]
        case "sgd":  # with the decay as part of the gradient, as torch has it
            parts = [decay, optax.trace(recipe.beta1, accumulator_dtype=first)]

    def by_depth(updates: Any, _: Any) -> Any:
        return jax.tree.map(jnp.multiply, updates, depth_rates(updates, recipe.layer_decay, config))

    cut = [optax.clip_by_global_norm(recipe.clip)] if recipe.clip else []
    return optax.chain(*cut, *parts, *([optax.stateless(by_depth)] if recipe.layer_decay < 1 else []))


def decayed(params: Params) -> Params:
    """True for what weight decay pulls towards zero: kernels and embeddings, but no bias, norm, position or token.

    By name, since rank cannot tell: stacked over blocks and split in heads, the bias of a query has three axes.
    """
    return path_aware_map(lambda path, _: path[-1] in DECAYED, params)


def trusted(updates: Any, params: Any) -> Any:
    """Each kernel's step as long as the kernel: LAMB's trust, one number for each layer, of which blocks are a stack.

    Biases and norms, which do not decay, have none, as in timm's Lamb and the authors' own code.
    """

    def scale(path: tuple[Any, ...], update: Array, param: Array) -> Array:
        if path[-1].key not in DECAYED:
            return update
        axes = tuple(range(any(key.key == "blocks" for key in path), update.ndim))
        long, step = (jnp.sqrt(jnp.square(x).sum(axes, keepdims=True)) for x in (param, update))
        return update * jnp.where((long > 0) & (step > 0), long / step, 1)

    return jax.tree_util.tree_map_with_path(scale, updates, params)


def depth_rates(params: Params, decay: float, config: Config) -> Params:
    """What each leaf's learning rate is multiplied by: 1 at the head, `decay` at the last block, less from block to block.

    As BEiT counts layers (get_num_layer_for_vit in its optim_factory.py), and with it EVA and FT-CLIP: all before the blocks is
    one layer, each block is one, all behind them is the last. (timm gives the last norm a layer of its own.)
    Blocks are stacked: theirs are as many rates as there are blocks, along the first axis.
    """

    def of(path: tuple[Any, ...], leaf: Array) -> Array:
        if "blocks" in path:
            depth = leaf.shape[0]
            return (decay ** jnp.arange(depth, 0, -1, dtype=jnp.float32)).reshape(depth, *[1] * (leaf.ndim - 1))
        tower = getattr(config, path[0]) if isinstance(config, CLIPConfig) and path[0] in TOWERS else config
        layers = 0 if isinstance(tower, CLIPConfig) or not FIRST & set(path) else tower.depth + 1
        return jnp.full((1,) * leaf.ndim, decay**layers, jnp.float32)

    return path_aware_map(of, params)


def rate(recipe: Recipe, steps: int, warmup: int) -> optax.Schedule:
    """The learning rate of each step: up from zero in a line, down in a cosine."""
    return optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, warmup, steps, recipe.last_learning_rate)
