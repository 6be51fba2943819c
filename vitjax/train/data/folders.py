"""Pictures in folders: one folder a class, or a table of paths and captions."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...config import Error
from ...pictures import SUFFIXES
from .examples import Example, Part, Strings

TABLES = ("captions.tsv", "captions.csv")
PATHS = ("path", "filepath", "file", "image")  # what a table's columns may be called; open_clip's are filepath and title
CAPTIONS = ("caption", "title", "text")


@dataclass(frozen=True)
class Files:
    """Pictures by their paths below a folder."""

    folder: str
    paths: Strings
    labels: np.ndarray | None = None
    texts: Strings | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Example:
        path = os.path.join(self.folder, self.paths[i])
        return Example(path, int(self.labels[i]) if self.labels is not None else 0, self.texts[i] if self.texts else "", path)


def class_names(folder: Path) -> list[str]:
    """The folders in a folder that have a picture in them, sorted."""
    try:
        inside = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise Error(f"cannot look into a folder: {error}; check its permissions") from error
    return [name for name in inside if next(_pictures(folder / name), None) is not None]


def class_folders(folder: Path) -> Part:
    """Every picture in a folder of class folders; those in folders within a class folder are of that class, too."""
    names, paths, labels = class_names(folder), list[str](), list[int]()
    for number, name in enumerate(names):
        found = sorted(_pictures(folder / name))
        paths += (os.path.join(name, path) for path in found)
        labels += [number] * len(found)
    return Part(Files(str(folder), Strings(paths), np.array(labels, np.int32)), tuple(names))


def _pictures(folder: Path, inside: str = "", above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[str]:
    """Paths of pictures below a folder, known by their suffix. Links are followed, but not back into a folder they are in."""
    try:
        status = os.stat(here := os.path.join(folder, inside))
        entries = [entry for entry in os.scandir(here) if not entry.name.startswith(".")]
    except OSError as error:
        raise Error(f"cannot look into a folder: {error}; check its permissions") from error
    if (this := (status.st_dev, status.st_ino)) in above:
        return
    for entry in entries:
        path = os.path.join(inside, entry.name)
        if entry.is_dir():
            yield from _pictures(folder, path, above | {this})
        elif entry.name.lower().endswith(SUFFIXES):
            yield path


def table(folder: Path) -> Path | None:
    """The file with the captions of a folder's pictures."""
    return next((folder / name for name in TABLES if (folder / name).is_file()), None)


def captions(file: Path) -> Part:
    """Pairs of a table: two columns, or those that its first line names. Paths are from the table's folder."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise Error(f"{file} is not a file; give a table of paths and captions")
        with file.open(encoding="utf-8-sig", newline="") as lines:
            first = lines.readline()
            lines.seek(0)
            rows = list(csv.reader(lines, delimiter="\t" if file.suffix == ".tsv" or "\t" in first else ",", strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Error(f"{file} is no table of paths and captions: {error}; write UTF-8, a pair to a line") from error
    path, caption, named = _columns(rows[0], file) if rows else (0, 1, False)
    rows = [row for row in rows[named:] if row]  # a blank line is none
    for row in rows:
        if len(row) <= max(path, caption):
            raise Error(f"{file}: {row} is no pair; write a path and a caption to a line")
    if not rows:
        raise Error(f"{file} has no pairs; write a path and a caption to a line")
    return Part(Files(str(file.parent), Strings(row[path] for row in rows), texts=Strings(row[caption] for row in rows)), ())


def _columns(first: list[str], file: Path) -> tuple[int, int, bool]:
    """Which columns have the paths and the captions, and whether the first line says so."""
    names = [name.strip().lower() for name in first]
    path = next((names.index(name) for name in PATHS if name in names), None)
    caption = next((names.index(name) for name in CAPTIONS if name in names), None)
    if path is not None and caption is not None:
        return path, caption, True
    if len(first) != 2:
        wish = f"call one of them {' or '.join(PATHS)}, and one {' or '.join(CAPTIONS)}, in the first line"
        raise Error(f"{file} has {len(first)} columns: {wish}")
    return 0, 1, False
