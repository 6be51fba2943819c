"""The conditions of every test: eight devices, exact products, no silent promotion, no warning, types and shapes checked."""

import atexit
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
# Eight devices that share two cores may wait for each other longer than the 40 s after which XLA ends the process
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    " --xla_cpu_collective_call_terminate_timeout_seconds=600"
)
os.environ["VITJAX_CACHE"] = tempfile.mkdtemp(prefix="vitjax-tests-")  # nobody's own cache is read or written

import jax
import pytest
from jaxtyping import install_import_hook

atexit.register(shutil.rmtree, os.environ["VITJAX_CACHE"], ignore_errors=True)
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Every signature is checked on every call, except in config, preprocess, tokenizer and recipe: users can hand these anything,
# they check it themselves, and the tests do hand them anything.
ROOMS = (
    *("attention", "layers", "mesh", "vit", "clip", "model", "checkpoint", "draft", "manifest"),
    *("arrays", "orbax", "surgery", "verify", "converters", "download", "hub"),
    *("pictures", "rows", "features"),
    *(f"train.{file.stem}" for file in Path(__file__).parents[1].glob("vitjax/train/*.py") if file.stem != "recipe"),
    "train.data",
)
install_import_hook([f"vitjax.{room}" for room in ROOMS], "beartype.beartype")

collect_ignore = [
    folder for folder, needs in {"reference": "torch", "tpu": "libtpu"}.items() if not importlib.util.find_spec(needs)
]

WARNINGS = [
    "error",
    # Orbax, stopped half way (a full disk, a damaged folder), leaves coroutines behind; Python reports them when it likes.
    r"ignore:Exception ignored in. (None|<coroutine object|<_asyncio):pytest.PytestUnraisableExceptionWarning",
]


def pytest_configure(config):
    for line in WARNINGS:
        config.addinivalue_line("filterwarnings", line)


@pytest.fixture
def run(place, monkeypatch, capsys):
    """Run a command in the test file's own `place`; returns (exit code, stdout, stderr)."""
    from vitjax.cli import main

    monkeypatch.chdir(place)

    def run(*words) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run
