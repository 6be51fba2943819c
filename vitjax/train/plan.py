"""`--plan v5e-256`: what a step of a recipe takes on a TPU slice, told before anyone rents one.

Whether a program fits into a chip is no estimate: the compiler refuses what does not. Times are: its own of the cycles of all
but messages between chips, and of these their bytes by what links can carry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import jax

from .. import flops, hardware
from .. import mesh as meshes
from ..config import Error
from . import compiled, slices
from .compiled import Exceeds, Fits
from .recipe import Recipe

REMAT = ("none", "dots", "blocks")  # the less is kept the more is computed again
PARTS = (2, 4, 8)  # that a batch goes through in, where it does not fit otherwise
ROOM = 0.9  # of a chip's memory; a guess at a batch that fills more may fail


@dataclass(frozen=True)
class Slice:
    """Where the recipe would run, and what it has to do there."""

    name: str
    count: int  # chips
    chip: slices.Chip
    peak: float  # FLOP/s of a chip
    work: float  # FLOP of a chip and step, which the network needs

    def seconds(self, found: Fits) -> float:
        """Of a step, if all messages travel while something else is computed, or all computing while they travel."""
        return max(found.work.cycles / self.chip.clock / 1e9, self.travel(found))

    def travel(self, found: Fits) -> float:
        return sum(found.work.sent.values()) / self.chip.links / 1e9

    def utilisation(self, found: Fits) -> float:
        return self.work / self.seconds(found) / self.peak


def plan(recipe: Recipe, name: str) -> int:
    """Print what the recipe takes on a slice, and what would fit, or fit better. 0: it fits as it is; 1: it does not."""
    devices, chip = slices.devices(name), slices.chip(name)
    mesh = meshes.make(recipe.tensor, devices)
    _check(recipe, mesh)
    spec, note = compiled.described(recipe)
    work, peak = 3 * flops.forward(spec.config) * recipe.batch / len(devices), hardware.peak(devices[0].device_kind)
    assert peak is not None
    place = Slice(name, len(devices), chip, peak, work)
    print(f"{spec.name}: a batch of {recipe.batch} on {len(devices)} chips ({name}), {work / 1e12:.3g} TFLOP a chip and step.")
    print("Compiled, not run: cycles are the compiler's estimate, and times and MFU what follows from them.")
    print(*([f"{note}."] if note else []), HEAD, sep="\n")
    found: dict[Recipe, Fits | Exceeds] = {}

    def attempt(what: Recipe) -> bool:
        found[what] = compiled.step(what, spec, mesh)
        print(_row(what, found[what], place), flush=True)
        return isinstance(found[what], Fits)

    _search(recipe, mesh, attempt)
    print(_advice(recipe, found, place))
    return 0 if isinstance(found[recipe], Fits) else 1


def _check(recipe: Recipe, mesh: jax.sharding.Mesh) -> None:
    """Raise Error unless every device gets as many pictures as the others."""
    parts = mesh.shape[meshes.DATA]
    if recipe.batch % (parts * recipe.accumulate):
        size = f"{parts} devices that split it, times accumulate = {recipe.accumulate}"
        raise Error(f"batch = {recipe.batch} must be a multiple of the {size}: try {-(-recipe.batch // parts) * parts}")


def _search(recipe: Recipe, mesh: jax.sharding.Mesh, attempt: Callable[[Recipe], bool]) -> None:
    """The recipe; if it does not fit, what keeps less, then smaller parts, up to the first that does; else what keeps more."""
    at = REMAT.index(recipe.remat)
    if attempt(recipe):
        for remat in reversed(REMAT[:at]):
            if not attempt(replace(recipe, remat=remat)):
                break
        return
    for remat in REMAT[at + 1 :]:
        if attempt(replace(recipe, remat=remat)):
            return
    parts = PARTS if recipe.loss != "contrastive" else ()  # all of a contrastive batch is compared, at once
    for accumulate in (recipe.accumulate * times for times in parts):
        divides = recipe.batch % (mesh.shape[meshes.DATA] * accumulate) == 0
        if divides and attempt(replace(recipe, remat="blocks", accumulate=accumulate)):
            return


HEAD = f"{'':28}{'GiB a chip':>14}{'Mcycles':>10}{'step':>11}{'MFU':>7}   between chips, beside the rest"


def _row(recipe: Recipe, found: Fits | Exceeds, place: Slice) -> str:
    """What became of one try."""
    what = f"{f'remat={recipe.remat} accumulate={recipe.accumulate}':28}"
    if isinstance(found, Exceeds):
        by = "" if found.excess is None else f" by {found.excess:.1f} GiB a chip"
        return f"{what}  does not fit{by}"
    memory = f"{found.memory:.2f} of {place.chip.memory:g}"
    step, mfu = f"{place.seconds(found) * 1e3:.3g} ms", f"{place.utilisation(found):.0%}"
    sent = [f"{size / 1e9:.3g} GB in {found.work.count[kind]} {kind}" for kind, size in found.work.sent.most_common()]
    travel = f"{place.travel(found) * 1e3:.3g} ms: {', '.join(sent)}" if sent else "nothing"
    return f"{what}{memory:>14}{found.work.cycles / 1e6:>10.3g}{step:>11}{mfu:>7}   {travel}"


def _advice(recipe: Recipe, found: dict[Recipe, Fits | Exceeds], place: Slice) -> str:
    """The fastest of what fits, and how large a batch might."""
    fit = {what: outcome for what, outcome in found.items() if isinstance(outcome, Fits)}
    if not fit:
        return f"nothing fits {place.name}: use more chips, a smaller batch, tensor = 2 or a smaller picture"
    best = min(fit, key=lambda what: place.seconds(fit[what]))
    changes = [f"{key}={getattr(best, key)}" for key in ("remat", "accumulate") if getattr(best, key) != getattr(recipe, key)]
    says = "fits"
    if changes:
        says += f"; {' '.join(changes)} is faster" if recipe in fit else f" with {' '.join(changes)}"
    memory, state = fit[best].memory, fit[best].state
    times = int((ROOM * place.chip.memory - state) / (memory - state))
    if times > 1:
        says += f"; there is room for about {times} times the batch: batch={times * recipe.batch}"
    return f"{place.name}: {says}"
