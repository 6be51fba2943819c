"""What makes a program slow and says nothing: compiling again, wide products, weights in the program, waiting for the host."""

import logging
import math
import re
from contextlib import contextmanager
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.test_clip import CONFIG
from tests.test_mapping import SMALL
from tests.test_tokenizer import OPENAI, clip  # noqa: F401
from vitjax import CLIP, CLIPConfig, Model, Preprocess, Spec, ViTConfig, features
from vitjax import mesh as meshes
from vitjax.model import abstract, build, initialise, inputs
from vitjax.train import recipe as recipes
from vitjax.train.step import Batch, Task, begin, update

VIT = ViTConfig(16, 4, 24, 2, 3, 40, classes=5)
EVA02 = replace(SMALL["eva02_base_patch16_clip_224"], image=32)
NETWORKS = {"vit": VIT, "map": replace(VIT, pool="map"), "eva02": EVA02, "text": CONFIG.text, "clip": CONFIG}
networks = pytest.mark.parametrize("config", NETWORKS.values(), ids=NETWORKS)


@contextmanager
def compiled(caplog):
    """The names of what is compiled while the block runs."""
    names: list[str] = []
    caplog.clear()
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        yield names
        found = (re.match(r"Finished XLA compilation of (\S+)", record.getMessage()) for record in caplog.records)
        names.extend(match[1] for match in found if match)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, 16, 16, 3)).astype("f4")


@pytest.fixture(scope="module")
def vit() -> Model:
    return Model(Spec("small", VIT, Preprocess(16)), initialise(VIT))


def two(words: str | None = None) -> CLIP:
    return CLIP(Spec("two", CONFIG, Preprocess(16, 1.0), tokenize=OPENAI), initialise(CONFIG), tokenizer=words)


CALLS = {
    "call": lambda model, x: model(x),
    "embed": lambda model, x: model.embed(x),
    "forward_features": lambda model, x: model.forward_features(x),
    "forward_head": lambda model, x: model.forward_head(np.ones((len(x), 17, 24), "f4")),
    "feature_maps": lambda model, x: model.feature_maps(x, (0, -1), norm=True),
    "stages": lambda model, x: model.stages(x),
    "classify": lambda model, x: model.classify([(abs(image) * 50).astype("u1") for image in x]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_method_compiles_once(vit, call, caplog):
    jax.clear_caches()  # of what other methods compiled, which some of these run
    with compiled(caplog) as first:
        call(vit, images(2))
    with compiled(caplog) as again:
        call(vit, images(2) + 1)
        call(Model(vit.spec, jax.tree.map(lambda leaf: leaf * 2, vit.params)), images(2))  # other weights of the same network
    assert first and not [name for name in again if "multiply" not in name]


def test_other_labels_compile_no_tower(clip, caplog):  # noqa: F811
    model, picture = two(clip), Image.new("RGB", (16, 16))
    model.zero_shot(picture, ["low", "new", "wide"])
    with compiled(caplog) as again:
        model.zero_shot(picture, ["low", "wide", "new"])
    assert not again
    with compiled(caplog) as more:
        model.zero_shot(picture, ["low", "wide", "new", "newer"])
    assert sum(name == "jit(apply)" for name in more) == 1  # the product with one more label; towers take 4 texts, filled up


@pytest.mark.parametrize("texts", [False, True])
def test_the_last_smaller_batch_is_no_new_shape(texts, vit, clip, caplog, tmp_path):  # noqa: F811
    model = two(clip) if texts else vit
    items = ["low", "new", "wide", "newer", "lower"]
    if not texts:
        for number, item in enumerate(items):
            Image.new("RGB", (20, 20), (40 * number, 0, 0)).save(tmp_path / f"{item}.png")
        items = [str(tmp_path / f"{item}.png") for item in items]
    features.embed(model, items[:2], tmp_path / "first.npy", texts=texts, batch=2)
    with compiled(caplog) as again:
        features.embed(model, items, tmp_path / "out.npy", texts=texts, batch=2)
    assert not again and np.isfinite(np.load(tmp_path / "out.npy")).all()


def products(text: str) -> list[tuple[str, str, int]]:
    """(type of the left side, of the right side, multiplications) of every product in a program."""
    found = re.findall(
        r"dot_general .*contracting_dims = \[([\d, ]+)\].* : \(tensor<(\S+)>, tensor<(\S+)>\) -> tensor<(\S+)>", text
    )
    out = []
    for contracted, *sides, result in found:
        left, _, shape = ([*map(int, side.split("x")[:-1])] for side in (*sides, result))
        deep = math.prod(left[int(axis)] for axis in contracted.split(","))
        out.append((sides[0].split("x")[-1], sides[1].split("x")[-1], math.prod(shape) * deep))
    assert len(out) == text.count("stablehlo.dot_general")
    return out


@networks
@pytest.mark.parametrize("gradient", [False, True])
def test_bfloat16_multiplies_bfloat16(config, gradient):
    """Sums are float32. A CLIP compares what comes out of its towers in float32, which is one small product of a hundred."""
    program = lowered(config, "bfloat16", gradient)
    found = products(program)
    wide = [work for left, right, work in found if (left, right) != ("bf16", "bf16")]
    assert len(found) > 8
    if isinstance(config, CLIPConfig):
        assert len(wide) == (3 if gradient else 1) and sum(wide) < 0.01 * sum(work for *_, work in found)
    else:
        assert not wide
    assert {side for left, right, _ in products(lowered(config, "float32", gradient)) for side in (left, right)} == {"f32"}


def lowered(config, dtype: str, gradient: bool = False) -> str:
    module = build(config, dtype, attention="xla")

    def run(params, *x):
        return sum(out.astype(jnp.float32).sum() for out in jax.tree.leaves(module.apply({"params": params}, *x)))

    return jax.jit(jax.grad(run) if gradient else run).lower(abstract(config), *inputs(config)).as_text()


def task(config, **more) -> Task:
    recipe = recipes.Recipe("none", "none", "none", batch=4, steps=10, learning_rate=1e-3, **more)
    return Task(recipe, config, Preprocess(16), 10, 0, meshes.make(1, jax.devices()[:1]))


def step(config, **more):
    """A step's function, and what goes in."""
    work = task(config, **more)
    batch = Batch(jnp.zeros((4, 16, 16, 3), jnp.uint8), jnp.arange(4, dtype=jnp.int32))
    state = begin(work, initialise(config))
    return work, {}, state, batch


@pytest.mark.parametrize("remat", ["none", "dots", "blocks"])
def test_a_step_in_bfloat16_multiplies_bfloat16(remat):
    with jax.numpy_dtype_promotion("standard"):
        text = update.lower(*step(VIT, dtype="bfloat16", remat=remat, attention="xla")).as_text()
    found = products(text)
    assert len(found) > 20 and {(left, right) for left, right, _ in found} == {("bf16", "bf16")}


def constants(text: str) -> list[tuple[int, ...]]:
    """The shapes of a program's constants that are not one number all over, above 1 kB."""
    found = re.findall(r'stablehlo\.constant dense(?:_resource)?<(?:"0x|\[|__).*> : tensor<((?:\d+x)+)[a-z]+\d+>', text)
    shapes = [tuple(map(int, shape.split("x")[:-1])) for shape in found]
    return [shape for shape in shapes if 4 * math.prod(shape) > 1024]


@networks
def test_weights_are_no_part_of_a_program(config):
    """Of rotary positions the tables are, which follow from the config: 0.5 MB for EVA-02 L of 448 pixels."""
    rotary = isinstance(config, ViTConfig) and config.rotary
    allowed = {(2, 1 + math.prod(config.grid), config.head_width)} if rotary else set()
    assert set(constants(lowered(config, "float32"))) == allowed


def test_a_weight_in_a_program_would_be_seen():
    params = initialise(VIT)
    text = jax.jit(lambda x: build(VIT).apply({"params": params}, x)).lower(*inputs(VIT)).as_text()
    assert (2, 24, 40) in constants(text)


def test_a_model_takes_its_weights_as_arguments(vit):
    text = jax.jit(lambda model, x: model(x)).lower(vit, images(1)).as_text()
    assert not constants(text) and text.split("{", 1)[1].split("->")[0].count("%arg") >= len(jax.tree.leaves(vit.params))


def test_a_call_waits_for_nothing_on_the_host(vit):
    x, ids, model = jnp.asarray(images(2)), jnp.ones((2, 9), jnp.int32), two()
    tokens = vit.forward_features(x)

    def everything():
        return [
            vit(x),
            vit.embed(x),
            vit.forward_features(x),
            vit.forward_head(tokens),
            model(x, ids),
            model.encode_text(ids, True),
        ]

    jax.block_until_ready(everything())
    with jax.transfer_guard("disallow"):
        with pytest.raises(Exception, match=r"Disallowed host-to-device"):
            jnp.sin(images(2))  # so that it is known to look
        jax.block_until_ready(everything())


def test_a_step_waits_for_nothing_on_the_host():
    with jax.numpy_dtype_promotion("standard"):
        work, fixed, state, batch = step(VIT, drop_path=0.1)
        state, _ = update(work, fixed, state, batch)
        with jax.transfer_guard("disallow"):
            state, metrics = update(work, fixed, state, batch)
            jax.block_until_ready(state)
    assert int(state.step) == 2 and np.isfinite(metrics.loss)
