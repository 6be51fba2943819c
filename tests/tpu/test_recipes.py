"""Every recipe in the package, compiled by the TPU compiler for a slice that can train it. `make plan`; it needs no TPU."""

import math
import subprocess
import sys

import jax
import pytest

from vitjax import mesh
from vitjax.model import shapes
from vitjax.train import compiled, recipe, slices
from vitjax.train.compiled import Fits

SLICES = {  # recipe -> where it fits, and with what of it changed
    "augreg_vit_b16_384": ("v5e-16", ["remat=dots"]),
    "clip_contrastive": ("v5e-256", []),
    "digits": ("v5e-1", []),
    "eva02_large_448": ("v5p-128", []),
    "eva_giant_clip_in1k": ("v5p-128", []),
    "ft_clip_b16": ("v5e-64", ["remat=dots"]),
    "ft_clip_l14": ("v5e-64", ["remat=blocks"]),
    "linear_probe": ("v5e-64", []),
    "lora": ("v5e-16", ["remat=dots"]),
}


@pytest.mark.parametrize("name", SLICES)
def test_a_recipe_fits(name):
    """And what chips send each other is parameters and their gradients, whatever the batch."""
    where, changes = SLICES[name]
    what = recipe.read(name, changes)
    spec, _ = compiled.described(what)
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies its own step count by floats
        found = compiled.step(what, spec, mesh.make(what.tensor, slices.devices(where)))
    assert isinstance(found, Fits), found
    assert found.memory < slices.chip(where).memory and found.work.cycles > 0
    # Each is gathered forwards and backwards, in bfloat16, as a sum that goes round twice where its pieces are not whole tiles;
    # its gradient is such a sum. Of a CLIP, features and their gradients go round besides, in float32.
    parameters = sum(math.prod(shape) for shape in shapes(spec.config).values())
    features = what.batch * spec.config.classes if what.loss == "contrastive" else 0
    assert sum(found.work.sent.values()) < (4 + 4 + 4) * parameters * what.accumulate + 8 * 4 * features


def test_the_command():
    """In an environment that says nothing of TPUs, and where jax is imported before."""
    line = [sys.executable, "-m", "vitjax.train", "digits", "remat=blocks", "--plan", "v5e-4"]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("remat=") >= 3 and "of 16" in done.stdout and "v5e-4: fits" in done.stdout
