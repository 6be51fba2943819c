"""BAAI's own numbers and names: EVA-01, EVA-02 and EVA-CLIP from the files of its own code, and back into them."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import vitjax
from tests.test_google import ABSOLUTE, assert_good
from tests.test_google_files import assert_same
from tests.test_parity import assert_close, read, under
from vitjax import Error
from vitjax.clip_model import CLIP
from vitjax.config import CLIPConfig, Config, TextConfig, ViTConfig
from vitjax.converters import convert, export, files, recognise
from vitjax.converters.eva import EVA
from vitjax.converters.identify import respelt
from vitjax.converters.mapping import compare, to_ours, to_theirs
from vitjax.model import shapes
from vitjax.verify import verify
from vitjax.vit_variants import eva, eva02, eva02clip, eva02sub, evaclip

# Made with BAAI's own code, baaivision/EVA 5623d08: its networks, each as small as it can be.
FAMILIES: dict[str, Callable[..., ViTConfig]] = {
    "eva_01": eva,
    "eva_02_small": eva02,
    "eva_02_base": eva02sub,
    "eva_clip_01b": partial(evaclip, layer_scale=0.1),
    "eva_clip_01g": evaclip,
    "eva_clip_02": eva02clip,
    "eva_clip_02e": partial(evaclip, norm_post=True),
}
CLIPS = [family for family in FAMILIES if "clip" in family]
ROTARY = ["eva_02_small", "eva_02_base", "eva_clip_02"]
State = dict[str, np.ndarray]


def network(family: str, reference: State) -> Config:
    """A network as its fixture says it, at which BAAI's code would arrive from a row of ours."""
    said, row = json.loads(str(reference["meta"]))["config"], partial(FAMILIES[family], interpolation="cubic-pytorch")
    if "vision" not in said:
        up = next(
            f"state/blocks.0.mlp.{name}.weight"
            for name in ("fc1", "w1", "w12")
            if f"state/blocks.0.mlp.{name}.weight" in reference
        )
        mlp = len(reference[up]) // (2 if "w12" in up else 1)
        return row(*(said[key] for key in ("image", "patch", "width", "depth", "heads")), mlp, said["classes"])
    eye, words = said["vision"], said["text"]
    sizes = (eye["image_size"], eye["patch_size"], eye["width"], eye["layers"], eye["width"] // eye["head_width"])
    width, heads, layers = (words[key] for key in ("width", "heads", "layers"))
    text = TextConfig(words["context_length"], words["vocab_size"], width, layers, heads, 4 * width, said["embed"])
    return CLIPConfig(row(*sizes, int(eye["width"] * eye["mlp_ratio"]), said["embed"]), text)


def written(state: State, folder: Path, name: str = "x") -> Path:
    save_file({key: array.copy() for key, array in state.items()}, folder / f"{name}.safetensors")
    return folder / f"{name}.safetensors"


@pytest.fixture(scope="module", params=FAMILIES)
def published(request, tmp_path_factory) -> tuple[Path, State, Any]:
    """A file as it is published, what BAAI's code made of pictures and texts with it, and its network."""
    reference = read(request.param)
    folder = tmp_path_factory.mktemp(request.param)
    return written(under("state/", reference), folder), reference, network(request.param, reference)


def given(family: str, folder: Path) -> tuple[State, State, Any, Path]:
    reference = read(family)
    state = under("state/", reference)
    return state, reference, network(family, reference), written(state, folder)


def vision(config: Any) -> ViTConfig:
    return config.image if isinstance(config, CLIPConfig) else config


def load(file: Path, config: Config, **how: Any) -> Any:
    """EVA-01's bare files are timm's to the last name: which are recognised, test_eva_files.py holds."""
    return vitjax.load(file, config=config, dialect="eva", **how)


def numbers(file: Path, config: Config, **how: Any) -> dict[str, Any]:
    """All parameters that a file is read as."""
    return jax.tree.map(np.asarray, convert(file, config=config, **how)[1])


def assert_equal(ours: dict[str, Any], others: dict[str, Any]) -> None:
    jax.tree.map(np.testing.assert_array_equal, ours, others)


# The numbers.


def test_every_stage(published):
    file, reference, config = published
    model, stage = load(file, config), under("stage/", reference)
    apart = {"mean", "logit_scale_exp", "image_features_norm", "text_features_norm"}
    assert_good(model, reference, set(stage) - apart)
    assert model.spec.source.dialect == "eva"
    if isinstance(config, CLIPConfig):
        assert_close(model.encode_image(reference["input"], normalize=True), stage["image_features_norm"])
        assert_close(model.encode_text(reference["ids"], normalize=True), stage["text_features_norm"])
        assert_close(model(reference["input"], reference["ids"])[0], stage["logits_per_image"])
        assert_close(jnp.exp(model.params["logit_scale"]), stage["logit_scale_exp"])
    else:
        assert_close(model.embed(reference["input"]), stage["pooled"])
        assert_close(model(reference["input"]), stage["logits"])
        assert_close(load(file, config, classes=0)(reference["input"]), stage["pooled"])


@pytest.mark.parametrize("family", CLIPS)
def test_a_tower_alone_is_that_of_both(family, tmp_path):
    _, reference, config, file = given(family, tmp_path)
    whole, stage = load(file, config), under("stage/", reference)
    for name, kind in ("image", "input"), ("text", "ids"):
        own = under(f"{name}/", stage) | {"logits": stage[f"{name}_features"]}
        alone = load(file, config, tower=name)
        assert_good(alone, {kind: reference[kind]} | {f"stage/{key}": array for key, array in own.items()}, set(own))
        assert_same(alone, getattr(whole, name))
        assert_same(load(file, getattr(config, name)), alone)
        # by itself it has the names of its module, and may be read by them
        out = export(alone.spec, alone.params, tmp_path / f"{name}.safetensors", "eva")
        assert not [key for key in load_file(out) if key.startswith(("visual.", "text."))]
        assert_same(load(out, getattr(config, name)), alone)


# fmt: off
MISTAKES = {  # what is wrong with the image tower, and the stage that shows it first
    "eps":            ("eva_01",       "block_00/attn", {"eps": 1e-5}),
    "tanh":           ("eva_01",       "block_00/mlp",  {"act": "gelu_tanh"}),
    "class token":    ("eva_01",       "pooled",        {"pool_prefix": True}),
    "not turned":     ("eva_02_small", "block_00/attn", {"rotary": False, "rotary_grid": None}),
    "another grid":   ("eva_02_base",  "block_00/attn", {"rotary_grid": 14}),
    "GELU gate":      ("eva_02_base",  "block_00/mlp",  {"act": "gelu"}),
    "norm before":    ("eva_clip_02e", "block_00/attn", {"norm_post": False}),
}
# fmt: on


@pytest.mark.parametrize(("family", "first", "changes"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_noticed_where_it_is_made(family, first, changes, tmp_path):
    _, reference, config, file = given(family, tmp_path)
    model = load(file, config)
    if isinstance(config, CLIPConfig):
        wrong = CLIP(replace(model.spec, config=replace(config, image=replace(config.image, **changes))), model.params)
    else:
        wrong = replace(model, spec=replace(model.spec, config=replace(config, **changes)))
    off = [stage for stage in verify(wrong, reference) if stage.difference > ABSOLUTE]
    assert off[0].name.removeprefix("image/") == first


# There and back.


def same_bits(state: State, back: State) -> None:
    """Every parameter to the last bit; tables, which another library's sine made, to a few."""
    assert state.keys() == back.keys()
    for key, array in back.items():
        assert (array.shape, array.dtype) == (state[key].shape, state[key].dtype)
        if "rope" in key:
            eps = float(ml_dtypes.finfo(array.dtype).eps)
            assert np.abs(array.astype(np.float32) - state[key].astype(np.float32)).max() <= eps
        else:
            assert array.tobytes() == state[key].tobytes(), key


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_there_and_back_is_the_identity(family, dtype, tmp_path):
    state, _, config, _ = given(family, tmp_path)
    state = {key: array.astype(dtype) for key, array in state.items()}
    spec, params = convert(written(state, tmp_path), config=config, dialect="eva", dtype="keep")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(params)} == {np.dtype(dtype).name}
    out = export(spec, params, tmp_path / "out.safetensors", "eva")
    same_bits(state, load_file(out))
    again, same = convert(out, config=config, dialect="eva", dtype="keep")
    jax.tree.map(np.testing.assert_array_equal, jax.tree.map(np.asarray, same), jax.tree.map(np.asarray, params))
    twice = export(again, same, tmp_path / "twice.safetensors", "eva")
    assert twice.read_bytes() == out.read_bytes()
    assert [file.name for file in export(spec, params, tmp_path / "folder", "eva").parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_key_that_is_missing_is_named_and_no_other(family, tmp_path):
    state, _, config, _ = given(family, tmp_path)
    wanted = EVA.slots(config)
    for key in state:
        left = respelt(EVA, config, {name: array for name, array in state.items() if name != key})
        report = compare(wanted, left)
        assert [line.split()[0] for line in report.missing] == [key] * ("rope" not in key)  # a copy is no parameter
        assert not report.unexpected and not report.misshaped
    key = next(key for key in state if key.endswith("attn.v_bias"))
    del state[key]
    with pytest.raises(Error, match=rf"missing \(1\):\n    {key}"):
        load(written(state, tmp_path, "less"), config)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_files_hold_the_same_network(family, dtype, tmp_path):
    state, reference, config, _ = given(family, tmp_path)
    file = written({key: array.astype(dtype) for key, array in state.items()}, tmp_path)
    model = load(file, config)
    image = model.image if isinstance(config, CLIPConfig) else model
    theirs = reference.get("stage/image/pooled", reference.get("stage/pooled"))
    assert theirs is not None
    ours = np.asarray(image.embed(reference["input"]))
    cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    assert ours.dtype == np.float32 and cosine.min() > 0.999


# Through other dialects.


@pytest.mark.parametrize("family", ["eva_01", "eva_02_small", "eva_02_base"])
def test_to_timm_and_back(family, tmp_path):
    state, reference, config, file = given(family, tmp_path)
    spec, params = convert(file, config=config, dialect="eva", dtype="keep")
    timms = load_file(export(spec, params, tmp_path / "timm.safetensors", "timm"))
    assert not [key for key in timms if "rope" in key or ".w1" in key or "ffn_ln" in key]
    again, back = convert(tmp_path / "timm.safetensors", config=config, dtype="keep")
    assert again.source.dialect == "timm"
    same_bits(state, load_file(export(again, back, tmp_path / "back.safetensors", "eva")))
    assert_close(vitjax.load(tmp_path / "timm.safetensors", config=config)(reference["input"]), reference["stage/logits"])


@pytest.mark.parametrize("family", CLIPS)
def test_to_open_clip_and_back(family, tmp_path):
    state, reference, config, file = given(family, tmp_path)
    spec, params = convert(file, config=config, dialect="eva", dtype="keep")
    theirs = load_file(export(spec, params, tmp_path / "open.safetensors", "open_clip"))
    assert "visual.trunk.cls_token" in theirs and "text.token_embedding.weight" in theirs
    again, back = convert(tmp_path / "open.safetensors", config=config, dtype="keep")
    assert again.source.dialect == "open_clip"
    same_bits(state, load_file(export(again, back, tmp_path / "back.safetensors", "eva")))
    model = vitjax.load(tmp_path / "open.safetensors", config=config)
    assert_close(model(reference["input"], reference["ids"])[0], reference["stage/logits_per_image"])


@pytest.mark.parametrize("family", CLIPS)
def test_older_spellings_of_a_pair(family, tmp_path):
    """`load_checkpoint` of eva_clip/factory.py moves the temperature out of the text tower, and a bare text tower into it."""
    state, _, config, file = given(family, tmp_path)
    plain = numbers(file, config)
    moved = {("text.logit_scale" if key == "logit_scale" else key): array for key, array in state.items()}
    bare = {key.removeprefix("text."): array for key, array in state.items()}
    for n, other in enumerate((moved, bare, bare | {"attn_mask": np.zeros((10, 10), np.float32)})):
        file = written(other, tmp_path, f"older{n}")
        assert recognise(files.read(file)).name == "eva"
        assert_equal(numbers(file, config), plain)
        assert_equal(numbers(file, config, part="text"), plain["text"])
        assert_equal(numbers(file, config.image), plain["image"])
    with pytest.raises(Error, match=r"unexpected \(1\):\n    text.logit_scale"):
        load(written(state | {"text.logit_scale": state["logit_scale"]}, tmp_path, "both"), config)


# Networks that are no fixture.


def draw(seed: int) -> ViTConfig | CLIPConfig:
    """Any network that BAAI's code can have."""
    rng = random.Random(seed)
    patch, heads, kind = rng.choice([2, 3, 4]), rng.randint(1, 4), rng.choice([eva, eva02, eva02sub, evaclip, eva02clip])
    image = (rng.randint(2, 5) * patch, rng.randint(2, 5) * patch)
    grid = {"rotary_grid": rng.choice([None, 3, 14, 16, (5, 9)])} if kind in (eva02, eva02sub, eva02clip) else {}
    pool: dict[str, Any] = rng.choice([{"pool": "mean", "norm": "after"}, {"pool": "token", "norm": "before"}])
    clip = kind in (evaclip, eva02clip)
    sizes = (image, patch, heads * rng.choice([8, 12, 20]), rng.randint(1, 4), heads, rng.randint(5, 30), 7)
    tower = kind(
        *sizes, **grid, **pool, pool_prefix=clip and pool["pool"] == "mean", norm_post=rng.random() < 0.3,
        layer_scale=rng.choice([None, 0.1]), qkv_bias=rng.choice(["qv", "qv", False]),
        positions=rng.choice(["all", "all", "none"]), interpolation="cubic-pytorch",
    )  # fmt: skip
    tower = tower if clip or rng.random() < 0.7 else replace(tower, classes=0)
    if not clip:
        return tower
    return CLIPConfig(tower, TextConfig(rng.randint(1, 7), 11, heads * 6, rng.randint(1, 3), heads, 13, 7, act="quick_gelu"))


@pytest.mark.parametrize("seed", range(30))
def test_any_network_there_and_back(seed, tmp_path):
    config, rng = draw(seed), np.random.default_rng(seed)
    wanted = EVA.slots(config)
    theirs: State = {slot.theirs: rng.standard_normal(slot.shape).astype(np.float32) for slot in wanted} | EVA.tables(config)
    assert len(EVA.tables(config)) == (2 * (vision(config).depth + 1) if vision(config).rotary else 0)
    leaves, report = to_ours(wanted, shapes(config), respelt(EVA, config, theirs))
    assert not report
    back = dict(to_theirs(wanted, {path: np.asarray(leaf) for path, leaf in leaves.items()})) | EVA.tables(config)
    same_bits(theirs, back)
    spec, params = convert(written(theirs, tmp_path), config=config, dialect="eva")
    same_bits(theirs, load_file(export(spec, params, tmp_path / "out.safetensors", "eva")))


# fmt: off
NOT_THEIRS: dict[str, tuple[str, dict[str, Any]]] = {
    "a key's bias":          ("eva_01",       {"qkv_bias": True}),
    "no bias of an MLP":     ("eva_01",       {"bias": False}),
    "registers":             ("eva_01",       {"registers": 4}),
    "no class token":        ("eva_01",       {"cls": False}),
    "tanh":                  ("eva_01",       {"act": "gelu_tanh"}),
    "a GELU gate":           ("eva_02_base",  {"act": "gelu"}),
    "a probe":               ("eva_01",       {"pool": "map"}),
    "the mean, normed":      ("eva_01",       {"norm": "before"}),
    "norms of q and k":      ("eva_01",       {"qk_norm": True}),
    "three, and no sub-LN":  ("eva_02_base",  {"mlp_norm": False}),
    "sub-LN of one":         ("eva_02_small", {"mlp_norm": True}),
    "attention's of one":    ("eva_02_small", {"attn_norm": True}),
    "a norm before":         ("eva_01",       {"norm_pre": True}),
    "patches' positions":    ("eva_01",       {"positions": "patches"}),
    "a head without a bias": ("eva_01",       {"head_bias": False}),
}
# fmt: on


@pytest.mark.parametrize(("family", "changes"), NOT_THEIRS.values(), ids=NOT_THEIRS)
def test_a_network_that_baai_has_not_is_refused_by_name(family, changes):
    config = network(family, read(family))
    with pytest.raises(Error, match=rf"EVA's image towers cannot be such a network: .*{next(iter(changes))}="):
        EVA.rules(replace(config, **changes))


def test_a_pair_that_baai_has_not_is_refused_by_name():
    pair: Any = network("eva_clip_02", read("eva_clip_02"))
    for image in {"attn_norm": False}, {"pool": "mean", "norm": "after"}, {"packed": True, "mlp_norm": False, "attn_norm": False}:
        with pytest.raises(Error, match=r"EVA's CLIPs, in their image towers, cannot be such a network: .*="):
            EVA.rules(replace(pair, image=replace(pair.image, **image)))
    with pytest.raises(Error, match="EVA's CLIPs cannot be such a network: sigmoid=True"):
        EVA.rules(replace(pair, sigmoid=True))
    for text in {"pool": "last"}, {"head_bias": True}, {"act": "silu"}, {"gated": True}:
        with pytest.raises(Error, match="text tower"):
            EVA.rules(replace(pair, text=replace(pair.text, **text)))
