"""Where bfloat16 is slow, and that it is said."""

import shutil
from pathlib import Path

import jax
import pytest

from vitjax import hardware

MODEL = "vit_pico_patch4_32.digits"
SAYS = {
    # platform, JAX, instructions: a word of the reason
    ("gpu", (0, 10, 2), "avx2"): None,
    ("cpu", (0, 10, 2), "avx2 amx_bf16"): "JAX 0.12 or newer",
    ("cpu", (0, 12, 0), "avx2 avx512f"): "no bfloat16 products",
    ("cpu", (0, 12, 0), "avx2 avx512_bf16"): None,
    ("cpu", (0, 12, 0), "amx_bf16"): None,
    ("cpu", (0, 12, 0), ""): None,  # a system that does not say what it has
}


@pytest.mark.parametrize(("platform", "version", "has"), SAYS)
def test_slow_bfloat16(platform, version, has, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    monkeypatch.setattr(jax, "__version_info__", version)
    monkeypatch.setattr(hardware, "instructions", lambda: frozenset(has.split()))
    why, word = hardware.slow_bfloat16(), SAYS[platform, version, has]
    assert word in why if word else why is None


@pytest.mark.parametrize("why", ["it is slow", None])
def test_inspect_says_it(why, run, monkeypatch):
    monkeypatch.setattr("vitjax.checkpoint_commands.slow_bfloat16", lambda: why)
    code, out, _ = run("inspect", MODEL)
    assert (code, "bfloat16 here" in out) == (0, bool(why)), out


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder that `vitjax inspect` finds a checkpoint in."""
    folder = tmp_path_factory.mktemp("hardware")
    shutil.copytree(Path(hardware.__file__).parent / "pretrained" / MODEL, folder / MODEL)
    return folder
