"""Data sets that fit in memory: pictures with their classes, a part to learn from and a part held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..config import Error, unknown
from ..preprocess import Picture


@dataclass(frozen=True)
class Part:
    """Pictures, as `vitjax.preprocess` takes them, and the number of each one's class."""

    pictures: Sequence[Picture]
    classes: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """What a network learns from, what it is measured on, and what the classes are called."""

    train: Part
    held_out: Part
    labels: tuple[str, ...]
    origin: str


def digits() -> Dataset:
    """1797 handwritten digits, 8x8 grey: 1433 to learn from, and of each class every fifth, 364 in all, held out.

    The split needs no random numbers, so no library's version can change it. Each of the 13 writers may be in both
    parts: the held-out digits are new, the hands that wrote them are not.
    """
    try:
        from sklearn.datasets import load_digits  # here, because only training needs it
    except ImportError as error:
        raise Error("the digits come with scikit-learn, which is not installed: pip install scikit-learn") from error
    grey, classes = load_digits(return_X_y=True)  # (1797, 64), whole numbers from 0 to 16
    pictures = (grey.reshape(-1, 8, 8) * (255 / 16)).round().astype(np.uint8)
    held_out = np.zeros(len(classes), bool)
    for number in range(10):
        held_out[np.flatnonzero(classes == number)[::5]] = True
    return Dataset(
        Part(list(pictures[~held_out]), classes[~held_out]),
        Part(list(pictures[held_out]), classes[held_out]),
        tuple("0123456789"),
        "scikit-learn's load_digits: Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI, CC BY 4.0",
    )


DATASETS: dict[str, Callable[[], Dataset]] = {"digits": digits}


def dataset(name: str) -> Dataset:
    """The data set of that name."""
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]()
