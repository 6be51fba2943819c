"""A checkpoint folder: `spec.json`, readable with cat, beside `params/`, written by Orbax. Knows arrays, no networks."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar, cast

import jax
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.experimental import multihost_utils

from . import arrays, leaves, manifest
from .config import Error, Spec, spec_from_json, spec_to_json
from .draft import place, reason, recover, whole
from .manifest import AGAIN, Manifest

SPEC, PARAMS, TOKENIZER = "spec.json", "params", "tokenizer.json"
T = TypeVar("T")


def exists(path: epath.PathLike) -> bool:
    """Whether this is a checkpoint folder."""
    recover(path)
    return (epath.Path(path) / SPEC).exists()


def check_free(path: epath.PathLike, overwrite: bool) -> None:
    """Raise Error unless a checkpoint may be written to `path`; asked before long work as well as by `save`."""
    path = epath.Path(path)
    if not path.exists():
        return
    if not overwrite:
        raise Error(f"{path} exists already: choose another place, or pass --overwrite (overwrite=True)")
    if not exists(path) and not (path.is_dir() and not any(path.iterdir())):
        raise Error(f"{path} is not a checkpoint folder, so it is not overwritten: choose another place, or remove it yourself")


def save(
    path: epath.PathLike,
    spec: Spec,
    params: Mapping[str, Any],
    overwrite: bool = False,
    tokenizer: str | None = None,
    sha256: Callable[[], str] | None = None,
) -> None:
    """Write a checkpoint folder whole or not at all: beside its place first, then moved there.

    tokenizer: the text of a tokenizer.json that goes with it.
    sha256: what gives the hash of the file that the parameters are read from, which is taken while they are written.
    Leaves are JAX arrays, or anything with shape and dtype that numpy.asarray reads; orbax.py says in which pieces.
    Of arrays that are spread over several processes, all of these call it, on one file system: each writes what it has.
    """
    from . import orbax  # here, because who only reads need not wait for Orbax's imports

    stop, several = threading.Event(), arrays.several(params)

    def write(folder: epath.Path) -> tuple[dict[str, manifest.Entry], str]:
        with ThreadPoolExecutor(1) as beside:
            digest = beside.submit(sha256 or (lambda: spec.source.sha256))
            return orbax.write(folder, params, stop), digest.result()

    if several and jax.process_index():
        multihost_utils.sync_global_devices("the draft is there")
        orbax.write(place(path) / PARAMS, params, stop)
        multihost_utils.sync_global_devices("the draft is in its place")
        return
    with whole(path) as draft:
        check_free(path, overwrite)
        if several:
            multihost_utils.sync_global_devices("the draft is there")
        tensors, digest = _undisturbed(lambda: write(draft / PARAMS), stop)
        spec = replace(spec, source=replace(spec.source, sha256=digest))
        # Orbax notes there where it wrote, which is no business of whoever gets the folder
        (draft / PARAMS / "commit_success.txt").write_text("The parameters are complete.\n")
        (draft / SPEC).write_text(spec_to_json(spec), encoding="utf-8")
        if tokenizer is not None:
            (draft / TOKENIZER).write_text(tokenizer, encoding="utf-8")
        words = "" if tokenizer is None else fingerprint(draft, TOKENIZER)
        manifest.write(draft, Manifest(fingerprint(draft), tensors, tokenizer=words))
    if several:
        multihost_utils.sync_global_devices("the draft is in its place")


def fingerprint(folder: epath.PathLike, name: str = SPEC) -> str:
    """The SHA-256 of a folder's spec, or of another of its files."""
    return hashlib.sha256((epath.Path(folder) / name).read_bytes()).hexdigest()


def _undisturbed(work: Callable[[], T], stop: threading.Event) -> T:
    """Run `work` in a thread, where no Ctrl-C reaches into Orbax. On one here: `stop`, and return when nothing runs any more."""
    begun, done, found, failed = threading.Event(), threading.Event(), [], []

    def run() -> None:
        begun.set()  # before looking at `stop`: so either it is seen here, or we are seen to have begun there
        try:
            if not stop.is_set():
                found.append(work())
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    try:
        threading.Thread(target=run, daemon=True).start()
        done.wait()
    except BaseException:
        stop.set()
        if begun.is_set():
            done.wait()
        raise
    if failed:
        raise failed[0]
    return found[0]


def restore_spec(path: epath.PathLike) -> Spec:
    """The spec of a checkpoint folder."""
    path = epath.Path(path)
    if not (path / SPEC).exists():
        raise Error(f"{path} is not a checkpoint folder: no {SPEC} is in it. Make one with `vitjax convert`")
    try:
        return spec_from_json((path / SPEC).read_text(encoding="utf-8"), str(path / SPEC))
    except UnicodeDecodeError as error:
        raise Error(f"{path / SPEC} is not UTF-8 text: {error}. {AGAIN}") from error


def restore_tokenizer(path: epath.PathLike, verify: bool = True) -> str | None:
    """The text of a checkpoint folder's tokenizer.json; None where it has none."""
    file = epath.Path(path) / TOKENIZER
    expected = manifest.read(path).tokenizer if verify else ""
    if not file.exists():
        if expected:
            raise Error(f"{path} is damaged: {TOKENIZER} is missing. {AGAIN}")
        return None
    if expected not in ("", fingerprint(path, TOKENIZER)):
        raise Error(f"{path} is damaged: {TOKENIZER} is not as it was written. {AGAIN}")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Error(f"{file} is not UTF-8 text: {error}. {AGAIN}") from error


def stored(path: epath.PathLike, verify: bool = False) -> dict[str, leaves.Stored]:
    """Every parameter in the folder by path, with shape and dtype; no array is read."""
    folder = epath.Path(path) / PARAMS
    try:
        if not (folder / "_METADATA").exists():
            raise FileNotFoundError("_METADATA is missing, without which Orbax by itself reads nothing")
        return leaves.opened(folder, verify)
    except Exception as error:  # whatever TensorStore meets in a damaged folder
        raise Error(f"{folder} is not whole: {reason(error)}. Convert or download it again") from error


def restore(
    path: epath.PathLike, like: Mapping[str, Any], dtype: str | None = None, verify: bool = True, part: str | None = None
) -> dict[str, Any]:
    """The parameters, in the shapes and shardings of `like`, in `dtype` or as stored. Each device gets its own part only.

    A parameter that is one number, such as a temperature, is float32 in any `dtype`: a rounded one moves every logit.
    verify: everything is held to the folder's manifest. Of several processes each hashes its share of the leaves.
    part: the name in `like` of the only part that is read; all names and shapes are compared all the same.
    """
    found, flat = stored(path, verify), cast(dict[str, Any], flatten_dict(dict(like), sep="/"))
    wanted = {name: tuple(leaf.shape) for name, leaf in flat.items()}
    there = {name: leaf.shape for name, leaf in found.items()}
    if wrong := sorted(name for name in there | wanted if there.get(name) != wanted.get(name)):
        lines = [f"{name}: found {there.get(name, 'nothing')}, expected {wanted.get(name, 'nothing')}" for name in wrong]
        raise Error(f"{path}: the parameters do not belong to its {SPEC}; convert or download it again:\n  " + "\n  ".join(lines))
    expected = manifest.read(path) if verify else None
    if expected is not None and expected.spec != fingerprint(path):
        raise Error(f"{path} is damaged: {SPEC} is not as it was written. {AGAIN}")
    flat = {name: leaf for name, leaf in flat.items() if part is None or name.startswith(f"{part}/")}
    for name in found.keys() - flat.keys():
        found[name].skip()
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def read(number: int, name: str) -> tuple[Any, str]:
        mine = expected is not None and number % jax.process_count() == jax.process_index()
        try:
            kind = dtype if flat[name].shape or dtype is None else "float32"
            array, entry = arrays.read(found[name], flat[name].sharding or here, kind, mine)
        except Exception as error:  # whatever tensorstore meets in a damaged folder
            return None, f"{name}: {reason(error)}"
        good = expected is None or not mine or entry == expected.tensors.get(name)
        return array, "" if good else f"{name}: not as it was written"

    with ThreadPoolExecutor(leaves.WORKERS) as pool:
        got = dict(zip(flat, pool.map(read, itertools.count(), flat), strict=True))
    if damage := [problem for _, problem in got.values() if problem]:
        raise Error(f"{path} is damaged. {AGAIN}:\n  " + "\n  ".join(damage))
    tree = unflatten_dict({name: array for name, (array, _) in got.items()}, sep="/")
    return tree if part is None else tree[part]
