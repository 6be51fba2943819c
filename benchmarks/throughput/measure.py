"""One network in one dtype, at inference or in training: the rows of the table that are about it."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.compilation_cache import compilation_cache

from vitjax import flops, hardware, variants
from vitjax.model import Model
from vitjax.verify import FULL

from . import ceilings, clock, device, ours, theirs
from .clock import Run, reason

OURS, EAGER, UNFUSED, COMPILED = "vitjax", "eager", theirs.PLAIN, "torch.compile"
PRODUCTS = "jax product", "torch product"

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """What one process measures. `until`: the time at which it should have ended."""

    model: str
    dtype: str
    what: str  # "inference" or "train"
    batches: tuple[int, ...] = ()  # none: 1, and the best
    rounds: int = 5
    until: float = float("inf")
    side: int = 0  # of the matrices whose product is the ceiling; 0: as large as the device wants
    beside: tuple[str, ...] = (EAGER, UNFUSED, COMPILED)
    copies: bool = False  # whether to measure those, too


@dataclass
class Bench:
    """A job on this device: the networks with the same weights, and what they are measured against."""

    job: Job
    platform: str
    where: str | None  # torch's device, if it can be compared with
    network: ours.Network
    other: Any = None
    facts: Row = field(default_factory=dict)  # what is true of every row

    def runs(self, batch: int) -> dict[str, Callable[[], Run]]:
        """Who takes turns, and how each is made."""
        job, network = self.job, self.network
        if job.what == "train":
            assert isinstance(network, Model)
            found: dict[str, Callable[[], Run]] = {OURS: lambda: ours.Training(network, job.dtype, batch)}
        else:
            found = {OURS: lambda: ours.inference(network, batch)}
        if self.where is None:
            return found
        other, x = self.other, theirs.given(ours.inputs(network, batch), self.where, self._fed)
        if job.what == "train":
            found[EAGER] = lambda: theirs.training(other, x, network.config.classes, job.dtype)
            if self.platform != "cpu":
                found[COMPILED] = lambda: theirs.training(theirs.compiled(other), x, network.config.classes, job.dtype)
            return found
        found[EAGER] = lambda: theirs.inference(other, x)
        if theirs.fuse(other, True):
            found[UNFUSED] = lambda: theirs.inference(other, x, fused=False)
        return found | {COMPILED: lambda: theirs.inference(theirs.compiled(other), x)}

    @property
    def _fed(self) -> str:
        return "float32" if self.job.what == "train" else self.job.dtype


def measure(job: Job) -> Iterator[Row]:
    """The rows of a job, each as soon as it is known; what fails is a row with an `error`."""
    about = {"model": job.model, "dtype": job.dtype, "what": job.what}
    yield {"facts": device.facts(job.copies)}
    if job.what == "train" and job.model.endswith(ours.TEXT):
        yield about | {"batch": None, "error": "texts are not trained by themselves"}
        return
    with empty_cache():
        try:
            bench = prepare(job)
            for batch, why in batches(bench):
                yield about | {"batch": batch, "chosen": why} | bench.facts | at(bench, batch)
        except Exception as error:
            yield about | {"batch": None, "error": reason(error)}


def cached() -> Path:
    return Path(getattr(jax.config, "jax_compilation_cache_dir"))  # noqa: B009  (type checkers do not know it)


@contextmanager
def empty_cache() -> Iterator[None]:
    """JAX keeps all that it compiles in a folder of ours, and then as before."""
    with tempfile.TemporaryDirectory() as folder:
        names: dict[str, Any] = {"jax_compilation_cache_dir": folder, "jax_persistent_cache_min_entry_size_bytes": -1}
        names["jax_persistent_cache_min_compile_time_secs"] = 0
        before = {name: getattr(jax.config, name) for name in names}
        try:
            for name, value in names.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
            yield
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()


def prepare(job: Job) -> Bench:
    """The networks in the job's dtype, outputs compared."""
    kind, absent = device.backend(), theirs.missing("open_clip" if job.model.endswith(ours.TEXT) else "timm")
    where = None if absent else theirs.device(kind)
    config = variants.spec(job.model.removesuffix(ours.TEXT)).config
    device.fits(config, job.what, both=where is not None)
    other: Any = None
    note = absent or ("" if where else f"torch has no {kind}")
    with tempfile.TemporaryDirectory() as folder:
        if where:
            other = theirs.create(job.model, Path(folder))
            network: Any = ours.load(job.model, folder)
        else:
            network = ours.create(job.model)
    facts: Row = {"not compared": note} if note else {}
    x = ours.inputs(network, 2)
    exact = ours.features(network, x)
    if where:
        other = other.to(where)
        first, second = np.asarray(network(x)), theirs.outputs(other, theirs.given(x, where, "float32"))
        facts["max|Δ| / scale"] = difference = float(np.abs(first - second).max() / np.abs(second).max())
        assert difference < FULL, f"outputs in float32 differ by {difference:.1e} of their scale, {FULL:g} is allowed"
    if job.dtype != "float32" and job.what == "inference":
        network = ours.cast(network, job.dtype)
        facts["cosine"] = cosine(exact, ours.features(network, x))
        if where:
            other = other.to(getattr(__import__("torch"), job.dtype))
            facts["their cosine"] = cosine(exact, theirs.features(other, theirs.given(x, where, job.dtype)))
    if where and job.what == "train":
        other.train()
    return Bench(job, kind, where, network, other, facts)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of the two directions of a row, the smallest of all rows."""
    return float(((a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)).min())


def batches(bench: Bench) -> Iterator[tuple[int, str]]:
    """1 and the best batch, of ours and of theirs; or those that were asked for."""
    job = bench.job
    if job.batches:
        yield from ((batch, "asked for") for batch in job.batches)
        return
    yield 1, "one at a time"
    first, last = (2, device.LAST["cpu"]) if bench.platform == "cpu" else (16, device.LAST[bench.platform])
    found: dict[int, str] = {}
    for name in [name for name in bench.runs(1) if name in {OURS, EAGER} & {OURS, *job.beside}]:

        def rate(batch: int, name: str = name) -> float:
            if time.time() > job.until:
                raise RuntimeError("the time is over")
            run = bench.runs(batch)[name]()
            run(1)
            return batch / clock.seconds(run, device.LEAST[bench.platform], device.REST[bench.platform])

        batch, why = clock.best(rate, first, last)
        found[batch] = " and ".join(filter(None, [found.get(batch, ""), f"the best of {name} ({why})"]))
    yield from found.items()


def at(bench: Bench, batch: int) -> Row:
    """A row: everybody in turns at one batch."""
    job, row, runs = bench.job, {}, {}
    jax.clear_caches()
    for file in cached().iterdir():  # the search may have come here before
        file.unlink()
    failed: dict[str, str] = {}
    for name, make in bench.runs(batch).items():
        if name not in (OURS, *job.beside):
            continue
        if name == COMPILED and time.time() > job.until:
            failed[name] = "left out: the time is over"
            continue
        try:
            theirs_memory = theirs.most_memory(bench.where, begin=True) if name == EAGER else None
            run = make()
            start = time.perf_counter()
            run(1)
            first = time.perf_counter() - start
            runs[name] = run
            if name == OURS:
                jax.clear_caches()
                runs[name] = run = make()  # a training has gone on, and where its state is may be said in other words
                start = time.perf_counter()
                run(1)
                row |= {"first call s": first, "from the cache s": time.perf_counter() - start}
            elif name == COMPILED:
                row["torch.compile s"] = first
            elif name == EAGER and theirs_memory is not None:
                row["their memory GB"] = (theirs.most_memory(bench.where) or 0) / device.GB
        except Exception as error:
            failed[name] = reason(error)
    if OURS not in runs:
        return {"error": failed[OURS]}
    if (size := ours.memory(program(bench, runs[OURS], batch))) is not None:
        row["memory GB"] = size / device.GB
    side = job.side or ceilings.SIDE[bench.platform]
    runs[PRODUCTS[0]] = ceilings.jax_product(side, job.dtype)
    if bench.where:
        runs[PRODUCTS[1]] = ceilings.torch_product(side, job.dtype, bench.where)
    times = clock.turns(runs, job.rounds, device.LEAST[bench.platform], device.REST[bench.platform])
    return row | shares(bench, batch, side, times) | ({"failed": failed} if failed else {})


def program(bench: Bench, run: Run, batch: int) -> Any:
    """The compiled program of ours, which says what memory it takes."""
    return run.program() if isinstance(run, ours.Training) else ours.inference_program(bench.network, batch)


def shares(bench: Bench, batch: int, side: int, times: dict[str, list[float]]) -> Row:
    """Rates, and ratios within the rounds."""
    work = batch * flops.forward(bench.network.config) * (3 if bench.job.what == "train" else 1)
    product, mine = ceilings.product_work(side), times[OURS]
    median = {name: statistics.median(each) for name, each in times.items()}
    row: Row = {
        "per second": {name: batch / seconds for name, seconds in median.items() if name not in PRODUCTS},
        "ours / theirs": {n: ratio(each, mine) for n, each in times.items() if n not in (OURS, *PRODUCTS)},
        "TFLOP/s": {n: (product if n in PRODUCTS else work) / seconds / 1e12 for n, seconds in median.items()},
        "of jax product": work / product * ratio(times[PRODUCTS[0]], mine),
        "seconds": times,
    }
    if PRODUCTS[1] in times:
        row["of torch product"] = work / product * ratio(times[PRODUCTS[1]], mine)
    if bench.job.dtype == "bfloat16" and (peak := hardware.peak(jax.devices()[0].device_kind)):
        row["of peak"] = work / median[OURS] / peak
    return row


def ratio(a: list[float], b: list[float]) -> float:
    return statistics.median(x / y for x, y in zip(a, b, strict=True))
