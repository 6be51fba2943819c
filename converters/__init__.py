"""Other people's files to our tree, and back."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

import vitjax
from vitjax import variants
from vitjax.config import Error, Preprocess, Spec, ViTConfig, unknown
from vitjax.model import shapes

from . import files
from .files import Bundle
from .mapping import Dialect, Slot, compare, slots, to_ours, to_theirs
from .stored import Flat, Tensor
from .timm import TIMM

DIALECTS = {dialect.name: dialect for dialect in (TIMM,)}
Progress = Callable[[int, int], None]  # (tensors done, of how many)


def convert(
    src: str | os.PathLike,
    *,
    variant: str | None = None,
    config: ViTConfig | None = None,
    dialect: str | None = None,
    classes: int | None = None,
    drop: Sequence[str] = (),
    dtype: str = "float32",
    allow_nonfinite: bool = False,
    progress: Progress = lambda done, total: None,
) -> tuple[Spec, dict[str, Any]]:
    """A file or folder of weights as a spec and a tree of ours whose leaves are still on disk: save it, or numpy.asarray them.

    variant, config: the architecture, where no config.json says it. classes: how many the file's head has, where that is
    not the architecture's number. drop: ("head",) leaves the head in the file. dtype: "float32", "bfloat16", or "keep".
    Missing, unexpected and mis-shaped tensors are all listed in the Error; nothing is guessed.
    """
    bundle = files.read(src)
    spelling = recognise(bundle, dialect)
    spec = _spec(bundle, spelling, variant, config)
    if classes is not None and classes != spec.config.classes:
        spec = _with_classes(spec, classes)
    tensors = _without(bundle.tensors, spelling.ignore)
    if "head" in drop:
        tensors = _without(tensors, [re.escape(slot.theirs) for slot in _head(spelling, spec)])
        spec = _with_classes(spec, 0)
    like = shapes(spec.config)
    wanted, count = slots(spelling.rules(spec.config), like), itertools.count(1)
    cast = None if dtype == "keep" else np.dtype(jax.numpy.dtype(dtype))
    leaves, report = to_ours(wanted, like, tensors, cast, lambda: progress(next(count), len(wanted)))
    if allow_nonfinite:
        report.not_finite = []
    if report:
        hint = _hint(bundle, spelling)
        raise Error(f"{bundle.path} is not {spec.name} in {spelling.name}'s spelling{hint}:{report}")
    source = replace(spec.source, dialect=spelling.name, origin=str(src), sha256=bundle.sha256, vitjax=vitjax.__version__)
    return replace(spec, source=source), unflatten_dict(leaves, sep="/")


def export(spec: Spec, params: Mapping[str, Any], out: str | os.PathLike, dialect: str = "timm") -> Path:
    """Write parameters in another library's spelling: to a .safetensors file, or to a folder with their config.json too."""
    spelling, out = _dialect(dialect), Path(out)
    bare = out.suffix == ".safetensors"
    ours = {path: np.asarray(leaf) for path, leaf in flatten_dict(dict(params), sep="/").items()}
    wanted = slots(spelling.rules(spec.config), {path: leaf.shape for path, leaf in ours.items()})
    settings = None if bare else spelling.write_settings(spec)
    dtypes = {slot.theirs: _dtype(slot, ours) for slot in wanted}
    path = out if bare else out / "model.safetensors"
    files.write_safetensors(path, {slot.theirs: (slot.shape, dtypes[slot.theirs]) for slot in wanted}, to_theirs(wanted, ours))
    if settings is not None:
        files.write_json(out / "config.json", settings)
    return path


def recognise(bundle: Bundle, dialect: str | None = None) -> Dialect:
    """The dialect that a bundle is written in, or the one the user names."""
    if dialect is not None:
        return _dialect(dialect)
    for known in DIALECTS.values():
        if any(name in bundle.tensors for name in known.signature):
            return known
    some = ", ".join(list(bundle.tensors)[:3]) or "no tensors"
    raise Error(f"{bundle.path} is in no spelling that vitjax knows ({', '.join(DIALECTS)}): it holds {some}, ...")


def fitting(bundle: Bundle, dialect: Dialect) -> list[str]:
    """The architectures whose tensors are exactly these. Several can be: the activation, for one, is not in a file."""
    tensors, found = _without(bundle.tensors, dialect.ignore), []
    total = sum(int(np.prod(tensor.shape)) for tensor in tensors.values())
    for name, row in variants.VARIANTS.items():
        classes, rest = divmod(total - variants.parameters(replace(row, classes=0)), row.width + row.head_bias)
        if classes >= 0 and rest == 0:
            config = replace(row, classes=classes)
            if not compare(slots(dialect.rules(config), shapes(config)), tensors):
                found.append(name)
    return found


def _dialect(name: str) -> Dialect:
    if name not in DIALECTS:
        raise unknown("dialect", name, DIALECTS)
    return DIALECTS[name]


def _spec(bundle: Bundle, dialect: Dialect, variant: str | None, config: ViTConfig | None) -> Spec:
    """What the file says, or else what the user says; both only where they agree."""
    found = dialect.read_settings(bundle)
    if config is not None:
        return Spec(bundle.path.stem, config, found.preprocess if found else Preprocess(config.image))
    if found is None and variant is None:
        fits = fitting(bundle, dialect)
        raise Error(
            f"{bundle.path} does not say its architecture: pass --variant NAME (variant=...)"
            + (f"; it has the tensors of {', '.join(fits)}" if fits else ", or --config CONFIG.json for one of your own")
        )
    if found is None:
        spec = named(str(variant))
        if spec.name in variants.VARIANTS and (classes := _classes(bundle, dialect, spec)) not in (None, spec.config.classes):
            return _with_classes(spec, classes)  # an architecture, unlike a tag, has any number of classes
        return spec
    if variant is not None and named(variant).name.partition(".")[0] != found.name.partition(".")[0]:
        raise Error(f"{bundle.path.parent / 'config.json'} says {found.name}, not {variant}")
    return found


def named(variant: str) -> Spec:
    """The spec of "architecture.tag"; an architecture alone has the preprocessing and labels of its first published tag."""
    arch = variant.rpartition("/")[2]
    if arch in variants.VARIANTS and any(name.startswith(f"{arch}.") for name in variants.WEIGHTS):
        return replace(variants.spec(variants.resolve(arch)), name=arch)
    return variants.spec(variant)


def _classes(bundle: Bundle, dialect: Dialect, spec: Spec) -> int | None:
    """How many classes the file's head has; None where there is no head."""
    rule = next(rule for rule in dialect.rules(replace(spec.config, classes=1)) if rule.ours == "head/kernel")
    left, right = (side.split() for side in rule.pattern.split(" -> "))
    kernel = bundle.tensors.get(rule.theirs)
    return None if kernel is None or len(kernel.shape) != len(left) else kernel.shape[left.index(right[-1])]


def _with_classes(spec: Spec, classes: int) -> Spec:
    return replace(spec, config=replace(spec.config, classes=classes), labels=())


def _without(tensors: Flat, patterns: Sequence[str]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not any(re.fullmatch(p, name) for p in patterns)}


def _head(dialect: Dialect, spec: Spec) -> list[Slot]:
    """The tensors that a network has with a head, and has not without."""
    config = replace(spec.config, classes=max(spec.config.classes, 1))
    bare = replace(config, classes=0)
    kept = {slot.theirs for slot in slots(dialect.rules(bare), shapes(bare))}
    return [slot for slot in slots(dialect.rules(config), shapes(config)) if slot.theirs not in kept]


def _hint(bundle: Bundle, dialect: Dialect) -> str:
    """What the tensors would fit, if anything."""
    fits = ", ".join(fitting(bundle, dialect))
    return f" (its tensors fit {fits}; see --variant, and --classes N or --drop head)" if fits else ""


def _dtype(slot: Slot, ours: Mapping[str, np.ndarray]) -> np.dtype:
    return next((ours[leaf].dtype for leaf in slot.leaves if leaf != "0"), next(iter(ours.values())).dtype)
