"""The command that makes a data set ready for training: data pack."""

from __future__ import annotations

import argparse
import sys

from .terminal import progress, several
from .train.data.pack import pack


def data(args: argparse.Namespace) -> None:
    """Pictures in folders become ArrayRecord shards."""
    with progress("packing") as bar:
        made = pack(args.folder, args.shards_folder, args.shards, args.side, args.captions, bar)
    if made.unreadable:
        reasons = [why if name in why else f"{name}: {why}" for name, why in made.unreadable.items()]
        print(f"{len(made.unreadable)} pictures cannot be read and are left out:{several(reasons)}", file=sys.stderr)
    print(f"{args.shards_folder}: {made.examples} examples in {made.shards} shards")
