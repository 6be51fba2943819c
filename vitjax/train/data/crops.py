"""What a network sees of a picture in training: a random crop, decoded no larger than it is needed, RandAugmented."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from ...config import Preprocess, hw
from ...preprocess import Pixels, fit_image, header, open_image, read_bytes, to_rgb
from ..recipe import Recipe
from .examples import Example
from .randaugment import RandAugment, parse


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Look:
    """How a recipe looks at pictures."""

    how: Preprocess
    crop: tuple[float, float]
    ratio: tuple[float, float]
    augment: RandAugment | None

    def __call__(self, example: Example, rng: np.random.Generator) -> Pixels:
        """uint8 (H, W, 3), a pure function of the picture and the state of `rng`."""
        image = opened(example)
        if self.crop == (0, 0):
            seen = Image.fromarray(fit_image(to_rgb(image, example.name), self.how))
        else:
            seen = resized(image, box(image.size, self.crop, self.ratio, rng), self.how, example.name)
        if self.augment:
            red, green, blue = (min(255, round(255 * mean)) for mean in self.how.mean)
            seen = self.augment(seen, rng, (red, green, blue), _resample(self.how))
        return np.asarray(seen)


def look(recipe: Recipe, how: Preprocess) -> Look:
    """How a recipe looks at pictures; an Error if its words say nothing."""
    augment = parse(recipe.randaugment) if recipe.randaugment else None
    return Look(how, recipe.crop, recipe.ratio, augment)


def opened(example: Example) -> Image.Image:
    """An example's picture: of a file the header, not yet decoded."""
    match example.picture:
        case bytes(data):
            return header(data, example.name)
        case np.ndarray() | Image.Image() as picture:
            return open_image(picture)
        case path:
            return header(read_bytes(path), example.name or str(path))


def fitted(example: Example, how: Preprocess) -> Pixels:
    """The picture as in evaluation, bit for bit."""
    return fit_image(to_rgb(opened(example), example.name), how)


def box(size: tuple[int, int], share: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator) -> Box:
    """A random part of a picture of (width, height), as torchvision's RandomResizedCrop chooses it.

    Its area is a uniform share of the whole, its ratio log-uniform. What does not fit in ten times gives way to the largest
    part in the middle whose ratio is allowed.
    """
    width, height = size
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for large, wide, right, down in rng.random((10, 4)).tolist():  # all at once, which is quicker than one by one
        area = width * height * (share[0] + (share[1] - share[0]) * large)
        aspect = math.exp(low + (high - low) * wide)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return Box(int(right * (width - w + 1)), int(down * (height - h + 1)), w, h)
    w = min(width, max(1, round(height * ratio[1])))
    h = min(height, max(1, round(width / ratio[0])))
    return Box((width - w) // 2, (height - h) // 2, w, h)


def resized(image: Image.Image, part: Box, how: Preprocess, name: str) -> Image.Image:
    """A part of a picture at the network's size.

    A JPEG is decoded to an eighth, a quarter or half its size where the part is then still no smaller than that: its
    decoder leaves out frequencies, which is quicker, and nearly what resizing would have made of them.
    """
    (height, width), full = hw(how.size), image.size
    scale = next((s for s in (8, 4, 2) if part.width >= s * width and part.height >= s * height), 1)
    if scale > 1:
        image.draft(None, (full[0] // scale, full[1] // scale))
        scale = scale if image.size != full else 1  # only JPEG does it
    image = to_rgb(image, name)
    left, top, right, bottom = part.left, part.top, part.left + part.width, part.top + part.height
    if scale == 1:  # cropped first, as torchvision does: the filter then does not see what is beside
        return image.crop((left, top, right, bottom)).resize((width, height), _resample(how))
    part_of_it = left / scale, top / scale, right / scale, bottom / scale
    return image.resize((width, height), _resample(how), box=part_of_it)


def _resample(how: Preprocess) -> Image.Resampling:
    return Image.Resampling[how.resample.upper()]
