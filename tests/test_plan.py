"""Planning for a TPU slice: names, tables, what is read from a compiled program's text; compiling itself is in tests/tpu."""

import importlib.util
from pathlib import Path

import pytest

from vitjax import Error, hardware
from vitjax.train import compiled, hlo, plan, recipe, slices
from vitjax.train.__main__ import main
from vitjax.train.compiled import Exceeds, Fits

# As the TPU compiler writes it: a scan over 24 blocks, in which a loop turns four times and a gather goes on beside two fusions.
PROGRAM = (Path(__file__).parent / "fixtures" / "step.hlo").read_text()


def test_a_program_is_added_up():
    found = hlo.work(PROGRAM)
    assert found.cycles == 24 * 120 + 7 + 1 + 3000 + 10_000  # a call, the longer of two branches, a loop that counts nothing
    assert found.count == {
        "all-gather": 24,
        "collective-permute": 24 * 4,
        "all-reduce": 24,
        "reduce-scatter": 1,
        "all-reduce-scatter": 1,
    }
    assert found.sent == {
        "all-gather": 24 * 2048 * 15 // 16,
        "collective-permute": 24 * 4 * 128,
        "all-reduce": 24 * 2 * (64 + 32) * 3 // 4,
        "reduce-scatter": 3 * 32,
        "all-reduce-scatter": 256 * 3 // 4,
    }


@pytest.mark.parametrize(("name", "count"), [("v5e-1", 1), ("v5e-256", 256), ("v5p-8", 4), ("v5p-1024", 512), ("v6e-32", 32)])
def test_slices(name, count):
    assert slices.chips(name) == count
    chip = slices.chip(name)
    kind = {"v5e": "TPU v5 lite", "v5p": "TPU v5", "v6e": "TPU v6 lite"}[name[:3]]
    per_cycle = {"v5e": 2**17, "v5p": 2**18, "v6e": 2**19}[name[:3]]
    assert chip.clock * 1e9 * per_cycle == pytest.approx(hardware.peak(kind), rel=3e-3)


def test_a_slice_that_is_not_there():
    with pytest.raises(Error, match="unknown TPU slice 'v5e-24'; the closest are: v5e-4, v5e-64, v5e-32; known are v5e-1, "):
        slices.devices("v5e-24")


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="the TPU compiler is here")
def test_without_the_compiler(capsys):
    assert main(["digits", "--plan", "v5e-4"]) == 1
    assert capsys.readouterr().err == (
        "vitjax.train: to compile for v5e-4, the TPU compiler has to be here: pip install 'vitjax[tpu]'. It needs no TPU\n"
    )


def test_by_how_much_a_program_is_too_large():
    words = "the total memory required for HLO temporaries ({}) exceeds available HBM (15.75G). HLO module: jit_step."
    assert compiled.excess(words.format("142.18G")) == pytest.approx(126.43)
    assert compiled.excess(words.format("1.5T")) == pytest.approx(1536 - 15.75)
    words = "Ran out of memory in memory space hbm. Used 24.07G of 15.75G hbm. Exceeded hbm capacity by 512.00M."
    assert compiled.excess(words) == 0.5
    assert compiled.excess("RESOURCE_EXHAUSTED") is None


def test_without_data_or_weights(tmp_path):
    """A published name's network, with as many classes as it has; and what the recipe makes of it."""
    what = recipe.read("digits", [f"data={tmp_path}/none", "model=vit_base_patch16_224.augreg_in21k", "image=384"])
    spec, note = compiled.described(what)
    assert (spec.vit.classes, spec.vit.image, spec.preprocess.size) == (21843, 384, 384)
    assert note == f"{tmp_path}/none is not here, so there are 21843 classes"
    spec, note = compiled.described(recipe.read("digits", ["out=runs/mine"]))
    assert (spec.name, spec.vit.classes, note) == ("vit_pico_patch4_32.mine", 10, "")


FITS = Fits(8.0, 2.0, hlo.Work(int(1.5e8)))
TRIES = {
    # what fits: remat and accumulate -> what is tried, what is advised, the exit code
    "as it is": ("none", {("none", 1)}, [("none", 1)], "fits; there is room for about 2 times the batch: batch=64", 0),
    "computed again": ("none", {("blocks", 1)}, [("none", 1), ("dots", 1), ("blocks", 1)], "fits with remat=blocks", 1),
    "in parts": (
        *("none", {("blocks", 4)}),
        *([("none", 1), ("dots", 1), ("blocks", 1), ("blocks", 2), ("blocks", 4)], "fits with remat=blocks accumulate=4", 1),
    ),
    "nothing": (
        *("dots", set(), [("dots", 1), ("blocks", 1), ("blocks", 2), ("blocks", 4), ("blocks", 8)]),
        *("nothing fits v5e-4: use more chips, a smaller batch, tensor = 2 or a smaller picture", 1),
    ),
    "kept": (
        *("blocks", {("blocks", 1), ("dots", 1)}, [("blocks", 1), ("dots", 1), ("none", 1)]),
        *("fits; remat=dots is faster", 0),
    ),
}


@pytest.mark.parametrize("name", TRIES)
def test_what_is_tried(name, monkeypatch, capsys):
    import jax

    remat, fitting, wanted, advice, code = TRIES[name]
    tried = []

    def step(what, spec, mesh):
        tried.append((what.remat, what.accumulate))
        slow = {"none": 1, "dots": 2, "blocks": 3}[what.remat]
        fits = (what.remat, what.accumulate) in fitting
        return Fits(8.0, 2.0, hlo.Work(slow * 10**8)) if fits else Exceeds(3.2)

    class Device:
        device_kind = "TPU v5 lite"

    monkeypatch.setattr(slices, "devices", lambda name: jax.devices()[:4])
    monkeypatch.setattr(hardware, "peak", lambda kind: 197e12)
    monkeypatch.setattr(compiled, "step", step)
    what = recipe.read("digits", [f"remat={remat}"])
    assert plan.plan(what, "v5e-4") == code
    assert tried == wanted
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith(f"v5e-4: {advice}" if "nothing" not in advice else advice)
    assert ("does not fit by 3.2 GiB a chip" in out) == (set(tried) != fitting)
    assert "8.00 of 16" in out or not fitting


def test_a_batch_that_does_not_divide(monkeypatch):
    import jax

    monkeypatch.setattr(slices, "devices", lambda name: jax.devices())
    with pytest.raises(Error, match="batch = 12 must be a multiple of the 8 devices that split it, times accumulate = 1: try 16"):
        plan.plan(recipe.read("digits", ["batch=12"]), "v5e-8")


def test_shipped_recipes_are_planned():
    from tests.tpu.test_recipes import SLICES

    assert sorted(SLICES) == sorted(path.stem for path in Path(recipe.RECIPES).glob("*.toml"))
