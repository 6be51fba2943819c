"""Files of weights: what is read is what was written; what is not weights is refused with its own diagnosis."""

import json
import os
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from vitjax import Error
from vitjax.converters import files


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: str = "F32", shape: tuple = (2,), start: int = 0, end: int = 8) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def test_reads_what_the_library_wrote(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {"a.weight": rng.standard_normal((3, 5)).astype("f4"), "b": np.full((), 2.5, "f2"), "c": np.zeros((0, 4), "f4")}
    tensors["d"] = rng.standard_normal((2, 2, 2)).astype(ml_dtypes.bfloat16)
    save_file(tensors, tmp_path / "x.safetensors")
    found = files.read(tmp_path / "x.safetensors").tensors
    assert set(found) == set(tensors)
    for name, array in tensors.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype)
        np.testing.assert_array_equal(np.asarray(found[name]), array)


def test_writes_what_the_library_reads(tmp_path):
    tensors = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.ones((), "f2"), "c": np.ones(3, ml_dtypes.bfloat16)}
    path = tmp_path / "deep" / "x.safetensors"
    files.write_safetensors(path, {name: (a.shape, a.dtype) for name, a in tensors.items()}, tensors.items())
    for name, array in load_file(path).items():
        np.testing.assert_array_equal(array, tensors[name])
    assert os.listdir(path.parent) == ["x.safetensors"]


def test_a_failed_write_leaves_nothing(tmp_path):
    def tensors():
        yield "a", np.zeros(2, "f4")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_safetensors(tmp_path / "x.safetensors", {"a": ((2,), np.dtype("f4")), "b": ((2,), np.dtype("f4"))}, tensors())
    assert os.listdir(tmp_path) == []


GOOD = raw({"a": entry()}, bytes(8))
REFUSED = {
    "empty": (b"", "is empty"),
    "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS"),
    "a web page": (b"\n<!DOCTYPE html><html>", "web page"),
    "a PyTorch archive": (b"PK\x03\x04" + bytes(40), "PyTorch"),
    "JSON": (b'{"a": 1}', "JSON"),
    "noise": (bytes(range(200, 256)), "no file of weights"),
    "seven bytes": (bytes(7), "no file of weights"),
    "half a header": (GOOD[:30], "whole"),
    "half the data": (GOOD[:-4], "whole"),
    "trailing bytes": (GOOD + b"x", "whole"),
    "a key given twice": (
        raw(b'{"a":' + json.dumps(entry()).encode() + b',"a":' + json.dumps(entry()).encode() + b"}", bytes(8)),
        "twice",
    ),
    "overlapping tensors": (raw({"a": entry(), "b": entry()}, bytes(8)), "whole"),
    "a hole": (raw({"a": entry(), "b": entry(start=16, end=24)}, bytes(24)), "whole"),
    "a lie about the shape": (raw({"a": entry(shape=(3,))}, bytes(8)), "whole"),
    "a huge shape": (raw({"a": entry(shape=(2**62, 2**62))}, bytes(8)), "whole"),
    "a rank of 70": (raw({"a": entry(shape=(1,) * 70, end=4)}, bytes(4)), "dimensions"),
    "a name with a NUL": (raw({"a\0": entry()}, bytes(8)), "name"),
    "a name that climbs": (raw({"../../a": entry()}, bytes(8)), "name"),
    "fp8 without scales": (raw({"a": entry("F8_E4M3", end=2)}, bytes(2)), "F8_E4M3"),
    "an array for a header": (raw(b"[1, 2, 3, 4]", bytes(8)), "no file of weights"),
    "deep JSON": (raw(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "whole"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind, tmp_path):
    content, diagnosis = REFUSED[kind]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(Error, match=diagnosis) as error:
        files.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_damaged_file_is_an_error_or_the_same_tensors(data):
    """Any byte changed: refused, or read without touching anything outside the file."""
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = files.Path(os.environ["VITJAX_CACHE"]) / "damaged.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        tensors = files.read(path).tensors
    except Error:
        return
    assert sum(np.asarray(tensor).nbytes for tensor in tensors.values()) <= len(content)


def test_folders(tmp_path):
    with pytest.raises(Error, match="no model in it"):
        files.read(tmp_path)
    with pytest.raises(Error, match="does not exist"):
        files.read(tmp_path / "nothing")
    with pytest.raises(Error, match="regular file"):
        files.read("/dev/null")
    for name in ("one", "two"):
        (tmp_path / f"{name}.safetensors").write_bytes(GOOD)
    with pytest.raises(Error, match=r"one\.safetensors, two\.safetensors"):
        files.read(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(GOOD)  # the name that the hub uses is preferred
    assert files.read(tmp_path).path.name == "model.safetensors"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', "\xff" * 9, "[" * 100_000])
def test_json_refused(text, tmp_path):
    (tmp_path / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(Error, match=r"config\.json"):
        files.read_json(tmp_path / "config.json")


def test_a_file_that_shrinks_is_an_error_not_a_crash(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(GOOD)
    tensor = files.read(path).tensors["a"]
    os.truncate(path, len(GOOD) - 4)
    with pytest.raises(Error, match="shorter"):
        np.asarray(tensor)
