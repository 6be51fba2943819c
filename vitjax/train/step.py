"""One step of training: a batch in, gradients, and everything that changes; compiled once, for one device or a pod."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import path_aware_map
from jax import Array
from jaxtyping import Float, Int, UInt8

from .. import mesh as meshes
from ..config import CLIPConfig, Config, Preprocess
from ..model import Params, build
from .augment import augment, pictures
from .learned import join
from .optimizer import optimizer, rate
from .recipe import Recipe


class State(NamedTuple):
    """What a step changes, and a save keeps."""

    learned: Params
    moments: optax.OptState
    ema: Params  # of what learned; empty without
    step: Int[Array, ""]  # steps done
    bad: Int[Array, ""]  # the last so many had gradients that were not finite
    skipped: Int[Array, ""]  # so many in all, which changed nothing


class Batch(NamedTuple):
    """What the devices get, split over them: pictures, with the number of each one's class, or with the ids of its caption."""

    image: UInt8[Array, "B H W 3"]
    label: Int[Array, " B"]
    text: Int[Array, "B N"] | None = None


class Metrics(NamedTuple):
    """What is said about a step; `loss` is that before it."""

    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    learning_rate: Float[Array, ""]
    bad: Int[Array, ""]
    skipped: Int[Array, ""]


@dataclass(frozen=True)
class Task:
    """All that a step is compiled for."""

    recipe: Recipe
    config: Config  # with the drop path of the training
    preprocess: Preprocess
    steps: int
    warmup: int
    mesh: jax.sharding.Mesh

    @property
    def module(self) -> Any:
        return build(self.config, self.recipe.dtype, self.recipe.remat, self.recipe.attention)

    @property
    def optimizer(self) -> optax.GradientTransformation:
        return optimizer(self.recipe, self.config)

    def places(self, tree: Any) -> Any:
        """The shardings of a tree whose leaves are parameters, or of their shapes."""
        return jax.tree.map(lambda leaf: leaf.sharding, meshes.sharded(tree, self.mesh, self.recipe.fsdp))


def begin(task: Task, learned: Params) -> State:
    """The state before the first step. Works on shapes as well (jax.eval_shape)."""
    ema = jax.tree.map(jnp.copy, learned) if task.recipe.ema else {}
    return State(learned, task.optimizer.init(learned), ema, *(jnp.zeros((), jnp.int32) for _ in range(3)))


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def update(task: Task, fixed: Params, state: State, batch: Batch) -> tuple[State, Metrics]:
    """One step. Gradients that are not finite change nothing but the two counts."""
    recipe = task.recipe
    key = jax.random.fold_in(jax.random.key(recipe.seed), state.step)
    with jax.named_scope("gradients"):
        loss, gradient = _gradient(task, fixed, state.learned, batch, key)
    norm, learning_rate = optax.tree.norm(gradient), rate(recipe, task.steps, task.warmup)(state.step)
    learning_rate = jnp.asarray(learning_rate, jnp.float32)
    with jax.named_scope("optimizer"):
        change, moments = task.optimizer.update(gradient, state.moments, state.learned)
        learned = jax.tree.map(lambda p, c: p - learning_rate.astype(p.dtype) * c.astype(p.dtype), state.learned, change)
        ema = jax.tree.map(lambda e, p: recipe.ema * e + (1 - recipe.ema) * p, state.ema, learned) if recipe.ema else {}
    good = jnp.isfinite(norm) & jnp.isfinite(loss)
    bad = jnp.where(good, 0, state.bad + 1)
    skipped = state.skipped + (1 - good.astype(jnp.int32))
    new = State(learned, moments, ema, state.step, state.bad, state.skipped)
    new = jax.tree.map(partial(jnp.where, good), new, state)._replace(step=state.step + 1, bad=bad, skipped=skipped)
    new = jax.lax.with_sharding_constraint(new, task.places(new))
    return new, Metrics(loss, norm, learning_rate, bad, skipped)


def _gradient(task: Task, fixed: Params, learned: Params, batch: Batch, key: Array) -> tuple[Array, Params]:
    """The mean loss of a batch and its gradient; of its parts, one after another, where the recipe says `accumulate`."""
    recipe = task.recipe
    look, drop = jax.random.split(key)
    if isinstance(task.config, CLIPConfig):
        inputs = pictures(recipe, task.preprocess, look, batch.image), batch.text
    else:
        inputs = augment(recipe, task.preprocess, look, batch.image, batch.label, task.config.classes)
    lossy = jax.value_and_grad(lambda learned, inputs, key: _loss(task, join(recipe, learned, fixed), inputs, key))
    if recipe.accumulate == 1:
        return lossy(learned, inputs, drop)

    # Part i has every n-th picture from the i-th on: so each device cuts up what it has, and nothing moves.
    def cut(x: Array) -> Array:
        return x.reshape(-1, recipe.accumulate, *x.shape[1:]).swapaxes(0, 1)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(lambda sum, new: sum + new / recipe.accumulate, total, lossy(learned, *part)), None

    zero = jax.tree.map(jnp.zeros_like, (jnp.float32(0), learned))
    total, _ = jax.lax.scan(add, zero, (jax.tree.map(cut, inputs), jax.random.split(drop, recipe.accumulate)))
    return total


def _loss(task: Task, params: Params, inputs: tuple[Array, Array], key: Array) -> Float[Array, ""]:
    # The products round kernels to the dtype of the computation anyway. Rounded here, they are half as large where devices
    # gather them from each other.
    params = path_aware_map(lambda path, p: p.astype(task.recipe.dtype) if path[-1] == "kernel" else p, params)
    out = task.module.apply({"params": params}, *inputs[: 1 + (task.recipe.loss == "contrastive")], True, rngs={"drop_path": key})
    match task.recipe.loss:
        case "softmax":
            return optax.softmax_cross_entropy(out.astype(jnp.float32), inputs[1]).mean()
        case "sigmoid":  # every class by itself, the mean over all of them as torch.nn.BCEWithLogitsLoss has it
            return optax.sigmoid_binary_cross_entropy(out.astype(jnp.float32), inputs[1]).mean()
        case "contrastive":
            return contrastive(out[0], task.config.sigmoid)  # type: ignore[union-attr]


def contrastive(logits: Float[Array, "B B"], sigmoid: bool) -> Float[Array, ""]:
    """How far each picture is from its own caption, among all of the batch (CLIP arXiv:2103.00020, SigLIP arXiv:2303.15343)."""
    if sigmoid:
        return -jax.nn.log_sigmoid(logits * (2 * jnp.eye(len(logits)) - 1)).sum() / len(logits)
    own = jnp.arange(len(logits))
    each = [optax.softmax_cross_entropy_with_integer_labels(z, own).mean() for z in (logits, logits.T)]
    return (each[0] + each[1]) / 2
