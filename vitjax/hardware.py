"""What a device is: how fast it could multiply at best, and whether bfloat16 is slow on it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import jax

# Dense bf16 products, float32 sums, in TFLOP/s of what JAX calls one device: up to v3, and of TPU7x, half a chip. From Google's
# pages of each TPU version and NVIDIA's data sheets (the numbers there "with sparsity" are twice these). Cards that share a
# name with a slower sibling come first.
PEAK = {
    "TPU v2": 22.5,
    "TPU v3": 61.5,
    "TPU v4": 275,
    "TPU v5 lite": 197,
    "TPU v5e": 197,
    "TPU v5": 459,
    "TPU v5p": 459,
    "TPU v6 lite": 918,
    "TPU v6e": 918,
    "TPU7x": 1153.5,
    "NVIDIA GB200": 2500,
    "NVIDIA B200": 2250,
    "NVIDIA GH200": 989.4,
    "NVIDIA H200 NVL": 835.5,
    "NVIDIA H200": 989.4,
    "NVIDIA H100 PCIe": 756,
    "NVIDIA H100 NVL": 835.5,
    "NVIDIA H100": 989.4,
    "NVIDIA A100": 312,
    "NVIDIA A10G": 70,
    "NVIDIA A10": 125,
    "NVIDIA L40S": 362,
    "NVIDIA L40": 181,
    "NVIDIA L4": 121,
    "NVIDIA RTX 6000 Ada": 364,
    "NVIDIA GeForce RTX 4090": 165.2,
    "NVIDIA GeForce RTX 3090": 71,
}


def peak(device_kind: str) -> float | None:
    """The bf16 FLOP/s of a device by `jax.devices()[0].device_kind`; None of one that is not in the table, as of any CPU."""
    for name, teraflops in PEAK.items():
        # "NVIDIA H100 80GB HBM3" and "NVIDIA A100-SXM4-40GB" go on after the name; of TPUs and of GeForce cards it is all.
        goes_on = name.startswith("NVIDIA") and "GeForce" not in name and re.match(f"{name}[ -]", device_kind)
        if device_kind == name or goes_on:
            return teraflops * 1e12
    return None


@cache
def instructions() -> frozenset[str]:
    """What this machine's CPU has beyond the basics, in Linux's words ("avx512f", "amx_bf16"); empty where nobody says."""
    try:
        found = re.search(r"^flags\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return frozenset()
    return frozenset(found[1].split()) if found else frozenset()


def slow_bfloat16() -> str | None:
    """Why bfloat16 would be slower than float32 where JAX computes on this machine, and what to do; None where it would not."""
    if jax.default_backend() != "cpu":
        return None
    if jax.__version_info__ < (0, 12):
        return (
            f"JAX {jax.__version__} turns it into float32 on a CPU, every kernel in every call: "
            "use float32, or JAX 0.12 or newer (Python 3.12 or newer)"
        )
    if instructions() and not instructions() & {"avx512_bf16", "amx_bf16", "avx10_1"}:
        return "this CPU has no bfloat16 products (AVX512-BF16 or AMX): use float32"
    return None
