"""How good a network is on what is held out, while it is trained: batch after batch over all devices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jaxtyping import Float

from ..clip import unit
from ..config import CLIPConfig
from ..model import Params
from .augment import normalized
from .data import pipeline
from .distributed import spread
from .evaluate import Sums, retrieval, scores, summary
from .learned import join
from .step import Batch, Task


def sent(task: Task, local: pipeline.Batch) -> tuple[Batch, Float[Array, " B"]]:
    """A batch on its way to the devices, and how much each picture of it counts."""
    image, label, text, weight = spread(task.mesh, (local.image, local.label, local.text, local.weight), task.recipe.batch)
    return Batch(image, label, text), weight


def measure(task: Task, fixed: Params, sets: Mapping[str, Params], batches: Iterable[pipeline.Batch]) -> dict[str, float]:
    """The metrics of each of the `sets` of what learned, their names after the set's."""
    measures = _recall if isinstance(task.config, CLIPConfig) else _right
    return measures(task, fixed, sets, batches)


def _right(task: Task, fixed: Params, sets: Mapping[str, Params], batches: Iterable[pipeline.Batch]) -> dict[str, float]:
    """A classifier's."""
    found = dict[str, Sums]()
    for local in batches:
        batch, weight = sent(task, local)
        for name, learned in sets.items():
            new = _scores(task, fixed, learned, batch, weight)
            found[name] = found[name].plus(new) if name in found else new
    return {name + key: value for name, sums in found.items() for key, value in summary(jax.device_get(sums)).items()}


def _recall(task: Task, fixed: Params, sets: Mapping[str, Params], batches: Iterable[pipeline.Batch]) -> dict[str, float]:
    """A CLIP's: features are gathered on every host, as each picture is compared with every caption."""
    found: dict[str, list[Any]] = {name: [] for name in sets}
    for local in batches:
        batch, weight = sent(task, local)
        for name, learned in sets.items():
            rows = multihost_utils.process_allgather((*_features(task, fixed, learned, batch), weight), tiled=True)
            found[name].append([part[np.asarray(rows[2]) > 0] for part in map(np.asarray, rows[:2])])
    return {
        name + key: value
        for name, parts in found.items()
        for key, value in retrieval(*map(np.concatenate, zip(*parts, strict=True))).items()
    }


@partial(jax.jit, static_argnums=0)
def _scores(task: Task, fixed: Params, learned: Params, batch: Batch, weight: Float[Array, " B"]) -> Sums:
    images = normalized(task.preprocess, batch.image)
    return scores(task.module.apply({"params": join(task.recipe, learned, fixed)}, images), batch.label, weight)


@partial(jax.jit, static_argnums=0)
def _features(task: Task, fixed: Params, learned: Params, batch: Batch) -> tuple[Array, Array]:
    params = join(task.recipe, learned, fixed)
    image = task.module.apply({"params": params}, normalized(task.preprocess, batch.image), method=lambda m, x: m.image(x))
    text = task.module.apply({"params": params}, batch.text, method=lambda m, x: m.text(x))
    return unit(jnp.asarray(image)), unit(jnp.asarray(text))
