"""What a checkpoint folder should hold: every parameter's shape, dtype and SHA-256, in JSON readable with cat."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from etils import epath

from .config import Error, check_types, decode, unknown

MANIFEST, FORMAT = "manifest.json", 1  # a newer format is refused
AGAIN = "Convert or download it again, or take it as it is with --no-check (verify=False)"


@dataclass(frozen=True)
class Entry:
    """One parameter. The hash is of all its bytes: row after row, little-endian."""

    shape: tuple[int, ...]
    dtype: str
    sha256: str

    def __post_init__(self) -> None:
        check_types(self)


@dataclass(frozen=True)
class Record:
    """One comparison by `vitjax verify` in which every stage was good."""

    reference: str  # the name of its file
    sha256: str  # of that file
    tolerance: float
    stages: dict  # name -> max|ours - theirs| / max|theirs|
    vitjax: str
    jax: str
    backend: str
    dtype: str

    def __post_init__(self) -> None:
        check_types(self)

    def __str__(self) -> str:
        worst = max(self.stages.values(), default=0.0)
        where = f"{self.dtype} on {self.backend}, vitjax {self.vitjax}, jax {self.jax}"
        return f"{self.reference}: {len(self.stages)} stages within {worst:.1e} of their scale ({where})"


@dataclass(frozen=True)
class Manifest:
    """What a checkpoint folder should hold, and what it was compared with."""

    spec: str  # SHA-256 of the spec.json beside it
    tensors: Mapping[str, Entry] = field(default_factory=dict)
    verified: tuple[Record, ...] = ()
    tokenizer: str = ""  # SHA-256 of the tokenizer.json beside it, where there is one


def write(folder: epath.PathLike, manifest: Manifest) -> None:
    """Write it whole or not at all, one tensor on a line."""
    data = _content(manifest)
    tensors, verified = data.pop("tensors"), data.pop("verified")
    lines = [f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in tensors.items()]
    text = "{\n" + f' "format": {FORMAT},\n "sha256": "{_seal(_content(manifest))}",\n "spec": "{manifest.spec}",\n'
    text += f' "tokenizer": "{manifest.tokenizer}",\n' if manifest.tokenizer else ""
    text += ' "tensors": {\n' + ",\n".join(lines) + "\n },\n"
    text += (
        ' "verified": [' + ",".join(f"\n  {json.dumps(record)}" for record in verified) + ("\n ]" if verified else "]") + "\n}\n"
    )
    path = epath.Path(folder) / MANIFEST
    draft = path.with_name(f".{MANIFEST}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def read(folder: epath.PathLike) -> Manifest:
    """The manifest that `write` wrote: any change to it is an Error, because a list that may lie proves nothing."""
    path = epath.Path(folder) / MANIFEST
    if not path.exists():
        raise Error(f"{folder} has no {MANIFEST}, so nobody can tell whether it is whole. {AGAIN}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        version, seal = data.pop("format"), data.pop("sha256")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Error(f"{path} is damaged: it is no manifest ({type(error).__name__}: {error}). {AGAIN}") from error
    if version != FORMAT:
        raise Error(f"{path} has format {version!r}; this vitjax reads format {FORMAT}: upgrade vitjax, or convert again")
    known = ("spec", "tensors", "tokenizer", "verified")
    if strange := sorted(set(data) - set(known)):
        raise Error(f"{path}: {unknown('field', strange[0], known)}")
    if seal != _seal(data):
        raise Error(f"{path} is damaged: it is not as it was written. {AGAIN}")
    try:
        tensors = {name: decode(Entry, entry, f"{path}: {name}") for name, entry in data["tensors"].items()}
        verified = tuple(decode(Record, record, f"{path}: verified") for record in data["verified"])
        return Manifest(data["spec"], tensors, verified, data.get("tokenizer", ""))
    except (KeyError, TypeError, AttributeError) as error:
        raise Error(f"{path} is damaged: {type(error).__name__}: {error}. {AGAIN}") from error


def verified(folder: epath.PathLike) -> list[str]:
    """What a checkpoint was compared with, in words."""
    known = (epath.Path(folder) / MANIFEST).exists()
    return [str(record) for record in read(folder).verified] if known else []


def _content(manifest: Manifest) -> dict[str, Any]:
    """What is written of a manifest, in JSON's words: only where there is a tokenizer does it say so."""
    return {key: value for key, value in asdict(manifest).items() if key != "tokenizer" or value}


def _seal(data: Mapping[str, Any]) -> str:
    """The hash of the manifest's own content, however it is spaced."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
