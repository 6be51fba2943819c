"""Pictures into ArrayRecord shards, which read quickly in any order where a million small files do not."""

from __future__ import annotations

import io
import itertools
import math
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, cast

from PIL import Image

from ...config import Error
from ...draft import whole
from ...preprocess import read_bytes, to_rgb
from . import array_records, parts
from .crops import opened
from .examples import Example, Part, Source

PER_SHARD = 8192  # examples, unless the user says how many shards
AHEAD = 64  # pictures that are read while one is written
QUALITY = 95  # of a JPEG that has become smaller

Progress = Callable[[int, int], None]  # done, of how many


class Packed(NamedTuple):
    """What became of a folder."""

    examples: int
    shards: int
    unreadable: dict[str, str]  # of each picture that was left out, why


def pack(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    shards: int = 0,
    side: int = 0,
    captions: bool = False,
    progress: Progress = lambda done, total: None,
) -> Packed:
    """Write what is in a folder, its parts apart, as shards: all of them, or on an error none.

    A picture's file stays as it is, unless `side` says how long its shorter side may be at most. Each is decoded once, and one
    that cannot be is left out.
    """
    if Path(out).exists():
        raise Error(f"{out} exists already; give another place, or remove it first")
    found = parts(Path(folder), captions)
    total, unreadable = sum(len(part.source) for part in found.values()), dict[str, str]()
    done = itertools.count(1)
    with whole(os.fspath(out)) as draft, ThreadPoolExecutor(os.cpu_count(), "decode") as pool:
        work = Work(Path(folder), side, unreadable, lambda: progress(next(done), total), pool)
        written = 0
        for name, part in found.items():
            place = Path(draft) / {"held_out": "val"}.get(name, name)
            place.mkdir(exist_ok=True)
            written += _part(place, part, shards, work)
    return Packed(total - len(unreadable), written, unreadable)


class Work(NamedTuple):
    """What all shards have in common."""

    folder: Path
    side: int
    unreadable: dict[str, str]
    tick: Callable[[], None]
    pool: ThreadPoolExecutor


def _part(place: Path, part: Part, shards: int, work: Work) -> int:
    """One part's shards, of neighbours each; returns how many there are."""
    total = len(part.source)
    shards = min(shards or math.ceil(total / PER_SHARD), total)
    counts = dict[str, int]()
    for number in range(shards):
        file = f"{number:05}-of-{shards:05}{array_records.SUFFIX}"
        numbers = range(total * number // shards, total * (number + 1) // shards)
        if count := array_records.write(place / file, _records(part.source, numbers, work)):
            counts[file] = count
        else:
            (place / file).unlink()
    if not counts:
        first = "".join(f"; {why}" for why in list(work.unreadable.values())[:1])
        raise Error(f"{work.folder} has no picture that can be read: fetch them again{first}")
    array_records.write_about(place, part.labels, counts)
    return len(counts)


def _records(source: Source, numbers: range, work: Work) -> Iterator[bytes]:
    """The records of some examples, in order, while threads read the next ones."""
    rest = iter(numbers)
    waiting = deque(work.pool.submit(_record, source, work.side, number) for number in islice(rest, AHEAD))
    while waiting:
        name, made = waiting.popleft().result()
        waiting.extend(work.pool.submit(_record, source, work.side, number) for number in islice(rest, 1))
        work.tick()
        if isinstance(made, Error):
            work.unreadable[name] = str(made)
        else:
            inside = os.path.relpath(name, work.folder) if Path(name).is_relative_to(work.folder) else name
            yield array_records.packed(made._replace(name=inside))


def _record(source: Source, side: int, number: int) -> tuple[str, Example | Error]:
    """An example with its picture's file, and its name; or why there is none."""
    name = f"picture {number}"
    try:
        example = source[number]
        name = example.name or name
        return name, example._replace(picture=_file(example, side))
    except Error as error:
        return name, error


def _file(example: Example, side: int) -> bytes:
    """A picture's file, once it has been decoded; a smaller one where it is too large."""
    data = example.picture if isinstance(example.picture, bytes) else read_bytes(cast(str, example.picture))
    image = opened(example._replace(picture=data))
    if not side or min(image.size) <= side:
        image.draft(None, (max(1, image.width // 8), max(1, image.height // 8)))  # to see whether it is whole, quickly
        to_rgb(image, example.name)
        return data
    ratio = side / min(image.size)
    size = max(side, round(image.width * ratio)), max(side, round(image.height * ratio))
    image.draft(None, size)
    made = io.BytesIO()
    to_rgb(image, example.name).resize(size, Image.Resampling.BICUBIC).save(made, "JPEG", quality=QUALITY)
    return made.getvalue()
