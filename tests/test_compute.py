"""On a CPU a large batch is computed in parts, a large network by blocks: the same numbers, and only where that is what runs."""

import gc
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.test_mapping import drawn
from tests.test_no_silent_slowness import CALLS, CONFIG, EVA02, VIT, compiled, images
from vitjax import Model, Preprocess, Spec, compute
from vitjax import mesh as meshes
from vitjax.clip_model import TextModel
from vitjax.model import abstract, build
from vitjax.variants import spec

METHODS = {
    "call": lambda model, x: model(x),
    "embed": lambda model, x: model.embed(x),
    "forward_features": lambda model, x: model.forward_features(x),
    "forward_head": lambda model, x: model.forward_head(np.repeat(x.reshape(len(x), -1)[:, None, :24], 17, 1)),
}


def network(config, dtype="float32") -> Model:
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), drawn(config))
    return Model(Spec("some", config, Preprocess(16)), params, dtype)


@pytest.fixture
def vit():
    return network(VIT)


@pytest.fixture
def seen(monkeypatch):
    """What is run on which part of a batch."""
    found: list[tuple[str, Any]] = []
    for name in "apply", "through", "around":

        def run(original, name, *x, **how):
            found.append((name, how.get("part")))
            return original(*x, **how)

        monkeypatch.setattr(compute, name, partial(run, getattr(compute, name), name))
    return found


def hold(monkeypatch, pictures):
    monkeypatch.setattr(compute, "CACHE", 4 * (VIT.prefix + 16) * VIT.mlp * pictures + 1)


def by_blocks(monkeypatch):
    monkeypatch.setattr(compute, "LARGE", 0)
    monkeypatch.setattr(compute, "OUTWEIGHS", 0)


def close(ours: Any, theirs: Any, atol=1e-6):
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    ours, theirs = np.asarray(ours, np.float32), np.asarray(theirs, np.float32)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol * np.abs(theirs).max())


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize(("count", "part"), [(1, 1), (2, 2), (3, 1), (8, 2), (9, 1)])
def test_the_same_numbers_in_parts(vit, monkeypatch, seen, method, count, part):
    x = images(count)
    whole = method(vit, x)
    hold(monkeypatch, 2)
    close(method(vit, x), whole)
    assert seen == [("apply", count), ("apply", part)]


BLOCKS = {
    **{f"vit {name}": (VIT, method, "float32") for name, method in METHODS.items()},
    "map": (replace(VIT, pool="map", norm="after", layer_scale=0.5), METHODS["call"], "float32"),
    "eva02": (replace(EVA02, classes=3), METHODS["call"], "float32"),
    "bfloat16": (VIT, METHODS["call"], "bfloat16"),
}


@pytest.mark.parametrize(("config", "method", "dtype"), BLOCKS.values(), ids=BLOCKS)
def test_the_same_numbers_by_blocks(monkeypatch, seen, config, method, dtype):
    model, x = network(config, dtype), np.random.default_rng(0).standard_normal((6, config.image, config.image, 3)).astype("f4")
    whole = method(model, x)
    by_blocks(monkeypatch)
    monkeypatch.setattr(compute, "_part", lambda *_: 2)
    seen.clear()
    close(method(model, x), whole, 1e-6 if dtype == "float32" else 2e-2)
    around, blocks = [("around", None)], [("through", 2)] * config.depth
    assert seen == (around if method is METHODS["forward_head"] else around + blocks + around)


def test_texts(monkeypatch, seen):
    model = TextModel(Spec("text", CONFIG.text, Preprocess(16)), jax.tree.map(jnp.asarray, drawn(CONFIG.text)))
    ids = np.random.default_rng(0).integers(1, CONFIG.text.vocab - 1, (6, 5), "i4")
    whole = model(ids)
    monkeypatch.setattr(compute, "CACHE", 4 * 5 * CONFIG.text.mlp * 3)
    close(model(ids), whole)
    by_blocks(monkeypatch)
    close(model(ids), whole)
    assert seen == [("apply", 6), ("apply", 3), ("around", None), *[("through", 3)] * CONFIG.text.depth, ("around", None)]


def test_what_fits_by_default():
    """Of a ViT-B/16 six pictures of 224 pixels, of one of 384 two."""
    for image, batch, part in (224, 6, 6), (224, 32, 4), (384, 2, 2), (384, 8, 2), (384, 7, 1):
        config = replace(VIT, image=image, patch=16, width=768, heads=12, mlp=3072)
        assert compute._part(config, jnp.zeros((batch, 1))) == part


@pytest.mark.parametrize(
    ("name", "dtype", "batch", "blocks"),
    [
        ("vit_small_patch16_224", "float32", 1, False),
        ("vit_base_patch16_224", "bfloat16", 1, True),
        ("vit_base_patch16_384", "float32", 1, True),
        ("vit_base_patch16_384", "float32", 8, False),
        ("vit_large_patch16_224", "bfloat16", 8, True),
        ("eva_giant_patch14_224", "float32", 8, True),
        ("eva02_large_patch14_448", "float32", 1, False),
    ],
)
def test_what_goes_by_blocks_by_default(name, dtype, batch, blocks):
    """Those of which it was measured to be faster."""
    config, size = spec(name).vit, jnp.dtype(dtype).itemsize
    like = jax.tree.map(lambda leaf: SimpleNamespace(nbytes=size * leaf.size), abstract(config)["blocks"])
    x: Any = np.empty((batch, 1))
    hidden = compute._part(config, x) * compute._hidden(config, x)
    assert compute._outweighs(like, build(config, dtype), hidden) == blocks


def test_elsewhere_it_is_one_program(vit, monkeypatch, seen):
    """In a program of the user's own, which may be for another device, and where devices share the batch or the parameters."""
    hold(monkeypatch, 1)
    by_blocks(monkeypatch)
    x = jnp.ones((8, 16, 16, 3))
    jax.jit(lambda model, x: model(x))(vit, x)
    jax.jit(lambda x: vit(x))(x)
    jax.grad(lambda params: Model(vit.spec, params)(x).sum())(vit.params)
    mesh = meshes.make()
    shared = Model(vit.spec, jax.device_put(vit.params, jax.NamedSharding(mesh, jax.P())))
    shared(jax.device_put(x, jax.NamedSharding(mesh, jax.P(meshes.DATA))))
    assert seen == [("apply", None)] * 4
    vit(x)
    assert ("through", 1) in seen[4:]


@pytest.mark.parametrize("call", [CALLS["call"], CALLS["embed"]])
def test_each_program_is_compiled_once(vit, monkeypatch, call, caplog):
    by_blocks(monkeypatch)
    jax.clear_caches()
    with compiled(caplog) as first:
        call(vit, images(2))
    assert [name for name in first if name in ("jit(around)", "jit(through)")] == ["jit(around)", "jit(through)", "jit(around)"]
    other = network(VIT)
    with compiled(caplog) as again:
        call(vit, images(2) + 1)
        call(other, images(2))
    assert not again


def test_by_blocks_it_waits_for_nothing_on_the_host(vit, monkeypatch):
    by_blocks(monkeypatch)
    x = jnp.asarray(images(2))
    jax.block_until_ready(vit(x))
    other = network(VIT)  # whose blocks are not cut up yet
    with jax.transfer_guard("disallow"):
        jax.block_until_ready([vit(x), other(x)])


def test_blocks_are_where_the_parameters_are():
    stacked = {"kernel": jnp.arange(3 * 4 * 64, dtype=jnp.float32).reshape(3, 4, 64), "bias": jnp.arange(6.0).reshape(3, 2)}
    blocks = compute.slices(stacked)
    for number, block in enumerate(blocks):
        jax.tree.map(lambda one, all, i=number: np.testing.assert_array_equal(one, all[i]), block, stacked)
        begin = stacked["kernel"].unsafe_buffer_pointer() + number * 4 * 64 * 4
        assert block["kernel"].unsafe_buffer_pointer() == begin
    again = compute.slices({"kernel": stacked["kernel"], "bias": jnp.ones((3, 2))})
    assert all(a["kernel"] is b["kernel"] and a["bias"][0] != b["bias"][1] for a, b in zip(blocks, again, strict=True))


@pytest.mark.parametrize("bound", ["parameters", "pictures"])
def test_it_is_computed_where_the_parameters_or_the_pictures_are(vit, monkeypatch, bound):
    by_blocks(monkeypatch)
    device, x = jax.devices()[3], jnp.asarray(images(2))
    params = jax.device_put(vit.params, device) if bound == "parameters" else vit.params
    out = Model(vit.spec, params)(x if bound == "parameters" else jax.device_put(x, device))
    assert out.devices() == {device}
    close(out, vit(x))


def test_blocks_are_forgotten_with_the_parameters():
    gc.collect()
    before, stacked = len(compute._slices), [jnp.zeros((3, 64)), jnp.ones((3, 64))]
    blocks = compute.slices(stacked)
    assert len(compute._slices) == before + 2
    del stacked
    gc.collect()
    assert len(compute._slices) == before
    np.testing.assert_array_equal(blocks[2][1], np.ones(64))


def test_parameters_that_are_given_away_stay_what_they_were_for_blocks():
    stacked = jnp.ones((3, 4, 64))
    block = compute.slices(stacked)[1]
    given = jax.jit(lambda x: x * 5, donate_argnums=0)(stacked)
    np.testing.assert_array_equal(block, np.ones((4, 64)))
    np.testing.assert_array_equal(given, np.full((3, 4, 64), 5))
