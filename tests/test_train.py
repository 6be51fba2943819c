"""A recipe is read strictly, training is a pure function of it, and what comes out is an ordinary checkpoint folder."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from PIL import Image

import vitjax
from tests.test_clip import CONFIG, made
from tests.test_tokenizer import clip  # noqa: F401  (a small vocabulary of CLIP's kind)
from tests.training import conditions, few, lines, losses, short  # noqa: F401
from vitjax import checkpoint
from vitjax.converters import export
from vitjax.model import abstract
from vitjax.train import Recipe, learned, loop, run
from vitjax.train.__main__ import main
from vitjax.train.data import digits
from vitjax.train.recipe import read
from vitjax.variants import VARIANTS

DIGITS = "model=vit_pico_patch4_32.digits", "pretrained=true"  # the network in the package


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return short(tmp_path_factory.mktemp("train") / "run")


@pytest.fixture(scope="module")
def result(recipe):
    return run(recipe, quiet=True)


def same(one, other) -> bool:
    return jax.tree.all(jax.tree.map(np.array_equal, one, other))


def test_loss_falls(recipe, result, tmp_path):
    found = losses(Path(recipe.out))
    assert len(found) == recipe.steps and np.mean(found[-3:]) < np.mean(found[:3]) - 0.02


def test_same_recipe_gives_the_same_bits_and_another_seed_does_not(recipe, result, tmp_path):
    again = run(replace(recipe, out=str(tmp_path / "again")), quiet=True)
    other = run(replace(recipe, out=str(tmp_path / "other"), seed=1), quiet=True)
    assert same(vitjax.load(recipe.out).params, again.params) and not same(again.params, other.params)


def test_folder_is_an_ordinary_checkpoint(recipe, result):
    model = vitjax.load(recipe.out)
    assert model.spec.name == "vit_pico_patch4_32.run" and model.spec.labels == tuple("0123456789")
    assert model.config == VARIANTS[recipe.model]  # drop path belonged to the training
    held_out = few().held_out
    pictures = [held_out[i].picture for i in range(len(held_out))]
    right = np.argmax(model(model.preprocess(pictures)), -1) == held_out.labels
    out = Path(recipe.out)
    assert lines(out, "evaluation")[-1]["top1"] == pytest.approx(right.mean())


def test_a_finished_training_is_not_overwritten_unless_asked(recipe, result, capsys):
    with pytest.raises(vitjax.Error, match="exists already"):
        run(recipe, quiet=True)
    before = losses(Path(recipe.out))
    run(recipe, overwrite=True, quiet=True)
    np.testing.assert_array_equal(losses(Path(recipe.out)), before)


def test_command(tmp_path, capsys, monkeypatch):
    keys = ["data=few", "steps=2", "batch=16", "warmup=0", f"out={tmp_path / 'x'}"]
    assert main(["digits", *keys]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == f"{tmp_path / 'x'}: vit_pico_patch4_32.x" and "step 2/2" in printed.err
    assert main(["digits", *keys]) == 1 and capsys.readouterr().err.startswith(f"vitjax.train: {tmp_path / 'x'} exists already")


def test_command_refuses_a_value_of_the_wrong_type():  # in a process of its own, where no test checks types before us
    done = subprocess.run([sys.executable, "-m", "vitjax.train", "digits", "steps=many"], capture_output=True, text=True)
    assert done.returncode == 1 and "Recipe.steps must be int, not 'many'" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["learning_rat=1"], "unknown field 'learning_rat'; the closest are: learning_rate"),
        (["learning_rate=-1.0"], "learning_rate = -1.0: must be positive"),
        (["warmup=1800"], "shorter than the run"),
        (["shift=1.0"], r"must be in \[0, 1\)"),
        (["label_smoothing=1.0"], r"label_smoothing = 1.0: must be in \[0, 1\)"),
        (["steps"], "write key=value"),
        (["steps=3", "epochs=1.0"], "either steps or epochs"),
        (["accumulate=3"], "accumulate = 3: must divide batch = 32"),
        (["accumulate=2", "loss=contrastive"], "each picture is compared with all of the batch"),
        (["crop=[0.9, 0.1]"], "the smaller first"),
        (["optimizer=adam"], "Recipe.optimizer must be"),
        (["lora_rank=4"], r'must leave what lora names as it is: "head/\*"'),
        (["train=[]"], "must name some parameters"),
    ],
)
def test_recipe_refused(overrides, message):
    with pytest.raises(vitjax.Error, match=message):
        read("digits", overrides)


def test_recipe_files(tmp_path):
    file = tmp_path / "mine.toml"
    text = 'data = "digits"\nmodel = "vit_pico_patch4_32"\nout = "x"\nepochs = 5\nwarmup = 1\nbatch = 2\nlearning_rate = 0.1\n'
    file.write_text(text)
    start = Recipe("digits", "vit_pico_patch4_32", "runs/a b", epochs=5, warmup=1, batch=3, learning_rate=0.1)
    assert read(str(file), ["out=runs/a b", "batch=3"]) == start
    assert read(str(file), ["out=runs/a b", "batch=3", "steps=7"]) == replace(start, epochs=0.0, steps=7, warmup=0.0)
    for text, message in [("steps = 5", "does not say data, model, out, batch, learning_rate"), ("steps", "is not a recipe")]:
        file.write_text(text)
        with pytest.raises(vitjax.Error, match=message):
            read(str(file))
    with pytest.raises(vitjax.Error, match="unknown recipe 'digit'; the closest are: digits"):
        read("digit")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["data=digit"], "unknown data set 'digit'; the closest are: digits"),
        (["model=vit_pico"], "vit_pico_patch4_32"),
        (["batch=41"], "batch = 41 is more than the 40 pictures"),
        (["tensor=3"], "tensor = 3 must divide the number of devices, which is 1"),
        (['train=["heads/*"]'], "no parameter is called 'heads/\\*'"),
        (["lora_rank=2", 'train=["head/*"]', 'lora=["*/bias"]'], "are no kernels"),
        (["loss=contrastive"], "few has classes, but no captions"),
    ],
)
def test_run_refused(keys, message, tmp_path):
    with pytest.raises(vitjax.Error, match=message):
        run(short(tmp_path / "x", *keys), quiet=True)


def test_gradients_that_are_not_finite_change_nothing_and_then_stop_the_run(tmp_path, monkeypatch):
    recipe, inner = short(tmp_path / "x", "bad_steps=3", "report=1", "save=1"), loop.update
    states = []

    def update(task, fixed, state, batch):
        states.append(jax.tree.map(np.array, state))
        if len(states) in (2, 5, 6, 7, 8):
            state = state._replace(learned=jax.tree.map(lambda p: p * np.float32("nan"), state.learned))
            _, metrics = inner(task, fixed, state, batch)
            return jax.tree.map(jax.numpy.asarray, states[-1])._replace(step=state_step(states[-1]), bad=metrics.bad), metrics
        return inner(task, fixed, state, batch)

    def state_step(state):
        return jax.numpy.asarray(state.step + 1)

    monkeypatch.setattr(loop, "update", update)
    with pytest.raises(vitjax.Error, match=r"3 steps in a row were not finite, up to step 7: try a lower learning_rate"):
        run(recipe, quiet=True)
    assert [row["bad"] for row in lines(tmp_path / "x")] == [0, 1, 0, 0, 1, 2, 3]


def test_what_does_not_learn_stays(tmp_path):
    recipe = short(tmp_path / "x", 'train=["head/*", "blocks/norm?/*"]', "steps=3", *DIGITS)
    before, after = (flatten_dict(vitjax.load(name).params, sep="/") for name in (recipe.model, run_out(recipe)))
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert changed == {path for path in before if path.startswith(("head/", "blocks/norm1", "blocks/norm2"))}


def run_out(recipe: Recipe) -> str:
    run(recipe, quiet=True)
    return recipe.out


def test_lora_is_a_small_tree_that_is_merged(tmp_path):
    keys = ["lora_rank=2", "lora_alpha=4.0", 'train=["head/*"]', *DIGITS, "steps=8"]
    recipe = short(tmp_path / "x", *keys, 'lora=["blocks/attn/out/kernel", "blocks/mlp/*/kernel"]')
    saved = []
    with pytest.MonkeyPatch.context() as patch:
        inner = loop.Saves.save
        patch.setattr(loop.Saves, "save", lambda self, state, *args: (saved.append(state), inner(self, state, *args))[1])
        after = flatten_dict(run(recipe, quiet=True).params, sep="/")
    before, small = flatten_dict(vitjax.load(recipe.model).params, sep="/"), flatten_dict(saved[-1].learned, sep="/")
    assert {path for path in small if "lora" not in path} == {"head/kernel", "head/bias"} and len(small) == 8
    a, b = (np.asarray(small[f"blocks/attn/out/kernel/lora_{which}"]) for which in "ab")
    assert a.shape == (4, 4, 16, 2) and b.shape == (4, 2, 64) and np.abs(b).max() > 0
    merged = np.asarray(before["blocks/attn/out/kernel"]) + np.einsum("lhdr,lrc->lhdc", a, b) * 2
    np.testing.assert_allclose(after["blocks/attn/out/kernel"], merged, atol=1e-6)
    untouched = before.keys() - {path.rpartition("/lora")[0] for path in small} - {"head/kernel", "head/bias"}
    assert all(np.array_equal(before[path], after[path]) for path in untouched)


def test_half_of_the_classes_from_a_folder_by_lora_and_by_a_linear_probe(tmp_path):
    """Digits 5 to 9 as files, from a network that knows all ten, by a new head alone, and with LoRA."""
    whole = digits()
    for part, source in (("train", whole.train), ("val", whole.held_out)):
        for i in range(len(source)):
            if (label := source[i].label) >= 5:
                folder = tmp_path / "data" / part / f"digit {label}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(source[i].picture).save(folder / f"{i}.png")
    broken = tmp_path / "data" / "val" / "digit 7" / "broken.png"
    broken.write_bytes(b"no picture")
    keys = [
        f"data={tmp_path / 'data'}",
        "model=vit_pico_patch4_32.digits",
        "pretrained=true",
        "steps=60",
        "batch=32",
        "evaluate=60",
    ]
    for name, more in ("probe", []), ("lora", ["lora_rank=4"]):
        recipe = read("digits", [*keys, f"out={tmp_path / name}", 'train=["head/*"]', *more])
        run(recipe, quiet=True)
        model = vitjax.load(recipe.out)
        assert model.spec.labels == tuple(f"digit {label}" for label in range(5, 10))
        assert lines(tmp_path / name, "evaluation")[-1]["top1"] >= 0.97
        assert [line["names"] for line in lines(tmp_path / name, "bad pictures")] == [[str(broken)]]
    export(model.spec, model.params, tmp_path / "timm", "timm")
    back = vitjax.load(tmp_path / "timm")
    x = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    assert back.spec.labels == model.spec.labels
    np.testing.assert_allclose(back(x), model(x), atol=1e-6)


def test_clip_on_pictures_and_their_captions(tmp_path, clip):  # noqa: F811
    model = made(CONFIG, clip)
    checkpoint.save(tmp_path / "clip", model.spec, model.params, tokenizer=clip)
    rng, rows = np.random.default_rng(0), []
    for i in range(16):
        colour = rng.integers(0, 255, 3)
        Image.new("RGB", (20, 18), tuple(map(int, colour))).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png\t{'low' if i % 2 else 'lower'} {i}")
    (tmp_path / "captions.tsv").write_text("filepath\ttitle\n" + "\n".join(rows) + "\n")
    recipe = Recipe(
        str(tmp_path), str(tmp_path / "clip"), str(tmp_path / "x"), held_out=str(tmp_path), loss="contrastive",
        batch=8, steps=30, evaluate=30, learning_rate=3e-3, dtype="float32", crop=(0, 0), flip=0.0, ema=0.9,
    )  # fmt: skip
    run(recipe, quiet=True)
    found, measured = losses(tmp_path / "x"), lines(tmp_path / "x", "evaluation")[-1]
    assert found[-5:].mean() < found[:5].mean() and measured["image_to_text@5"] > 5 / 16
    tuned = vitjax.load(tmp_path / "x")
    assert tuned.tokenizer == clip and tuned.config == CONFIG and tuned.encode_text(tuned.tokenize(["low"])).shape == (1, 12)


def test_axes_of_every_kernel_that_lora_may_name():
    for path, leaf in flatten_dict(abstract(VARIANTS["test_vit3"]), sep="/").items():
        if path.endswith("kernel"):
            depth, inputs, outputs = learned._axes(path, leaf.shape)
            assert (*depth, *inputs, *outputs) == leaf.shape and len(depth) == ("blocks" in path) and inputs and outputs
