"""What one sees of a training: a bar or lines, metrics.jsonl, TensorBoard, and in the end a curve and a table."""

from __future__ import annotations

import importlib.util
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from ..config import Error
from .recipe import Recipe
from .record import Record, read
from .results import clock, results, table, worded

CURVE, SUMMARY, TENSORBOARD = "curve.png", "summary.md", "tensorboard"
Numbers = Sequence[Any] | np.ndarray  # of each step one: floats, or scalars of NumPy or JAX


class Journal:
    """Of one process of a training, the first; the others have none. Closed by `with`, finished by `close`.

    folder: OUT.training.
    steps: how many there are in all; resumed: how many of them an earlier process did.
    flops_per_image: of a step, forwards and backwards; peak: FLOP/s of all devices together, if it is known.
    """

    def __init__(
        self,
        folder: epath.PathLike,
        recipe: Recipe,
        steps: int,
        flops_per_image: float,
        peak: float | None,
        resumed: int = 0,
        quiet: bool = False,
    ) -> None:
        self.folder, self.recipe, self.steps, self.resumed, self.quiet = epath.Path(folder), recipe, steps, resumed, quiet
        self.share_of_peak = flops_per_image / peak if peak else None  # by images/s it is MFU
        self.folder.mkdir(parents=True, exist_ok=True)
        self.board = _board(self.folder, resumed)
        try:
            self.record = Record(self.folder, resumed)
        except Error:
            self.board.close()
            raise
        self.bar = None if quiet else _bar(steps, resumed)
        self.begun = self.since = time.monotonic()
        self.lately, self.overall, self.compiled = Pace(), Pace(), False

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self.record.close()
        self.board.close()
        if self.bar is not None:
            self.bar.close()

    def steps_done(self, first: int, losses: Numbers, **more: Numbers) -> None:
        """The losses of steps `first`, `first` + 1, ..., which are done, and under their names other numbers of theirs.

        All of a training's time is between two calls, or between `evaluated` and a call. That before the first one compiles.
        """
        columns = {"loss": losses, **more}
        rows = [{"step": first + i, **{name: _number(values[i]) for name, values in columns.items()}} for i in range(len(losses))]
        self.record.add(rows)
        for row in rows:
            for name in columns:
                self._draw(f"train/{name}", row[name], row["step"])
        now = time.monotonic()
        for pace in (self.lately, self.overall) if self.compiled else ():
            pace.add(len(rows), now - self.since)
        self.since, self.compiled = now, True
        if self.bar is not None:
            self.bar.update(len(rows))
        last, report = rows[-1]["step"], self.recipe.report
        if last // report > (first - 1) // report or last == self.steps:
            self._report(last, rows[-1]["loss"])

    def _report(self, step: int, loss: float) -> None:
        words = [f"loss {loss:.4f}", *self._speed(self.lately)]
        if self.lately.steps:
            words.append(f"{clock((self.steps - step) * self.lately.seconds / self.lately.steps)} left")
            for name, value in self._speeds(self.lately).items():
                self._draw(f"speed/{name.replace(' ', '_')}", value, step)
        if (
            not self.record.remote
        ):  # where nothing can be added to a file, TensorBoard's is written whole: a thread does, at times
            self.board.flush()
        self.lately = Pace()
        if self.bar is not None:
            self.bar.set_postfix_str("  ".join(words))
        else:
            self._say(f"step {step:{len(str(self.steps))}}/{self.steps}  {'  '.join(words)}")

    def evaluated(self, step: int, metrics: Mapping[str, int | float]) -> None:
        """What is held out was looked at after `step`, whose numbers were given before: "top1", "ema/top1", ...

        The time since `steps_done` was the evaluation's.
        """
        self.record.add([{"step": step, "kind": "evaluation", **{name: _number(value) for name, value in metrics.items()}}])
        for name, value in metrics.items():
            self._draw(f"held_out/{name}", _number(value), step)
        shown = [f"{name} {worded(name, value)}" for name, value in metrics.items() if name.rpartition("/")[2] != "count"]
        self._say(f"step {step:{len(str(self.steps))}}/{self.steps}  held out: {'  '.join(shown)}")
        self.since = time.monotonic()

    def bad_pictures(self, step: int, names: Sequence[str]) -> None:
        """Pictures that could not be read, up to `step`, and were left out."""
        self.record.add([{"step": step, "kind": "bad pictures", "names": list(names)}])
        self._say(f"step {step}: left out, for they cannot be read: {', '.join(names)}")

    def flush(self) -> None:
        """All that was told is in the folder. Before each save: a training that goes on from there has all lines up to it."""
        self.record.flush()
        self.board.flush()

    def close(self, step: int, finished: bool = True, **facts: str) -> None:
        """After the last step of this process: the curve, and the table, which is printed, too. facts: other rows of it."""
        self.flush()
        if self.bar is not None:
            self.bar.close()
        rows = read(self.folder)
        from .curve import draw  # here: matplotlib takes its time

        (self.folder / CURVE).write_bytes(draw(rows, f"{self.recipe.model} on {self.recipe.data}"))
        text = table([*self._facts(step, finished), *facts.items(), *results(rows, self.recipe.report)])
        (self.folder / SUMMARY).write_text(f"# {self.recipe.out}\n\n{text}")
        if not self.quiet:
            print(text, end="", flush=True)

    def _facts(self, step: int, finished: bool) -> Iterable[tuple[str, str]]:
        recipe, seconds = self.recipe, time.monotonic() - self.begun
        yield "trained", f"{recipe.model} on {recipe.data}"
        yield "result", recipe.out if finished else "none yet: run the same command again to go on"
        went_on = f", of which {self.resumed:,} were done before" if self.resumed else ""
        yield "steps", f"{step:,} of {self.steps:,}{went_on}; {recipe.batch:,} pictures each"
        yield "time", f"{clock(seconds)}, of which {clock(self.overall.seconds)} in steps"
        if self.overall.steps:
            yield "speed", ", ".join(self._speed(self.overall))

    def _speeds(self, pace: Pace) -> dict[str, float]:
        if not pace.steps:
            return {}
        speed = pace.steps * self.recipe.batch / max(pace.seconds, 1e-9)
        return {"images per second": speed, **({"MFU": speed * self.share_of_peak} if self.share_of_peak else {})}

    def _speed(self, pace: Pace) -> list[str]:
        return [f"MFU {v:.1%}" if name == "MFU" else f"{v:,.{int(v < 10)}f} images/s" for name, v in self._speeds(pace).items()]

    def _draw(self, tag: str, value: int | float, step: int) -> None:
        """A point in TensorBoard, which warns of each that is not finite."""
        if math.isfinite(value):
            self.board.add_scalar(tag, value, step)

    def _say(self, line: str) -> None:
        if self.bar is not None:
            self.bar.write(line, file=sys.stderr)
        elif not self.quiet:
            print(line, file=sys.stderr, flush=True)


class Pace:
    """Steps, and how long they took."""

    def __init__(self) -> None:
        self.steps, self.seconds = 0, 0.0

    def add(self, steps: int, seconds: float) -> None:
        self.steps, self.seconds = self.steps + steps, self.seconds + seconds


def _number(value: Any) -> int | float:
    """A number of Python's; a scalar of NumPy or JAX, whose value it exactly is, or one already."""
    return value.item() if hasattr(value, "item") else value


def _board(folder: epath.Path, resumed: int) -> Any:
    """TensorBoard's writer. Asked for with matplotlib before the first step: it would be late to miss them after the last."""
    if importlib.util.find_spec("matplotlib") is None:
        raise Error("a training ends with a curve, and there is no matplotlib: pip install 'vitjax[train]'")
    try:
        from tensorboardX import SummaryWriter

        # What is there of later steps is of a process that was killed after its last save.
        return SummaryWriter(str(folder / TENSORBOARD), purge_step=resumed + 1)
    except ImportError as error:  # of itself, or for gs:// of google-cloud-storage
        needs = "google-cloud-storage" if "google" in str(error) else "'vitjax[train]'"
        raise Error(f"a training is recorded for TensorBoard, and {error}: pip install {needs}") from error


def _bar(steps: int, done: int) -> Any:
    """A bar on stderr where that is a terminal; None elsewhere."""
    if not sys.stderr.isatty():
        return None
    from tqdm import tqdm

    return tqdm(total=steps, initial=done, bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {elapsed}{postfix}")
