"""Where in a saved object the weights are: training scripts put them in dicts of dicts, beside optimizers and epochs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vitjax.config import Error, unknown

from .stored import Flat, Tensor

WRAPPERS = (
    "state_dict", "model", "module", "model_ema", "state_dict_ema", "ema", "ema_state_dict", "state", "teacher", "student",
    "encoder", "target_encoder", "net", "params",
)  # fmt: skip
PARALLEL = ("module.", "_orig_mod.")  # DistributedDataParallel and torch.compile put these before every name
PREFIXES = (*PARALLEL, "model.", "backbone.", "base_model.model.", "encoder.", "student.", "teacher.", "net.")
COUNTER = "n_averaged"  # torch.optim.swa_utils.AveragedModel keeps it beside "module."
DEPTH = 6  # of wrappers in wrappers
TOP = ("", ".")


class Several(Error):
    """A file holds several sets of weights, and the user has not said which is meant."""

    def __init__(self, path: Path, found: Mapping[str, Flat]) -> None:
        self.found = dict(found)
        listed = "".join(f"\n  {key} ({len(tensors)} entries)" for key, tensors in found.items())
        super().__init__(f"{path} holds several sets of weights; choose one with --key NAME (key=...):{listed}")


class Opened(NamedTuple):
    tensors: Flat
    key: str  # where they were: "model.state_dict"; "" for the top
    others: tuple[str, ...]  # where other weights are
    meta: dict[str, Any]  # the plain values at the top of the file


def opened(path: Path, saved: Any, key: str | None = None) -> Opened:
    """The weights in an object that torch.save wrote: those at `key`, or the only ones where weights usually are."""
    if key in TOP:
        found = {"": saved} if isinstance(saved, dict) else {}
    else:
        found = dict(_places(saved if key is None else _at(path, saved, key), key or ""))
    if len(found) > 1:
        raise Several(path, found)
    if not found:
        elsewhere = ", ".join(list(_holders(saved, ""))[:10])
        hint = (
            f". There are tensors at {elsewhere}: choose with --key NAME (key=...)"
            if elsewhere
            else ", nor anywhere in it: give the file that has them"
        )
        raise Error(f"{path} holds no weights {'where they usually are' if key is None else f'at {key!r}'}{hint}")
    ((place, chosen),) = found.items()
    others = tuple(other for other, _ in _places(saved, "") if other != place)
    top = saved if isinstance(saved, dict) else {}
    return Opened(_tensors(path, place, chosen), place, others, {name: value for name, value in top.items() if _is_plain(value)})


def _places(node: Any, at: str, depth: int = DEPTH) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every state dict in a saved object that has nothing but wrappers' names, or indexes, around it."""
    inner: list[tuple[str, dict[str, Any]]] = []
    if depth and isinstance(node, dict):
        inner = [place for name in WRAPPERS if name in node for place in _places(node[name], _join(at, name), depth - 1)]
    elif depth and isinstance(node, list | tuple):
        inner = [place for n, item in enumerate(node[:100]) for place in _places(item, _join(at, str(n)), depth - 1)]
    if not inner and isinstance(node, dict) and any(isinstance(value, Tensor) for value in node.values()):
        inner = [(at, node)]
    yield from inner


def _holders(node: Any, at: str, depth: int = DEPTH) -> Iterator[str]:
    """Every dict with a tensor in it, wherever it is."""
    if isinstance(node, dict) and any(isinstance(value, Tensor) for value in node.values()):
        yield at or "."
    elif depth and isinstance(node, dict | list | tuple):
        for name, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _holders(value, _join(at, str(name)), depth - 1)


def _join(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


def _at(path: Path, node: Any, key: str) -> Any:
    """What is at a dotted key. Its last steps may be how tensors' names begin: teacher.backbone."""
    steps = key.split(".")
    for n, step in enumerate(steps):
        if isinstance(node, dict) and step in node:
            node = node[step]
        elif isinstance(node, list | tuple) and step.isdecimal() and int(step) < len(node):
            node = node[int(step)]
        elif isinstance(node, dict):
            return beginning(path, node, ".".join(steps[n:]), ".")
        else:
            raise Error(f"{path} has nothing at {key!r}: see `vitjax inspect` for what it holds")
    return node


def beginning(path: Path, tensors: Mapping[Any, Any], key: str, separator: str) -> dict[str, Any]:
    """The tensors whose names begin with `key`, by the rest of their names."""
    start = key + separator
    found = {name[len(start) :]: value for name, value in tensors.items() if isinstance(name, str) and name.startswith(start)}
    if not found:
        known = {name.partition(separator)[0] for name in tensors if isinstance(name, str)}
        raise Error(f"{path}: {unknown('key', key, known)}")
    return found


def _tensors(path: Path, place: str, chosen: dict[Any, Any]) -> dict[str, Tensor]:
    """A state dict without the numbers and strings that some keep in it; anything else there is not understood."""
    tensors = {}
    for name, value in chosen.items():
        if isinstance(name, str) and isinstance(value, Tensor):
            tensors[name] = value
        elif value is not None and not isinstance(value, int | float | str):
            raise Error(
                f"{path}: {_join(place, str(name)[:80])!r} is no tensor but {type(value).__name__}: choose with "
                "--key, or save the tensors alone"
            )
    return tensors


def _is_plain(value: Any, depth: int = DEPTH) -> bool:
    """Whether a value could have come from JSON."""
    match value:
        case None | bool() | int() | float() | str():
            return True
        case list() | tuple():
            return depth > 0 and all(_is_plain(item, depth - 1) for item in value)
        case dict():
            return depth > 0 and all(isinstance(key, str | int) and _is_plain(item, depth - 1) for key, item in value.items())
    return False


def stripped(path: Path, tensors: Flat) -> Flat:
    """The tensors without what a trainer put before all of their names; before some of them only, it is an error."""
    if len(tensors) > 1:
        tensors = {name: tensor for name, tensor in tensors.items() if name != COUNTER}
    while prefix := next((p for p in PREFIXES if tensors and all(n.startswith(p) for n in tensors)), ""):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    for prefix in PARALLEL:
        if having := [name for name in tensors if name.startswith(prefix)]:
            other = next(name for name in tensors if not name.startswith(prefix))
            raise Error(
                f"{path}: {len(having)} of {len(tensors)} names begin with {prefix!r} ({having[0]}), others do not ({other}): "
                "two sets of weights are mixed; choose one with --key NAME (key=...), or save it again"
            )
    return tensors
