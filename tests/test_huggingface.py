"""The numbers of transformers, through its folders and `vitjax.load`; its names, read both ways; its settings files."""

import json
import re
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import vitjax
from tests.recipe import uniform, weight
from tests.test_parity import assert_close, assert_stages, publish, read, under
from vitjax import Error
from vitjax.converters import DIALECTS, convert, export
from vitjax.converters.files import Bundle
from vitjax.converters.huggingface import HUGGINGFACE
from vitjax.converters.identify import respelt
from vitjax.converters.mapping import Report, slots, to_ours, to_theirs
from vitjax.model import shapes
from vitjax.surgery import resize
from vitjax.variants import WEIGHTS, spec
from vitjax.verify import FULL, SMALL, verify

FIXTURES = Path(__file__).parent / "fixtures"
FAMILIES = sorted(path.stem for path in FIXTURES.glob("hf_*.npz") if not re.match("hf_(full|clip|siglip)", path.stem))
HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module", params=FAMILIES)
def published(request, tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp(request.param)
    return folder, publish(request.param, folder)


def test_every_stage(published):
    folder, reference = published
    model = vitjax.load(folder)
    assert set(model.stages(reference["input"])) == set(under("stage/", reference))
    assert_stages(model, reference)
    stage = under("stage/", reference)
    assert_close(model(reference["input"]), stage.get("logits", stage.get("pre_logits", stage["pooled"])))


@pytest.mark.parametrize("published", ["hf_vit", "hf_deit_taught", "hf_dinov2_linear", "hf_dinov2_reg"], indirect=True)
def test_another_size(published):
    folder, reference = published
    resized = under("resized/", reference)
    assert_stages(vitjax.load(folder, image=resized["input"].shape[1:3]), resized)


def test_a_folder_as_published(tmp_path):
    """Its pictures may be smaller than those of its positions: these are resampled, as transformers does at every call."""
    reference = publish("hf_dinov2_reg", tmp_path)
    bit = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 14}, "crop_size": {"height": 12, "width": 12}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(bit))
    model = vitjax.load(tmp_path)
    assert model.config.image == 12 and convert(tmp_path)[0].config.image == 16
    assert model(model.preprocess(np.zeros((20, 30, 3), np.uint8))).shape == (1, 5)
    assert_stages(vitjax.load(tmp_path, image=16), reference)


@pytest.mark.parametrize("published", ["hf_vit_pooler", "hf_deit_taught", "hf_dinov2_reg"], indirect=True)
def test_headless_and_bfloat16(published):
    folder, reference = published
    expected = reference.get("stage/pre_logits", reference["stage/pooled"])
    model = vitjax.load(folder, classes=0)
    assert not any("head" in name for name in model.params)
    assert_close(model(reference["input"]), expected)
    ours = np.asarray(vitjax.load(folder, dtype="bfloat16").embed(reference["input"]), np.float32)
    cosine = (ours * expected).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(expected, axis=-1)
    assert cosine.min() > 0.999


def test_there_and_back(published, tmp_path):
    folder, _ = published
    found, params = convert(folder)
    export(found, params, tmp_path, "huggingface")
    theirs, ours = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    for tensors in theirs, ours:
        for name in [name for name in tensors if name.endswith("mask_token")]:
            del tensors[name]
    assert theirs.keys() == ours.keys()
    assert all(theirs[name].tobytes() == ours[name].tobytes() and theirs[name].shape == ours[name].shape for name in theirs)
    again, _ = convert(tmp_path)
    assert replace(again, name=found.name, source=found.source) == found


def test_full_size(tmp_path):
    reference = read("hf_full_vit_large_patch16_224")
    (tmp_path / "config.json").write_text(str(reference["config"]))
    file = tmp_path / "model.safetensors"
    save_file({key: weight(key, tuple(shape)) for key, shape in json.loads(str(reference["manifest"])).items()}, file)
    model = vitjax.load(tmp_path)
    file.unlink()  # 1.2 GB
    assert replace(model.config, layer_scale=None) == spec("google/vit-large-patch16-224").config
    stages = model.stages(uniform("input", tuple(reference["input"])))
    assert_close(stages["tokens"][:, ::16], reference["stage/tokens"], FULL)
    assert_close(stages["pooled"], reference["stage/pooled"], FULL)
    assert_close(stages["logits"], reference["stage/logits"], FULL)


# fmt: off
MISTAKES = {  # what is wrong, and the stage that shows it first
    "eps":               ("hf_vit",           "block_00/attn", {"eps": 1e-6}),
    "eps of DINOv2":     ("hf_dinov2_linear", "block_00/attn", {"eps": 1e-5}),
    "tanh for erf":      ("hf_vit",           "block_00/mlp",  {"act": "gelu_tanh"}),
    "erf for sigmoid":   ("hf_vit_pooler",    "block_00/mlp",  {"act": "gelu"}),
    "one head":          ("hf_deit_taught",   "pooled",        {"distilled": False}),
    "token in mean":     ("hf_dinov2_linear", "pooled",        {"pool_prefix": True}),
    "registers in mean": ("hf_dinov2_reg",    "pooled",        {"pool_prefix": True}),
    "mean for token":    ("hf_vit",           "pooled",        {"pool": "mean"}),
}
# fmt: on


@pytest.mark.parametrize(("family", "first", "changes"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_noticed_where_it_is_made(family, first, changes, tmp_path):
    reference = publish(family, tmp_path)
    model = vitjax.load(tmp_path)
    wrong = replace(model, spec=replace(model.spec, config=replace(model.config, **changes)))
    off = [stage for stage in verify(wrong, {key: a for key, a in reference.items() if key != "stage/logits"}) if not stage.good]
    assert off[0].name == first and off[0].difference > 10 * SMALL * off[0].scale


def test_antialiasing_is_noticed(tmp_path):
    for family, how in (("hf_vit", "cubic"), ("hf_dinov2_reg", "cubic-pytorch")):
        resized = under("resized/", publish(family, tmp_path))
        found, params = convert(tmp_path)
        wrong = replace(found, config=replace(found.config, interpolation=how))
        params = jax.tree.map(jnp.asarray, params)
        off = [stage for stage in verify(vitjax.Model(*resize(wrong, params, (12, 20))), resized) if not stage.good]
        assert off and off[0].name == "embed"


# Names: those on disk, those in memory, with and without prefixes.

IN_MEMORY = [
    ("encoder.layer.", "layers."),
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
    ("attention.output.dense", "attention.o_proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
]


def in_memory(tensors: dict[str, np.ndarray], dino: bool) -> dict[str, np.ndarray]:
    out = {}
    for name, tensor in tensors.items():
        for disk, memory in IN_MEMORY[1:] if dino else IN_MEMORY:
            name = name.replace(disk, memory)
        if "weights_in" in name:
            gate, up = np.split(tensor, 2)
            out |= {name.replace("weights_in", "gate_proj"): gate, name.replace("weights_in", "up_proj"): up}
        else:
            out[name.replace("weights_out", "down_proj")] = tensor
    return out


def test_spellings_are_one_network(published, tmp_path):
    folder, reference = published
    tensors = under("state/", reference)
    prefix = next(name for name in tensors if name.endswith("embeddings.position_embeddings")).partition("embeddings.")[0]
    memory = in_memory(tensors, "dinov2" in str(reference["config"]))
    assert set(memory) != set(tensors)
    bare = {name.removeprefix(prefix): tensor for name, tensor in memory.items()}
    found, params = convert(folder)
    like = {path: np.asarray(leaf) for path, leaf in _leaves(params)}
    (tmp_path / "config.json").write_text(str(reference["config"]))
    for spelling in memory, bare, {f"vit.{name}" if "classifier" not in name else name: t for name, t in bare.items()}:
        save_file({name: np.ascontiguousarray(t) for name, t in spelling.items()}, tmp_path / "model.safetensors")
        again, params = convert(tmp_path)
        assert again.config == found.config
        assert all(np.array_equal(np.asarray(leaf), like[path]) for path, leaf in _leaves(params))
        once = respelt(HUGGINGFACE, found.config, spelling)
        assert respelt(HUGGINGFACE, found.config, once).keys() == once.keys()


def _leaves(params, path=""):
    for name, leaf in params.items():
        yield from _leaves(leaf, f"{path}/{name}") if isinstance(leaf, dict) else [(f"{path}/{name}", leaf)]


HF_ROWS = [
    name for name, row in WEIGHTS.items() if row.dialect == "huggingface" and isinstance(spec(name).config, vitjax.ViTConfig)
]
TINY = {"image": 28, "patch": 14, "width": 12, "depth": 2, "heads": 3, "mlp": 16}
SMALL_ROWS = {
    name: replace(cfg, **TINY, classes=min(5, cfg.classes), representation=min(12, cfg.representation))
    for name, cfg in ((name, spec(name).config) for name in HF_ROWS)
}


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_every_published_row_there_and_back_small(dtype):
    assert len(set(SMALL_ROWS.values())) == 12
    for cfg in set(SMALL_ROWS.values()):
        like = shapes(cfg)
        wanted = slots(HUGGINGFACE.rules(cfg), like)
        rng = np.random.default_rng(0)
        theirs = {slot.theirs: rng.standard_normal(slot.shape).astype(dtype) for slot in wanted}
        spelt = respelt(HUGGINGFACE, cfg, theirs)
        leaves, report = to_ours(wanted, like, spelt)
        assert not report
        for (key, back), slot in zip(to_theirs(wanted, {p: np.asarray(leaf) for p, leaf in leaves.items()}), wanted, strict=True):
            assert (key, back.shape, back.dtype) == (slot.theirs, slot.shape, dtype)
            assert key.endswith("mask_token") or back.tobytes() == theirs[key].tobytes()
        for slot in wanted:
            if not slot.theirs.endswith("mask_token"):
                others = respelt(HUGGINGFACE, cfg, {k: v for k, v in theirs.items() if k != slot.theirs})
                assert to_ours(wanted, like, others)[1] == Report(missing=[str(slot)])


@pytest.mark.parametrize("name", HF_ROWS)
def test_a_row_is_what_its_settings_say(name, tmp_path):
    """What we write of it, we read as the same; its tensors are recognised as nobody else's."""
    published = spec(name)
    for file, data in HUGGINGFACE.write_settings(published).items():
        (tmp_path / file).write_text(json.dumps(data))
    tensors = {
        slot.theirs: np.empty(slot.shape, np.bool_)
        for slot in slots(HUGGINGFACE.rules(SMALL_ROWS[name]), shapes(SMALL_ROWS[name]))
    }
    assert [d.name for d in DIALECTS.values() if d.recognise(tensors)] == ["huggingface"]
    if width := published.config.representation:
        tensors["pooler.dense.weight"] = np.empty((width, 1))
    config, preprocessor = (json.loads((tmp_path / f"{file}.json").read_text()) for file in ("config", "preprocessor_config"))
    found = HUGGINGFACE.read_settings(Bundle(tmp_path / "x", tensors, config, preprocessor))
    assert (found.config, found.labels) == (published.config, published.labels)
    assert replace(found.preprocess, centre="even") == published.preprocess


def test_a_variant_beside_settings_must_have_their_sizes(tmp_path):
    model = vitjax.create("vit_tiny_patch16_224", image=32, classes=2)
    export(model.spec, model.params, tmp_path / "any_name", "huggingface")
    assert vitjax.load(tmp_path / "any_name", variant="vit_tiny_patch16_224").config.image == 32
    with pytest.raises(Error, match="say any_name, not vit_small_patch16_224"):
        vitjax.load(tmp_path / "any_name", variant="vit_small_patch16_224")
