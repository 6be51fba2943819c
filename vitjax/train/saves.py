"""No work is lost: the state of a training on disk, written while it goes on, and where the same command goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, BestN, LatestN

from .. import orbax
from ..config import Error
from ..draft import reason
from .distributed import first, together
from .evaluate import goodness
from .recipe import Recipe
from .step import State

STATE, RECIPE = "state", "recipe.json"
# What may change between a training's beginning and its end: it changes no number, or only how one is rounded.
FREE = ("report", "evaluate", "save", "keep", "workers", "fsdp", "tensor", "remat", "attention", "licence", "out")


def folder(recipe: Recipe) -> epath.Path:
    """Where everything about a training is, but for its result."""
    out = epath.Path(recipe.out)
    return out.parent / f"{out.name}.training"


class Saves:
    """States on disk, the newest `keep` of them and the best one (evaluate.goodness). All processes make and call one."""

    def __init__(self, recipe: Recipe, origin: Mapping[str, Any]) -> None:
        """origin: what else the training depends on, such as the hash of the weights that it begins with."""
        self.place = orbax.absolute(folder(recipe))
        self._compare(recipe, origin)
        best = BestN(get_metric_fn=lambda metrics: metrics["good"], reverse=False, n=1, keep_checkpoints_without_metrics=False)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=AnyPreservationPolicy([LatestN(recipe.keep), best]),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
        )
        self.manager = ocp.CheckpointManager(self.place / STATE, options=options)

    def _compare(self, recipe: Recipe, origin: Mapping[str, Any]) -> None:
        """Refuse to go on as another training than was begun."""
        file, new = self.place / RECIPE, json.loads(json.dumps(asdict(recipe) | {"origin": dict(origin)}))
        if file.exists():
            old = json.loads(file.read_text())
            names = sorted((old.keys() | new.keys()) - set(FREE))
            if changed := [f"{name}: {old.get(name)!r} -> {new.get(name)!r}" for name in names if old.get(name) != new.get(name)]:
                raise Error(
                    f"{self.place} is a training of another recipe; what changed:\n  " + "\n  ".join(changed) + "\n"
                    "Give another out, change it back to go on, or remove that folder to begin anew"
                )
        together("recipes are compared")
        if first():
            self.place.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(new, indent=1) + "\n")

    def latest(self) -> int | None:
        """The step of the newest state."""
        return self.manager.latest_step()

    def save(self, state: State, step: int, notes: Mapping[str, Any], metrics: Mapping[str, float] | None = None) -> None:
        """Begin to write a state; the next steps go on meanwhile. An error of the last one's writing is raised here."""
        if self.manager.latest_step() == step:
            return
        args = ocp.args.Composite(state=ocp.args.PyTreeSave(state._asdict()), notes=ocp.args.JsonSave(dict(notes)))
        self._run(lambda: self.manager.save(step, args=args, metrics=metrics and {"good": goodness(metrics)}))

    def restore(self, like: State) -> tuple[State, dict[str, Any]]:
        """The newest state, on the devices and in the shardings of `like`, on however many it was saved; and its notes."""
        tree = like._asdict()
        places = jax.tree.map(lambda leaf: ocp.ArrayRestoreArgs(sharding=leaf.sharding, global_shape=leaf.shape), tree)
        state = ocp.args.PyTreeRestore(tree, restore_args=places)
        args = ocp.args.Composite(state=state, notes=ocp.args.JsonRestore())
        step = self.manager.latest_step()
        try:
            found = self.manager.restore(step, args=args)
        except Exception as error:  # whatever Orbax and tensorstore meet in a damaged folder
            raise Error(
                f"{self.place / STATE / str(step)} cannot be read: {reason(error)}. Remove it to go on from the state before"
            ) from error
        return State(**found["state"]), found["notes"]

    def wait(self) -> None:
        """Until all is on disk."""
        self._run(self.manager.wait_until_finished)

    def close(self) -> None:
        self.manager.close()

    def _run(self, work: Any) -> None:
        try:
            work()
        except (OSError, ValueError, RuntimeError) as error:  # tensorstore reports a full disk in a ValueError
            raise Error(
                f"cannot save the training to {self.place / STATE}: {reason(error)}. The states before are whole; "
                "make room, and give the same command again"
            ) from error
