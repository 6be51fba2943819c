"""What came of a training, in words: the numbers of metrics.jsonl as rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from .evaluate import goodness


def results(rows: Sequence[Mapping[str, Any]], report: int) -> Iterable[tuple[str, str]]:
    """The loss, the metrics of the last evaluation, and after which step they were best."""
    losses = [np.nan if row["loss"] is None else row["loss"] for row in rows if "kind" not in row][-report:]
    if losses:
        yield "loss", f"{np.mean(losses):.4f}, the mean of the last {len(losses)} steps"
    evaluations = [row for row in rows if row.get("kind") == "evaluation"]
    last = evaluations[-1] if evaluations else {}
    for name in last:
        if name not in ("step", "kind") and not name.startswith("ema/"):
            mean = f", of the running mean {worded(name, last[f'ema/{name}'])}" if f"ema/{name}" in last else ""
            yield f"held out, {name}", worded(name, last[name]) + mean
    if evaluations:
        metrics = [{k: -1.0 if v is None else float(v) for k, v in row.items() if k != "kind"} for row in evaluations]
        yield "best step", f"{max(metrics, key=goodness)['step']:,.0f}"


def worded(name: str, value: int | float | None) -> str:
    """A metric as one reads it: shares in percent."""
    name = name.rpartition("/")[2]
    if value is None:
        return "not finite"
    return f"{value:,.0f}" if name == "count" else f"{value:.4f}" if name in ("loss", "calibration") else f"{value:.2%}"


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns in Markdown, below each other as text, too."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head = [("", ""), ("-" * widths[0], "-" * widths[1])]
    return "".join(f"| {key:{widths[0]}} | {value:{widths[1]}} |\n" for key, value in [*head, *rows])


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))
