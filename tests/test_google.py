"""Google's own numbers and names: AugReg's and big_vision's files, of every version, read as their code runs them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import vitjax
from tests.test_mapping import TINY
from tests.test_parity import FIXTURES, assert_close, read, under
from vitjax import Error, Model, ViTConfig
from vitjax.converters import convert, files, fitting
from vitjax.converters.google import GOOGLE
from vitjax.converters.mapping import slots
from vitjax.model import shapes
from vitjax.variants import VARIANTS
from vitjax.verify import verify

# Made with the publishers' own code: google-research/vision_transformer c6de1e5 and google-research/big_vision 0127fb6.
FAMILIES = sorted(path.stem for path in FIXTURES.glob("google_*.npz"))
ABSOLUTE = 2e-5  # what their makers hold these numbers to; float32 noise is at most 7e-6
POOLS = {"token": "token", "tok": "token", "gap": "mean", "map": "map"}

State = dict[str, np.ndarray]


def network(reference: State) -> ViTConfig:
    said = json.loads(str(reference["meta"]))["config"]
    said |= said.get("vision", {})
    pool = POOLS[said["pool"]]
    return ViTConfig(
        *(said[key] for key in ("image", "patch", "width", "depth", "heads", "mlp")),
        classes=said.get("classes", 0),
        cls=pool == "token",
        positions="all" if said["family"] == "google_vit" else "patches",
        interpolation="bilinear",
        act=said["act"],
        eps=said["eps"],
        pool=pool,
        representation=said.get("rep") or 0,
    )


def stages(reference: State, cfg: ViTConfig) -> State:
    """Their stages under our names. big_vision's `with_posemb` is what enters the blocks, but for a class token."""
    found = {key.replace("image/", ""): array for key, array in reference.items() if key.startswith("stage/")}
    embed = found.pop("stage/with_posemb", None)
    return found if embed is None or cfg.cls else found | {"stage/embed": embed}


def opened(file: Path, **how: Any) -> Model:
    spec, lazy = convert(file, **how)
    return Model(spec, jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), lazy))


def saved(state: State, folder: Path) -> Path:
    np.savez(folder / "x.npz", **state)
    return folder / "x.npz"


def assert_good(model: Any, reference: State, wanted: set[str]) -> None:
    """Every stage is right, `wanted` among them, and as near as the maker of the reference holds it to be."""
    found = verify(model, reference)
    assert {stage.name for stage in found} >= wanted
    off = [stage for stage in found if not stage.good or stage.difference > ABSOLUTE]
    assert not off, off[0]


@pytest.fixture(scope="module", params=FAMILIES)
def published(request, tmp_path_factory) -> tuple[Path, State, dict[str, Any]]:
    """A file as it is published, what its code made of pictures with it, and how we are told to read it."""
    reference = read(request.param)
    file = saved(under("state/", reference), tmp_path_factory.mktemp(request.param))
    return file, reference, {"config": network(reference)} | ({"key": "img"} if "siglip" in request.param else {})


@pytest.fixture
def row(monkeypatch) -> Callable[[ViTConfig], str]:
    """Puts a network into the table, under the name it returns."""
    return lambda config: monkeypatch.setitem(VARIANTS, "vit_small_row", config) or "vit_small_row"


def test_every_stage(published):
    file, reference, how = published
    model = opened(file, **how)
    heads = {"logits", "pre_logits"} & {name.rpartition("/")[2] for name in reference}
    wanted = {"patch", "block_00", "block_00/attn", "tokens", "pooled"} | heads
    assert_good(model, {"input": reference["input"]} | stages(reference, model.config), wanted)
    if "stage/with_posemb" in reference:
        embed = model.stages(reference["input"])["embed"]
        assert_close(embed[:, model.config.prefix :], reference["stage/with_posemb"])
    block = stages(reference, model.config)["stage/block_01"][:, model.config.prefix :]
    assert_close(model.feature_maps(reference["input"], (1,))[0], block.reshape(2, *model.config.grid, -1))


def test_key_biases_that_no_output_shows(published):
    file, reference, how = published
    key = np.asarray(opened(file, **how).params["blocks"]["attn"]["key"]["bias"])
    state = {name: array for name, array in under("state/", reference).items() if name.endswith("key/bias")}
    names = sorted(name for name in state if "/encoderblock" in name and "txt/" not in name)
    theirs = state[names[0]] if "scan" in str(file.parent) or len(names) == 1 else np.stack([state[name] for name in names])
    if theirs.dtype.kind == "V":
        theirs = theirs.view(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(key, theirs)
    assert np.abs(key).min() > 0


@pytest.mark.parametrize("family", ["google_rep", "google_gap", "google_map_scan"])
def test_bfloat16(family, tmp_path):
    reference = read(family)
    model = vitjax.load(saved(under("state/", reference), tmp_path), config=network(reference), dtype="bfloat16")
    ours, wanted = np.asarray(model.embed(reference["input"]), np.float32), stages(reference, model.config)
    theirs = wanted.get("stage/pre_logits", wanted["stage/pooled"])
    assert ((ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)).min() > 0.999


# fmt: off
MISTAKES = {  # what is wrong, and the stage that shows it first
    "eps":              ("google_token",    "block_00/attn", {"eps": 1e-5}),
    "erf for tanh":     ("google_token",    "block_00/mlp",  {"act": "gelu"}),
    "erf in the map":   ("google_map_scan", "pooled",        {"pool_act": "gelu"}),
    "positions of cls": ("google_tok",      "pooled",        {"pool": "mean"}),
    "norm after":       ("google_gap",      "tokens",        {"norm": "after"}),
}
# fmt: on


@pytest.mark.parametrize(("family", "first", "changes"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_noticed_where_it_is_made(family, first, changes, tmp_path):
    reference = read(family)
    model = opened(saved(under("state/", reference), tmp_path), config=network(reference))
    wrong = replace(model, spec=replace(model.spec, config=replace(model.config, **changes)))
    off = [
        stage for stage in verify(wrong, {"input": reference["input"]} | stages(reference, model.config))
        if stage.difference > ABSOLUTE
    ]  # fmt: skip
    assert off[0].name == first


@pytest.mark.parametrize("family", ["google_rep", "google_tok"])
def test_a_missing_tanh_is_noticed(family, tmp_path):
    reference = read(family)
    model = opened(saved(under("state/", reference), tmp_path), config=network(reference))
    layer = model.params["pre_logits"]
    linear = np.asarray(reference["stage/pooled"] @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]))
    assert_close(model.embed(reference["input"]), np.tanh(linear))
    assert np.abs(np.asarray(model.embed(reference["input"])) - linear).max() > 100 * ABSOLUTE


@pytest.mark.parametrize("family", ["google_token", "google_tok", "google_gap"])
def test_positions_for_another_size_are_google_zoom(family, tmp_path):
    """scipy.ndimage.zoom of order 1 keeps the corners and draws straight lines between; one axis after the other."""
    reference = read(family)
    file, config = saved(under("state/", reference), tmp_path), network(reference)
    small, large = (
        np.asarray(vitjax.load(file, config=config, image=size).params["positions"]) for size in (None, (56, 48))
    )  # fmt: skip
    lead = len(small) - 16
    grid = small[lead:].reshape(4, 4, -1)
    for axis, size in enumerate((7, 6)):
        grid = np.apply_along_axis(lambda y, at: np.interp(at, np.arange(4), y), axis, grid, np.linspace(0, 3, size))
    np.testing.assert_allclose(large[lead:].reshape(7, 6, -1), grid, atol=1e-6)
    np.testing.assert_array_equal(large[:lead], small[:lead])
    cubic = vitjax.load(file, config=replace(config, interpolation="cubic"), image=(56, 48)).params["positions"]
    assert np.abs(np.asarray(cubic) - large).max() > 100 * ABSOLUTE


# What the tensors say, and what only a row or a config does.


def test_a_row_is_read_as_google_runs_it(published, row):
    file, _, how = published
    config = how.pop("config")
    plain = replace(
        TINY, **{key: getattr(config, key) for key in ("image", "patch", "width", "depth", "heads", "mlp", "classes")}
    )
    for start in plain, replace(plain, act="quick_gelu", eps=1e-5):
        spec, _ = convert(file, variant=row(start), **how)
        assert spec.config == replace(config, positions=config.positions if config.cls else "all")
        assert "big_vision" in spec.source.reference and spec.source.dialect == "google"
    spec, _ = convert(file, variant=row(plain), reference="timm", **how)
    assert (spec.config.act, spec.config.eps, spec.config.interpolation) == ("gelu", 1e-6, "cubic")
    with pytest.raises(Error, match="does not say its architecture"):
        convert(file, **how)


def test_a_row_that_says_how_it_pools_is_taken_at_its_word(tmp_path, row):
    reference = read("google_map_scan")
    file, config = saved(under("state/", reference), tmp_path), network(reference)
    with pytest.raises(Error, match=r"unexpected \(15\):\n    MAPHead_0/probe") as error:
        convert(file, variant=row(replace(config, pool="mean")))
    assert "missing" not in str(error.value)
    file = saved(under("state/", read("google_gap")), tmp_path)
    with pytest.raises(Error, match=r"missing \(15\)"):
        convert(file, variant=row(config))


def test_a_published_row_keeps_its_own_labels_and_pictures(tmp_path, monkeypatch):
    reference = read("google_token")
    file, name = saved(under("state/", reference), tmp_path), "vit_base_patch16_384.augreg_in21k_ft_in1k"
    monkeypatch.setitem(VARIANTS, "vit_base_patch16_384", replace(network(reference), act="gelu", interpolation="cubic"))
    spec, _ = convert(file, variant=name, drop=["head"])
    assert spec.config == replace(network(reference), classes=0)
    assert (spec.preprocess.mean, spec.preprocess.crop, spec.name) == ((0.5, 0.5, 0.5), 1.0, name)
    with pytest.raises(Error, match=r"head/kernel \[32, 1000\] <-> head/kernel: the file has \[32, 10\]"):
        convert(file, variant=name)


def test_a_network_of_ones_own_sees_pictures_as_google_shows_them(tmp_path):
    reference = read("google_token")
    spec, _ = convert(saved(under("state/", reference), tmp_path), config=network(reference))
    assert spec.preprocess == vitjax.Preprocess(32, 1.0, "squash", "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("part", ["head", "pre_logits"])
def test_a_part_is_dropped(part, tmp_path, row):
    reference = read("google_rep")
    state = under("state/", reference)
    if part == "pre_logits":  # what timm makes of such files: the head is as wide as the pooled features, or it is not used
        state |= {"head/kernel": np.ones((32, 10), np.float32)}
    name = row(replace(network(reference), representation=0))
    model = opened(saved(state, tmp_path), variant=name, drop=[part])
    assert part not in model.params and ("head" in model.params) == (part == "pre_logits")
    assert_close(model.embed(reference["input"]), reference["stage/pooled" if part == "pre_logits" else "stage/pre_logits"])


def test_the_rows_that_fit_are_named():
    config = replace(VARIANTS["vit_large_patch16_384"], classes=10)
    state = {slot.theirs: np.broadcast_to(np.float32(0), slot.shape) for slot in slots(GOOGLE.rules(config), shapes(config))}
    found = fitting(files.Bundle(Path("x.npz"), state), GOOGLE)
    assert "vit_large_patch16_384" in found and not {"vit_large_patch16_224", "vit_large_patch16_siglip_384"} & set(found)
