"""The step of a recipe, compiled for devices that need not be here: nothing is run, no array is made, nothing is downloaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.errors import JaxRuntimeError
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .. import checkpoint
from .. import mesh as meshes
from ..config import CLIPConfig, Error, Spec, hw
from ..model import Params, abstract
from . import hlo, network
from .data import dataset
from .learned import split, with_lora
from .recipe import Recipe
from .step import Batch, State, Task, begin, update

GIB = 2**30
STEPS = 1000  # of a recipe in epochs, whose data are not here: the program is the same


@dataclass(frozen=True)
class Fits:
    """What a program takes that the compiler accepted, in GiB of a chip, and what it does."""

    memory: float  # at its worst moment
    state: float  # of that, what is there between two steps
    work: hlo.Work


@dataclass(frozen=True)
class Exceeds:
    """By how many GiB of a chip a program is too large; none where the compiler does not say."""

    excess: float | None


def described(recipe: Recipe) -> tuple[Spec, str]:
    """The spec of the network as the recipe trains it, and where its number of classes comes from if the data are not here."""
    here = checkpoint.exists(recipe.model)
    found = checkpoint.restore_spec(recipe.model) if here else network.architecture(recipe.model)
    if isinstance(found.config, CLIPConfig) or recipe.loss == "contrastive":
        return network.fitted(recipe, found, ()), ""
    try:
        labels, note = dataset(recipe).labels, ""
    except Error:
        count = found.vit.classes or 1000
        labels, note = tuple(map(str, range(count))), f"{recipe.data} is not here, so there are {count} classes"
    return network.fitted(recipe, found, labels), note


def step(recipe: Recipe, spec: Spec, mesh: Mesh) -> Fits | Exceeds:
    """The step that a training of the recipe would run on the devices of a mesh, as the compiler sees it."""
    steps = recipe.steps or STEPS
    warmup = round(recipe.warmup if recipe.steps else recipe.warmup / recipe.epochs * STEPS)
    task = Task(recipe, network.training(recipe, spec.config), spec.preprocess, steps, warmup, mesh)
    learned, fixed = split(recipe, abstract(spec.config))

    def first(learned: Params, fixed: Params) -> State:
        return begin(task, with_lora(recipe, learned, fixed, jax.random.key(0)))

    state = jax.eval_shape(first, learned, fixed)
    state, fixed = (meshes.sharded(tree, mesh, recipe.fsdp) for tree in (state, fixed))
    lower: Any = update.lower  # its type has not heard of static arguments
    with jax.set_mesh(mesh):
        lowered = lower(task, fixed, state, _batch(recipe, spec, mesh))
        try:
            program = lowered.compile()
        except JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return Exceeds(excess(str(error)))
    sizes = program.memory_analysis()
    text = program.as_text()
    assert sizes is not None and text is not None  # of the TPU compiler, which always has both
    return Fits(sizes.peak_memory_in_bytes / GIB, sizes.argument_size_in_bytes / GIB, hlo.work(text))


def _batch(recipe: Recipe, spec: Spec, mesh: Mesh) -> Batch:
    where, count = NamedSharding(mesh, PartitionSpec(meshes.DATA)), recipe.batch
    image = jax.ShapeDtypeStruct((count, *hw(spec.preprocess.size), 3), jnp.uint8, sharding=where)
    label = jax.ShapeDtypeStruct((count,), jnp.int32, sharding=where)
    text = None
    if isinstance(spec.config, CLIPConfig):
        text = jax.ShapeDtypeStruct((count, spec.config.text.context), jnp.int32, sharding=where)
    return Batch(image, label, text)  # type: ignore[arg-type]


def excess(message: str) -> float | None:
    """The GiB that the compiler misses, by its own words."""
    amount = r"([\d.]+)([KMGT]?)"
    units = dict(zip("KMGT", (2.0**-20, 2.0**-10, 1.0, 2.0**10), strict=True)) | {"": 2.0**-30}
    if found := re.search(rf"Exceeded hbm capacity by {amount}", message):
        return float(found[1]) * units[found[2]]
    if found := re.search(rf"\({amount}\) exceeds available HBM \({amount}\)", message):
        return float(found[1]) * units[found[2]] - float(found[3]) * units[found[4]]
    return None
