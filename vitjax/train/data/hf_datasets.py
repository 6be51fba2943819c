"""Data sets that Hugging Face's `datasets` saved on disk (`save_to_disk`): a column of pictures, one of classes or captions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import Error
from .examples import Example, Part

CAPTIONS = ("text", "caption", "captions", "title")  # what a column of them is called; of several lists the first caption counts


@dataclass(frozen=True)
class Rows:
    """The rows of a data set, their pictures not decoded."""

    data: Any  # a datasets.Dataset, which other processes map into memory anew
    where: str
    image: str
    label: str | None
    text: str | None
    classes: int

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, i: int) -> Example:
        name = f"row {i} of {self.where}"
        try:
            row = self.data[i]
        except Exception as error:  # of Arrow, whose files may be damaged anywhere
            raise Error(f"{name} cannot be read: {error}; save the data set again") from error
        picture = row[self.image] or {}
        content = picture.get("bytes") or picture.get("path")
        label, text = (row[self.label] if self.label else 0), (row[self.text] if self.text else "")
        text = text[0] if isinstance(text, list) and text else text
        if not content or not isinstance(label, int) or not isinstance(text, str) or not 0 <= label < max(self.classes, 1):
            raise Error(
                f"{name} lacks something: its label is {label!r}, its text {text!r}, its picture "
                f"{'there' if content else 'not'}; leave it out, and save again"
            )
        return Example(content, label, text, picture.get("path") or name)


def is_here(folder: Path) -> bool:
    """Whether a folder is a data set that was saved; a DatasetDict is a folder of such folders."""
    return (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()


def saved(folder: Path, captions: bool) -> Part:
    """The data set in a folder, with its captions or with its classes."""
    try:
        import datasets  # here, because it is large, and only needed for its own files
    except ImportError as error:
        raise Error(f"{folder} is read by Hugging Face's datasets, which is not installed: pip install datasets") from error
    try:
        data: Any = datasets.load_from_disk(str(folder))
        features = data.features
    except Exception as error:  # of Arrow, JSON and fsspec
        raise Error(f"{folder} cannot be read by datasets: {error}; save the data set again") from error
    images = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if len(images) != 1:
        raise Error(f"{folder} has {len(images)} columns of pictures, not one: {list(features)}; cast one to datasets.Image()")
    data = data.cast_column(images[0], datasets.Image(decode=False))
    if captions:
        text = next((name for name in CAPTIONS if name in features), None)
        if text is None:
            raise Error(f"{folder} has columns {list(features)}; rename that of the captions: {' or '.join(CAPTIONS)}")
        return Part(Rows(data.select_columns([images[0], text]), str(folder), images[0], None, text, 0), ())
    labels = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    if len(labels) > 1:
        labels = [name for name in labels if name in ("label", "labels")]
    if len(labels) != 1:
        raise Error(f"{folder} has columns {list(features)}; cast that of the classes to datasets.ClassLabel, and call it label")
    data = data.select_columns([images[0], labels[0]])
    names = tuple(features[labels[0]].names)
    return Part(Rows(data, str(folder), images[0], labels[0], None, len(names)), names)
