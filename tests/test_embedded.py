"""The model in the package: small, honest about itself, and right about digits it has not seen."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitjax
from vitjax.cache import EMBEDDED
from vitjax.train.data import digits
from vitjax.train.recipe import read
from vitjax.variants import spec

NAME = "vit_pico_patch4_32.digits"
PICTURES = sorted((EMBEDDED / "digits").glob("*.png"))


@pytest.fixture(scope="module")
def model():
    return vitjax.load(NAME)


@pytest.fixture(scope="module")
def held_out():
    return digits().held_out


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_small():
    assert size(EMBEDDED / NAME) + size(EMBEDDED / "digits") <= 2**20 and size(EMBEDDED / "digits") < 10_000


def test_spec(model):
    row, recipe = spec(NAME), read("digits")
    assert (model.spec.name, model.config, model.spec.preprocess) == (NAME, row.config, row.preprocess)
    assert model.spec.labels == row.labels == tuple("0123456789")
    assert (recipe.model, recipe.licence) == ("vit_pico_patch4_32", model.spec.source.licence)
    assert model.spec.source.licence == row.source.licence == "Apache-2.0"
    assert model.spec.source.reference == "vitjax" and digits().origin in model.spec.source.origin


def test_architecture_alone_is_this_model(model):
    assert vitjax.load("vit_pico_patch4_32").spec == model.spec


def test_nothing_in_it_names_the_machine_that_trained_it():
    for file in (EMBEDDED / NAME).rglob("*"):
        assert not file.is_file() or not any(word in file.read_bytes() for word in (b"/home/", b"/tmp/", b"/root/", b"file://"))


def test_held_out_accuracy(model, held_out):
    named = np.argmax(model(model.preprocess(held_out.pictures)), -1)
    assert np.mean(named == held_out.labels) >= 0.97


def test_pictures_are_held_out_ones_and_named_rightly(model, held_out):
    """Each is the last of its class in the held-out part."""
    assert [path.stem for path in PICTURES] == list(model.spec.labels)
    for path, ranking in zip(PICTURES, model.classify(PICTURES, top=3), strict=True):
        number = np.flatnonzero(held_out.labels == int(path.stem))[-1]
        assert np.array_equal(np.asarray(Image.open(path)), held_out.pictures[number])
        assert ranking[0][0] == path.stem
