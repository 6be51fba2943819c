"""Converting and loading a 4 GB file: time beside copying and hashing it, memory above the imports'. In one run.

    python -m benchmarks.convert [--rounds 3] [--pause 0] [--folder DIR] [--out benchmarks/results/NAME.json]

The file has the size of eva_giant_patch14_224 and random weights. `vitjax convert`, and a copy of the file (shutil) whose
hash is then taken (hashlib), take turns, each first as often as the other. The command's time has Python's start and all
imports in it. Memory is the peak resident set (VmHWM) of the process at its end, less that after the imports.

--pause SECONDS waits before each turn. On a virtual machine whose host takes back memory that has been free for some seconds,
writing to memory that was just freed is much faster (measured on two such machines: 4.9 GB/s beside 0.4 and 0.8), and the copy,
which starts to write at once, has more of it than the command, which has its imports first. Say which pause a result had.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from vitjax import ViTConfig, converters
from vitjax.config import config_to_json
from vitjax.converters import files
from vitjax.converters.mapping import slots
from vitjax.model import shapes

CONFIG = ViTConfig(image=224, patch=14, width=1408, depth=40, heads=16, mlp=6144, classes=1000)  # as eva_giant_patch14_224
CHILD = """
import json, sys, time
import vitjax.cli, vitjax.hub
def peak(): return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1e6
before, start = peak(), time.perf_counter()
if sys.argv[1] == "load":
    import jax
    jax.block_until_ready(vitjax.load(sys.argv[2], dtype=sys.argv[3]).params)
else:
    assert vitjax.cli.main(sys.argv[1:]) == 0
print(json.dumps({"seconds without imports": time.perf_counter() - start, "peak GB": peak() - before}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--folder", type=Path, help="where to work; needs 13 GB")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        result = measure(Path(folder), args.rounds, args.pause)
    versions = {name: version(name) for name in ("jax", "orbax-checkpoint", "tensorstore", "numpy")}
    machine = {"cpus": os.cpu_count(), "python": platform.python_version()}
    result = {"model": config_to_json(CONFIG), "pause s": args.pause} | machine | versions | result
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n")


def measure(folder: Path, rounds: int, pause: float) -> dict[str, object]:
    src, copy, dst = folder / "model.safetensors", folder / "copy.safetensors", folder / "converted"
    make(src)
    config = folder / "config.json"
    config.write_text(json.dumps(config_to_json(CONFIG)))
    turns: dict[str, list[dict[str, float]]] = {"copy and hash": [], "convert": []}
    work: dict[str, Callable[[], dict[str, float]]] = {
        "copy and hash": lambda: copy_and_hash(src, copy),
        "convert": lambda: child("convert", src, dst, "--config", config),
    }
    for number in range(rounds + 1):  # the first is for the disk and the page cache
        for name in sorted(work, reverse=number % 2 == 1):
            turns[name].append(timed(work[name]))
            for path in (copy, dst) if number < rounds else (copy,):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
            os.sync()  # so that nobody writes what another left
            time.sleep(pause)
    converted, copied = turns["convert"][1:], turns["copy and hash"][1:]
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(copied, converted, strict=True)]
    loads = {dtype: timed(lambda dtype=dtype: child("load", dst, dtype)) for dtype in ("float32", "bfloat16")}
    half = timed(lambda: child("convert", src, folder / "half", "--config", config, "--dtype", "bfloat16"))
    return {
        "file GB": src.stat().st_size / 1e9,
        "folder GB": size(dst),
        "bfloat16 folder GB": size(folder / "half"),
        "convert's speed / copy and hash's, median": statistics.median(ratios),
        "convert's peak GB, largest": max(turn["peak GB"] for turn in turns["convert"]),
        "rounds": {"copy and hash": copied, "convert": converted},
        "convert --dtype bfloat16": half,
        "load": loads,
    }


class Random:
    """A leaf by recipe: nothing of it is in memory."""

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self.seed, self.shape, self.dtype = seed, shape, np.dtype(np.float32)

    def __getitem__(self, row: int) -> np.ndarray:
        return 0.02 * np.random.default_rng([self.seed, row]).standard_normal(self.shape[1:], np.float32)

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return np.stack([self[row] for row in range(self.shape[0])])


def make(path: Path) -> None:
    """A file of random weights in timm's spelling."""
    like = shapes(CONFIG)
    wanted = slots(converters.DIALECTS["timm"].rules(CONFIG), like)
    ours = {leaf: Random(seed, shape) for seed, (leaf, shape) in enumerate(like.items())}
    header = {slot.theirs: (slot.shape, np.dtype(np.float32)) for slot in wanted}
    files.write_safetensors(path, header, converters.to_theirs(wanted, ours), {"format": "pt"})


def child(*args: object) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", CHILD, *map(str, args)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def copy_and_hash(src: Path, dst: Path) -> dict[str, float]:
    shutil.copyfile(src, dst)
    with dst.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    return {}


def timed(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    start = time.perf_counter()
    found = work()
    return {"seconds": time.perf_counter() - start} | found


def size(folder: Path) -> float:
    def sizes() -> Iterator[int]:
        yield from (file.stat().st_size for file in folder.rglob("*") if file.is_file())

    return sum(sizes()) / 1e9


if __name__ == "__main__":
    main()
