"""What the devices do to a batch: as preprocess and timm define it, the same on one device and on eight."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vitjax import mesh
from vitjax.config import Preprocess
from vitjax.preprocess import normalize
from vitjax.train.augment import ERASED, augment, cut_box, mixed, mixed_targets, mixture, normalized, pictures, smoothed
from vitjax.train.recipe import Recipe

HOW = Preprocess(size=(24, 32), mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711))
EVERYTHING = {
    "flip": 0.5,
    "rotate": 6.0,
    "zoom": 0.1,
    "shift": 0.1,
    "erase": 0.5,
    "mixup": 0.8,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
}
KEY = jax.random.key(0)


def recipe(**changes) -> Recipe:
    return Recipe("data", "model", "out", batch=16, steps=1, learning_rate=0.1, **{"flip": 0} | changes)


def batch(count=16):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 24, 32, 3), np.uint8), rng.integers(0, 10, count).astype(np.int32)


def test_normalised_as_on_the_host():
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, -1)
    np.testing.assert_array_equal(jax.jit(normalized, static_argnums=0)(HOW, values), normalize(values, HOW))


def test_nothing_is_done_unless_asked():
    images, labels = batch()
    x, y = jax.jit(augment, static_argnums=(0, 1, 5))(recipe(), HOW, KEY, images, labels, 10)
    np.testing.assert_array_equal(x, normalize(images, HOW))
    np.testing.assert_array_equal(y, np.eye(10, dtype=np.float32)[labels])


def test_the_same_on_one_device_and_on_eight():
    images, labels = batch()
    does = jax.jit(augment, static_argnums=(0, 1, 5))
    one = does(recipe(**EVERYTHING), HOW, KEY, images, labels, 10)
    place = NamedSharding(mesh.make(), PartitionSpec(mesh.DATA))
    eight = does(recipe(**EVERYTHING), HOW, KEY, *jax.device_put((images, labels), place), 10)
    for x, y in zip(one, eight, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)  # a product and a sum may be rounded once or twice
    assert not np.array_equal(does(recipe(**EVERYTHING), HOW, jax.random.key(1), images, labels, 10)[0], one[0])


def test_a_share_of_pictures_is_mirrored():
    images = np.random.default_rng(0).integers(0, 256, (400, 4, 6, 3), np.uint8)
    plain = normalize(images, HOW)
    for share, low, high in ((0.25, 0.18, 0.32), (1, 1, 1)):
        seen = np.asarray(jax.jit(pictures, static_argnums=(0, 1))(recipe(flip=share), HOW, KEY, images))
        mirrored = (seen == plain[:, :, ::-1]).all((1, 2, 3))
        assert low <= mirrored.mean() <= high and (mirrored != (seen == plain).all((1, 2, 3))).all()


def test_turned():
    images = np.repeat(batch(1)[0], 2, 0)
    moved = jax.jit(pictures, static_argnums=(0, 1))(recipe(shift=0.5), HOW, KEY, images)
    plain = normalize(images, HOW)
    assert not np.array_equal(moved[0], moved[1]) and moved.min() >= plain.min() - 1e-6 and moved.max() <= plain.max() + 1e-6


def test_a_share_of_pictures_is_erased_in_one_rectangle():
    images = np.zeros((400, 24, 32, 3), np.uint8)
    black = normalize(images[:1], HOW)
    erased = np.asarray(jax.jit(pictures, static_argnums=(0, 1))(recipe(erase=0.25), HOW, KEY, images)) != black
    assert (erased.all(-1) == erased.any(-1)).all()
    share = erased[..., 0].mean((1, 2))
    assert 0.18 < np.mean(share > 0) < 0.32
    assert ERASED[0] * 0.7 < share[share > 0].min() and share.max() < ERASED[1] * 1.1
    for mask in erased[share > 0][..., 0]:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(rows) * len(columns) == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    noise = np.asarray(jax.jit(pictures, static_argnums=(0, 1))(recipe(erase=0.99), HOW, KEY, images))[..., 0]
    noise = noise[noise != black[0, 0, 0, 0]]
    assert abs(noise.mean()) < 0.05 and abs(noise.std() - 1) < 0.05


@pytest.mark.parametrize(
    ("changes", "share"), [({"mixup": 0.8, "cutmix": 1.0}, 0.5), ({"mixup": 0.8}, 0), ({"cutmix": 1.0}, 1)], ids=str
)
def test_a_batch_is_mixed_or_cut(changes, share):
    keys = jax.random.split(KEY, 400)
    kept, box = jax.jit(jax.vmap(lambda key: mixture(recipe(**changes), key, 24, 32)))(keys)
    cuts = (box.bottom > box.top) & (box.right > box.left)
    assert abs(np.mean(cuts) - share) < 0.1
    assert kept.min() >= 0 and kept.max() <= 1 and box.top.min() >= 0 and box.bottom.max() <= 24 and box.right.max() <= 32


def test_what_is_left_of_a_picture_is_its_share_of_the_target():
    images, labels = batch(4)
    x, y = normalize(images, HOW), smoothed(jnp.asarray(labels), 10, 0.1)
    assert np.allclose(y.sum(1), 1) and np.isclose(y[0, labels[0]], 0.91)
    box, kept = cut_box(jnp.float32(0.6), jnp.array([2, 30]), 24, 32)
    inside = np.asarray(box.inside(24, 32))
    assert np.isclose(1 - inside.mean(), kept) and inside[2, 30]
    both = mixed(jnp.asarray(x), kept, box)
    np.testing.assert_array_equal(both, np.where(inside[None, ..., None], x[::-1], x))
    np.testing.assert_allclose(mixed_targets(y, kept), kept * y + (1 - kept) * y[::-1], rtol=1e-6)


def test_mixtures_are_spread_as_beta():
    keep = jax.jit(jax.vmap(lambda key: mixture(recipe(mixup=0.2), key, 8, 8)[0]))(jax.random.split(KEY, 4000))
    edges = np.asarray([0, 0.05, 0.5, 0.95, 1])
    drawn = np.random.default_rng(0).beta(0.2, 0.2, 400_000)
    np.testing.assert_allclose(*(np.histogram(x, edges)[0] / len(x) for x in (np.asarray(keep), drawn)), atol=0.03)


def test_contrastive_pictures_need_no_labels():
    does = partial(pictures, recipe(erase=0.5, loss="contrastive"), HOW)
    assert jax.eval_shape(does, KEY, batch()[0]).shape == (16, 24, 32, 3)
