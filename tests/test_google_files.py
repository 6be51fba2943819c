"""Google's files, of every version: one network however it is spelt, there and back, and what is not as it should be."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.test_google import network, opened, saved, stages
from tests.test_mapping import SMALL as ROWS
from tests.test_mapping import TINY
from tests.test_parity import read, under
from vitjax import Error, Model, ViTConfig
from vitjax.converters import DIALECTS, convert, export, files
from vitjax.converters.google import GOOGLE, WITHOUT
from vitjax.converters.identify import respelt
from vitjax.converters.mapping import Slot, compare, slots, to_ours, to_theirs
from vitjax.model import shapes
from vitjax.verify import verify

State = dict[str, np.ndarray]


def assert_same(one: Model, other: Model) -> None:
    assert jax.tree.structure(one.params) == jax.tree.structure(other.params)
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


def renamed(state: State, *changes: tuple[str, str]) -> State:
    for old, new in changes:
        state = {name.replace(old, new): array for name, array in state.items()}
    return state


def stacked(state: State) -> State:
    rest = {name.partition("/encoderblock_0/")[2] for name in state if "/encoderblock_0/" in name}
    blocks = {x: np.stack([state[f"Transformer/encoderblock_{i}/{x}"] for i in range(3)]) for x in rest}
    others = {name: array for name, array in state.items() if "encoderblock_" not in name}
    return others | {f"Transformer/encoderblock/{x}": array for x, array in blocks.items()}


LINEN = (
    ("MultiHeadDotProductAttention_1", "MultiHeadDotProductAttention_0"),
    ("LayerNorm_2", "LayerNorm_1"),
    ("MlpBlock_3", "MlpBlock_0"),
)
PRE_LINEN = [(new, old) for old, new in LINEN]
FIRST = ("Transformer/posembed_input/pos_embedding", "pos_embedding")
ADAM = {"opt/0/count": np.ones((), np.int32), "opt/0/mu/head/bias": np.ones(3), "chrono/steps": np.ones((), np.int64)}

SPELLINGS: dict[str, tuple[str, Callable[[State], State]]] = {
    "params/": ("google_gap", lambda state: {f"params/{name}": array for name, array in state.items()}),
    "opt/target/": ("google_token", lambda state: {f"opt/target/{name}": array for name, array in state.items()}),
    "params/img/": ("google_map_scan", lambda state: {f"params/img/{name}": array for name, array in state.items()}),
    "img/": ("google_map_scan", lambda state: {f"img/{name}": array for name, array in state.items()}),
    "beside an optimizer": ("google_gap", lambda state: {f"params/{k}": array for k, array in state.items()} | ADAM),
    "beside an older one": (
        "google_rep",
        lambda s: {f"opt/target/{k}": a for k, a in s.items()} | {"opt/state/step": np.ones(())},
    ),
    "converted counters": ("google_token", lambda state: renamed(state, *LINEN)),
    "pre-Linen counters": ("google_gap", lambda state: renamed(state, *PRE_LINEN)),
    "positions at the top": ("google_rep", lambda state: renamed(state, FIRST)),
    "positions in the encoder": ("google_gap", lambda state: renamed(state, ("pos_emb", "Transformer/pos_emb"))),
    "positions in a module": ("google_tok", lambda state: renamed(state, FIRST[::-1])),
    "probe at the top": ("google_map_scan", lambda state: renamed(state, ("MAPHead_0/", ""))),
    "stacked": ("google_gap", stacked),
    "stacked, old": ("google_token", stacked),
    "stacked and converted": ("google_tok", lambda state: stacked(renamed(state, ("opt/target/", "")))),
}


def bare(family: str) -> State:
    state = under("state/", read(family))
    return renamed(state, ("params/", ""), ("opt/target/", ""))


@pytest.mark.parametrize(("family", "spell"), SPELLINGS.values(), ids=SPELLINGS)
def test_one_network_however_it_is_spelt(family, spell, tmp_path):
    config = network(read(family))
    plain = opened(saved(bare(family), tmp_path), config=config)
    for save in np.savez, np.savez_compressed:
        save(tmp_path / "other.npz", **spell(bare(family)))
        assert_same(opened(tmp_path / "other.npz", config=config), plain)
    raw = files.read(tmp_path / "other.npz").tensors
    once = respelt(GOOGLE, config, raw)
    assert [dialect.name for dialect in DIALECTS.values() if dialect.recognise(raw)] == ["google"]
    assert set(respelt(GOOGLE, config, once)) == set(once) and set(once) == {slot.theirs for slot in spelt(config)}


def test_the_class_tokens_position_is_added_to_it_where_only_patches_have_one(tmp_path):
    """fix_old_checkpoints of big_vision's models/vit.py does so; by a row, the position stays what it is."""
    reference = read("google_rep")
    file = saved(renamed(bare("google_rep"), FIRST, *LINEN), tmp_path)
    config = replace(network(reference), positions="patches")
    found = verify(opened(file, config=config), {"input": reference["input"]} | stages(reference, config))
    assert all(stage.good for stage in found) and found[-1].name == "logits"
    half = {name: array.astype(np.float16) for name, array in bare("google_rep").items()}
    cls = opened(saved(half, tmp_path), config=config, dtype="keep").params["cls"]
    assert cls.dtype == np.float16
    np.testing.assert_array_equal(cls, (half["cls"] + half["Transformer/posembed_input/pos_embedding"][:, :1])[0, 0])


# There and back.

EXTRA = {
    "token": TINY,
    "tok": replace(TINY, positions="patches", representation=7),
    "rep": replace(TINY, representation=9),
    "map": replace(TINY, cls=False, pool="map", act="gelu_tanh"),
    "headless": replace(TINY, cls=False, pool="mean", classes=0, representation=3),
}
SPELT = {name: cfg for name, cfg in ROWS.items() if all(getattr(cfg, key) == value for key, value in WITHOUT.items())}
SPELT = {name: cfg for name, cfg in SPELT.items() if cfg.positions != "none" and not (cfg.cls and cfg.pool != "token")}
SPELT = EXTRA | {name: cfg for name, cfg in SPELT.items() if cfg.pool_eps in (None, cfg.eps) and cfg.pool_act in (None, cfg.act)}


def spelt(config: ViTConfig) -> list[Slot]:
    return slots(GOOGLE.rules(config), shapes(config))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", SPELT)
def test_there_and_back_is_the_identity(name, dtype):
    config, like = SPELT[name], shapes(SPELT[name])
    wanted, rng = spelt(config), np.random.default_rng(0)
    assert len({slot.theirs for slot in wanted}) == len(wanted)
    theirs = {slot.theirs: rng.standard_normal(slot.shape).astype(dtype) for slot in wanted}
    leaves, report = to_ours(wanted, like, respelt(GOOGLE, config, theirs))
    assert not report
    for key, back in to_theirs(wanted, {path: np.asarray(leaf) for path, leaf in leaves.items()}):
        assert (back.shape, back.dtype, back.tobytes()) == (theirs[key].shape, theirs[key].dtype, theirs[key].tobytes()), key
    for slot in wanted:
        left = respelt(GOOGLE, config, {key: array for key, array in theirs.items() if key != slot.theirs})
        assert compare(wanted, left).missing == [str(slot)] and not compare(wanted, left).unexpected, slot


REFUSED = {
    name: cfg
    for name, cfg in ROWS.items() if name not in SPELT
} | {
    "two tokens": replace(TINY, pool="token_mean"),
    "a mean beside a class token": replace(TINY, pool="mean"),
    "another activation of the map": replace(TINY, cls=False, pool="map", pool_act="gelu_tanh"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_google_has_not_is_refused_by_its_switch(name):
    with pytest.raises(Error, match=r"Google's Vision Transformers cannot be such a network: \w+=") as error:
        GOOGLE.rules(REFUSED[name])
    named = [part.partition("=")[0] for part in str(error.value).partition(": ")[2].partition(";")[0].split(", ")]
    assert set(named) <= set(vars(TINY)) and any(getattr(REFUSED[name], key) != getattr(TINY, key) for key in named)


@pytest.mark.parametrize("family", ["google_token", "google_rep", "google_gap", "google_tok", "google_map_scan"])
def test_exported_is_what_was_published(family, tmp_path):
    config, state = network(read(family)), bare(family)
    model = opened(saved(state, tmp_path), config=config)
    written = [export(model.spec, model.params, tmp_path / f"out.{kind}", "google") for kind in ("safetensors", "npz")]
    for file, load in zip(written, (load_file, np.load), strict=True):
        back = dict(load(file))
        if family.endswith("scan"):
            back = stacked(back)
        assert {key: array.tobytes() for key, array in back.items()} == {key: array.tobytes() for key, array in state.items()}
        assert_same(opened(file, config=config), model)


def test_bfloat16_is_exported_as_big_vision_writes_it(tmp_path):
    config = network(read("google_siglip_bf16"))
    model = opened(saved(two_towers(), tmp_path), config=config, key="img", dtype="keep")
    file = export(model.spec, model.params, tmp_path / "out.npz", "google")
    with np.load(file) as back:
        assert {array.dtype for array in back.values()} == {np.dtype("V2")}
        key = "MAPHead_0/probe"
        assert back[key].tobytes() == two_towers()[f"params/img/{key}"].tobytes()
    assert_same(opened(file, config=config, dtype="keep"), model)


# Files that are not what they should be.


def changed(family: str, **changes: Any) -> State:
    """A published file with arrays added, or, where None, taken away."""
    state = bare(family) | {name.replace("__", "/"): array for name, array in changes.items()}
    return {name: array for name, array in state.items() if array is not None}


def two_towers() -> State:
    return under("state/", read("google_siglip_bf16"))


def gap_in_depth() -> State:
    return renamed(bare("google_token"), ("encoderblock_1", "encoderblock_3"))


def two_depths() -> State:
    state = stacked(bare("google_gap"))
    name = "Transformer/encoderblock/LayerNorm_1/scale"
    return state | {name: state[name][:2]}


def half_prefixed() -> State:
    return {name if "head" in name else f"params/{name}": array for name, array in bare("google_gap").items()}


def two_counters() -> State:
    return {
        name.replace("MlpBlock_3", "MlpBlock_0") if "block_1" in name else name: a for name, a in bare("google_token").items()
    }


def half_stacked() -> State:
    state, name = stacked(bare("google_gap")), "Transformer/encoderblock_0/LayerNorm_0/scale"
    return state | {name: bare("google_gap")[name]}


BLOCK = "Transformer/encoderblock"
QUERY = "Transformer__encoderblock_0__MultiHeadDotProductAttention_0__query__bias"
ONES = np.ones(3, np.float32)
# fmt: off
BAD = {
    "a tensor less":
        (lambda: changed("google_token", cls=None),
         r"missing \(1\):\n    cls \[1, 1, 32\] <-> cls$"),
    "a tensor more":
        (lambda: changed("google_token", extra__kernel=ONES),
         r"unexpected \(1\):\n    extra/kernel \[3\]$"),
    "what it is recognised by":
        (lambda: changed("google_token", embedding__kernel=None),
         r"missing \(1\):\n    embedding/kernel "),
    "the other":
        (lambda: changed("google_token", Transformer__encoder_norm__scale=None),
         r"missing \(1\):\n    Transformer/encoder_norm/scale "),
    "two spellings of a tensor":
        (lambda: changed("google_gap", Transformer__pos_embedding=ONES),
         r"unexpected \(1\):\n    Transformer/pos_embedding \[3\]$"),
    "another tower":
        (lambda: two_towers() | {"params/decoder/bias": ONES},
         r"x\.npz holds towers, .*, and decoder/bias, which is in none: .*--key img"),
    "a gap in depth":
        (gap_in_depth,
         rf"missing \(16\):\n    {BLOCK}_1/(?s:.*)unexpected \(16\):\n    {BLOCK}_3/"),
    "two depths":
        (two_depths,
         rf"missing \(3\):\n    {BLOCK}_0/LayerNorm_1/scale(?s:.*)unexpected \(1\):\n    {BLOCK}/LayerNorm_1/scale \[2, 32\]$"),
    "half prefixed":
        (half_prefixed,
         r"x\.npz: 2 of 55 names do not begin with 'params/', such as head/kernel"),
    "two counters":
        (two_counters,
         rf"mixes two spellings of one network, {BLOCK}_0/.*_1/.* and {BLOCK}_1/MlpBlock_0"),
    "half stacked":
        (half_stacked,
         rf"mixes two spellings of one network, {BLOCK}/.* and {BLOCK}_0/LayerNorm_0"),
    "a hybrid":
        (lambda: changed("google_token", conv_root__kernel=ONES),
         r"is a hybrid, .*\(conv_root/kernel\)"),
    "other heads":
        (lambda: changed("google_gap", **{QUERY: np.ones((8, 4), np.float32)}),
         r"misshaped \(1\):.*\n.*query/bias \[4, 8\].*the file has \[8, 4\]"),
    "no fractions":
        (lambda: changed("google_gap", head__bias=np.ones(10, np.int32)),
         r"not floating \(1\):\n    head/bias"),
    "positions of sines":
        (lambda: changed("google_gap", pos_embedding=None),
         r"missing \(1\):\n    pos_embedding \[1, 16, 32\]"),
}
# fmt: on


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_by_name(make, message, tmp_path):
    family = "google_token" if any("Attention_1" in name for name in make()) else "google_gap"
    with pytest.raises(Error, match=message) as error:
        convert(saved(make(), tmp_path), config=network(read(family)))
    assert "x.npz" in str(error.value)


def test_a_head_count_that_does_not_divide_is_refused():
    with pytest.raises(Error, match="width 32 does not divide into 5 heads"):
        replace(network(read("google_token")), heads=5)
