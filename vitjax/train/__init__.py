"""Fine-tuning on one device or a pod: `python -m vitjax.train RECIPE key=value ...`, or `run(Recipe(...))`."""

from .loop import Result, run
from .recipe import Recipe

__all__ = ["Recipe", "Result", "run"]
