"""NumPy's archives: what numpy.savez wrote is read bit for bit; what numpy.load would take, and should not, is refused."""

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vitjax import Error
from vitjax.converters import files

FLOATS = np.arange(6, dtype="<f4").reshape(2, 3)


def npy(array: np.ndarray = FLOATS, header: str | None = None, version: bytes = b"\1\0", data: bytes | None = None) -> bytes:
    """An .npy file, with another description or other data than those of the array, if given."""
    if header is None:
        file = io.BytesIO()
        np.save(file, array)
        start = file.getvalue()[: -array.nbytes or None]
    else:
        text = header.encode("latin-1") + b"\n"
        start = b"\x93NUMPY" + version + struct.pack("<H" if version == b"\1\0" else "<I", len(text)) + text
    return start + (array.tobytes() if data is None else data)


def described(descr: str = "'<f4'", fortran: object = False, shape: object = (2, 3)) -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}"


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, data in members:
            out.writestr(zipfile.ZipInfo(name), data, method)
    return file.getvalue()


def one(data: bytes, **options) -> bytes:
    return archive(("a.npy", data), **options)


def load(content: bytes, path: Path) -> dict[str, np.ndarray]:
    path.write_bytes(content)
    return {name: np.asarray(tensor) for name, tensor in files.read(path).tensors.items()}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_wrote(save, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        f"params/{code}": (9 * rng.standard_normal((3, 4))).astype(code) for code in ("f2", "f4", "f8", "i4", "i8", "u1", "b1")
    }
    arrays |= {f"big/{code[1:]}": (9 * rng.standard_normal((2, 5))).astype(code) for code in (">f2", ">f4", ">f8", ">i4", ">i8")}
    arrays |= {"half": rng.standard_normal((4, 2)).astype(ml_dtypes.bfloat16), "scalar": np.float32(2.5)}
    arrays |= {"empty": np.zeros((0, 3), "f4"), "fortran": np.asfortranarray(rng.standard_normal((2, 3, 4)))}
    arrays |= {"large": rng.standard_normal((300, 1000)).astype("f4"), "zeros": np.zeros(200_000, "f4")}
    save(tmp_path / "x.npz", **arrays)
    bundle = files.read(tmp_path / "x.npz")
    assert bundle.format == "npz"
    assert list(bundle.tensors) == list(arrays)
    for name, array in arrays.items():
        tensor, found = bundle.tensors[name], np.asarray(bundle.tensors[name])
        native = array.dtype.newbyteorder("=")
        assert (tensor.shape, tensor.dtype) == (array.shape, native) == (found.shape, found.dtype), name
        assert found.flags.c_contiguous and found.tobytes() == array.astype(native).tobytes(), name
    files.check(bundle)


def test_reads_what_went_to_a_stream(tmp_path):
    """An archive that was written without going back: sizes and checksums stand behind each member."""

    class Stream(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *args):
            raise io.UnsupportedOperation

        tell = seek

    for save in (np.savez, np.savez_compressed):
        file = Stream()
        save(file, a=FLOATS, b=FLOATS + 1)
        found = load(file.getvalue(), tmp_path / "x.npz")
        np.testing.assert_array_equal(found["b"], FLOATS + 1)


def test_nothing_is_read_before_it_is_needed(tmp_path):
    np.savez(tmp_path / "x.npz", a=FLOATS)
    tensor = files.read(tmp_path / "x.npz").tensors["a"]
    (tmp_path / "x.npz").unlink()
    with pytest.raises(Error, match=r"x\.npz"):
        np.asarray(tensor)


GOOD_TO_READ = {
    "void of two bytes is bfloat16": (npy(np.ones(3, ml_dtypes.bfloat16), described("'|V2'", shape=(3,))), [1, 1, 1]),
    "big-endian": (npy(FLOATS.astype(">f4")), FLOATS),
    "the second version": (npy(header=described(), version=b"\2\0"), FLOATS),
    "another order of the description": (npy(header="{'shape': (2, 3), 'fortran_order': False, 'descr': '<f4'}"), FLOATS),
    "columns first": (npy(FLOATS.T, described(fortran=True)), FLOATS),
}


@pytest.mark.parametrize("kind", GOOD_TO_READ)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_read(kind, method, tmp_path):
    data, expected = GOOD_TO_READ[kind]
    found = load(one(data, method=method), tmp_path / "x.npz")["a"]
    np.testing.assert_array_equal(found, np.asarray(expected).astype(found.dtype))


def patched(content: bytes, layout: str, mark: bytes, at: int, value: bytes) -> bytes:
    """An archive with some bytes of its first local header or directory line changed."""
    start = content.index(mark) + at
    assert struct.calcsize(layout) == len(value)
    return content[:start] + value + content[start + len(value) :]


def local(at: int, value: bytes, content: bytes | None = None) -> bytes:
    return patched(content or one(npy()), f"{len(value)}s", b"PK\3\4", at, value)


def central(at: int, value: bytes, content: bytes | None = None) -> bytes:
    return patched(content or one(npy()), f"{len(value)}s", b"PK\1\2", at, value)


def twice() -> bytes:
    return archive(("a.npy", npy()), ("b.npy", npy())).replace(b"b.npy", b"a.npy")


def overlapping() -> bytes:
    """Two lines of the directory for the same bytes."""
    content = archive(("a.npy", npy()), ("b.npy", npy()))
    second = content.index(b"PK\1\2", content.index(b"PK\1\2") + 1)
    return content[: second + 42] + struct.pack("<I", 0) + content[second + 46 :]


def unlisted(which: int) -> bytes:
    """Three arrays, of which the directory leaves one out."""
    content = archive(*((f"{name}.npy", npy()) for name in "abc"))
    data, *lines = content[:-22].split(b"PK\1\2")
    directory = b"".join(b"PK\1\2" + line for index, line in enumerate(lines) if index != which)
    return data + directory + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(directory), len(data), 0)


def objects() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.array([{}], object))
    return file.getvalue()


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "objects": (objects, "only plain numbers"),
    "a raw pickle": (lambda: one(b"\x80\x04K\x01."), "not an array"),
    "a member that is no array": (lambda: archive(("a.npy", npy()), ("b.txt", b"hello")), "b.txt.*only NAME.npy"),
    "an expression for a description": (lambda: one(npy(header="__import__('os').system('touch canary')")), "not an array"),
    "an expression for a shape": (lambda: one(npy(header=described(shape="(2, 3 * len('a'))"))), "not an array"),
    "a description of 20 MB": (lambda: one(npy(header=described() + " " * 20_000_000, version=b"\2\0")), "not an array"),
    "a description that numpy must mend": (lambda: one(npy(header=described(shape="(2L, 3L)"))), "not an array"),
    "a deep description": (lambda: one(npy(header="(" * 5000 + ")" * 5000)), "not an array"),
    "the third version": (lambda: one(npy(header=described(), version=b"\3\0")), "not an array"),
    "a shape of 4 TB": (lambda: one(npy(header=described(shape=(2**40,)))), "claims the shape"),
    "a shape that overflows": (lambda: one(npy(header=described(shape=(2**62, 2**62)))), "claims the shape"),
    "a shape that overflows behind a zero": (lambda: one(npy(header=described(shape=(0, 2**60)), data=b"")), "claims the shape"),
    "a negative shape": (lambda: one(npy(header=described(shape=(-2, -3)))), "not an array"),
    "true for a size": (lambda: one(npy(header=described(shape=(True, 6)))), "not an array"),
    "nine dimensions": (lambda: one(npy(header=described(shape=(1,) * 7 + (2, 3)))), "9 dimensions"),
    "short data": (lambda: one(npy()[:-1]), "claims the shape"),
    "trailing data": (lambda: one(npy() + b"x"), "claims the shape"),
    "one name twice": (twice, "twice"),
    "void of four bytes": (lambda: one(npy(header=described("'|V4'"))), "V4"),
    "unicode": (lambda: one(npy(np.array(["ab"]))), "only plain numbers"),
    "bytes": (lambda: one(npy(np.array([b"ab"]))), "only plain numbers"),
    "dates": (lambda: one(npy(np.array(["2020"], "M8[s]"))), "only plain numbers"),
    "complex numbers": (lambda: one(npy(FLOATS.astype("c8"))), "only plain numbers"),
    "structures": (lambda: one(npy(np.zeros(2, [("x", "<f4")]))), "not an array"),
    "a bomb": (lambda: one(npy(np.zeros(50_000_000, "u1")), method=zipfile.ZIP_DEFLATED), "deflate bomb"),
    "lzma": (lambda: one(npy(), method=zipfile.ZIP_LZMA), "packed in a way"),
    "a name that climbs": (lambda: archive(("../../a.npy", npy())), "nor numpy"),
    "an absolute name": (lambda: archive(("/etc/a.npy", npy())), "nor numpy"),
    "a name with a backslash": (lambda: archive(("a\\b.npy", npy())), "nor numpy"),
    "a name with a NUL": (lambda: archive(("aXb.npy", npy())).replace(b"aXb", b"a\0b"), "nor numpy"),
    "a name with a drive": (lambda: archive(("C:a.npy", npy())), "nor numpy"),
    "a long name": (lambda: archive(("a.npy", npy()), ("b" * 2000 + ".npy", npy())), "nor numpy"),
    "a name of other letters": (lambda: archive(("a b.npy", npy())), "not the name of an array"),
    "encrypted": (lambda: central(8, b"\1\0", local(6, b"\1\0")), "encrypted"),
    "another name in front of the bytes": (lambda: local(30, b"b"), "not an array|described in two ways"),
    "another method in front of the bytes": (lambda: local(8, b"\x08\0"), "described in two ways"),
    "stored, of another size": (lambda: central(24, struct.pack("<I", 100)), "two sizes"),
    "the same bytes twice": (overlapping, "described in two ways|overlaps"),
    "something in front": (lambda: b"PK\3\4" + one(npy()), "lies about where its directory is"),
    "an array in front": (lambda: one(npy())[:200] + one(npy()), "lies about where its directory is"),
    "something behind": (lambda: one(npy()) + b"x", "does not end as a zip file does"),
    "half": (lambda: one(npy())[:200], "does not end as a zip file does"),
    "a directory elsewhere": (lambda: one(npy())[:-6] + struct.pack("<I", 7) + b"\0\0", "lies about where its directory is"),
    "an array that is not listed": (lambda: unlisted(1), "other bytes in front of 'c.npy'"),
    "the first is not listed": (lambda: unlisted(0), "other bytes in front of 'b.npy'"),
    "the last is not listed": (lambda: unlisted(2), "other bytes in front of its directory"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, reason = REFUSED[kind]
    with pytest.raises(Error, match=reason) as error:
        load(make(), Path("x.npz"))
    assert "x.npz" in str(error.value)
    assert "\n" not in str(error.value)
    assert os.listdir() == ["x.npz"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_is_named(method, tmp_path):
    content = bytearray(archive(("a.npy", npy()), ("b/c.npy", npy(np.random.default_rng(0).random(500))), method=method))
    place = content.index(b"PK\1\2") - 50  # in the numbers of the second
    content[place] ^= 1
    (tmp_path / "x.npz").write_bytes(content)
    bundle = files.read(tmp_path / "x.npz")
    np.testing.assert_array_equal(np.asarray(bundle.tensors["a"]), FLOATS)
    with pytest.raises(Error, match=r"x\.npz: b/c\.npy is damaged"):
        np.asarray(bundle.tensors["b/c"])
    with pytest.raises(Error, match=r"x\.npz: b/c\.npy is damaged"):
        files.check(files.read(tmp_path / "x.npz"))


TREE = archive(
    *((f"{name}.npy", npy()) for name in ("params/img/cls", "params/img/head/kernel", "params/txt/head", "params/t", "step"))
)


@pytest.mark.parametrize(
    ("key", "names"),
    [
        (None, ["params/img/cls", "params/img/head/kernel", "params/txt/head", "params/t", "step"]),
        (".", ["params/img/cls", "params/img/head/kernel", "params/txt/head", "params/t", "step"]),
        ("params", ["img/cls", "img/head/kernel", "txt/head", "t"]),
        ("params/img", ["cls", "head/kernel"]),
        ("img", ["cls", "head/kernel"]),  # as big_vision's FILE.npz:img
        ("img/", ["cls", "head/kernel"]),
    ],
)
def test_a_key_is_a_branch_of_the_tree(key, names, tmp_path):
    (tmp_path / "x.npz").write_bytes(TREE)
    bundle = files.read(tmp_path / "x.npz", key)
    assert list(bundle.tensors) == names
    assert bundle.key == (key if key not in (None, ".") else "")


def test_an_unknown_branch(tmp_path):
    (tmp_path / "x.npz").write_bytes(TREE)
    with pytest.raises(Error, match=r"x\.npz: unknown key 'imgs'"):
        files.read(tmp_path / "x.npz", "imgs")


@settings(deadline=None, max_examples=60)
@given(
    hnp.arrays(st.sampled_from(["<f4", ">f4", "<f2", ">f8", "<i8", "|u1"]), hnp.array_shapes(min_dims=0, max_dims=5, max_side=4)),
    st.booleans(),
)
def test_any_array_comes_back(array, packed):
    path = Path(os.environ["VITJAX_CACHE"]) / "any.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    (np.savez_compressed if packed else np.savez)(path, a=array)
    found = np.asarray(files.read(path).tensors["a"])
    assert found.tobytes() == array.astype(array.dtype.newbyteorder("=")).tobytes()
    assert found.shape == array.shape


MUTATED = [
    archive(("a.npy", npy()), ("b/c.npy", npy(np.ones(40, ">f2"))), method=m) for m in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
]


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_a_damaged_file_is_an_error_or_the_same_tensors(data):
    good = data.draw(st.sampled_from(MUTATED))
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.none() | st.integers(0, len(content)))]
    path = Path(os.environ["VITJAX_CACHE"]) / "damaged.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        found = load(bytes(content), path)
    except Error as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    assert [array.tobytes() for array in found.values()] == [FLOATS.tobytes(), np.ones(40, "<f2").tobytes()]
