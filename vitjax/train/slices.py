"""TPU slices by the names they are rented under, and what their chips are: nothing of it needs a TPU."""

from __future__ import annotations

import importlib.util
import math
import os
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import topologies

from ..config import Error, unknown


@dataclass(frozen=True)
class Chip:
    """What a chip has. Its memory and links are as Google's pages on each version have them; peak FLOP/s are in hardware.py.

    The clock is not published. It is peak FLOP/s by those of a cycle (2^17, 2^18 and 2^19), of which large products reach 88 to
    97 % by the compiler's estimate, on v6e 70 to 87 %.
    """

    memory: float  # GiB of HBM
    links: float  # GB/s that a chip can send to its neighbours, all together: half of what is published as bidirectional
    clock: float  # GHz


CHIPS = {"v5e": Chip(16.0, 200.0, 1.5), "v5p": Chip(95.0, 600.0, 1.75), "v6e": Chip(32.0, 400.0, 1.75)}

FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
# The number in the name of a v5p slice is that of its cores, of which a chip has two.
DEEP = {8: "2x2x1", 16: "2x2x2", 32: "2x2x4", 64: "2x4x4", 128: "4x4x4", 256: "4x4x8", 512: "4x8x8", 1024: "8x8x8"}
SLICES = {
    f"{version}-{number}": f"{version}:{shape}"
    for version, shapes in (("v5e", FLAT), ("v5p", DEEP), ("v6e", FLAT))
    for number, shape in shapes.items()
}


def chip(name: str) -> Chip:
    """The kind of chip in a slice; Error for a name that we do not have."""
    if name not in SLICES:
        raise Error(f"{unknown('TPU slice', name, SLICES)}; known are {', '.join(SLICES)}")
    return CHIPS[name.partition("-")[0]]


def chips(name: str) -> int:
    """How many there are in a slice."""
    chip(name)
    return math.prod(map(int, SLICES[name].partition(":")[2].split("x")))


def devices(name: str) -> list[Any]:
    """The devices of a slice, for which programs can be compiled on any machine."""
    chip(name)
    if importlib.util.find_spec("libtpu") is None:
        raise Error(f"to compile for {name}, the TPU compiler has to be here: pip install 'vitjax[tpu]'. It needs no TPU")
    # Nothing is asked of a cloud's servers about the machine we are on, which is no part of a slice; and as nobody drives a TPU,
    # several may compile at a time
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_ACCELERATOR_TYPE": "v5litepod-1"}
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
    jax.config.update("jax_platforms", "cpu")
    return list(topologies.get_topology_desc(SLICES[name], "tpu").devices)
