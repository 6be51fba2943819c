"""Many processes become one program: JAX's own runtime, told by the environment who takes part."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..config import Error
from ..mesh import DATA

EXPLICIT = ("VITJAX_COORDINATOR", "VITJAX_PROCESSES", "VITJAX_PROCESS")
TPU = ("/dev/accel0", "/dev/vfio/0")  # on a machine with TPUs, one of these is there


def initialise(env: Mapping[str, str] = os.environ, start: Callable[..., None] = jax.distributed.initialize) -> None:
    """Join the other processes, if there are any: to be called before anything asks JAX for a device.

    Explicitly by VITJAX_COORDINATOR=host:port, VITJAX_PROCESSES and VITJAX_PROCESS; else as JAX finds it out by itself on a TPU
    pod, on GKE, under Slurm and under Open MPI. In every other place this is a program of one process.
    """
    given = [name for name in EXPLICIT if name in env]
    if given:
        if missing := sorted(set(EXPLICIT) - set(given)):
            raise Error(
                f"{given[0]} is set and {' and '.join(missing)} not: say host:port, how many processes, and which this is"
            )
        try:
            count, number = (int(env[name]) for name in EXPLICIT[1:])
        except ValueError as error:
            raise Error(f"{EXPLICIT[1]} and {EXPLICIT[2]} must be whole numbers: {error}") from error
        start(env[EXPLICIT[0]], count, number)
    elif (
        int(env.get("SLURM_NTASKS", "1")) > 1  # not an interactive shell in an allocation
        or "OMPI_COMM_WORLD_SIZE" in env
        or "TPU_WORKER_HOSTNAMES" in env  # GKE
        or any(Path(device).exists() for device in TPU)
    ):
        start()


def first() -> bool:
    """Whether this process is the one that speaks, and writes what is written once."""
    return jax.process_index() == 0


def together(where: str) -> None:
    """Wait here for all processes."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(where)


def rows(mesh: Mesh, batch: int) -> np.ndarray:
    """Which places of a global batch this process must fill, for the devices that it has."""
    if batch % mesh.shape[DATA]:
        raise Error(f"batch = {batch} must be a multiple of the {mesh.shape[DATA]} parts that devices split it into")
    held = NamedSharding(mesh, PartitionSpec(DATA)).addressable_devices_indices_map((batch,)).values()
    return np.unique(np.concatenate([np.arange(batch)[index] for index in held if index is not None]))


def spread(mesh: Mesh, rows: Any, batch: int) -> Any:
    """A tree of arrays with the rows that each process has, as one of arrays over all processes."""
    place = NamedSharding(mesh, PartitionSpec(DATA))
    if jax.process_count() == 1:
        return jax.device_put(rows, place)  # all at once: waking the runtime takes the longest
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(place, x, (batch, *x.shape[1:])), rows)
