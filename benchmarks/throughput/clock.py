"""Time: of one contestant, of several in turns, and how a best batch is found."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

Run = Callable[[int], object]  # so many times, and back when the device has done them all
GROWTH = 1.05  # a batch that is not faster than half of it by this is not worth its memory


def seconds(run: Run, least: float, rest: float) -> float:
    """Of one time, the mean of as many as take `least` seconds together; after a rest."""
    time.sleep(rest)  # torch's threads spin for 0.2 s after their work, on the cores of who comes next
    count = 1
    while True:
        start = time.perf_counter()
        run(count)
        took = time.perf_counter() - start
        if took >= least / 2:
            return took / count
        count = min(10 * count, math.ceil(count * least / max(took, 1e-6)))


def turns(runs: Mapping[str, Run], rounds: int, least: float, rest: float) -> dict[str, list[float]]:
    """name -> seconds in each round. One round before them, which is not counted."""
    for run in runs.values():
        run(1)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run, least, rest))
    return times


def best(rate: Callable[[int], float], first: int, last: int) -> tuple[int, str]:
    """The batch with the highest rate, by doubling, and why no larger one was tried. What `rate` raises ends the search."""
    found: dict[int, float] = {}
    batch, why = first, f"{last} is the last that is tried"
    while batch <= last:
        try:
            found[batch] = rate(batch)
        except (RuntimeError, MemoryError) as error:
            if not found:
                raise
            why = f"{batch}: {reason(error)}"
            break
        if batch > first and found[batch] < GROWTH * found[batch // 2]:
            why = f"{batch} is not faster"
            break
        batch *= 2
    return max(found, key=lambda batch: found[batch]), why


def reason(error: BaseException) -> str:
    """An error in a few words, for a row of a table."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    short = lines[0] if len(lines[0]) < 140 else lines[0][:140] + "..."
    memory = any(word in str(error) for word in ("RESOURCE_EXHAUSTED", "out of memory", "Out of memory", "can't allocate"))
    return f"out of memory: {short}" if memory else short
