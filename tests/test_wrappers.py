"""Where the weights are in what training scripts save, and what they put before the names."""

from pathlib import Path

import numpy as np
import pytest

from vitjax import Error
from vitjax.converters.wrappers import PREFIXES, WRAPPERS, Several, opened, stripped

PATH = Path("x.pth")
A, B, C = ({"blocks.0.weight": np.full(2, n), "norm.bias": np.zeros(1)} for n in range(3))
ADAM = {"state": {0: {"exp_avg": np.zeros(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}

FOUND = {  # what is saved, the key, where the weights are, which they are, where others are
    "bare": (A, None, "", A, ()),
    "bare, the top by name": (A, ".", "", A, ()),
    **{name: ({name: A, "epoch": 3, "optimizer": ADAM}, None, name, A, ()) for name in WRAPPERS},
    "nested twice": ({"model": {"state_dict": A}, "epoch": 3}, None, "model.state_dict", A, ()),
    "one of two": ({"model": A, "model_ema": B, "optimizer": ADAM}, "model_ema", "model_ema", B, ("model",)),
    "one of two, deep": ({"model": {"state_dict": A, "ema": B}}, "model.ema", "model.ema", B, ("model.state_dict",)),
    "a wrapper of one": ({"model": {"state_dict": A}, "ema": B}, "model", "model.state_dict", A, ("ema",)),
    "a list": ([A, 3], None, "0", A, ()),
    "one of a list": ((A, B), "1", "1", B, ("0",)),
    "an unusual name": ({"generator": A, "critic": B}, "critic", "critic", B, ()),
    "a stray tensor at the top": ({"model": A, "loss": np.zeros(())}, None, "model", A, ()),
    "birder": ({"state": A, "task": "image_classification", "signature": {"inputs": [1]}}, None, "state", A, ()),
    "I-JEPA": ({"encoder": A, "predictor": B, "target_encoder": C, "opt": ADAM}, "encoder", "encoder", A, ("target_encoder",)),
}  # fmt: skip


@pytest.mark.parametrize("case", FOUND)
def test_found(case):
    saved, key, place, tensors, others = FOUND[case]
    found = opened(PATH, saved, key)
    assert (found.key, found.others) == (place, others)
    assert found.tensors == tensors
    assert all(found.tensors[name] is tensor for name, tensor in tensors.items())


def test_a_key_may_be_how_names_begin():
    saved = {"teacher": {"backbone.a": A["norm.bias"], "backbone.b.c": B["norm.bias"], "head.a": C["norm.bias"]}, "student": A}
    found = opened(PATH, saved, "teacher.backbone")
    assert list(found.tensors) == ["a", "b.c"]
    assert (found.key, found.others) == ("teacher.backbone", ("teacher", "student"))
    with pytest.raises(Error, match="backbone"):
        opened(PATH, saved, "teacher.backbon")


SEVERAL = {
    "model and its average": ({"model": A, "model_ema": B}, None, ["model", "model_ema"]),
    "timm's training": ({"state_dict": A, "state_dict_ema": B, "optimizer": ADAM}, None, ["state_dict", "state_dict_ema"]),
    "DINO": ({"student": A, "teacher": B, "dino_loss": {"center": np.zeros(3)}}, None, ["teacher", "student"]),
    "the same twice": ({"model": A, "module": A}, None, ["model", "module"]),
    "still several": ({"model": {"state_dict": A, "ema": B}}, "model", ["model.state_dict", "model.ema"]),
    "a pair": ((A, B), None, ["0", "1"]),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_several_require_a_choice(case):
    saved, key, places = SEVERAL[case]
    with pytest.raises(Several, match="--key NAME") as error:
        opened(PATH, saved, key)
    assert list(error.value.found) == places
    for place in places:
        assert f"\n  {place} (2 entries)" in str(error.value)
        assert opened(PATH, saved, place).key == place


REFUSED = {
    "nothing": ({}, None, "no weights"),
    "a number": (3, None, "no weights"),
    "an optimizer alone": (ADAM, None, "tensors at state.0: choose"),
    "weights at an unusual place": ({"generator": A, "epoch": 3}, None, "tensors at generator: choose with --key"),
    "an unknown key": ({"model": A}, "modle", "the closest are: model"),
    "a key below a tensor": ({"model": A}, "model.norm.bias.x", "x.pth: unknown key"),
    "an index out of range": ([A], "7", "nothing at '7'"),
    "a tensor for a key": ({"model": {"bias": A["norm.bias"]}}, "model.bias", "no weights at 'model.bias'"),
    "another object among the tensors": ({"model": A | {"hook": [1]}}, None, "'model.hook' is no tensor but list"),
    "a top that holds more than weights": ({"model": A, "a": A["norm.bias"]}, ".", "'model' is no tensor but dict"),
    "a number for a name": ({"model": A | {3: A["norm.bias"]}}, None, "'model.3'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    saved, key, reason = REFUSED[case]
    with pytest.raises(Error) as error:
        opened(PATH, saved, key)
    assert reason in str(error.value)
    assert "x.pth" in str(error.value)
    assert "\n" not in str(error.value)


def test_training_metadata_stays_out_and_plain_values_are_kept():
    plain = {"epoch": 3, "birder_version": "0.4", "rgb_stats": {"mean": (0.5, 0.5, 0.5)}, "class_to_idx": {"cat": 0}, "x": None}
    saved = plain | {"state": A | {"steps": 7, "note": "", "nothing": None}, "optimizer": ADAM, "args": object()}
    found = opened(PATH, saved)
    assert found.tensors == A
    assert found.meta == plain


def test_nothing_is_searched_without_end():
    loop = {}
    loop["model"] = loop
    deep = A
    for _ in range(100_000):
        deep = {"model": deep}
    wide = A
    for _ in range(60):  # 2^60 ways through
        wide = {"a": wide, "b": wide}
    for saved in (loop, deep, wide, {"model": A, "x": wide}):
        try:
            assert opened(PATH, saved).key == "model"
        except Error as error:
            assert "no weights" in str(error)


def names(*given: str) -> dict:
    return {name: np.full(1, n) for n, name in enumerate(given)}


STRIPPED = {
    **{prefix: ((f"{prefix}a", f"{prefix}b.c"), ("a", "b.c")) for prefix in PREFIXES},
    "one in another": (("module._orig_mod.a", "module._orig_mod.b"), ("a", "b")),
    "the other way round": (("_orig_mod.module.model.a", "_orig_mod.module.model.b"), ("a", "b")),
    "a part of its own": (("model.embeddings.x", "model.encoder.layer.0.y"), ("embeddings.x", "encoder.layer.0.y")),
    "birder's blocks": (("conv_proj.weight", "encoder.block.0.x"),) * 2,
    "one torch module called model": (("model.x", "head.x"),) * 2,
    "a longer word": (("modules.a", "modules.b"),) * 2,
    "an averaged model": (("n_averaged", "module.a", "module.b"), ("a", "b")),
    "nothing but the prefix": (("module.",), ("",)),
}


@pytest.mark.parametrize("case", STRIPPED)
def test_prefixes_that_all_names_have(case):
    before, after = STRIPPED[case]
    given = names(*before)
    found = stripped(PATH, given)
    assert tuple(found) == after
    kept = [given[name] for name in before if name != "n_averaged"]
    assert all(a is b for a, b in zip(found.values(), kept, strict=True))


@pytest.mark.parametrize(
    "given",
    [
        ("module.a", "b"),  # half of them
        ("module.a", "a"),  # one name for two tensors
        ("model.module.a", "model.a"),
        ("_orig_mod.a", "module.b"),
    ],
)
def test_mixed_prefixes(given):
    with pytest.raises(Error, match=r"1 of 2 names begin with .* two sets of weights are mixed"):
        stripped(PATH, names(*given))
