"""What a training costs beside its steps: reading, sending, noting down. The bare jitted step on one batch, and the whole loop.

    python -m benchmarks.training [--steps 200] [--rounds 3]

The digits in the package's smallest network: a step takes about 100 ms on two cores, which also make the pictures. The ratio is
of seconds a step, bare to whole, taken in turns in one run. 1 / 1.02 or more is the target.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import jax

from vitjax.train import loop
from vitjax.train.data import pipeline
from vitjax.train.held_out import sent
from vitjax.train.journal import Journal, Pace
from vitjax.train.recipe import Recipe, read
from vitjax.train.step import update

PACES: list[Pace] = []


class Noted(Journal):
    """The journal of a training whose pace is wanted."""

    def close(self, step: int, finished: bool = True, **facts: str) -> None:
        PACES.append(self.overall)
        super().close(step, finished, **facts)


def bare(recipe: Recipe) -> float:
    """Seconds a step, of the step alone."""
    training = loop.Training(recipe, quiet=True)
    batches = pipeline.training(recipe, training.spec, training.data.train, 0, training.rows)
    batch, state = sent(training.task, next(batches)), training.state
    batches.close()
    with jax.set_mesh(training.task.mesh):
        for step in range(recipe.steps):
            state, metrics = update(training.task, training.fixed, state, batch)
            if step == 0:
                jax.block_until_ready(metrics)
                start = time.perf_counter()
        jax.block_until_ready(metrics)
    training.saves.close()
    return (time.perf_counter() - start) / (recipe.steps - 1)


def whole(recipe: Recipe) -> float:
    """Seconds a step, of a training."""
    loop.Journal = Noted
    loop.run(recipe, quiet=True)
    return PACES[-1].seconds / PACES[-1].steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    found: dict[str, list[float]] = {"bare": [], "whole": []}
    for _ in range(args.rounds):
        for name, measure in {"bare": bare, "whole": whole}.items():
            with tempfile.TemporaryDirectory() as folder:
                keys = [f"steps={args.steps}", "report=20", f"evaluate={args.steps}", f"out={Path(folder) / 'x'}"]
                found[name].append(measure(read("digits", keys)))
    ratios = [b / w for b, w in zip(found["bare"], found["whole"], strict=True)]
    print(json.dumps({name: [round(1000 * s, 2) for s in seconds] for name, seconds in found.items()} | {
        "unit": "ms a step", "ratio": round(statistics.median(ratios), 3), "jax": jax.__version__,
    }, indent=1))  # fmt: skip


if __name__ == "__main__":
    main()
