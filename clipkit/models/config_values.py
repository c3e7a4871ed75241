"""Values of a JSON config, checked for their kind and size where they are read."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipkit.errors import CheckpointError

_WORDS = {type(None): "null", bool: "true or false", dict: "an object", list: "a list"}
_SHOWN = 40  # characters of a value


class ConfigValues:
    """An object of a config.

    A key that is missing has its usual value; one that is null has not, unless that is said.

    Args:
        content: The object.
        path: Its file.
        place: The keys that lead to it, each with a dot behind it.
    """

    def __init__(self, content: Mapping[str, Any], path: Path, place: str = "") -> None:
        self.content = content
        self._path = path
        self._place = place

    def part(self, key: str) -> "ConfigValues":
        """Return an object inside; an empty one where it is missing or null."""
        value = self.content.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.wrong(key, "an object")
        return ConfigValues(value or {}, self._path, f"{self._place}{key}.")

    def whole(self, key: str, usual: int, *, least: int = 1, most: int) -> int:
        """Return a whole number within bounds."""
        value = self.content.get(key, usual)
        if not _is_whole(value) or not least <= value <= most:
            raise self.wrong(key, f"a whole number from {least} to {most}")
        return int(value)

    def side(self, key: str, usual: int, *, most: int) -> int:
        """Return the side of a square, which may be given twice: as height and width."""
        value = self.content.get(key, usual)
        sides = value if isinstance(value, list) and value else [value]
        if not all(_is_whole(side) and 1 <= side <= most for side in sides):
            raise self.wrong(key, f"a whole number from 1 to {most}")
        if len(set(sides)) != 1:
            raise self.wrong(key, "the side of a square; its sides are not equal")
        return int(sides[0])

    def positive(self, key: str, usual: float) -> float:
        """Return a number above zero."""
        value = self.content.get(key, usual)
        if not is_number(value) or value <= 0:
            raise self.wrong(key, "a number above 0")
        return float(value)

    def three(self, key: str, usual: tuple[float, float, float], *, above: float) -> list[float]:
        """Return a number for each of red, green and blue; one number is that of all three."""
        value = self.content.get(key)
        if value is None:
            return list(usual)
        values = value if isinstance(value, list) else [value] * 3
        if len(values) != 3 or not all(is_number(item) and item > above for item in values):
            bound = f" above {above:g}" if math.isfinite(above) else ""
            raise self.wrong(key, f"three numbers{bound}, or one for all three colors")
        return [float(item) for item in values]

    def heads(self, usual: int, width: int) -> int:
        """Return the number of attention heads, which divides the width."""
        key = "num_attention_heads"
        heads = self.whole(key, usual, most=width)
        if width % heads:
            raise self.wrong(key, f"a divisor of hidden_size, which is {width}", usual)
        return heads

    def text(self, key: str, usual: str) -> str:
        """Return a string."""
        value = self.content.get(key, usual)
        if not isinstance(value, str):
            raise self.wrong(key, "a string")
        return value

    def wrong(self, key: str, wanted: str, usual: Any = None) -> CheckpointError:
        """Return the error of a value.

        Args:
            key: Its key.
            wanted: What it must be.
            usual: What it is where the key is missing.

        Returns:
            The error, to be raised.
        """
        if key in self.content:
            value = self.content[key]
            kind = _WORDS.get(type(value)) if value in (None, [], {}) else None
            shown = kind or repr(value)
            got = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
        else:
            got = f"none, which means {usual}"
        return CheckpointError(
            f"{self._path} has a setting of another kind or size than a model can have: "
            f'"{self._place}{key}" must be {wanted}; got {got}'
        )


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number that fits into 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 1e300 and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return is_number(value) and (isinstance(value, int) or value.is_integer())
