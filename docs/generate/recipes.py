"""The page of recipes: what each is, its command, what is published of it and where; from the files themselves."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "vitjax/train/recipes"
INTRODUCTION = """A recipe is a TOML file. Those below are in the package, and run by their name:
`python -m vitjax.train NAME key=value ...`. What its publisher reports of a recipe is a claim of theirs, until it says that it
was repeated here. [Fine-tuning](fine_tuning.md) says what the keys are and what comes out, [Pods](pods.md) how to plan and
start a large one."""


class Card(NamedTuple):
    """What the first lines of a recipe say."""

    name: str
    what: str
    commands: list[str]
    result: str  # of those who published it, or ours; with the source


def card(path: Path) -> Card:
    """The comment at the head of a recipe, taken apart."""
    text = path.read_text(encoding="utf-8")
    lines = [line[1:] for line in itertools.takewhile(lambda line: line.startswith("#"), text.splitlines())]
    commands = [line.strip() for line in lines if line.startswith("   ")]
    prose = [line.strip() for line in lines if not line.startswith("   ")]
    what = prose[0].rstrip(":")
    if result := re.search(r"Published: .*", " ".join(prose)):
        return Card(path.stem, what, commands, result[0].removeprefix("Published: "))
    return Card(path.stem, what, commands, " ".join(prose[1:]))


def cards() -> list[Card]:
    return [card(path) for path in sorted(RECIPES.glob("*.toml"))]


def page() -> str:
    """The page, as Markdown."""
    found = cards()
    lines = ["# Recipes", "", INTRODUCTION, ""]
    lines += ["| recipe | what | command |", "|---|---|---|"]
    lines += [f"| [`{c.name}`](#{c.name}) | {c.what} | `{c.commands[0]}` |" for c in found]
    for c in found:
        toml = (RECIPES / f"{c.name}.toml").read_text(encoding="utf-8").rstrip()
        lines += ["", f"## {c.name} {{ #{c.name} }}", "", f"{c.what}.", "", "```", *c.commands, "```", ""]
        lines += [f"**Result, and its source.** {c.result}", "", f'```toml title="{c.name}.toml"', toml, "```"]
    return "\n".join(lines) + "\n"
