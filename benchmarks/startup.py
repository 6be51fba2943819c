"""How long `vitjax classify` takes beside what nobody can do without: importing JAX, and reading the weights. In one run.

    python -m benchmarks.startup [MODEL] [--rounds 5] [--out benchmarks/results/NAME.json]

Processes of their own take turns: one that imports jax and reads every byte of the checkpoint folder into memory; and the
command on one picture, with the cache of compiled networks empty ("cold"), and as the command before left it ("warm"). The
ratios are medians over the rounds, each of one round. Weights are random, and in the system's memory before the first turn.
Memory is the largest resident set of the warm command, and of a process that only imports what the command does.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax

import vitjax
from vitjax import cache, checkpoint

PICTURE = cache.EMBEDDED / "digits" / "3.png"
READ = "import jax, pathlib, sys; held = [f.read_bytes() for f in pathlib.Path(sys.argv[1]).rglob('*') if f.is_file()]"
PEAK = """
import json, re, sys
import vitjax.cli, vitjax.picture_commands
peak = lambda: int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024  # getrusage's is the parent's, too
before = peak()
assert vitjax.cli.main(["classify", sys.argv[1], "--model", sys.argv[2], "--json"]) == 0
print("\\n" + json.dumps({"imports MiB": before, "whole MiB": peak()}))
"""


def seconds(*words: str, kept: Path) -> float:
    start = time.perf_counter()
    env = os.environ | {"VITJAX_CACHE": str(kept)}
    subprocess.run([sys.executable, *words], check=True, env=env, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(name: str, rounds: int, place: Path) -> dict[str, object]:
    model = vitjax.create(name)
    checkpoint.save(folder := place / "model", model.spec, model.params)
    command, kept = ("-m", "vitjax.cli", "classify", str(PICTURE), "--model", str(folder)), place / "cache"
    turns: dict[str, list[float]] = {"import jax and read": [], "cold": [], "warm": []}
    for _ in range(rounds + 1):  # the first is for the disk
        shutil.rmtree(kept, ignore_errors=True)
        turns["import jax and read"].append(seconds("-c", READ, str(folder), kept=kept))
        turns["cold"].append(seconds(*command, kept=kept))
        turns["warm"].append(seconds(*command, kept=kept))
    turns = {turn: found[1:] for turn, found in turns.items()}
    base = turns["import jax and read"]
    env = os.environ | {"VITJAX_CACHE": str(kept)}
    words = [sys.executable, "-c", PEAK, str(PICTURE), str(folder)]
    memory = subprocess.run(words, check=True, env=env, capture_output=True, text=True).stdout.splitlines()[-1]
    ratios = {turn: statistics.median(a / b for a, b in zip(turns[turn], base, strict=True)) for turn in ("cold", "warm")}
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params)) / 2**20
    return {"ratio": ratios, "weights MiB": size, "memory": json.loads(memory), "seconds": turns}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="vit_base_patch16_224")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = measure(args.model, args.rounds, Path(place))
    about = {"model": args.model, "cpus": os.cpu_count(), "python": platform.python_version(), "jax": jax.__version__}
    load = {"load of others before": os.getloadavg()[0]}
    print(text := json.dumps(about | load | found, indent=1))
    if args.out:
        args.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
