"""How near the numbers are, not only that they are near enough: `make parity` writes what the tests of parity measure.

A plugin of pytest. Of each test, the largest difference from a reference library, as a share of the largest number of its stage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

RESULTS = Path(__file__).parents[1] / "benchmarks/results/parity.json"
found: dict[str, float] = {}
test = [""]  # the one that runs


def pytest_collection_finish() -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("tests.test_"):
            for what, measured in ("verify", _verify), ("assert_close", _assert_close):
                if hasattr(module, what):
                    setattr(module, what, measured(getattr(module, what)))


def _verify(verify: Callable) -> Callable:
    @wraps(verify)
    def measured(*args: Any) -> Any:
        stages = verify(*args)
        _note(max((stage.difference / (stage.scale or 1) for stage in stages), default=0))
        return stages

    return measured


def _assert_close(assert_close: Callable) -> Callable:
    @wraps(assert_close)
    def measured(ours: Any, theirs: np.ndarray, *tolerance: float) -> None:
        assert_close(ours, theirs, *tolerance)
        _note(float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()))

    return measured


def _note(share: float) -> None:
    found[test[0]] = max(found.get(test[0], 0), share)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    test[0] = item.nodeid.removeprefix("tests/")
    return (yield)


def pytest_sessionfinish(exitstatus: int) -> None:
    if exitstatus == 0:
        how = {
            "jax": jax.__version__,
            "device": jax.devices()[0].device_kind,
            "unit": "max|difference| of a stage's largest number",
        }
        rows = {name: float(f"{share:.2g}") for name, share in sorted(found.items())}
        RESULTS.write_text(json.dumps(how | {"tests": rows}, indent=1) + "\n")
