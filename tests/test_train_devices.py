"""The same training on one device and on eight, split in every way, and on two processes of four; and from one to the other."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vitjax
from tests.training import FEW, MAKE, conditions, losses, on, short  # noqa: F401
from vitjax.train import distributed, run, stop
from vitjax.train.distributed import initialise, rows

KEYS = ["steps=24", "save=6", "ema=0.9", "mixup=0.8", "cutmix=1.0", "erase=0.25"]
SAME = 1e-5  # of the loss


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> np.ndarray:
    """The losses on one device."""
    out = tmp_path_factory.mktemp("one") / "x"
    run(short(out, *KEYS), quiet=True)
    return losses(out)


@pytest.mark.parametrize("keys", [["fsdp=false"], [], ["tensor=2", "remat=dots"]], ids=str)
def test_on_eight_devices(keys, one, tmp_path, monkeypatch):
    on(monkeypatch, 8)
    result = run(short(tmp_path / "x", *KEYS, *keys), quiet=True)
    np.testing.assert_allclose(losses(tmp_path / "x"), one, rtol=SAME)
    kernel = result.params["blocks"]["mlp"]["up"]["kernel"]  # (4, 64, 128)
    assert kernel.addressable_data(0).size == kernel.size // (1 if "fsdp=false" in keys else 8)


@pytest.mark.parametrize("count", [4, 1])
def test_goes_on_with_fewer_devices(count, one, tmp_path, monkeypatch):
    on(monkeypatch, 8)
    stopped(monkeypatch, after=7)
    assert run(short(tmp_path / "x", *KEYS), quiet=True).step == 7
    monkeypatch.undo()
    on(monkeypatch, count)
    assert run(short(tmp_path / "x", *KEYS), quiet=True).finished
    np.testing.assert_allclose(losses(tmp_path / "x"), one, rtol=SAME)


def stopped(monkeypatch, after: int) -> None:
    """The next trainings are asked to stop after a step."""
    monkeypatch.setattr(stop.Stop, "after", lambda self, step: step == after)


CODE = """
import os, sys
os.environ["XLA_FLAGS"] = os.environ["XLA_FLAGS"].replace("count=8", "count=4")
from tests.training import few
from vitjax.train import data
from vitjax.train.__main__ import main
data.DATASETS["few"] = few
sys.exit(main(sys.argv[1:]))
"""


def processes(out: Path, terminate_at: str = "") -> list[str]:
    """Run a training as two processes that find each other on this machine; what each printed.

    At a line of the first that begins so, the second is told that its machine is taken away.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"VITJAX_COORDINATOR": f"127.0.0.1:{port}", "VITJAX_PROCESSES": "2", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-uc", CODE, "digits", *FEW, *KEYS, "report=1", f"out={out}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    begun = [subprocess.Popen(command, env=env | {"VITJAX_PROCESS": str(number)}, **pipes) for number in range(2)]
    said = ""
    while terminate_at and (line := begun[0].stdout.readline()):
        said += line
        if line.startswith(terminate_at):
            begun[1].terminate()
            break
    printed = [process.communicate(timeout=300)[0] for process in begun]
    assert [process.returncode for process in begun] == [0, 0], said + "\n".join(printed)
    return printed


def test_two_processes_of_four_devices(one, tmp_path, monkeypatch):
    """Begun on eight devices of one process, gone on with by two, of which one is taken away, and by two once more."""
    on(monkeypatch, 8)
    stopped(monkeypatch, after=5)
    assert run(short(tmp_path / "x", *KEYS), quiet=True).step == 5
    assert "which is saved: the same command goes on" in processes(tmp_path / "x", terminate_at="step  9/")[0]
    assert 9 < len(losses(tmp_path / "x")) < 24 and not (tmp_path / "x").exists()
    printed = processes(tmp_path / "x")
    np.testing.assert_allclose(losses(tmp_path / "x"), one, rtol=SAME)
    assert "held out" in printed[0] and "step" not in printed[1]  # one of them speaks
    assert vitjax.load(tmp_path / "x").spec.name == "vit_pico_patch4_32.x"


def test_each_process_gets_the_rows_of_its_devices():
    mesh = MAKE(2)
    assert list(rows(mesh, 8)) == list(range(8))
    with pytest.raises(vitjax.Error, match="batch = 6 must be a multiple of the 4 parts"):
        rows(mesh, 6)


@pytest.mark.parametrize(
    ("env", "called"),
    [
        ({}, []),
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "1"}, []),
        ({"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4"}, [()]),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, [()]),
        ({"VITJAX_COORDINATOR": "a:1", "VITJAX_PROCESSES": "4", "VITJAX_PROCESS": "3"}, [("a:1", 4, 3)]),
    ],
)
def test_who_takes_part_is_told_by_the_environment(env, called, monkeypatch):
    monkeypatch.setattr(distributed, "TPU", ())
    calls = []
    initialise(env, lambda *args: calls.append(args))
    assert calls == called


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"VITJAX_PROCESS": "1"}, "VITJAX_PROCESS is set and VITJAX_COORDINATOR and VITJAX_PROCESSES not"),
        ({"VITJAX_COORDINATOR": "a:1", "VITJAX_PROCESSES": "x", "VITJAX_PROCESS": "3"}, "must be whole numbers"),
    ],
)
def test_half_an_environment_is_refused(env, message):
    with pytest.raises(vitjax.Error, match=message):
        initialise(env, lambda *args: None)
