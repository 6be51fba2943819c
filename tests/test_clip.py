"""Two towers: what goes in, what comes out, and what one does with it; plain JAX, as for one."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import export

import vitjax
from tests.test_mapping import drawn
from tests.test_tokenizer import OPENAI, SIZE, clip  # noqa: F401  (a small vocabulary of CLIP's kind)
from vitjax import CLIP, Classifier, CLIPConfig, Error, Preprocess, Spec, TextConfig, ViTConfig, checkpoint
from vitjax.clip import CLIP as Network
from vitjax.config import config_from_json, config_to_json, tower
from vitjax.model import shapes
from vitjax.variants import parameters
from vitjax.verify import verify

CONTEXT = 9
CONFIG = CLIPConfig(
    ViTConfig(16, 4, 24, 2, 3, 40, 12, patch_bias=False, norm_pre=True, eps=1e-5, head_bias=False),
    TextConfig(CONTEXT, SIZE, 24, 2, 3, 40, 12),
)
SIGLIP = CLIPConfig(
    ViTConfig(16, 4, 24, 2, 3, 40, 0, cls=False, pool="map", act="gelu_tanh"),
    TextConfig(CONTEXT, SIZE, 20, 2, 2, 30, 24, causal=False, pool="last", head_bias=True, act="gelu_tanh", eps=1e-6),
    sigmoid=True,
)
MAP = replace(SIGLIP, text=replace(SIGLIP.text, pool="map", pool_eps=1e-5))
EOS = replace(CONFIG, text=replace(CONFIG.text, pool="eos", eos=SIZE - 1, layer_scale=0.1))
configs = pytest.mark.parametrize("config", [CONFIG, SIGLIP, MAP, EOS], ids=["clip", "siglip", "map", "eos"])


def made(config: CLIPConfig, tokenizer: str | None = None) -> CLIP:
    return CLIP(
        Spec("tiny", config, Preprocess(16, 1.0), tokenize=OPENAI), jax.tree.map(jnp.asarray, drawn(config)), tokenizer=tokenizer
    )


@pytest.fixture
def model(clip) -> CLIP:  # noqa: F811
    return made(CONFIG, clip)


@pytest.fixture(scope="module")
def x() -> jax.Array:
    return jax.random.normal(jax.random.key(1), (2, 16, 16, 3))


@pytest.fixture(scope="module")
def ids() -> np.ndarray:
    """Three texts as a tokenizer makes them: a start, some words, an end, nothing."""
    rows = [[SIZE - 2, 5, 6, SIZE - 1, 0, 0, 0, 0, 0], [SIZE - 2, SIZE - 1] + [0] * 7, [SIZE - 2, *range(1, 8), SIZE - 1]]
    return np.array(rows, np.int32)


@configs
def test_shapes_and_counts(config, x, ids):
    model = made(config)
    assert parameters(config) == sum(np.prod(shape, dtype=int) for shape in shapes(config).values())
    width = config.classes
    assert model.encode_image(x).shape == (2, width) and model.encode_text(ids).shape == (3, width)
    per_image, per_text = model(x, ids)
    assert per_image.shape == (2, 3) and (per_text == per_image.T).all()
    assert config_from_json(config_to_json(config), "here") == config


@configs
def test_logits_are_what_the_features_say(config, x, ids):
    model = made(config)
    image, text = (np.asarray(f, np.float64) for f in (model.encode_image(x), model.encode_text(ids)))
    image, text = (f / np.linalg.norm(f, axis=-1, keepdims=True) for f in (image, text))
    np.testing.assert_allclose(model.encode_image(x, normalize=True), image, atol=1e-6)
    np.testing.assert_allclose(model.encode_text(ids, normalize=True), text, atol=1e-6)
    logits = np.exp(np.float64(model.params["logit_scale"])) * image @ text.T + float(model.params.get("logit_bias", 0))
    np.testing.assert_allclose(model(x, ids)[0], logits, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.module.apply({"params": model.params}, x, jnp.asarray(ids))[0], logits, rtol=1e-5, atol=1e-5)


def test_what_follows_the_end_of_a_text_does_not_count(model, ids):
    """Under a causal mask: so the padding may be anything."""
    other = ids.copy()
    other[0, 4:], other[1, 2:] = 3, 7
    np.testing.assert_array_equal(model.encode_text(ids), model.encode_text(other))
    np.testing.assert_allclose(model.encode_text(ids[:2, :4]), model.encode_text(ids[:2]), atol=1e-6)  # another compilation
    both = made(SIGLIP)
    assert np.abs(both.encode_text(ids) - both.encode_text(other))[:2].max() > 1e-3  # there, the last token sees all


def test_both_ends_of_text(ids):
    """The highest id, or the first that is `eos`; without one, the first token, as in transformers."""
    highest, first = made(CONFIG), made(CONFIG)
    first = replace(first, spec=replace(first.spec, config=replace(CONFIG, text=replace(CONFIG.text, pool="eos", eos=6))))
    tokens = highest.text.forward_features(ids)
    kernel = highest.params["text"]["head"]["kernel"]
    for found, at in ((highest, [3, 1, 8]), (first, [2, 0, 6])):
        theirs = np.asarray(tokens)[np.arange(3), at] @ np.asarray(kernel)
        np.testing.assert_allclose(found.encode_text(ids), theirs, rtol=1e-4, atol=1e-6)


def test_towers_by_themselves(model, x, ids):
    assert isinstance(model.image, vitjax.Model) and isinstance(model.text, vitjax.TextModel)
    np.testing.assert_array_equal(model.image(x), model.encode_image(x))
    np.testing.assert_array_equal(model.text(ids), model.encode_text(ids))
    assert model.image.embed(x).shape == (2, 24) and model.image.feature_maps(x)[0].shape == (2, 4, 4, 24)
    assert tower(model.spec, "image").tokenize is None and tower(model.spec, "text").tokenize == OPENAI


def test_bfloat16(model, x, ids):
    half = CLIP(model.spec, jax.tree.map(lambda leaf: leaf.astype("bfloat16"), model.params), "bfloat16")
    for ours, theirs in ((half.encode_image(x), model.encode_image(x)), (half.encode_text(ids), model.encode_text(ids))):
        assert ours.dtype == jnp.bfloat16
        a, b = np.asarray(ours, np.float32), np.asarray(theirs)
        assert ((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min() > 0.999
    assert half(x, ids)[0].dtype == jnp.float32  # features are compared in full


def test_a_temperature_is_never_rounded(model, tmp_path):
    checkpoint.save(tmp_path / "clip", model.spec, model.params)
    found = vitjax.load(tmp_path / "clip", dtype="bfloat16")
    assert found.params["logit_scale"].dtype == jnp.float32 and found.params["logit_scale"] == model.params["logit_scale"]
    assert {leaf.dtype.name for leaf in jax.tree.leaves(found.params["text"])} == {"bfloat16"}


@configs
def test_on_a_mesh(config, x, ids, tmp_path):
    model = made(config)
    checkpoint.save(tmp_path / "clip", model.spec, model.params)
    spread = vitjax.load(tmp_path / "clip", mesh=jax.make_mesh((8,), ("data",)))
    assert len(spread.params["text"]["blocks"]["mlp"]["up"]["kernel"].sharding.device_set) == 8
    np.testing.assert_allclose(spread(x, ids)[0], model(x, ids)[0], rtol=1e-5, atol=1e-5)


def test_another_picture_size(model, tmp_path):
    checkpoint.save(tmp_path / "clip", model.spec, model.params)
    larger = vitjax.load(tmp_path / "clip", image=(24, 16))
    assert larger.spec.preprocess.size == (24, 16) and larger.params["image"]["positions"].shape == (25, 24)
    assert larger.encode_image(jnp.zeros((1, 24, 16, 3))).shape == (1, 12)
    with pytest.raises(Error, match="is no image network by itself"):
        vitjax.load(tmp_path / "clip", classes=5)


def test_plain_jax(model, x, ids):
    twice = jax.tree.map(lambda leaf: leaf * 2, model)
    assert isinstance(twice, CLIP) and twice.tokenizer == model.tokenizer
    loss = jax.jit(lambda model, x, ids: model(x, ids)[0].sum())
    gradient = jax.grad(lambda params: loss(replace(model, params=params), x, ids))(model.params)
    assert all(bool(jnp.isfinite(leaf).all()) and bool((leaf != 0).any()) for leaf in jax.tree.leaves(gradient["text"]["head"]))
    bridged = nnx.jit(lambda: nnx.bridge.ToNNX(model.module, rngs=nnx.Rngs(0)).lazy_init(x, jnp.asarray(ids)))()
    nnx.update(bridged, model.params)
    theirs = jax.jit(model.module.apply)({"params": model.params}, x, jnp.asarray(ids))
    np.testing.assert_array_equal(nnx.jit(lambda module, *x: module(*x))(bridged, x, jnp.asarray(ids))[0], theirs[0])
    for platform in "tpu", "cuda":
        network = replace(model, attention="xla").module
        run = export.export(jax.jit(network.apply), platforms=[platform])({"params": model.params}, x, jnp.asarray(ids))
        assert run.platforms == (platform,)


def test_random_ones():
    found = vitjax.create("clip_vit_small_patch32_224", seed=1)
    assert found.spec.name == "clip_vit_small_patch32_224" and isinstance(found.module, Network)
    assert float(found.params["logit_scale"]) == pytest.approx(np.log(1 / 0.07))


def test_zero_shot(model):
    pictures = [np.full((20, 30, 3), shade, np.uint8) for shade in (10, 200)]
    one = model.zero_shot(pictures[0], ["cat", "dog"])
    assert {label for label, _ in one} == {"cat", "dog"} and sum(p for _, p in one) == pytest.approx(1)
    assert one == sorted(one, key=lambda pair: -pair[1])
    both = model.zero_shot(pictures, ["cat", "dog", "its"], top=2)
    assert [len(row) for row in both] == [2, 2]
    logits = model(model.preprocess(pictures[0]), model.tokenize(["cat", "dog"]))[0][0]
    np.testing.assert_allclose(dict(one)["dog"], jax.nn.softmax(logits)[1], rtol=1e-5)
    known = model.classifier(["cat", "dog"])
    assert isinstance(known, Classifier) and known.weights.shape == (2, 12)
    assert model.zero_shot(pictures[0], known) == one


def test_siglip_judges_each_pair_by_itself(clip):  # noqa: F811
    model, picture = made(SIGLIP, clip), np.zeros((16, 16, 3), np.uint8)
    logits = model(model.preprocess(picture), model.tokenize(["cat", "dog"]))[0][0]
    found = dict(model.zero_shot(picture, ["cat", "dog"]))
    np.testing.assert_allclose([found["cat"], found["dog"]], jax.nn.sigmoid(logits), rtol=1e-5)


def test_templates_are_averaged(model):
    templates = ["a {}", "{} and {}!!"]
    found = model.classifier(["cat", "dog"], templates)
    each = model.encode_text(model.tokenize(["a cat", "cat and cat!!", "a dog", "dog and dog!!"]), normalize=True)
    mean = np.asarray(each).reshape(2, 2, -1).mean(1)
    np.testing.assert_allclose(found.weights, mean / np.linalg.norm(mean, axis=-1, keepdims=True), rtol=1e-5, atol=1e-6)


def test_many_labels_are_computed_some_at_a_time(model, monkeypatch):
    labels = [f"{a} {b}" for a in "abcdefgh" for b in "cdefgh"]
    whole = model.classifier(labels)
    monkeypatch.setattr("vitjax.clip_model.BATCH", 20)
    np.testing.assert_allclose(model.classifier(labels).weights, whole.weights, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "templates", "says"),
    [
        ([], ["{}"], "labels must be a list of texts, with at least one"),
        ("cat", ["{}"], "labels must be a list of texts"),
        (["cat", 3], ["{}"], "labels must be a list of texts"),
        (["cat", "dog", "cat"], ["{}"], "labels must differ: cat is given more than once"),
        (["cat"], [], "templates must be a list of texts, with at least one"),
        (["cat"], ["a photo"], "'a photo' has no place for a label"),
    ],
)
def test_labels_that_cannot_be(labels, templates, says, model):
    with pytest.raises(Error, match=says):
        model.zero_shot(np.zeros((16, 16, 3), np.uint8), labels, templates)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((1, CONTEXT + 1), np.int32), r"integers of shape \(B, up to 9\), not int32 \(1, 10\)"),
        (np.zeros(4, np.int32), r"not int32 \(4,\)"),
        (np.zeros((1, 4), np.float32), "not float32"),
        ([[1, 2]], "not list"),
        (np.array([[1, SIZE]], np.int32), f"ids from 1 to {SIZE} are not in the vocabulary of tiny, 0 to {SIZE - 1}"),
        (np.array([[-1, 2]], np.int32), "ids from -1 to 2"),
    ],
)
def test_ids_that_cannot_be(wrong, says, model):
    with pytest.raises(Error, match=says):
        model.encode_text(wrong)


def test_configs_that_cannot_be():
    with pytest.raises(Error, match="the image tower gives 12 numbers, the text tower 11"):
        replace(CONFIG, text=replace(CONFIG.text, classes=11))
    with pytest.raises(Error, match="pool='eos' needs eos"):
        replace(CONFIG.text, pool="eos")
    with pytest.raises(Error, match="does not divide into 5 heads"):
        replace(CONFIG.text, heads=5)
    with pytest.raises(Error, match="clip has no classes, so it has no labels"):
        Spec("tiny", CONFIG, labels=("a",))
    said = config_to_json(CONFIG)
    with pytest.raises(Error, match="here: text: unknown field 'contxt'"):
        config_from_json(said | {"text": {"contxt": 3}}, "here")
    with pytest.raises(Error, match="here does not say text"):
        config_from_json({key: value for key, value in said.items() if key != "text"}, "here")


def test_a_reference_needs_both_inputs(model, x, ids):
    stages = {f"stage/{name}": np.asarray(stage) for name, stage in model.stages(x, ids).items()}
    assert all(stage.good for stage in verify(model, {"input": np.asarray(x), "ids": ids} | stages))
    with pytest.raises(Error, match="`input` and `ids`"):
        verify(model, {"input": np.asarray(x)} | stages)
