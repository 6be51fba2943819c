"""What fuzzing has found, read again; that the fuzzer does reach the readers; and every file that ends too soon."""

import pytest

from tests.fuzz import FINDINGS, PLACES, one_input, read


@pytest.mark.parametrize("place", PLACES)
def test_a_good_file_is_read_and_no_beginning_of_it(place):
    good = PLACES[place][1]
    assert read(place, good) == 1
    assert [size for size in range(len(good)) if read(place, good[:size])] == []


def test_what_was_found_stays_mended():
    for place, (_, good) in zip(range(256), PLACES.values(), strict=False):
        one_input(bytes([place]) + good[::-1])
    for finding in FINDINGS.glob("*"):
        one_input(finding.read_bytes())
