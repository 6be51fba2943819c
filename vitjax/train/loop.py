"""A recipe becomes a checkpoint folder: begin or go on, step after step, evaluate, save, stop when asked."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from .. import checkpoint, flops, hardware
from .. import mesh as meshes
from ..clip_model import TextModel
from ..config import CLIPConfig, Error, Spec, tower
from ..model import Params
from . import network
from .data import dataset, pipeline
from .distributed import first, rows, together
from .held_out import measure, sent
from .journal import Journal
from .learned import join, split, with_lora
from .recipe import Recipe
from .saves import Saves, folder
from .step import Batch, Metrics, State, Task, begin, update
from .stop import stopping

DONE = "finished"  # a file in the folder of a training whose result is written
AHEAD = 2  # steps that are given to the devices before the host waits for the first of them


@dataclass(frozen=True)
class Result:
    """What came of it. Stopped before its end, a training goes on when it is run again."""

    spec: Spec
    params: Params  # float32
    step: int  # the last one that was done
    finished: bool  # and the checkpoint folder is written


def run(recipe: Recipe, overwrite: bool = False, quiet: bool = False) -> Result:
    """Train as the recipe says, from the newest saved state if there is one, and write the checkpoint folder.

    The parameters after the last step, or their running mean if there is one, are the result: none are picked by what is held
    out. On several processes all of them call this.

    overwrite: replace the checkpoint folder that is at `recipe.out`. quiet: print nothing.
    Raises: Error for a recipe, data or network that do not go together, another training at the same place, gradients that are
        not finite for long, and a disk that is full; the states saved before are whole, and the same call goes on from them.
    """
    place = folder(recipe)
    if first():
        checkpoint.check_free(recipe.out, overwrite)
        if checkpoint.exists(recipe.out) and (place / DONE).exists():
            place.rmtree()  # what is to be overwritten was made by it
    together("the place is free")
    training = Training(recipe, quiet)
    with closing(training.saves), jax.set_mesh(training.task.mesh):
        step = training.go()
        finished = step == training.task.steps
        learned = training.state.ema if recipe.ema else training.state.learned
        params = jax.jit(join, static_argnums=0)(recipe, learned, training.fixed)
    if finished:
        checkpoint.save(recipe.out, training.spec, params, overwrite, tokenizer=training.tokenizer)
        if first():
            (place / DONE).touch()
    return Result(training.spec, params, step, finished)


class Training:
    """All that a training holds on to, from its beginning, or where it was left, to its end."""

    def __init__(self, recipe: Recipe, quiet: bool) -> None:
        mesh = meshes.make(recipe.tensor)
        self.recipe, self.quiet, self.data, self.rows = recipe, quiet, dataset(recipe), rows(mesh, recipe.batch)
        self.spec, params, self.tokenizer = network.start(recipe, self.data.labels, mesh)
        source = replace(self.spec.source, origin=f"vitjax.train: {recipe.model} on {self.data.origin}")
        self.spec = replace(self.spec, source=source)
        self.epoch = len(self.data.train) // recipe.batch
        if not self.epoch:
            raise Error(
                f"batch = {recipe.batch} is more than the {len(self.data.train)} pictures there are to learn "
                "from: give a smaller one"
            )
        unit = self.epoch if recipe.epochs else 1
        steps, warmup = math.ceil((recipe.steps or recipe.epochs) * unit), round(recipe.warmup * unit)
        self.task = Task(recipe, network.training(recipe, self.spec.config), self.spec.preprocess, steps, warmup, mesh)
        learned, self.fixed = split(recipe, params)
        self.state = self._first(learned)
        self.saves = Saves(recipe, {"weights": network.weights(recipe), "pictures": len(self.data.train)})
        self.begun, self.damage = 0, pipeline.Damage(len(self.data.train))
        if self.saves.latest() is not None:
            self.state, notes = self.saves.restore(self.state)
            self.begun, self.damage = notes["step"], pipeline.Damage.restored(notes["damage"])

    def _first(self, learned: Params) -> State:
        """The state before the first step, each part of it where it belongs."""
        key = jax.random.fold_in(jax.random.key(self.recipe.seed), 2**31 - 1)  # no step has this number

        def make(learned: Params, fixed: Params) -> State:
            return begin(self.task, with_lora(self.recipe, learned, fixed, key))

        places = self.task.places(jax.eval_shape(make, learned, self.fixed))
        return jax.jit(make, out_shardings=places)(learned, self.fixed)

    def go(self) -> int:
        """Step after step to the last one, or until asked to stop; how many are done then."""
        recipe, task, every = self.recipe, self.task, self.recipe.evaluate or self.epoch
        batches = pipeline.training(recipe, self.spec, self.data.train, self.begun, self.rows, self._words())
        with stopping() as stop, self._journal() as journal, closing(batches), closing(self._ahead(batches)) as ready:
            waiting, step = deque[Metrics](), self.begun
            for step in range(self.begun + 1, task.steps + 1):
                local, batch = next(ready)
                self.damage.add(local)
                if local.bad:
                    journal.bad_pictures(step, local.bad)
                self.state, metrics = update(task, self.fixed, self.state, batch)
                waiting.append(metrics)
                last, stopped = step == task.steps, stop.after(step)
                looking = self.data.held_out is not None and (step % every == 0 or last)
                saving = step % (recipe.save or every) == 0 or looking or last or stopped
                if looking or saving or step % recipe.report == 0 or len(waiting) >= recipe.report:
                    self._done(step, waiting, journal)
                elif len(waiting) > AHEAD:
                    jax.block_until_ready(waiting[-AHEAD - 1])
                scores = self.evaluate(step, journal) if looking else None
                if saving:
                    journal.flush()
                    self.saves.save(self.state, step, {"step": step, "damage": self.damage.noted()}, scores)
                if stopped:
                    break
            self.saves.wait()
            journal.close(step, finished=step == task.steps)
        return step

    def _ahead(self, batches: Iterator[pipeline.Batch]) -> Generator[tuple[pipeline.Batch, Batch]]:
        """Each batch as the host has it and on its way to the devices, where the next one already is while a step is made."""

        def make() -> tuple[pipeline.Batch, Batch]:
            local = next(batches)
            return local, sent(self.task, local)[0]

        with ThreadPoolExecutor(1) as beside:
            made = beside.submit(make)
            while True:
                ready, made = made.result(), beside.submit(make)
                yield ready

    def _done(self, step: int, waiting: deque[Metrics], journal: Any) -> None:
        """Tell about the steps that were waiting for it, up to `step`."""
        columns = map(np.array, zip(*jax.device_get(list(waiting)), strict=True))
        numbers = dict(zip(Metrics._fields, columns, strict=True))
        waiting.clear()
        bad, losses = numbers["bad"], numbers.pop("loss")
        journal.steps_done(step + 1 - len(losses), losses, **numbers)
        if bad.max() >= self.recipe.bad_steps:
            raise Error(
                f"the gradients of {self.recipe.bad_steps} steps in a row were not finite, up to step {step}: "
                "try a lower learning_rate, a longer warmup, or clip = 1.0"
            )

    def evaluate(self, step: int, journal: Any) -> dict[str, float]:
        """How good the network is after a step on what is held out, told to the journal; under "ema/", its running mean.

        What cannot be read is named each time: a training that goes on then tells what an uninterrupted one does.
        """
        assert self.data.held_out is not None
        bad = list[str]()

        def read(batches: Iterator[pipeline.Batch]) -> Iterator[pipeline.Batch]:
            for batch in batches:
                bad.extend(batch.bad)
                yield batch

        sets = {"": self.state.learned} | ({"ema/": self.state.ema} if self.recipe.ema else {})
        batches = pipeline.evaluation(self.recipe, self.spec, self.data.held_out, self.rows, self._words())
        scores = measure(self.task, self.fixed, sets, read(batches))
        if bad:
            journal.bad_pictures(step, bad)
        journal.evaluated(step, scores)
        return scores

    def _words(self) -> Any:
        """What makes ids of captions; None for a network that takes none."""
        if not isinstance(self.spec.config, CLIPConfig):
            return None
        return TextModel(tower(self.spec, "text"), {}, tokenizer=self.tokenizer).tokenize

    def _journal(self) -> Any:
        """What this process tells of: the first one everything, the others nothing."""
        if not first():
            return nullcontext(Silence())
        per_image = 3.0 * flops.forward(self.spec.config)
        peak = hardware.peak(jax.devices()[0].device_kind)
        everything = peak and peak * jax.device_count()
        return Journal(folder(self.recipe), self.recipe, self.task.steps, per_image, everything, self.begun, self.quiet)


class Silence:
    """The journal of those that have none."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **more: None
