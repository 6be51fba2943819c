"""How one gets a model: by name, from a folder, from anyone's file, or from a hub, downloaded and converted on first use."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from . import checkpoint, converters, surgery, variants
from .config import Error, Size, Source, Spec, ViTConfig, unknown
from .model import Model, Params, abstract, initialise

EMBEDDED = Path(__file__).parent / "pretrained"  # small enough to travel in the package
DTYPES = ("float32", "bfloat16", "float16")


def load(
    name: str | os.PathLike,
    *,
    variant: str | None = None,
    config: ViTConfig | None = None,
    classes: int | None = None,
    image: Size | None = None,
    dtype: str = "float32",
    mesh: jax.sharding.Mesh | None = None,
) -> Model:
    """A model by the name of published weights, from a checkpoint folder, from another library's file, or "hf:owner/repo".

    name: "architecture" (its first published checkpoint), "architecture.tag", a publisher's spelling, a path, "hf:owner/repo".
    variant, config: the architecture of a file that does not say it.
    classes: 0 for no head; another number than the checkpoint's for an untrained head of that many.
    image: another picture size, or (height, width); positions are resampled as timm does.
    dtype: of the parameters and of the computation: "float32", "bfloat16" or "float16".
    mesh: splits every parameter over the mesh's first axis; each device reads its own part only.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    path = Path(name)
    if checkpoint.exists(name):  # on this machine, or gs://
        folder = name
    else:
        folder = None if path.exists() or path.suffix == ".safetensors" else fetch(str(name))
    if folder is not None:
        if variant is not None or config is not None:
            raise Error(f"{folder} is a checkpoint folder and says its own architecture: leave out variant and config")
        spec, params = restore(folder, dtype, mesh)
    else:
        drop = ("head",) if classes == 0 else ()
        spec, lazy = converters.convert(path, variant=variant, config=config, drop=drop, dtype=dtype)
        like = abstract(spec.config)
        places = jax.tree.map(lambda leaf: leaf.sharding, like if mesh is None else checkpoint.shard(like, mesh))
        params = jax.tree.map(lambda leaf, place: jax.device_put(np.asarray(leaf), place), lazy, places)
    if image is not None:
        spec, params = surgery.resize(spec, params, image)
    if classes is not None and classes != spec.config.classes:
        spec, params = surgery.new_head(spec, params, classes)
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), params)
    return Model(spec, params, dtype)


def create(name: str, *, classes: int | None = None, image: Size | None = None, dtype: str = "float32", seed: int = 0) -> Model:
    """An architecture with random parameters, float32; `dtype` is that of the computation."""
    spec = converters.named(name)
    config = replace(spec.config, classes=spec.config.classes if classes is None else classes)
    if image is not None:
        config = replace(config, image=image)
    spec = Spec(
        name.partition(".")[0], config, replace(spec.preprocess, size=config.image), (), Source(reference=spec.source.reference)
    )
    return Model(spec, initialise(config, seed), dtype)


def fetch(name: str) -> Path:
    """The checkpoint folder of published weights or of "hf:owner/repo", downloaded and converted unless it is here."""
    if name.startswith("hf:") and name.removeprefix("hf:timm/") not in variants.WEIGHTS:
        folder = cache() / name.removeprefix("hf:").replace("/", "--")
        if not checkpoint.exists(folder):
            _keep(folder, name, converters.convert(download(name)))
        return folder
    name = variants.resolve(name)
    if (EMBEDDED / name).exists():
        return EMBEDDED / name
    folder, origin = cache() / name, variants.spec(name).source.origin
    if not checkpoint.exists(folder):
        by_hand = f"With the file here: vitjax convert model.safetensors {folder} --variant {name}"
        if not origin.startswith("hf:"):
            raise Error(f"{name} is published at {origin}, not as safetensors; save it so. {by_hand}")
        try:
            file = download(origin) / "model.safetensors"
        except Error as error:
            raise Error(f"{name} is not on this machine: {error}. {by_hand}") from error
        # By our row, not by the repository's config.json: a quickgelu architecture runs the file of its plain sister.
        _keep(folder, origin, converters.convert(file, variant=name))
    return folder


def _keep(folder: Path, origin: str, model: tuple[Spec, Params]) -> None:
    spec, params = model
    checkpoint.save(folder, replace(spec, source=replace(spec.source, origin=origin)), params)


def cache() -> Path:
    """Where converted checkpoints are kept: $VITJAX_CACHE, or vitjax in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("VITJAX_CACHE") or Path(base) / "vitjax")


def download(repo: str) -> Path:
    """The files of "hf:owner/repo" that matter here, through the hub's own library and cache."""
    from huggingface_hub import snapshot_download  # imported here: it takes longer than a local load

    try:
        return Path(snapshot_download(repo.removeprefix("hf:"), allow_patterns=["config.json", "model.safetensors"]))
    except Exception as error:  # the hub's errors, its network library's and the disk's have no common base
        reason = (str(error).strip().splitlines() or [""])[0]
        raise Error(f"{repo} could not be downloaded ({type(error).__name__}: {reason})") from error


def restore(folder: str | os.PathLike, dtype: str | None = None, mesh: jax.sharding.Mesh | None = None) -> tuple[Spec, Params]:
    """A checkpoint folder's spec and parameters, in `dtype` or as stored, the tree held to the network that the spec says."""
    spec = checkpoint.restore_spec(folder)
    like = abstract(spec.config)
    return spec, checkpoint.restore(folder, like if mesh is None else checkpoint.shard(like, mesh), dtype)
