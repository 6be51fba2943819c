"""`vitjax doctor`: what this machine has, what is missing, and whether a small network gives its numbers here."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from huggingface_hub.constants import HF_HUB_CACHE

from . import __version__, cache, checkpoint, converters, hardware, hub
from .attention import choose
from .config import Error
from .terminal import table
from .verify import SMALL

LIBRARIES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorstore"),
    *("numpy", "pillow", "tokenizers", "huggingface_hub"),
)
EXTRAS = {"train": ("grain", "array_record", "tensorboardX", "matplotlib")}  # as in pyproject.toml, by the names they import
MODEL = "vit_pico_patch4_32.digits"
DIGITS = cache.EMBEDDED / "digits"
# The logits of 3.png by timm's network with the same weights, as in tests/fixtures/digits_by_timm.npz
THREE = (-0.2833286, 0.94091123, -0.43250382, 5.132751, -4.2027993, -1.0511488, 1.1937808, -0.290679, 0.8398983, -0.9775267)


def report(args: argparse.Namespace) -> None:
    """Print what is here; Error: a part of the self-test failed."""
    found = {"versions": versions(), "devices": devices(), "caches": caches(), "missing": missing(), "network": network()}
    found["self-test"] = tests = self_test()
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        for part, rows in found.items():
            print(f"{part}:")
            table([(f"  {name}", str(value)) for name, value in rows.items()] or [("  nothing", "")])
    if failed := [name for name, said in tests.items() if not said.startswith("good")]:
        raise Error(f"the self-test failed: {', '.join(failed)}. Install vitjax anew; if that does not help, report the above")


def versions() -> dict[str, str]:
    """Of Python, vitjax and the libraries that matter to numbers and speed."""
    found = {"python": platform.python_version(), "system": platform.platform(), "vitjax": __version__}
    return found | {name: metadata.version(name) for name in LIBRARIES}


def devices() -> dict[str, str]:
    """What JAX computes on, and its memory, where that is known."""
    found = {}
    for device in jax.local_devices():
        limit = (device.memory_stats() or {}).get("bytes_limit")
        found[str(device)] = f"{device.device_kind}, {size(limit)}" if limit else device.device_kind
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["this machine"] = (
            f"{os.cpu_count()} CPUs, {size(os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE'))} of memory"
        )
    return found


def caches() -> dict[str, str]:
    """Where files are kept, how large they are, and whether there may be more."""
    kept: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    places = {"checkpoints": cache.folder(), "Hugging Face's files": Path(HF_HUB_CACHE)}
    found = {name: _place(place) for name, place in places.items()}
    return found | {"compiled networks": _place(Path(kept)) if kept else "not kept"}


def _place(place: Path) -> str:
    held = sum(file.stat().st_size for file in place.rglob("*") if file.is_file() and not file.is_symlink())
    there = next(path for path in (place, *place.parents) if path.exists())
    may = os.access(there, os.W_OK) and there.is_dir()
    return f"{place}, {size(held)}" + ("" if may else ", cannot be written: set VITJAX_CACHE (HF_HOME) to another folder")


def missing() -> dict[str, str]:
    """Extras of which a library is not here, and how to get them."""
    lacks = {name: [lib for lib in libs if not importlib.util.find_spec(lib)] for name, libs in EXTRAS.items()}
    return {name: f"{', '.join(libs)}: pip install 'vitjax[{name}]'" for name, libs in lacks.items() if libs}


def network() -> dict[str, str]:
    """How networks run here."""
    kernels = {dtype: choose("auto", dtype, hub.HEAD) for dtype in ("float32", "bfloat16")}
    found = {f"attention in {dtype}": ", because ".join(map(str, kernel)) for dtype, kernel in kernels.items()}
    return found | {"bfloat16": hardware.slow_bfloat16() or "fast here"}


def self_test() -> dict[str, str]:
    """Each part's name, and "good", or what was wrong."""
    found = {}
    for test in (pictures, numbers, folders, files):
        start = time.perf_counter()
        try:
            test()
        except Exception as error:  # whatever is broken here
            found[test.__name__] = f"{type(error).__name__}: {error}"
        else:
            found[test.__name__] = f"good, {time.perf_counter() - start:.1f} s"
    return found


def pictures() -> None:
    """The embedded network reads the embedded pictures."""
    model = hub.load(MODEL)
    for file in sorted(DIGITS.glob("*.png")):
        if (label := model.classify(str(file), top=1)[0][0]) != file.stem:
            raise Error(f"{file.name} is taken for {label}")


def numbers() -> None:
    """Its logits in float32 are timm's."""
    model = hub.load(MODEL)
    off = np.abs(np.asarray(model(model.preprocess(str(DIGITS / "3.png"))))[0] - THREE).max() / np.abs(THREE).max()
    if not off <= SMALL:  # NaN is off, too
        raise Error(f"logits are {off:.1e} of their scale off timm's, more than {SMALL}")


def folders() -> None:
    """What is saved comes back to the last bit."""
    model = hub.load(MODEL)
    with tempfile.TemporaryDirectory() as place:
        checkpoint.save(Path(place) / "saved", model.spec, model.params)
        _same(model.params, hub.load(Path(place) / "saved").params)


def files() -> None:
    """So does what becomes timm's file."""
    model = hub.load(MODEL)
    with tempfile.TemporaryDirectory() as place:
        converters.export(model.spec, model.params, Path(place) / "timm")
        _same(model.params, hub.load(Path(place) / "timm").params)


def _same(ours: Any, back: Any) -> None:
    if not jax.tree.all(jax.tree.map(np.array_equal, dict(ours), dict(back))):
        raise Error("parameters are not what they were")


def size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
