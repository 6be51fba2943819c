"""Features of any number of pictures or texts, written to a file while the next ones are decoded and computed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from .clip import unit
from .clip_model import CLIP, TextModel
from .config import Error, spec_to_json
from .model import Model
from .pictures import Batch, stream
from .rows import growing

Progress = Callable[[int, int], None]  # (rows done, of how many)


class Features(NamedTuple):
    """What was written."""

    rows: int
    width: int
    unreadable: dict[str, str]  # picture -> why; its row is NaN


def embed(
    model: Model | CLIP | TextModel,
    items: Sequence[str],
    out: str | os.PathLike[str],
    *,
    texts: bool = False,
    head: bool = False,
    normalize: bool = False,
    batch: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
) -> Features:
    """Write the features of pictures, given by their paths, to an .npy file: a float32 row for each, in their order.

    Those of a Model are its pooled features, as from `model.embed`; those of a CLIP are projected, as from `encode_image`.
    A picture that cannot be read has a row of NaN. Beside features.npy, features.json lists the rows, and what could not be read.
    Memory does not grow with the number of pictures.

    If this is interrupted, however it is, the same call goes on after the last whole batch (see rows.py).

    items: paths, such as `vitjax.pictures.find` makes of folders. texts: they are texts, for a CLIP or its text tower.
    head: of a Model, take what its head gives; of a CLIP's image tower by itself that is the projection.
    normalize: to length 1. batch: how many are computed together: 8 pictures on a CPU, 64 elsewhere and of texts.
    overwrite: replace what is there, finished or begun by another run.
    """
    encode, width, tower = _tower(model, texts, head)
    count, spec = len(items), tower.spec
    if not count:
        raise Error("there is nothing to embed: give at least one picture or text")
    batch = min(count, batch) if batch else together(count, texts)
    about = {"model": spec.name, "of": "texts" if texts else "pictures", "normalize": normalize}
    weights = _hash(
        spec_to_json(spec).encode(), *(np.asarray(leaf).reshape(-1).view("u1") for leaf in jax.tree.leaves(tower.params))
    )
    run = about | {"width": width, "dtype": tower.dtype, "weights": weights, "list": _hash(json.dumps(list(items)).encode())}
    with growing(Path(out), run, (count, width), batch, overwrite) as rows:
        progress(rows.done, count)
        rest = items[rows.done :]
        batches = _texts(tower, rest, batch) if texts else stream(rest, spec.preprocess, batch)
        with contextlib.closing(batches):
            for features, found in _ahead(encode, batches):
                rows.append(np.asarray(unit(features) if normalize else features, np.float32)[: found.filled], found.unreadable)
                progress(rows.done, count)
        if len(rows.missing) == count:
            rows.discard()
            raise Error(f"none of {count} pictures could be read: {next(iter(rows.missing.values()))}")
        rows.finish(about, items)
    return Features(count, width, {items[row]: why for row, why in rows.missing.items()})


def together(count: int, texts: bool = False) -> int:
    """How many of so many pictures or texts are computed together: on a CPU few, because more are no faster there."""
    return min(count, 8 if jax.default_backend() == "cpu" and not texts else 64)


def _tower(model: Model | CLIP | TextModel, texts: bool, head: bool) -> tuple[Callable[[Any], Array], int, Any]:
    """What computes the features, their width, and the tower that does it."""
    if isinstance(model, CLIP):
        model, head = (model.text if texts else model.image), True
    if isinstance(model, TextModel) != texts:
        what, where = ("texts", "a CLIP, or the text tower of one") if texts else ("pictures", "a ViT, or a CLIP")
        raise Error(f"{model.spec.name} takes no {what}: give {where}")
    if isinstance(model, TextModel) or head:
        return model, model.config.classes or model.config.features, model
    return model.embed, model.config.features, model


def _texts(model: Any, texts: Sequence[str], batch: int) -> Generator[Batch]:
    """The ids of texts in batches, all of one size."""
    for start in range(0, len(texts), batch):
        ids = model.tokenize(texts[start : start + batch])
        yield Batch(np.pad(ids, ((0, batch - len(ids)), (0, 0)), "edge"), len(ids), {})


def _ahead(encode: Callable[[Any], Array], batches: Iterator[Batch]) -> Iterator[tuple[Array, Batch]]:
    """Features of each batch. JAX computes in the background: the next batch is begun before the last one is handed out."""
    last = None
    for found in batches:
        features = encode(found.x)
        if last:
            yield last
        last = features, found
    if last:
        yield last


def _hash(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
