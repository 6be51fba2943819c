"""What the tests of training share: few digits, a recipe that takes seconds, and what a training wrote down."""

import atexit
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

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
        with kept(compiled()):
            yield


@cache
def compiled() -> str:
    """Where this process keeps what it compiled: many trainings differ in nothing that is compiled."""
    folder = tempfile.mkdtemp(prefix="vitjax-compiled-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@contextmanager
def kept(folder: str | None) -> Iterator[None]:
    """While the block runs, what is compiled is kept there, or nowhere."""

    def use(folder: str | None) -> None:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
        compilation_cache.reset_cache()

    before = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    use(folder)
    try:
        yield
    finally:
        use(before)


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
