"""What is trained on what, and how: a TOML file onto a frozen Recipe, `key=value` on the command line above the file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

from ..config import Error, check_types, decode, unknown

RECIPES = Path(__file__).parent  # those that travel in the package


@dataclass(frozen=True)
class Recipe:
    """The keys of a recipe file. Two runs of one recipe, on one machine with the same libraries, give the same bits."""

    data: str  # a row of data.DATASETS
    model: str  # an architecture, trained from random parameters
    out: str  # the checkpoint folder that is written
    _: KW_ONLY
    seed: int = 0  # of the parameters, the order, the augmentation and drop path
    steps: int
    batch: int
    learning_rate: float  # at the end of the warm-up; from there a cosine goes to zero
    warmup: int = 0  # steps in which the learning rate rises from zero
    weight_decay: float = 0.0  # of the kernels only
    label_smoothing: float = 0.0
    drop_path: float = 0.0  # rate of the last block (ViTConfig.drop_path)
    rotate: float = 0.0  # augmentation: at most so many degrees, either way
    zoom: float = 0.0  # at most by this share, in or out
    shift: float = 0.0  # at most by this share of each side
    report: int = 100  # steps between two lines about how it goes
    licence: str = ""  # of the resulting weights

    def __post_init__(self) -> None:
        check_types(self)
        if min(self.steps, self.batch, self.report) < 1 or not self.learning_rate > 0 or not 0 <= self.warmup < self.steps:
            raise Error("steps, batch, report and learning_rate must be positive, and warmup shorter than steps")
        if min(self.seed, self.weight_decay, self.rotate, self.zoom, self.shift) < 0 or max(self.zoom, self.shift) >= 1:
            raise Error("seed, weight_decay, rotate, zoom and shift must not be negative, and zoom and shift are below 1")
        if not 0 <= self.label_smoothing < 1:
            raise Error("label_smoothing must be in [0, 1)")


def read(name: str, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe of a TOML file, or of a name in the package, with `key=value` overrides."""
    path = Path(name)
    if not path.is_file():
        packaged = {file.stem: file for file in RECIPES.glob("*.toml")}
        if name not in packaged:
            raise Error(f"{unknown('recipe', name, packaged)}; give one of {', '.join(packaged)} or a TOML file")
        path = packaged[name]
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Error(f"{path} is not a recipe: {error}") from error
    return decode(Recipe, data | dict(map(_override, overrides)), str(path))


def _override(text: str) -> tuple[str, Any]:
    """("steps", 10) of "steps=10". The value is as in TOML, where quotes around a string may be left out."""
    key, equals, value = text.partition("=")
    if not equals:
        raise Error(f"{text!r} is not an override; write key=value")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value
