"""A checkpoint folder: what is saved comes back, on any mesh; written whole or not at all; damage is an error."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath

import vitjax
from vitjax import Error, Preprocess, Source, Spec, ViTConfig, checkpoint, draft, hub, manifest
from vitjax.model import initialise

CONFIG = ViTConfig((32, 48), 8, 32, 2, 4, 64, 3, layer_scale=0.1)
SPEC = Spec(
    "mine",
    CONFIG,
    Preprocess(CONFIG.image),
    labels=("a", "b", "ü"),
    source=Source("timm", "x.safetensors", "00", "MIT", "timm", "0"),
)


@pytest.fixture(scope="module")
def params():
    return initialise(CONFIG, seed=1)


@pytest.fixture
def folder(tmp_path, params):
    checkpoint.save(tmp_path / "mine", SPEC, params)
    return tmp_path / "mine"


def equal(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: x.dtype == y.dtype and bool((x == y).all()), a, b))


def test_round_trip(folder, params):
    assert sorted(os.listdir(folder)) == ["manifest.json", "params", "spec.json"]
    assert os.listdir(folder.parent) == ["mine"]
    spec, restored = hub.restore(folder)
    assert spec == SPEC
    assert equal(restored, params)


def test_spec_is_readable_with_cat(folder):
    data = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    assert data["format"] == 1
    assert data["config"]["kind"] == "vit"
    assert data["config"]["image"] == [32, 48]
    assert "ü" in (folder / "spec.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_dtypes_are_kept_and_cast_on_demand(tmp_path, params, stored):
    checkpoint.save(tmp_path / "half", SPEC, jax.tree.map(lambda x: x.astype(stored), params))
    _, kept = hub.restore(tmp_path / "half")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(kept)} == {stored}
    assert vitjax.load(tmp_path / "half").params["norm"]["scale"].dtype == jnp.float32
    assert vitjax.load(tmp_path / "half", dtype="bfloat16").params["norm"]["scale"].dtype == jnp.bfloat16


def test_restores_onto_a_mesh(folder, params):
    mesh = jax.make_mesh((8,), ("data",))
    model = vitjax.load(folder, mesh=mesh)
    kernel = model.params["blocks"]["mlp"]["up"]["kernel"]  # (2, 32, 64): the last axis is the longest that 8 divides
    assert kernel.sharding.spec == jax.sharding.PartitionSpec(None, None, "data")
    assert kernel.addressable_shards[0].data.shape == (2, 32, 8)
    x = np.random.default_rng(0).standard_normal((8, 32, 48, 3)).astype("f4")
    np.testing.assert_allclose(model(x), vitjax.load(folder)(x), atol=1e-5)


def test_relative_paths(params, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint.save("runs/mine", SPEC, params)
    assert vitjax.load("runs/mine").spec == vitjax.load(Path("runs") / "mine").spec == SPEC


def test_loads_on_another_kind_of_device(folder, params, tmp_path):
    """What Orbax noted of the devices it was saved from is of no consequence."""
    mesh = jax.make_mesh((8,), ("data",))
    checkpoint.save(tmp_path / "spread", SPEC, vitjax.load(folder, mesh=mesh).params)
    sharding = tmp_path / "spread" / "params" / "_sharding"
    note = sharding.read_text()
    assert "data" in note and "8" in note
    sharding.write_text(note.replace("data", "rows"))
    assert equal(vitjax.load(tmp_path / "spread").params, params)
    assert manifest.read(tmp_path / "spread").tensors == manifest.read(folder).tensors


def test_orbax_alone_restores_it(folder, params):
    for orbax in (ocp.StandardCheckpointer(), ocp.PyTreeCheckpointer()):
        with orbax:
            assert equal(orbax.restore(folder / "params"), params)


def test_does_not_overwrite(folder, params, tmp_path):
    with pytest.raises(Error, match="--overwrite"):
        checkpoint.save(folder, SPEC, params)
    checkpoint.save(folder, replace(SPEC, name="new"), params, overwrite=True)
    assert checkpoint.restore_spec(folder).name == "new"
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("…")
    with pytest.raises(Error, match="not a checkpoint folder"):
        checkpoint.save(tmp_path / "precious", SPEC, params, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["mine", "precious"]


def test_a_failure_leaves_the_old_folder_and_no_trace(folder, params, monkeypatch):
    def fail(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "spec_to_json", fail)
    for place in (folder, folder.parent / "new"):
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(place, replace(SPEC, name="new"), params, overwrite=True)
    assert os.listdir(folder.parent) == ["mine"]
    assert equal(hub.restore(folder)[1], params)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="a call that only Linux has")
def test_pages_on_disk_are_let_go_while_writing(tmp_path, monkeypatch):
    told: list = []
    (data := tmp_path / "params.tmp" / "ocdbt.process_0" / "d").mkdir(parents=True)
    (data / "x").write_bytes(b"weights")
    twice = threading.Semaphore(0)

    def fadvise(file, *how):
        told.append((os.readlink(f"/proc/self/fd/{file}"), how))
        twice.release()
        raise OSError("renamed meanwhile")

    monkeypatch.setattr(os, "posix_fadvise", fadvise)
    with draft.letting_go(epath.Path(tmp_path / "params")):  # what fails once is tried again
        assert all(twice.acquire(timeout=10) for _ in range(2))
    assert set(told) == {(str(data / "x"), (0, 0, os.POSIX_FADV_DONTNEED))}


def test_a_full_disk_is_one_line(folder, params):
    """A file-size limit stands in for a full disk: the write itself fails, inside tensorstore."""
    code = f"""
        import resource, signal, jax
        from vitjax import Error, checkpoint, hub
        spec, params = hub.restore({str(folder)!r})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        try:
            checkpoint.save({str(folder.parent / "full")!r}, spec, params)
        except Error as error:
            print(error)
    """
    found = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert found.stdout.startswith(f"cannot write {folder.parent / 'full'}"), found.stderr
    assert found.stdout.count("\n") == 1
    assert os.listdir(folder.parent) == ["mine"]


def test_a_place_that_cannot_be_written(params):
    with pytest.raises(Error, match="cannot write /proc/mine"):
        checkpoint.save("/proc/mine", SPEC, params)


@pytest.mark.parametrize("missing", ["params", "params/_METADATA", "params/manifest.ocdbt", "params/d"])
def test_a_damaged_folder_is_an_error(folder, missing):
    path = folder / missing
    if path.is_dir():
        for file in sorted(path.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
    else:
        path.unlink()
    with pytest.raises(Error, match=str(folder)):
        vitjax.load(folder)


def test_a_tree_that_is_not_the_spec_s(folder):
    text = (folder / "spec.json").read_text(encoding="utf-8")
    (folder / "spec.json").write_text(text.replace('"mlp": 64', '"mlp": 65'), encoding="utf-8")
    with pytest.raises(Error, match=r"(?s)blocks/mlp/down/kernel: found \(2, 64, 32\), expected \(2, 65, 32\)"):
        vitjax.load(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('"format": 1 -> "format": 2', "format 2"),
        ('"name" -> "nmae"', "nmae.*name"),
        ('"heads": 4 -> "heads": 5', "32 does not divide into 5"),
        ('"heads": 4 -> "heads": "4"', "heads"),
        ('"kind": "vit" -> "kind": "vti"', "vti.*vit"),
        ('"act": "gelu" -> "act": "relu"', "relu"),
        ('"a", -> ', "2 labels for 3 classes"),
        ("{ -> ", "not JSON"),
    ],
)
def test_a_spec_we_do_not_understand_is_refused(folder, change, said):
    old, new = change.split(" -> ") if not change.endswith(" -> ") else (change[:-4], "")
    text = (folder / "spec.json").read_text(encoding="utf-8").replace("\n", "").replace("  ", "")
    assert old in text
    (folder / "spec.json").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(Error, match=said) as error:
        vitjax.load(folder)
    assert "spec.json" in str(error.value)


def test_nothing_in_the_folder_names_this_machine(folder):
    """It can be mailed to a friend: loaded from elsewhere, it is the same."""
    moved = folder.rename(folder.parent / "moved")
    assert vitjax.load(moved).spec == SPEC
    for file in Path(moved).rglob("*"):
        assert file.is_dir() or str(folder.parent).encode() not in file.read_bytes(), file
