"""birder's numbers, stage by stage, through the way that users go; its files, its older spelling, and the way back."""

import json
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import vitjax
from tests.recipe import uniform, weight
from tests.test_mapping import drawn
from tests.test_parity import FIXTURES, assert_close, assert_stages, read, under
from vitjax import Error, ViTConfig
from vitjax.config import Preprocess, Spec
from vitjax.converters import DIALECTS, convert, export, files, fitting
from vitjax.converters.birder import BIRDER
from vitjax.converters.birder_settings import arguments, config_of
from vitjax.converters.mapping import slots, to_ours, to_theirs
from vitjax.model import shapes
from vitjax.surgery import resize
from vitjax.variants import BIRDER as ROWS
from vitjax.variants import parameters
from vitjax.verify import FULL, SMALL, verify

FULL_SIZE = "birder_full_vit_l14_pn_quick_gelu"
FAMILIES = sorted(path.stem for path in FIXTURES.glob("birder_*.npz") if path.stem != FULL_SIZE)
every_family = pytest.mark.parametrize("family", FAMILIES)


def publish(file: Path, state: dict[str, np.ndarray], beside: dict[str, Any]) -> Path:
    """A file as birder.common.fs_ops.save_st writes it."""
    save_file(state, file, {key: value if isinstance(value, str) else json.dumps(value) for key, value in beside.items()})
    return file


def published(family: str, folder: Path, **changes: Any) -> tuple[Path, str, dict[str, np.ndarray]]:
    """A tiny network's file, which network it is, and what birder makes of pictures with it. `changes`: of what is beside."""
    reference = read(family)
    beside = json.loads(str(reference["beside"])) | changes
    return publish(folder / "x.safetensors", under("state/", reference), beside), str(reference["network"]), reference


@every_family
def test_every_stage_and_what_the_file_says(family, tmp_path):
    file, network, reference = published(family, tmp_path)
    model = vitjax.load(file, variant=network)
    stages = under("stage/", reference)
    assert set(model.stages(reference["input"])) == set(stages)
    assert_stages(model, reference)
    assert_close(model(reference["input"]), stages["logits"])
    assert_close(model.embed(reference["input"]), stages["pooled"])
    for block, ours in zip((0, -1), model.feature_maps(reference["input"], (0, -1)), strict=True):
        assert_close(ours, reference["maps"][block])
    assert model.spec.labels == tuple(f"bird {6 - i}" for i in range(7))
    rgb = json.loads(str(reference["beside"]))["rgb_stats"]
    assert model.spec.preprocess == Preprocess((16, 12), 1.0, "squash", "bicubic", tuple(rgb["mean"]), tuple(rgb["std"]))
    assert (model.spec.source.dialect, model.spec.source.reference) == ("birder", "birder 0.8.4")


@every_family
def test_another_size(family, tmp_path):
    file, network, reference = published(family, tmp_path)
    resized = under("resized/", reference)
    assert_stages(vitjax.load(file, variant=network, image=resized["input"].shape[1:3]), resized)


@pytest.mark.parametrize("family", ["birder_quick_gelu", "birder_aps", "birder_nap_avg"])
def test_no_head_and_bfloat16(family, tmp_path):
    file, network, reference = published(family, tmp_path)
    features = vitjax.load(file, variant=network, classes=0, dtype="bfloat16")(reference["input"])
    assert features.dtype == jnp.bfloat16
    ours, theirs = np.asarray(features, np.float32), reference["stage/pooled"]
    cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    assert cosine.min() > 0.999


# fmt: off
MISTAKES = {  # what is wrong, and the stage that shows it first
    "eps":              ("birder_reg",        "block_00/attn", {"eps": 1e-5}),
    "eps of CLIP":      ("birder_quick_gelu", "embed",         {"eps": 1e-6}),
    "erf for sigmoid":  ("birder_quick_gelu", "block_00/mlp",  {"act": "gelu"}),
    "registers last":   ("birder_reg",        "embed",         {"registers_first": False}),
    "no prefix in map": ("birder_aps",        "pooled",        {"pool_prefix": False}),
    "prefix in map":    ("birder_swiglu_ap",  "pooled",        {"pool_prefix": True}),
    "eps of pooling":   ("birder_swiglu_ap",  "pooled",        {"pool_eps": None}),
    "act of pooling":   ("birder_swiglu_ap",  "pooled",        {"pool_act": None}),
    "norm before":      ("birder_nap_avg",    "tokens",        {"norm": "before"}),
}
# fmt: on


@pytest.mark.parametrize(("family", "first", "changes"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_noticed_where_it_is_made(family, first, changes, tmp_path):
    file, network, reference = published(family, tmp_path)
    model = vitjax.load(file, variant=network)
    wrong = replace(model, spec=replace(model.spec, config=replace(model.config, **changes)))
    off = [stage for stage in verify(wrong, reference) if not stage.good]
    assert off[0].name == first and off[0].difference > 2 * SMALL * off[0].scale


@pytest.mark.parametrize("how", [{"interpolation": "cubic-pytorch"}, {"interpolation": "bilinear"}])
def test_a_mistake_in_resampling_is_noticed(how, tmp_path):
    file, network, reference = published("birder_reg", tmp_path)
    spec, params = convert(file, variant=network)
    params = jax.tree.map(jnp.asarray, params)
    wrong = vitjax.Model(*resize(replace(spec, config=replace(spec.config, **how)), params, (12, 20)))
    stage = next(stage for stage in verify(wrong, under("resized/", reference)) if stage.name == "embed")
    assert stage.difference > 10 * SMALL * stage.scale


def test_the_published_clip_encoder(tmp_path):
    """The projection, the embedding and the feature map of vit_l14_pn_quick_gelu_openai-clip, which its file's name says."""
    reference = read(FULL_SIZE)
    state = {key: weight(key, tuple(shape)) for key, shape in json.loads(str(reference["manifest"])).items()}
    file = publish(tmp_path / "vit_l14_pn_quick_gelu_openai-clip.safetensors", state, json.loads(str(reference["beside"])))
    del state
    model = vitjax.load(file)
    file.unlink()  # 1.2 GB
    assert model.spec.name == "vit_l14_pn_quick_gelu_openai-clip" and model.config.classes == 768 and not model.spec.labels
    x = uniform("input", tuple(reference["input"]))
    assert_close(model(x), reference["stage/logits"], FULL)
    assert_close(model.embed(x), reference["stage/pooled"], FULL)
    (features,) = model.feature_maps(x)
    assert features.shape == (1, 16, 16, 1024)
    assert_close(features[:, ::4, ::4], reference["maps"][-1], FULL)


# Rules: every row to the last tensor, there and back.

SIZES = {"image": (12, 8), "patch": 4, "width": 12, "depth": 2, "heads": 3, "mlp": 10, "classes": 5}
SWITCHES = {
    "query and value biases": {"qkv_bias": "qv"},
    "no positions": {"positions": "none"},
    "no bias of the head": {"head_bias": False},
    "norms": {"qk_norm": True, "attn_norm": True, "mlp_norm": True, "gated": True, "norm_pre": True, "patch_bias": False},
}
TINY = {replace(row, **SIZES): name for name, row in reversed(ROWS.items())}
SHAPED = {name: row for row, name in TINY.items()} | {name: ViTConfig(**SIZES, **switch) for name, switch in SWITCHES.items()}


def test_what_is_said_of_every_row_is_the_row():
    for name, row in ROWS.items():
        assert config_of(arguments(row)) == row, name


@pytest.mark.parametrize("name", SHAPED)
def test_there_and_back_is_the_identity(name):
    like = shapes(SHAPED[name])
    wanted = slots(BIRDER.rules(SHAPED[name]), like)
    assert sum(map(prod, like.values())) == parameters(SHAPED[name])
    for dtype in np.float32, np.float16, ml_dtypes.bfloat16:
        rng = np.random.default_rng(0)
        theirs = dict(to_theirs(wanted, {path: rng.standard_normal(shape).astype(dtype) for path, shape in like.items()}))
        leaves, report = to_ours(wanted, like, theirs)
        assert not report
        for key, back in to_theirs(wanted, {path: np.asarray(leaf) for path, leaf in leaves.items()}):
            assert back.dtype == dtype and back.tobytes() == theirs[key].tobytes(), key
    for slot in wanted:
        report = to_ours(wanted, like, {key: tensor for key, tensor in theirs.items() if key != slot.theirs})[1]
        assert report.missing == [str(slot)] and sum(map(len, vars(report).values())) == 1


REFUSED = {
    "representation": {"representation": 6},
    "bias=False": {"bias": False},
    "norm_post": {"norm_post": True},
    "registers after the class token": {"registers": 1},
    "positions='cls'": {"registers": 1, "registers_first": True, "positions": "cls"},
    "pool='mean' beside a class token": {"pool": "mean"},
    "pool='token_mean'": {"pool": "token_mean"},
    "mlp_norm without gated": {"mlp_norm": True},
    "patch_bias and norm_pre": {"norm_pre": True},
    "neither patch_bias nor norm_pre": {"patch_bias": False},
    "the mean of registers": {"cls": False, "pool": "mean", "registers": 1, "pool_prefix": True},
    "distilled": {"registers": 1, "registers_first": True, "distilled": True},
    "an image of": {"image": (13, 8)},
}


@pytest.mark.parametrize("switch", REFUSED)
def test_what_birder_has_not_is_named(switch):
    with pytest.raises(Error) as caught:
        BIRDER.rules(ViTConfig(**SIZES | REFUSED[switch]))
    assert f"({switch}" in str(caught.value)


OLDER = {"norm1.": "ln1.", "norm2.": "ln2.", "attn.qkv.": "self_attention.in_proj_", "attn.proj.": "self_attention.out_proj."}


def older(name: str) -> str:
    for new, old in OLDER.items():
        name = name.replace(new, old) if name.startswith("encoder.block.") else name
    return name.replace("pre_block.0.", "pre_block.1.")


@every_family
def test_the_older_spelling_is_the_same_network(family, tmp_path):
    file, network, reference = published(family, tmp_path)
    state = under("state/", reference)
    tensors = {older(name): tensor for name, tensor in state.items()}
    config = convert(file, variant=network)[0].config
    assert BIRDER.respell(tensors, config) == state == BIRDER.respell(state, config)
    both = tensors | {"encoder.block.0.norm1.weight": state["encoder.block.0.norm1.weight"]}
    assert set(BIRDER.respell(both, config)) - set(state) == {"encoder.block.0.ln1.weight"}  # named as one too many


# Files, and the names of networks.


def test_each_fixture_is_recognised_by_one_dialect():
    for path in sorted(set(FIXTURES.glob("*.npz")) - set(FIXTURES.glob("eva_*"))):  # in part timm's, open_clip's: test_eva_files
        if state := {key: tensor for key, tensor in under("state/", read(path.stem)).items()}:
            known = [name for name, dialect in DIALECTS.items() if dialect.recognise(state)]
            start = path.stem.partition("_")[0]  # OpenAI's bare state is open_clip's, too
            others = {"digits": "timm", "hf": "huggingface", "open": "open_clip", "openai": "open_clip"}
            assert known == [others.get(start, start)]


def test_a_file_that_does_not_say_its_network_lists_what_fits(tmp_path):
    state = {
        slot.theirs: np.ones(slot.shape, np.float16) for slot in slots(BIRDER.rules(ROWS["vit_t16"]), shapes(ROWS["vit_t16"]))
    }
    save_file(state, tmp_path / "x.safetensors")
    bundle = files.read(tmp_path / "x.safetensors")
    assert fitting(bundle, BIRDER) == ["vit_t16"]
    with pytest.raises(Error, match=r"--variant NAME .*; it has the tensors of vit_t16$"):
        convert(tmp_path / "x.safetensors")
    spec, _ = convert(tmp_path / "x.safetensors", variant="vit_tiny_patch16_224")  # the same, by timm's name
    assert spec.config == ROWS["vit_t16"] and spec.source.dialect == "birder"


@pytest.mark.parametrize("family", ["birder_reg", "birder_swiglu_ap", "birder_quick_gelu"])
def test_an_exported_file_says_everything(family, tmp_path):
    file, network, reference = published(family, tmp_path)
    spec, params = convert(file, variant=network, dtype="keep")
    for out in tmp_path / "again.safetensors", tmp_path / network:
        export(spec, params, out, "birder")
        again = vitjax.load(out)
        assert (again.spec.name, again.spec.labels) == (out.stem, spec.labels)
        assert (again.config, again.spec.preprocess) == (spec.config, spec.preprocess)
        assert_stages(again, reference)
    state, exported = load_file(file), load_file(tmp_path / "again.safetensors")
    assert state.keys() == exported.keys() and all(state[key].tobytes() == exported[key].tobytes() for key in state)


def test_classes_of_one_name_are_told_apart(tmp_path):
    spec, params = convert(published("birder_reg", tmp_path)[0], variant="vit_reg4_b16")
    spec = replace(spec, labels=("crane", *"abcde", "crane"))
    with safe_open(export(spec, params, tmp_path / "out.safetensors", "birder"), "numpy") as file:
        assert list(json.loads(file.metadata()["class_to_idx"])) == ["crane", *"abcde", "crane (6)"]


def test_pictures_that_birder_cannot_say_are_not_written(tmp_path):
    spec, params = convert(published("birder_reg", tmp_path)[0], variant="vit_reg4_b16")
    spec = replace(spec, preprocess=replace(spec.preprocess, fit="crop"))
    with pytest.raises(Error, match="birder squashes pictures"):
        export(spec, params, tmp_path / "out", "birder")
    assert export(spec, params, tmp_path / "out.safetensors", "birder").exists()


def test_to_timm_and_back(tmp_path):
    spec = Spec("vit_b16", replace(ROWS["vit_b16"], **SIZES), Preprocess((12, 8), 1.0, "squash"))
    params = drawn(spec.config)
    x = uniform("input", (2, 12, 8, 3))
    logits = vitjax.Model(spec, params)(x)
    export(spec, params, tmp_path / "timm", "timm")
    there = vitjax.load(tmp_path / "timm")
    assert there.spec.source.dialect == "timm"
    np.testing.assert_array_equal(there(x), logits)
    export(there.spec, there.params, tmp_path / "birder", "birder")
    np.testing.assert_array_equal(vitjax.load(tmp_path / "birder")(x), logits)


SIGNED = {"inputs": [{"data_shape": [0, 3, 16, 12]}], "outputs": [{"data_shape": [0, 7]}]}
WRONG = {  # what is beside the tensors, and what is said of it
    "another task": ({"task": "object_detection"}, "object_detection is not supported"),
    "grey": ({"signature": SIGNED | {"inputs": [{"data_shape": [0, 1, 16, 12]}]}}, "1 input channels"),
    "more classes": ({"signature": SIGNED | {"outputs": [{"data_shape": [0, 8]}]}}, "class_to_idx names 7 classes"),
    "no outputs": ({"signature": {"inputs": SIGNED["inputs"]}}, "KeyError"),
    "a size of text": ({"signature": SIGNED | {"inputs": [{"data_shape": [0, 3, "16", 12]}]}}, "image must be"),
    "another size": ({"signature": SIGNED | {"inputs": [{"data_shape": [0, 3, 16, 16]}]}}, r"pos_embedding \[1, 21, 24\]"),
    "an unknown key": ({"config": {"patch_sise": 4}}, "unknown key 'patch_sise'; the closest are: patch_size"),
    "RMSNorm": ({"config": {"norm_layer_type": "RMSNorm"}}, "norm_layer_type 'RMSNorm' is not supported: only 'LayerNorm'"),
    "text for truth": ({"config": {"qk_norm": "yes"}}, "qk_norm must be true or false"),
    "an unknown act": ({"config": {"act_layer_type": "relu"}}, "unknown act_layer_type 'relu'"),
    "heads of pooling": ({"config": {"attn_pool_num_heads": 5}}, "attn_pool_num_heads 5 is not supported"),
    "an index twice": ({"class_to_idx": {"a": 0, "b": 0}}, "class_to_idx names 2 classes"),
    "no JSON": ({"rgb_stats": "{"}, "ValueError|JSONDecodeError"),
    "two colours": ({"rgb_stats": {"mean": [0, 0], "std": [1, 1]}}, "mean must be"),
}


@pytest.mark.parametrize(("changes", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_named_with_what_is_wrong(changes, said, tmp_path):
    file, network, _ = published("birder_reg", tmp_path, **changes)
    with pytest.raises(Error, match=said) as caught:
        convert(file, variant=network)
    assert str(caught.value).startswith(str(file))


def test_a_name_that_contradicts_is_refused(tmp_path):
    file, _, _ = published("birder_quick_gelu", tmp_path)
    file = file.rename(tmp_path / "vit_l14_pn_quick_gelu_openai-clip.safetensors")
    assert convert(file)[0].config.width == 24  # what the file says wins over the row
    assert convert(file, variant="vit_l14_pn_quick_gelu")[0].name == "vit_l14_pn_quick_gelu_openai-clip"
    with pytest.raises(Error, match="say vit_l14_pn_quick_gelu_openai-clip, not vit_b16"):
        convert(file, variant="vit_b16")
