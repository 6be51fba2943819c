"""Where parameters are on a mesh: split by one rule and one table, whatever network or optimizer they belong to."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from jax.sharding import AxisType

from vitjax import CLIPConfig, Error, TextConfig, ViTConfig, mesh
from vitjax.model import abstract, build, initialise, inputs

VIT = ViTConfig(16, 4, 32, 3, 4, 64, classes=10, pool="map", gated=True, mlp_norm=True)
PAIR = CLIPConfig(ViTConfig(16, 4, 32, 2, 4, 64, 24), TextConfig(9, 50, 32, 2, 4, 64, 24))


def specs(tree) -> dict:
    return {name: tuple(leaf.sharding.spec) for name, leaf in flatten_dict(tree, sep="/").items()}


def test_the_mesh():
    made = mesh.make(tensor=2)
    assert dict(made.shape) == {"data": 4, "tensor": 2} and set(made.axis_types) == {AxisType.Auto}
    assert dict(mesh.make(devices=jax.devices()[:3]).shape) == {"data": 3, "tensor": 1}
    for wrong in 3, 0, 16:
        with pytest.raises(Error, match=f"tensor = {wrong} must divide the number of devices, which is 8"):
            mesh.make(tensor=wrong)


def test_the_rule():
    """The longest dimension that divides, never that of the blocks."""
    found = specs(mesh.sharded(abstract(VIT), mesh.make(), fsdp=True))
    assert found["blocks/mlp/up/kernel"] == (None, None, "data")
    assert found["blocks/mlp/down/kernel"] == (None, "data", None)
    assert found["blocks/attn/query/kernel"] == (None, "data", None, None)
    assert found["patch/kernel"] == (None, None, None, "data") and found["head/bias"] == (None,)
    vectors = [name for name in found if name.endswith(("bias", "scale"))]
    assert len(vectors) == 25 and not [name for name in vectors if "data" in found[name]]
    assert not [name for name, axes in found.items() if name.startswith("blocks/") and axes[0]]
    eight = {"blocks": {"kernel": jax.ShapeDtypeStruct((8, 3), jnp.float32)}}
    assert specs(mesh.sharded(eight, mesh.make())) == {"blocks/kernel": (None, None)}


def test_the_table():
    found = specs(mesh.sharded(abstract(VIT), mesh.make(tensor=2)))
    assert found["blocks/attn/query/kernel"] == found["blocks/attn/value/kernel"] == (None, "data", "tensor", None)
    assert found["blocks/attn/key/bias"] == (None, "tensor", None)
    assert found["blocks/attn/out/kernel"] == (None, "tensor", None, "data")
    assert found["blocks/mlp/gate/kernel"] == (None, "data", "tensor")
    assert found["blocks/mlp/norm/scale"] == (None, "tensor") and found["blocks/mlp/down/kernel"] == (None, "tensor", "data")
    assert found["pool/attn/query/kernel"] == ("data", "tensor", None) and found["pool/mlp/up/bias"] == ("tensor",)
    only = specs(mesh.sharded(abstract(VIT), mesh.make(tensor=2), fsdp=False))
    assert only["blocks/mlp/down/kernel"] == (None, "tensor", None) and only["head/kernel"] == (None, None)
    eight = specs(mesh.sharded(abstract(VIT), mesh.make(tensor=8)))  # four heads
    assert "tensor" not in eight["blocks/attn/out/kernel"] and "tensor" in eight["blocks/mlp/up/kernel"]


def test_any_tree_any_mesh():
    """Of a CLIP, of an optimizer, on a mesh with other names and axes of another type."""
    found = specs(mesh.sharded(abstract(PAIR), mesh.make(tensor=2)))
    assert found["text/blocks/mlp/up/kernel"][2] == "tensor" and found["logit_scale"] == ()
    moments = mesh.sharded((abstract(VIT), {"mean": abstract(VIT)}), mesh.make(tensor=2))
    assert specs(moments[1]["mean"]) == specs(moments[0]) == specs(mesh.sharded(abstract(VIT), mesh.make(tensor=2)))
    other = specs(mesh.sharded(abstract(VIT), jax.make_mesh((4, 2), ("rows", "columns"))))
    assert other["blocks/mlp/up/kernel"] == (None, None, "rows")
    alone = specs(mesh.sharded(abstract(VIT), jax.make_mesh((2,), ("tensor",))))
    assert alone["blocks/mlp/up/kernel"] == (None, None, "tensor") and alone["head/kernel"] == (None, None)


@pytest.mark.parametrize("tensor", [1, 2])
def test_the_same_gradients_on_any_mesh(tensor):
    """Split or whole, kept or computed again: one network."""
    cfg = ViTConfig(16, 4, 32, 3, 4, 64, classes=10, drop_path=0.3)
    params = initialise(cfg)
    images = np.random.default_rng(0).standard_normal((8, 16, 16, 3)).astype("f4")

    def gradient(module):
        def loss(params, images):
            logits = module.apply({"params": params}, images, True, rngs={"drop_path": jax.random.key(1)})
            return jnp.square(logits).mean()

        return jax.jit(jax.value_and_grad(loss))

    made = mesh.make(tensor)
    places = jax.tree.map(lambda leaf: leaf.sharding, mesh.sharded(params, made))
    split = jax.device_put(images, jax.sharding.NamedSharding(made, jax.sharding.PartitionSpec("data")))
    whole = gradient(build(cfg))(params, images)
    for remat in "none", "dots", "blocks":
        with jax.set_mesh(made):
            found = gradient(build(cfg, remat=remat))(jax.device_put(params, places), split)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, whole)


@pytest.mark.parametrize("config", [VIT, PAIR], ids=["vit", "clip"])
def test_remat_changes_no_parameter(config):
    module = build(config, remat="dots")
    made = jax.eval_shape(module.init, jax.random.key(0), *inputs(config))["params"]
    assert jax.tree.map(lambda leaf: leaf.shape, made) == jax.tree.map(lambda leaf: leaf.shape, abstract(config))


def test_tokens_stay_and_kernels_come():
    """In a step on a mesh nothing of the size of a batch goes from device to device, only parameters and their gradients."""
    made, cfg = mesh.make(), ViTConfig(16, 4, 32, 3, 4, 64, classes=10)
    like = mesh.sharded(abstract(cfg), made)
    batch = jax.NamedSharding(made, jax.sharding.PartitionSpec("data"))
    images = jax.ShapeDtypeStruct((8 * 56, 16, 16, 3), jnp.float32, sharding=batch)

    def loss(params, images):
        return jnp.square(build(cfg).apply({"params": params}, images)).mean()

    with jax.set_mesh(made):
        text = jax.jit(jax.grad(loss)).lower(like, images).compile().as_text()
    sent = re.findall(r" = (.*) (?:all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)\(", text)
    shapes = [tuple(map(int, shape.split(","))) for line in sent for shape in re.findall(r"\w\[([\d,]+)\]", line)]
    assert shapes and max(map(np.prod, shapes)) <= 3 * 16 * 32 * 4  # of a block's kernel, or three in one message
    assert not [shape for shape in shapes if {56, 8 * 56} & set(shape)]


def test_without_such_a_mesh():
    """A model is called without any, with axes of other names, with those that JAX itself keeps an eye on; and on odd batches."""
    cfg = ViTConfig(16, 4, 32, 2, 4, 64, classes=10)
    params, images = initialise(cfg), np.random.default_rng(0).standard_normal((6, 16, 16, 3)).astype("f4")
    module = build(cfg)
    wanted = jax.jit(module.apply)({"params": params}, images)
    for made in jax.make_mesh((8,), ("rows",)), jax.make_mesh((8,), ("data",)), mesh.make(2):
        with jax.set_mesh(made):
            np.testing.assert_allclose(jax.jit(module.apply)({"params": params}, images), wanted, atol=1e-5)
