"""No work is lost: killed, interrupted and asked to stop at many steps, a training goes on as if nothing had happened."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import fields
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import vitjax
from tests.training import FEW, conditions, kept, lines, losses, short  # noqa: F401
from vitjax import checkpoint
from vitjax.train import Recipe, run
from vitjax.train.saves import FREE, Saves, folder
from vitjax.train.step import State
from vitjax.train.stop import Stop

STEPS = 44
KEYS = [*FEW, f"steps={STEPS}", "save=3", "report=1", "evaluate=20", "keep=2", "ema=0.9"]

# Imports everything and starts nothing, so that its children may be forked: each line that it reads is a training's words.
PARENT = """
import os, sys
from tests.training import few
from vitjax.train import data
from vitjax.train.__main__ import main
data.DATASETS["few"] = few
for line in sys.stdin:
    if (pid := os.fork()) == 0:
        code = main(line.split())
        sys.stdout.flush()
        os._exit(code)
    print("pid", pid, flush=True)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Trainings:
    """Trainings one after another, each in a process of its own, that can be sent signals when they have come so far."""

    def __init__(self) -> None:
        # What is killed while it writes what it compiled may leave half of it: so not where others read it
        self.compiled = tempfile.mkdtemp(prefix="vitjax-compiled-")
        env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=1", "JAX_COMPILATION_CACHE_DIR": self.compiled}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.parent = subprocess.Popen([sys.executable, "-uc", PARENT], text=True, env=env, **pipes)

    def run(self, out: Path, until: str = "", number: int = 0, *, when=None) -> tuple[int, str]:
        """A training; sent a signal at a line that begins so, or as soon as `when` is true. Its exit code, and all it said."""
        assert self.parent.stdin and self.parent.stdout
        print("digits", *KEYS, f"out={out}", file=self.parent.stdin, flush=True)
        said, pid = [], 0
        for line in self.parent.stdout:
            said.append(line)
            if line.startswith("pid"):
                pid = int(line.split()[1])
                while when is not None and not when():
                    time.sleep(0.001)
                if when is not None:
                    os.kill(pid, number)
            elif line.startswith("ended"):
                return int(line.split()[1]), "".join(said)
            elif until and line.startswith(until):
                os.kill(pid, number)
        raise AssertionError("".join(said))

    def close(self) -> None:
        self.parent.communicate()
        shutil.rmtree(self.compiled)


@pytest.fixture(scope="module")
def trainings():
    found = Trainings()
    yield found
    found.close()


@pytest.fixture(scope="module")
def whole(trainings, tmp_path_factory) -> Path:
    """A training that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "x"
    assert trainings.run(out)[0] == 0
    return out


def assert_same(one: Path, other: Path) -> None:
    """All that was measured and all that was learned, to the last bit."""
    files = [out.parent / f"{out.name}.training/metrics.jsonl" for out in (one, other)]
    assert files[0].read_bytes() == files[1].read_bytes() and len(losses(one)) == STEPS
    tensors = [json.loads((out / "manifest.json").read_text())["tensors"] for out in (one, other)]
    assert tensors[0] == tensors[1]


def test_killed_and_stopped_at_ten_steps(trainings, whole, tmp_path):
    """SIGTERM saves and exits 0; SIGKILL costs what was not saved; either way the curve is the same, bit for bit."""
    out = tmp_path / "x"
    for step, number in zip((1, 4, 8, 11, 16, 20, 25, 31, 36, 41), [signal.SIGKILL, signal.SIGTERM] * 5, strict=True):
        code, said = trainings.run(out, f"step {step:2}/", number)
        if number == signal.SIGKILL:
            assert code == -signal.SIGKILL
            continue
        assert code == 0, said
        saved = int(re.search(r"stopped after step (\d+), which is saved", said)[1])
        assert step <= saved <= step + 3 and str(saved) in os.listdir(tmp_path / "x.training/state") and not out.exists()
    assert trainings.run(out)[0] == 0
    assert_same(out, whole)


def test_killed_while_it_saves(trainings, whole, tmp_path):
    out, place = tmp_path / "x", tmp_path / "x.training/state"
    code, said = trainings.run(out, number=signal.SIGKILL, when=lambda: place.is_dir() and any(place.glob("9.*tmp*")))
    assert code == -signal.SIGKILL, said
    assert trainings.run(out)[0] == 0
    assert_same(out, whole)
    assert not list(place.glob("*tmp*"))


def test_the_best_state_is_kept_with_the_last_ones(tmp_path):
    """The best by the running mean's top-1, whatever that of the parameters themselves is."""

    state = State({"x": jnp.ones(3)}, (), {}, *jnp.zeros((3,), jnp.int32))
    saves = Saves(short(tmp_path / "x", "keep=2"), {})
    for step, (top1, mean) in enumerate([(0.1, 0.5), (0.2, 0.9), (0.95, 0.3), (0.1, 0.4), (0.1, 0.2)], 1):
        saves.save(state, step, {}, {"top1": top1, "ema/top1": mean})
    saves.wait()
    saves.close()
    assert {int(name) for name in os.listdir(tmp_path / "x.training/state")} == {2, 4, 5}


def test_what_a_training_keeps(whole):
    """The newest, and one of those that were best when they were looked at."""
    found = {int(name) for name in os.listdir(whole.parent / "x.training/state")}
    looks = {row["step"]: row["ema/top1"] for row in lines(whole, "evaluation")}
    assert any(found == {step, 42, STEPS} for step, good in looks.items() if good == max(looks.values()))


def test_a_full_disk_is_one_line_and_the_states_before_are_whole(tmp_path, whole, trainings):
    """A limit of file sizes stands in for the disk: the write itself fails, inside tensorstore."""
    recipe = short(tmp_path / "x", *KEYS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        message = "cannot save the training to .*make room, and give the same command again"
        with kept(None), pytest.raises(vitjax.Error, match=message):
            run(recipe, quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert trainings.run(tmp_path / "x")[0] == 0
    assert_same(tmp_path / "x", whole)


def test_another_recipe_is_refused_on_resume(tmp_path, whole):
    shutil.copytree(whole.parent / "x.training", tmp_path / "x.training")
    shutil.rmtree(tmp_path / "x.training/state/44")
    changed = r"training of another recipe; what changed:\n  batch: 16 -> 8\n  seed: 0 -> 1\nGive another out"
    with pytest.raises(vitjax.Error, match=changed):
        run(short(tmp_path / "x", *KEYS, "batch=8", "seed=1"), quiet=True)
    assert set(FREE) <= {field.name for field in fields(Recipe)}
    assert run(short(tmp_path / "x", *KEYS, "report=5", "keep=1"), quiet=True).finished  # what changes no number may change
    np.testing.assert_allclose(losses(tmp_path / "x"), losses(whole), rtol=1e-5)


def test_other_weights_and_other_pictures_are_another_training(tmp_path, monkeypatch):
    """A name or a folder may hold something else than when the training began."""
    model = vitjax.load("vit_pico_patch4_32.digits")
    checkpoint.save(tmp_path / "model", model.spec, model.params)
    recipe = short(tmp_path / "x", f"model={tmp_path / 'model'}", "pretrained=true", "steps=2", "save=1")
    monkeypatch.setattr(Stop, "after", lambda self, step: step == 1)
    assert not run(recipe, quiet=True).finished
    head = {"head": {"kernel": model.params["head"]["kernel"] + 1, "bias": model.params["head"]["bias"]}}
    checkpoint.save(tmp_path / "model", model.spec, dict(model.params) | head, overwrite=True)
    with pytest.raises(vitjax.Error, match=r"what changed:\n  origin: \{'weights': .* -> "):
        run(recipe, quiet=True)


def test_a_damaged_state_is_named(tmp_path, whole):
    shutil.copytree(whole.parent / "x.training", tmp_path / "x.training")
    for file in (tmp_path / "x.training/state/44/state").rglob("*"):
        if file.is_file() and file.parent.name == "d":
            file.write_bytes(b"")
    with pytest.raises(vitjax.Error, match=r"state/44 cannot be read: .*Remove it to go on from the state before"):
        run(short(tmp_path / "x", *KEYS), quiet=True)
    shutil.rmtree(folder(short(tmp_path / "x")) / "state/44")
    assert run(short(tmp_path / "x", *KEYS), quiet=True).step == STEPS
