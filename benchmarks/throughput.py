"""Images per second beside timm's, on the same machine, with the same weights, in one run.

    python -m benchmarks.throughput [MODEL ...] [--batch 8] [--rounds 7] [--out benchmarks/results/NAME.json]

The outputs are compared first. Then ours, timm's (eager, as `create_model(...).eval()` gives it) and a plain matrix product
of JAX's and of torch's take turns, so that a machine that slows down slows all four. What counts are the ratios: the median
over the rounds of timm's time to ours, and of our arithmetic rate to that of JAX's product.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import timm
import torch
from timm.models._hub import save_for_hf

import vitjax
from vitjax import flops
from vitjax.config import hw

MODELS = ("vit_base_patch16_224",)
SIDE = 3072  # of the square matrices whose product is the machine's measured rate


def seconds(run: Callable[[], object]) -> float:
    time.sleep(0.5)  # torch's threads spin for 0.2 s after their work, on the cores of who comes next
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(name: str, batch: int, rounds: int) -> dict[str, float | str]:
    theirs = timm.create_model(name).eval()
    with tempfile.TemporaryDirectory() as folder:
        save_for_hf(theirs, folder, safe_serialization=True)
        ours = vitjax.load(folder)
    x = np.random.default_rng(0).standard_normal((batch, *hw(ours.config.image), 3)).astype(np.float32)
    x_ours, x_theirs = jnp.asarray(x), torch.from_numpy(x).permute(0, 3, 1, 2).contiguous()
    matrix = jnp.asarray(np.random.default_rng(1).standard_normal((SIDE, SIDE)).astype(np.float32))
    product, theirs_alike = jax.jit(lambda a: a @ a), torch.from_numpy(np.array(matrix))

    def run_theirs() -> np.ndarray:
        with torch.inference_mode():
            return theirs(x_theirs).numpy()

    def run_ours() -> np.ndarray:
        return np.asarray(ours(x_ours))

    start = time.perf_counter()
    first = run_ours()
    compiled = time.perf_counter() - start
    difference = np.abs(first - run_theirs()).max() / np.abs(first).max()
    assert difference < 1e-4, f"{name}: outputs differ by {difference:.1e} of their scale"
    jax.block_until_ready(product(matrix))
    turns = run_ours, run_theirs, lambda: jax.block_until_ready(product(matrix)), lambda: theirs_alike @ theirs_alike
    times = [tuple(seconds(turn) for turn in turns) for _ in range(rounds)]
    ours_s, theirs_s, product_s, their_product_s = map(statistics.median, zip(*times, strict=True))
    rate, work = batch * flops.forward(ours.config) / 1e9, 2 * SIDE**3 / 1e9
    return {
        "model": name,
        "batch": batch,
        "ours img/s": batch / ours_s,
        "timm img/s": batch / theirs_s,
        "ours / timm": statistics.median(b / a for a, b, *_ in times),
        "ours GF/s": rate / ours_s,
        "product GF/s": work / product_s,
        "torch's product GF/s": work / their_product_s,
        "ours / product": statistics.median(rate / a / (work / c) for a, _, c, _ in times),
        "max|Δ| / scale": float(difference),
        "first call s": compiled,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [measure(name, args.batch, args.rounds) for name in args.models]
    versions = {"python": platform.python_version(), "jax": jax.__version__, "torch": torch.__version__, "timm": timm.__version__}
    print(f"{jax.devices()[0].device_kind}, {torch.get_num_threads()} torch threads, float32, {versions}\n")
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()) + " |")
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
