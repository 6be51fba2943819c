"""The parameter tree is public, and what is done with it is plain JAX: pytree, jit, export, the NNX bridge, drop path."""

from dataclasses import replace
from math import prod
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from tests.test_mapping import SMALL, TINY
from vitjax import Model, Preprocess, Spec, ViTConfig
from vitjax.layers import Block
from vitjax.model import abstract, build, initialise, shapes
from vitjax.variants import VARIANTS, parameters

GOLDEN = Path(__file__).parent / "fixtures" / "tree.txt"
GOLDEN_ROWS = (
    *("vit_base_patch16_384", "vit_large_patch14_clip_224", "eva_large_patch14_196", "vit_so400m_patch14_siglip_384"),
    *("vit_giant_patch14_reg4_dinov2", "vit_medium_patch16_gap_256", "test_vit3", "vit_base_patch16_rpn_224"),
    *("eva_giant_patch14_224", "eva02_base_patch14_448", "eva02_large_patch14_clip_224"),
)
EVERYTHING = ViTConfig(
    64, 8, 96, 5, 6, 160, 7, registers=2, norm_pre=True, qkv_bias="qv", qk_norm=True, attn_norm=True, mlp_norm=True, gated=True,
    layer_scale=0.1, pool="map", head_bias=False,
)  # fmt: skip
OTHERS = {  # what EVERYTHING cannot have beside the rest
    "pre_logits": replace(TINY, representation=6, pool="token_mean", registers=2, positions="cls"),
    "distilled": replace(TINY, registers=1, distilled=True),
}


def tree() -> str:
    """`python -m tests.test_tree` writes this. Saved checkpoints have these names and shapes: a change breaks them."""
    lines = []
    for name, config in [*((row, VARIANTS[row]) for row in GOLDEN_ROWS), ("everything", EVERYTHING), *OTHERS.items()]:
        lines += [name, *(f"  {path:28} {' '.join(map(str, shape))}" for path, shape in sorted(shapes(config).items())), ""]
    return "\n".join(lines)


def test_the_tree_is_the_golden_one():
    assert tree() == GOLDEN.read_text()


@pytest.mark.parametrize("config", [EVERYTHING, *OTHERS.values()])
def test_parameters_are_counted_without_building(config):
    assert parameters(config) == sum(map(prod, shapes(config).values()))
    assert shapes(replace(config, classes=7))["head/kernel"] == (config.features, 7)


@pytest.fixture(scope="module", params=[TINY, SMALL["eva02_base_patch16_clip_224"]], ids=["vit", "eva02"])
def model(request) -> Model:
    return Model(Spec("tiny", request.param, Preprocess(TINY.image)), initialise(request.param, seed=1))


@pytest.fixture(scope="module")
def x() -> jax.Array:
    return jax.random.normal(jax.random.key(0), (2, 12, 8, 3))


def equal(a, b) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b)


def test_a_model_is_a_pytree_of_its_parameters(model, x):
    doubled = jax.tree.map(lambda leaf: leaf * 2, model)
    assert isinstance(doubled, Model) and (doubled.spec, doubled.dtype) == (model.spec, model.dtype)
    assert jax.tree.leaves(doubled.params)[0].sum() == 2 * jax.tree.leaves(model)[0].sum()
    assert equal(jax.jit(lambda m, x: m(x))(model, x), model(x))
    slope = jax.grad(lambda m: m(x).sum())(model)  # what an optimizer takes, in the same tree
    assert jax.tree.structure(slope) == jax.tree.structure(model)
    np.testing.assert_array_equal(slope.params["head"]["bias"], 2)  # one for each of the two pictures


def test_one_compilation_for_each_shape(model, x, caplog):
    def compilations(*calls) -> int:
        caplog.clear()
        with jax.log_compiles():
            for run, images in calls:
                run(images)
        return sum("Compiling jit(apply)" in record.message for record in caplog.records)

    twin, half = jax.tree.map(lambda leaf: leaf * 2, model), replace(model, dtype="bfloat16")
    three = jnp.concatenate([x, x[:1]])
    jax.clear_caches()
    assert compilations((model, x), (model, x + 1), (twin, x)) == 1  # neither pictures nor parameters are constants
    assert compilations((model, three), (twin, three), (model, x)) == 1
    assert compilations((half, x), (half, x)) == 1
    assert compilations((model.embed, x), (twin.embed, x)) == 1


def test_nnx_bridge(model, x):
    bridged = nnx.jit(lambda: nnx.bridge.ToNNX(model.module, rngs=nnx.Rngs(0)).lazy_init(x))()
    nnx.update(bridged, model.params)
    theirs = jax.jit(model.module.apply)({"params": model.params}, x)
    assert equal(nnx.jit(lambda module, x: module(x))(bridged, x), theirs)


@pytest.mark.parametrize("name", SMALL)
def test_lowers_for_tpu_and_cuda(name):
    config, module = SMALL[name], build(SMALL[name], "bfloat16", attention="xla")
    images = jax.ShapeDtypeStruct((2, *config.image, 3), jnp.float32)
    function = jax.jit(lambda params, x: module.apply({"params": params}, x))
    exported = jax.export.export(function, platforms=("tpu", "cuda"))(abstract(config), images)
    (out,) = exported.out_avals
    assert exported.platforms == ("tpu", "cuda")
    assert (out.shape, out.dtype) == ((2, config.classes or config.width), jnp.bfloat16)


def assert_share(dropped: np.ndarray, rate: float) -> None:
    assert abs(dropped.mean() - rate) <= 3 * np.sqrt(rate * (1 - rate) / dropped.size)  # three standard deviations


def test_drop_path_of_a_branch():
    """A picture goes round the branch, or has 1 / (1 - rate) of it: so the mean is the branch."""
    rate, block = 0.4, Block(replace(TINY, drop_path=0.4))
    x = jnp.broadcast_to(jax.random.normal(jax.random.key(0), (1, 7, 12)), (500, 7, 12))
    params = jax.jit(block.init, static_argnums=3)(jax.random.key(1), x, jnp.float32(0), False)["params"]
    params["mlp"]["down"] = jax.tree.map(jnp.zeros_like, params["mlp"]["down"])  # one branch is enough
    apply = jax.jit(block.apply, static_argnums=3)
    (whole, _), (y, _) = (
        apply({"params": params}, x, jnp.float32(rate), train, rngs={"drop_path": jax.random.key(2)}) for train in (False, True)
    )
    dropped = np.asarray((y == x).all((1, 2)))
    assert_share(dropped, rate)
    np.testing.assert_allclose((y - x)[~dropped], (whole - x)[~dropped] / (1 - rate), atol=1e-5)


def test_drop_path_grows_with_depth_and_is_off_unless_training():
    rate, images = 0.4, 200
    config = replace(TINY, depth=3, drop_path=rate)
    params = initialise(config, seed=1)
    params["blocks"]["mlp"]["down"] = jax.tree.map(jnp.zeros_like, params["blocks"]["mlp"]["down"])
    x = jax.random.normal(jax.random.key(0), (images, 12, 8, 3))

    def outputs(config: ViTConfig, train: bool, seed: int = 0) -> np.ndarray:
        """Of each block: (depth, images, tokens, width)."""
        _, state = jax.jit(build(config).apply, static_argnames=("train", "method", "capture_intermediates", "mutable"))(
            {"params": params}, x, train=train, rngs={"drop_path": jax.random.key(seed)}, method="forward_features",
            capture_intermediates=lambda part, method: part.name == "blocks" and method == "__call__", mutable="intermediates",
        )  # fmt: skip
        return np.asarray(state["intermediates"]["blocks"]["__call__"][0][0])

    off, on, again = outputs(config, train=False), outputs(config, train=True), outputs(config, train=True, seed=1)
    assert equal(off, outputs(replace(config, drop_path=0.0), train=True)) and not equal(on, again)
    assert equal(off[0], on[0])  # the first block drops nothing
    assert_share((on[1] == on[0]).all((1, 2)), rate / 2)
    assert_share((on[2] == on[1]).all((1, 2)), rate)


if __name__ == "__main__":
    GOLDEN.write_text(tree())
