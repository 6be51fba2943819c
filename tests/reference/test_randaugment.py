"""What is seen in training against timm and torchvision, live: RandAugment and crops on the host, mixtures on the device."""

import random

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.auto_augment import _RAND_INCREASING_TRANSFORMS, _RAND_TRANSFORMS, AugmentOp, rand_augment_transform
from timm.data.mixup import Mixup, cutmix_bbox_and_lam, mixup_target
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import InterpolationMode, resized_crop

from tests.test_preprocess import photograph
from vitjax.config import Preprocess
from vitjax.train import augment
from vitjax.train.data.crops import Box, box, resized
from vitjax.train.data.randaugment import OPERATIONS, Level, operation, parse

FILL = (124, 116, 104)
BLACK = "PosterizeIncreasing"  # keeps no bits at magnitude 10, which Pillow 13 refuses in timm's words


@pytest.mark.parametrize("resample", [Image.Resampling.BICUBIC, Image.Resampling.BILINEAR], ids=lambda r: r.name)
@pytest.mark.parametrize("increasing", [False, True])
@pytest.mark.parametrize("number", range(len(OPERATIONS)))
def test_an_operation_at_every_level(number, increasing, resample, monkeypatch):
    theirs, ours = (_RAND_INCREASING_TRANSFORMS if increasing else _RAND_TRANSFORMS)[number], list(OPERATIONS)[number]
    assert theirs.removesuffix("Increasing") == ours
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)).resize((112, 80))
    for magnitude in (*range(11), 0.5, 3.3, 8.7, 9.9):
        for sign in (-1, 1):
            monkeypatch.setattr(random, "random", lambda sign=sign: 0.75 if sign < 0 else 0.25)
            op = AugmentOp(theirs, prob=1.0, magnitude=magnitude, hparams={"img_mean": FILL, "interpolation": resample})
            seen = operation(ours, increasing)(image, Level(magnitude / 10, sign, FILL, resample))
            if (theirs == BLACK and magnitude == 10) or (theirs == "Posterize" and magnitude < 2.5):
                assert not np.asarray(seen).any()
            else:
                np.testing.assert_array_equal(np.asarray(seen), np.asarray(op(image)), f"{magnitude} {sign}")


@pytest.mark.parametrize("words", ["rand-m9-mstd0.5-inc1", "rand-m7-n3-p1-mmax20", "rand-mstd101", "rand"])
def test_words(words):
    theirs, ours = rand_augment_transform(words, {"img_mean": FILL}), parse(words)
    op = theirs.ops[4]
    assert (op.magnitude, op.prob, theirs.num_layers) == (ours.magnitude, ours.probability, ours.count)
    assert op.name == "Posterize" + "Increasing" * ours.increasing
    assert op.magnitude_std == (ours.deviation if ours.deviation <= 100 else float("inf"))
    assert (op.magnitude_max or 10) == ours.most


@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
def test_a_crop_has_torchvisions_pixels(resample):
    image = Image.open(photograph("china.jpg")).convert("RGB").resize((90, 70))
    for part in Box(0, 0, 90, 70), Box(13, 7, 40, 50), Box(80, 60, 10, 10):
        expected = resized_crop(image, part.top, part.left, part.height, part.width, [24, 32], InterpolationMode(resample))
        seen = resized(image.copy(), part, Preprocess(size=(24, 32), resample=resample), "it")
        np.testing.assert_array_equal(np.asarray(seen), np.asarray(expected))


@pytest.mark.parametrize("size", [(500, 375), (300, 1000), (900, 100)])
def test_crops_are_chosen_as_torchvision_does(size):
    image, share, ratio = Image.new("L", size), (0.08, 1.0), (3 / 4, 4 / 3)
    torch.manual_seed(0)
    theirs = np.array([RandomResizedCrop.get_params(image, list(share), list(ratio)) for _ in range(3000)])
    ours = np.array([box(size, share, ratio, np.random.default_rng(i)) for i in range(3000)])[:, [1, 0, 3, 2]]
    for quantile in (0.1, 0.5, 0.9):
        np.testing.assert_allclose(*(np.quantile(x, quantile, 0) for x in (ours, theirs)), atol=0.04 * max(size))


def test_mixtures_are_timms():
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((6, 20, 28, 3), np.float32), rng.integers(0, 5, 6)
    y = augment.smoothed(jnp.asarray(labels, jnp.int32), 5, 0.1)
    for seed in range(12):
        mixup = Mixup(0.8, 1.0 if seed % 2 else 0.0, switch_prob=1.0, label_smoothing=0.1, num_classes=5)
        np.random.seed(seed)
        theirs, targets = mixup(torch.tensor(x.transpose(0, 3, 1, 2)), torch.tensor(labels))
        np.random.seed(seed)  # the same numbers again
        keep, cuts = mixup._params_per_batch()
        found = augment.Box(*jnp.zeros(4, jnp.int32))
        if cuts:
            (top, bottom, left, right), kept = cutmix_bbox_and_lam((6, 3, 20, 28), keep)
            np.random.seed(seed)
            mixup._params_per_batch()
            centre = np.array([np.random.randint(20), np.random.randint(28)], np.int32)
            found, left_over = augment.cut_box(jnp.float32(keep), jnp.asarray(centre), 20, 28)
            assert [*map(int, found)] == [top, bottom, left, right] and np.isclose(left_over, kept)
            keep = kept
        ours = augment.mixed(jnp.asarray(x), jnp.float32(keep), found)
        np.testing.assert_allclose(np.asarray(ours).transpose(0, 3, 1, 2), theirs.numpy(), atol=1e-6)
        np.testing.assert_allclose(augment.mixed_targets(y, jnp.float32(keep)), targets.numpy(), atol=1e-6)
    np.testing.assert_allclose(y, mixup_target(torch.tensor(labels), 5, smoothing=0.1).numpy(), atol=1e-7)
