"""What a built site refers to: nothing that it loads may be elsewhere, and what is within it must be there."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src", "video": "src"}


class Found(NamedTuple):
    problems: list[str]
    external: set[str]


class _Page(HTMLParser):
    """The ids of a page, what it loads, and where it links to."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.loaded, self.linked = set[str](), list[str](), list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids |= {value for key in ("id", "name") if (value := found.get(key))}
        if tag in LOADED and (url := found.get(LOADED[tag])):
            self.loaded.append(url)
        elif tag == "a" and (url := found.get("href")):
            self.linked.append(url)


def check(site: Path) -> Found:
    """Read every page of a site."""
    pages = {file: _Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    problems, external = list[str](), set[str]()
    for file, page in pages.items():
        where = file.relative_to(site)
        problems += [f"{where} loads {url} from elsewhere" for url in page.loaded if urlsplit(url).netloc]
        for url in page.loaded + page.linked:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                external |= {url}
            elif (wrong := _missing(file, parts.path, unquote(parts.fragment), pages)) and where.name != "404.html":
                problems.append(f"{where} refers to {url}: {wrong}")
    return Found(problems, external)


def _missing(file: Path, path: str, fragment: str, pages: dict[Path, _Page]) -> str:
    """What is wrong with a link within the site, if anything."""
    target = (file.parent / unquote(path)).resolve() if path else file
    target = target / "index.html" if target.is_dir() else target
    if not target.exists():
        return "there is no such file"
    if fragment and target in pages and fragment not in pages[target].ids and not fragment.startswith("__"):
        return "there is no such place on that page"
    return ""
