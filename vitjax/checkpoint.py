"""A checkpoint folder: `spec.json`, readable with cat, beside `params/`, written by Orbax. Knows arrays, no networks."""

from __future__ import annotations

import contextlib
import math
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from .config import Error, Spec, spec_from_json, spec_to_json

SPEC, PARAMS = "spec.json", "params"


def exists(path: epath.PathLike) -> bool:
    """Whether this is a checkpoint folder."""
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


def save(path: epath.PathLike, spec: Spec, params: Mapping[str, Any], overwrite: bool = False) -> None:
    """Write a checkpoint folder whole or not at all: beside its place first, then moved there.

    Leaves are JAX arrays, or anything with shape and dtype that numpy.asarray reads; those are read and written one at a time.
    """
    check_free(path, overwrite)
    tree = jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else _Later(leaf), dict(params))
    stop = threading.Event()
    leaves = _OneAtATime(stop)
    registry = ocp.type_handlers.create_type_handler_registry((jax.Array, leaves), (_Later, leaves))
    # Weights hardly compress (7 %), and compressing takes twice the time.
    handler = ocp.PyTreeCheckpointHandler(use_compression=False, type_handler_registry=registry)
    with whole(path) as draft, ocp.Checkpointer(handler) as orbax:
        _undisturbed(lambda: orbax.save(_params(draft), args=ocp.args.PyTreeSave(tree)), stop)
        # Orbax notes there where it wrote, which is no business of whoever gets the folder
        (draft / PARAMS / "commit_success.txt").write_text("The parameters are complete.\n")
        (draft / SPEC).write_text(spec_to_json(spec), encoding="utf-8")


def _undisturbed(work: Callable[[], None], stop: threading.Event) -> None:
    """Run `work` in a thread, where no Ctrl-C reaches into Orbax. On one here: `stop`, and return when nothing runs any more."""
    begun, done, failed = threading.Event(), threading.Event(), []

    def run() -> None:
        begun.set()  # before looking at `stop`: so either it is seen here, or we are seen to have begun there
        try:
            if not stop.is_set():
                work()
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


class _Later:
    """A leaf that is read when its turn to be written comes."""

    def __init__(self, leaf: Any) -> None:
        self.leaf, self.shape, self.dtype = leaf, tuple(leaf.shape), np.dtype(leaf.dtype)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize


class _OneAtATime(ocp.type_handlers.ArrayHandler):
    """Writes a leaf before it turns to the next: no more than one in memory, and none in flight when one has failed.

    A _Later becomes a jax.Array (Orbax checks the shape of those on restoring, and not of numpy's).
    """

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self.stop = stop

    async def serialize(self, values: Any, infos: Any, args: Any = ()) -> Any:
        for value, info, arg in zip(values, infos, args, strict=True):
            if self.stop.is_set():
                raise InterruptedError("stopped")
            array = jax.device_put(np.asarray(value.leaf)) if isinstance(value, _Later) else value
            for written in await super().serialize([array], [info], [arg]):
                written.result()
        return []

    def memory_size(self, values: Any) -> Any:
        return [(value.nbytes, value.nbytes) for value in values]


def restore_spec(path: epath.PathLike) -> Spec:
    """The spec of a checkpoint folder."""
    path = epath.Path(path)
    if not (path / SPEC).exists():
        raise Error(f"{path} is not a checkpoint folder: there is no {SPEC} in it")
    try:
        return spec_from_json((path / SPEC).read_text(encoding="utf-8"), str(path / SPEC))
    except UnicodeDecodeError as error:
        raise Error(f"{path / SPEC} is not UTF-8 text: {error}") from error


def stored(path: epath.PathLike) -> dict[str, tuple[tuple[int, ...], str]]:
    """path -> (shape, dtype) of every parameter in the folder, from Orbax's own list; no array is read."""
    folder = epath.Path(path) / PARAMS
    try:
        with ocp.StandardCheckpointer() as orbax:
            metadata: Any = orbax.metadata(_params(path)).item_metadata
        assert metadata is not None, "the list of its parameters is missing"
        flat: Any = flatten_dict(metadata.tree, sep="/")
    except Exception as error:  # whatever Orbax and tensorstore meet in a damaged folder
        raise Error(f"{folder} is not whole: {_reason(error)}. Convert or download it again") from error
    return {name: (tuple(leaf.shape), str(leaf.dtype)) for name, leaf in flat.items()}


def restore(path: epath.PathLike, like: Mapping[str, Any], dtype: str | None = None) -> dict[str, Any]:
    """The parameters, in the shapes and shardings of `like` (each device reads its own part only), in `dtype` or as stored."""
    found, flat = stored(path), cast(dict[str, Any], flatten_dict(dict(like), sep="/"))
    wanted = {name: tuple(leaf.shape) for name, leaf in flat.items()}
    if wrong := sorted(set(found) ^ set(wanted) | {name for name in set(found) & set(wanted) if found[name][0] != wanted[name]}):
        lines = [f"{name}: found {found.get(name, ['nothing'])[0]}, expected {wanted.get(name, 'nothing')}" for name in wrong]
        raise Error(f"{path}: the parameters do not belong to its {SPEC}:\n  " + "\n  ".join(lines))
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])  # or Orbax looks for the device that it was saved from
    target = {
        name: jax.ShapeDtypeStruct(leaf.shape, dtype or found[name][1], sharding=leaf.sharding or here)
        for name, leaf in flat.items()
    }
    try:
        with ocp.StandardCheckpointer() as orbax:
            return orbax.restore(_params(path), unflatten_dict(target, sep="/"))
    except Exception as error:
        raise Error(f"{path} cannot be read: {_reason(error)}. Convert or download it again") from error


def shard(like: Mapping[str, Any], mesh: jax.sharding.Mesh) -> dict[str, Any]:
    """`like`, every leaf split over the mesh's first axis along its longest dimension that divides, else replicated."""
    mesh = jax.sharding.Mesh(mesh.devices, mesh.axis_names)  # axes of type Auto: the compiler follows the parameters
    axis = mesh.axis_names[0]

    def place(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        fits = [i for i, size in enumerate(leaf.shape) if size % mesh.shape[axis] == 0]
        longest = max(fits, key=lambda i: leaf.shape[i], default=None)
        spec = jax.sharding.PartitionSpec(*[axis if i == longest else None for i in range(len(leaf.shape))])
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=jax.sharding.NamedSharding(mesh, spec))

    return jax.tree.map(place, dict(like))


@contextlib.contextmanager
def whole(path: epath.PathLike) -> Iterator[epath.Path]:
    """A draft folder that takes the place of `path` when the block succeeds, and leaves no trace when it does not."""
    path = epath.Path(path)
    draft, old = (path.parent / f".{path.name}.{kind}-{uuid.uuid4().hex[:8]}" for kind in ("draft", "old"))
    try:
        draft.mkdir(parents=True)
        yield draft
        if path.exists():
            path.rename(old)
        draft.rename(path)
    except (OSError, ValueError) as error:  # tensorstore reports a full disk in a ValueError
        raise Error(f"cannot write {path}: {_reason(error)}") from error
    finally:
        if draft.exists():
            draft.rmtree()
        if old.exists():
            old.rmtree() if path.exists() else old.rename(path)


def _params(path: epath.PathLike) -> epath.Path:
    """Where Orbax's part is. It wants absolute paths, and knows gs:// and its like for such."""
    path = epath.Path(path) / PARAMS
    return path if "://" in str(path) else path.absolute()


def _reason(error: BaseException) -> str:
    """The first line of an error, which is where libraries say what happened."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
