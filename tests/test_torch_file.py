"""PyTorch files without torch: what torch writes is read, wherever the numbers lie and however they are said to be counted."""

from __future__ import annotations

import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torch_files import (
    HEAD, MAGIC, ONE, RAW, SIX, STREAM, ZIP, call, dict_, leaves, list_, load, member, members, name, number, numbers, pickled,
    saved, script, short, storage, stream, tensor, text, tuple_, zipped,
)  # fmt: skip
from vitjax import Error
from vitjax.converters.torch_file import is_torch, read
from vitjax.converters.torch_values import Opaque


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


KINDS = {
    "torch.DoubleStorage": "f8", "torch.FloatStorage": "f4", "torch.HalfStorage": "f2", "torch.LongStorage": "i8",
    "torch.IntStorage": "i4", "torch.ShortStorage": "i2", "torch.CharStorage": "i1", "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?", "torch.BFloat16Storage": ml_dtypes.bfloat16, "torch.cuda.FloatStorage": "f4",
}  # fmt: skip


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
    hooks = call("collections.OrderedDict")
    whole = call(
        "torch._utils._rebuild_tensor_v3", of, number(0), numbers((6,)), numbers((1,)), b"\x89", hooks, name(f"torch.{dtype}")
    )
    part = call("torch._utils._rebuild_tensor_v3", of, number(2), numbers((2,)), numbers((2,)), b"\x89", hooks, name(f"torch.{dtype}"), b"}")  # fmt: skip
    found = load(written(path, saved(pickled(tuple_(whole, part)), values.tobytes())))
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
def test_only_what_is_asked_for_is_read(data, path, monkeypatch):
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


def test_a_checksum_is_compared_once_and_before_the_first_number(path, monkeypatch):
    of = storage("0", "torch.FloatStorage", 6)
    first, last = read(written(path, saved(pickled(list_(tensor(of, (1,)), tensor(of, (1,), (1,), 5))), RAW)))
    at = path.read_bytes().index(RAW)
    damaged = bytearray(path.read_bytes())
    damaged[at + 12] ^= 1  # in neither of the two tensors
    path.write_bytes(damaged)
    for tensor_ in (first, last):
        with pytest.raises(Error, match=r"model\.pt: archive/data/0 is damaged"):
            np.asarray(tensor_)
        with pytest.raises(Error, match=r"model\.pt: archive/data/0 is damaged"):
            tensor_.check()
    written(path, saved(pickled(b"N"), RAW).replace(RAW, RAW))
    path.write_bytes(bytes(damaged[: at + 12]) + bytes([damaged[at + 12] ^ 1]) + bytes(damaged[at + 13 :]))
    assert np.asarray(first) == 1
    path.write_bytes(damaged)
    assert np.asarray(last) == 6  # the record has been looked at


def test_parameters_buffers_and_attributes(path):
    """What torch wraps around a tensor; the state of an OrderedDict is its versions."""
    of, hooks = tensor(storage()), call("collections.OrderedDict")
    v2 = (storage(), number(0), numbers((2, 3)), numbers((3, 1)), b"\x89", hooks)
    body = hooks + b"(" + b"".join(
        text(key) + value
        for key, value in {
            "parameter": call("torch._utils._rebuild_parameter", of, b"\x88", hooks),
            "with state": call("torch._utils._rebuild_parameter_with_state", of, b"\x88", hooks, dict_(("tag", text("x")))),
            "buffer": call(
                "torch._tensor._rebuild_from_type_v2", name("torch._utils._rebuild_tensor_v2"),
                name("torch.nn.parameter.Buffer"), tuple_(*v2), dict_(("persistent", b"\x88")),
            ),
            "old": call("torch._utils._rebuild_tensor", *v2[:4]),
        }.items()
    ) + b"u" + dict_(("_metadata", hooks + b"(" + text("") + dict_(("version", number(1))) + b"u")) + b"b"  # fmt: skip
    found = read(written(path, saved(pickled(body), RAW)))
    assert list(found) == ["parameter", "with state", "buffer", "old"]
    for leaf in leaves(found):
        np.testing.assert_array_equal(np.asarray(leaf), SIX.reshape(2, 3), strict=True)


def test_what_is_no_tensor_stays_plain_or_says_its_name(path):
    namespace = name("argparse.Namespace") + b")\x81" + dict_(("lr", b"G" + bytes(8))) + b"b"
    scalar = call(
        "numpy.core.multiarray.scalar", call("numpy.dtype", text("f8")), call("_codecs.encode", text("x"), text("latin1"))
    )
    found = read(written(path, saved(pickled(dict_(
        ("args", namespace), ("loss", scalar), ("where", call("torch.device", text("cpu"))), ("dtype", name("torch.float32")),
        ("size", call("torch.Size", numbers((2, 3)))), ("set", call("builtins.set", list_(number(1)))),
        ("new set", b"\x8f(" + number(1) + b"\x90"), ("state", call("collections.defaultdict", name("__builtin__.dict"))),
        ("count", call("collections.Counter", dict_(("a", number(2))))), ("old", b"U\x01\xff" + b""), ("old text", b"T\2\0\0\0ab"),
        ("bytes", b"C\1x"), ("more", b"B\1\0\0\0x"), ("values", tuple_(b"N", b"\x88", b"\x89", b"K\7", b"M\0\1", b"G?\xe0" + bytes(6))),
        ("big", number(2**70)), ("keys", b"}" + number(1) + number(2) + b"s" + b"NNs" + numbers((1, 2)) + b"\x88s"),
        ("storage", storage()), ("one", number(1) + b"\x85"), ("three", b"NNN\x87"), ("appended", b"]Na"),
    )), RAW)))  # fmt: skip
    assert found == {
        "args": Opaque("argparse.Namespace"), "loss": Opaque("numpy.core.multiarray.scalar"), "where": Opaque("torch.device"),
        "dtype": Opaque("torch.float32"), "size": (2, 3), "set": [1], "new set": [1], "state": {}, "count": {"a": 2},
        "old": b"\xff", "old text": "ab", "bytes": b"x", "more": b"x", "values": (None, True, False, 7, 256, 0.5), "big": 2**70,
        "keys": {1: 2, None: None, (1, 2): True}, "storage": Opaque("torch.FloatStorage"), "one": (1,),
        "three": (None, None, None), "appended": [None],
    }  # fmt: skip


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
    """Sparse: most of it is a hole between its members, which only offsets of 64 bits reach over."""
    far, head, tail = 5 * 2**30, zipped([member("archive/data/0", b"")]), zipped([member("archive/data/0", RAW)])
    del head, tail
    body = zipped([*members(ONE), member("archive/data/0", RAW, header=far, wide=True)])
    at = body.index(b"PK\3\4", body.index(b"serialization_id"))
    end = body.index(b"PK\1\2")
    directory = bytearray(body[end:])
    start = far + end - at
    wide = directory.rindex(b"PK\6\6")
    directory[wide + 48 : wide + 56] = start.to_bytes(8, "little")
    directory[wide + 64 : wide + 72] = (start + wide).to_bytes(8, "little")
    directory[-6:-2] = b"\xff" * 4
    with path.open("wb") as file:
        file.write(body[:at])
        file.seek(far)
        file.write(body[at:end] + directory)
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
    OPCODES, st.binary(max_size=3),
    st.sampled_from([text("a"), number(1), number(-1), numbers((2, 3)), storage(), tensor(storage()), dict_(), list_(), SCRIPT]),
    st.sampled_from(["torch.Size", "collections.OrderedDict", "torch.float32", "argparse.Namespace", "os.system"]).map(name),
)  # fmt: skip


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
