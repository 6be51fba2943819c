"""What the device can do at best, measured: the rate of a large matrix product, and of copying memory."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .clock import Run, seconds

SIDE = {"cpu": 3072, "gpu": 8192, "tpu": 8192}  # of the square matrices
COPIED = {"cpu": 2**28, "gpu": 2**30, "tpu": 2**30}  # bytes


def product_work(side: int) -> int:
    return 2 * side**3


def jax_product(side: int, dtype: str) -> Run:
    """The product of two matrices, as the network's are asked for: float32 is float32 on a TPU and with TF32 too."""
    a, b = (jax.random.normal(jax.random.key(seed), (side, side), dtype) for seed in (0, 1))
    product = jax.jit(lambda a, b: jnp.dot(a, b, precision="highest"))

    def run(count: int) -> None:
        out = a
        for _ in range(count):
            out = product(a, b)
        out.block_until_ready()

    return run


def torch_product(side: int, dtype: str, device: str) -> Run:
    import torch

    a, b = (torch.randn(side, side, device=device).to(getattr(torch, dtype)) for _ in "ab")

    def run(count: int) -> None:
        for _ in range(count):
            a @ b
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def copies(platform: str, torch_device: str | None, least: float, rest: float) -> dict[str, float]:
    """Bytes per second, read and written: of JAX, and of torch if it has this device."""
    size = COPIED[platform]
    x = jnp.ones(size // 4, jnp.float32)
    # to the other end: a copy alone could be left out by the compiler
    copy = jax.jit(lambda x: -x)

    def ours(count: int) -> None:
        out = x
        for _ in range(count):
            out = copy(x)
        out.block_until_ready()

    found: dict[str, Any] = {}
    runs = {"jax": ours}
    if torch_device:
        import torch

        y = torch.ones(size // 4, device=torch_device)

        def theirs(count: int) -> None:
            for _ in range(count):
                torch.neg(y)
            if torch_device == "cuda":
                torch.cuda.synchronize()

        runs["torch"] = theirs
    for name, run in runs.items():
        run(1)
        found[name] = 2 * size / min(seconds(run, least, rest) for _ in range(3))
    return found
