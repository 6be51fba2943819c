"""SIGTERM is how a machine is taken away, Ctrl-C how a user does it: either way the step is finished and the state saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
from jax.experimental import multihost_utils


class Stop:
    """Whether to stop after this step; the same answer in all processes."""

    def __init__(self) -> None:
        self.asked = False

    def after(self, step: int) -> bool:
        if jax.process_count() > 1:  # JAX agrees on a step that none has passed
            return multihost_utils.reached_preemption_sync_point(step)
        return self.asked


@contextmanager
def stopping() -> Iterator[Stop]:
    """While the block runs, a first SIGTERM or Ctrl-C is noted instead of obeyed; a second Ctrl-C is obeyed."""
    stop = Stop()

    def note(number: int, frame: Any) -> None:
        stop.asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    # Of several processes, JAX listens for SIGTERM; and only a main thread may listen for anything
    alone = jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
    kinds = [signal.SIGTERM, signal.SIGINT] if alone else []
    before = {kind: signal.signal(kind, note) for kind in kinds}
    try:
        yield stop
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
