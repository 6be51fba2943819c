"""What fuzzing has found, read again; and that the fuzzer does reach the readers."""

import pytest

from tests.fuzz import FINDINGS, PLACES, one_input, read


@pytest.mark.parametrize("place", PLACES)
def test_a_good_file_is_read(place):
    assert read(place, PLACES[place][1]) == 1


def test_what_was_found_stays_mended():
    for finding in sorted(FINDINGS.glob("*")):
        one_input(finding.read_bytes())
