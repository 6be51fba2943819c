"""Training on one device: `python -m vitjax.train RECIPE key=value ...`, or `run(Recipe(...))`."""

from .loop import run
from .recipe import Recipe

__all__ = ["Recipe", "run"]
