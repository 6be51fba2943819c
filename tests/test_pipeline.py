"""Batches are the same whoever makes them and wherever a run goes on; what cannot be read is named, and too much of it stops."""

import json
import multiprocessing
import re
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from tests.test_train_data import HOW, SPEC, broken, picture, recipe
from vitjax.config import Error, hw
from vitjax.preprocess import fit_image, open_image
from vitjax.train.data import dataset, pipeline
from vitjax.train.data.batches import Batch, Damage
from vitjax.train.data.crops import Box, box, resized
from vitjax.train.data.examples import Arrays
from vitjax.train.data.pipeline import evaluation, order, training
from vitjax.train.data.randaugment import OPERATIONS, parse

RECIPE = recipe(randaugment="rand-m9-mstd0.5-inc1", seed=3, batch=20)  # more than a piece


@pytest.fixture(scope="module")
def source():
    """50 pictures in memory: an epoch is two batches, and ten wait."""
    return Arrays([np.asarray(picture(i)) for i in range(50)], np.arange(50) % 2)


@pytest.fixture(scope="module")
def straight(source):
    """The first five steps, by one process and its threads."""
    return some(RECIPE, source, 5)


def some(recipe, source, count, first=0, rows=None):
    batches = training(recipe, SPEC, source, first, np.arange(recipe.batch) if rows is None else rows)
    try:
        return list(islice(batches, count))
    finally:
        batches.close()


def assert_same(batches, others):
    for one, other in zip(batches, others, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.label, other.label)


def rows_of(batch, rows):
    return batch._replace(image=batch.image[rows], label=batch.label[rows])


def test_a_batch_is_bytes_with_labels(straight):
    for batch in straight:
        assert batch.image.shape == (20, *hw(HOW.size), 3) and batch.image.dtype == np.uint8
        assert batch.label.dtype == np.int32 and (batch.weight == 1).all() and batch.text is None and batch.bad == ()
    assert not np.array_equal(straight[0].image, straight[2].image)


@pytest.mark.parametrize("processes", [2, 4])
def test_however_many_processes(source, straight, processes):
    for process in range(processes):
        rows = np.arange(20)[process::processes] if process % 2 else np.arange(20 // processes) + 20 // processes * process
        assert_same([rows_of(batch, rows) for batch in straight], some(RECIPE, source, 5, rows=rows))


@pytest.mark.parametrize(("workers", "shared"), [(2, pipeline.SHARED), (1, 1)])
def test_however_many_workers(source, straight, workers, shared, monkeypatch):
    monkeypatch.setattr(pipeline, "SHARED", shared)
    assert_same(straight, some(replace(RECIPE, workers=workers), source, 5))


def test_what_a_worker_cannot_do_is_an_error_here():
    nothing = Arrays([np.zeros((0, 0, 3), np.uint8)] * 20, np.zeros(20, int))
    with pytest.raises(Error, match="20 pictures in a row cannot be read, the first one because a picture cannot be an array"):
        some(replace(RECIPE, workers=1), nothing, 1)


def test_a_worker_that_is_killed_is_an_error_here(source):
    batches = training(replace(RECIPE, workers=1), SPEC, source, 0, np.arange(20))
    next(batches)
    (worker,) = multiprocessing.active_children()
    worker.kill()
    with pytest.raises(Error, match=r"a worker that decodes pictures is gone: .* set fewer workers"):
        list(batches)


def test_wherever_it_goes_on(source, straight):
    assert_same(straight[3:], some(RECIPE, source, 2, first=3))
    assert_same(some(RECIPE, source, 1, first=10**9), some(RECIPE, source, 1, first=10**9))
    assert not np.array_equal(some(replace(RECIPE, seed=4), source, 1)[0].image, straight[0].image)


def test_every_epoch_sees_each_example_once():
    few = recipe(batch=16)
    first, second = (np.concatenate([order(few, step, 80) for step in range(i, i + 5)]) for i in (0, 5))
    assert sorted(first) == sorted(second) == list(range(80)) and list(first) != list(second)
    assert np.array_equal(order(few, 6, 80), second[16:32])
    assert np.array_equal(order(few, 0, 80), np.random.default_rng((few.seed, 0)).permutation(80)[:16])
    with pytest.raises(Error, match="batch 16 is more than the 15 pictures"):
        training(few, SPEC, Arrays([np.zeros((2, 2, 3), np.uint8)] * 15, np.zeros(15, int)), 0, np.arange(16))


def test_evaluation_is_preprocess_once_and_in_order(source):
    few = Arrays(source.pictures[:27], source.labels[:27])
    parts = [list(evaluation(RECIPE, SPEC, few, rows)) for rows in (np.arange(12), np.arange(12, 20))]
    assert [len(part) for part in parts] == [2, 2]
    image, label, weight = (
        np.concatenate([np.concatenate([getattr(part[step], name) for part in parts]) for step in range(2)])
        for name in ("image", "label", "weight")
    )
    assert weight.tolist() == [1] * 27 + [0] * 13 and label[:27].tolist() == few.labels.tolist()
    for seen, array in zip(image, few.pictures, strict=False):
        np.testing.assert_array_equal(seen, fit_image(open_image(array), HOW))


def test_nothing_is_cropped_if_the_recipe_says_so(source):
    plain = recipe(crop=(0.0, 0.0), batch=50)
    batch = some(plain, source, 1)[0]
    for row, number in enumerate(order(plain, 0, 50)):
        np.testing.assert_array_equal(batch.image[row], fit_image(open_image(source.pictures[number]), HOW))


def test_unreadable_pictures_are_named_and_replaced(tmp_path):
    source = dataset(recipe(broken(tmp_path))).train  # cut, empty, fine, good, text
    batch = some(recipe(batch=5, crop=(0.0, 0.0)), source, 1)[0]
    names = {str(tmp_path / "a" / f"{name}.jpg") for name in ("cut", "empty", "text")}
    assert set(batch.bad) == names
    fine = [fit_image(open_image(source[i].picture), HOW) for i in (2, 3)]
    stands_in = [0, 0, 0, 1, 0]  # for the last of all the first readable one
    for row, number in enumerate(order(recipe(batch=5), 0, 5)):
        np.testing.assert_array_equal(batch.image[row], fine[stands_in[number]])
    (shown,) = evaluation(recipe(batch=8), SPEC, source, np.arange(8))
    assert shown.weight.tolist() == [0, 0, 1, 1, 0, 0, 0, 0] and set(shown.bad) == names
    for name in ("fine", "good"):
        (tmp_path / "a" / f"{name}.jpg").write_bytes(b"")
    with pytest.raises(Error, match=r"5 pictures in a row cannot be read, the first one because .*has 0 bytes"):
        some(recipe(batch=5), source, 1)


def seen(count, *bad):
    return Batch(np.zeros((count, 1, 1, 3), np.uint8), np.zeros(count, np.int32), None, np.ones(count, np.float32), bad)


def test_a_hundredth_of_all_pictures_may_be_unreadable():
    damage = Damage(1000)
    for number in range(30):  # three epochs, of ten bad pictures in a thousand
        damage.add(seen(100, f"{number % 10}.jpg"))
    assert (damage.seen, len(damage.names)) == (3000, 10)
    again = Damage.restored(json.loads(json.dumps(damage.noted())))
    assert again == damage
    with pytest.raises(Error, match=r"11 pictures of 1000 cannot be read, more than 1%: 0.jpg, 1.jpg, .*9.jpg; fetch"):
        again.add(seen(1, "another.jpg"))
    Damage().add(seen(32, "one.jpg", "two.jpg"))  # may be chance
    with pytest.raises(Error, match="8 pictures of 32"):
        Damage().add(seen(32, *(f"{i}.jpg" for i in range(8))))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_decoding_at_a_smaller_size_hardly_shows(scale, tmp_path):
    height, width = hw(HOW.size)
    large = picture(0, 2 * width * scale, 2 * height * scale)
    large.save(tmp_path / "large.jpg", quality=95)
    part = Box(8, 16, width * scale + 3, height * scale + 5)
    with Image.open(tmp_path / "large.jpg") as file:
        quick = np.asarray(resized(file, part, HOW, "it"), np.float32)
        assert file.size == (2 * width, 2 * height)
    exact = np.asarray(resized(Image.open(tmp_path / "large.jpg").convert("RGB"), part, HOW, "it"), np.float32)
    assert np.abs(quick - exact).mean() < 2 and np.abs(quick - exact).max() < 24


def test_random_crops_are_within_the_picture():
    for size in ((40, 30), (1, 1), (500, 3), (3, 500)):
        for seed in range(50):
            found = box(size, (0.08, 1.0), (0.75, 4 / 3), np.random.default_rng(seed))
            assert min(found.left, found.top) >= 0 and min(found.width, found.height) >= 1
            assert found.left + found.width <= size[0] and found.top + found.height <= size[1]


@pytest.mark.parametrize("words", ["m9", "rand-x3", "rand-m", "rand-m9-t3", "rand_m9"])
def test_unknown_words(words):
    with pytest.raises(Error, match=re.escape("rand-m9-mstd0.5-inc1")):
        parse(words)


def test_randaugment_does_what_it_says():
    image, done = picture(0), parse("rand-m9-n3-p1-mstd0.5-inc1")
    assert (done.magnitude, done.count, done.probability, done.deviation, done.increasing) == (9, 3, 1, 0.5, True)
    fill, resample = (124, 116, 104), Image.Resampling.BICUBIC
    results = [np.asarray(done(image, np.random.default_rng(i), fill, resample)) for i in (0, 0, 1)]
    assert np.array_equal(results[0], results[1]) and not np.array_equal(results[0], results[2])
    assert np.array_equal(np.asarray(parse("rand-p0")(image, np.random.default_rng(0), fill, resample)), np.asarray(image))
    assert len(OPERATIONS) == 15
