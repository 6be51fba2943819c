"""What one types and sees in a terminal: lists, a bar, a table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .config import Error

SHOWN = 20  # of a list of what went wrong


def listed(words: Sequence[str]) -> list[str]:
    """Words as they are given, in the place of each @FILE the lines of that file."""
    return [line for word in words for line in (_lines(word[1:]) if word.startswith("@") else [word])]


def _lines(path: str) -> list[str]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        raise Error(f"cannot read the lines of {path!r}: {error}; @FILE must be a file of UTF-8 text") from error
    if not text:
        raise Error(f"{path} is empty: write one to a line")
    return text.removesuffix("\n").split("\n")


def several(reasons: Sequence[str]) -> str:
    """What went wrong, one to a line; of very many the first ones."""
    more = [f"and {len(reasons) - SHOWN} more"] if len(reasons) > SHOWN else []
    return "".join(f"\n  {reason}" for reason in [*reasons[:SHOWN], *more])


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of cells, the columns below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


class progress:
    """A bar on stderr, where that is a terminal; called with (done, total)."""

    def __init__(self, what: str) -> None:
        from tqdm import tqdm

        self.bar = tqdm(desc=what, disable=None, leave=False)

    def __enter__(self) -> Callable[[int, int], None]:
        return self.update

    def update(self, done: int, total: int) -> None:
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def __exit__(self, *error: object) -> None:
        self.bar.close()
