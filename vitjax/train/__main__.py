"""python -m vitjax.train RECIPE key=value ..."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..cache import keep_compiled
from ..config import Error
from . import distributed, recipe, run


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and write the checkpoint folder. 0: done, or stopped and saved; 1: it failed, with one line on stderr."""
    parser = argparse.ArgumentParser("python -m vitjax.train", description="Train a network as a recipe says.")
    parser.add_argument("recipe", help="a TOML file, or the name of a recipe in the package: digits")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="instead of what the recipe says")
    parser.add_argument("--overwrite", action="store_true", help="replace the checkpoint folder if it is there")
    parser.add_argument("--plan", metavar="SLICE", help="train nothing: compile for a TPU slice (v5e-256) and say what fits")
    parser.add_argument("--no-compilation-cache", action="store_true", help="compile anew; as JAX_ENABLE_COMPILATION_CACHE=0")
    args = parser.parse_intermixed_args(argv)  # options may stand anywhere
    try:
        what = recipe.read(args.recipe, args.overrides)
        if args.plan:
            from .plan import plan

            return plan(what, args.plan)
        if not args.no_compilation_cache:
            keep_compiled()
        distributed.initialise()
        result = run(what, args.overwrite)
    except Error as error:
        print(f"vitjax.train: {error}", file=sys.stderr)
        return 1
    if distributed.first():
        stopped = f"stopped after step {result.step}, which is saved: the same command goes on from there"
        print(f"{what.out}: {result.spec.name}" if result.finished else stopped)
    return 0


if __name__ == "__main__":
    sys.exit(main())
