"""A job in a process of its own: all its memory is given back, and what ends it ends nothing else."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

from .measure import Job, Row, measure

GRACE = 30  # seconds that a process has beyond its share


def apart(job: Job) -> Iterator[Row]:
    """The rows of a job, measured in a process of its own. If that ends early, or never, the last row says so."""
    about: Row = {"model": job.model, "dtype": job.dtype, "what": job.what, "batch": None}
    if time.time() >= job.until:
        yield about | {"error": "left out: the time is over"}
        return
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(job, there))
    process.start()
    there.close()
    try:
        while here.poll(max(0.0, job.until + GRACE - time.time())):
            yield here.recv()
        yield about | {"error": "ended: it took longer than its share of the time"}
    except EOFError:  # there is no more
        process.join()
        if process.exitcode:
            why = "killed, perhaps out of memory" if process.exitcode == -signal.SIGKILL else f"ended with {process.exitcode}"
            yield about | {"error": f"the process was {why}"}
    finally:
        process.kill()
        process.join()


def work(job: Job, there: Connection) -> None:
    """In the other process."""
    for row in measure(job):
        there.send(row)
