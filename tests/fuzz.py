"""Any bytes at all, given to the readers of files: an Error, or tensors, and nothing else, for as long as one likes.

`make fuzz` looks for more with atheris, which follows where in the readers the bytes lead; what it has found is kept in
tests/fixtures/findings, and test_fuzz.py reads that again every time.
"""

from __future__ import annotations

import gc
import io
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import FunctionType

import numpy as np

from tests import torch_files
from vitjax.config import Error
from vitjax.converters import files

FINDINGS = Path(__file__).parent / "fixtures" / "findings"
SMALL = 2**20  # bytes of tensors that any file may hold


def _npz(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.npy", data)
    return out.getvalue()


def _npy() -> bytes:
    out = io.BytesIO()
    np.save(out, torch_files.SIX)
    return out.getvalue()


HEADER = b'{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'

# Where the bytes go: checksums and lengths around them are right, or no fuzzer would ever get past those; and a good example.
PLACES: dict[str, tuple[Callable[[bytes], bytes], bytes]] = {
    "a zip file": (lambda data: data, torch_files.ZIP),
    "a legacy stream": (lambda data: data, torch_files.STREAM),
    "the pickle of a zip file": (lambda data: torch_files.saved(data, torch_files.RAW), torch_files.ONE),
    "the pickles of a legacy stream": (lambda data: torch_files.HEAD + data, torch_files.STREAM[len(torch_files.HEAD) :]),
    "a member of an .npz": (_npz, _npy()),
    "a header of safetensors": (lambda data: struct.pack("<Q", len(data)) + data + torch_files.RAW, HEADER),
}


def read(place: str, data: bytes) -> int:
    """How many tensors a file with these bytes at that place has; any other exception than Error is a finding."""
    content = PLACES[place][0](data)
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            tensors = files.read(file.name).tensors
            sizes = [np.asarray(tensor).nbytes for tensor in tensors.values()]
        except Error:
            return 0
    assert max(sizes, default=0) <= max(4 * len(content), SMALL), "a tensor grew out of nothing"
    return len(sizes)


def one_input(data: bytes) -> None:
    """The first byte is the place, the others what stands there."""
    if data:
        read(list(PLACES)[data[0] % len(PLACES)], data[1:])


def main() -> None:
    import atheris

    corpus = Path(tempfile.mkdtemp(prefix="vitjax-fuzz-"))
    for index, (_, good) in enumerate(PLACES.values()):
        (corpus / f"good-{index}").write_bytes(bytes([index]) + good)
    FINDINGS.mkdir(exist_ok=True)
    for function in gc.get_objects():  # of the readers only: all of JAX takes minutes
        if isinstance(function, FunctionType) and str(function.__module__).startswith("vitjax.converters."):
            atheris.instrument_func(function)
    options = ["-timeout=20", "-rss_limit_mb=4000", "-max_len=20000", f"-artifact_prefix={FINDINGS}/"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:], str(corpus), str(FINDINGS)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
