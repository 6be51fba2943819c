"""A recipe is read strictly, training is a pure function of it, and what comes out is an ordinary checkpoint folder."""

import contextlib
import functools
import io
import re
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import vitjax
from vitjax.model import abstract
from vitjax.train import Recipe, loop, run
from vitjax.train.__main__ import main
from vitjax.train.augment import augment
from vitjax.train.data import DATASETS, Dataset, Part, digits
from vitjax.train.loop import accuracy, decayed, order
from vitjax.train.recipe import read
from vitjax.variants import VARIANTS

OVERRIDES = ["data=few", "steps=12", "batch=16", "warmup=0", "report=1", "drop_path=0.1"]


def few() -> Dataset:
    """A data set is a row: the digits, but few."""
    data = digits()
    train, held_out = (Part(part.pictures[:32], part.classes[:32]) for part in (data.train, data.held_out))
    return replace(data, train=train, held_out=held_out)


@pytest.fixture(scope="module", autouse=True)
def conditions():
    """Few data, one initialisation a seed, and no strict promotion: optax divides by its own step count, which that refuses."""
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.setitem(DATASETS, "few", few)
        patch.setattr(loop, "create", functools.cache(loop.create))
        yield


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return read("digits", [*OVERRIDES, f"out={tmp_path_factory.mktemp('train') / 'run'}"])


@pytest.fixture(scope="module")
def printed(recipe):
    """What the command prints; it leaves recipe.out behind."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["digits", *OVERRIDES, f"out={recipe.out}"]) == 0
    return out.getvalue()


def test_loss_falls(recipe, printed):
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", printed)]
    assert len(losses) == recipe.steps and np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.02


def test_same_recipe_gives_the_same_bits_and_another_seed_does_not(recipe, printed):
    def same(one, other):
        return jax.tree.all(jax.tree.map(np.array_equal, one.params, other.params))

    saved = vitjax.load(recipe.out)
    assert same(saved, run(recipe))
    assert not same(saved, run(replace(recipe, seed=1)))


def test_folder_is_an_ordinary_checkpoint(recipe, printed, capsys):
    model = vitjax.load(recipe.out)
    assert model.spec.name == "vit_pico_patch4_32.few" and model.spec.labels == tuple("0123456789")
    assert model.config == VARIANTS[recipe.model]  # drop path belonged to the training
    assert f"held-out accuracy {accuracy(model, few().held_out):.2%}" in printed.splitlines()[-2]
    assert main(["digits", *OVERRIDES, f"out={recipe.out}"]) == 1
    assert capsys.readouterr().err.startswith(f"vitjax.train: {recipe.out} exists already")


def test_command_refuses_a_value_of_the_wrong_type():  # in a process of its own, where no test checks types before us
    done = subprocess.run([sys.executable, "-m", "vitjax.train", "digits", "steps=many"], capture_output=True, text=True)
    assert done.returncode == 1 and "Recipe.steps must be int, not 'many'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learning_rat=1", "unknown field 'learning_rat'; the closest are: learning_rate"),
        ("learning_rate=-1.0", "must be positive"),
        ("warmup=1800", "warmup shorter than steps"),
        ("shift=1.0", "below 1"),
        ("label_smoothing=1.0", r"in \[0, 1\)"),
        ("steps", "write key=value"),
    ],
)
def test_recipe_refused(override, message):
    with pytest.raises(vitjax.Error, match=message):
        read("digits", [override])


def test_recipe_files(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text('data = "digits"\nmodel = "vit_pico_patch4_32"\nout = "x"\nsteps = 5\nbatch = 2\nlearning_rate = 0.1\n')
    assert read(str(file), ["out=runs/a b", "batch=3"]) == Recipe(
        "digits", "vit_pico_patch4_32", "runs/a b", steps=5, batch=3, learning_rate=0.1
    )
    for text, message in [("steps = 5", "does not say data, model, out, batch, learning_rate"), ("steps", "is not a recipe")]:
        file.write_text(text)
        with pytest.raises(vitjax.Error, match=message):
            read(str(file))
    with pytest.raises(vitjax.Error, match="unknown recipe 'digit'; the closest are: digits"):
        read("digit")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"data": "digit"}, "unknown data set 'digit'; the closest are: digits"),
        ({"model": "vit_pico"}, "vit_pico_patch4_32"),
        ({"batch": 50}, "batch 50 is more than the 32 pictures"),
    ],
)
def test_run_refused(recipe, override, message):
    with pytest.raises(vitjax.Error, match=message):
        run(replace(recipe, **override))


def test_diverged_is_said(recipe, monkeypatch):
    monkeypatch.setattr(loop, "update", lambda recipe, module, state, *batch: (state, np.float32("nan")))
    with pytest.raises(vitjax.Error, match="loss is nan at step 1: try a lower learning_rate"):
        run(recipe)


def test_every_epoch_sees_each_example_once(recipe):
    first, second = (np.concatenate([order(recipe, step, 80) for step in range(i, i + 5)]) for i in (0, 5))
    assert sorted(first) == sorted(second) == list(range(80)) and list(first) != list(second)
    assert np.array_equal(order(recipe, 6, 80), second[16:32])


def test_only_kernels_decay():
    """In a network with registers, layer scale and attention pooling, whose leaves the name alone must tell apart."""
    decays = flatten_dict(decayed(abstract(replace(VARIANTS["test_vit3"], layer_scale=1.0))), sep="/")
    assert {"positions", "registers", "pool/probe", "blocks/scale1", "blocks/norm1/scale", "head/bias"} <= set(decays)
    assert all(decay == path.endswith("/kernel") for path, decay in decays.items())


def test_augment(recipe):
    still = replace(recipe, rotate=0.0, zoom=0.0, shift=0.0)
    images = np.random.default_rng(0).random((3, 6, 8, 3), np.float32)
    transform, key = jax.jit(augment, static_argnums=0), jax.random.key(0)
    np.testing.assert_allclose(transform(still, key, images), images, atol=1e-6)
    moved = transform(replace(still, shift=0.5), key, images[[0, 0]])
    assert not np.array_equal(moved[0], moved[1]) and moved.min() >= images.min() and moved.max() <= images.max()


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(vitjax.Error, match="pip install scikit-learn"):
        digits()


def test_split():
    data = digits()
    assert len(data.train.classes) == 1433 and np.bincount(data.held_out.classes).min() >= 35
    assert len(data.train.pictures) + len(data.held_out.pictures) == 1797
    assert max(picture.max() for picture in data.train.pictures) == 255
