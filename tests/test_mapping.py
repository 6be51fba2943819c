"""Rules read both ways: every row is spelt to the last tensor, nothing is lost on the way, and what does not fit is named."""

import os
from dataclasses import replace
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import vitjax
from vitjax import Error, ViTConfig, checkpoint, manifest
from vitjax.converters import convert, sha256
from vitjax.converters.birder import BIRDER
from vitjax.converters.dialect import Dialect
from vitjax.converters.mapping import Report, Rule, Slot, not_finite, slots, to_ours, to_theirs
from vitjax.converters.timm import TIMM
from vitjax.model import Config, shapes
from vitjax.variants import TIMM as VARIANTS
from vitjax.variants import parameters

TINY = ViTConfig(image=(12, 8), patch=4, width=12, depth=2, heads=3, mlp=10, classes=5)
SIZES = {name: getattr(TINY, name) for name in ("image", "patch", "width", "depth", "heads", "mlp")}
SWITCHES = {  # those that no row has
    "query and value biases": {"qkv_bias": "qv"},
    "head without bias": {"head_bias": False},
    "no biases": {"bias": False, "gated": True},
    "every norm": {"qk_norm": True, "attn_norm": True, "mlp_norm": True},
    "no positions": {"positions": "none"},
}
# Every row, small. Rows that differ in size only are then the same, and go by the name of the first.
ROWS = {replace(row, **SIZES, classes=min(row.classes, 5)): name for name, row in reversed(VARIANTS.items())}
SMALL = {name: row for row, name in ROWS.items()} | {name: replace(TINY, **changes) for name, changes in SWITCHES.items()}


def spelt(config: ViTConfig, dialect: Dialect = TIMM) -> tuple[list[Slot], dict[str, tuple[int, ...]]]:
    like = shapes(config)
    return slots(dialect.rules(config), like), like


def drawn(config: Config, seed: int = 0) -> dict[str, Any]:
    """Parameters at random, none of them zero or one, about as large as those of a network that begins. Nothing is compiled."""
    rng, start = np.random.default_rng(seed), {"scale": 1.0, "logit_scale": 2.5, "logit_bias": -10.0}
    leaves = {
        path: np.asarray(start.get(path.rpartition("/")[2], 0) + 0.1 * rng.standard_normal(shape), np.float32)
        for path, shape in shapes(config).items()
    }
    return unflatten_dict(leaves, sep="/")


def published(config: ViTConfig, dtype: object = np.float32, dialect: Dialect = TIMM) -> dict[str, np.ndarray]:
    """A file's tensors, random where our network has a parameter."""
    wanted, like = spelt(config, dialect)
    rng = np.random.default_rng(0)
    return dict(to_theirs(wanted, {path: rng.standard_normal(shape).astype(dtype) for path, shape in like.items()}))


def read(wanted: list[Slot], like: dict, theirs: dict, dtype: object = None) -> tuple[dict[str, np.ndarray], Report]:
    """Our leaves, every number of them, and what did not fit."""
    leaves, found = to_ours(wanted, like, theirs, dtype and np.dtype(dtype))
    return {path: np.asarray(leaf) for path, leaf in leaves.items()}, found


def report(theirs: dict[str, np.ndarray], config: ViTConfig = TINY, dialect: Dialect = TIMM) -> Report:
    return to_ours(*spelt(config, dialect), theirs)[1]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_row_is_spelt_to_the_last_tensor(name):
    wanted, like = spelt(VARIANTS[name])
    assert len({slot.theirs for slot in wanted}) == len(wanted)
    assert {leaf for slot in wanted for leaf in slot.leaves} == set(like)
    assert sum(prod(slot.shape) for slot in wanted) == sum(map(prod, like.values())) == parameters(VARIANTS[name])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", SMALL)
def test_there_and_back_is_the_identity(name, dtype):
    theirs = published(SMALL[name], dtype)
    wanted, like = spelt(SMALL[name])
    ours, found = read(wanted, like, theirs)
    assert not found and {path: leaf.shape for path, leaf in ours.items()} == like
    for (key, back), slot in zip(to_theirs(wanted, ours), wanted, strict=True):
        assert (key, back.shape, back.dtype) == (slot.theirs, slot.shape, dtype)
        assert back.tobytes() == theirs[key].tobytes(), slot


@st.composite
def rules(draw) -> tuple[Rule, dict[str, tuple[int, ...]]]:
    """Up to three axes in any order on either side, on theirs grouped, stacked or not, of one leaf or of several."""
    parts = draw(st.sampled_from(["x", "x,y", "x,0,y", "0,x"]))
    axes = draw(st.permutations("abc").map(lambda all: all[: draw(st.integers(1, 3))]))
    right = ["part"] * (len(parts) > 1) + axes
    left = draw(st.permutations(right + draw(st.lists(st.just("1"), max_size=2))))
    start, stop = sorted(draw(st.tuples(*[st.integers(0, len(left))] * 2)))
    left = [*left[:start], *[f"({' '.join(left[start:stop])})"] * (stop > start), *left[stop:]]
    stacked = draw(st.booleans())
    shape = draw(st.tuples(*[st.integers(1, 4)] * (len(axes) + stacked)))
    rule = Rule(
        f"k/{{{parts}}}" if len(parts) > 1 else "k/x", "t.{i}" if stacked else "t", f"{' '.join(left)} -> {' '.join(right)}"
    )
    return rule, {f"k/{part}": shape for part in parts.split(",") if part != "0"}


@given(rules())
def test_any_rule_is_read_both_ways(case):
    rule, like = case
    wanted = slots([rule], like)
    ours = {path: np.random.default_rng(i).standard_normal(shape, np.float32) for i, (path, shape) in enumerate(like.items())}
    theirs = dict(to_theirs(wanted, ours))
    assert [theirs[slot.theirs].shape for slot in wanted] == [slot.shape for slot in wanted]
    back, found = read(wanted, like, theirs)
    assert not found and back.keys() == ours.keys()
    assert all((back[path] == ours[path]).all() for path in ours)


def test_rules_cover_each_leaf_and_name_each_tensor_once():
    rules = TIMM.rules(TINY)
    with pytest.raises(AssertionError, match="patch/kernel"):
        slots(rules[1:], shapes(TINY))
    with pytest.raises(AssertionError, match="same tensor"):
        slots([*rules, rules[0]], shapes(TINY))


# What does not fit: named exactly, and nothing else with it.


@pytest.mark.parametrize("name", SMALL)
def test_the_tensor_that_is_at_fault_is_named(name):
    config, theirs = SMALL[name], published(SMALL[name])
    wanted, like = spelt(config)
    for slot in wanted:
        key, array = slot.theirs, theirs[slot.theirs]
        others = {k: v for k, v in theirs.items() if k != key}
        wrong, poisoned = array[None], np.where(np.arange(array.size).reshape(array.shape) == array.size - 1, np.nan, array)
        faults = [
            (others, Report(missing=[str(slot)])),
            (others | {key: wrong}, Report(misshaped=[f"{slot}: the file has {list(wrong.shape)}"])),
            (others | {key: array.astype(np.int32)}, Report(not_floating=[f"{slot}: the file has int32"])),
        ]
        if "0" not in slot.leaves:
            assert not_finite(wanted, others | {key: poisoned}, None) == [str(slot)]
        for tensors, expected in faults:
            assert to_ours(wanted, like, tensors)[1] == expected
        assert f"{key} {list(array.shape)}" in str(slot) and all(leaf in str(slot) for leaf in set(slot.leaves) - {"0"})


def test_an_extra_tensor_is_named():
    assert report(published(TINY) | {"head_dist.weight": np.ones((5, 12))}) == Report(unexpected=["head_dist.weight [5, 12]"])


def test_both_languages_and_the_layer():
    theirs = published(TINY)
    del theirs["blocks.1.attn.qkv.weight"]
    names = ", ".join(f"blocks/attn/{leaf}/kernel[1]" for leaf in ("query", "key", "value"))
    assert report(theirs).missing == [f"blocks.1.attn.qkv.weight [36, 12] <-> {names}"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_every_number_is_finite_in_the_dtype_that_is_kept(value):
    theirs = published(TINY)
    theirs["head.weight"][4, 11] = value
    theirs["norm.bias"][0] = 1e38  # infinite in float16 only
    faults = {None: ["head.weight"], np.float16: ["norm.bias", "head.weight"]}
    for dtype, names in faults.items():
        ours, _ = read(*spelt(TINY), theirs, dtype)
        found = not_finite(spelt(TINY)[0], theirs, dtype and np.dtype(dtype))
        assert [line.split()[0] for line in found] == names
        np.testing.assert_array_equal(ours["head/kernel"][11, 4], value)  # read all the same, for those who allow it


ZERO = {  # a part, or a whole tensor, that our network does not have
    "key bias": (SMALL["query and value biases"], BIRDER, "encoder.block.1.attn.qkv.bias", slice(12, 24)),
    "head bias": (SMALL["head without bias"], TIMM, "head.bias", slice(0, 5)),
}


@pytest.mark.parametrize(("config", "dialect", "key", "part"), ZERO.values(), ids=ZERO)
def test_a_part_that_we_have_not_is_zero(config, dialect, key, part):
    theirs = published(config, dialect=dialect)
    assert not theirs[key][part].any() and np.delete(theirs[key], part).all()  # written as zeros, and only that part
    for value in (1e-30, np.nan):
        theirs[key][part.stop - 1] = value
        (line,) = report(theirs, config, dialect).not_zero
        assert line.startswith(f"{key} ")


# The same through the public door, from a file.


def test_all_faults_are_listed_at_once(tmp_path):
    theirs = published(TINY) | {"extra.weight": np.ones(3, np.float32), "cls_token": np.ones((1, 1, 12), np.int32)}
    theirs["pos_embed"] = theirs["pos_embed"][:, 1:]
    del theirs["norm.bias"]
    save_file({key: np.ascontiguousarray(tensor) for key, tensor in theirs.items()}, tmp_path / "x.safetensors")
    with pytest.raises(Error) as caught:
        convert(tmp_path / "x.safetensors", config=TINY)
    assert str(caught.value).splitlines()[1:] == [
        "  missing (1):",
        "    norm.bias [12] <-> norm/bias",
        "  unexpected (1):",
        "    extra.weight [3]",
        "  misshaped (1):",
        "    pos_embed [1, 7, 12] <-> positions: the file has [1, 6, 12]",
        "  not floating (1):",
        "    cls_token [1, 1, 12] <-> cls: the file has int32",
    ]


def test_nonfinite_weights_are_refused_unless_allowed(tmp_path):
    theirs = published(TINY)
    theirs["norm.bias"][3], theirs["blocks.1.attn.qkv.weight"][35, 11] = np.inf, np.nan
    save_file(theirs, tmp_path / "x.safetensors")
    _, params = convert(tmp_path / "x.safetensors", config=TINY)
    both = r"not finite \(2\):\n    blocks.1.attn.qkv.weight \[36, 12\] .*\n    norm.bias \[12\] <-> norm/bias$"
    for read in (
        lambda: np.asarray(params["norm"]["bias"]),
        lambda: np.asarray(params["norm"]["bias"], np.float16),
        lambda: list(params["blocks"]["attn"]["value"]["kernel"].rows()),
        lambda: vitjax.load(tmp_path / "x.safetensors", config=TINY),
    ):
        with pytest.raises(Error, match=both):  # whichever is met first, all are listed
            read()
    np.testing.assert_array_equal(params["norm"]["scale"], theirs["norm.weight"])
    key = np.asarray(params["blocks"]["attn"]["key"]["kernel"])
    np.testing.assert_array_equal(key[1], theirs["blocks.1.attn.qkv.weight"][12:24].T.reshape(12, 3, 4))
    _, params = convert(tmp_path / "x.safetensors", config=TINY, allow_nonfinite=True)
    np.testing.assert_array_equal(params["norm"]["bias"], theirs["norm.bias"])


@pytest.mark.parametrize("old", [False, True])
def test_what_is_found_while_writing_leaves_nothing_new(tmp_path, old):
    theirs, file, folder = published(TINY), tmp_path / "x.safetensors", tmp_path / "out" / "mine"
    folder.parent.mkdir()
    save_file(theirs, file)
    if old:
        checkpoint.save(folder, *convert(file, config=TINY))
        before = manifest.read(folder)
    theirs["norm.bias"][3] = theirs["cls_token"][0, 0, 0] = np.inf  # of the smallest leaves, which are written last
    save_file(theirs, file)
    with pytest.raises(Error, match=r"(?s)x.safetensors is not .*not finite \(2\):\n    cls_token .*\n    norm.bias "):
        checkpoint.save(folder, *convert(file, config=TINY), overwrite=True)
    assert os.listdir(folder.parent) == ["mine"] * old
    assert not old or manifest.read(folder) == before


def test_the_file_s_hash_is_taken_while_its_tensors_are_written(tmp_path):
    save_file(published(TINY), tmp_path / "x.safetensors")
    spec, params = convert(tmp_path / "x.safetensors", config=TINY, hashing=False)
    assert spec.source.sha256 == ""
    checkpoint.save(tmp_path / "out", spec, params, sha256=lambda: sha256(tmp_path / "x.safetensors"))
    assert checkpoint.restore_spec(tmp_path / "out") == convert(tmp_path / "x.safetensors", config=TINY)[0]


def test_a_hash_that_is_not_the_published_one_leaves_nothing(tmp_path):
    save_file(published(TINY), tmp_path / "x.safetensors")
    spec, params = convert(tmp_path / "x.safetensors", config=TINY, hashing=False)
    (tmp_path / "out").mkdir()

    def other() -> str:
        raise Error("it is not what was published")

    with pytest.raises(Error, match="it is not what was published"):
        checkpoint.save(tmp_path / "out" / "mine", spec, params, sha256=other)
    assert os.listdir(tmp_path / "out") == []


def test_progress_counts_every_layer_of_every_leaf(tmp_path):
    save_file(published(TINY), tmp_path / "x.safetensors")
    told: list[tuple[int, int]] = []
    spec, params = convert(tmp_path / "x.safetensors", config=TINY, progress=lambda *so_far: told.append(so_far))
    assert not told
    checkpoint.save(tmp_path / "out", spec, params)
    total = sum(leaf.shape[0] if path.startswith("blocks/") else 1 for path, leaf in flatten_dict(params, sep="/").items())
    assert sorted(told) == [(done, total) for done in range(1, total + 1)]
