"""The reference of `make demo` is what timm makes of the embedded model today."""

import numpy as np

from tests.reference.make_digits import FIXTURE, make
from vitjax.verify import SMALL


def test_the_committed_reference_is_current():
    committed, fresh = np.load(FIXTURE), make()
    assert set(committed.files) == set(fresh)
    for name, array in fresh.items():
        assert np.abs(committed[name] - array).max() <= SMALL * np.abs(array).max(), name
