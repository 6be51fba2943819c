"""safetensors: what the library writes is read and the other way round; we refuse all that it refuses, and more."""

import json
import os
import struct
import tracemalloc
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from vitjax import Error
from vitjax.converters import files


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: str = "F32", shape: object = (2,), start: object = 0, end: object = 8) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_reads_what_the_library_wrote(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {"a.weight": rng.standard_normal((3, 5)).astype("f4"), "b": np.full((), 2.5, "f2"), "c": np.zeros((0, 4), "f4")}
    tensors |= {
        code: (9 * rng.standard_normal((2, 3))).astype(code)
        for code in ("f8", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")
    }
    tensors["d"] = rng.standard_normal((2, 2, 2)).astype(ml_dtypes.bfloat16)
    save_file(tensors, tmp_path / "x.safetensors", {"format": "pt", "task": '["json in a string"]'})
    bundle = files.read(tmp_path / "x.safetensors")
    assert (bundle.format, bundle.meta) == ("safetensors", {"format": "pt", "task": '["json in a string"]'})
    assert set(bundle.tensors) == set(tensors)
    for name, array in tensors.items():
        found = bundle.tensors[name]
        assert (found.shape, found.dtype) == (array.shape, array.dtype)
        np.testing.assert_array_equal(np.asarray(found), array)


def test_writes_what_the_library_reads(tmp_path):
    tensors = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.ones((), "f2"), "c": np.ones(3, ml_dtypes.bfloat16)}
    path = tmp_path / "deep" / "x.safetensors"
    files.write_safetensors(path, {name: (a.shape, a.dtype) for name, a in tensors.items()}, tensors.items(), {"by": "us"})
    for name, array in load_file(path).items():
        np.testing.assert_array_equal(array, tensors[name])
    assert files.read(path).meta == {"by": "us"}
    assert os.listdir(path.parent) == ["x.safetensors"]


def test_a_failed_write_leaves_nothing(tmp_path):
    def tensors():
        yield "a", np.zeros(2, "f4")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_safetensors(tmp_path / "x.safetensors", {"a": ((2,), np.dtype("f4")), "b": ((2,), np.dtype("f4"))}, tensors())
    assert os.listdir(tmp_path) == []


TWO = {"a": entry(), "b": entry(start=8, end=16)}
GOOD = raw(TWO | {"__metadata__": {"format": "pt"}}, bytes(16))
ONE = json.dumps(entry()).encode()
REFUSED = {
    "a length of 2^62": (struct.pack("<Q", 2**62) + GOOD[8:], "claims 4611686018427387904 bytes"),
    "a header of 101 MB": (struct.pack("<Q", 101_000_000) + GOOD[8:], "claims 101000000 bytes"),
    "a length beyond the file": (struct.pack("<Q", len(GOOD)) + GOOD[8:], "within its header"),
    "half a header": (GOOD[:30], "within its header"),
    "half of its JSON": (raw(b'{"a": {"dtype"', bytes(8)), "not a whole"),
    "not UTF-8": (raw(b'{"\xff": 1}'), "not a whole"),
    "UTF-16": (raw('{"a": 1}'.encode("utf-16-le")), "not a whole"),
    "deep JSON": (raw(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested too deeply"),
    "a space before the header": (raw(b" " + json.dumps(TWO).encode(), bytes(16)), "no file of weights"),
    "an array for a header": (raw(b"[1, 2, 3, 4]", bytes(8)), "no file of weights"),
    "half the data": (GOOD[:-4], "data byte 12"),
    "trailing bytes": (GOOD + b"x", "data byte 16"),
    "a key given twice": (raw(b'{"a":' + ONE + b',"a":' + ONE + b"}", bytes(8)), "'a' is given twice"),
    "a field given twice": (raw(b'{"a":' + ONE[:-1] + b',"dtype":"F32"}}', bytes(8)), "'dtype' is given twice"),
    "an unknown field": (raw({"a": entry() | {"scale": 1}}, bytes(8)), "nothing else"),
    "a field left out": (raw({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)), "must say"),
    "no object for a tensor": (raw({"a": 3}, bytes(8)), "must say"),
    "metadata that is no text": (raw(TWO | {"__metadata__": {"epoch": 3}}, bytes(16)), "__metadata__"),
    "overlapping tensors": (raw({"a": entry(), "b": entry()}, bytes(8)), "overlap"),
    "a hole": (raw({"a": entry(), "b": entry(start=16, end=24)}, bytes(24)), "hole"),
    "a hole in front": (raw({"a": entry(start=8, end=16)}, bytes(16)), "hole"),
    "an end before the beginning": (raw({"a": entry(start=8, end=0)}, bytes(8)), "not sizes"),
    "a negative offset": (raw({"a": entry(start=-8, end=0)}, bytes(8)), "not sizes"),
    "a lie about the shape": (raw({"a": entry(shape=(3,))}, bytes(8)), "does not fill"),
    "a negative size": (raw({"a": entry(shape=(-1, -2))}, bytes(8)), "not sizes"),
    "a fraction for a size": (raw({"a": entry(shape=(2.0,))}, bytes(8)), "not sizes"),
    "true for a size": (raw({"a": entry(shape=(True, 2))}, bytes(8)), "not sizes"),
    "text for a shape": (raw({"a": entry(shape="2")}, bytes(8)), "not sizes"),
    "a size beyond 64 bits": (raw({"a": entry(shape=(2**64, 0), end=0)}), "not sizes"),
    "a huge shape": (raw({"a": entry(shape=(2**62, 2**62))}, bytes(8)), "does not fill"),
    "a huge size behind a zero": (raw({"a": entry(shape=(0, 2**60), end=0)}), "claims the shape"),
    "70 dimensions": (raw({"a": entry(shape=(1,) * 70, end=4)}, bytes(4)), "70 dimensions"),
    "a name with a NUL": (raw({"a\0": entry()}, bytes(8)), "name"),
    "a name with a line break": (raw({"a\nb": entry()}, bytes(8)), "name"),
    "no name": (raw({"": entry()}, bytes(8)), "name"),
    "a name that climbs": (raw({"../../a": entry()}, bytes(8)), "name"),
    "an absolute name": (raw({"/etc/a": entry()}, bytes(8)), "name"),
    "a name of a megabyte": (raw({"a" * 2**20: entry()}, bytes(8)), "name"),
    "300,000 tensors": (raw({str(n): entry(shape=(0,), end=0) for n in range(300_000)}), "300000 tensors"),
    "no tensors": (raw({"__metadata__": {"format": "pt"}}), "0 tensors"),
    "fp8 without scales": (raw({"a": entry("F8_E4M3", end=2)}, bytes(2)), "F8_E4M3"),
    "fp4": (raw({"a": entry("F4", end=1)}, bytes(1)), "F4"),
    "complex numbers": (raw({"a": entry("C64", end=16)}, bytes(16)), "C64"),
    "an unknown type": (raw({"a": entry("F1024")}, bytes(8)), "F1024"),
    "no text for a type": (raw({"a": entry(["F32"])}, bytes(8)), "is of type"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind, tmp_path):
    content, diagnosis = REFUSED[kind]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(Error) as error:
        files.read(path)
    assert diagnosis in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def library_accepts(path: Path) -> bool:
    try:
        with safe_open(path, "numpy") as file:
            return bool(list(file.keys()))
    except SafetensorError:
        return False


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_a_damaged_file_is_an_error_or_the_same_tensors(data):
    """Bytes changed anywhere: refused, or read without touching anything outside the file; what the library refuses, we do."""
    content = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = Path(os.environ["VITJAX_CACHE"]) / "damaged.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        tensors = files.read(path).tensors
    except Error as error:
        assert "\n" not in str(error)
        return
    assert library_accepts(path)
    assert sum(np.asarray(tensor).nbytes for tensor in tensors.values()) == 16


def test_a_file_that_shrinks_is_an_error_not_a_crash(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(GOOD)
    tensor = files.read(path).tensors["b"]
    os.truncate(path, len(GOOD) - 4)
    with pytest.raises(Error, match="shorter"):
        np.asarray(tensor)


def test_a_large_file_is_not_read_to_be_opened(tmp_path):
    """Four gigabytes of holes: looking at them takes no memory and no time."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw({"a": entry(shape=(2**30,), end=2**32)}))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 2**32)
    tracemalloc.start()
    assert files.read(path).tensors["a"].shape == (2**30,)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
