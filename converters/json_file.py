"""JSON that other people wrote, read strictly: a key given twice is an error, because readers disagree which counts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vitjax.config import Error

JSON_LIMIT = 64 * 2**20


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a small file: a configuration, or an index of shards."""
    if path.stat().st_size > JSON_LIMIT:
        raise Error(
            f"{path} is larger than {JSON_LIMIT >> 20} MB, which no configuration is: check the path, or download it again"
        )
    try:
        return parse(path.read_bytes())
    except ValueError as error:
        raise Error(f"{path} is not JSON that can be read: {error}. Mend it, or download it again") from error


def parse(text: bytes) -> dict[str, Any]:
    """A JSON object; whatever is wrong with it is a ValueError of one line."""
    try:
        data = json.loads(text.decode(), object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(data, dict):
        raise ValueError(f"it must hold a JSON object, not {type(data).__name__}")
    return data


@contextlib.contextmanager
def blame(file: Path) -> Iterator[None]:
    """Whatever is wrong with what a file says is an Error that begins with its name."""
    try:
        yield
    except Error as error:
        if str(error).startswith(str(file)):
            raise
        raise Error(f"{file}: {error}") from error
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:  # a value of an impossible type
        raise Error(f"{file}: {type(error).__name__}: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f"the key {key[:80]!r} is given twice")
        out[key] = value
    return out
