"""A tensor that is still bytes in a file: what every reader here hands out, and nobody reads before it is needed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from vitjax.config import Error

Shape = tuple[int, ...]

TENSOR_LIMIT, RANK_LIMIT, NAME_LIMIT = 100_000, 8, 1000


@runtime_checkable
class Tensor(Protocol):
    """An array that may still be on disk: `numpy.asarray` reads it."""

    @property
    def shape(self) -> Shape: ...
    @property
    def dtype(self) -> np.dtype: ...
    def __array__(self, dtype=None, copy=None) -> np.ndarray: ...


Flat = Mapping[str, Tensor]  # path -> array


@dataclass(frozen=True)
class Stored:
    """A tensor that is still bytes in a file."""

    path: Path
    offset: int  # of its first element, in bytes
    dtype: np.dtype
    shape: Shape

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        count = math.prod(self.shape)
        data = np.fromfile(self.path, self.dtype, count, offset=self.offset)
        if data.size != count:
            raise Error(f"{self.path} became shorter while it was read")
        return data.reshape(self.shape) if dtype is None else data.reshape(self.shape).astype(dtype)
