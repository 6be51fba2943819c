"""A batch as the host has it, and the count of pictures that could not be read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...config import Error

LIMIT = 0.01  # of all pictures may be unreadable
SHOWN = 10  # of them in an error


class Batch(NamedTuple):
    """The rows of a batch that a process has."""

    image: np.ndarray  # (b, H, W, 3) uint8
    label: np.ndarray  # (b,) int32
    text: np.ndarray | None  # (b, context) int32
    weight: np.ndarray  # (b,) float32: 0 for what only fills the batch, in evaluation
    bad: tuple[str, ...]  # pictures that could not be read


@dataclass
class Damage:
    """Which pictures could not be read, of how many; more than one in a hundred stop the run.

    Of few, some more may be so by chance: the limit is exact once `pictures` have been seen, and before that leaves room for
    three standard deviations, and one.
    """

    pictures: int = 0  # how many different ones there are; 0: not known
    seen: int = 0
    names: dict[str, None] = field(default_factory=dict)  # a set that keeps its order

    def add(self, batch: Batch) -> None:
        """Count a batch; Error if there are too many unreadable pictures by now."""
        self.seen += len(batch.label)
        self.names |= dict.fromkeys(batch.bad)
        all_seen = 0 < self.pictures <= self.seen
        seen = self.pictures if all_seen else self.seen
        allowed = LIMIT * seen
        if len(self.names) > (allowed if all_seen else allowed + 3 * math.sqrt(allowed) + 1):
            first = ", ".join(list(self.names)[:SHOWN])
            raise Error(
                f"{len(self.names)} pictures of {seen} cannot be read, more than {LIMIT:.0%}: {first}; "
                "fetch them again, or leave them out"
            )

    def noted(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {"pictures": self.pictures, "seen": self.seen, "names": list(self.names)}

    @classmethod
    def restored(cls, noted: dict[str, Any]) -> Damage:
        """What `noted` gave."""
        return cls(noted["pictures"], noted["seen"], dict.fromkeys(noted["names"]))
