"""Fine-tuning on one device or a pod: `python -m vitjax.train RECIPE key=value ...`, or `run(Recipe(...))`."""

from typing import TYPE_CHECKING

from .recipe import Recipe

if TYPE_CHECKING:  # for editors and type checkers, which do not run __getattr__
    from .loop import Result, run

__all__ = ["Recipe", "Result", "run"]


def __getattr__(name: str):
    if name not in ("Result", "run"):
        raise AttributeError(f"module 'vitjax.train' has no attribute {name!r}")
    from . import loop  # on first use: processes that only decode pictures import this package, too

    return getattr(loop, name)
