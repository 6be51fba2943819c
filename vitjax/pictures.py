"""Any number of pictures: found in folders, decoded side by side, some at a time."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .config import Error, Preprocess, hw
from .preprocess import Floats, preprocess

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp")  # of what preprocess.py reads


class Batch(NamedTuple):
    """Some pictures, side by side; behind the last ones of all, and in the place of unreadable ones, zeros."""

    x: Floats  # (B, H, W, 3), as a network takes them
    filled: int  # how many rows are of pictures
    unreadable: dict[int, str]  # row -> why


def find(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """Files as they are given, in the place of each folder the pictures in it, and in the folders in it.

    A folder's are known by their suffix and sorted by their path, part by part; what begins with a dot is passed over.
    """
    found: list[str] = []
    for path in paths:
        try:
            folder = stat.S_ISDIR(os.stat(path).st_mode)
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            raise Error(f"cannot read a picture: {error}; check the path") from error
        inside = sorted(_walk(Path(path), set()), key=lambda file: file.parts) if folder else [Path(path)]
        if not inside:
            raise Error(f"{path} holds no pictures ({', '.join(SUFFIXES)}): give another folder, or files by name")
        found += map(str, inside)
    return found


def _walk(folder: Path, above: set[tuple[int, int]]) -> Iterator[Path]:
    """The pictures in a folder. Links are followed, but not back into a folder that they are in."""
    try:
        status, entries = folder.stat(), [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError as error:
        raise Error(f"cannot look into a folder: {error}; check its permissions") from error
    if (here := (status.st_dev, status.st_ino)) in above:
        return
    for entry in entries:
        if entry.is_dir():
            yield from _walk(folder / entry.name, above | {here})
        elif entry.name.lower().endswith(SUFFIXES):
            yield folder / entry.name


def stream(files: Sequence[str], how: Preprocess, batch: int, threads: int | None = None) -> Generator[Batch]:
    """Pictures in batches, all of one size, in order, while threads decode the next ones: Pillow lets others run meanwhile.

    Two batches are held beside the one that is out, however many pictures there are. threads: as many as there are cores.
    """
    threads = threads or min(32, os.cpu_count() or 1)
    pool, rest, shape = ThreadPoolExecutor(threads, "decode"), iter(files), (batch, *hw(how.size), 3)

    def decode(file: str) -> Floats | Error:
        try:
            return preprocess(file, how)[0]
        except Error as error:
            return error

    with contextlib.ExitStack() as stack:
        stack.callback(pool.shutdown, cancel_futures=True)  # also when whoever takes the batches stops in between
        waiting = deque(pool.submit(decode, file) for file in islice(rest, 2 * batch))
        for start in range(0, len(files), batch):
            x, unreadable = np.zeros(shape, np.float32), {}  # anew each time: JAX may read the last one still, where it is
            filled = min(batch, len(files) - start)
            for row in range(filled):
                found = waiting.popleft().result()
                waiting.extend(pool.submit(decode, file) for file in islice(rest, 1))
                if isinstance(found, Error):
                    unreadable[row] = str(found)
                else:
                    x[row] = found
            yield Batch(x, filled, unreadable)
