"""One picture of a training: its loss, its learning rate, and how good it was on what is held out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

LIGHT, DARK, MEAN, GREY = "#bdd2ea", "#1f4e8c", "#c8551b", "#666666"
POINTS = 20_000  # of a line: more are not seen
DRAWN = {"top1": "top-1", "image_to_text@1": "text of a picture, recall@1", "text_to_image@1": "picture of a text, recall@1"}


def draw(rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """The rows of metrics.jsonl as the bytes of a PNG."""
    from matplotlib.figure import Figure  # without pyplot: no window, no state

    steps = [row for row in rows if "kind" not in row]
    evaluations = [row for row in rows if row.get("kind") == "evaluation"]
    drawn = [name for name in _names(evaluations) if name.rpartition("/")[2] in DRAWN]
    heights = [3, 1, 2] if drawn else [3, 1]
    figure = Figure(figsize=(9, 1.35 * sum(heights) + 0.8), layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights})
    panels[0].set_title(title, loc="left", pad=12, fontweight="bold")
    for panel in panels:
        panel.grid(color="#e6e6e6", linewidth=0.8)
        panel.spines[["top", "right"]].set_visible(False)
        panel.tick_params(colors=GREY)
        panel.yaxis.label.set_color(GREY)
        panel.margins(x=0.01)
    _loss(panels[0], _column(steps, "step"), _column(steps, "loss"))
    panels[1].plot(_column(steps, "step"), _column(steps, "learning_rate"), color=DARK, linewidth=1.4)
    panels[1].set_ylabel("learning rate")
    panels[1].set_ylim(bottom=0)
    panels[1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    if drawn:
        _held_out(panels[2], evaluations, drawn)
    panels[-1].set_xlabel("step", color=GREY)
    panels[-1].xaxis.set_major_formatter("{x:,.0f}")
    figure.align_ylabels(panels)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=150)
    return file.getvalue()


def _loss(panel: Any, steps: Float[np.ndarray, " N"], losses: Float[np.ndarray, " N"]) -> None:
    every = max(1, len(steps) // POINTS)
    panel.plot(steps[::every], losses[::every], color=LIGHT, linewidth=0.7, label="of each step")
    panel.plot(steps[::every], smooth(losses)[::every], color=DARK, linewidth=1.8, label="smoothed")
    finite = losses[np.isfinite(losses)]
    if len(finite) and finite.min() > 0 and finite.max() > 20 * finite.min():
        panel.set_yscale("log")
    panel.set_ylabel("loss")
    panel.legend(frameon=False, loc="upper right", labelcolor=GREY)


def _held_out(panel: Any, evaluations: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    steps = _column(evaluations, "step")
    colours = [MEAN if name.startswith("ema/") else DARK for name in names]
    for name, colour in zip(names, colours, strict=True):
        values = 100 * _column(evaluations, name)
        back = name.endswith("text_to_image@1")  # the two ways of a CLIP have one colour, and a line each
        style = {"linestyle": "--" if back else "-", "linewidth": 1.6, "marker": "o", "markersize": 3.5 if len(steps) < 60 else 0}
        label = DRAWN[name.rpartition("/")[2]] + (", running mean" if name.startswith("ema/") else "")
        panel.plot(steps, values, color=colour, label=label, **style)
        if np.isfinite(values).any():
            best = int(np.nanargmax(values))
            panel.plot(steps[best], values[best], "o", color=colour, markersize=7, markerfacecolor="white", markeredgewidth=1.6)
            up, where = (7, "bottom") if colour == MEAN else (-8, "top")  # the two lines are near each other
            place = {"xytext": (-4, up), "textcoords": "offset points", "ha": "right", "va": where}
            panel.annotate(f"{values[best]:.2f} %", (steps[best], values[best]), color=colour, fontsize=9, **place)
    panel.set_ylabel("held out, %")
    panel.margins(y=0.2)
    panel.legend(frameon=False, loc="lower right", labelcolor=GREY)


def smooth(values: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """The mean over a window of a fiftieth of all around each value, of the window's part that there is; NaN counts nowhere."""
    radius = max(1, len(values) // 100)
    finite = np.isfinite(values)
    totals = [np.concatenate([[0.0], np.cumsum(part)]) for part in (np.where(finite, values, 0.0), finite)]
    right, left = (np.clip(np.arange(len(values)) + by, 0, len(values)) for by in (radius + 1, -radius))
    total, count = (part[right] - part[left] for part in totals)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> Float[np.ndarray, " N"]:
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], np.float64)


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
