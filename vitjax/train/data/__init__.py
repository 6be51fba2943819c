"""Data sets: the digits, or whatever kind a folder is of.

    FOLDER/cat/1.jpg FOLDER/dog/2.png ...     a folder for each class
    FOLDER/captions.tsv                       (or .csv) paths and captions
    FOLDER/dataset.json                       ArrayRecord shards (array_records.py)
    FOLDER/state.json                         a data set that Hugging Face's `datasets` has saved

Each may be a FOLDER/train with a FOLDER/val (validation, valid, test) beside it, which is held out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...config import Error, unknown
from ..recipe import Recipe
from . import array_records, folders, hf_datasets
from .examples import Arrays, Dataset, Example, Part, Source, renumbered

__all__ = ["DATASETS", "Dataset", "Example", "Part", "Source", "dataset", "digits", "part", "parts"]

HELD_OUT = ("val", "validation", "valid", "test")  # the first that is there
KINDS = (
    f"class folders, {', '.join(folders.TABLES)}, {array_records.ABOUT} with ArrayRecord shards, a saved Hugging Face data set"
)


def digits() -> Dataset:
    """1797 handwritten digits, 8x8 grey: 1433 to learn from, and of each class every fifth, 364 in all, held out.

    The split needs no random numbers, so no library's version can change it. Each of the 13 writers may be in both
    parts: the held-out digits are new, the hands that wrote them are not.
    """
    try:
        from sklearn.datasets import load_digits  # here, because only training needs it
    except ImportError as error:
        raise Error("the digits come with scikit-learn, which is not installed: pip install scikit-learn") from error
    grey, classes = map(np.asarray, load_digits(return_X_y=True))  # (1797, 64), whole numbers from 0 to 16
    pictures = (grey.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    held_out = np.zeros(len(classes), bool)
    for number in range(10):
        held_out[np.flatnonzero(classes == number)[::5]] = True
    return Dataset(
        Arrays(list(pictures[~held_out]), classes[~held_out]),
        Arrays(list(pictures[held_out]), classes[held_out]),
        tuple("0123456789"),
        "scikit-learn's load_digits: Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI, CC BY 4.0",
    )


DATASETS: dict[str, Callable[[], Dataset]] = {"digits": digits}


def dataset(recipe: Recipe) -> Dataset:
    """The data that a recipe names."""
    captions = recipe.loss == "contrastive"
    data = DATASETS[recipe.data]() if recipe.data in DATASETS else _folder(Path(recipe.data), captions)
    if recipe.held_out:
        found = parts(Path(recipe.held_out), captions)
        held_out = found.get("held_out") or found.get("") or found["train"]
        data = replace(data, held_out=renumbered(held_out, data.labels, recipe.held_out))
    for what, source in (recipe.data, data.train), (recipe.held_out or recipe.data, data.held_out):
        if source is not None and not len(source):
            raise Error(f"{what} has no examples, or what it holds out has none; give a folder with {KINDS}")
    if bool(data.labels) == captions:
        wish = (
            "classes, but no captions, which loss = contrastive needs: set loss = softmax"
            if captions
            else "captions: set loss = contrastive"
        )
        raise Error(f"{recipe.data} has {wish}")
    return data


def _folder(folder: Path, captions: bool) -> Dataset:
    if not folder.exists():
        known = unknown("data set", str(folder), DATASETS)
        raise Error(f"{known}; give one of {', '.join(DATASETS)}, or a folder ({KINDS})")
    found = parts(folder, captions)
    train, held_out = found.get("train") or found[""], found.get("held_out")
    rest = renumbered(held_out, train.labels, f"{folder}, held out") if held_out else None
    return Dataset(train.source, rest, train.labels, folder.resolve().name)


def parts(folder: Path, captions: bool = False) -> dict[str, Part]:
    """The parts of a folder: `train` and, where it is there, `held_out`; or the one part of the name ""."""
    if not _kind(folder) and _kind(folder / "train"):
        held_out = next((folder / name for name in HELD_OUT if _kind(folder / name)), None)
        rest = {"held_out": part(held_out, captions)} if held_out else {}
        return {"train": part(folder / "train", captions)} | rest
    return {"": part(folder, captions)}


def part(folder: Path, captions: bool = False) -> Part:
    """All that is in a folder, whatever kind it is of."""
    match _kind(folder):
        case "array_records":
            return array_records.shards(folder)
        case "hf_datasets":
            return hf_datasets.saved(folder, captions)
        case "captions":
            return folders.captions(folders.table(folder) or folder)
        case "classes":
            return folders.class_folders(folder)
    there = sorted(path.name for path in folder.iterdir())[:5] if folder.is_dir() else "no folder"
    raise Error(f"{folder} is no data set: looked for {KINDS}, and found {there}")


def _kind(folder: Path) -> str:
    """What a folder holds; "" for nothing known. Class folders called train and val count as parts where they hold classes."""
    if not folder.is_dir():
        return ""
    if array_records.is_here(folder):
        return "array_records"
    if hf_datasets.is_here(folder):
        return "hf_datasets"
    if folders.table(folder):
        return "captions"
    if folders.class_names(folder) and not _kind(folder / "train"):
        return "classes"
    return ""
