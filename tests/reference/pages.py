"""Migration pages, run as they stand: `python -m tests.reference.pages FOLDER PAGE...` prints what each row came to, as JSON.

Two programs stand side by side. Blocks that say `needs: network` are ours, others theirs; a table's second column is theirs, its
third ours, its last says how near each row's two values are. The names are those of small networks: small_hub.py.
"""

from __future__ import annotations

import ast
import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from tests.markdown import Block, blocks, run

THEIRS, OURS = 0, 1
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Row(NamedTuple):
    """One row of a table: the same thing in two libraries."""

    line: int
    what: str
    codes: tuple[str, str]
    same: str


def rows(page: Path) -> list[Row]:
    """The rows of a page whose second and third cells are code."""
    found = []
    for line, text in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        cells = [cell.strip() for cell in text.strip().strip("|").split(" | ")]
        if text.startswith("|") and len(cells) == 4 and all(cell[0] == cell[-1] == "`" for cell in cells[1:3]):
            found.append(Row(line, cells[0], (cells[1].strip("`"), cells[2].strip("`")), cells[3]))
    return found


def check(page: Path, recorded: Mapping[str, Any] | None = None, given: Mapping[str, Any] = NOTHING) -> Iterator[tuple[str, str]]:
    """(row, "" or what is wrong) of each row of a page, blocks and rows in their order.

    recorded: what their program gave, where it cannot run here, by the code of its cell. given: names that are there.
    """
    names: list[dict[str, Any]] = [{}, {"jax": jax, **given}]
    parts: list[Block | Row] = [*blocks(page), *rows(page)]
    for part in sorted(parts, key=lambda part: part.line):
        if isinstance(part, Block):
            run([part], part.needs, names["network" in part.needs])
        else:
            try:
                theirs = recorded[part.codes[THEIRS]] if recorded else value(part.codes[THEIRS], names[THEIRS])
                found = wrong(theirs, value(part.codes[OURS], names[OURS]), part.same)
            except Exception as error:  # one row's: the others are run as well
                found = f"{type(error).__name__}: {error}"
            yield f"{page.name}:{part.line} {part.what}", found


def value(code: str, names: dict[str, Any]) -> Any:
    """What an expression gives, or an assignment assigns."""
    statement = ast.parse(code).body[0]
    if isinstance(statement, ast.Expr):
        return eval(code, names)
    exec(code, names)
    assert isinstance(statement, ast.Assign)
    return names[ast.unparse(statement.targets[0])]


def wrong(theirs: Any, ours: Any, same: str) -> str:
    """ "" where two values are as near as a page says, else how far they are from that."""
    claim, *how = same.split(", ")
    if claim == "runs":
        return ""
    several = isinstance(theirs, list | tuple) and isinstance(ours, list | tuple)
    pairs = list(zip(theirs, ours, strict=True)) if several else [(theirs, ours)]
    for a, b in pairs:
        if isinstance(a, str) or isinstance(b, str):
            if a != b:
                return f"{a!r} is not {b!r}"
            continue
        a, b = np.asarray(a), np.asarray(b)
        a = np.moveaxis(a, 1, -1) if "channels last" in how else a
        if a.shape != b.shape:
            return f"{a.shape} is not {b.shape}"
        difference, scale = np.abs(a.astype(float) - b).max(initial=0), np.abs(a).max(initial=0)
        if not difference <= (0 if claim == "equal" else float(claim) * scale):
            return f"{difference:.1e} apart, of {scale:.1e}"
    return "" if pairs else "nothing was compared"


def photograph(path: Path) -> None:
    """A picture with edges, slopes and noise, its sides of no round length."""
    from PIL import Image

    rng, (height, width) = np.random.default_rng(0), (417, 561)
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([x / width, y / height, (x // 40 + y // 40) % 2], -1) * 200
    Image.fromarray((smooth + rng.integers(0, 55, smooth.shape)).astype(np.uint8)).save(path, quality=95)


def main(home: Path, pages: list[Path]) -> None:
    from tests.reference.google_pages import google
    from tests.reference.small_hub import small_hub

    with small_hub(home), contextlib.chdir(home), contextlib.redirect_stdout(sys.stderr):
        photograph(Path("photo.jpg"))
        found = [row for page in pages for row in check(page, *(google() if "big_vision" in page.name else ()))]
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), [Path(page).resolve() for page in sys.argv[2:]])
