"""PyTorch files without torch: what torch writes is read, wherever the numbers lie and however they are said to be counted."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torch_files import (
    HEAD,
    MAGIC,
    ONE,
    ORDERED,
    RAW,
    SIX,
    STREAM,
    ZIP,
    call,
    dict_,
    filled,
    list_,
    load,
    member,
    members,
    name,
    number,
    numbers,
    pickled,
    saved,
    script,
    short,
    storage,
    stream,
    tensor,
    text,
    tuple_,
    zipped,
)
from vitjax import Error
from vitjax.converters.torch_file import is_torch, read
from vitjax.converters.torch_values import Opaque


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def written(path: Path, data: bytes | bytearray) -> Path:
    path.write_bytes(data)
    return path


KINDS = {
    "torch.DoubleStorage": "f8",
    "torch.FloatStorage": "f4",
    "torch.HalfStorage": "f2",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
    "torch.BFloat16Storage": ml_dtypes.bfloat16,
    "torch.cuda.FloatStorage": "f4",
}


@pytest.mark.parametrize("order", ["little", "big", None])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_number_in_both_byte_orders(kind, order, path):
    values = np.array([0, 1, 1, 0, 1, 1]).astype(KINDS[kind])
    raw = values.view(f"u{values.itemsize}")
    raw = (raw.byteswap() if order == "big" else raw).tobytes()
    data = pickled(dict_(("w", tensor(storage("0", kind)))))
    (found,) = load(written(path, saved(data, raw, order=order)))
    np.testing.assert_array_equal(found, values.reshape(2, 3), strict=True)
    assert found.dtype.isnative


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "uint64", "float32", "bfloat16"])
def test_a_storage_of_bytes_whose_tensor_names_its_dtype(dtype, path):
    values = np.arange(6).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    of = storage("0", "torch.storage.UntypedStorage", values.nbytes)

    def part(first: int, size: int, step: int, *metadata: bytes) -> bytes:
        where = (of, number(first), numbers((size,)), numbers((step,)))
        return call("torch._utils._rebuild_tensor_v3", *where, b"\x89", ORDERED, name(f"torch.{dtype}"), *metadata)

    found = load(written(path, saved(pickled(tuple_(part(0, 6, 1), part(2, 2, 2, b"}"))), values.tobytes())))
    np.testing.assert_array_equal(found[0], values, strict=True)
    np.testing.assert_array_equal(found[1], values[[2, 4]], strict=True)


VIEWS = {
    "transposed": (((3, 2), (1, 3)), SIX.reshape(2, 3).T),
    "every second": (((3,), (2,), 1), SIX[1::2]),
    "the last": (((1,), (1,), 5), SIX[5:]),
    "repeated": (((3, 2), (0, 1)), np.broadcast_to(SIX[:2], (3, 2))),
    "overlapping windows": (((3, 4), (1, 1)), np.lib.stride_tricks.sliding_window_view(SIX, 4)),
    "a single number": (((), (), 3), SIX[3]),
    "axes of one": (((1, 6, 1), (77, 1, 99)), SIX.reshape(1, 6, 1)),
    "empty": (((0, 3), (3, 1)), np.zeros((0, 3), "f4")),
    "empty at the end": (((0,), (1,), 6), np.zeros(0, "f4")),
}


@pytest.mark.parametrize("container", ["zip", "stream"])
@pytest.mark.parametrize("kind", VIEWS)
def test_views_of_a_storage(kind, container, path):
    (shape, strides, *first), expected = VIEWS[kind]
    of = storage("0", "torch.FloatStorage", 6, *([b"N"] if container == "stream" else []))
    data = pickled(list_(tensor(of, shape, strides, *first), tensor(of, shape, strides, *first or [0], dict_(("neg", b"\x88")))))
    written(path, saved(data, RAW) if container == "zip" else stream(data, ("0", 6, RAW)))
    plain, negated = load(path)
    np.testing.assert_array_equal(plain, np.asarray(expected), strict=True)
    np.testing.assert_array_equal(negated, -np.asarray(expected), strict=True)
    assert plain.flags.c_contiguous


def test_a_part_of_a_storage_in_the_legacy_stream(path):
    """torch 0.1 to 0.3 wrote views of storages as (their key, where they begin, how long they are)."""
    part = tuple_(text("9"), number(2), number(4))
    of = storage("0", "torch.FloatStorage", 6, part)
    (found,) = load(written(path, stream(pickled(list_(tensor(of, (3,), (1,), 1))), ("0", 6, RAW))))
    np.testing.assert_array_equal(found, SIX[3:])


@pytest.mark.parametrize("data", [ZIP, STREAM], ids=["zip", "stream"])
def test_only_what_is_asked_for_is_read(data, path):
    found = read(written(path, data))["w"]
    assert (found.shape, found.dtype) == ((2, 3), np.dtype("f4"))
    assert is_torch(data[:512])
    found.check()
    np.testing.assert_array_equal(np.asarray(found, "f2"), SIX.reshape(2, 3).astype("f2"), strict=True)
    os.truncate(path, 10)
    with pytest.raises(Error, match=r"model\.pt became shorter"):
        np.asarray(found)
    path.unlink()
    with pytest.raises(Error, match=r"cannot read .*model\.pt"):
        np.asarray(found)


def test_a_checksum_is_compared_once_and_before_the_first_number(path):
    whole = saved(pickled(list_(tensor(storage(), (1,)), tensor(storage(), (1,), (1,), 5))), RAW)
    damaged = bytearray(whole)
    damaged[whole.index(RAW) + 12] ^= 1  # in neither of the two tensors
    first, last = read(written(path, damaged))
    for one in (first, last):
        with pytest.raises(Error, match=r"model\.pt: archive/data/0 is damaged"):
            np.asarray(one)
        with pytest.raises(Error, match=r"model\.pt: archive/data/0 is damaged"):
            one.check()
    written(path, whole)
    assert np.asarray(first) == 1
    written(path, damaged)
    assert np.asarray(last) == 6  # its record has been looked at


V2 = (storage(), number(0), numbers((2, 3)), numbers((3, 1)), b"\x89", ORDERED)
WRAPPED = {
    "plain": call("torch._utils._rebuild_tensor_v2", *V2),
    "before 0.4": call("torch._utils._rebuild_tensor", *V2[:4]),
    "a parameter": call("torch._utils._rebuild_parameter", tensor(storage()), b"\x88", ORDERED),
    "with attributes": call("torch._utils._rebuild_parameter_with_state", tensor(storage()), b"\x88", ORDERED, dict_()),
    "a buffer": call(
        "torch._tensor._rebuild_from_type_v2",
        name("torch._utils._rebuild_tensor_v2"),
        name("torch.nn.parameter.Buffer"),
        tuple_(*V2),
        dict_(("persistent", b"\x88")),
    ),
}


def test_what_torch_wraps_tensors_in(path):
    """Parameters and buffers, in an OrderedDict that has its modules' versions for an attribute."""
    versions = dict_(("_metadata", ORDERED + filled(("", dict_(("version", number(1))))))) + b"b"
    found = read(written(path, saved(pickled(ORDERED + filled(*WRAPPED.items()) + versions), RAW)))
    assert list(found) == list(WRAPPED)
    for leaf in found.values():
        np.testing.assert_array_equal(np.asarray(leaf), SIX.reshape(2, 3), strict=True)


PLAIN = [
    (b"N", None),
    (b"\x88", True),
    (b"\x89", False),
    (b"K\7", 7),
    (b"M\0\1", 256),
    (number(-3), -3),
    (number(2**70), 2**70),
    (b"G?\xe0" + bytes(6), 0.5),
    (text("é"), "é"),
    (b"U\2ab", "ab"),
    (b"U\1\xff", b"\xff"),
    (b"T\2\0\0\0ab", "ab"),
    (b"C\1x", b"x"),
    (b"B\1\0\0\0x", b"x"),
    (b")", ()),
    (b"N\x85", (None,)),
    (b"NN\x86", (None, None)),
    (b"NNN\x87", (None, None, None)),
    (b"]Na", [None]),
    (b"\x8f(K\1\x90", [1]),
    (call("builtins.set", list_(b"K\1")), [1]),
    (call("torch.Size", numbers((2, 3))), (2, 3)),
    (b"}K\1K\2sNNs" + numbers((1, 2)) + b"\x88s", {1: 2, None: None, (1, 2): True}),
    (call("__builtin__.dict"), {}),
    (call("collections.defaultdict", name("__builtin__.dict")), {}),
    (call("collections.Counter", dict_(("a", b"K\2"))), {"a": 2}),
    (name("argparse.Namespace") + b")\x81" + dict_(("lr", b"K\1")) + b"b", Opaque("argparse.Namespace")),
    (call("numpy.core.multiarray.scalar", call("numpy.dtype", text("f8")), b"C\1x"), Opaque("numpy.core.multiarray.scalar")),
    (call("_codecs.encode", text("x"), text("latin1")), Opaque("_codecs.encode")),
    (call("torch.device", text("cpu")), Opaque("torch.device")),
    (name("torch.float32"), Opaque("torch.float32")),
    (storage(), Opaque("torch.FloatStorage")),
]


@pytest.mark.parametrize("part, expected", PLAIN)
def test_what_is_no_tensor_is_plain_or_says_its_name(part, expected, path):
    found = read(written(path, saved(pickled(part), RAW)))
    assert found == expected and type(found) is type(expected)


def test_protocol_4_and_a_memo_of_any_index(path):
    """Frames, short text, names from the stack; an index takes no more room for being large."""
    stacked = short("collections") + b"\x94" + short("OrderedDict") + b"\x94\x93\x94)R\x94"
    items = short("w") + b"\x94" + tensor(storage()) + b"r\xff\xff\xff\x7f" + b"s" + short("v") + b"j\xff\xff\xff\x7fs"
    data = pickled(b"\x95" + bytes(8) + stacked + items, protocol=4)
    found = read(written(path, saved(data, RAW)))
    assert found["w"] == found["v"]


SCRIPT = script(
    ("training", b"\x89"),
    ("_is_full_backward_hook", b"N"),
    ("cls", tensor(storage())),
    ("block", script(("weight", tensor(storage())), ("heads", call("torch.jit._pickle.build_intlist", list_(number(1)))))),
    ("tagged", call("torch.jit._pickle.restore_type_tag", list_(tensor(storage())), text("List[Tensor]"))),
)


def archive(body: bytes, *more) -> bytes:
    code = member("archive/code/__torch__/net.py", b"import os; os.system('x')", method=8)
    return zipped([*members(pickled(body), RAW), code, member("archive/constants.pkl", pickled(b")")), *more])


def test_torchscript_is_a_state_dict(path):
    found = read(written(path, archive(SCRIPT)))
    assert list(found) == ["cls", "block.weight", "tagged.0"]
    assert all(np.array_equal(array, SIX.reshape(2, 3)) for array in load(path))
    with pytest.raises(Error, match=r"'__torch__\.net\.Module'"):  # its classes are known in its own archives alone
        read(written(path, saved(pickled(SCRIPT), RAW)))


def test_zip_files_of_every_writer(path):
    """Any root; the ZIP64 fields of a file over 4 GiB, the old directory of a small one."""
    for data in (
        saved(ONE, RAW, root="vit é (1)"),
        zipped(members(ONE, RAW), zip64=False),
        zipped([member("archive/", b""), *members(ONE, RAW)]),
        zipped([*members(ONE), member("archive/data/0", RAW, wide=True)]),
    ):
        np.testing.assert_array_equal(load(written(path, data)), SIX.reshape(1, 2, 3))


def test_a_file_of_more_than_4_gib(path):
    """Sparse: its last member but one is a hole, over which only offsets of 64 bits reach."""
    far = 5 * 2**30
    hole = member("archive/data/1", b"", wide=True)
    data = zipped([*members(ONE), hole, member("archive/data/0", RAW, header=far, wide=True)])
    last, directory = data.rindex(b"PK\3\4"), data.index(b"PK\1\2")
    size = far - last + 24  # and 24 bytes that are written behind it, where it is empty
    end = bytearray(data[directory:].replace(struct.pack("<2H2Q", 1, 24, 0, 0), struct.pack("<2H2Q", 1, 24, size, size)))
    moved, wide = far + directory - last, end.index(b"PK\6\6")
    struct.pack_into("<Q", end, wide + 48, moved)  # where the directory is,
    struct.pack_into("<Q", end, wide + 64, moved + wide)  # and its ZIP64 end,
    struct.pack_into("<I", end, len(end) - 6, 2**32 - 1)  # which 32 bits cannot say
    with path.open("wb") as file:
        file.write(data[:last])
        file.seek(far)
        file.write(data[last:directory] + end)
    np.testing.assert_array_equal(load(path), SIX.reshape(1, 2, 3))


def test_first_bytes_tell():
    assert is_torch(ZIP[:512]) and is_torch(STREAM[:512]) and is_torch(pickled(b"N", 4))
    assert is_torch(bytes(257) + b"ustar\x0000")
    assert not is_torch(b"") and not is_torch(b"\x93NUMPY") and not is_torch(b"{}")
    assert not is_torch(b"\x80\2\0\0\0\0\0\0{")  # safetensors with a header of 640 bytes


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_a_damaged_file_is_an_error_or_tensors(data):
    """Any bytes changed, cut or repeated: refused, or read without touching anything outside the file."""
    content = bytearray(data.draw(st.sampled_from([ZIP, STREAM, archive(SCRIPT), HEAD, MAGIC, saved(pickled(SCRIPT[:60]), RAW)])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.integers(0, 3)):
            case 0 | 1:
                content[at] = data.draw(st.integers(0, 255))
            case 2:
                del content[at : at + data.draw(st.integers(1, 8))]
            case 3:
                content[at:at] = content[at : at + data.draw(st.integers(1, 40))]
    path = Path(os.environ["VITJAX_CACHE"]) / "damaged.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        arrays = load(path)
    except Error as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    assert sum(array.nbytes for array in arrays) <= 2**20


OPCODES = st.sampled_from(
    [bytes([code]) for code in b"\x80\x95N\x88\x89JKM\x8aGX\x8cTUBC}])\x8f(t\x85\x86\x87ae\x90sucR\x81bQhjqr\x94\x93.0P"]
)
PARTS = st.one_of(
    OPCODES,
    st.binary(max_size=3),
    st.sampled_from([text("a"), number(1), number(-1), numbers((2, 3)), storage(), tensor(storage()), dict_(), list_(), SCRIPT]),
    st.sampled_from(["torch.Size", "collections.OrderedDict", "torch.float32", "argparse.Namespace", "os.system"]).map(name),
)


@settings(deadline=None, max_examples=600)
@given(st.lists(PARTS, max_size=20), st.booleans())
def test_any_pickle_is_an_error_or_a_value(parts, whole):
    path = Path(os.environ["VITJAX_CACHE"]) / "any.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive(b"".join(parts) + b"\x85" * whole))
    try:
        load(path)
    except Error as error:
        assert str(path) in str(error) and "\n" not in str(error)
