"""What one sees of a training: exact lines, as if never cut off; a bar or lines; TensorBoard; a curve; a table."""

import importlib.util
import io
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto.event_pb2 import Event, SessionLog

import vitjax
from vitjax.hardware import PEAK, peak
from vitjax.train import journal as rooms
from vitjax.train import record
from vitjax.train.curve import draw, smooth
from vitjax.train.journal import CURVE, SUMMARY, TENSORBOARD, Journal
from vitjax.train.recipe import Recipe
from vitjax.train.record import FILE, Record, read

RECIPE = Recipe("digits", "vit_pico_patch4_32", "runs/x", batch=32, steps=40, learning_rate=0.1, report=10)


def losses(first: int, last: int) -> np.ndarray:
    """Of steps `first` to `last`, in float32, as a device gives them."""
    return (3 * np.exp(-np.arange(first, last + 1) / 15)).astype(np.float32)


def train(folder, first: int, last: int, **how) -> None:
    """Steps `first` to `last`, told one by one or several at once; every twentieth is evaluated."""
    with Journal(folder, RECIPE, 40, 1e9, None, resumed=first - 1, **how) as journal:
        for step in range(first, last + 1, 2):
            journal.steps_done(step, losses(step, step + 1), learning_rate=[0.1, 0.05], gradient_norm=[1.0, float("nan")])
            if (step + 1) % 20 == 0:
                journal.evaluated(step + 1, {"loss": 0.5, "top1": step / 50, "ema/top1": step / 45, "calibration": 0.1})
        journal.close(last, finished=last == 40)


def test_lines_are_exact(tmp_path):
    train(tmp_path, 1, 40, quiet=True)
    rows = read(tmp_path)
    assert len(rows) == 42 and rows[20] == {
        "step": 20, "kind": "evaluation", "loss": 0.5, "top1": 19 / 50, "ema/top1": 19 / 45, "calibration": 0.1
    }  # fmt: skip
    steps = [row for row in rows if "kind" not in row]
    assert np.array_equal(np.float32([row["loss"] for row in steps]), losses(1, 40))
    assert steps[0] == {"step": 1, "loss": float(losses(1, 1)[0]), "learning_rate": 0.1, "gradient_norm": 1.0}
    assert steps[1]["gradient_norm"] is None  # JSON has no NaN


def test_cut_off_and_gone_on_as_if_nothing_had_happened(tmp_path):
    train(tmp_path / "whole", 1, 40, quiet=True)
    cut = tmp_path / "cut"
    train(cut, 1, 26, quiet=True)  # saved at 16, killed after 26, in the middle of a line
    with open(cut / FILE, "ab") as file:
        file.write(b'{"step": 27, "lo')
    assert len(read(cut)) == 27
    train(cut, 17, 40, quiet=True)
    assert (cut / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()
    train(cut, 1, 40, quiet=True)  # begun anew
    assert (cut / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()
    assert sorted(file.name for file in cut.iterdir()) == [CURVE, FILE, SUMMARY, TENSORBOARD]


def events(folder) -> list[Event]:
    """All events of TensorBoard's files: length, checksum, event, checksum, and so on."""
    found = []
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            found.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return found


def test_tensorboard(tmp_path):
    train(tmp_path, 1, 26, quiet=True)
    time.sleep(1.1)  # its files are named by the second
    train(tmp_path, 17, 40, quiet=True)
    found = events(tmp_path / TENSORBOARD)
    assert [e.step for e in found if e.session_log.status == SessionLog.START] == [1, 17]
    values = {(value.tag, e.step): value.simple_value for e in found for value in e.summary.value}
    assert values["train/loss", 30] == losses(30, 30)[0] and values["held_out/ema/top1", 40] == np.float32(39 / 45)
    assert values["train/learning_rate", 1] == np.float32(0.1) and ("speed/images_per_second", 40) in values


def test_lines_where_stderr_is_no_terminal(tmp_path, capsys, monkeypatch):
    now = iter(np.arange(0, 1000, 0.5))
    monkeypatch.setattr(rooms, "time", SimpleNamespace(monotonic=lambda: float(next(now))))
    with Journal(tmp_path, RECIPE, 40, 2e9, 1e12) as journal:
        for step in range(1, 41):
            journal.steps_done(step, losses(step, step), learning_rate=[0.1])
        journal.bad_pictures(40, ["a.jpg", "b.jpg"])
        journal.evaluated(40, {"top1": 0.5, "count": 364})
        journal.close(40, parameters="5.7 M")
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    # 32 pictures in half a second, 2 GFLOP each, of 1 TFLOP/s. The first step compiles, and does not count.
    assert lines[0] == f"step 10/40  loss {losses(10, 10)[0]:.4f}  64 images/s  MFU 12.8%  0:00:15 left"
    assert lines[-2:] == ["step 40: left out, for they cannot be read: a.jpg, b.jpg", "step 40/40  held out: top1 50.00%"]
    assert len(lines) == 6
    assert printed.out.startswith("|  ") and "64 images/s, MFU 12.8%" in printed.out and "5.7 M" in printed.out
    assert (tmp_path / SUMMARY).read_text() == f"# runs/x\n\n{printed.out}"
    assert len({len(line) for line in printed.out.splitlines()}) == 1  # it is a table
    assert read(tmp_path)[-2] == {"step": 40, "kind": "bad pictures", "names": ["a.jpg", "b.jpg"]}


def test_summary_says_how_good_it_is(tmp_path):
    train(tmp_path, 1, 20, quiet=True)
    assert "none yet: run the same command again" in (tmp_path / SUMMARY).read_text()
    train(tmp_path, 21, 40, quiet=True)
    text = " ".join((tmp_path / SUMMARY).read_text().split())
    for words in [
        "vit_pico_patch4_32 on digits",
        "40 of 40, of which 20 were done before; 32 pictures each",
        f"| loss | {losses(31, 40).mean():.4f}, the mean of the last 10 steps",
        "| held out, top1 | 78.00%, of the running mean 86.67% |",
        "| held out, calibration | 0.1000 |",
        "| best step | 40 |",
    ]:
        assert words in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_in_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    train(tmp_path, 1, 40)
    shown = sys.stderr.getvalue()
    assert "100%|" in shown and "40/40" in shown and "images/s" in shown and "held out: loss 0.5000  top1 38.00%" in shown


def test_place_where_nothing_can_be_added(tmp_path, monkeypatch):
    """As gs://: the file is written whole, once a minute, and when it must be there."""
    monkeypatch.setattr(record, "SECONDS", 3600)
    held = Record(rooms.epath.Path(tmp_path), 0)
    held.close()
    held.remote, held.text = True, []
    held.add([{"step": 1, "loss": 0.5}])
    assert read(tmp_path) == []
    held.flush()
    held.add([{"step": 2, "loss": 0.25}])
    assert read(tmp_path) == [{"step": 1, "loss": 0.5}]
    held.written -= 3601
    held.add([{"step": 3, "loss": float("inf")}])
    assert [row["loss"] for row in read(tmp_path)] == [0.5, 0.25, None]


def test_damage_is_said(tmp_path, monkeypatch):
    (tmp_path / FILE).write_text('{"step": 1}\nnonsense\n')
    with pytest.raises(vitjax.Error, match=r"line 2 of .* was not written by a training: b'nonsense'"):
        Journal(tmp_path, RECIPE, 40, 1e9, None, resumed=1)
    with pytest.raises(vitjax.Error, match=r"cannot write .*metrics.jsonl: .*make room there"):
        (tmp_path / FILE).unlink()
        (tmp_path / f"{FILE}.draft").mkdir()
        Journal(tmp_path, RECIPE, 40, 1e9, None)
    (tmp_path / f"{FILE}.draft").rmdir()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(vitjax.Error, match=r"no matplotlib: pip install 'vitjax\[train\]'"):
        Journal(tmp_path, RECIPE, 40, 1e9, None)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(vitjax.Error, match=r"recorded for TensorBoard.*pip install 'vitjax\[train\]'"):
        Journal(tmp_path, RECIPE, 40, 1e9, None)


@pytest.mark.parametrize("kind", ["classifier", "clip", "no evaluation", "not one step", "not finite"])
def test_curve(kind):
    rows = [{"step": i, "loss": 3 / i, "learning_rate": 1e-3} for i in range(1, 0 if kind == "not one step" else 200)]
    if kind == "not finite":
        rows = [row | {"loss": None} for row in rows] + [{"step": 200, "kind": "evaluation", "top1": None}]
    names = {"classifier": ["top1", "ema/top1"], "clip": ["image_to_text@1", "text_to_image@1"]}.get(kind, [])
    rows += [{"step": i, "kind": "evaluation", **dict.fromkeys(names, i / 400)} for i in (100, 200) if names]
    picture = np.asarray(Image.open(io.BytesIO(draw(rows, "a network on some data"))).convert("RGB"))
    assert picture.shape[1] == 1350 and (picture != 255).any(-1).mean() > 0.01


def test_smooth_against_a_loop():
    values = np.random.default_rng(0).normal(size=357)
    values[[5, 77, 78]] = np.nan
    expected = [np.nanmean(values[max(0, i - 3) : i + 4]) for i in range(357)]
    np.testing.assert_allclose(smooth(values), expected, rtol=1e-9)
    assert len(smooth(np.zeros(0))) == 0 and np.isnan(smooth(np.array([np.nan]))).all()


def test_peak():
    known = {"TPU v5 lite": 197, "TPU v5": 459, "NVIDIA A100-SXM4-80GB": 312, "NVIDIA H100 80GB HBM3": 989.4, "NVIDIA L40S": 362}
    assert {kind: peak(kind) for kind in known} == {kind: 1e12 * tera for kind, tera in known.items()}
    assert [peak(kind) for kind in ("cpu", "TPU v9", "Tesla T4", "NVIDIA GeForce RTX 4090 Laptop GPU")] == [None] * 4
    assert all(peak(name) == 1e12 * tera for name, tera in PEAK.items())  # no row hides one below it
