"""timm's own numbers for the cases of tests/test_preprocess.py: `python -m tests.reference.make_preprocess` writes them."""

from pathlib import Path

import numpy as np
from PIL import Image
from timm.data import create_transform

from tests.test_preprocess import CASES, photograph
from vitjax.config import Preprocess, hw

FIXTURE = Path(__file__).parents[1] / "fixtures" / "preprocess.npz"
CROP_MODES = {"crop": "center", "squash": "squash", "border": "border"}


def transformed(image: Image.Image, how: Preprocess, normalize: bool) -> np.ndarray:
    """What timm makes of an RGB picture: uint8 (H, W, 3), or with `normalize` float32."""
    transform = create_transform(
        (3, *hw(how.size)),
        interpolation=how.resample,
        mean=how.mean,
        std=how.std,
        crop_pct=how.crop,
        crop_mode=CROP_MODES[how.fit],
        is_training=False,
        normalize=normalize,
    )
    return np.ascontiguousarray(transform(image).permute(1, 2, 0).numpy())


def make() -> dict[str, np.ndarray]:
    arrays = {}
    for case, (name, how) in CASES.items():
        with Image.open(photograph(name)) as file:
            image = file.convert("RGB")  # as timm/data/dataset.py opens it
        arrays[f"{case}/pixels"] = transformed(image, how, normalize=False)
        arrays[f"{case}/floats"] = transformed(image, how, normalize=True)
    return arrays


if __name__ == "__main__":
    np.savez_compressed(FIXTURE, **make())
