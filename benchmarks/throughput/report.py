"""What was found as a Markdown table and as a picture of bars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .measure import COMPILED, EAGER, OURS, UNFUSED, Row

HEAD = (
    *("model", "dtype", "", "batch", "vitjax /s", "theirs /s", "ours / theirs", "not fused", "compiled"),
    *("TFLOP/s", "of JAX's product", "of peak", "memory GB", "first call s", "from cache s", "cosine"),
)


def table(found: Row) -> str:
    """The rows, and under them the ceilings and what failed."""
    facts, notes = found["facts"], []
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for row in found["rows"]:
        if "error" in row:
            notes.append(f"{_title(row)}: {row['error']}")
            continue
        ratios = row["ours / theirs"]
        cells = [row["model"], row["dtype"], row["what"], row["batch"], row["per second"][OURS], row["per second"].get(EAGER)]
        cells += [ratios.get(name) for name in (EAGER, UNFUSED, COMPILED)]
        cells += [row["TFLOP/s"][OURS], row["of jax product"], row.get("of peak"), row.get("memory GB")]
        cells += [row["first call s"], row["from the cache s"], row.get("cosine")]
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
        notes += [f"{_title(row)}, {name}: {why}" for name, why in row.get("failed", {}).items()]
        if "not compared" in row:
            notes.append(f"ours beside theirs: {row['not compared']}")
    about = ", ".join(f"{key} {value}" for key, value in facts.get("versions", {}).items())
    ceilings = [f"{name} copies: {rate:.3g} GB/s" for name, rate in facts.get("copies GB/s", {}).items()]
    products: dict[str, Any] = {}
    for row in found["rows"]:
        for name, rate in row.get("TFLOP/s", {}).items():
            if name.endswith("product"):
                products.setdefault(f"{name} {row['dtype']}", []).append(rate)
    ceilings += [f"{name}: {min(rates):.3g} to {max(rates):.3g} TFLOP/s" for name, rates in products.items()]
    text = f"{facts.get('device', 'nowhere')}, {facts.get('date', '')}: {about}\n\n" + "\n".join(lines) + "\n"
    for title, items in {"Ceilings, in the same run": ceilings, "What there is no number of": notes}.items():
        text += f"\n{title}:\n\n" + "\n".join(f"- {item}" for item in dict.fromkeys(items)) + "\n" if items else ""
    return text


def _title(row: Row) -> str:
    at = "" if row.get("batch") is None else f", batch {row['batch']}"
    return f"{row['model']}, {row['dtype']}, {row['what']}{at}"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
    return "" if value is None else str(value)


def picture(found: Row, file: Path) -> bool:
    """Bars: everybody's rate, theirs as it comes being 1. False: there is nothing to draw."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in found["rows"] if row.get("ours / theirs", {}).get(EAGER)]
    if not rows:
        return False
    names = [name for name in (EAGER, UNFUSED, COMPILED, OURS) if any(name in row["per second"] for row in rows)]
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.55 * len(rows)), layout="constrained")
    height = 0.8 / len(names)
    for place, name in enumerate(names):
        rates = [row["per second"].get(name, 0.0) / row["per second"][EAGER] for row in rows]
        bars = axes.barh([y + place * height for y in range(len(rows))], rates, height, label=name)
        axes.bar_label(bars, [f"{rate:.2f}" if rate else "" for rate in rates], fontsize=7, padding=2)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks([y + 0.4 - height / 2 for y in range(len(rows))], [_title(row) for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("images (texts) per second, timm's (open_clip's) eager being 1")
    axes.set_title(found["facts"]["device"])
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
    return True
