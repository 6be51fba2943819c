"""An .npy file of rows that appears whole or not at all; a run that was interrupted goes on where it was.

Beside OUT.npy, a float32 array, OUT.json says which row is what. While it is made there are two more: OUT.npy.part, which has the
rows so far, and OUT.npy.journal, which has a line of JSON for whatever one who goes on must know, written before it is so. One
process at a time holds the journal.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from filelock import FileLock, Timeout

from .config import Error


@dataclass
class Rows:
    """The rows so far."""

    out: Path
    count: int  # how many there are to be
    done: int
    missing: dict[int, str]  # row -> why it has no numbers
    part: IO[bytes]
    journal: IO[bytes]

    def append(self, rows: np.ndarray, missing: Mapping[int, str]) -> None:
        """The next rows; those of `missing`, counted from the first of these, become NaN."""
        rows = rows.astype("<f4")
        for row, why in missing.items():
            self.missing[self.done + row] = why
            self.note({"row": self.done + row, "why": why})
            rows[row] = np.nan
        self.part.write(rows.tobytes())
        self.part.flush()
        self.done += len(rows)

    def finish(self, about: Mapping[str, Any], names: Sequence[str]) -> None:
        """Put the file in its place, and beside it what it is, and each of its rows."""
        assert self.done == self.count == len(names)
        os.fsync(self.part.fileno())
        self.note({"finished": self.count})
        self.out.unlink(missing_ok=True)  # an older one never stands beside a list that is not its own
        found = {"rows": list(names), "unreadable": {names[row]: why for row, why in self.missing.items()}}
        text = json.dumps({**about, **found}, indent=1, ensure_ascii=False) + "\n"
        draft = _part(_list(self.out))
        draft.write_bytes(text.encode(errors="backslashreplace"))  # as JSON, too, spells half a character of a file's name
        draft.replace(_list(self.out))
        _part(self.out).replace(self.out)
        _journal(self.out).unlink()

    def discard(self) -> None:
        """Leave nothing of what was begun."""
        _part(self.out).unlink()
        _journal(self.out).unlink()

    def note(self, what: Mapping[str, Any]) -> None:
        self.journal.write(b"\n" + json.dumps(what).encode() + b"\n")  # at first a new line: the last one may be torn
        self.journal.flush()


@contextlib.contextmanager
def growing(out: Path, run: Mapping[str, Any], shape: tuple[int, int], batch: int, overwrite: bool) -> Iterator[Rows]:
    """The rows of what will be an array of `shape`: none, or those that the same run has left behind.

    run: what tells it from others, as JSON has it. batch: only so many rows together count, so that the one who goes on computes
    what the other would have. overwrite: replace what is there, finished or begun by another run.
    """
    if out.suffix != ".npy":
        raise Error(f"{out} would be an .npy file: give it a name that ends so")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _alone(out):
            missing = _known(out, run, overwrite)
            with _part(out).open("r+b" if missing is not None else "w+b") as part, _journal(out).open("ab") as journal:
                rows = Rows(out, shape[0], _cut(part, shape, batch), {}, part, journal)
                if missing is None:
                    rows.note({"run": run})
                else:
                    rows.note({"from": rows.done})
                    rows.missing = {row: why for row, why in missing.items() if row < rows.done}
                try:
                    yield rows
                except BaseException:
                    if not rows.done:
                        rows.discard()
                    raise
    except OSError as error:
        raise Error(f"cannot write {out}: {error.strerror or error}") from error


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Hold the journal's lock, of which the system lets go when the process ends, however it ends."""
    journal = _journal(out)
    try:
        with FileLock(journal, blocking=False):
            try:
                yield
            finally:
                if journal.exists() and not journal.stat().st_size:
                    journal.unlink()
    except Timeout as error:
        raise Error(f"another process is writing {out}: wait for it, or choose another place") from error


def _known(out: Path, run: Mapping[str, Any], overwrite: bool) -> dict[int, str] | None:
    """What the same run has noted of rows; None if there was none, and everything is to begin."""
    part, journal = _part(out), _journal(out)
    known, missing, finished = _read(journal)
    if known not in (None, run) and not overwrite:
        other = ", ".join(key for key in run if known.get(key) != run[key])
        raise Error(
            f"{part} was begun by a run that differs in: {other}. Go on with that one, choose another place, or pass --overwrite "
            "(overwrite=True)"
        )
    finished &= known == run
    taken = [] if overwrite or finished else [path for path in (out, _list(out)) if path.exists()]
    if taken:
        raise Error(f"{taken[0]} exists already: choose another place, or pass --overwrite (overwrite=True)")
    if finished and out.exists() and not part.exists():
        out.replace(part)  # killed between the last two steps
    if known == run and part.exists():
        return missing
    os.truncate(journal, 0)  # before the part is: what a journal tells of is there, or is finished
    return None


def _read(journal: Path) -> tuple[dict[str, Any] | None, dict[int, str], bool]:
    """Whose rows there are, those without numbers, and whether all are there. A line that a kill has torn says nothing."""
    run, missing, finished = None, dict[int, str](), False
    for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            match json.loads(line):
                case {"run": dict(found)}:
                    run = found
                case {"row": int(row), "why": str(why)}:
                    missing[row] = why
                case {"from": int(done)}:
                    missing, finished = {row: why for row, why in missing.items() if row < done}, False
                case {"finished": _}:
                    finished = True
    return run, missing, finished


def _cut(part: IO[bytes], shape: tuple[int, int], batch: int) -> int:
    """How many rows count, of those in an open file; what follows them is cut off, and a header put where there is none."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    header = buffer.getvalue()
    count, row = shape[0], 4 * shape[1]
    done = (os.fstat(part.fileno()).st_size - len(header)) // row if part.read(len(header)) == header else 0
    done = count if done >= count else done - done % batch
    if not done:
        part.seek(0)
        part.write(header)
    part.truncate(len(header) + done * row)
    part.seek(0, os.SEEK_END)
    part.flush()
    return done


def _part(out: Path) -> Path:
    return Path(f"{out}.part")


def _journal(out: Path) -> Path:
    return Path(f"{out}.journal")


def _list(out: Path) -> Path:
    return out.with_suffix(".json")
