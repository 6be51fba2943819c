"""Data sets of every kind hold what was put into them, there and back; what is none is refused with a reason."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitjax.cli import main
from vitjax.config import Error, Preprocess, Spec, ViTConfig
from vitjax.train.data import DATASETS, array_records, crops, dataset, digits
from vitjax.train.data.examples import Strings
from vitjax.train.data.pack import pack
from vitjax.train.data.pipeline import training
from vitjax.train.recipe import Recipe

HOW = Preprocess(size=(16, 24))
NETWORK = ViTConfig(image=(16, 24), patch=8, width=8, depth=1, heads=1, mlp=8, classes=2)
SPEC = Spec("it", NETWORK, HOW)


def recipe(data="digits", **changes) -> Recipe:
    return replace(Recipe(str(data), "model", "out", batch=12, steps=1, learning_rate=0.1), **changes)


def picture(seed: int, width: int = 40, height: int = 30) -> Image.Image:
    """Smooth colours, as a JPEG keeps them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """train/ with 34 pictures of two classes, val/ with 5."""
    root = tmp_path_factory.mktemp("data") / "flowers"
    for part, counts in ("train", {"daisy": 20, "rose": 14}), ("val", {"daisy": 2, "rose": 3}):
        for name, count in counts.items():
            (root / part / name / "more").mkdir(parents=True)
            for i in range(count):
                suffix, folder = ("png", "more") if i == 1 else ("jpg", "")
                picture(i + 100 * (name == "rose")).save(root / part / name / folder / f"{i}.{suffix}")
    (root / "train" / "rose" / "notes.txt").write_text("no picture")
    return root


@pytest.fixture(scope="module")
def flowers(place):
    return dataset(recipe(place))


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command in tmp_path; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def command(*words) -> tuple[int, str, str]:
        return main([str(word) for word in words]), *capsys.readouterr()

    return command


def broken(folder: Path) -> Path:
    """Two pictures among three files that are none."""
    (folder / "a").mkdir(parents=True)
    for name in ("fine", "good"):
        picture(len(name)).save(folder / "a" / f"{name}.jpg")
    (folder / "a" / "cut.jpg").write_bytes((folder / "a" / "fine.jpg").read_bytes()[:-200])
    (folder / "a" / "text.jpg").write_text("no picture")
    (folder / "a" / "empty.jpg").touch()
    return folder


def same(source, other):
    """Whether two sources hold the same pictures, in the same order, with the same labels and texts."""
    assert len(source) == len(other)
    for i in range(len(source)):
        a, b = source[i], other[i]
        assert (a.label, a.text) == (b.label, b.text)
        np.testing.assert_array_equal(np.asarray(crops.opened(a)), np.asarray(crops.opened(b)))


def test_class_folders(flowers):
    assert flowers.labels == ("daisy", "rose") and flowers.origin == "flowers"
    assert [flowers.train[i].label for i in range(34)] == [0] * 20 + [1] * 14 and len(flowers.held_out) == 5
    assert flowers.train[33].name.endswith(os.path.join("rose", "more", "1.png"))


def test_classes_called_train_and_val_are_classes(tmp_path):
    for name in ("train", "val"):
        (tmp_path / name).mkdir()
        picture(0).save(tmp_path / name / "0.jpg")
    data = dataset(recipe(tmp_path))
    assert data.labels == ("train", "val") and data.held_out is None


def test_held_out_classes_have_the_numbers_of_those_learned(place, tmp_path):
    (tmp_path / "rose").mkdir()
    picture(0).save(tmp_path / "rose" / "0.jpg")
    held_out = dataset(recipe(place / "train", held_out=str(tmp_path))).held_out
    assert held_out is not None and held_out[0].label == 1
    (tmp_path / "tulip").mkdir()
    picture(0).save(tmp_path / "tulip" / "0.jpg")
    with pytest.raises(Error, match="unknown class 'tulip'"):
        dataset(recipe(place / "train", held_out=str(tmp_path)))


def test_shards_hold_what_was_packed(place, flowers, tmp_path):
    made = pack(place, tmp_path / "shards", shards=3)
    assert (made.examples, made.shards, made.unreadable) == (39, 6, {})
    data = dataset(recipe(tmp_path / "shards"))
    assert data.labels == flowers.labels and data.train[33].name == os.path.join("train", "rose", "more", "1.png")
    same(flowers.train, data.train)
    same(flowers.held_out, data.held_out)
    assert data.train[0].picture == Path(flowers.train[0].picture).read_bytes()
    with pytest.raises(Error, match="exists already"):
        pack(place, tmp_path / "shards")


def test_packed_pictures_become_smaller_where_they_are_large(place, tmp_path):
    picture(0, 90, 60).save(tmp_path / "large.jpg")
    picture(0, 20, 30).save(tmp_path / "small.jpg")
    (tmp_path / "captions.tsv").write_text("large.jpg\ta large one\nsmall.jpg\ta small one\n")
    pack(tmp_path, tmp_path / "shards", side=24)
    data = dataset(recipe(tmp_path / "shards", loss="contrastive"))
    assert [crops.opened(data.train[i]).size for i in range(2)] == [(36, 24), (20, 30)]
    assert [data.train[i].text for i in range(2)] == ["a large one", "a small one"]
    smaller = np.asarray(crops.opened(data.train[0]), np.float32)
    assert np.abs(smaller - np.asarray(picture(0, 36, 24), np.float32)).mean() < 4


def test_broken_pictures_are_not_packed(tmp_path, command):
    folder = broken(tmp_path / "folder")
    code, out, err = command("data", "pack", "folder", "shards")
    assert code == 0 and "shards: 2 examples in 1 shards" in out
    assert all(f"{name}.jpg" in err for name in ("cut", "text", "empty")) and "3 pictures cannot be read" in err
    with pytest.raises(Error, match="no picture that can be read"):
        for file in ("fine.jpg", "good.jpg"):
            (folder / "a" / file).unlink()
        pack(folder, tmp_path / "nothing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "shards"]


def test_hugging_face_data_sets(flowers, tmp_path):
    import datasets  # here, because it is large

    parts = {}
    for name, source in ("train", flowers.train), ("validation", flowers.held_out):
        examples = [source[i] for i in range(len(source))]
        features = datasets.Features(
            {"image": datasets.Image(), "label": datasets.ClassLabel(names=["daisy", "rose"]), "text": datasets.Value("string")}
        )
        columns = {
            "image": [str(e.picture) for e in examples],
            "label": [e.label for e in examples],
            "text": [e.name for e in examples],
        }
        parts[name] = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    data = dataset(recipe(tmp_path / "saved"))
    assert data.labels == ("daisy", "rose")
    same(flowers.train, data.train)
    same(flowers.held_out, data.held_out)
    assert isinstance(data.train[0].picture, bytes)  # not decoded
    pairs = dataset(recipe(tmp_path / "saved" / "train", loss="contrastive"))
    assert pairs.labels == () and pairs.held_out is None and pairs.train[3].text == flowers.train[3].name
    pack(tmp_path / "saved", tmp_path / "shards")
    same(data.train, dataset(recipe(tmp_path / "shards")).train)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.tsv", "{0}\ta daisy\n\n{1}\ta rose, red\n"),
        ("captions.csv", '{0},a daisy\n{1},"a rose, red"\n'),
        ("captions.csv", "number\ttitle\tfilepath\n1\ta daisy\t{0}\n2\ta rose, red\t{1}\n"),
        ("captions.csv", 'path,caption\r\n{0},a daisy\r\n{1},"a rose, red"\r\n'),
    ],
)
def test_captions(name, text, tmp_path):
    for number in range(2):
        picture(number).save(tmp_path / f"{number}.png")
    (tmp_path / name).write_text(text.format("0.png", "1.png"), newline="")
    data = dataset(recipe(tmp_path, loss="contrastive"))
    assert [data.train[i].text for i in range(2)] == ["a daisy", "a rose, red"] and data.labels == ()
    lengths = lambda texts: np.array([[len(text)] * 3 for text in texts])  # noqa: E731
    batches = training(recipe(batch=2, loss="contrastive"), SPEC, data.train, 0, np.arange(2), lengths)
    batch = next(batches)
    batches.close()
    assert batch.text is not None and batch.text.dtype == np.int32 and sorted(batch.text[:, 0]) == [7, 11]


@pytest.mark.parametrize(
    ("files", "loss", "message"),
    [
        ({}, "softmax", "is no data set: looked for class folders"),
        ({"captions.tsv": b"a\tb\n"}, "softmax", "has captions: set loss = contrastive"),
        ({"captions.tsv": b""}, "contrastive", "has no pairs"),
        ({"captions.tsv": b"a\tb\nc\n"}, "contrastive", r"\['c'\] is no pair"),
        ({"captions.tsv": b"a\tb\tc\n"}, "contrastive", "has 3 columns: call one of them path"),
        ({"captions.tsv": b"\xff\xfe"}, "contrastive", "is no table of paths and captions"),
        ({"captions.csv": b'a,"b'}, "contrastive", "is no table of paths and captions"),
        ({"x.array_record": b""}, "softmax", "no dataset.json beside them"),
        ({"dataset.json": b"[]"}, "softmax", "must be a JSON object"),
        ({"dataset.json": b"[" * 100_000}, "softmax", "is not JSON"),
        ({"dataset.json": b"\xff"}, "softmax", "is not JSON"),
        ({"dataset.json": b'{"format": 2}'}, "softmax", "has format 2; this vitjax reads 1"),
        ({"dataset.json": b'{"format": 1, "labels": ["a"], "shards": {}}'}, "softmax", "names no shards"),
        ({"dataset.json": b'{"format": 1, "labels": ["a"], "shards": {"../x": 1}}'}, "softmax", "must be a file beside it"),
        ({"dataset.json": b'{"format": 1, "labels": ["a"], "shards": {"x": true}}'}, "softmax", "must be a file beside it"),
        ({"dataset.json": b'{"format": 1, "labels": ["a"], "shards": {"x": 1}}'}, "softmax", "x is missing"),
        ({"dataset.json": b'{"format": 1, "labels": ["a"], "shards": {"x": 1}}', "x": b"text"}, "softmax", "x is damaged"),
        ({"dataset.json": b'{"format": 1, "labels": ["a"], "shards": {"x": 1}}', "x": bytes(200_000)}, "softmax", "x is damaged"),
        ({"state.json": b"{}", "dataset_info.json": b"{"}, "softmax", "cannot be read by datasets"),
    ],
)  # fmt: skip
def test_no_data_set(files, loss, message, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(Error, match=message):
        dataset(recipe(tmp_path, loss=loss))


def test_unknown_data():
    with pytest.raises(Error, match="unknown data set 'digit'; the closest are: digits; give one of digits, or a folder"):
        dataset(recipe("digit"))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"", "or none of ours"),
        (b"\xff\xff\xff\xff{}", "or none of ours"),
        (b"\x00\x00\x00\x00", "or none of ours"),
        (b"\x02\x00\x00\x00[]", "must be a JSON object"),
        (b"\x02\x00\x00\x00{}", "does not say label"),
        (b"\x0b\x00\x00\x00{\"label\":2}", "is of class 2, and there are 2"),
        (b"\x0c\x00\x00\x00{\"label\":-1}", "is of class -1"),
        (b"\x0e\x00\x00\x00{\"label\":true}", "must be int"),
        (b"\x03\x00\x00\x00\xff\xff\xff", "is damaged"),
    ],
)  # fmt: skip
def test_hostile_records(record, message, tmp_path):
    array_records.write(tmp_path / "x", [record])
    array_records.write_about(tmp_path, ("a", "b"), {"x": 1})
    with pytest.raises(Error, match=message):
        array_records.shards(tmp_path).source[0]


def test_damaged_shards(place, tmp_path):
    pack(place / "val", tmp_path / "shards")
    file = tmp_path / "shards" / "00000-of-00001.array_record"
    whole = file.read_bytes()
    about = json.loads((tmp_path / "shards" / "dataset.json").read_text())
    array_records.write_about(tmp_path / "shards", ("daisy", "rose"), {file.name: 4})
    with pytest.raises(Error, match="has 5 records, not 4"):
        dataset(recipe(tmp_path / "shards"))
    array_records.write_about(tmp_path / "shards", ("daisy", "rose"), about["shards"])
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Error, match="is damaged"):
        dataset(recipe(tmp_path / "shards"))


def test_digits_in_memory():
    data = dataset(recipe())
    assert len(data.train) == 1433 and len(data.held_out) == 364 and set(DATASETS) == {"digits"}
    assert data.train[0].picture.shape == (8, 8) and digits().labels == data.labels


def test_strings():
    strings = ["", "näher", "\udcff.jpg", "日本"]
    assert list(Strings(strings)) == strings and len(Strings([])) == 0
