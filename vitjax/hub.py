"""How one gets a model: by name, from a folder, from anyone's file, or from a hub, downloaded and converted on first use."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import jax

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
    if path.exists() or path.suffix == ".safetensors":
        folder = path if checkpoint.exists(path) else None
    else:
        folder = fetch(str(name))
    if folder is not None:
        if variant is not None or config is not None:
            raise Error(f"{folder} is a checkpoint folder and says its own architecture: leave out variant and config")
        spec, params = _restore(folder, dtype, mesh)
    else:
        drop = ("head",) if classes == 0 else ()
        spec, params = converters.convert(path, variant=variant, config=config, drop=drop, dtype=dtype)
        if mesh is not None:
            places = checkpoint.shard(abstract(spec.config, dtype), mesh)
            params = jax.tree.map(lambda leaf, place: jax.device_put(leaf, place.sharding), params, places)
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
    if name.startswith("hf:") and name.removeprefix("hf:").removeprefix("timm/") not in variants.WEIGHTS:
        repo, weights = name.removeprefix("hf:"), None
        key = repo.replace("/", "--")
    else:
        weights = key = variants.resolve(name)
        repo = variants.spec(weights).source.origin
        if (EMBEDDED / key).exists():
            return EMBEDDED / key
    folder = cache() / key
    if not checkpoint.exists(folder):
        spec, params = _download(repo, weights, folder)
        checkpoint.save(folder, spec, params)
    return folder


def cache() -> Path:
    """Where converted checkpoints are kept: $VITJAX_CACHE, or vitjax in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("VITJAX_CACHE") or Path(base) / "vitjax")


def _download(repo: str, weights: str | None, folder: Path) -> tuple[Spec, Params]:
    """Their files through the hub's own library and cache, converted. Named weights are read by our row of them."""
    from huggingface_hub import snapshot_download  # here, because importing it takes longer than a local load

    patterns = ["config.json", "model.safetensors"]
    name, place = weights or f"hf:{repo}", f"vitjax convert model.safetensors {folder} --variant {weights or 'NAME'}"
    if weights is not None and not repo.startswith("hf:"):
        raise Error(f"{name} is published at {repo}, not in safetensors: get it there, save it so, then: {place}")
    try:
        source = Path(snapshot_download(repo.removeprefix("hf:"), allow_patterns=patterns))
    except Exception as error:  # its errors, those of its network library and of the disk have no common base
        reason = (str(error).strip().splitlines() or [""])[0]
        raise Error(
            f"{name} is not on this machine, and {repo} could not be downloaded ({type(error).__name__}: {reason}). "
            f"Try again with a network; or copy its model.safetensors here by hand, then: {place}"
        ) from error
    if weights is None:
        spec, params = converters.convert(source)
    else:
        spec, params = converters.convert(source / "model.safetensors", variant=weights)
    return replace(spec, source=replace(spec.source, origin=name if weights is None else repo)), params


def _restore(folder: Path, dtype: str, mesh: jax.sharding.Mesh | None) -> tuple[Spec, Params]:
    spec = checkpoint.restore_spec(folder)
    like = abstract(spec.config, dtype)
    return spec, checkpoint.restore(folder, like if mesh is None else checkpoint.shard(like, mesh))
