"""Parameters read while JAX is imported: the same ones, each read once, and damage is still told by whoever loads them."""

import subprocess
import sys
import textwrap
import threading
from collections import Counter

import jax
import numpy as np
import pytest

import vitjax
from tests.test_integrity import damage
from vitjax import Error, Preprocess, Spec, ViTConfig, cache, checkpoint, cli, leaves
from vitjax.model import initialise

CONFIG = ViTConfig(32, 8, 32, 2, 2, 64, 5)
PICTURE = str(cache.EMBEDDED / "digits" / "3.png")


@pytest.fixture
def folder(tmp_path):
    checkpoint.save(tmp_path / "model", Spec("mine", CONFIG, Preprocess(32)), initialise(CONFIG))
    return tmp_path / "model"


@pytest.fixture
def reads(monkeypatch):
    """How often each leaf is read."""
    found, read = Counter(), leaves.Stored.read

    def counted(leaf, hashing):
        found[leaf.path] += 1
        return read(leaf, hashing)

    monkeypatch.setattr(leaves.Stored, "read", counted)
    return found


def equal(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: bool((np.asarray(x) == np.asarray(y)).all()), dict(a), dict(b)))


@pytest.mark.parametrize("how", [{}, {"dtype": "bfloat16"}, {"mesh": 8}], ids=["plain", "cast", "mesh"])
@pytest.mark.parametrize("verify", [True, False])
def test_the_same_parameters(folder, reads, how, verify):
    how = how | ({"mesh": jax.make_mesh((8,), ("data",))} if "mesh" in how else {})
    expected = vitjax.load(folder, **how)
    reads.clear()
    with leaves.reading_ahead(folder / "params", verify):
        found = vitjax.load(folder, verify=verify, **how)
    assert equal(found.params, expected.params)
    assert set(reads) == set(leaves.opened(folder / "params")) and set(reads.values()) == {1}
    there, here = ([leaf.sharding for leaf in jax.tree.leaves(dict(model.params))] for model in (expected, found))
    assert there == here


@pytest.fixture
def stuck(monkeypatch):
    """One leaf is in hand and stays so until this is set; the others stand in the queue."""
    begun, go, read = threading.Event(), threading.Event(), leaves.Stored.read

    def slowly(leaf, hashing):
        if threading.current_thread().name.startswith("vitjax-ahead"):
            begun.set()
            assert go.wait(60)
        return read(leaf, hashing)

    monkeypatch.setattr(leaves.Stored, "read", slowly)
    monkeypatch.setattr(leaves, "WORKERS", 2)
    return begun, go


def test_what_is_not_begun_is_read_by_the_loader(folder, reads, stuck):
    begun, go = stuck
    with leaves.reading_ahead(folder / "params", True):
        assert begun.wait(60)
        found = checkpoint.stored(folder, verify=True)
        [running] = [leaf for leaf in found.values() if leaf.begun and leaf.begun.running()]
        for leaf in found.values():
            if leaf is not running:
                leaf.whole(True)
        assert set(reads) == set(found) - {running.path}
        go.set()
        _, digest = running.whole(True)
    assert set(reads.values()) == {1}
    assert running.entry(digest) == leaves.Stored(folder / "params", running.path).entry()


def test_what_nobody_asks_for_is_let_go(folder, reads, stuck):
    begun, go = stuck
    with leaves.reading_ahead(folder / "params", True):
        assert begun.wait(60)
        for leaf in checkpoint.stored(folder, verify=True).values():
            leaf.skip()
        go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("vitjax-ahead"):
            thread.join()
    assert len(reads) == 1


def test_damage_is_told_by_the_loader(folder):
    damage(folder)
    with leaves.reading_ahead(folder / "params", True), pytest.raises(Error, match="blocks/mlp/up/kernel: not as it was written"):
        vitjax.load(folder)


def test_what_comes_after_it_was_looked_for(folder, tmp_path):
    """As a command does that downloads its model first."""
    with leaves.reading_ahead(tmp_path / "later" / "params", True):
        folder.rename(tmp_path / "later")
        assert equal(vitjax.load(tmp_path / "later").params, initialise(CONFIG))


def test_a_damaged_table_is_told_by_the_loader(folder):
    (folder / "params" / "manifest.ocdbt").write_bytes(b"x")
    with leaves.reading_ahead(folder / "params", True), pytest.raises(Error, match="is not whole"):
        vitjax.load(folder)


def test_another_folder_or_no_hash_is_not_what_was_begun(folder, tmp_path, reads):
    other = initialise(CONFIG, seed=1)
    checkpoint.save(tmp_path / "other", Spec("mine", CONFIG, Preprocess(32)), other)
    with leaves.reading_ahead(folder / "params", False):
        assert equal(vitjax.load(tmp_path / "other").params, other)
        assert equal(vitjax.load(folder).params, initialise(CONFIG))  # hashed, which those begun are not
    assert not leaves._ahead


@pytest.mark.parametrize("check", [[], ["--no-check"]])
def test_a_command_reads_each_leaf_once(folder, reads, check, capsys):
    assert cli.main(["classify", PICTURE, "--model", str(folder), *check]) == 0
    assert set(reads.values()) == {1} and set(reads) == set(leaves.opened(folder / "params"))
    assert "%" in capsys.readouterr().out


def test_on_a_cpu_nothing_is_copied(folder, monkeypatch):
    """What TensorStore wrote into is what the device computes with."""
    made, empty = [], leaves.empty
    monkeypatch.setattr(leaves, "empty", lambda *how: made.append(empty(*how)) or made[-1])
    params = vitjax.load(folder).params
    assert {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(params)} == {array.ctypes.data for array in made}


def test_no_jax_before_it_is_needed(folder):
    """Else there would be nothing to read beside."""
    code = f"""
        import sys
        from vitjax import cache, leaves
        cache.place("vit_base_patch16_384")
        with leaves.reading_ahead({str(folder / "params")!r}, True):
            assert len(leaves.opened({str(folder / "params")!r}, True)) > 10
        assert "jax" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120)
