"""What is loaded is what was saved: every part of a checkpoint folder is changed by a bit, cut or removed, and nothing passes."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import vitjax
from vitjax import Error, Preprocess, Spec, ViTConfig, arrays, checkpoint, cli, hub, leaves, manifest, orbax, variants
from vitjax.config import spec_to_json
from vitjax.model import abstract, initialise

CONFIG = ViTConfig(32, 8, 32, 2, 4, 64, 3)
SPEC = Spec("mine", CONFIG, Preprocess(CONFIG.image), labels=("a", "b", "c"))


@pytest.fixture(scope="module")
def params():
    noise = iter(np.random.default_rng(0).standard_normal(10**5).astype("f4"))
    return jax.tree.map(lambda x: jnp.asarray(np.asarray(x) + next(noise)), initialise(CONFIG, seed=1))


@pytest.fixture(scope="module")
def good(tmp_path_factory, params):
    folder = tmp_path_factory.mktemp("good") / "mine"
    checkpoint.save(folder, SPEC, params)
    return folder


@pytest.fixture
def folder(good, tmp_path):
    return Path(shutil.copytree(good, tmp_path / "mine"))


def equal(a, b):
    return jax.tree.all(
        jax.tree.map(lambda x, y: x.dtype == y.dtype and np.asarray(x).tobytes() == np.asarray(y).tobytes(), a, b)
    )


def files(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def flip(file, bit):
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def test_the_manifest_says_what_is_there(good, params):
    data = json.loads((good / "manifest.json").read_text(encoding="utf-8"))
    kernel = data["tensors"]["blocks/mlp/up/kernel"]
    assert kernel["shape"] == [2, 32, 64] and kernel["dtype"] == "float32"
    for name, entry in data["tensors"].items():
        leaf = params
        for key in name.split("/"):
            leaf = leaf[key]
        assert entry["sha256"] == hashlib.sha256(np.asarray(leaf).tobytes()).hexdigest()
    assert len(data["tensors"]) == len(jax.tree.leaves(params))


def test_a_bit_anywhere(good, tmp_path, params):
    """In every file, at its ends and at places all over it: an Error that names the folder, or the very same parameters."""
    refused, rng = 0, np.random.default_rng(0)
    for name in files(good):
        size = 8 * (good / name).stat().st_size
        for bit in {0, size - 1, *rng.integers(0, size, 3).tolist()}:
            folder = Path(shutil.copytree(good, tmp_path / "mine"))
            flip(folder / name, bit)
            try:
                spec, found = hub.restore(folder)
                assert spec == SPEC and equal(found, params), f"{name}, bit {bit}"
            except Error as error:
                refused += 1
                assert str(folder) in str(error) and "Traceback" not in str(error), f"{name}, bit {bit}: {error}"
            shutil.rmtree(folder)
    assert refused > 12


@pytest.mark.parametrize("name", ["manifest.json", "spec.json"])
def test_what_is_written_in_words(folder, name):
    """Nothing that a person reads there changes unseen."""
    file = folder / name
    data, intact = file.read_bytes(), manifest.read(folder)
    for at in range(0, len(data), 3):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        with contextlib.suppress(Error):
            assert (manifest.read(folder).spec == checkpoint.fingerprint(folder)) is False, f"byte {at}"
    file.write_bytes(data)
    assert manifest.read(folder) == intact


@pytest.mark.parametrize("keep", [0.0, 0.5, None])
def test_a_file_cut_or_missing(good, tmp_path, params, keep):
    for name in files(good):
        folder = Path(shutil.copytree(good, tmp_path / "mine"))
        if keep is None:
            (folder / name).unlink()
        else:
            os.truncate(folder / name, int(keep * (good / name).stat().st_size))
        try:
            assert equal(vitjax.load(folder).params, params), name
        except Error as error:
            assert str(folder) in str(error)
        shutil.rmtree(folder)


def damage(folder):
    """Flip a bit of the last stored number of the largest leaf's first layer, wherever Orbax put it."""
    kernel = np.asarray(leaves.Stored(folder / "params", "blocks/mlp/up/kernel").block(0))[0].tobytes()
    [(file, at)] = [(path, at) for path in folder.rglob("d/*") if (at := path.read_bytes().find(kernel)) >= 0]
    flip(file, 8 * (at + len(kernel)) - 1)


@pytest.mark.parametrize("how", [{}, {"dtype": "bfloat16"}, {"mesh": 8}], ids=["plain", "cast", "mesh"])
def test_a_damaged_tensor_is_named(folder, how):
    damage(folder)
    how = how | ({"mesh": jax.make_mesh((8,), ("data",))} if "mesh" in how else {})
    with pytest.raises(Error, match=r"(?s)mine is damaged.*--no-check.*\n  blocks/mlp/up/kernel: not as it was written$"):
        vitjax.load(folder, **how)
    kernel = vitjax.load(folder, verify=False, **how).params["blocks"]["mlp"]["up"]["kernel"]
    assert kernel.shape == (2, 32, 64)


def test_orbax_alone_does_not_notice(folder, params):
    """Why there is a manifest."""
    damage(folder)
    with ocp.StandardCheckpointer() as checkpointer:
        assert not equal(checkpointer.restore(folder / "params"), params)


def test_a_shape_that_is_not_the_manifest_s(folder, tmp_path, params):
    """Parameters of another checkpoint of the same network are not these."""
    checkpoint.save(tmp_path / "other", SPEC, jax.tree.map(lambda x: x.astype("bfloat16"), params))
    shutil.rmtree(folder / "params")
    shutil.copytree(tmp_path / "other" / "params", folder / "params")
    with pytest.raises(Error, match="is damaged") as error:
        vitjax.load(folder)
    assert str(error.value).count("not as it was written") == len(jax.tree.leaves(params))


def test_numpy_leaves_of_a_wrong_shape(tmp_path, params):
    """Orbax gives a leaf saved from numpy in its stored shape, whatever is asked for; here it is an error."""
    wrong = jax.tree.map(np.asarray, params)
    wrong["norm"]["scale"] = np.ones(31, np.float32)
    checkpoint.save(tmp_path / "wrong", SPEC, wrong)
    with pytest.raises(Error, match=r"norm/scale: found \(31,\), expected \(32,\)"):
        vitjax.load(tmp_path / "wrong")


def test_without_a_manifest(folder, params):
    (folder / "manifest.json").unlink()
    with pytest.raises(Error, match=r"has no manifest.json.*verify=False"):
        vitjax.load(folder)
    assert equal(vitjax.load(folder, verify=False).params, params)


def test_a_spec_edited_by_hand(folder):
    (folder / "spec.json").write_text(spec_to_json(replace(SPEC, labels=("a", "b", "d"))), encoding="utf-8")
    with pytest.raises(Error, match=r"spec.json is not as it was written"):
        vitjax.load(folder)
    assert vitjax.load(folder, verify=False).spec.labels == ("a", "b", "d")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data | {"format": 2}, "format 2.*upgrade"),
        (lambda data: data | {"signed": True}, "unknown field 'signed'"),
        (lambda data: data | {"spec": "0"}, "not as it was written"),
        (lambda data: [data], "no manifest"),
        (lambda data: {}, "no manifest"),
    ],
)
def test_a_manifest_we_do_not_understand(folder, change, said):
    file = folder / "manifest.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(Error, match=said):
        vitjax.load(folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rows_and_wholes_on_any_mesh(tmp_path, monkeypatch, dtype):
    """Leaves of every rank, in chunks of one row, of some, and whole: the same numbers on any sharding, hashed or not."""
    rng, mesh = np.random.default_rng(0), jax.make_mesh((4, 2), ("a", "b"))
    shapes = {"scalar": (), "vector": (24,), "matrix": (9, 16), "stack": (3, 8, 16)}
    tree = {name: rng.standard_normal(shape).astype("f4").astype(jax.numpy.dtype(dtype)) for name, shape in shapes.items()}
    for row in (1, 100, 2**20):
        monkeypatch.setattr(orbax, "ROW", row)
        monkeypatch.setattr(orbax, "STAGED", row)
        checkpoint.save(tmp_path / str(row), SPEC, tree)
        chunk = leaves.Stored(tmp_path / str(row) / "params", "stack").step
        assert chunk == (3 if row > 100 else 1)
        for spec in ((), (None, "a"), ("b",), (("a", "b"),)):
            places = {
                name: jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec[: len(shape)]))
                if all(size % 8 == 0 for size, axis in zip(shape, spec, strict=False) if axis)
                else jax.sharding.SingleDeviceSharding(jax.devices()[0])
                for name, shape in shapes.items()
            }
            like = {name: jax.ShapeDtypeStruct(shapes[name], dtype, sharding=place) for name, place in places.items()}
            for verify in (True, False):
                found = checkpoint.restore(tmp_path / str(row), like, verify=verify)
                assert equal(found, tree)
                assert {name: leaf.sharding for name, leaf in found.items()} == places
        with ocp.StandardCheckpointer() as checkpointer:
            assert equal(checkpointer.restore(tmp_path / str(row) / "params"), tree)


def test_no_buffer_holds_a_leaf_that_is_spread(tmp_path, monkeypatch):
    """What lets EVA-02-CLIP E (4.4 billion parameters) load where no host has room for it; its tree, with fewer numbers."""
    config = replace(variants.TIMM["eva02_enormous_patch14_clip_224"], width=128, mlp=2048, depth=16, classes=8)
    params = jax.jit(lambda: jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.bfloat16), abstract(config)))()
    checkpoint.save(tmp_path / "e", Spec("e", config, Preprocess(config.image)), params)
    empty, block, held = arrays.empty, leaves.Stored.block, []

    def measured(found: np.ndarray) -> np.ndarray:
        held.append(found.nbytes)
        return found

    monkeypatch.setattr(arrays, "empty", lambda *how: measured(empty(*how)))
    monkeypatch.setattr(leaves.Stored, "block", lambda *how: measured(block(*how)))
    model = vitjax.load(tmp_path / "e", mesh=jax.make_mesh((8,), ("data",)), dtype="bfloat16")
    leaf = model.params["blocks"]["mlp"]["up"]["kernel"]
    assert leaf.nbytes == 2**23 and {shard.data.nbytes for shard in leaf.addressable_shards} == {2**20}
    assert max(held) == 2**20


def test_the_record_of_a_comparison(folder, tmp_path, capsys):
    model = vitjax.load(folder)
    x = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype("f4")
    stages = {f"stage/{name}": np.asarray(array) for name, array in model.stages(x).items()}
    np.savez(tmp_path / "good.npz", input=x, **stages)
    np.savez(tmp_path / "bad.npz", input=x, **stages | {"stage/logits": stages["stage/logits"] + 1})
    before = (folder / "manifest.json").read_bytes()
    assert cli.main(["verify", str(folder), str(tmp_path / "bad.npz")]) == 1
    assert (folder / "manifest.json").read_bytes() == before
    for _ in range(2):  # the second takes the place of the first
        assert cli.main(["verify", str(folder), str(tmp_path / "good.npz")]) == 0
    [record] = manifest.read(folder).verified
    assert record.reference == "good.npz" and record.backend == "cpu" and record.dtype == "float32"
    assert record.stages.keys() == {name.removeprefix("stage/") for name in stages} and max(record.stages.values()) < 1e-5
    capsys.readouterr()
    assert cli.main(["inspect", str(folder)]) == 0
    assert "good.npz: " in capsys.readouterr().out
    assert vitjax.load(folder).spec == SPEC
    assert sorted(os.listdir(folder)) == ["manifest.json", "params", "spec.json"]


def test_a_read_only_place(good, tmp_path):
    """Not even root writes to a file system that is mounted so; others are refused by the folder's mode."""
    (tmp_path / "locked").mkdir()
    code = f"""
        import os
        from vitjax import Error, checkpoint, hub, orbax
        spec, params = hub.restore({str(good)!r})
        os.chmod({str(tmp_path / "locked")!r}, 0o555)
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            checkpoint.save({str(tmp_path / "locked" / "new")!r}, spec, params)
        except Error as error:
            print(error)
    """
    for parent in tmp_path.parents:
        if parent.is_relative_to(Path(tempfile.gettempdir())):
            parent.chmod(0o755)
    found = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert found.stdout.startswith(f"cannot write {tmp_path / 'locked' / 'new'}"), found.stderr
    assert os.listdir(tmp_path / "locked") == []
