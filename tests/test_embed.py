"""Features of very many pictures, and of texts: in order, in bounded memory, side by side, and going on where a kill has come."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest

import vitjax
import vitjax.rows
from tests.test_zero_shot import draw, make
from vitjax import features, pictures
from vitjax.config import Preprocess
from vitjax.preprocess import preprocess

PICO = "vit_pico_patch4_32"
COUNT = 27  # three batches, and a part of one


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a tiny CLIP, its towers, and pictures in folders."""
    place = tmp_path_factory.mktemp("embed")
    make(place)
    for number in range(COUNT):
        draw(place / "pictures" / f"{number:02}.png", number)
    return place


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_pictures_of_a_vit(run, tmp_path):
    code, out, err = run("embed", "pictures", "--model", PICO, "--out", tmp_path / "f.npy")
    assert (code, out, err) == (0, f"{tmp_path / 'f.npy'}: {COUNT} x 64, float32\n", "")
    names = [f"pictures/{number:02}.png" for number in range(COUNT)]
    about = json.loads((tmp_path / "f.json").read_text())
    assert about == {
        "model": "vit_pico_patch4_32.digits",
        "of": "pictures",
        "normalize": False,
        "rows": names,
        "unreadable": {},
    }
    model = vitjax.load(PICO)
    found = np.load(tmp_path / "f.npy")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, model.embed(model.preprocess(names)), atol=1e-5)
    assert left(tmp_path) == ["f.json", "f.npy"]
    assert run("embed", "pictures", "--model", PICO, "--out", tmp_path / "n.npy", "--normalize", "--batch", 5)[0] == 0
    np.testing.assert_allclose(np.load(tmp_path / "n.npy"), found / np.linalg.norm(found, axis=1, keepdims=True), atol=1e-5)


def test_pictures_and_texts_of_a_clip(run, tmp_path, monkeypatch):
    """Each by its own tower, the other one not read."""
    clip, loaded = vitjax.load("clip"), []
    load = vitjax.hub.load
    monkeypatch.setattr(vitjax.hub, "load", lambda *args, **kwargs: loaded.append(load(*args, **kwargs)) or loaded[-1])
    assert run("embed", "pictures", "--model", "clip", "--out", tmp_path / "i.npy")[0] == 0
    expected = clip.encode_image(clip.preprocess([f"pictures/{number:02}.png" for number in range(COUNT)]))
    np.testing.assert_allclose(np.load(tmp_path / "i.npy"), expected, atol=1e-5)

    texts = ["a cat", "", "ein Größerer, dog!!", "a cat"]
    (tmp_path / "texts").write_text("\n".join(texts) + "\n")
    words = ["--model", "clip", "--normalize", "--out"]
    code, out, _ = run("embed", "--texts", f"@{tmp_path}/texts", *words, tmp_path / "t.npy")
    assert (code, out) == (0, f"{tmp_path}/t.npy: 4 x 16, float32\n")
    np.testing.assert_allclose(np.load(tmp_path / "t.npy"), clip.encode_text(clip.tokenize(texts), normalize=True), atol=1e-5)
    assert json.loads((tmp_path / "t.json").read_text())["rows"] == texts
    assert run("embed", "--texts", *texts, *words, tmp_path / "u.npy")[0] == 0
    assert (tmp_path / "u.npy").read_bytes() == (tmp_path / "t.npy").read_bytes()
    assert [type(model) for model in loaded] == [vitjax.Model, vitjax.TextModel, vitjax.TextModel]


def test_folders(place, tmp_path):
    """Walked to the bottom, in the order of their parts, whatever order the disk has."""
    for name in ("b/1.JPG", "b/0.png", "b.png", "a/z/0.webp", "a/10.png", "a/9.jpeg", "a-b/0.gif", "é/0.bmp"):
        draw((tmp_path / name).with_suffix(Path(name).suffix.lower()), 0)
        (tmp_path / name).with_suffix(Path(name).suffix.lower()).rename(tmp_path / name)
    draw(tmp_path / ".hidden" / "0.png", 0)
    draw(tmp_path / "._0.png", 0)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "b")
    found = [
        "a/10.png",
        "a/9.jpeg",
        "a/z/0.webp",
        "a-b/0.gif",
        "b/0.png",
        "b/1.JPG",
        "b.png",
        "link/0.png",
        "link/1.JPG",
        "é/0.bmp",
    ]
    assert pictures.find([tmp_path]) == [f"{tmp_path}/{name}" for name in found]
    one = str(tmp_path / "b.png")
    assert pictures.find([one, tmp_path / "b", one]) == [one, f"{tmp_path}/b/0.png", f"{tmp_path}/b/1.JPG", one]


def test_decoding_side_by_side_is_decoding(place, monkeypatch):
    """The same numbers in the same order, however many threads there are, and however slow each of them is."""
    how, names = Preprocess(32), [str(place / "pictures" / f"{number:02}.png") for number in range(COUNT)]
    expected, busy, most = preprocess(names, how), set(), []

    def slowly(file, how):
        busy.add(threading.get_ident())
        most.append(len(busy))
        time.sleep(hash(file) % 7 / 1000)
        busy.discard(threading.get_ident())
        return preprocess(file, how)

    monkeypatch.setattr(pictures, "preprocess", slowly)
    for threads in (1, 4):
        most.clear()
        batches = list(pictures.stream(names, how, 8, threads))
        assert [batch.filled for batch in batches] == [8, 8, 8, 3]
        np.testing.assert_array_equal(np.concatenate([batch.x[: batch.filled] for batch in batches]), expected)
        assert not batches[-1].x[3:].any()
        assert max(most) == threads


def test_looks_ahead_no_further_than_two_batches(place, monkeypatch):
    names, seen = [str(place / "pictures" / "00.png")] * 1000, []
    monkeypatch.setattr(pictures, "preprocess", lambda file, how: seen.append(file) or preprocess(file, how))
    batches = pictures.stream(names, Preprocess(32), 8)
    next(batches)
    time.sleep(0.2)
    assert 8 <= len(seen) <= 24
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_unreadable_pictures_keep_their_rows(run, place, tmp_path):
    for number in range(12):
        draw(tmp_path / "some" / f"{number:02}.png", number)
    whole = (tmp_path / "some" / "03.png").read_bytes()
    (tmp_path / "some" / "03.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "some" / "11.png").write_text("no picture")
    code, out, err = run("embed", tmp_path / "some", "--model", PICO, "--out", tmp_path / "f.npy")
    assert (code, out) == (1, f"{tmp_path / 'f.npy'}: 12 x 64, float32\n")
    assert err.startswith("vitjax: 2 of 12 pictures could not be read, their rows are NaN:\n")
    assert "some/03.png" in err and "some/11.png is damaged or none of" in err
    found, about = np.load(tmp_path / "f.npy"), json.loads((tmp_path / "f.json").read_text())
    assert list(np.flatnonzero(np.isnan(found).any(1))) == [3, 11] == list(np.flatnonzero(np.isnan(found).all(1)))
    assert [Path(name).name for name in about["unreadable"]] == ["03.png", "11.png"]
    draw(tmp_path / "some" / "03.png", 3)
    assert run("embed", tmp_path / "some" / "03.png", "--model", PICO, "--out", tmp_path / "g.npy")[0] == 0
    others = [row for row in range(12) if row not in (3, 11)]
    model = vitjax.load(PICO)
    expected = model.embed(model.preprocess([about["rows"][row] for row in others]))
    np.testing.assert_allclose(found[others], expected, atol=1e-5)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_no_text(run, tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path / "some") + b"/caf\xe9 \xc3\xa9.png")
    draw(tmp_path / "some" / "0.png", 0)
    (tmp_path / "some" / "0.png").rename(name)
    assert run("embed", tmp_path / "some", "--model", PICO, "--out", tmp_path / "f.npy")[0] == 0
    assert json.loads((tmp_path / "f.json").read_text())["rows"] == [name]
    assert "é.png" in (tmp_path / "f.json").read_text()
    code, out, _ = run("classify", tmp_path / "some", "--model", PICO)
    assert code == 0 and out.splitlines()[0].endswith("caf\\udce9 é.png")


def test_one_compilation(place, caplog):
    """The last batch is filled up: the network is compiled for one shape, and no other."""
    model, names = vitjax.load(PICO), [str(place / "pictures" / f"{number:02}.png") for number in range(COUNT)]
    with jax.log_compiles():
        features.embed(model, names, place / "once.npy", batch=13)
    compiled = [line.split(" with")[0] for line in caplog.messages if line.startswith("Compiling")]
    assert compiled.count("Compiling jit(apply)") == 1 and len(set(compiled)) == len(compiled), compiled


# Everything is imported and nothing started, so that children may be forked.
AT_EACH_LINE = """
import json, os, signal, sys
from pathlib import Path
import numpy as np
from vitjax import rows

COUNT, WIDTH, BATCH = 10, 3, 4
NEW = np.arange(COUNT * WIDTH, dtype="<f4").reshape(COUNT, WIDTH)
NEW[5] = np.nan
OLD = -np.ones((2, 2), "<f4")
NAMES = [f"{number}.png" for number in range(COUNT)]
ABOUT = {"model": "a", "rows": NAMES, "unreadable": {"5.png": "why"}}

def write(out):
    with rows.growing(out, {"run": 1}, NEW.shape, BATCH, True) as found:
        begun = found.done
        for start in range(begun, COUNT, BATCH):
            found.append(np.nan_to_num(NEW[start : start + BATCH]), {1: "why"} if start == 4 else {})
        found.finish({"model": "a"}, NAMES)
    return begun

def dies(out, last):
    lines = 0
    def trace(frame, event, arg):
        nonlocal lines
        if frame.f_code.co_filename != rows.__file__:
            return None
        lines += event == "line"
        if lines > last:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace
    sys.settrace(trace)
    write(out)
    sys.settrace(None)

def whole(out):
    found = np.load(out)
    about = json.loads(out.with_suffix(".json").read_text())
    return np.array_equal(found, NEW, equal_nan=True) and about == ABOUT

begun = []
for old in (False, True):
    for last in range(1000):
        out = Path(f"{old}-{last}") / "f.npy"
        out.parent.mkdir()
        if old:
            np.save(out, OLD)
            out.with_suffix(".json").write_text("{}")
        pid = os.fork()
        if pid == 0:
            dies(out, last)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, -signal.SIGKILL), code
        if out.exists():
            assert whole(out) if out.stat().st_size != 144 else old, (old, last)
        part = Path(f"{out}.part")
        if last % 2 and part.exists():  # the last write, torn
            os.truncate(part, max(0, part.stat().st_size - last % 5))
        if code:
            begun.append(write(out))
        assert whole(out) and sorted(os.listdir(out.parent)) == ["f.json", "f.npy"], (old, last, os.listdir(out.parent))
        if code == 0:
            break
    assert code == 0 and last > 50, last
assert {0, 4, 8, 10} == set(begun), set(begun)
print(len(begun), "kills", file=sys.stderr)
"""


def test_killed_at_each_line(tmp_path):
    """Whatever there is then is whole, and the next run makes it so, from where the last one was."""
    found = subprocess.run([sys.executable, "-c", AT_EACH_LINE], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert found.returncode == 0, found.stderr
    print(found.stderr)


def test_killed_in_the_middle(place, tmp_path):
    """kill -9, three times: the last run ends with the bytes that one run from the beginning to the end would have."""
    names = [f"{place}/pictures/{number % COUNT:02}.png" for number in range(4003)]
    for number in (100, 4001):
        names[number] = f"{place}/broken{number}.png"
        Path(names[number]).write_text("no picture")
    (tmp_path / "list").write_text("\n".join(names))
    command = [sys.executable, "-m", "vitjax.cli", "embed", f"@{tmp_path}/list", "--model", PICO, "--out"]
    part, sizes = tmp_path / "f.npy.part", [0]
    while len(sizes) < 4:
        with subprocess.Popen([*command, str(tmp_path / "f.npy")], stdout=subprocess.DEVNULL) as child:
            while not part.exists() or part.stat().st_size < sizes[-1] + 100_000:
                assert child.poll() is None
                time.sleep(0.001)
            child.send_signal(signal.SIGKILL)
        sizes.append(part.stat().st_size)
        assert not (tmp_path / "f.npy").exists()
    for name in ("f.npy", "g.npy"):
        found = subprocess.run([*command, str(tmp_path / name)], capture_output=True, text=True, timeout=120)
        assert found.returncode == 1 and "2 of 4003 pictures could not be read" in found.stderr
    assert (tmp_path / "f.npy").read_bytes() == (tmp_path / "g.npy").read_bytes()
    assert (tmp_path / "f.json").read_bytes() == (tmp_path / "g.json").read_bytes()
    assert left(tmp_path) == ["f.json", "f.npy", "g.json", "g.npy", "list"]


MEMORY = """
import resource, sys
import vitjax
from vitjax.features import embed
model = vitjax.load("vit_pico_patch4_32", image=64)  # 48 KiB for each decoded picture
peaks = []
for count in (200, 3000):
    embed(model, [sys.argv[1]] * count, f"{count}.npy")
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(*peaks)
"""


def test_memory_does_not_grow_with_the_pictures(place, tmp_path):
    words = [sys.executable, "-c", MEMORY, str(place / "pictures" / "00.png")]
    found = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    few, many = map(float, found.stdout.split())
    assert many - few < 30, f"{few} and {many} MiB; the pictures are {3000 * 48 / 1024:.0f}"


def begin(run, place, monkeypatch, out) -> None:
    """Leave a run behind that was interrupted after its first batch."""

    def stop(self, rows, missing):
        append(self, rows, missing)
        raise KeyboardInterrupt

    append = vitjax.rows.Rows.append
    with monkeypatch.context() as patch:
        patch.setattr(vitjax.rows.Rows, "append", stop)
        code, _, err = run("embed", "pictures", "--model", PICO, "--out", out)
    assert (code, err) == (1, "vitjax: interrupted; the same command goes on where it was\n")


def test_another_run_is_refused_by_name(run, place, tmp_path, monkeypatch):
    out = tmp_path / "f.npy"
    words = ["--model", PICO, "--out", out]
    begin(run, place, monkeypatch, out)
    for other, what in (
        (["embed", "pictures/00.png", *words], "list"),
        (["embed", "pictures", *words, "--normalize"], "normalize"),
        (["embed", "pictures", "--model", "clip", "--out", out], "model, width, weights"),
    ):
        before = {name: (tmp_path / name).read_bytes() for name in left(tmp_path)}
        code, _, err = run(*other)
        assert code == 1
        assert f"f.npy.part was begun by a run that differs in: {what}. " in err
        assert before == {name: (tmp_path / name).read_bytes() for name in left(tmp_path)}
    assert run("embed", "pictures/00.png", *words, "--overwrite")[0] == 0
    assert np.load(out).shape == (1, 64) and left(tmp_path) == ["f.json", "f.npy"]
    code, _, err = run("embed", "pictures", *words)
    assert code == 1 and f"{out} exists already" in err
    begin_again = run("embed", "pictures", *words, "--overwrite")
    assert begin_again[0] == 0 and np.load(out).shape == (COUNT, 64)
    (tmp_path / "package.json").write_text("{}")
    code, _, err = run("embed", "pictures", "--model", PICO, "--out", tmp_path / "package.npy")
    assert code == 1 and "package.json exists already" in err


def test_one_process_at_a_time(run, tmp_path):
    with vitjax.rows.growing(tmp_path / "f.npy", {}, (2, 2), 1, False) as rows:
        rows.append(np.zeros((1, 2), "f4"), {})
        code, _, err = run("embed", "pictures", "--model", PICO, "--out", tmp_path / "f.npy")
    assert (code, err) == (1, f"vitjax: another process is writing {tmp_path}/f.npy: wait for it, or choose another place\n")


MISTAKES = {
    "no such file": (["nothing.png"], "nothing.png"),
    "an empty folder": (["empty"], "empty holds no pictures"),
    "nothing readable": (["broken.png", "broken.png"], "none of 2 pictures could be read: broken.png is damaged"),
    "no .npy": (["pictures", "--out", "f.txt"], "f.txt would be an .npy file"),
    "texts for a ViT": (["--texts", "a cat"], "takes no texts"),
    "pictures for a text tower": (["pictures", "--model", "text"], "takes no pictures"),
    "texts without a vocabulary": (["--texts", "a cat", "--model", "text"], "has no vocabulary"),
    "a name that is none": (["a\0b"], "cannot read a picture"),
    "a list that is none": (["@nothing"], "cannot read the lines of 'nothing'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_leave_nothing(mistake, run, place):
    Path("empty").mkdir(exist_ok=True)
    Path("broken.png").write_text("no picture")
    if not Path("text").exists():
        text = vitjax.load("clip", tower="text")
        vitjax.checkpoint.save("text", text.spec, text.params)
    words, said = MISTAKES[mistake]
    before = left(place)
    code, out, err = run("embed", "--model", PICO, "--out", "f.npy", *words)
    assert (code, out) == (1, "")
    assert err.startswith("vitjax: ") and said in err and "bug" not in err
    assert left(place) == before


def test_wrong_usage(run):
    for words in ([], ["pictures", "--texts", "a cat"], ["pictures", "--batch", "0"]):
        with pytest.raises(SystemExit) as exit:
            run("embed", *words, "--model", PICO, "--out", "f.npy")
        assert exit.value.code == 2
