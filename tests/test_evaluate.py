"""Metrics against scikit-learn and numpy, written anew here: over batches, sharded, padded, degenerate."""

from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from sklearn.metrics import log_loss, top_k_accuracy_score

import vitjax
from vitjax.train.evaluate import Sums, goodness, retrieval, scores, summary

RANDOM = np.random.default_rng(0)
measure = jax.jit(scores)


def sample(count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    labels = RANDOM.integers(0, classes, count).astype(np.int32)
    logits = RANDOM.normal(size=(count, classes)).astype(np.float32) * 2
    logits[np.arange(count), labels] += 2
    return logits, labels


def calibration(logits: np.ndarray, labels: np.ndarray) -> float:
    """Guo et al., equation 3, one bin after the other."""
    odds = np.exp(logits.astype(np.float64))
    odds /= odds.sum(-1, keepdims=True)
    named, sure = odds.argmax(-1), odds.max(-1)
    error = 0.0
    for low, high in zip(np.linspace(0, 1, 16)[:-1], np.linspace(0, 1, 16)[1:], strict=True):
        inside = (sure > low) & (sure <= high)
        if inside.any():
            error += inside.mean() * abs((named == labels)[inside].mean() - sure[inside].mean())
    return error


@pytest.mark.parametrize("classes", [2, 3, 5, 10])
def test_against_scikit_learn_over_batches(classes):
    logits, labels = sample(96, classes)
    parts = [measure(logits[i : i + 32], labels[i : i + 32], np.ones(32, np.float32)) for i in (0, 32, 64)]
    found = summary(reduce(Sums.plus, parts))
    odds = np.exp(logits.astype(np.float64))
    odds /= odds.sum(-1, keepdims=True)
    assert found["count"] == 96
    np.testing.assert_allclose(found["loss"], log_loss(labels, odds, labels=range(classes)), rtol=1e-6)
    assert found["top1"] == np.mean(logits.argmax(-1) == labels)
    top5 = 1.0 if classes <= 5 else top_k_accuracy_score(labels, logits, k=5, labels=range(classes))
    assert found["top5"] == top5
    np.testing.assert_allclose(found["calibration"], calibration(logits, labels), atol=1e-6)


def test_sharded_in_bfloat16_and_padded():
    """Eight devices each have a part of the batch; the last pictures are padding, with labels that no class has."""
    logits, labels = sample(64, 10)
    logits = np.array(jnp.asarray(logits, jnp.bfloat16).astype(jnp.float32))
    weight = np.ones(64, np.float32)
    plain = measure(logits[:50], labels[:50], weight[:50])
    weight[50:], labels[50:], logits[50:] = 0, -1, np.nan
    mesh = Mesh(np.array(jax.devices()), ("data",))
    put = [jax.device_put(x, NamedSharding(mesh, PartitionSpec("data"))) for x in (logits, labels, weight)]
    found = measure(put[0].astype(jnp.bfloat16), *put[1:])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, plain)


def test_ties_go_to_the_first_class_and_nan_is_wrong():
    logits = np.zeros((2, 10), np.float32)
    labels, weight = np.array([0, 5], np.int32), np.ones(2, np.float32)
    found = summary(measure(logits, labels, weight))
    assert (found["top1"], found["top5"]) == (0.5, 0.5)
    found = summary(measure(np.full((2, 3), np.nan, np.float32), np.array([0, 1], np.int32), weight))
    assert found["top1"] == found["top5"] == 0 and np.isnan(found["loss"])
    with pytest.raises(vitjax.Error, match="nothing was evaluated"):
        summary(measure(logits, labels, np.zeros(2, np.float32)))


def test_all_sure_and_all_right_is_calibrated():
    logits = np.eye(4, dtype=np.float32) * 100
    found = summary(measure(logits, np.arange(4, dtype=np.int32), np.ones(4, np.float32)))
    assert found["calibration"] == 0 and found["top1"] == 1 and found["loss"] < 1e-6


def test_retrieval_against_sorting(monkeypatch):
    """In blocks that do not divide the number of pairs, and of vectors that are not of length 1."""
    monkeypatch.setattr("vitjax.train.evaluate.BLOCK", 64)
    images = RANDOM.normal(size=(150, 16)).astype(np.float32)
    texts = images + 1.5 * RANDOM.normal(size=(150, 16)).astype(np.float32)
    cosines = (images / np.linalg.norm(images, axis=1)[:, None]) @ (texts / np.linalg.norm(texts, axis=1)[:, None]).T
    expected = {}
    for way, table in {"image_to_text": cosines, "text_to_image": cosines.T}.items():
        order = np.argsort(-table, axis=1)
        for k in (1, 5):
            expected[f"{way}@{k}"] = np.mean([i in order[i, :k] for i in range(150)])
    assert retrieval(3 * images, texts) == expected and 0.1 < expected["image_to_text@1"] < expected["image_to_text@5"] < 1


def test_retrieval_of_a_network_that_says_the_same_of_everything():
    same = np.ones((40, 8), np.float32)
    assert set(retrieval(same, same).values()) == {0.0}
    twice = np.repeat(np.eye(20, dtype=np.float32), 2, 0)  # each caption two times: either is right
    assert set(retrieval(twice, twice).values()) == {1.0}


def test_goodness():
    assert goodness({"loss": 1.0, "top1": 0.5, "ema/top1": 0.6}) == 0.6 and goodness({"top1": 0.5}) == 0.5
    assert goodness({"image_to_text@1": 0.2, "text_to_image@1": 0.4}) == pytest.approx(0.3)
    with pytest.raises(vitjax.Error, match="cannot be compared: loss"):
        goodness({"loss": 1.0})
