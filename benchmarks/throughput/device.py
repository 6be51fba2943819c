"""The device, as a result describes it, and what it has room for."""

from __future__ import annotations

import datetime
import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax

from vitjax import hardware, variants
from vitjax.config import Config

from . import ceilings, theirs

GB = 1e9
LAST = {"cpu": 8, "gpu": 1024, "tpu": 1024}  # the largest batch that is tried
LEAST = {"cpu": 0.05, "gpu": 0.3, "tpu": 0.3}  # seconds that are measured at a time
REST = {"cpu": 0.3, "gpu": 0.0, "tpu": 0.0}


def backend() -> str:
    return {"cuda": "gpu", "rocm": "gpu"}.get(jax.default_backend(), jax.default_backend())


def facts(copies: bool) -> dict[str, Any]:
    """Of the machine, and when it was."""
    device = jax.devices()[0].device_kind
    if device == "cpu" and Path("/proc/cpuinfo").exists():
        names = [
            line.partition(": ")[2] for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
        ]
        special = sorted(hardware.instructions() & {"amx_bf16", "avx512_bf16", "avx512f", "avx2"})
        device = f"{len(names)} x {names[0]} ({', '.join(special)})" if names else device
    versions = {"Python": platform.python_version()}
    for name in ("vitjax", "jax", "torch", "timm", "open_clip_torch"):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    if os.environ.get("XLA_FLAGS"):
        versions["XLA_FLAGS"] = os.environ["XLA_FLAGS"]
    found: dict[str, Any] = {"device": device, "date": datetime.date.today().isoformat(), "versions": versions}
    if copies:
        where = None if theirs.missing("timm") else theirs.device(backend())
        rates = ceilings.copies(backend(), where, LEAST[backend()], REST[backend()])
        found["copies GB/s"] = {name: rate / GB for name, rate in rates.items()}
    return found


def fits(config: Config, what: str, both: bool) -> None:
    """MemoryError where parameters (in training gradients and moments too) have no room, before the system ends somebody."""
    needed = variants.parameters(config) * (16 if what == "train" else 4) * (1 + both)
    free = available()
    if free is not None and needed > 0.9 * free:
        raise MemoryError(f"out of memory: parameters take {needed / GB:.1f} GB, {free / GB:.1f} GB are free")


def available() -> float | None:
    """Free bytes of the device; None where nobody says."""
    if stats := jax.devices()[0].memory_stats():
        return stats["bytes_limit"] - stats["bytes_in_use"] if "bytes_limit" in stats else None
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)
