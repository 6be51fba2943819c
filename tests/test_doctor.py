"""`vitjax doctor`: what it says of a machine that is well, and that it says where one is not."""

import json
import re
import tomllib
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from vitjax import cache, doctor


@pytest.fixture
def place(tmp_path):
    return tmp_path


def test_all_is_well(run):
    code, out, err = run("doctor", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert {"python", "jax", "jaxlib", "flax", "orbax-checkpoint", "pillow", "numpy"} <= found["versions"].keys()
    assert found["self-test"].keys() == {"pictures", "numbers", "folders", "files"}
    assert all(said.startswith("good, ") for said in found["self-test"].values())
    assert str(cache.folder()) in found["caches"]["checkpoints"]
    assert found["network"]["attention in float32"].startswith("xla")


def test_a_wrong_number_is_found(run, monkeypatch):
    """A logit that is off, and a picture taken for another: both are named, and the exit code says so."""
    monkeypatch.setattr(doctor, "THREE", (*doctor.THREE[:-1], doctor.THREE[-1] + 1e-3))
    monkeypatch.setattr(doctor, "_same", lambda ours, back: (_ for _ in ()).throw(doctor.Error("other numbers")))
    code, out, err = run("doctor")
    assert code == 1
    assert err.startswith("vitjax: the self-test failed: numbers, folders, files. Install vitjax anew")
    assert "of their scale off timm's" in out and "other numbers" in out


def test_saved_is_compared_to_the_last_bit():
    doctor._same({"a": np.ones(3)}, {"a": np.ones(3)})
    with pytest.raises(doctor.Error, match="not what they were"):
        doctor._same({"a": np.ones(3)}, {"a": np.nextafter(np.ones(3), 2)})


def test_what_is_missing_has_its_command(monkeypatch):
    assert doctor.missing() == {}
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "grain" else find(name))
    assert doctor.missing() == {"train": "grain: pip install 'vitjax[train]'"}


def test_extras_are_those_of_the_package():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    there = project["optional-dependencies"]
    assert {name: tuple(re.split("[>=]", line)[0] for line in there[name]) for name in doctor.EXTRAS} == doctor.EXTRAS
    assert set(there) - set(doctor.EXTRAS) == {"tpu", "dev", "docs"}  # nobody lacks these to run a network here


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be written: set VITJAX_CACHE" in doctor._place(tmp_path / "file" / "vitjax")
