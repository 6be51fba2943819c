"""The numbers of timm, stage by stage, through the way that users go: its folder, `vitjax.load`, the methods of Model."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

import vitjax
from tests.recipe import uniform, weight
from vitjax import Model
from vitjax.verify import FULL, SMALL, verify

FIXTURES = Path(__file__).parent / "fixtures"
FAMILIES = sorted(path.stem for path in FIXTURES.glob("timm_*.npz"))
# One family for each way that goes on from the last block: class token, mean or attention, of which tokens, normed when.
HEADS = [f"timm_{name}" for name in ("plain", "siglip_gap", "gap_reg4", "eva_large", "map_reg4", "map_prefix", "intern300m")]
HEADS += ["timm_eva01", "timm_eva02_clip"]
PUBLISHED = sorted(path.stem.removeprefix("full_") for path in FIXTURES.glob("full_*.npz"))
heads = pytest.mark.parametrize("published", HEADS, indirect=True)


def read(name: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / f"{name}.npz") as file:
        return dict(file)


def under(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def assert_stages(model: Model, reference: dict[str, np.ndarray]) -> None:
    """Every stage is right; if not, the first one that is off is named."""
    off = [stage for stage in verify(model, reference) if not stage.good]
    assert not off, off[0]


def assert_close(ours: jax.Array, theirs: np.ndarray, tolerance: float = SMALL) -> None:
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == np.float32
    assert np.abs(np.asarray(ours) - theirs).max() <= tolerance * np.abs(theirs).max()


def assert_alike(half: jax.Array, theirs: np.ndarray) -> None:
    """Features in bfloat16 point where those in float32 do."""
    assert half.dtype == jnp.bfloat16
    ours = np.asarray(half, np.float32)
    cosine = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    assert cosine.min() > 0.999


def publish(family: str, folder: Path) -> dict[str, np.ndarray]:
    """Write a tiny network as timm saves it; what timm makes of pictures with it."""
    reference = read(family)
    (folder / "config.json").write_text(str(reference["config"]))
    save_file(under("state/", reference), folder / "model.safetensors")
    return reference


@pytest.fixture(scope="module", params=FAMILIES)
def published(request, tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp(request.param)
    return folder, publish(request.param, folder)


def test_every_stage(published):
    folder, reference = published
    model = vitjax.load(folder)
    assert set(model.stages(reference["input"])) == set(under("stage/", reference))
    assert_stages(model, reference)


@heads
def test_every_method(published):
    folder, reference = published
    model, x, stage = vitjax.load(folder), reference["input"], under("stage/", reference)
    assert_close(model.forward_features(x), stage["tokens"])
    assert_close(model.forward_head(stage["tokens"], pre_logits=True), stage["pooled"])
    assert_close(model.embed(x), stage["pooled"])
    for logits in model(x), model.forward_head(stage["tokens"]):
        assert_close(logits, stage.get("logits", stage["pooled"]))


@heads
def test_headless(published):
    folder, reference = published
    model = vitjax.load(folder, classes=0)
    assert "head" not in model.params
    assert_close(model(reference["input"]), reference["stage/pooled"])


@heads
def test_feature_maps(published):
    folder, reference = published
    model, x = vitjax.load(folder), reference["input"]
    prefix, shape = model.config.prefix, reference["maps"].shape[1:]
    raw = [reference[f"stage/block_{block:02}"][:, prefix:].reshape(shape) for block in range(model.config.depth)]
    for norm, theirs in (False, raw), (True, reference["maps"]):
        for block, ours in zip((0, -1), model.feature_maps(x, (0, -1), norm), strict=True):
            assert_close(ours, theirs[block])


def test_another_size(published):
    folder, reference = published
    resized = under("resized/", reference)
    assert_stages(vitjax.load(folder, image=resized["input"].shape[1:3]), resized)


def test_bfloat16(published):
    folder, reference = published
    assert_alike(vitjax.load(folder, dtype="bfloat16").embed(reference["input"]), reference["stage/pooled"])


@pytest.mark.parametrize("architecture", PUBLISHED)
def test_full_size(architecture, tmp_path):
    reference = read(f"full_{architecture}")
    shapes = {key: tuple(shape) for key, shape in json.loads(str(reference["manifest"])).items()}
    files = {}
    for shard, keys in itertools.groupby(shapes, lambda key: key.split(".")[:2]):  # a block at a time: one has 4 GB
        files |= dict.fromkeys(keys := list(keys), name := f"{'.'.join(shard)}.safetensors")
        save_file({key: weight(key, shapes[key]) for key in keys}, tmp_path / name)
    (index := tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    model = vitjax.load(index, variant=architecture)
    shutil.rmtree(tmp_path)
    x = uniform("input", tuple(reference["input"]))
    stages = model.stages(x)
    assert_close(stages["tokens"][:, ::16], reference["stage/tokens"], FULL)
    assert_close(stages["pooled"], reference["stage/pooled"], FULL)
    assert_close(stages["logits"], reference["stage/logits"], FULL)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), model.params)
    assert_alike(replace(model, params=half, dtype="bfloat16").embed(x), reference["stage/pooled"])


# Where parameters do not give a mistake away, only numbers do: are the fixtures sharp enough to?
# fmt: off
MISTAKES = {  # what is wrong, and the stage that shows it first
    "eps":              ("timm_plain",        "block_00/attn", {"eps": 1e-5}),
    "eps of CLIP":      ("timm_clip",         "embed",         {"eps": 1e-6}),
    "tanh for erf":     ("timm_plain",        "block_00/mlp",  {"act": "gelu_tanh"}),
    "erf for tanh":     ("timm_siglip2_map",  "block_00/mlp",  {"act": "gelu"}),
    "erf for sigmoid":  ("timm_quickgelu",    "block_00/mlp",  {"act": "gelu"}),
    "erf for silu":     ("timm_dinov2_giant", "block_00/mlp",  {"act": "gelu"}),
    "norm of branches": ("timm_rpn",          "block_00/attn", {"norm_post": False}),
    "norm after":       ("timm_siglip_gap",   "tokens",        {"norm": "after"}),
    "norm before":      ("timm_eva_large",    "tokens",        {"norm": "before"}),
    "prefix in mean":   ("timm_gap_reg4",     "pooled",        {"pool_prefix": True}),
    "prefix in map":    ("timm_map_reg4",     "pooled",        {"pool_prefix": True}),
    "no prefix in map": ("timm_map_prefix",   "pooled",        {"pool_prefix": False}),
    "mean for token":   ("timm_plain",        "pooled",        {"pool": "mean"}),
    "no rotary":        ("timm_eva02_packed", "block_00/attn", {"rotary": False, "rotary_grid": None}),
    "patches as grid":  ("timm_eva02_packed", "block_00/attn", {"rotary_grid": None}),
    "a smaller grid":   ("timm_eva02_packed", "block_00/attn", {"rotary_grid": 14}),
    "the grid turned":  ("timm_eva02_subln",  "block_00/attn", {"rotary_grid": (5, 2)}),
    "no query's bias":  ("timm_eva01",        "block_00/attn", {"qkv_bias": False}),
    "nor of three":     ("timm_eva02_subln",  "block_00/attn", {"qkv_bias": False}),
    "no attention norm":("timm_eva02_clip",   "block_00/attn", {"attn_norm": False}),
    "no sub-LN":        ("timm_eva02_subln",  "block_00/mlp",  {"mlp_norm": False}),
    "gelu for the gate":("timm_eva02_packed", "block_00/mlp",  {"act": "gelu"}),
    "eps of the middle":("timm_eva02_subln",  "block_00/attn", {"eps": 1e-5}),
    "EVA-02-E normed":  ("timm_eva02_enormous", "block_00/attn", {"norm_post": False}),
    "mean of EVA-CLIP": ("timm_eva02_clip",   "tokens",        {"pool": "mean", "norm": "after"}),
    "token of EVA":     ("timm_eva01",        "pooled",        {"pool": "token"}),
}
# fmt: on


@pytest.mark.parametrize(("family", "first", "changes"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_noticed_where_it_is_made(family, first, changes, tmp_path):
    reference = publish(family, tmp_path)
    model = vitjax.load(tmp_path)
    wrong = replace(model, spec=replace(model.spec, config=replace(model.config, **changes)))
    off = [stage for stage in verify(wrong, reference) if not stage.good]
    assert off[0].name == first and off[0].difference > 10 * SMALL * off[0].scale
