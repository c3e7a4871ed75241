"""Whether two files say of themselves that they are different shots, as frames of a burst do."""

import re
from datetime import datetime

from clipkit.inputs.provenance import Provenance

_QUARTER_HOUR = 15 * 60  # seconds: time zones differ by whole ones
_MOST_ZONES = 26 * 3600


def are_other_shots(first: Provenance, second: Provenance) -> bool:
    """Return whether two files were taken at different times, as their cameras' clocks had it.

    A copy keeps the time of its original or loses it. Times that differ by a whole number of
    quarters of an hour, up to 26 hours, may be one time that was set right for another zone; they
    say nothing. Nor does a time without fractions of a second beside one with them.

    Args:
        first: What one file says of itself.
        second: What the other does.

    Returns:
        Whether both state when they were taken, and these times differ.
    """
    times = _time(first.shot_at), _time(second.shot_at)
    if times[0] is None or times[1] is None:
        return False
    apart = abs((times[0] - times[1]).total_seconds())
    if apart and (apart % _QUARTER_HOUR or apart > _MOST_ZONES):
        return True
    fractions = first.shot_at_fraction, second.shot_at_fraction
    if fractions[0] is None or fractions[1] is None:
        return False
    # Decimals: "5" and "500" are the same.
    return fractions[0].rstrip("0") != fractions[1].rstrip("0")


def _time(text: str | None) -> datetime | None:
    match = re.match(r"(\d{4})\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)\D(\d\d)", text or "")
    try:
        return datetime(*map(int, match.groups())) if match else None  # type: ignore[arg-type]
    except ValueError:
        return None
