"""Other people's files to our tree, and back."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

import vitjax
from vitjax.config import Act, Config, Error, Spec, tower
from vitjax.model import shapes
from vitjax.tokenizer import vocabulary

from . import files
from .dialect import Dialect
from .files import Bundle
from .identify import DIALECTS, fitting, named, named_dialect, recognise, respelt, spec_of, with_classes, without
from .mapping import Report, Slot, not_finite, to_ours, to_theirs

__all__ = ["DIALECTS", "convert", "export", "files", "fitting", "named", "recognise", "sha256", "spec_of", "tokenizer"]

TOKENIZER = "tokenizer.json"
Progress = Callable[[int, int], None]  # (layers of leaves read, of how many)


def convert(
    src: str | os.PathLike,
    *,
    variant: str | None = None,
    config: Config | None = None,
    dialect: str | None = None,
    reference: str | None = None,
    act: Act | None = None,
    key: str | None = None,
    classes: int | None = None,
    drop: Sequence[str] = (),
    part: str | None = None,
    dtype: str = "float32",
    allow_nonfinite: bool = False,
    hashing: bool = True,
    progress: Progress = lambda done, total: None,
) -> tuple[Spec, dict[str, Any]]:
    """A file or folder of weights as a spec and a tree of ours whose leaves are still on disk: save it, or numpy.asarray them.

    variant, config: the architecture, where no config.json says it.
    dialect: the spelling, where it is not recognised.
    reference: whose numbers a row of `variant` is to give, where two libraries run the same weights differently: the dialect's
        own (tanh GELU for Google's files), or "timm".
    act: the activation of a CLIP whose file does not say it.
    key: which of several sets of weights in a training file ("model_ema").
    classes: how many the file's head has, where that is not the architecture's number.
    drop: "head", "pre_logits": parts that are left in the file.
    part: the tower of a CLIP, "image" or "text", that alone is wanted.
    dtype: "float32", "bfloat16", or "keep".
    hashing: say the file's SHA-256; who saves the tree can have it taken meanwhile.
    progress: is called with (layers of leaves read, of how many).
    Missing, unexpected and mis-shaped tensors are all listed in the Error; nothing is guessed. Whoever reads a leaf that is not
    finite gets an Error that lists all tensors of the file that are not, unless allow_nonfinite.
    """
    bundle = files.read(src, key)
    spelling = recognise(bundle, dialect)
    spec = spec_of(bundle, spelling, variant, config, reference, act)
    if classes is not None and classes != spec.config.classes:
        spec = with_classes(spec, classes)
    if part is not None:
        spec = tower(spec, part)
    tensors = bundle.tensors
    for name in drop:
        spec, tensors = without(spelling, spec, tensors, name)
    like, wanted, count = shapes(spec.config), spelling.slots(spec.config), itertools.count(1)
    cast = None if dtype == "keep" else np.dtype(jax.numpy.dtype(dtype))
    tensors = respelt(spelling, spec.config, tensors)

    def seen(part: np.ndarray) -> None:
        progress(next(count), total)
        if not allow_nonfinite and not np.isfinite(part).all():
            refuse(Report(not_finite=not_finite(wanted, tensors, cast)))

    def refuse(report: Report) -> None:
        hint = _hint(bundle, spelling)
        raise Error(
            f"{bundle.path} is not {spec.name} in {spelling.name}'s spelling{hint}. Give the --variant or "
            f"--config that it is:{report}"
        )

    leaves, report = to_ours(wanted, like, tensors, cast, seen)
    if report:
        refuse(report)
    total, digest = sum(len(leaf.parts) for leaf in leaves.values()), bundle.sha256 if hashing else ""
    source = replace(spec.source, dialect=spelling.name, origin=str(src), sha256=digest, vitjax=vitjax.__version__)
    return replace(spec, source=source), unflatten_dict(leaves, sep="/")


def sha256(src: str | os.PathLike, key: str | None = None) -> str:
    """The hash of the weights that `convert` reads: of their file, or over those of its shards."""
    return files.read(src, key).sha256


def export(spec: Spec, params: Mapping[str, Any], out: str | os.PathLike, dialect: str = "timm") -> Path:
    """Write parameters in another library's spelling: to a .safetensors or .npz file, or to a folder with its settings, too.

    dialect: one of DIALECTS. What comes is the path of the weights. What was imported goes back bit for bit, in the dtype it has.
    Raises: Error where that library has no such network, or its settings cannot say it: a bare file takes the tensors alone.
    """
    spelling, out = named_dialect(dialect), Path(out)
    bare = out.suffix in (".safetensors", ".npz")
    ours = {path: np.asarray(leaf) for path, leaf in flatten_dict(dict(params), sep="/").items()}
    wanted = spelling.slots(spec.config)
    settings = {} if bare else spelling.write_settings(spec)
    dtype = _dtype(wanted[0], ours)
    tables = {name: table.astype(dtype) for name, table in spelling.tables(spec.config).items()}
    header = {slot.theirs: (slot.shape, _dtype(slot, ours)) for slot in wanted}
    header |= {name: (table.shape, dtype) for name, table in tables.items()}
    tensors = itertools.chain(to_theirs(wanted, ours), tables.items())
    path = out if bare else out / "model.safetensors"
    if path.suffix == ".npz":
        files.write_npz(path, tensors)
    else:
        files.write_safetensors(path, header, tensors, spelling.write_metadata(spec))
    for name, data in settings.items():
        files.write_json(out / name, data)
    return path


def tokenizer(src: str | os.PathLike) -> str | None:
    """The text of the tokenizer.json beside a file of weights, or in their folder; None where there is none."""
    folder = Path(src) if Path(src).is_dir() else Path(src).parent
    return vocabulary(folder / TOKENIZER) if (folder / TOKENIZER).exists() else None


def _hint(bundle: Bundle, dialect: Dialect) -> str:
    """What the tensors would fit, if anything."""
    fits = ", ".join(fitting(bundle, dialect))
    return f" (its tensors fit {fits}; see --variant, and --classes N or --drop head)" if fits else ""


def _dtype(slot: Slot, ours: Mapping[str, np.ndarray]) -> np.dtype:
    return next((ours[leaf].dtype for leaf in slot.leaves if leaf != "0"), next(iter(ours.values())).dtype)
