"""What the migration pages show side by side: both sides run, against the real libraries, on the same weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.reference.pages import rows, wrong

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("from_*.md"))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> dict[str, str]:
    """Row -> what is wrong with it. In a process of its own: the libraries read where their hub is when they are imported."""
    command = [sys.executable, "-m", "tests.reference.pages", tmp_path_factory.mktemp("home"), *PAGES]
    done = subprocess.run(command, env=os.environ | {"XLA_FLAGS": ""}, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_both_sides_of_every_row(found, page):
    said = {f"{page.name}:{row.line} {row.what}" for row in rows(page)}
    assert said and said <= set(found)
    assert not {row: why for row, why in found.items() if row in said and why}


X = np.float32([[1, 2], [3, -4]])
WRONG = [
    (X, X + np.float32(1e-6), "equal", "apart"),
    (X, X + np.float32(1e-4), "1e-5", "apart"),
    (X, X[:1], "1e-5", "is not"),
    (X, X * np.nan, "1e-5", "apart"),
    (X[None], X[None], "1e-5, channels last", "apart"),
    (["cat"], ["dog"], "equal", "is not"),
    ([], [], "equal", "nothing"),
]


@pytest.mark.parametrize(("theirs", "ours", "same", "why"), WRONG, ids=[row[-1] + row[2] for row in WRONG])
def test_what_differs_is_noticed(theirs, ours, same, why):
    assert why in wrong(theirs, ours, same)
    assert wrong(theirs, theirs, same.partition(",")[0]) == "" or not len(theirs)
