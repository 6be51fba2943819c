"""What the tests of training share: few digits, a recipe that takes seconds, and what a training wrote down."""

import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from vitjax.train import Recipe, data, loop
from vitjax.train.data import Arrays, Dataset, digits
from vitjax.train.recipe import read

MAKE = loop.meshes.make
FEW = ["data=few", "steps=12", "batch=16", "warmup=0", "report=4", "evaluate=6", "drop_path=0.1"]


def few() -> Dataset:
    """A data set is a row: the digits, but few."""
    whole = digits()
    assert isinstance(whole.train, Arrays) and isinstance(whole.held_out, Arrays)
    train, held_out = (Arrays(part.pictures[:40], part.labels[:40]) for part in (whole.train, whole.held_out))
    return replace(whole, train=train, held_out=held_out)


@pytest.fixture(scope="module", autouse=True)
def conditions():
    """Few data, one device, and no strict promotion: optax divides by its own step count, which that refuses."""
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.setitem(data.DATASETS, "few", few)
        on(patch, 1)
        yield


def short(out: Path, *keys: str) -> Recipe:
    """A recipe of some steps on few digits."""
    return read("digits", [*FEW, f"out={out}", *keys])


def on(patch: pytest.MonkeyPatch, count: int) -> None:
    """The next trainings have so many of the eight devices."""
    patch.setattr(loop.meshes, "make", lambda tensor=1: MAKE(tensor, jax.devices()[:count]))


def lines(out: Path, kind: str | None = None) -> list[dict]:
    """What metrics.jsonl has: of steps, or of a kind."""
    rows = map(json.loads, (out.parent / f"{out.name}.training/metrics.jsonl").read_text().splitlines())
    return [row for row in rows if row.get("kind") == kind]


def losses(out: Path) -> np.ndarray:
    """The loss of every step."""
    rows = lines(out)
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return np.array([row["loss"] for row in rows])
