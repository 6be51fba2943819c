"""The embedded model run by timm: `python -m tests.reference.make_digits` writes what `make demo` verifies against."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import timm

from tests.reference.make_timm import FIXTURES, run
from vitjax import cache, converters, hub, preprocess

FIXTURE = FIXTURES / "digits_by_timm.npz"
PICTURES = [cache.EMBEDDED / "digits" / f"{digit}.png" for digit in (3, 8)]


def make() -> dict[str, np.ndarray]:
    """Exported, opened by timm from its own config.json, and run stage by stage."""
    spec, params = hub.restore(hub.fetch("vit_pico_patch4_32.digits"))
    with tempfile.TemporaryDirectory() as folder:
        converters.export(spec, params, Path(folder) / "digits")
        model = timm.create_model(f"local-dir:{folder}/digits", pretrained=True).eval()
    images = preprocess.preprocess(PICTURES, spec.preprocess)
    return {"input": images} | {f"stage/{name}": stage for name, stage in run(model, images).items()}


if __name__ == "__main__":
    np.savez_compressed(FIXTURE, **make())
