"""The committed fixtures are what the reference libraries make today."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from tests.reference import make_birder, make_huggingface, make_huggingface_clip, make_open_clip, make_timm
from tests.reference.make_timm import FIXTURES
from vitjax.verify import SMALL

MAKERS = {
    r"(timm|full)_": make_timm.make,
    r"hf_(?!clip|siglip)": make_huggingface.make,
    r"hf_(clip|siglip)": make_huggingface_clip.make,
    r"birder_": make_birder.make,
    r"open_clip_": make_open_clip.make,
}


@pytest.mark.parametrize(("names", "make"), MAKERS.items(), ids=MAKERS)
def test_the_committed_fixtures_are_current(names: str, make: Callable[[], dict[str, dict[str, np.ndarray]]]):
    made = make()
    assert sorted(made) == sorted(path.name for path in FIXTURES.iterdir() if re.match(names, path.name))
    for name, arrays in made.items():
        with np.load(FIXTURES / name) as fixture:
            assert sorted(fixture) == sorted(arrays), name
            for key, fresh in arrays.items():
                if "stage/" in key or key == "maps":  # the last bits depend on how many threads torch has
                    assert np.abs(fixture[key] - fresh).max() <= SMALL * np.abs(fresh).max(), (name, key)
                else:
                    np.testing.assert_array_equal(fixture[key], fresh, f"{name} {key}")
