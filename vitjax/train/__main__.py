"""python -m vitjax.train RECIPE key=value ..."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from .. import checkpoint
from ..config import Error
from . import recipe, run


def main(argv: Sequence[str] | None = None) -> int:
    """Train, and write the checkpoint folder. 0: done; 1: it failed, with one line on stderr."""
    parser = argparse.ArgumentParser("python -m vitjax.train", description="Train a network as a recipe says.")
    parser.add_argument("recipe", help="a TOML file, or the name of a recipe in the package: digits")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="instead of what the recipe says")
    parser.add_argument("--overwrite", action="store_true", help="replace the checkpoint folder if it is there")
    args = parser.parse_args(argv)
    start = time.perf_counter()

    def report(step: int, loss: float, accuracy: float) -> None:
        seconds = time.perf_counter() - start
        print(f"step {step:6}  loss {loss:.4f}  held-out accuracy {accuracy:.2%}  {seconds:.0f} s", flush=True)

    try:
        what = recipe.read(args.recipe, args.overrides)
        checkpoint.check_free(what.out, args.overwrite)
        model = run(what, report)
        checkpoint.save(what.out, model.spec, model.params, args.overwrite)
    except Error as error:
        print(f"vitjax.train: {error}", file=sys.stderr)
        return 1
    print(f"{what.out}: {model.spec.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
