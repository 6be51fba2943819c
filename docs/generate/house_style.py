"""The library's docstrings as Markdown: lines about parameters become a list, and a field's comment becomes its docstring."""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, Class, Docstring, Extension, Function

PARAMETER = re.compile(r"^(\*{0,2}\w+(?:, \w+)*): (?=\S)")
COMMENT = re.compile(r"\s#\s(.*)$")


class HouseStyle(Extension):
    """What the API reference shows of a docstring."""

    def on_function(self, *, func: Function, **_: Any) -> None:
        if func.docstring:
            func.docstring.value = listed(func.docstring.value, {parameter.name for parameter in func.parameters})

    def on_class(self, *, cls: Class, **_: Any) -> None:
        if cls.docstring:
            cls.docstring.value = listed(cls.docstring.value, set(cls.members))
        for member in cls.members.values():
            if isinstance(member, Attribute) and not member.docstring and (text := beside(cls, member)):
                member.docstring = Docstring(text, parent=member, lineno=member.lineno)


def listed(text: str, names: set[str]) -> str:
    """A docstring whose lines "name: what it is" about parameters, indented lines after them, are items of a list."""
    lines, inside = list[str](), False
    text = re.sub(r"(?<=[.;]) (?=\w+(?:, \w+)*: )", lambda at: "\n" if _named(text[at.end() :], names) else " ", text)
    for line in text.splitlines():
        if words := _named(line, names):
            if not inside and lines and lines[-1]:
                lines.append("")
            inside = True
            line = f"- **`{words[1]}`**: {line[words.end() :]}"
        elif inside and not line.startswith(" "):
            inside = False
            lines += [""] if line else []
        lines.append(line)
    return "\n".join(lines)


def _named(line: str, names: set[str]) -> re.Match | None:
    """How a line begins that is about parameters, or about errors."""
    words = PARAMETER.match(line)
    return words if words and set(words[1].lstrip("*").split(", ")) <= names | {"Raises"} else None


def beside(cls: Class, attribute: Attribute) -> str:
    """The comment at the end of a field's line; or the lines above it, where that has none."""
    source = cls.source.splitlines() if cls.source else []
    assert cls.lineno is not None and attribute.lineno is not None and attribute.endlineno is not None
    if (at := attribute.endlineno - cls.lineno) >= len(source):
        return ""
    if found := COMMENT.search(source[at]):
        return found[1]
    above = list[str]()
    for line in reversed(source[: attribute.lineno - cls.lineno]):
        if not line.strip().startswith("# "):
            break
        above.insert(0, line.strip().removeprefix("# "))
    return " ".join(above)
