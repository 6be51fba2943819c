"""What a training costs beside its steps: reading, sending, noting down. The bare step on one batch, and the whole loop.

    python -m benchmarks.training [--steps 200] [--rounds 3] [--out benchmarks/results/NAME.json]

Twice. "elsewhere": a step takes 100 ms and none of this machine's cores, as on an accelerator: it sleeps inside jit. "here":
the step of the package's smallest network on these cores, which also make the pictures. Digits, 32 a batch. The ratio is of
seconds a step, whole to bare, taken in turns in one run; elsewhere, 1.02 or less is the target.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vitjax.model import Params
from vitjax.train import loop, step
from vitjax.train.data import pipeline
from vitjax.train.held_out import sent
from vitjax.train.journal import Journal, Pace
from vitjax.train.recipe import Recipe, read
from vitjax.train.step import Batch, Metrics, State, Task

STEP = 0.1  # seconds
PACES: list[Pace] = []


class Noted(Journal):
    """The journal of a training whose pace is wanted."""

    def close(self, step: int, finished: bool = True, **facts: str) -> None:
        PACES.append(self.overall)
        super().close(step, finished, **facts)


@partial(jax.jit, static_argnums=0, donate_argnums=2)
def elsewhere(task: Task, fixed: Params, state: State, batch: Batch) -> tuple[State, Metrics]:
    """A step that is made by nobody here."""

    def rest(step: np.ndarray, _: np.ndarray) -> np.ndarray:
        time.sleep(STEP)
        return np.int32(step + 1)

    step = jax.pure_callback(rest, jax.ShapeDtypeStruct((), jnp.int32), state.step, batch.image[0, 0, 0, 0])
    none = jnp.float32(0) * step
    return state._replace(step=step), Metrics(none, none, none, state.bad, state.skipped)


def bare(recipe: Recipe, update: Any) -> float:
    """Seconds a step, of the step alone."""
    training = loop.Training(recipe, quiet=True)
    with closing(training.saves), jax.set_mesh(training.task.mesh):
        with closing(pipeline.training(recipe, training.spec, training.data.train, 0, training.rows)) as batches:
            (batch, _), state, start = sent(training.task, next(batches)), training.state, 0.0
        for step in range(recipe.steps):
            state, metrics = update(training.task, training.fixed, state, batch)
            if step == 0:  # which compiles
                jax.block_until_ready(metrics)
                start = time.perf_counter()
        jax.block_until_ready(metrics)
        return (time.perf_counter() - start) / (recipe.steps - 1)


def whole(recipe: Recipe, update: Any) -> float:
    """Seconds a step, of a training."""
    loop.Journal, loop.update = Noted, update
    loop.run(recipe, quiet=True)
    return PACES[-1].seconds / PACES[-1].steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found: dict[str, Any] = {"jax": jax.__version__, "cpus": os.cpu_count(), "unit": "ms a step"}
    for place, update in {"elsewhere": elsewhere, "here": step.update}.items():
        times: dict[str, list[float]] = {"bare": [], "whole": []}
        for _ in range(args.rounds):
            for name, measure in {"bare": bare, "whole": whole}.items():
                with tempfile.TemporaryDirectory() as folder:
                    keys = [f"steps={args.steps}", "report=20", f"evaluate={args.steps}", f"out={Path(folder) / 'x'}"]
                    times[name].append(measure(read("digits", keys), update))
        ratio = statistics.median(w / b for b, w in zip(times["bare"], times["whole"], strict=True))
        found[place] = {name: [round(1000 * s, 2) for s in seconds] for name, seconds in times.items()} | {
            "ratio": round(ratio, 4)
        }
    print(text := json.dumps(found, indent=1))
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
