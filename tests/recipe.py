"""Weights by recipe: a key and a shape make an array, the same on every machine and in every library.

So a fixture of a network of full size holds names and shapes, not numbers. No value is 0 or 1, and activations neither
vanish nor explode, whatever the depth. The residual stream starts small, so that a wrong eps of a norm shows.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np


def uniform(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32 in (-1, 1), never 0. From the counter's bits alone: of those, unlike of its normals, NumPy promises to keep."""
    counter = np.random.Philox(key=int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little"))
    count = math.prod(shape)
    bits = counter.random_raw((count + 1) // 2).astype("<u8").view("<u4")[:count]
    odd = 2 * (bits >> 8).astype(np.int32) + 1 - 2**24
    return (odd.astype(np.float32) * np.float32(2**-24)).reshape(shape)


def weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter of a PyTorch network, by its name there."""
    noise = uniform(key, shape)
    match len(shape):
        case 1 if key.endswith((".weight", ".gamma")):  # a norm's scale, or a branch's
            return np.float32(1.5) + noise / 2
        case 2 | 4:  # a product: (out, in) or (out, in, height, width)
            return noise * np.float32(0.5 * math.sqrt(3 / math.prod(shape[1:])))
        case _:  # a bias, a token, positions
            return noise / 8
