"""RandAugment (Cubuk et al., arXiv:1909.13719) in timm's words: "rand-m9-mstd0.5-inc1". Pillow only.

The reference is timm 1.0.31, data/auto_augment.py: which operations there are, and what a magnitude means to each.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from ...config import Error

MOST = 10.0  # a magnitude is between 0 and this; `mmax` says otherwise


class Level(NamedTuple):
    """How strongly, and how, an operation is done."""

    share: float  # of what the operation can do at most: a magnitude over MOST
    sign: int  # -1 or 1: to which side
    fill: tuple[int, int, int]  # the colour beyond the edge
    resample: Image.Resampling


def _affine(image: Image.Image, level: Level, *matrix: int | float) -> Image.Image:
    """Each pixel from where the matrix says; (a, b, c, d, e, f): x from a x + b y + c, y from d x + e y + f."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=level.resample, fillcolor=level.fill)


def _brighter(image: Image.Image, level: Level) -> Image.Image:
    """The darker half of all values, each with the same added to it."""
    added = min(128, int(level.share * 110))
    return image.point([min(255, value + added) if value < 128 else value for value in range(256)] * 3)


def _posterized(image: Image.Image, bits: int) -> Image.Image:
    """The highest bits of every value; of none, black, which Pillow 13 no longer does."""
    return image.point([value & ~(2 ** (8 - bits) - 1) for value in range(256)] * 3)


def _enhanced(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> tuple[Operation, Operation]:
    """By a factor of 0.1 to 1.9, that rises with the magnitude; or, growing, one ever further from 1, to either side."""

    def rising(image: Image.Image, level: Level) -> Image.Image:
        return kind(image).enhance(level.share * 1.8 + 0.1)

    def growing(image: Image.Image, level: Level) -> Image.Image:
        return kind(image).enhance(max(0.1, 1.0 + level.sign * (level.share * 0.9)))

    return rising, growing


Operation = Callable[[Image.Image, Level], Image.Image]

# The first of a pair is the original, of which some do less at a higher magnitude; the second (inc1) does more.
OPERATIONS: dict[str, Operation | tuple[Operation, Operation]] = {
    "AutoContrast": lambda image, _: ImageOps.autocontrast(image),
    "Equalize": lambda image, _: ImageOps.equalize(image),
    "Invert": lambda image, _: ImageOps.invert(image),
    "Rotate": lambda image, level: image.rotate(level.sign * (level.share * 30), resample=level.resample, fillcolor=level.fill),
    "Posterize": (
        lambda image, level: _posterized(image, int(level.share * 4)),
        lambda image, level: _posterized(image, 4 - int(level.share * 4)),
    ),
    "Solarize": (
        lambda image, level: ImageOps.solarize(image, min(256, int(level.share * 256))),
        lambda image, level: ImageOps.solarize(image, 256 - min(256, int(level.share * 256))),
    ),
    "SolarizeAdd": _brighter,
    "Color": _enhanced(ImageEnhance.Color),
    "Contrast": _enhanced(ImageEnhance.Contrast),
    "Brightness": _enhanced(ImageEnhance.Brightness),
    "Sharpness": _enhanced(ImageEnhance.Sharpness),
    "ShearX": lambda image, level: _affine(image, level, 1, level.sign * (level.share * 0.3), 0, 0, 1, 0),
    "ShearY": lambda image, level: _affine(image, level, 1, 0, 0, level.sign * (level.share * 0.3), 1, 0),
    "TranslateXRel": lambda image, level: _affine(image, level, 1, 0, level.sign * (level.share * 0.45) * image.width, 0, 1, 0),
    "TranslateYRel": lambda image, level: _affine(image, level, 1, 0, 0, 0, 1, level.sign * (level.share * 0.45) * image.height),
}


@dataclass(frozen=True)
class RandAugment:
    """Some operations, chosen for each picture anew, and each with a magnitude of its own."""

    magnitude: float = MOST
    deviation: float = 0.0  # of the magnitude, normally distributed; above 100 it is uniform from 0 to `magnitude`
    count: int = 2  # operations that are chosen for a picture; one may be chosen twice
    probability: float = 0.5  # with which a chosen one is done
    increasing: bool = False
    most: float = MOST  # of the magnitude, whatever is drawn

    def __call__(
        self, image: Image.Image, rng: np.random.Generator, fill: tuple[int, int, int], resample: Image.Resampling
    ) -> Image.Image:
        for number in rng.integers(len(OPERATIONS), size=self.count):
            done, drawn, side = rng.random(), rng.standard_normal(), rng.random()
            if done >= self.probability:
                continue
            if self.deviation > 100:
                magnitude = self.magnitude * rng.random()
            else:
                magnitude = self.magnitude + self.deviation * drawn
            share = max(0.0, min(magnitude, self.most)) / MOST
            name = list(OPERATIONS)[number]
            image = operation(name, self.increasing)(image, Level(share, -1 if side < 0.5 else 1, fill, resample))
        return image


def operation(name: str, increasing: bool) -> Operation:
    """What an operation does to an RGB picture."""
    found = OPERATIONS[name]
    return found[increasing] if isinstance(found, tuple) else found


WORDS = {"m": "magnitude", "mstd": "deviation", "n": "count", "p": "probability", "inc": "increasing", "mmax": "most"}


def parse(words: str) -> RandAugment:
    """What timm's words say."""
    kind, *rest = words.split("-")
    if kind != "rand":
        raise Error(f"randaugment = {words!r} must begin with rand, as in rand-m9-mstd0.5-inc1")
    values: dict[str, float | int | bool] = {}
    for word in rest:
        found = re.fullmatch(r"([a-z]+)(\d+(?:\.\d+)?)", word)
        if not found or found[1] not in WORDS:
            known = ", ".join(WORDS)
            raise Error(f"randaugment = {words!r}: {word!r} is none of {known} and a number; write rand-m9-mstd0.5-inc1")
        name, number = WORDS[found[1]], float(found[2])
        values[name] = {"count": int, "increasing": bool}.get(name, float)(number)
    return RandAugment(**values)  # pyright: ignore[reportArgumentType]
