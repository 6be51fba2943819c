"""One source for each text: a page takes sections of a README where it says <!-- include: README.md#Speed -->."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
INCLUDE = re.compile(r"^<!-- include: (?P<path>[\w./-]+)(?:#(?P<section>[^>]+?))? -->$", re.MULTILINE)
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
PAGES = {  # of which files there is a page
    "vitjax/train/README.md": "fine_tuning.md",
    "vitjax/train/recipes": "recipes.md",
}


def expand(page: str, src: str) -> tuple[str, set[str]]:
    """A page with what it includes, and the files of the repository that the included text links to."""
    files = set[str]()

    def included(match: re.Match) -> str:
        text = section((ROOT / match["path"]).read_text(encoding="utf-8"), match["section"])
        text, linked = relinked(text, posixpath.dirname(match["path"]), src)
        files.update(linked)
        return text

    return INCLUDE.sub(included, page), files


def sections(text: str) -> list[str]:
    """The headings of second rank, in their order."""
    return [found[2] for found in _headings(text) if found[1] == "##"]


def section(text: str, name: str | None) -> str:
    """A section without its heading; without a name, what is between the title and the first section."""
    found = _headings(text)
    starts = [n for n, heading in enumerate(found) if (heading[2] == name if name else len(heading[1]) == 1)]
    if len(starts) != 1:
        raise ValueError(f"{len(starts)} sections are called {name!r}: {', '.join(heading[2] for heading in found)}")
    heading, after = found[starts[0]], found[starts[0] + 1 :]
    end = next((h.start() for h in after if not name or len(h[1]) <= len(heading[1])), len(text))
    return text[heading.end() : end].strip()


def _headings(text: str) -> list[re.Match]:
    code = [range(*block.span()) for block in re.finditer(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)]
    return [heading for heading in HEADING.finditer(text) if not any(heading.start() in block for block in code)]


def relinked(text: str, folder: str, src: str) -> tuple[str, set[str]]:
    """Links that are relative to `folder`, relative to the page `src`: to other pages, or to files that the site then holds."""
    files, up = set[str](), posixpath.dirname(src)

    def link(match: re.Match) -> str:
        path = posixpath.normpath(posixpath.join(folder, match[1]))
        if path in PAGES:
            target = PAGES[path]
        elif path.startswith("docs/"):
            target = path.removeprefix("docs/")
        else:
            files.add(path)
            target = f"files/{path}"
        return f"]({posixpath.relpath(target, up)}{match[2] or ''})"

    return LINK.sub(link, text), files
