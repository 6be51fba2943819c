"""What is in a file or folder of weights: its tensors, whose spelling it is in, and which networks it fits."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import asdict
from typing import Any

from . import checkpoint, converters, manifest
from .config import Error, Spec


def contents(src: str | os.PathLike, key: str | None = None) -> tuple[dict[str, Any], Spec | None]:
    """Facts about the weights at a path, ready for JSON, and the spec where the files say one. Checksums are compared."""
    if checkpoint.exists(src):
        spec: Spec | None = checkpoint.restore_spec(src)
        tensors = {name: (leaf.shape, leaf.dtype) for name, leaf in checkpoint.stored(src).items()}
        about: dict[str, Any] = {"format": "vitjax checkpoint folder", "dialect": "vitjax", "fits": []}
        about |= {"verified": manifest.verified(src)}
    else:
        bundle, known = converters.files.read(src, key), None
        converters.files.check(bundle)
        with contextlib.suppress(Error):
            known = converters.recognise(bundle)
        spec = known.read_settings(bundle) if known else None
        tensors = {name: (tuple(tensor.shape), str(tensor.dtype)) for name, tensor in bundle.tensors.items()}
        about = {"format": bundle.format, "key": bundle.key, "dialect": known.name if known else "none that vitjax knows"}
        about |= {"fits": converters.fitting(bundle, known) if known else []}
    about |= {"parameters": sum(math.prod(shape) for shape, _ in tensors.values()), "spec": asdict(spec) if spec else None}
    return about | {"tensors": {name: {"shape": shape, "dtype": dtype} for name, (shape, dtype) in tensors.items()}}, spec
