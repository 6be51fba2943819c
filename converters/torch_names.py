"""What a PyTorch file may name. No name is looked up, imported or called: each becomes a `Symbol`, or the file is refused.

A name that is not listed is refused where it appears, before what it is for and before what comes after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import ml_dtypes
import numpy as np

BUILTINS = "builtins", "__builtin__"  # in Python 3 and 2
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
STORAGES = {
    "Double": np.dtype("f8"), "Float": np.dtype("f4"), "Half": np.dtype("f2"), "BFloat16": BFLOAT16, "Long": np.dtype("i8"),
    "Int": np.dtype("i4"), "Short": np.dtype("i2"), "Char": np.dtype("i1"), "Byte": np.dtype("u1"), "Bool": np.dtype("?"),
    "Untyped": np.dtype("u1"),  # bytes: its tensors name their own dtype
}  # fmt: skip
_NUMBERS = [np.dtype(code) for code in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")]
DTYPES = {f"torch.{dtype.name}": dtype for dtype in (*_NUMBERS, BFLOAT16)}

REBUILD = {
    *(f"torch._utils._rebuild_{what}" for what in ("tensor", "tensor_v2", "tensor_v3", "parameter", "parameter_with_state"))
}
DATA = {
    *REBUILD, *DTYPES, "torch._tensor._rebuild_from_type_v2", "torch.Size", "collections.OrderedDict",
    "torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer",
    *(f"{room}.{kind}Storage" for room in ("torch", "torch.cuda") for kind in STORAGES if kind != "Untyped"),
    "torch.storage.UntypedStorage",
    # Named, so that a refusal can say what it is of; a dtype alone is harmless.
    *(f"{room}.Complex{kind}Storage" for room in ("torch", "torch.cuda") for kind in ("Float", "Double")),
    *(f"torch.float8_{kind}" for kind in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz")), "torch.complex64", "torch.complex128",
}  # fmt: skip
INERT = {
    "argparse.Namespace", "torch.device", "torch.serialization._get_layout", "_codecs.encode", "numpy.dtype", "numpy.ndarray",
    "pathlib.PosixPath", "pathlib.WindowsPath", "typing.Any",
    "omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.nodes.AnyNode",
    "omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata",
    *(f"{core}.multiarray.{what}" for core in ("numpy.core", "numpy._core") for what in ("scalar", "_reconstruct")),
    *(f"{room}.{kind}" for room in BUILTINS for kind in ("int", "long", "complex")),
}  # fmt: skip
CONTAINERS = {
    "collections.defaultdict", "collections.Counter", *(f"{room}.{kind}" for room in BUILTINS for kind in ("dict", "set"))
}  # fmt: skip
ALLOWED = DATA | INERT | CONTAINERS
LISTS = {f"torch.jit._pickle.build_{kind}list" for kind in ("int", "tensor", "double", "bool")}
SCRIPT = {*LISTS, "torch.jit._pickle.restore_type_tag"}  # beside all of __torch__, in TorchScript archives alone

UNREADABLE = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor: store tensor.to_dense()",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor: store tensor.to_dense()",
    "torch._utils._rebuild_qtensor": "a quantised tensor: store tensor.dequantize()",
    "torch._utils._rebuild_nested_tensor": "a nested tensor: store its parts",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor on the meta device, which has a shape and no numbers",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a class of its own: store plain tensors",
    "torch._utils._rebuild_device_tensor_from_numpy": "a tensor of another device: store tensor.cpu()",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": "a tensor of another device: store tensor.cpu()",
}

# Names that no weight needs and an attack does. Every name that is not allowed is refused; these are called what they are.
# A package stands for all that is in it.
_PACKAGES = """
    os posix nt subprocess sys importlib imp runpy pkgutil shutil socket ctypes cffi pty code codeop pdb bdb webbrowser
    platform commands pydoc profile cProfile timeit trace doctest operator marshal shelve dill cloudpickle joblib pickle
    _pickle cPickle io.open io.FileIO _io.open _io.FileIO types.FunctionType types.CodeType logging.FileHandler logging.config
    fileinput linecache multiprocessing signal asyncio atexit urllib urllib2 http httplib requests aiohttp ftplib smtplib
    telnetlib xmlrpc pip ensurepip venv setuptools distutils idlelib lib2to3 codecs _codecs
    numpy.testing numpy.f2py numpy.distutils numpy.load torch.hub torch.load torch.jit torch.package torch.fx torch._dynamo
    torch._inductor torch.storage._load_from_bytes torch.utils.bottleneck torch.utils.collect_env torch.utils.cpp_extension
"""
_BUILTINS = """
    eval exec execfile compile open input file __import__ getattr setattr delattr apply map filter reduce globals locals vars
    breakpoint
"""
HARMFUL = {*_PACKAGES.split(), *(f"{room}.{name}" for room in BUILTINS for name in _BUILTINS.split())}


class Foreign(ValueError):
    """Whole, and not for us: the message says what to do instead. (A plain ValueError here means damage.)"""


@dataclass(frozen=True)
class Symbol:
    """A global, by name."""

    name: str


def symbol(module: str, name: str, script: bool, file: str) -> Symbol:
    """A global as a symbol, if a file of weights may name it."""
    full = f"{module}.{name}"
    if "." not in name and full in ALLOWED:
        return Symbol(full)
    if script and (full in SCRIPT or full.startswith("__torch__.")):
        return Symbol(full)
    shown = repr(full[:200])
    if full in UNREADABLE:
        raise Foreign(f"it names {shown}, which makes {UNREADABLE[full]}")
    if not HARMFUL.isdisjoint(_packages(full)):
        raise Foreign(f"it names {shown}: this file tries to run code. Nothing was run; delete it, and report where it is from")
    raise Foreign(
        f"it names {shown}, which is no part of a tensor: the file holds Python objects too. If you trust who made it, keep its "
        f"tensors alone, where torch is: import torch, safetensors.torch as s; x = torch.load({file!r}, weights_only=False); "
        "s.save_file(x.state_dict() if hasattr(x, 'state_dict') else x, 'model.safetensors')"
    )


def _packages(name: str) -> Iterator[str]:
    """a.b.c, a.b, a."""
    while name:
        yield name
        name = name.rpartition(".")[0]
