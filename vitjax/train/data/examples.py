"""What a network learns from: examples that can be had in any order, wherever they are kept."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from ...config import Error, unknown


class Example(NamedTuple):
    """A picture, with the number of its class or with a caption."""

    picture: bytes | str | os.PathLike[str] | np.ndarray | Image.Image  # a file's bytes, its path, or as preprocess.py takes it
    label: int
    text: str = ""
    name: str = ""  # what an error calls it


@runtime_checkable
class Source(Protocol):
    """Examples by number. It travels to other processes, so files are opened where they are read.

    `self[i]` is an Error where an example cannot be read.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Example: ...


class Part(NamedTuple):
    """What is read together: all of a folder."""

    source: Source
    labels: tuple[str, ...]  # of the classes, in the order of their numbers; () where there are captions instead


@dataclass(frozen=True)
class Dataset:
    """What a network learns from, what it is measured on, and what the classes are called."""

    train: Source
    held_out: Source | None
    labels: tuple[str, ...]
    origin: str


class Strings(Sequence[str]):
    """Very many strings in two arrays, since a worker that decodes pictures has a copy of its own."""

    def __init__(self, strings: Iterable[str]) -> None:
        parts = [string.encode("utf-8", "surrogatepass") for string in strings]  # a file's name may be anything
        self._bytes = b"".join(parts)
        self._ends = np.cumsum([len(part) for part in parts], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, i: int) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
        start = self._ends[i - 1] if i else 0
        return self._bytes[start : self._ends[i]].decode("utf-8", "surrogatepass")


@dataclass(frozen=True)
class Arrays:
    """Pictures in memory."""

    pictures: Sequence[np.ndarray]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> Example:
        return Example(self.pictures[i], int(self.labels[i]), name=f"picture {i}")


@dataclass(frozen=True)
class Renumbered:
    """The same examples, whose classes have other numbers."""

    source: Source
    numbers: tuple[int, ...]  # of each old number the new one

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Example:
        example = self.source[i]
        return example._replace(label=self.numbers[example.label])


def renumbered(part: Part, labels: tuple[str, ...], where: str) -> Source:
    """A part whose classes have the numbers that they have in `labels`."""
    if part.labels == labels:
        return part.source
    number = {label: i for i, label in enumerate(labels)}
    for label in part.labels:
        if label not in number:
            error = unknown("class", label, labels)
            raise Error(f"{where}: {error}; what is held out has only classes that there is something to learn of")
    return Renumbered(part.source, tuple(number[label] for label in part.labels))
