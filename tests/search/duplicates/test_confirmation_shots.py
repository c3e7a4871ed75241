"""Times of two files that tell whether they are one shot."""

import pytest

from clipkit.inputs.metadata import Provenance
from clipkit.search.duplicates.confirmation import are_other_shots

NOON = "2024:06:01 12:00:00"


@pytest.mark.parametrize(
    ("other", "are_others"),
    [
        (NOON, False),
        ("2024:06:01 12:00:01", True),
        ("2024:06:01 14:00:00", False),  # one time in two zones
        ("2024:06:01 06:30:00", False),
        ("2024:06:01 14:00:01", True),
        ("2024:06:03 12:00:00", True),  # further apart than any two zones
        ("not a time", False),
        (None, False),
    ],
)
def test_other_times_are_other_shots(other: str | None, are_others: bool) -> None:
    pair = Provenance(shot_at=NOON), Provenance(shot_at=other)
    assert are_other_shots(*pair) is are_others
    assert are_other_shots(*reversed(pair)) is are_others


@pytest.mark.parametrize(
    ("first", "second", "are_others"),
    [("12", "13", True), ("5", "500", False), ("12", None, False), (None, None, False)],
)
def test_fractions_tell_the_frames_of_one_second_apart(
    first: str | None, second: str | None, are_others: bool
) -> None:
    pair = [Provenance(shot_at=NOON, shot_at_fraction=part) for part in (first, second)]
    assert are_other_shots(*pair) is are_others
