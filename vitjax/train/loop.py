"""A recipe becomes a model: AdamW with warm-up and cosine on data in memory, the same every time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import path_aware_map
from jax import Array
from jaxtyping import Float, Int

from .. import __version__
from ..config import Error, Source
from ..hub import create
from ..model import Model, Params, build
from ..vit import ViT
from .augment import augment
from .data import Part, dataset
from .recipe import Recipe

Report = Callable[[int, float, float], None]  # step, loss, accuracy on the held-out part


class State(NamedTuple):
    """What a step changes."""

    params: Params
    moments: optax.OptState


def run(recipe: Recipe, report: Report = lambda step, loss, accuracy: None) -> Model:
    """Train as the recipe says. The parameters after the last step are the result: none are picked by the held-out part."""
    data = dataset(recipe.data)
    model = create(recipe.model, classes=len(data.labels), seed=recipe.seed)
    name, origin = f"{model.spec.name}.{recipe.data}", f"vitjax.train on {data.origin}"
    source = Source(origin=origin, licence=recipe.licence, reference="vitjax", vitjax=__version__)
    model = replace(model, spec=replace(model.spec, name=name, labels=data.labels, source=source))
    # The model that is kept has no drop path: that belongs to this training, not to the network.
    module = build(replace(model.config, drop_path=recipe.drop_path))
    state = State(model.params, optimizer(recipe).init(model.params))
    images = model.preprocess(data.train.pictures)
    for step in range(recipe.steps):
        picked = order(recipe, step, len(images))
        state, loss = update(recipe, module, state, images[picked], data.train.classes[picked], np.int32(step))
        if (step + 1) % recipe.report == 0 or step + 1 == recipe.steps:
            if not np.isfinite(loss):
                raise Error(f"the loss is {loss} at step {step + 1}: try a lower learning_rate, or a longer warmup")
            report(step + 1, float(loss), accuracy(replace(model, params=state.params), data.held_out))
    return replace(model, params=state.params)


def order(recipe: Recipe, step: int, count: int) -> Int[np.ndarray, " B"]:
    """Which of `count` examples a step sees. Each epoch has an order of its own; what fills no batch waits for the next.

    A pure function of seed and step: a run that is resumed goes on as if it had never stopped.
    """
    if recipe.batch > count:
        raise Error(f"batch {recipe.batch} is more than the {count} pictures there are to learn from")
    epoch, place = divmod(step, count // recipe.batch)
    shuffled = np.random.default_rng((recipe.seed, epoch)).permutation(count)
    return shuffled[place * recipe.batch :][: recipe.batch]


def optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter, arXiv:1711.05101)."""
    rate = optax.warmup_cosine_decay_schedule(0.0, recipe.learning_rate, recipe.warmup, recipe.steps)
    return optax.adamw(rate, weight_decay=recipe.weight_decay, mask=decayed)


def decayed(params: Params) -> Params:
    """True for what weight decay pulls towards zero: kernels, but no bias, norm, position or token.

    By name, since rank cannot tell: stacked over blocks and split in heads, the bias of a query has three axes.
    """
    return path_aware_map(lambda path, _: path[-1] == "kernel", params)


@partial(jax.jit, static_argnums=(0, 1))
def update(
    recipe: Recipe, module: ViT, state: State, images: Float[Array, "B H W 3"], classes: Int[Array, " B"], step: Int[Array, ""]
) -> tuple[State, Float[Array, ""]]:
    """One step, and the loss before it."""
    look, drop = jax.random.split(jax.random.fold_in(jax.random.key(recipe.seed), step))
    images = augment(recipe, look, images)
    targets = optax.smooth_labels(jax.nn.one_hot(classes, module.cfg.classes), recipe.label_smoothing)

    def loss(params: Params) -> Array:
        logits = jnp.asarray(module.apply({"params": params}, images, True, rngs={"drop_path": drop}), jnp.float32)
        return optax.softmax_cross_entropy(logits, targets).mean()

    value, gradient = jax.value_and_grad(loss)(state.params)
    change, moments = optimizer(recipe).update(gradient, state.moments, state.params)
    params: Any = optax.apply_updates(state.params, change)
    return State(params, moments), value


def accuracy(model: Model, part: Part) -> float:
    """The share of pictures whose class the model names."""
    logits = model(model.preprocess(part.pictures))
    return float(np.mean(np.argmax(logits, -1) == part.classes))
