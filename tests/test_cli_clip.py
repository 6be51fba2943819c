"""The commands about checkpoints, where these have two towers and a vocabulary."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import vitjax
from tests.test_mapping import drawn
from tests.test_tokenizer import MERGES
from tests.test_zero_shot import CLIP, SPEC, draw
from vitjax import checkpoint, variants
from vitjax.cli import main
from vitjax.config import Tokenize
from vitjax.tokenizer import BYTES, END, START, vocabulary

# A tiny network, with OpenAI's ids for the first and last word: open_clip's settings have no others.
TEXT = replace(CLIP.text, vocab=Tokenize.end + 1)
OURS = replace(SPEC, config=replace(CLIP, text=TEXT), preprocess=replace(SPEC.preprocess, crop=1.0), tokenize=Tokenize())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny CLIP, its vocabulary as it is published, and both in open_clip's spelling."""
    place = tmp_path_factory.mktemp("clip")
    (place / "merges.txt").write_text("\n".join(["#version: 0.2", *map(" ".join, MERGES)]))
    words = [*BYTES.values(), *(byte + "</w>" for byte in BYTES.values()), *map("".join, MERGES)]
    ids = {word: id for id, word in enumerate(words)} | {START: Tokenize.start, END: Tokenize.end}
    (place / "vocab.json").write_text(json.dumps(ids))
    checkpoint.save(place / "clip", OURS, drawn(OURS.config), tokenizer=vocabulary(place / "merges.txt"))
    assert main(["export", str(place / "clip"), str(place / "theirs"), "--dialect", "open_clip"]) == 0
    assert main(["export", str(place / "clip"), str(place / "bare" / "theirs.safetensors"), "--dialect", "open_clip"]) == 0
    (place / "config.json").write_text(json.dumps(vitjax.config.config_to_json(OURS.config)))
    draw(place / "0.png", 0)
    return place


def same(a, b) -> bool:
    a, b = flatten_dict(a), flatten_dict(b)
    return a.keys() == b.keys() and all(np.array_equal(a[path], b[path]) for path in a)


def test_there_and_back_with_its_vocabulary(run, place, tmp_path):
    assert (place / "theirs" / "tokenizer.json").read_bytes() == (place / "clip" / "tokenizer.json").read_bytes()
    code, out, err = run("convert", "theirs", tmp_path / "ours")
    clip, ours = vitjax.load("clip"), vitjax.load(tmp_path / "ours")
    count = variants.parameters(OURS.config) / 1e6
    assert (code, out, err) == (0, f"{tmp_path}/ours: {ours.spec.name}, {count:.2f} M parameters, 16 features\n", "")
    assert ours.config == clip.config and ours.tokenizer == clip.tokenizer and same(ours.params, clip.params)
    assert ours.tokenize("a cat").tolist() == clip.tokenize("a cat").tolist()


def test_zero_shot_of_an_eva_clip_in_open_clips_spelling(run, place, tmp_path, monkeypatch):
    name, labels = "eva02_base_patch16_clip_224", ["cat", "dog", "its"]
    row = replace(variants.TIMM[name], image=32, patch=8, width=32, depth=2, heads=4, mlp=48, classes=16)
    monkeypatch.setitem(variants.TIMM, name, row)
    config = replace(OURS.config, image=row)
    params = drawn(config)
    params["text"]["embedding"] = params["text"]["embedding"] * 50  # else, at random, all words are alike
    checkpoint.save(tmp_path / "ours", replace(OURS, config=config), params, tokenizer=vocabulary(place / "merges.txt"))
    assert run("export", tmp_path / "ours", tmp_path / "theirs", "--dialect", "open_clip")[0] == 0
    code, out, _ = run("zero-shot", "0.png", "--labels", ",".join(labels), "--model", tmp_path / "theirs", "--json")
    clip = vitjax.load(tmp_path / "theirs")
    assert clip.config == config and clip.spec.source.dialect == "open_clip"
    logits = clip(clip.preprocess("0.png"), clip.tokenize(labels))[0]
    wanted = dict(zip(labels, np.asarray(jax.nn.softmax(logits))[0], strict=True))
    assert np.ptp(list(wanted.values())) > 0.01
    for found in clip.zero_shot("0.png", labels), [tuple(top.values()) for top in json.loads(out)[0]["top"]]:
        assert code == 0 and dict(found) == pytest.approx(wanted, abs=1e-6)


def test_a_tower_by_itself(run, place, tmp_path):
    clip = vitjax.load("clip")
    for name in ("image", "text"):
        code, _, err = run("convert", "theirs", tmp_path / name, "--tower", name)
        assert (code, err) == (0, "")
        found = vitjax.load(tmp_path / name)
        assert found.spec.config == getattr(clip.config, name) and same(found.params, clip.params[name])
        assert (tmp_path / name / "tokenizer.json").exists() == (name == "text")
    assert run("convert", "theirs", tmp_path / "image", "--tower", "text")[0] == 1
    code, _, err = run("convert", tmp_path / "image", tmp_path / "other", "--tower", "image")
    assert code == 1
    with pytest.raises(SystemExit):
        run("convert", "theirs", tmp_path / "other", "--tower", "middle")


def test_exporting_a_tower(run, tmp_path):
    """The image tower is a network that timm has."""
    assert run("export", "clip", tmp_path / "timm", "--dialect", "timm", "--tower", "image")[0] == 0
    assert sorted(file.name for file in (tmp_path / "timm").iterdir()) == ["config.json", "model.safetensors"]
    clip = vitjax.load("clip")
    found = vitjax.load(tmp_path / "timm", config=clip.config.image)
    assert same(found.params, clip.params["image"])


def test_a_vocabulary_that_is_given(run, tmp_path):
    words = ["convert", "bare/theirs.safetensors", "--config", "config.json"]
    code, _, err = run(*words, tmp_path / "mute")
    assert code == 0 and "comes without a vocabulary" in err and "--tokenizer" in err
    assert vitjax.load(tmp_path / "mute").tokenizer is None
    for file in ("merges.txt", "clip/tokenizer.json"):
        assert run(*words, tmp_path / "ours", "--tokenizer", file, "--overwrite")[::2] == (0, "")
        assert vitjax.load(tmp_path / "ours").tokenizer == vitjax.load("clip").tokenizer
    for file, said in (("nothing.txt", "nothing.txt"), ("config.json", "config.json is no tokenizer.json")):
        code, _, err = run(*words, tmp_path / "no", "--tokenizer", file)
        assert code == 1 and said in err and not (tmp_path / "no").exists()
    code, _, err = run(*words, tmp_path / "no", "--tower", "image", "--tokenizer", "merges.txt")
    assert code == 1 and "takes no texts" in err and not (tmp_path / "no").exists()
    (tmp_path / "tokenizer.json").write_text((vitjax.load("clip").tokenizer or "").replace("49407", "49408"))
    code, _, err = run(*words, tmp_path / "no", "--tokenizer", tmp_path / "tokenizer.json")
    assert code == 1 and "the network's end at 49407" in err


def test_inspect(run):
    for src, name in (("clip", "text/embedding"), ("theirs", "token_embedding.weight")):
        code, out, _ = run("inspect", src, "--json")
        about = json.loads(out)
        assert code == 0
        assert any(tensor.endswith(name) for tensor in about["tensors"])
        assert about["parameters"] == variants.parameters(OURS.config)
        assert about["spec"]["tokenize"]["start"] == Tokenize.start and about["spec"]["labels"] == []
        code, out, _ = run("inspect", src)
        assert code == 0 and "CLIPConfig" in out and "Tokenize" in out


def test_list(run):
    rows = json.loads(run("list", "--json")[1])
    clips = [row for row in rows if row["kind"] == "clip"]
    assert clips
    for row in clips:
        config = variants.VARIANTS[row["name"]]
        assert row["parameters"] == variants.parameters(config.image) + variants.parameters(config.text) + 1 + config.sigmoid
        assert tuple(row["image"]) == vitjax.config.hw(config.image.image)
    published = [row for row in json.loads(run("list", "--pretrained", "--json")[1]) if row["kind"] == "clip"]
    assert published and all(row["origin"] for row in published)
    assert clips[0]["name"] in run("list", clips[0]["name"])[1]


def test_verify(run, place, tmp_path):
    clip = vitjax.load("clip")
    x, ids = clip.preprocess(["0.png"]), clip.tokenize(["a cat", "dogs!!"])
    stages = {f"stage/{name}": np.asarray(array) for name, array in clip.stages(x, ids).items()}
    np.savez(tmp_path / "good.npz", input=x, ids=ids, **stages)
    code, out, err = run("verify", "clip", tmp_path / "good.npz")
    assert (code, err) == (0, "")
    assert "text/pooled" in out and "logits_per_image" in out
    assert "good.npz" in run("inspect", "clip")[1]
    stages["stage/text/pooled"] = stages["stage/text/pooled"] * 1.001
    np.savez(tmp_path / "bad.npz", input=x, ids=ids, **stages)
    code, _, err = run("verify", "clip", tmp_path / "bad.npz")
    assert code == 1 and err.startswith(f"vitjax: 1 of {len(stages)} stages are off; the first is text/pooled: ")
    np.savez(tmp_path / "half.npz", input=x, **stages)
    code, _, err = run("verify", "clip", tmp_path / "half.npz")
    assert code == 1 and "`ids`" in err


def test_act_is_for_files_that_do_not_say(run, tmp_path):
    code, _, err = run("convert", "theirs", tmp_path / "ours", "--act", "quick_gelu")
    assert code == 1 and "--act" in err
