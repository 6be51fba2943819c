"""`vitjax list`: what there is to load, without JAX. Accuracies are ImageNet-1k's in percent, where a publisher reports them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from . import variants
from .config import Error, hw
from .terminal import table
from .weights import REPORTED


def show(args: argparse.Namespace) -> None:
    """Print the architectures or published weights whose name matches."""
    rows = list(_rows(args.pattern, args.pretrained))
    if not rows:
        what = "published weights" if args.pretrained else "architecture"
        raise Error(f"no {what} matches {args.pattern!r}: try a part of a name")
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        row |= {"image": "{} x {}".format(*row["image"]), "parameters": f"{row['parameters'] / 1e6:.1f} M"}
    table([list(rows[0]), *(["" if value is None else str(value) for value in row.values()] for row in rows)])


def _rows(pattern: str, pretrained: bool) -> Iterator[dict[str, Any]]:
    for name in variants.list_pretrained(pattern) if pretrained else variants.list_models(pattern):
        spec = variants.spec(name)
        row = {
            "name": name,
            "kind": spec.config.kind,
            "image": hw(spec.preprocess.size),
            "parameters": variants.parameters(spec.config),
            "classes": spec.config.classes,
        }
        if pretrained:
            top1, top5 = REPORTED.get(name, (None, None))
            yield row | {
                "top-1": top1,
                "top-5": top5,
                "origin": spec.source.origin or "in the package",
                "licence": spec.source.licence,
            }
        else:
            yield row | {"weights": sum(key.startswith(f"{name}.") for key in variants.WEIGHTS)}
