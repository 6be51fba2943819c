"""SIGKILL, which no process can answer: the destination is whole or absent, and the next run succeeds and tidies up."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from tests.test_mapping import spelt
from vitjax import ViTConfig
from vitjax.config import config_to_json
from vitjax.converters import files

CONFIG = ViTConfig(8, 4, 8, 2, 2, 16, 3)
KILLS, SEED = 50, 20261123

# The parent imports everything and starts nothing, so that its children may be forked.
PARENT = """
import os, random, shutil, signal, sys, time
from pathlib import Path
import vitjax.cli, vitjax.hub
from vitjax import checkpoint, draft

def fork(work):
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            os._exit(work() or 0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(99)
    return pid

def ended(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def convert(weights, folder):
    return vitjax.cli.main(["convert", weights, str(folder), "--config", "config.json", "--overwrite"])
"""

AT_RANDOM = """
kills, rng = int(sys.argv[1]), random.Random(int(sys.argv[2]))
start = time.perf_counter()
assert ended(fork(lambda: convert("old.safetensors", "old"))) == 0
longest, moments, killed = time.perf_counter() - start, [], 0
for number in range(kills):
    place = Path(f"{number:02}")
    place.mkdir()
    if number % 2:
        shutil.copytree("old", place / "out")
    moments.append(rng.uniform(0, longest))
    pid = fork(lambda: convert("new.safetensors", place / "out"))
    time.sleep(moments[-1])
    os.kill(pid, signal.SIGKILL)
    killed += ended(pid) != 0

def weights(folder):
    return float(vitjax.load(folder).params["norm"]["bias"][0])  # which is 1 in the old one and 2 in the new

def check():
    found = []
    for number in range(kills):
        folder, where = Path(f"{number:02}") / "out", f"kill {number} after {moments[number]:.4f} s"
        if checkpoint.exists(folder):
            found.append(weights(folder))
            assert found[-1] in ((1, 2) if number % 2 else (2,)), where
        else:
            assert not number % 2, f"{where}: neither the old checkpoint nor the new one"
            assert not folder.exists(), where
        assert convert("new.safetensors", folder) == 0, where
        assert weights(folder) == 2, where
        assert os.listdir(folder.parent) == ["out"], (where, os.listdir(folder.parent))
    print(f"{killed} killed while they ran; then {found.count(1)} old, {found.count(2)} new", file=sys.stderr)

assert ended(fork(check)) == 0
assert killed > kills / 2, f"only {killed} of {kills} were still running when they were killed"
"""

AT_EACH_STEP = """
def write(path, text):
    with draft.whole(path) as folder:
        (folder / "params").mkdir()
        (folder / "params" / "a").write_text(text)
        (folder / "spec.json").write_text(text)

def dies(path, last):
    steps = 0
    def step(event, args):
        nonlocal steps
        if event in ("os.remove", "os.rmdir") or (event in ("open", "os.mkdir", "os.rename") and place in str(args[0])):
            steps += 1
            if steps > last:
                os.kill(os.getpid(), signal.SIGKILL)
    place = str(path.parent.absolute())
    sys.addaudithook(step)
    write(path, "new")

def text(path):
    return {(path / name).read_text() for name in ("params/a", "spec.json")}

for old in (False, True):
    for last in range(100):
        path = Path(f"{old}-{last}").absolute() / "out"
        path.parent.mkdir()
        if old:
            write(path, "old")
        code = ended(fork(lambda: dies(path, last)))
        draft.recover(path)
        if old or path.exists():
            assert text(path) in ({"old"}, {"new"}), (old, last)
        if last % 3:
            shutil.rmtree(path, ignore_errors=True)  # by hand, in between
        write(path, "newer")
        assert text(path) == {"newer"} and os.listdir(path.parent) == ["out"], (old, last, os.listdir(path.parent))
        if code == 0:
            break
    assert code == 0 and last > 7, last
    print(last, "steps", file=sys.stderr)
"""

ANOTHER = """
import threading
with draft.whole("out") as folder:
    def other():
        try:
            with draft.whole("out"):
                return 1
        except vitjax.Error as error:
            assert "another process is writing" in str(error), error
    assert ended(fork(other)) == 0
    (folder / "spec.json").write_text("mine")
assert os.listdir("out") == ["spec.json"] and sorted(os.listdir()) == ["config.json", "new.safetensors", "old.safetensors", "out"]
"""


@pytest.fixture
def place(tmp_path):
    """A folder with two files of weights, which the last norm's bias tells apart."""
    (tmp_path / "config.json").write_text(json.dumps(config_to_json(CONFIG)))
    wanted, _ = spelt(CONFIG)
    for name, bias in (("old", 1), ("new", 2)):
        header = {slot.theirs: (slot.shape, np.dtype("f4")) for slot in wanted}
        arrays = ((slot.theirs, np.full(slot.shape, bias, "f4")) for slot in wanted)
        files.write_safetensors(tmp_path / f"{name}.safetensors", header, arrays, {"format": "pt"})
    return tmp_path


@pytest.mark.parametrize("script", [AT_RANDOM, AT_EACH_STEP, ANOTHER], ids=["at random", "at each step", "another writes"])
def test_kill(place: Path, script: str):
    code = textwrap.dedent(PARENT + script)
    found = subprocess.run(
        [sys.executable, "-c", code, str(KILLS), str(SEED)],
        cwd=place,
        env={key: value for key, value in os.environ.items() if key != "XLA_FLAGS"},  # one device starts sooner than eight
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, f"seed {SEED}: {found.stderr}"
    print(found.stderr)
