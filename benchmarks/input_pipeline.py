"""Pictures a second that the input pipeline makes on one core, beside Pillow's own decoding and resizing there. In one run.

    python -m benchmarks.input_pipeline [--pictures 512] [--rounds 5] [--out benchmarks/results/NAME.json]

The pictures are JPEGs of ImageNet's usual size, 500 x 375, cut at random out of scikit-learn's and scikit-image's photographs,
in class folders and in ArrayRecord shards. Pillow's loop opens each file, takes a random crop of 8 % to 100 % (torchvision's) at
224 x 224, decoded at the smallest size that does (`draft`), and makes an array of it: no batch, no order, no check. The pipeline
makes batches of the same crops: grain, the order, the checks, the batch itself. They take turns on one core: this
process and its threads, or its worker, are bound to it. With two workers the binding is let go.

"of Pillow's" is the ratio, the median over rounds: by the clock on the wall, and by the time that this process and its workers
computed, which what else runs on the machine changes less.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.test_preprocess import photograph
from vitjax.config import Preprocess, Spec, ViTConfig
from vitjax.train.data import dataset
from vitjax.train.data.crops import box
from vitjax.train.data.examples import Source
from vitjax.train.data.pack import pack
from vitjax.train.data.pipeline import training
from vitjax.train.recipe import Recipe

PHOTOGRAPHS = (
    "china.jpg",
    "flower.jpg",
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "retina.jpg",
    "rocket.jpg",
    "hubble_deep_field.jpg",
)
SIDES = 500, 375
SIDE, BATCH = 224, 64
CORES = os.sched_getaffinity(0)
PILLOW = "Pillow alone"
SPEC = Spec("it", ViTConfig(image=SIDE, patch=16, width=8, depth=1, heads=1, mlp=8, classes=2), Preprocess(size=SIDE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), args.pictures, args.rounds)
    versions = {name: version(name) for name in ("grain", "array_record", "pillow", "numpy")}
    result = {"cpus": len(CORES), "load of others before": load, "python": platform.python_version()} | versions | result
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def measure(folder: Path, pictures: int, rounds: int) -> dict[str, object]:
    files = make(folder / "files", pictures)
    pack(folder / "files", folder / "shards")
    recipe = Recipe(str(folder / "files"), "model", "out", batch=BATCH, steps=1, learning_rate=0.1)
    sources = {name: dataset(replace(recipe, data=str(folder / name))).train for name in ("files", "shards")}
    work: dict[str, Callable[[], Rate]] = {PILLOW: lambda: by_pillow(files, recipe)}
    for (name, source), workers in itertools.product(sources.items(), (0, 1, 2)):
        some = replace(recipe, workers=workers)
        work[f"{name}, {workers} workers"] = lambda some=some, source=source: by_pipeline(some, source, pictures)
    augmented = replace(recipe, randaugment="rand-m9-mstd0.5-inc1")
    work["files, 0 workers, RandAugment"] = lambda: by_pipeline(augmented, sources["files"], pictures)
    turns: dict[str, list[Rate]] = {name: [] for name in work}
    for number in range(rounds):
        for name in sorted(work, reverse=number % 2 == 1):
            turns[name].append(work[name]())

    def of_pillows(name: str, which: int) -> float:
        return statistics.median(ours[which] / theirs[which] for ours, theirs in zip(turns[name], turns[PILLOW], strict=True))

    return {
        "JPEG kB, mean": statistics.mean(os.path.getsize(file) for file in files) / 1e3,
        "pictures/s": {name: statistics.median(rate.wall for rate in found) for name, found in turns.items()},
        "of Pillow's, by the wall's clock": {name: of_pillows(name, 0) for name in work},
        "of Pillow's, by computing time": {name: of_pillows(name, 1) for name in work},
        "rounds": turns,
    }


def make(folder: Path, pictures: int) -> list[str]:
    """Class folders of JPEGs that look like photographs, for they are parts of some."""
    rng = np.random.default_rng(0)
    whole = [Image.open(photograph(name)).convert("RGB") for name in PHOTOGRAPHS]
    files = []
    for number in range(pictures):
        image = whole[number % len(whole)]
        part = box(image.size, (0.3, 1.0), (SIDES[0] / SIDES[1],) * 2, rng)
        edges = part.left, part.top, part.left + part.width, part.top + part.height
        file = folder / f"class {number % 2}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.resize(SIDES, Image.Resampling.BICUBIC, box=edges).save(file, quality=90)
        files.append(str(file))
    return files


def by_pillow(files: list[str], recipe: Recipe) -> Rate:
    """The loop that one would write with Pillow alone."""
    os.sched_setaffinity(0, {min(CORES)})
    places = range(2 * BATCH, len(files) + 2 * BATCH)  # the first two batches of the pipeline are not timed
    crops = [box(SIDES, recipe.crop, recipe.ratio, np.random.default_rng((recipe.seed, place, 1))) for place in places]
    clock = Clock()
    for file, part in zip(files, crops, strict=True):
        with Image.open(file) as image:
            scale = next((s for s in (8, 4, 2) if min(part.width, part.height) >= s * SIDE), 1)
            image.draft("RGB", (SIDES[0] // scale, SIDES[1] // scale))
            edges = (part.left, part.top, part.left + part.width, part.top + part.height)
            np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=tuple(edge / scale for edge in edges)))
    return clock.rate(len(files))


def by_pipeline(recipe: Recipe, source: Source, pictures: int) -> Rate:
    """Batches that are waited for, once the first ones have come."""
    os.sched_setaffinity(0, CORES if recipe.workers > 1 else {min(CORES)})
    with closing(training(recipe, SPEC, source, 0, np.arange(BATCH))) as batches:
        for _ in range(2 + 2 * recipe.workers):  # those that were made while the workers started
            next(batches)
        clock = Clock()
        for _ in range(steps := pictures // BATCH):
            next(batches)
        return clock.rate(steps * BATCH)


class Rate(NamedTuple):
    """Pictures a second by the clock on the wall, and by the time that this process and its workers computed."""

    wall: float
    cpu: float


class Clock:
    """Running since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), computed()

    def rate(self, pictures: int) -> Rate:
        return Rate(pictures / (time.perf_counter() - self.wall), pictures / (computed() - self.cpu))


def computed() -> float:
    """Seconds that this process and those it started have computed."""
    stats = (
        Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split() for child in multiprocessing.active_children()
    )
    return time.process_time() + sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
