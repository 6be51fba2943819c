"""The command: one process for each network, dtype and kind of work, one after another."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import report
from .apart import apart
from .measure import COMPILED, EAGER, UNFUSED, Job, Row

MODELS = (
    *("vit_base_patch16_384", "vit_large_patch14_clip_224", "vit_large_patch16_224"),
    *("eva_giant_patch14_224", "eva02_large_patch14_448", "clip_vit_large_patch14_224/text"),
)

BESIDE = [EAGER, UNFUSED, COMPILED]


def main(words: Sequence[str] | None = None) -> int:
    args = arguments().parse_args(words)
    if args.table:
        print(report.table(json.loads(args.table.read_text())))
        return 0
    if args.quick:
        args.models, args.what, args.batch, args.rounds = args.models[:1], ["inference"], args.batch or [1], 3
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # torch is on the same GPU
    found: Row = {"facts": {}, "rows": []}
    for row in rows(args):
        found["facts"] |= row.pop("facts", {})
        if row:
            found["rows"].append(row)
            print(_said(row), file=sys.stderr, flush=True)
            if args.out:  # as it is so far: whoever stops this keeps what there is
                args.out.parent.mkdir(parents=True, exist_ok=True)
                args.out.write_text(json.dumps(found, indent=1) + "\n")
    print(report.table(found))
    if args.out and report.picture(found, args.out.with_suffix(".png")):
        print(f"{args.out}, {args.out.with_suffix('.png')}")
    return 0 if any("error" not in row for row in found["rows"]) else 1


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.throughput", description="Ours beside timm and open_clip.")
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="NAME", help="CLIP's text tower is NAME/text")
    parser.add_argument("--dtype", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--what", nargs="+", default=["inference", "train"], choices=["inference", "train"])
    parser.add_argument("--beside", nargs="*", default=BESIDE, choices=BESIDE, metavar="HOW", help=f"of {', '.join(BESIDE)}")
    parser.add_argument("--batch", nargs="+", type=int, default=[], help="instead of 1 and the best one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=20, help="what would come later is left out")
    parser.add_argument("--side", type=int, default=0, help="of the matrices whose product is the ceiling")
    parser.add_argument("--quick", action="store_true", help="a first look: one network, one picture")
    parser.add_argument("--out", type=Path, help="a .json; beside it comes a .png of bars")
    parser.add_argument("--table", type=Path, metavar="JSON", help="print the table of an earlier run, and do nothing else")
    return parser


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """All rows. Each job has an equal share of the time that is left."""
    jobs = [(model, dtype, what) for model in args.models for dtype in args.dtype for what in args.what]
    end = time.time() + 60 * args.minutes
    for number, (model, dtype, what) in enumerate(jobs):
        until = time.time() + (end - time.time()) / (len(jobs) - number)
        yield from apart(
            Job(model, dtype, what, tuple(args.batch), args.rounds, until, args.side, tuple(args.beside), copies=number == 0)
        )


def _said(row: Row) -> str:
    what = f"{row['model']} {row['dtype']} {row['what']} batch {row['batch']}"
    if "error" in row:
        return f"{what}: {row['error']}"
    rates = ", ".join(f"{name} {rate:.3g}" for name, rate in row["per second"].items())
    return f"{what}: {rates} a second; {row['of jax product']:.0%} of JAX's product"


if __name__ == "__main__":
    sys.exit(main())
