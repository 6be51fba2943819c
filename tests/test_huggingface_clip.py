"""The numbers of transformers' CLIP and SigLIP, through its folders and `vitjax.load`; its names, read both ways."""

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
from tests.test_huggingface import FIXTURES, _leaves
from tests.test_mapping import drawn
from tests.test_parity import assert_close, assert_stages, publish, under
from vitjax import Error, converters
from vitjax.config import CLIPConfig, TextConfig, ViTConfig
from vitjax.converters import DIALECTS, convert, export, files
from vitjax.converters.huggingface import HUGGINGFACE
from vitjax.converters.identify import respelt
from vitjax.converters.mapping import Report, slots, to_ours, to_theirs
from vitjax.model import shapes
from vitjax.surgery import resize
from vitjax.verify import SMALL, verify

FAMILIES = sorted(path.stem for path in FIXTURES.iterdir() if re.match("hf_(clip|siglip)", path.stem))
WHOLE = ["hf_clip", "hf_clip_eos", "hf_siglip"]


@pytest.fixture(scope="module", params=FAMILIES)
def published(request, tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp(request.param)
    return folder, publish(request.param, folder)


def inputs(reference: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [reference[name] for name in ("input", "ids") if name in reference]


def test_every_stage(published):
    folder, reference = published
    model = vitjax.load(folder)
    assert set(model.stages(*inputs(reference))) == set(under("stage/", reference))
    assert_stages(model, reference)
    stage, out = under("stage/", reference), model(*inputs(reference))
    assert_close(
        *(out[0], stage["logits_per_image"]) if "logits_per_image" in stage else (out, stage.get("logits", stage["pooled"]))
    )


@pytest.mark.parametrize("published", [name for name in FAMILIES if "text" not in name], indirect=True)
def test_another_size(published):
    folder, reference = published
    resized = under("resized/", reference) | {"ids": reference.get("ids")}
    assert_stages(vitjax.load(folder, image=resized["input"].shape[1:3]), resized)


@pytest.mark.parametrize("published", WHOLE, indirect=True)
@pytest.mark.parametrize(("tower", "kind"), [("image", "input"), ("text", "ids")])
def test_one_tower_of_two(published, tower, kind, monkeypatch):
    folder, reference = published
    read, real = [], converters.stored.Stored.read
    monkeypatch.setattr(converters.stored.Stored, "read", lambda self, *memory: read.append(self.offset) or real(self, *memory))
    model = vitjax.load(folder, tower=tower)
    tensors = files.read(folder).tensors
    mine = ("vision", "visual") if tower == "image" else ("text",)
    assert {name for name, tensor in tensors.items() if tensor.offset in read} == {n for n in tensors if n.startswith(mine)}
    stage = under(f"stage/{tower}/", reference)
    features = reference[f"stage/{tower}_features"]
    if model.config.classes:
        stage |= {"logits": features}
    assert set(stage) == set(model.stages(reference[kind]))
    assert_stages(model, {kind: reference[kind]} | {f"stage/{name}": array for name, array in stage.items()})
    assert_close(model(reference[kind]), features)
    assert model.config == getattr(vitjax.load(folder).config, tower)


def test_there_and_back(published, tmp_path):
    folder, _ = published
    found, params = convert(folder)
    export(found, params, tmp_path, "huggingface")
    theirs, ours = load_file(folder / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    prefix = "" if theirs.keys() == ours.keys() else next(iter(ours)).partition(".")[0] + "."
    assert prefix in ("", "vision_model.", "text_model.") and {prefix + name for name in theirs} == ours.keys()
    for name, tensor in theirs.items():
        assert tensor.tobytes() == ours[prefix + name].tobytes() and tensor.shape == ours[prefix + name].shape
    again, _ = convert(tmp_path)
    assert replace(again, name=found.name, source=found.source) == found


@pytest.mark.parametrize("published", ["hf_clip", "hf_siglip", "hf_clip_text"], indirect=True)
def test_through_a_checkpoint_and_back(published, tmp_path):
    folder, reference = published
    found, params = convert(folder)
    vitjax.checkpoint.save(tmp_path / "ours", found, params)
    model = vitjax.load(tmp_path / "ours")
    assert_stages(model, reference)
    export(model.spec, model.params, tmp_path / "theirs", "huggingface")
    assert_stages(vitjax.load(tmp_path / "theirs"), reference)
    for name in ("image", "text") if isinstance(found.config, CLIPConfig) else ():
        part = vitjax.load(tmp_path / "ours", tower=name)
        export(part.spec, part.params, tmp_path / name, "huggingface")
        assert vitjax.load(tmp_path / name).config == part.config
        assert_close(
            vitjax.load(tmp_path / name)(reference["input" if name == "image" else "ids"]), reference[f"stage/{name}_features"]
        )


def test_bfloat16(published):
    folder, reference = published
    stage = under("stage/", reference)
    model = vitjax.load(folder, dtype="bfloat16")
    if isinstance(model.config, CLIPConfig):
        pairs = [(model.encode_image(reference["input"]), stage["image_features"])]
        pairs += [(model.encode_text(reference["ids"]), stage["text_features"])]
    else:
        pairs = [(model(*inputs(reference)), stage.get("logits", stage["pooled"]))]
    for ours, theirs in pairs:
        ours = np.asarray(ours, np.float32)
        cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
        assert cosine.min() > 0.999


# fmt: off
MISTAKES = {  # of a tower: what is wrong, and the stage that shows it first
    "eps of CLIP":            ("hf_clip",           "image", "embed",         {"eps": 1e-6}),
    "eps of its text":        ("hf_clip_text",      "",      "block_00/attn", {"eps": 1e-6}),
    "eps of SigLIP":          ("hf_siglip_vision",  "",      "block_00/attn", {"eps": 1e-5}),
    "eps of its text tower":  ("hf_siglip",         "text",  "block_00/attn", {"eps": 1e-6}),
    "erf for sigmoid":        ("hf_clip",           "image", "block_00/mlp",  {"act": "gelu"}),
    "sigmoid for erf":        ("hf_clip",           "text",  "block_00/mlp",  {"act": "quick_gelu"}),
    "erf for tanh":           ("hf_siglip",         "image", "block_00/mlp",  {"act": "gelu"}),
    "erf for tanh in a pool": ("hf_siglip",         "image", "pooled",        {"pool_act": "gelu"}),
    "eps of a pool":          ("hf_siglip",         "image", "pooled",        {"pool_eps": 1e-4}),
    "both ways":              ("hf_clip",           "text",  "block_00/attn", {"causal": False}),
    "one way":                ("hf_siglip_text",    "",      "block_00/attn", {"causal": True}),
    "the end by its id":      ("hf_clip_text",      "",      "pooled",        {"pool": "eos", "eos": 2}),
    "the end by its height":  ("hf_clip_text_space", "",     "pooled",        {"pool": "argmax", "eos": None}),
    "the last":               ("hf_clip",           "text",  "pooled",        {"pool": "last"}),
}
# fmt: on


@pytest.mark.parametrize(("family", "tower", "first", "changes"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_noticed_where_it_is_made(family, tower, first, changes, tmp_path):
    reference = publish(family, tmp_path)
    model = vitjax.load(tmp_path, tower=tower or None)
    wrong = replace(model, spec=replace(model.spec, config=replace(model.config, **changes)))
    stages = {key.replace(f"{tower}/", "", 1) if tower else key: array for key, array in reference.items()}
    off = [stage for stage in verify(wrong, stages) if not stage.good]
    assert off[0].name == first and off[0].difference > 5 * SMALL * off[0].scale, off[0]


def test_antialiasing_is_noticed(tmp_path):
    for family in ("hf_clip_vision", "hf_siglip_vision"):
        resized = under("resized/", publish(family, tmp_path))
        found, params = convert(tmp_path)
        wrong = replace(found, config=replace(found.config, interpolation="cubic"))
        off = [
            s for s in verify(vitjax.Model(*resize(wrong, jax.tree.map(jnp.asarray, params), (12, 20))), resized) if not s.good
        ]
        assert off and off[0].name == "embed"


# Names: with and without a prefix, and what else is in files.


def test_spellings_are_one_network(published, tmp_path):
    folder, reference = published
    tensors, kind = under("state/", reference), json.loads(str(reference["config"]))["model_type"]
    found, params = convert(folder)
    like = {path: np.asarray(leaf) for path, leaf in _leaves(params)}
    (tmp_path / "config.json").write_text(str(reference["config"]))
    towers = [f"{part}_model." for part in ("vision", "text") if part in kind or "_" not in kind]
    prefixed = {n if n.startswith(("vision_", "text_", "visual_", "logit_")) else towers[0] + n: t for n, t in tensors.items()}
    old = prefixed | {f"{tower}embeddings.position_ids": np.arange(9)[None] for tower in towers}
    bare = old if towers[1:] else {name.removeprefix(towers[0]): tensor for name, tensor in old.items()}
    for spelling in prefixed, old, bare:
        save_file({name: np.array(t, order="C") for name, t in spelling.items()}, tmp_path / "model.safetensors")
        again, params = convert(tmp_path)
        assert again.config == found.config
        assert all(np.array_equal(np.asarray(leaf), like[path]) for path, leaf in _leaves(params))
        once = respelt(HUGGINGFACE, found.config, spelling)
        assert respelt(HUGGINGFACE, found.config, once).keys() == once.keys()
        assert [d.name for d in DIALECTS.values() if d.recognise(spelling)] == ["huggingface"]


IMAGE = ViTConfig(
    8,
    4,
    12,
    2,
    3,
    20,
    5,
    act="quick_gelu",
    eps=1e-5,
    patch_bias=False,
    norm_pre=True,
    head_bias=False,
    interpolation="cubic-pytorch",
)
WORDS = TextConfig(5, 11, 8, 2, 2, 16, 5, act="quick_gelu")
EYE = ViTConfig(8, 4, 12, 2, 3, 20, 0, act="gelu_tanh", cls=False, pool="map", interpolation="cubic-pytorch")
READ = TextConfig(5, 11, 8, 2, 2, 16, 12, act="gelu_tanh", eps=1e-6, causal=False, pool="last", head_bias=True)
NETWORKS = [
    CLIPConfig(IMAGE, WORDS), CLIPConfig(EYE, READ, sigmoid=True), IMAGE, replace(IMAGE, classes=0), EYE, WORDS,
    replace(WORDS, classes=0), replace(WORDS, pool="eos", eos=7), READ,
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_every_network_there_and_back(dtype):
    for cfg in NETWORKS:
        like = shapes(cfg)
        wanted = slots(HUGGINGFACE.rules(cfg), like)
        rng = np.random.default_rng(0)
        theirs = {slot.theirs: np.asarray(rng.standard_normal(slot.shape)).astype(dtype) for slot in wanted}
        leaves, report = to_ours(wanted, like, respelt(HUGGINGFACE, cfg, theirs))
        assert not report
        for (key, back), slot in zip(to_theirs(wanted, {p: np.asarray(leaf) for p, leaf in leaves.items()}), wanted, strict=True):
            assert (key, back.shape, back.dtype) == (slot.theirs, slot.shape, dtype)
            assert back.tobytes() == theirs[key].tobytes()
        for slot in wanted:
            others = respelt(HUGGINGFACE, cfg, {k: v for k, v in theirs.items() if k != slot.theirs})
            assert to_ours(wanted, like, others)[1] == Report(missing=[str(slot)])


@pytest.mark.parametrize("published", ["hf_clip", "hf_siglip"], indirect=True)
def test_what_is_missing_and_what_is_too_much_are_named(published, tmp_path):
    tensors, reference = under("state/", published[1]), published[1]
    (tmp_path / "config.json").write_text(str(reference["config"]))
    half = {name: t for name, t in tensors.items() if not name.startswith("text_model.encoder.layers.1.self_attn")}
    save_file(half | {"vision_model.extra": np.zeros(3, np.float32)}, tmp_path / "model.safetensors")
    with pytest.raises(Error) as error:
        vitjax.load(tmp_path)
    lost, more = sorted(tensors.keys() - half.keys()), "unexpected (1):\n    vision_model.extra [3]"
    assert len(lost) == 8 and all(name in str(error.value) for name in lost) and more in str(error.value)
    with pytest.raises(Error, match=r"vision_model\.extra"):
        vitjax.load(tmp_path, tower="image")
    with pytest.raises(Error, match=r"missing \(8\)"):
        vitjax.load(tmp_path, tower="text")


def test_a_file_without_settings_is_read_by_a_config(tmp_path):
    for cfg in NETWORKS:
        spec, params = vitjax.Spec("x", cfg), drawn(cfg)
        file = export(spec, params, tmp_path / "x.safetensors", "huggingface")
        found, again = convert(file, config=cfg)
        assert found.config == cfg and (found.tokenize is None) == isinstance(cfg, ViTConfig)
        assert jax.tree.all(jax.tree.map(lambda a, b: np.array_equal(np.asarray(a), b), again, params))


def tiny(cfg: CLIPConfig) -> CLIPConfig:
    sizes = {"width": 12, "depth": 1, "heads": 3, "mlp": 20}
    space = 0 if cfg.sigmoid else 5
    text = replace(cfg.text, **sizes, vocab=20, context=6, classes=space or 12)
    return replace(cfg, image=replace(cfg.image, **sizes, image=32, classes=space), text=text)


def test_a_file_without_settings_is_read_by_a_row(tmp_path, monkeypatch):
    """Of a CLIP it does not say the activation, unless the row is of published weights; SigLIP's is always the same."""
    for name in ("clip_vit_small_patch32_224", "siglip_vit_base_patch16_224"):
        row = tiny(vitjax.variants.VARIANTS[name])
        monkeypatch.setitem(vitjax.variants.VARIANTS, name, row)
        export(vitjax.Spec("x", row), drawn(row), tmp_path / f"{name}.safetensors", "huggingface")
    clip, siglip = (tmp_path / f"{name}.safetensors" for name in ("clip_vit_small_patch32_224", "siglip_vit_base_patch16_224"))
    assert convert(siglip, variant=siglip.stem)[0].config.image.act == "gelu_tanh"
    assert convert(clip, variant=clip.stem, act="quick_gelu")[0].config.text.act == "quick_gelu"
    with pytest.raises(Error, match="does not say its activation"):
        convert(clip, variant=clip.stem)
