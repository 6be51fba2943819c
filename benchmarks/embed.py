"""Pictures a second of `vitjax embed`, beside decoding them alone and computing alone. In one run.

    python -m benchmarks.embed [MODEL=PICTURES ...] [--rounds 5] [--out benchmarks/results/NAME.json]

The pictures are the JPEGs of benchmarks/input_pipeline.py, 500 x 375. Three take turns: the threads that decode, resize and
normalise, with nobody to compute; the network, on batches that are there already; and `features.embed` with both, from files
to the finished .npy. Weights are random and hashed by embed once per call, which is in its time.

"of the slower" is what embed reaches of the slower one of the two, the median over rounds. Where the network is computed by
the cores that decode, both cannot be had at once: "of both on the same cores" is beside the rate of one after the other, each
with all cores, above which only a gap that one leaves and the other fills can bring it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import jax
import numpy as np

import vitjax
from vitjax.features import embed, together
from vitjax.pictures import stream

from .input_pipeline import make

MODELS = "vit_tiny_patch16_224=1024", "vit_base_patch16_224=128"


def measure(name: str, files: list[str], rounds: int, place: Path) -> dict[str, Any]:
    model = vitjax.create(name)
    batch = together(len(files))
    x = np.zeros((batch, *next(stream(files[:batch], model.spec.preprocess, batch)).x.shape[1:]), np.float32)

    def decode() -> None:
        for _ in stream(files, model.spec.preprocess, batch):
            pass

    def compute() -> None:
        for some in repeat(x, -(-len(files) // batch)):
            features = model.embed(some)
        jax.block_until_ready(features)

    def both() -> None:
        embed(model, files, place / "features.npy", overwrite=True)

    def rate(run: Callable[[], None]) -> float:
        start = time.perf_counter()
        run()
        return len(files) / (time.perf_counter() - start)

    embed(model, files[:batch], place / "first.npy", overwrite=True)  # compiled, and the disk's cache is warm
    decode()
    turns = [tuple(rate(run) for run in (decode, compute, both)) for _ in range(rounds)]
    return {
        "pictures/s": dict(zip(("decode", "compute", "embed"), map(statistics.median, zip(*turns, strict=True)), strict=True)),
        "of the slower": statistics.median(all_ / min(a, b) for a, b, all_ in turns),
        "of both on the same cores": statistics.median(all_ * (1 / a + 1 / b) for a, b, all_ in turns),
        "rounds": turns,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL=PICTURES", help="by default: " + " ".join(MODELS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    about = {"device": jax.devices()[0].device_kind, "cpus": os.cpu_count(), "python": platform.python_version()}
    found: dict[str, Any] = about | {"jax": jax.__version__, "load of others before": os.getloadavg()[0]}
    wanted = {name: int(count) for name, _, count in (word.partition("=") for word in args.models)}
    with tempfile.TemporaryDirectory() as place:
        files = make(Path(place) / "files", max(wanted.values()))
        for name, count in wanted.items():
            found[name] = measure(name, files[:count], args.rounds, Path(place))
            print(name, json.dumps(found[name], indent=1))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
