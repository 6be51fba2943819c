"""A large batch on a CPU is computed in parts that its cache can hold: the same numbers, and only where that is what runs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_no_silent_slowness import CONFIG, VIT
from vitjax import Model, Preprocess, Spec, compute
from vitjax import mesh as meshes
from vitjax.clip_model import TextModel
from vitjax.model import initialise

METHODS = {
    "call": lambda model, x: model(x),
    "embed": lambda model, x: model.embed(x),
    "forward_features": lambda model, x: model.forward_features(x),
    "forward_head": lambda model, x: model.forward_head(np.repeat(x.reshape(len(x), -1)[:, None, :24], 17, 1)),
}


@pytest.fixture
def vit():
    return Model(Spec("vit", VIT, Preprocess(16)), initialise(VIT))


@pytest.fixture
def parts(monkeypatch):
    """Which parts are computed."""
    found, apply = [], compute.apply
    monkeypatch.setattr(compute, "apply", lambda *x, part, **how: found.append(part) or apply(*x, part=part, **how))
    return found


def hold(monkeypatch, pictures):
    monkeypatch.setattr(compute, "CACHE", 4 * (VIT.prefix + 16) * VIT.mlp * pictures + 1)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(("count", "part"), [(1, 0), (2, 0), (3, 1), (8, 2), (9, 1)])
def test_the_same_numbers(vit, monkeypatch, parts, method, count, part):
    x = np.random.default_rng(0).standard_normal((count, 16, 16, 3)).astype("f4")
    whole = np.asarray(method(vit, x))
    hold(monkeypatch, 2)
    some = np.asarray(method(vit, x))
    assert parts == [0, part] and some.shape == whole.shape and some.dtype == whole.dtype
    np.testing.assert_allclose(some, whole, rtol=0, atol=1e-6 * np.abs(whole).max())


def test_texts(monkeypatch, parts):
    model = TextModel(Spec("text", CONFIG.text, Preprocess(16)), initialise(CONFIG.text))
    ids = np.random.default_rng(0).integers(1, CONFIG.text.vocab - 1, (6, 5), "i4")
    whole = np.asarray(model(ids))
    monkeypatch.setattr(compute, "CACHE", 4 * 5 * CONFIG.text.mlp * 3)
    np.testing.assert_allclose(np.asarray(model(ids)), whole, rtol=0, atol=1e-6 * np.abs(whole).max())
    assert parts == [0, 3]


def test_what_fits_by_default(vit):
    """Of a ViT-B/16 six pictures of 224 pixels, of one of 384 two."""
    for image, batch, part in (224, 6, 0), (224, 32, 4), (384, 2, 0), (384, 8, 2), (384, 7, 1):
        config = replace(VIT, image=image, patch=16, width=768, heads=12, mlp=3072)
        assert compute._part(config, vit.params, jnp.zeros((batch, 1))) == part


def test_elsewhere_a_batch_is_whole(vit, monkeypatch, parts):
    """In a program of the user's own, which may be for another device, and where devices share the batch or the parameters."""
    hold(monkeypatch, 1)
    x = jnp.ones((8, 16, 16, 3))
    jax.jit(lambda model, x: model(x))(vit, x)
    jax.jit(lambda x: vit(x))(x)
    jax.grad(lambda params: Model(vit.spec, params)(x).sum())(vit.params)
    mesh = meshes.make()
    shared = Model(vit.spec, jax.device_put(vit.params, jax.NamedSharding(mesh, jax.P())))
    shared(jax.device_put(x, jax.NamedSharding(mesh, jax.P(meshes.DATA))))
    assert parts == [0, 0, 0, 0]
    vit(x)
    assert parts[4:] == [1]
