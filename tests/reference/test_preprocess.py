"""Our pictures against timm's, live: bit for bit, before and after normalisation."""

import random

import numpy as np
import pytest
from PIL import Image

from tests.reference.make_preprocess import FIXTURE, make, transformed
from tests.test_preprocess import CLIP, CLIP_STD, HALF, photograph
from vitjax.config import Error, Preprocess
from vitjax.preprocess import fit_image, normalize, open_image

PHOTOGRAPHS = [
    *("china.jpg", "flower.jpg"),
    *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png", "coins.png", "color.png"),
    *("grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "logo.png", "microaneurysms.png"),
    *("moon.png", "motorcycle_left.png", "no_time_for_that_tiny.gif", "page.png", "retina.jpg", "rocket.jpg", "text.png"),
]


def any_how(rng: random.Random) -> Preprocess:
    side = lambda: rng.randint(1, 64)  # noqa: E731
    mean, std = rng.choice([(HALF, HALF), (CLIP, CLIP_STD), (Preprocess.mean, Preprocess.std)])
    return Preprocess(
        size=rng.choice([side(), (side(), side()), 224]),
        crop=rng.choice([0.875, 0.9, 0.95, 1.0, rng.uniform(0.3, 1.0)]),
        fit=rng.choice(["crop", "squash", "border"]),
        resample=rng.choice(["bicubic", "bilinear"]),
        mean=mean,
        std=std,
    )


def check(image: Image.Image, how: Preprocess) -> None:
    pixels = fit_image(open_image(image), how)
    np.testing.assert_array_equal(pixels, transformed(image, how, normalize=False), f"{image.size} {how}")
    np.testing.assert_array_equal(normalize(pixels, how), transformed(image, how, normalize=True), f"{image.size} {how}")


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs(name):
    rng = random.Random(name)
    with Image.open(photograph(name)) as file:
        image = file.convert("RGB")
    assert open_image(photograph(name)) == image
    for _ in range(12):
        check(image, any_how(rng))
        left, top = rng.randrange(image.width), rng.randrange(image.height)
        box = left, top, rng.randint(left + 1, image.width), rng.randint(top + 1, image.height)
        piece = image.crop(box)
        how = any_how(rng)
        try:
            check(piece, how)
        except Error:  # too narrow for us; where the reference would need a side of 0 pixels, for it too
            assert max(piece.size) / min(piece.size) > 30


def test_small_pictures():
    rng = random.Random(0)
    for _ in range(3000):
        size = rng.randint(1, 20), rng.randint(1, 20)
        image = Image.frombytes("RGB", size, rng.randbytes(3 * size[0] * size[1]))
        how = any_how(rng)
        try:
            check(image, how)
        except Error:
            with pytest.raises(ValueError, match="must be > 0"):
                transformed(image, how, normalize=False)


def test_the_fixture_is_what_timm_makes():
    fresh = make()
    with np.load(FIXTURE) as fixture:
        assert sorted(fixture) == sorted(fresh)
        for key, array in fresh.items():
            np.testing.assert_array_equal(fixture[key], array, key)
