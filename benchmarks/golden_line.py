"""One line of a table of published numbers: what was expected, what was got, and whether it holds.

Two lists of numbers agree as numpy.allclose says: each difference is at most the absolute
tolerance plus the relative one times the expected number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

SHOWN = 5  # numbers of a list that are printed
NO_WEIGHTS = "weights are not here"
HOLDS = "holds"
FAILS = "DOES NOT HOLD"
HEADER = "| what | expected | got | tolerance | |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Line:
    """Expected and got, or why nothing was got."""

    what: str
    expected: Sequence[float]
    got: Sequence[float] | str  # a reason in place of numbers
    atol: float = 0.0
    rtol: float = 0.0
    # What another version of the source expects; it is enough if the numbers agree with either.
    or_expected: Sequence[float] = ()
    remark: str = ""  # printed behind the verdict

    @property
    def holds(self) -> bool | None:
        """Whether they agree; None if nothing was got."""
        if isinstance(self.got, str):
            return None
        return any(
            agree(self.got, expected, atol=self.atol, rtol=self.rtol)
            for expected in (self.expected, self.or_expected)
            if len(expected)
        )

    @property
    def verdict(self) -> str:
        """Whether it holds, in words, or why nothing was got."""
        if isinstance(self.got, str):
            return self.got
        return HOLDS if self.holds else FAILS

    @property
    def tolerance(self) -> str:
        """The tolerance in words."""
        parts = [f"{self.atol:g}"] if self.atol or not self.rtol else []
        return " + ".join([*parts, *([f"{self.rtol:g} x expected"] if self.rtol else [])])

    def __str__(self) -> str:
        expected = digits(self.expected)
        if len(self.or_expected):
            expected += f" or {digits(self.or_expected)}"
        got = "" if isinstance(self.got, str) else digits(self.got)
        verdict = f"{self.verdict}: {self.remark}" if self.remark else self.verdict
        return f"| {self.what} | {expected} | {got} | {self.tolerance} | {verdict} |"


def agree(
    got: Sequence[float], expected: Sequence[float], *, atol: float = 0.0, rtol: float = 0.0
) -> bool:
    """Return whether two lists are as long as each other and agree within the tolerances."""
    return len(got) == len(expected) and bool(np.allclose(got, expected, atol=atol, rtol=rtol))


def digits(values: Sequence[float]) -> str:
    """Return the first numbers of a list as text, with six digits each."""
    shown = " ".join(f"{value:.6g}" for value in values[:SHOWN])
    return shown if len(values) <= SHOWN else f"{shown} ... ({len(values)})"


def summarize(lines: Iterable[Line]) -> str:
    """Return how many lines hold, do not hold, or could not be had, as text."""
    counts: dict[str, int] = {}
    for line in lines:
        counts[line.verdict] = counts.get(line.verdict, 0) + 1
    return "; ".join(f"{number} {verdict}" for verdict, number in counts.items())
