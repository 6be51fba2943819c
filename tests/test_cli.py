"""The command line as a user meets it: the whole journey, the answers for programs, and one clear line for every mistake."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import vitjax
from vitjax import converters
from vitjax.cli import main
from vitjax.config import config_to_json

SMALL = "test_vit"  # timm's own smallest: 0.4 M parameters


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a timm checkpoint in three forms, and two pictures."""
    place = tmp_path_factory.mktemp("cli")
    model = vitjax.create(SMALL, classes=4, seed=1)
    spec = replace(model.spec, labels=("cat", "dog", "egg", "fox"))
    converters.export(spec, model.params, place / "timm")
    converters.export(spec, model.params, place / "bare.safetensors")
    (place / "config.json").write_text(json.dumps(config_to_json(spec.config)))
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 255, (50, 70, 3), "u1")
        Image.fromarray(pixels).save(place / f"{seed}.png")
    return place


def test_the_whole_journey(run, place, tmp_path):
    ours, back = tmp_path / "ours", tmp_path / "back"
    assert run("convert", "timm", ours)[0] == 0
    assert run("export", ours, back) == (0, f"{back / 'model.safetensors'}\n", "")
    assert load_file(back / "model.safetensors").keys() == load_file("timm/model.safetensors").keys()
    assert (back / "model.safetensors").read_bytes() == Path("timm/model.safetensors").read_bytes()
    assert (back / "config.json").read_bytes() == Path("timm/config.json").read_bytes()

    code, out, _ = run("classify", "0.png", "1.png", "--model", ours, "--top", 2, "--json")
    found = json.loads(out)
    assert code == 0
    assert [item["image"] for item in found] == ["0.png", "1.png"]
    assert {top["label"] for item in found for top in item["top"]} <= {"cat", "dog", "egg", "fox"}
    label, probability = vitjax.load(ours).classify("0.png", top=1)[0]
    assert found[0]["top"][0]["label"] == label
    assert found[0]["top"][0]["probability"] == pytest.approx(probability, abs=1e-6)
    assert label in run("classify", "0.png", "--model", ours)[1]

    assert run("embed", *["0.png", "1.png"] * 5, "--model", ours, "--out", tmp_path / "f.npy")[0] == 0  # ten: more than a batch
    model = vitjax.load(ours)
    expected = np.asarray(model.embed(model.preprocess(["0.png", "1.png"])))
    np.testing.assert_allclose(np.load(tmp_path / "f.npy"), np.tile(expected, (5, 1)), atol=1e-5)


def test_a_bare_file(run, tmp_path):
    assert run("convert", "bare.safetensors", tmp_path / "a", "--variant", SMALL)[0] == 0
    assert run("convert", "bare.safetensors", tmp_path / "b", "--config", "config.json")[0] == 0
    assert run("convert", "bare.safetensors", tmp_path / "c", "--variant", SMALL, "--drop", "head", "--dtype", "bfloat16")[0] == 0
    a, b, c = (vitjax.load(tmp_path / name) for name in "abc")
    assert a.config == b.config
    assert c.config == replace(a.config, classes=0)
    leaf = vitjax.checkpoint.stored(tmp_path / "c")["norm/scale"]
    assert (leaf.shape, leaf.dtype) == ((64,), "bfloat16")


def test_verify(run, tmp_path):
    run("convert", "timm", tmp_path / "ours")
    model = vitjax.load(tmp_path / "ours")
    x = np.random.default_rng(0).standard_normal((2, 160, 160, 3)).astype("f4")
    stages = {f"stage/{name}": np.asarray(array) for name, array in model.stages(x).items()}
    np.savez(tmp_path / "good.npz", input=x, **stages)
    code, out, _ = run("verify", tmp_path / "ours", tmp_path / "good.npz")
    assert code == 0
    assert "logits" in out
    assert all(stage["good"] for stage in json.loads(run("verify", tmp_path / "ours", tmp_path / "good.npz", "--json")[1]))
    stages["stage/block_03"] = stages["stage/block_03"] * (1 + 1e-4)
    np.savez(tmp_path / "bad.npz", input=x, **stages)
    code, _, err = run("verify", tmp_path / "ours", tmp_path / "bad.npz")
    assert code == 1 and err.startswith(f"vitjax: 1 of {len(stages)} stages are off; the first is block_03: ")
    np.savez(tmp_path / "more.npz", input=x, **{"stage/rope": x, "stage/logits": stages["stage/logits"]})
    code, _, err = run("verify", tmp_path / "ours", tmp_path / "more.npz")
    assert (code, err) == (0, "not compared, because there is no such stage here: rope\n")
    np.savez(tmp_path / "none.npz", input=x)
    assert run("verify", tmp_path / "ours", tmp_path / "none.npz")[0] == 1
    np.savez(tmp_path / "object.npz", input=np.array([{}], object))
    assert run("verify", tmp_path / "ours", tmp_path / "object.npz")[0] == 1


def test_inspect(run, tmp_path):
    run("convert", "timm", tmp_path / "ours")
    for src, tensor in (
        ("bare.safetensors", "blocks.0.attn.qkv.weight"),
        ("timm", "cls_token"),
        (tmp_path / "ours", "positions"),
    ):
        code, out, _ = run("inspect", src, "--json")
        about = json.loads(out)
        assert code == 0
        assert tensor in about["tensors"]
        assert about["parameters"] == vitjax.variants.parameters(vitjax.load(tmp_path / "ours").config)
        assert tensor in run("inspect", src)[1]
    assert json.loads(run("inspect", "bare.safetensors", "--json")[1])["fits"] == [SMALL]


def test_list(run):
    out = run("list", "vit_base_patch16_384")[1]
    assert "384 x 384" in out and "86.9 M" in out
    rows = json.loads(run("list", "vit_base_patch16_384", "--pretrained", "--json")[1])
    assert rows[0]["name"] == "vit_base_patch16_384.augreg_in21k_ft_in1k"
    assert rows[0]["origin"] == "hf:timm/vit_base_patch16_384.augreg_in21k_ft_in1k"
    assert (rows[0]["top-1"], rows[0]["top-5"]) == (None, None)
    assert run("list", "no_such_thing")[0] == 1


def test_list_shows_what_cards_report(run):
    name = "eva_giant_patch14_224.clip_ft_in1k"
    (row,) = json.loads(run("list", name, "--pretrained", "--json")[1])
    assert (row["top-1"], row["top-5"], row["parameters"]) == (88.882, 98.678, 1_012_555_112)
    head, *lines = run("list", "eva_giant_patch14_*", "--pretrained")[1].splitlines()
    assert "top-1   top-5 " in head and "88.882  98.678" in lines[0] and "None" not in lines[-1]
    assert "top-1" not in run("list", "eva_giant")[1]


MISSING = "blocks.3.norm1.weight [64] <-> blocks/norm1/scale[3]"  # in both languages
SHAPE = "cls_token [1, 1, 64] <-> cls: the file has [1, 64]"
MISTAKES = {
    "wrong path": (["convert", "nothing", "out"], "nothing does not exist"),
    "a folder without a model": (["convert", "empty", "out"], "empty has no model in it"),
    "an empty file": (["convert", "zero.safetensors", "out", "--variant", SMALL], "is empty"),
    "a truncated file": (["convert", "half.safetensors", "out", "--variant", SMALL], "not a whole safetensors file"),
    "a web page": (["convert", "page.safetensors", "out", "--variant", SMALL], "web page"),
    "an LFS pointer": (["inspect", "pointer.safetensors"], "git lfs pull"),
    "no architecture": (["convert", "bare.safetensors", "out"], f"--variant NAME (variant=...); it has the tensors of {SMALL}"),
    "unknown name": (["convert", "bare.safetensors", "out", "--variant", "tset_vit"], "test_vit"),
    "unknown model": (["classify", "0.png", "--model", "vit_bas_patch16_384"], "vit_base_patch16_384"),
    "unknown dialect": (["convert", "timm", "out", "--dialect", "tim"], "the closest are: timm"),
    "wrong variant": (["convert", "bare.safetensors", "out", "--variant", "test_vit2"], f"its tensors fit {SMALL}"),
    "a missing tensor": (
        ["convert", "missing.safetensors", "out", "--variant", SMALL],
        MISSING,
    ),
    "an extra tensor": (["convert", "extra.safetensors", "out", "--variant", SMALL], "blocks.3.norm9.weight [64]"),
    "a mis-shaped tensor": (
        ["convert", "shape.safetensors", "out", "--variant", SMALL],
        SHAPE,
    ),
    "weights that are not finite": (["convert", "nan.safetensors", "out", "--variant", SMALL], "not finite (1):\n    norm.bias"),
    "no picture": (["classify", "nothing.png", "--model", "timm"], "nothing.png"),
    "not a picture": (["embed", "timm/config.json", "--model", "timm", "--out", "out.npy"], "timm/config.json"),
    "an unwritable place": (["embed", "0.png", "--model", "timm", "--out", "0.png/out.npy"], "cannot write 0.png/out.npy"),
    "an existing destination": (["convert", "timm", "empty"], "--overwrite"),
    "a destination inside a file": (["convert", "timm", "0.png/out"], "cannot write 0.png/out"),
    "export over something": (["export", "timm", "bare.safetensors"], "--overwrite"),
    "a config of something else": (["convert", "bare.safetensors", "out", "--config", "timm/config.json"], "architecture"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line_and_leaves_nothing(mistake, run, place):
    (place / "empty").mkdir(exist_ok=True)
    whole = load_file("bare.safetensors")
    made = {
        "missing": {k: v for k, v in whole.items() if k != "blocks.3.norm1.weight"},
        "extra": whole | {"blocks.3.norm9.weight": whole["norm.weight"]},
        "shape": whole | {"cls_token": whole["cls_token"][0]},
        "nan": whole | {"norm.bias": np.where(np.arange(64) == 5, np.nan, whole["norm.bias"])},
    }
    for name, tensors in made.items():
        save_file(tensors, f"{name}.safetensors")
    for name, content in {
        "zero": b"",
        "half": Path("bare.safetensors").read_bytes()[:100_000],
        "page": b"<!DOCTYPE html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1",
    }.items():
        Path(f"{name}.safetensors").write_bytes(content)
    words, said = MISTAKES[mistake]
    before = sorted(os.listdir(place))
    code, _, err = run(*words)
    assert code == 1
    assert err.startswith("vitjax: ")
    assert said in err
    assert "Traceback" not in err
    assert "bug" not in err.splitlines()[0]
    assert sorted(os.listdir(place)) == before


def test_all_missing_tensors_are_listed_at_once(run):
    whole = load_file("bare.safetensors")
    gone = ["cls_token", "blocks.0.attn.qkv.weight", "head.bias"]
    save_file({k: v for k, v in whole.items() if k not in gone}, "several.safetensors")
    err = run("convert", "several.safetensors", "out", "--variant", SMALL)[2]
    assert "missing (3)" in err
    assert all(name in err for name in gone)


def test_nonfinite_weights_on_request(run, tmp_path):
    whole = load_file("bare.safetensors")
    save_file(whole | {"norm.bias": np.full(64, np.inf, "f4")}, tmp_path / "inf.safetensors")
    assert run("convert", tmp_path / "inf.safetensors", tmp_path / "a", "--variant", SMALL)[0] == 1
    assert run("convert", tmp_path / "inf.safetensors", tmp_path / "a", "--variant", SMALL, "--allow-nonfinite")[0] == 0


def test_wrong_usage_is_2(place):
    for words in (["convert", "only-one"], ["no-such-command"], ["classify", "0.png"], []):
        with pytest.raises(SystemExit) as exit:
            main(words)
        assert exit.value.code == 2


def test_debug_shows_the_traceback(place, monkeypatch):
    monkeypatch.chdir(place)
    with pytest.raises(vitjax.Error):
        main(["--debug", "inspect", "nothing"])


INTERRUPTED = """
import os, signal, sys
from vitjax.cli import main
from vitjax.converters import stored

read, sent = stored.Stored.read, []

def read_and_send(self, *args, **kwargs):
    if not sent and any(name.startswith(".out.draft") for name in os.listdir()):
        sent.append(os.kill(os.getpid(), {}))
    return read(self, *args, **kwargs)

stored.Stored.read = read_and_send
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born deaf to it
sys.exit(main(["convert", "timm", "out"]))
"""


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_the_middle_leaves_nothing(stop, place, tmp_path):
    """Sent by a tensor that is read while the draft is written."""
    shutil.copytree(place / "timm", tmp_path / "timm")
    code = INTERRUPTED.format(int(stop))
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert found.returncode == 1, found.stderr
    assert found.stderr == "vitjax: interrupted; what was half-written is removed\n"
    assert os.listdir(tmp_path) == ["timm"]


FULL = """
import resource, signal, sys
from vitjax.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("words", [["convert", "timm", "new/out"], ["export", "vit_pico_patch4_32", "new/out"]])
def test_a_full_disk_is_one_clear_line(words, place, tmp_path):
    """A limit of file sizes stands in for the disk: the write itself fails, in tensorstore and in Python."""
    shutil.copytree(place / "timm", tmp_path / "timm")
    found = subprocess.run([sys.executable, "-c", FULL, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert found.returncode == 1
    assert found.stderr.startswith("vitjax: cannot write new/out")
    assert found.stderr.count("\n") == 1
    assert not list((tmp_path / "new").rglob("*"))


def test_help_and_list_do_not_import_jax():
    for words in (["--help"], ["list"], ["list", "--pretrained", "--json"]):
        code = f"import sys, vitjax.cli\ntry: vitjax.cli.main({words})\nexcept SystemExit: pass\nassert 'jax' not in sys.modules"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m vitjax.cli list | head -1"
    found = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert (found.stdout.split()[0], found.stderr) == ("name", "")
