"""How fast a device could multiply at best: what the share of it that is reached, MFU, is measured against."""

from __future__ import annotations

import re

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
