"""The page of models: every architecture and every published checkpoint, from the library's own tables."""

from __future__ import annotations

from vitjax import variants
from vitjax.config import hw
from vitjax.weights import REPORTED


def page() -> str:
    """The page, as Markdown; filter.js puts a field above each table."""
    models, published = variants.list_models(), variants.list_pretrained()
    return "\n".join(
        [
            "# Models",
            "",
            f"{len(models)} architectures, {len(published)} checkpoints, one of each in the package; `vitjax list PATTERN` and "
            "`vitjax list PATTERN --pretrained` "
            "print the same. An architecture's name alone loads its first checkpoint, and preprocessing, labels and "
            "licence come with it.",
            "",
            "## Measured parity",
            "",
            "<!-- include: README.md#The models -->",
            "",
            "## Architectures",
            "",
            '<div class="filtered" markdown>',
            "",
            "| architecture | kind | image | parameters | checkpoints |",
            "|---|---|---:|---:|---:|",
            *(_architecture(name, published) for name in models),
            "",
            "</div>",
            "",
            "## Published checkpoints",
            "",
            "Top-1 is that of ImageNet-1k, in percent, as the publisher's card reports it; empty where none does.",
            "",
            '<div class="filtered" markdown>',
            "",
            "| checkpoint | image | parameters | top-1 | held to | licence |",
            "|---|---:|---:|---:|---|---|",
            *map(_checkpoint, published),
            "",
            "</div>",
            "",
        ]
    )


def _architecture(name: str, published: list[str]) -> str:
    spec = variants.spec(name)
    count = sum(variants.architecture_of(tag) == name for tag in published)
    return f"| `{name}` | {spec.config.kind} | {_image(spec)} | {_millions(spec)} | {count or ''} |"


def _checkpoint(name: str) -> str:
    spec = variants.spec(name)
    top1 = REPORTED.get(name, (None, None))[0]
    return (
        f"| `{name}` | {_image(spec)} | {_millions(spec)} | {'' if top1 is None else top1} | "
        f"{spec.source.reference} | {spec.source.licence} |"
    )


def _image(spec) -> str:
    height, width = hw(spec.preprocess.size)
    return f"{height}" if height == width else f"{height} x {width}"


def _millions(spec) -> str:
    return f"{variants.parameters(spec.config) / 1e6:,.1f} M"
