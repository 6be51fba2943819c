"""Zero-shot on the command line: labels and templates from everywhere, what is printed, and every mistake told."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vitjax
from tests.test_mapping import drawn
from tests.test_tokenizer import LINES, OPENAI, SIZE
from vitjax import checkpoint
from vitjax.config import CLIPConfig, Preprocess, Source, Spec, TextConfig, ViTConfig
from vitjax.tokenizer import vocabulary

IMAGE = ViTConfig(32, 8, 32, 2, 4, 80, 16, patch_bias=False, norm_pre=True, head_bias=False, eps=1e-5)
CLIP = CLIPConfig(IMAGE, TextConfig(12, SIZE, 24, 2, 3, 50, 16))
SPEC = Spec("tiny_clip", CLIP, Preprocess(32), source=Source(reference="open_clip"), tokenize=OPENAI)


def make(place: Path) -> Path:
    """A CLIP with random parameters, its vocabulary beside them, as a checkpoint folder in a place."""
    (place / "merges.txt").write_text(LINES)
    checkpoint.save(place / "clip", SPEC, drawn(CLIP), tokenizer=vocabulary(place / "merges.txt"))
    return place / "clip"


def draw(path: Path, seed: int, size: int = 40) -> None:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size, size + 8, 3), "u1")).save(path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny CLIP and eleven pictures, more than one batch."""
    place = tmp_path_factory.mktemp("zero_shot")
    make(place)
    for number in range(11):
        draw(place / "pictures" / f"{number:02}.png", number)
    return place


def test_as_in_python(run, place):
    clip = vitjax.load("clip")
    names = [f"pictures/{number:02}.png" for number in range(11)]
    expected = clip.zero_shot(names, ["cat", "dog", "a dog!!"], ["{}", "a {}."], top=2)
    words = ["zero-shot", "pictures", "--labels", "cat, dog,a dog!!", "--templates", "{}", "a {}.", "--model", "clip", "--top", 2]
    code, out, _ = run(*words, "--json")
    found = json.loads(out)
    assert (code, [item["image"] for item in found]) == (0, names)
    for item, ranking in zip(found, expected, strict=True):
        assert [top["label"] for top in item["top"]] == [label for label, _ in ranking]
        np.testing.assert_allclose([top["probability"] for top in item["top"]], [p for _, p in ranking], atol=1e-6)
    (code, out, _), (label, p) = run(*words), expected[0][0]
    assert code == 0
    assert out.splitlines()[:2] == [names[0], f"  {100 * p:5.1f} %  {label}"]
    assert len(out.splitlines()) == 11 * 3


def test_from_files(run, place, tmp_path):
    """A line is a label, commas and all; Windows' files too."""
    (tmp_path / "labels").write_bytes("\ufeffcat, dog\r\nélan\r\n".encode())
    (tmp_path / "templates").write_text("a {}\nmany {}s")
    found = json.loads(
        run("zero-shot", "pictures/00.png", "--labels", f"@{tmp_path}/labels", "--templates", f"@{tmp_path}/templates",
            "--model", "clip", "--json")[1]
    )  # fmt: skip
    expected = vitjax.load("clip").zero_shot("pictures/00.png", ["cat, dog", "élan"], ["a {}", "many {}s"])
    assert [(top["label"], pytest.approx(top["probability"], abs=1e-6)) for top in found[0]["top"]] == expected


def test_unreadable_pictures_are_told_at_the_end(run, place, tmp_path):
    shutil.copytree("pictures", tmp_path / "some")
    (tmp_path / "some" / "03.png").write_text("no picture")
    code, out, err = run("zero-shot", tmp_path / "some", "--labels", "cat,dog", "--model", "clip", "--json")
    found = json.loads(out)
    assert code == 1
    assert [number for number, item in enumerate(found) if "error" in item] == [3]
    assert "no picture" in found[3]["error"] and not found[3]["top"]
    assert err.startswith("vitjax: 1 of 11 pictures could not be read") and "some/03.png" in err
    code, out, _ = run("zero-shot", tmp_path / "some", "--labels", "cat,dog", "--model", "clip")
    assert code == 1 and "04.png" in out and "03.png" not in out


MISTAKES = {
    "no labels": (["--labels", ""], "labels must not be blank"),
    "a blank label": (["--labels", "cat,,dog"], "labels must not be blank: number 2 of 3 is"),
    "a label twice": (["--labels", "cat,dog, cat"], "labels must differ: cat is given more than once"),
    "a template without a place": (["--labels", "cat", "--templates", "a photo"], "'a photo' has no place for a label"),
    "a template twice": (["--labels", "cat", "--templates", "{}", "{}"], "templates must differ"),
    "no file of labels": (["--labels", "@nothing"], "cannot read the lines of 'nothing'"),
    "an empty file of labels": (["--labels", "@empty"], "empty is empty"),
    "a file that is no text": (["--labels", "@pictures/00.png"], "must be a file of UTF-8 text"),
    "no CLIP": (["--labels", "cat", "--model", "vit_pico_patch4_32"], "is no CLIP"),
    "no vocabulary": (["--labels", "cat", "--model", "mute"], "has no vocabulary"),
    "one tower": (["--labels", "cat", "--model", "text"], "is no CLIP"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake, run, place):
    Path("empty").write_text("")
    if not Path("mute").exists():
        model = vitjax.load("clip")
        checkpoint.save("mute", SPEC, model.params)
        checkpoint.save("text", model.text.spec, model.text.params)
    words, said = MISTAKES[mistake]
    code, out, err = run("zero-shot", "pictures/00.png", "--model", "clip", *words)
    assert (code, out) == (1, "")
    assert err.startswith("vitjax: ") and said in err and "bug" not in err


def test_classify_points_here(run):
    code, _, err = run("classify", "pictures/00.png", "--model", "clip")
    assert code == 1
    assert "vitjax zero-shot" in err


def test_pictures_must_be_there(run, tmp_path):
    for picture in ("nothing.png", tmp_path):
        code, _, err = run("zero-shot", picture, "--labels", "cat", "--model", "clip")
        assert code == 1 and str(picture) in err
    with pytest.raises(SystemExit):
        run("zero-shot", "pictures/00.png", "--labels", "cat", "--model", "clip", "--top", 0)
