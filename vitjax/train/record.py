"""metrics.jsonl: what each step and each evaluation gave, a JSON object to a line, as if the training had never been cut off."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from ..config import Error

FILE = "metrics.jsonl"
SECONDS = 60  # between two copies to a place where nothing can be added to a file


class Record:
    """The file, held open. On this machine each line is with the system at once, so that no kill loses it.

    Where nothing can be added to a file (gs://), all of it is written anew: at `flush`, and otherwise once a minute.
    """

    def __init__(self, folder: epath.Path, resumed: int) -> None:
        """Go on after step `resumed`: lines of later steps are dropped, as one has that was killed after its last save."""
        self.path = folder / FILE
        lines = [line for line, row in _lines(self.path) if row["step"] <= resumed]
        self.remote = "://" in str(folder)
        self.written = time.monotonic()
        try:
            if self.remote:
                self.text = lines
                self.flush()
            else:
                draft = self.path.with_name(f"{FILE}.draft")
                draft.write_bytes(b"".join(lines))
                draft.replace(self.path)
                self.file = open(self.path, "ab")  # noqa: SIM115 (close() closes it)
        except OSError as error:
            raise self._cannot(error) from error

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """One line for each row. Numbers come back as they were; what is no number in JSON (NaN, infinities) is null."""
        lines = [json.dumps({key: _finite(value) for key, value in row.items()}).encode() + b"\n" for row in rows]
        if not self.remote:
            try:
                self.file.write(b"".join(lines))
                self.file.flush()
            except OSError as error:
                raise self._cannot(error) from error
            return
        self.text += lines
        if time.monotonic() > self.written + SECONDS:
            self.flush()

    def flush(self) -> None:
        """All lines are where they belong."""
        if self.remote:
            self.path.write_bytes(b"".join(self.text))
            self.written = time.monotonic()

    def close(self) -> None:
        self.flush()
        if not self.remote:
            self.file.close()

    def _cannot(self, error: OSError) -> Error:
        return Error(f"cannot write {self.path}: {error}; make room there, and run the same command again to go on")


def read(folder: epath.PathLike) -> list[dict[str, Any]]:
    """The rows of a training's metrics.jsonl; {"step", "loss", ...}, and with "kind" what was no step. No file, no rows."""
    return [row for _, row in _lines(epath.Path(folder) / FILE)]


def _lines(path: epath.Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Each line and its row. A last one that a kill cut off is left out; another that is no row is an Error."""
    if not path.exists():
        return []
    *whole, _ = path.read_bytes().split(b"\n")  # what comes after the last newline is nothing, or torn
    rows = []
    for number, line in enumerate(whole, 1):
        try:
            row = json.loads(line)
            assert isinstance(row["step"], int)
        except (ValueError, TypeError, KeyError, AssertionError) as error:
            raise Error(f"line {number} of {path} was not written by a training: {line[:80]!r}; move the file away") from error
        rows.append((line + b"\n", row))
    return rows


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
