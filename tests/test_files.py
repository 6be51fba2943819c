"""What a path leads to: every container by its bytes, folders and shards by their rules, and everything else by its own name."""

import gzip
import hashlib
import json
import os
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.torch_files import dict_, number, pickled, saved, storage, tensor
from vitjax import Error
from vitjax.cli import main
from vitjax.converters import files

A, B = {"a": np.arange(6, dtype="f4").reshape(2, 3)}, {"b": np.ones(4, "f4"), "c": np.zeros(2, "f2")}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same(found: files.Bundle, arrays: dict[str, np.ndarray]) -> bool:
    return {name: np.asarray(t).tobytes() for name, t in found.tensors.items()} == {n: a.tobytes() for n, a in arrays.items()}


def test_the_name_of_a_file_says_nothing(folder):
    save_file(A, folder / "x.npz")
    with open("x.safetensors", "wb") as file:
        np.savez(file, **A)
    for name, kind in (("x.npz", "safetensors"), ("x.safetensors", "npz")):
        bundle = files.read(name)
        assert bundle.format == kind
        assert same(bundle, A)


@pytest.mark.parametrize("first", [b" ", b"{", b"[", b"<", b"P", b"\x80", b"\x93", b"\x1f"])
def test_a_header_whose_length_begins_as_another_format_does(first, folder):
    header = b'{"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}'.ljust(256 + first[0])
    (folder / "x").write_bytes(struct.pack("<Q", len(header)) + header + b"abc")
    assert np.asarray(files.read("x").tensors["a"]).tobytes() == b"abc"


def archive(name: str) -> bytes:
    with zipfile.ZipFile("zip", "w") as file:
        if name:
            file.writestr(name, b"x")
    return Path("zip").read_bytes()


def tar() -> bytes:
    with tarfile.open("tar", "w") as file:
        file.add(__file__, "pickle")
    return Path("tar").read_bytes()


INSTEAD = {  # what may stand where weights should be -> how it is called
    "empty": (lambda: b"", "is empty: download it again"),
    "seven bytes": (lambda: bytes(7), "no file of weights that vitjax knows"),
    "random": (lambda: bytes(range(200, 256)), "no file of weights that vitjax knows"),
    "a Git LFS pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
    "a web page": (lambda: b"\n<!DOCTYPE html><html>", "a web page"),
    "an XML error": (lambda: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code>', "a web page"),
    "JSON": (lambda: b'{"architecture": "vit"}', "is JSON, not weights"),
    "broken JSON": (lambda: b'{"weight_map": {', "is not JSON that can be read"),
    "JSON with a brace where safetensors has one": (lambda: b'{"abcd":{"a": 1}}', "is JSON, not weights"),
    "a single array": (lambda: b"\x93NUMPY\1\0" + bytes(80), "a single array"),
    "gzip": (lambda: gzip.compress(b"x" * 100), "gzip"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(80), "HDF5"),
    "GGUF": (lambda: b"GGUF\3\0\0\0" + bytes(80), "GGUF"),
    "an empty zip": (lambda: archive(""), "an empty zip archive"),
    "another zip": (lambda: archive("word/document.xml"), "torch.save did not write it"),
    "a tar": (tar, "before 0.1.10"),
    "a bare pickle": (lambda: b"\x80\x04K\x01.", "torch.save did not write"),
}


@pytest.mark.parametrize("kind", INSTEAD)
def test_what_is_no_file_of_weights_is_called_by_its_name(kind, folder):
    make, diagnosis = INSTEAD[kind]
    (folder / "model.pt").write_bytes(make())
    with pytest.raises(Error) as error:
        files.read("model.pt")
    assert diagnosis in str(error.value)
    assert "model.pt" in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_file(folder):
    os.mkfifo("pipe")
    os.symlink("gone", "link")
    for path, reason in {
        "nothing": "nothing does not exist",
        "pipe": "pipe is not a regular file",
        "/dev/zero": "/dev/zero is not a regular file",
        "link": "link is a link to gone, which does not exist",
        ".": "has no model in it",
    }.items():
        with pytest.raises(Error, match=reason):
            files.read(path)


def test_folders_as_the_hub_has_them(folder):
    (folder / "config.json").write_text('{"model_type": "vit"}')
    (folder / "preprocessor_config.json").write_text('{"do_resize": true}')
    save_file(A, folder / "one.safetensors")
    bundle = files.read(folder)
    assert (bundle.path, bundle.config, bundle.preprocessor) == (
        folder / "one.safetensors",
        {"model_type": "vit"},
        {"do_resize": True},
    )
    alone = files.read(folder / "one.safetensors")
    assert (alone.config, alone.preprocessor) == (None, None)
    np.savez(folder / "two.npz", **B)
    with pytest.raises(Error, match=r"several weight files: one\.safetensors, two\.npz"):
        files.read(folder)
    save_file(B, folder / "pytorch_model.bin")
    assert same(files.read(folder), B)
    shards(folder)
    assert files.read(folder).format == "sharded safetensors"  # preferred to .bin
    save_file(A, folder / "model.safetensors")
    assert same(files.read(folder), A)


def shards(folder: Path, **changed: object) -> Path:
    """Two shards and their index, which is that of transformers but for what is `changed`."""
    save_file(A, folder / "model-1.safetensors")
    save_file(B, folder / "model-2.safetensors")
    where = {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-2.safetensors"}
    index = {"metadata": {"total_size": 0}, "weight_map": where | changed}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(index))
    return path


def test_shards(folder):
    index = shards(folder)
    for src in (index, folder):
        bundle = files.read(src)
        assert (bundle.path, bundle.format) == (index, "sharded safetensors")
        assert same(bundle, A | B)
    each = [hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.glob("model-*"))]
    assert bundle.sha256 == hashlib.sha256("".join(each).encode()).hexdigest()
    assert files.read("model-1.safetensors").sha256 == each[0]


def test_shards_in_the_hub_s_cache_are_links(folder):
    (folder / "snapshot").mkdir()
    index = shards(folder)
    for path in (index, *folder.glob("model-*")):
        (folder / "snapshot" / path.name).symlink_to(path)
    assert same(files.read("snapshot"), A | B)


def test_prefixes_and_keys_of_shards(folder):
    save_file({f"module.{name}": array for name, array in A.items()}, folder / "1")
    save_file({f"module.{name}": array for name, array in B.items()}, folder / "2")
    where = {"module.a": "1", "module.b": "2", "module.c": "2"}
    (folder / "x.index.json").write_text(json.dumps({"weight_map": where}))
    assert same(files.read(folder), A | B)
    save_file({"teacher.a": A["a"], "student.a": B["b"]}, folder / "1")
    assert same(files.read("1", "teacher"), A)
    with pytest.raises(Error, match="unknown key 'teachers'; the closest are: teacher"):
        files.read("1", "teachers")


BROKEN = {
    "a shard that climbs": ({"a": "../model-1.safetensors"}, "must be a file beside it"),
    "an absolute shard": ({"a": "/etc/passwd"}, "must be a file beside it"),
    "a shard on another drive": ({"a": "C:model"}, "must be a file beside it"),
    "a backslash": ({"a": "..\\model"}, "must be a file beside it"),
    "a NUL": ({"a": "model\0"}, "must be a file beside it"),
    "the folder itself": ({"a": "."}, "must be a file beside it"),
    "a number for a shard": ({"a": 1}, "must be a file beside it"),
    "a missing shard": ({"a": "model-3.safetensors"}, "names model-3.safetensors, which is not beside it"),
    "a tensor that is in no shard": ({"d": "model-2.safetensors"}, "model-2.safetensors does not hold 'd'"),
    "a tensor in another shard": ({"a": "model-2.safetensors"}, "does not hold 'a'"),
    "a tensor in two shards": ({"b": "model-1.safetensors"}, "model-2.safetensors holds 'b', which"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_indexes(kind, folder):
    changed, reason = BROKEN[kind]
    with pytest.raises(Error) as error:
        files.read(shards(folder, **changed))
    assert reason in str(error.value)
    assert "model" in str(error.value) and "\n" not in str(error.value)


def test_an_index_must_name_every_tensor_once(folder):
    index = shards(folder)
    text = index.read_text()
    for wrong, reason in {
        text.replace('"c": "model-2.safetensors"', '"b": "model-2.safetensors"'): "the key 'b' is given twice",
        text.replace(', "c": "model-2.safetensors"', ""): "holds 'c', which .* says is in no shard",
        '{"weight_map": ["model-1.safetensors"]}': "is JSON, not weights",
        '{"weight_map": {}}': "is JSON, not weights",
    }.items():
        index.write_text(wrong)
        with pytest.raises(Error, match=reason):
            files.read(index)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', "\xff" * 9, "[" * 100_000, '{"a": ' * 100_000])
def test_json_refused(text, folder):
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(Error, match=r"config\.json") as error:
        files.read_json(Path("config.json"))
    assert "\n" not in str(error.value)


def test_prefixes_that_are_mixed_are_refused_in_every_format(folder):
    arrays = {"module.a": A["a"], "b": B["b"]}
    save_file(arrays, "x")
    np.savez("y.npz", **arrays)
    for name in ("x", "y.npz"):
        with pytest.raises(Error, match="1 of 2 names begin with"):
            files.read(name)


def trained() -> bytes:
    """A training script's file: weights, their average (in parallel), an epoch; without torch."""
    model = dict_(("a", tensor(storage("0"))))
    return saved(
        pickled(dict_(("model", model), ("model_ema", dict_(("module.a", tensor(storage("1"))))), ("epoch", number(3)))),
        A["a"].tobytes(),
        (A["a"] + 1).tobytes(),
    )


def test_wrappers_of_a_pytorch_file(folder, caplog):
    (folder / "x.pth").write_bytes(trained())
    with pytest.raises(files.Several, match=r"x\.pth holds several sets of weights"):
        files.read("x.pth")
    with caplog.at_level("INFO", "vitjax"):
        bundle = files.read("x.pth", "model_ema")
    assert caplog.messages == ["reading model_ema of x.pth; also there: model"]
    assert same(bundle, {"a": A["a"] + 1})
    assert (bundle.format, bundle.key, bundle.meta) == ("PyTorch zip", "model_ema", {"epoch": 3})


def inspect(capsys, *args: str) -> tuple[int, str, str]:
    return main(["inspect", *args]), *capsys.readouterr()


def test_inspect_looks_into_every_container(folder, capsys):
    save_file(A | B, folder / "plain")
    np.savez_compressed(folder / "x.npz", a=A["a"], b=B["b"], c=B["c"])
    shards(folder)
    for src, kind in (("plain", "safetensors"), ("x.npz", "npz"), ("model.safetensors.index.json", "sharded safetensors")):
        code, out, err = inspect(capsys, src, "--json")
        assert (code, err) == (0, "")
        about = json.loads(out)
        assert about["format"] == kind
        assert about["tensors"]["a"] == {"shape": [2, 3], "dtype": "float32"}
        assert about["parameters"] == 12
        code, out, _ = inspect(capsys, src)
        assert code == 0 and kind in out and "none that vitjax knows" in out


def test_inspect_lists_where_weights_are(folder, capsys):
    (folder / "x.pth").write_bytes(trained())
    code, out, err = inspect(capsys, "x.pth")
    assert (code, err) == (0, "") and "\n  model_ema (1 entries)\n" in out
    assert json.loads(inspect(capsys, "x.pth", "--json")[1])["keys"] == ["model", "model_ema"]
    code, out, err = inspect(capsys, "x.pth", "--key", "model", "--json")
    assert (code, json.loads(out)["key"]) == (0, "model")
    assert err == "reading model of x.pth; also there: model_ema\n"


def test_inspect_compares_checksums(folder, capsys):
    (folder / "x.pth").write_bytes(trained().replace((A["a"] + 1).tobytes(), A["a"].tobytes()))
    code, out, err = inspect(capsys, "x.pth", "--key", "model_ema")
    assert (code, out) == (1, "")
    assert "vitjax: x.pth: archive/data/1 is damaged" in err
    np.savez(folder / "x.npz", a=A["a"])
    content = bytearray(Path("x.npz").read_bytes())
    content[content.index(b"PK\1\2") - 1] ^= 1
    Path("x.npz").write_bytes(content)
    code, out, err = inspect(capsys, "x.npz")
    assert (code, out) == (1, "")
    assert err.startswith("vitjax: x.npz: a.npy is damaged")
