"""ArrayRecord shards of pictures. What `vitjax data pack` writes:

    SHARDS/00000-of-00004.array_record ...
    SHARDS/dataset.json         {"format": 1, "labels": ["cat", "dog"], "shards": {"00000-of-00004.array_record": 2048, ...}}

Shards are read in the order of dataset.json, which says how many records each has. A record is

    4 bytes     how long the next part is, the low byte first
    JSON        {"label": 1, "text": "", "name": "dog/3.jpg"}
    the rest    the picture's file, as it was

With captions instead of classes, `labels` is empty and each label 0. ArrayRecord is written uncompressed, as pictures are
compressed already, and in groups of one, so that any record can be had by itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import Error
from ...preprocess import MAX_BYTES
from ...values import as_object, check_types, decode
from .examples import Example, Part

FORMAT = 1
ABOUT = "dataset.json"
SUFFIX = ".array_record"
READING = {"max_parallelism": "0"}  # no threads for a single record: the pipeline has its own
MAX_HEADER = 2**20  # of a record; captions are shorter


@dataclass(frozen=True)
class About:
    """What dataset.json says."""

    labels: tuple[str, ...]
    shards: dict  # of each file the number of records
    format: int = FORMAT

    def __post_init__(self) -> None:
        check_types(self)
        for name, count in self.shards.items():
            if os.path.basename(name) != name or type(count) is not int or count < 1:
                raise Error(
                    f"{name!r}: {count!r} must be a file beside it and how many records that has; pack the pictures again"
                )


@dataclass(frozen=True)
class Head:
    """What is in a record before the picture."""

    label: int
    text: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True)
class Records:
    """The records of some shards."""

    data: Any  # array_record's; it opens each file where it is read, and may be read by several threads
    where: str
    classes: int

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Example:
        where = f"record {i} of {self.where}"
        try:
            record = self.data[i]
        except (RuntimeError, ValueError, OSError) as error:
            raise Error(f"{where} is damaged: {str(error) or 'no more is known'}; pack the pictures again") from error
        example = unpacked(record, where)
        if not 0 <= example.label < max(self.classes, 1):
            raise Error(f"{where} is of class {example.label}, and there are {self.classes}; pack the pictures again")
        return example


def packed(example: Example) -> bytes:
    """An example, whose picture is a file's bytes, as a record."""
    assert isinstance(example.picture, bytes)
    head = json.dumps({"label": example.label, "text": example.text, "name": example.name}).encode()
    return len(head).to_bytes(4, "little") + head + example.picture


def unpacked(record: bytes, where: str) -> Example:
    """The example in a record."""
    size = int.from_bytes(record[:4], "little")
    if not 0 < size <= min(MAX_HEADER, len(record) - 4) or len(record) > MAX_BYTES + MAX_HEADER:
        raise Error(f"{where} is damaged, or none of ours: it begins with {record[:16]!r}; pack the pictures again")
    try:
        fields = json.loads(record[4 : 4 + size])
    except (ValueError, RecursionError) as error:
        raise Error(f"{where} is damaged: {error}; pack the pictures again") from error
    head: Head = decode(Head, as_object(fields, where), where)
    return Example(record[4 + size :], head.label, head.text, head.name or where)


def is_here(folder: Path) -> bool:
    """Whether a folder has shards."""
    return (folder / ABOUT).is_file() or any(folder.glob(f"*{SUFFIX}"))


def shards(folder: Path) -> Part:
    """The shards in a folder, each of which must be as its dataset.json says."""
    about, paths = _about(folder / ABOUT), list[str]()
    for name, expected in about.shards.items():
        path, count = folder / name, _count(folder / name)
        if count != expected:
            raise Error(f"{path} has {count} records, not {expected} as {ABOUT} says; pack the pictures again")
        paths.append(f"{path}[0:{count}]")  # so that nothing is opened to count again
    return Part(Records(_library().ArrayRecordDataSource(paths, READING), str(folder), len(about.labels)), about.labels)


def _about(path: Path) -> About:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Error(f"{path} has {path.stat().st_size} bytes, which no labels have; pack the pictures again")
        fields = as_object(json.loads(path.read_text(encoding="utf-8")), str(path))
    except FileNotFoundError as error:
        raise Error(f"{path.parent} has {SUFFIX} files, but no {ABOUT} beside them; make it with `vitjax data pack`") from error
    except (OSError, ValueError, RecursionError) as error:
        raise Error(f"{path} is not JSON: {error}; pack the pictures again") from error
    if fields.get("format") != FORMAT:
        raise Error(f"{path} has format {fields.get('format')!r}; this vitjax reads {FORMAT}: upgrade vitjax, or pack again")
    about: About = decode(About, fields, str(path))
    if not about.shards:
        raise Error(f"{path} names no shards; pack the pictures again")
    return about


def _count(path: Path) -> int:
    if not path.is_file():  # a FIFO would block
        raise Error(f"{path} is missing, which {ABOUT} names; pack the pictures again")
    try:
        return len(_library().ArrayRecordDataSource([f"{path}"]))
    except (RuntimeError, ValueError, OSError) as error:
        raise Error(f"{path} is damaged: {str(error) or 'it is not whole'}; pack the pictures again") from error


def write(path: Path, records: Iterable[bytes]) -> int:
    """A shard; returns how many records it has."""
    writer = _library().array_record_module.ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    count = 0
    try:
        for record in records:
            writer.write(record)
            count += 1
    finally:
        writer.close()
    return count


def write_about(folder: Path, labels: tuple[str, ...], shards: dict[str, int]) -> None:
    about = {"format": FORMAT, "labels": labels, "shards": shards}
    (folder / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _library() -> Any:
    try:
        from array_record.python import array_record_data_source
    except ImportError as error:
        raise Error("ArrayRecord shards need array_record, which is not installed: pip install 'vitjax[train]'") from error
    return array_record_data_source
