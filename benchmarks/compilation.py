"""How long a deep network compiles beside a shallow one: blocks are scanned, so that one is compiled, whatever the depth.

    python -m benchmarks.compilation [MODEL] [--shallow 12] [--rounds 5] [--out benchmarks/results/NAME.json]

The network as it is and the same with fewer blocks take turns, for one picture in float32. No parameters are made. What
counts is the ratio, the median over the rounds of the deep one's time to the shallow one's, tracing and compiling together;
no cache is used.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp

from vitjax import ViTConfig, variants
from vitjax.config import hw
from vitjax.model import abstract, build


def seconds(config: ViTConfig) -> float:
    module, images = build(config), jax.ShapeDtypeStruct((1, *hw(config.image), 3), jnp.float32)
    params = abstract(config)
    jax.clear_caches()
    start = time.perf_counter()
    jax.jit(lambda params, x: module.apply({"params": params}, x)).lower(params, images).compile()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="eva_giant_patch14_224")
    parser.add_argument("--shallow", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    deep = variants.spec(args.model).vit
    shallow = replace(deep, depth=args.shallow)
    seconds(shallow)  # XLA's own start
    times = [[seconds(config) for config in (deep, shallow)] for _ in range(args.rounds)]
    result = {
        "model": args.model,
        "jax": jax.__version__,
        f"{deep.depth} blocks s": statistics.median(a for a, _ in times),
        f"{shallow.depth} blocks s": statistics.median(b for _, b in times),
        "ratio": statistics.median(a / b for a, b in times),
    }
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
