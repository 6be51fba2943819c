"""Values that travel as JSON: dataclasses whose fields hold what they say, and the error for what does not. Stdlib only."""

from __future__ import annotations

import difflib
import functools
import types
import typing
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any


class Error(Exception):
    """What a user can cause and mend: says what is wrong, where, and the next step."""


def unknown(what: str, name: object, known: Iterable[str]) -> Error:
    """The error for a word we do not have, with the three closest that we do have."""
    close = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.3)
    return Error(f"unknown {what} {name!r}" + (f"; the closest are: {', '.join(close)}" if close else ""))


def as_object(data: object, where: str) -> dict[str, Any]:
    """JSON that must be an object."""
    if not isinstance(data, dict):
        raise Error(f"{where} must be a JSON object, not {type(data).__name__}")
    return data


def decode(cls: type, data: dict[str, Any], where: str) -> Any:
    """A dataclass from a file's object; what is unknown, missing or impossible is an Error that names `where`."""
    known = {f.name: f for f in fields(cls)}
    for key in data:
        if key not in known:
            raise Error(f"{where}: {unknown('field', key, known)}")
    required = [name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in required if name not in data]:
        raise Error(f"{where} does not say {', '.join(missing)}")
    try:
        return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})
    except Error as error:
        raise Error(f"{where}: {error}") from error


def check_types(value: Any) -> None:
    """Raise Error unless every field of a dataclass holds what its annotation says: JSON brings anything."""
    hints = _hints(type(value))
    for f in fields(value):
        if not _fits(got := getattr(value, f.name), hints[f.name]):
            raise Error(f"{type(value).__name__}.{f.name} must be {f.type}, not {got!r}")


_hints = functools.cache(typing.get_type_hints)


def _fits(value: object, hint: Any) -> bool:
    args = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Literal:
            return any(value is a or (type(value) is type(a) and value == a) for a in args)
        case types.UnionType | typing.Union:
            return any(_fits(value, a) for a in args)
        case _ if typing.get_origin(hint) is tuple:
            if not isinstance(value, tuple):
                return False
            each = [args[0]] * len(value) if args[-1] is ... else args
            return len(value) == len(each) and all(map(_fits, value, each))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, hint) and (hint is not int or not isinstance(value, bool))
