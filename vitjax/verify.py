"""Stage by stage: what a network computes beside what a reference library computed from the same weights and input."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import vitjax

from . import manifest, variants
from .clip_model import CLIP, TextModel
from .config import Error
from .manifest import Record
from .model import Model

# A tolerance is a claim: float32, relative to the largest number of the stage.
SMALL, FULL = 1e-5, 1e-4
FULL_SIZE = 5_000_000  # parameters, from which on rounding has had time to add up


INPUTS = {"input": np.float32, "ids": np.int32}  # pictures (B, H, W, 3); of a CLIP, texts (B, context) too


class Stage(NamedTuple):
    name: str
    difference: float  # max |ours - theirs|
    scale: float  # max |theirs|
    tolerance: float  # of difference / scale

    @property
    def good(self) -> bool:
        return self.difference <= self.tolerance * self.scale  # not so for NaN


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """A reference: the arrays of an .npz file that `verify` compares with."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in INPUTS or name.startswith("stage/")}
    except (OSError, ValueError, EOFError) as error:
        raise Error(f"{path} is not an .npz of arrays: {error}. Write it with numpy.savez") from error


def verify(model: Model | CLIP | TextModel, reference: Mapping[str, np.ndarray]) -> list[Stage]:
    """Compare with `reference`: "input" or "ids" or both, and "stage/NAME" arrays. The stages that both have, in our order.

    "input": pictures (B, H, W, 3) float32, preprocessed; "ids": texts (B, context). Names of stages are those of `model.stages`.
    A Stage is good within 1e-5 of its largest number, 1e-4 for networks of five million parameters and more.
    Raises: Error for a reference without these, without a stage in common, or with one of another shape.
    """
    theirs = {name.removeprefix("stage/"): reference[name] for name in reference if name.startswith("stage/")}
    names = ("ids",) if isinstance(model, TextModel) else ("input", "ids") if isinstance(model, CLIP) else ("input",)
    if not set(names) <= set(reference) or not theirs:
        wanted = " and ".join(f"`{name}`" for name in names)
        raise Error(f"a reference holds {wanted} and `stage/NAME` arrays (patch, embed, block_00, ..., tokens, pooled, logits)")
    inputs: list[Any] = [np.asarray(reference[name], INPUTS[name]) for name in names]
    ours = model.stages(*inputs)
    if not set(theirs) & set(ours):
        raise Error(f"the reference has no stage of {model.spec.name}, give some of these: {', '.join(ours)}")
    tolerance = FULL if variants.parameters(model.spec.config) >= FULL_SIZE else SMALL
    return [_compare(name, np.asarray(array), theirs[name], tolerance) for name, array in ours.items() if name in theirs]


def _compare(name: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> Stage:
    if ours.shape != theirs.shape:
        raise Error(
            f"stage {name} is {list(ours.shape)} here, {list(theirs.shape)} in the reference: take the same "
            "variant, and the same pictures"
        )
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    return Stage(name, float(np.abs(a - b).max()), float(np.abs(b).max()), tolerance)


def record(folder: str | os.PathLike, reference: str | os.PathLike, dtype: str, stages: Sequence[Stage]) -> None:
    """Note in a checkpoint's manifest that every stage was good, in the place of what was noted of the same comparison."""
    assert all(stage.good for stage in stages)
    file, found = Path(reference), manifest.read(folder)
    new = Record(
        reference=file.name,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        tolerance=stages[0].tolerance,
        stages={stage.name: stage.difference / (stage.scale or 1.0) for stage in stages},
        vitjax=vitjax.__version__,
        jax=jax.__version__,
        backend=jax.default_backend(),
        dtype=dtype,
    )
    same = (new.sha256, new.backend, new.dtype)
    others = tuple(old for old in found.verified if (old.sha256, old.backend, old.dtype) != same)
    manifest.write(folder, replace(found, verified=(*others, new)))
