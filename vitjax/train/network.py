"""What a training begins with: a published network for the picture size and the classes of a recipe, on its devices."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp

from .. import __version__, checkpoint, converters, hub, manifest, surgery
from ..config import CLIPConfig, Config, Error, Source, Spec, ViTConfig
from ..mesh import sharded
from ..model import Params, abstract, initialise
from .recipe import Recipe


def start(recipe: Recipe, labels: tuple[str, ...], mesh: jax.sharding.Mesh) -> tuple[Spec, Params, str | None]:
    """The spec, the float32 parameters where they belong, and the text of a tokenizer.json.

    A head is kept if its labels are those of the data; else a new one begins.
    """
    if not recipe.pretrained:
        spec = fitted(recipe, architecture(recipe.model), labels)
        places = jax.tree.map(lambda leaf: leaf.sharding, sharded(abstract(spec.config), mesh, recipe.fsdp))
        words = hub.words(spec, Path(recipe.model), recipe.tokenizer or None, fetch=True)
        return spec, jax.jit(partial(initialise, spec.config, recipe.seed), out_shardings=places)(), words
    model = hub.load(recipe.model, mesh=mesh, tokenizer=recipe.tokenizer or None)
    spec = fitted(recipe, model.spec, labels)

    def fit(params: Params) -> Params:
        found, image = pooled(recipe, model.spec), spec.preprocess.size
        if found.preprocess.size != image:
            found, params = surgery.resize(found, params, image)
        if isinstance(spec.config, ViTConfig) and (found.config, found.labels) != (spec.config, spec.labels):
            _, params = surgery.new_head(found, params, spec.config.classes, labels, recipe.seed)
            for name in {"head", "head_distilled"} & params.keys():
                kernel = params[name]["kernel"] * jnp.float32(recipe.head_scale)
                params = dict(params) | {name: dict(params[name]) | {"kernel": kernel}}
        return params

    places = jax.tree.map(lambda leaf: leaf.sharding, sharded(abstract(spec.config), mesh, recipe.fsdp))
    return spec, jax.jit(fit, out_shardings=places)(model.params), getattr(model, "tokenizer", None)


def weights(recipe: Recipe) -> str:
    """A hash of what a training begins with: of a checkpoint folder's hashes of its parameters, or of another library's file."""
    if not recipe.pretrained:
        return ""
    folder = recipe.model if checkpoint.exists(recipe.model) else None
    if folder is None and Path(recipe.model).exists():
        return converters.sha256(recipe.model)
    tensors = manifest.read(folder or hub.fetch(recipe.model)).tensors
    return hashlib.sha256("".join(entry.sha256 for _, entry in sorted(tensors.items())).encode()).hexdigest()


def architecture(name: str) -> Spec:
    """The spec of an architecture, or of published weights, of which nothing is downloaded."""
    found = converters.named(name)
    return replace(found, name=name.partition(".")[0], labels=(), source=Source(reference=found.source.reference))


def fitted(recipe: Recipe, spec: Spec, labels: tuple[str, ...]) -> Spec:
    """The spec of what a recipe makes of a network: its picture size, its classes."""
    config = spec.config
    if (recipe.loss == "contrastive") != isinstance(config, CLIPConfig):
        raise Error(
            f"loss = {recipe.loss!r} does not go with {spec.name}: contrastive is for networks of two towers, and they for it; "
            "of a CLIP's image tower alone, make a checkpoint first (vitjax convert)"
        )
    spec = pooled(recipe, spec)
    if recipe.image:
        spec = surgery.sized(spec, recipe.image)
    if recipe.crop_pct:
        spec = replace(spec, preprocess=replace(spec.preprocess, crop=recipe.crop_pct))
    if isinstance(config, ViTConfig) and (not labels or (spec.labels, config.classes) != (labels, len(labels))):
        if not labels:
            raise Error(f"{recipe.data} has no classes to learn: give one with class folders, or with a column of labels")
        spec = surgery.headed(spec, len(labels), labels)
    name = f"{spec.name.partition('.')[0]}.{recipe.out.rstrip('/').rpartition('/')[2]}"
    source = Source(origin=f"vitjax.train: {recipe.model} on {recipe.data}", licence=recipe.licence, reference="vitjax")
    return replace(spec, name=name, source=replace(source, vitjax=__version__))


def pooled(recipe: Recipe, spec: Spec) -> Spec:
    """The spec, its tokens pooled as the recipe says."""
    if not recipe.pool:
        return spec
    if spec.vit.pool not in ("token", "mean") or spec.vit.norm == "none" or spec.vit.distilled:
        raise Error(
            f"pool = {recipe.pool!r} does not go with {spec.name}, which has more behind its blocks than a norm "
            "and a head: leave pool out"
        )
    return replace(spec, config=replace(spec.vit, pool=recipe.pool, norm="after" if recipe.pool == "mean" else "before"))


def training(recipe: Recipe, config: Config) -> Config:
    """The config with the drop path that belongs to the training, not to the network that is kept."""
    if isinstance(config, CLIPConfig):
        return replace(config, image=replace(config.image, drop_path=recipe.drop_path))
    return replace(config, drop_path=recipe.drop_path)
