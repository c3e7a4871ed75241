"""Types of option values: functions that parse and check one command-line argument.

argparse prints the message of an ArgumentTypeError; for other errors it prints the function's name.
"""

import argparse
import math
import re
from collections.abc import Callable


def whole_number(least: int = 1, most: float = math.inf) -> Callable[[str], int]:
    """Return a type of whole numbers, from ``least`` to ``most``."""
    limit = f" and at most {most}" if math.isfinite(most) else ""

    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"must be a whole number, {least} or more{limit}, got {text!r}"
            )
        return number

    return parse


def number(
    least: float = -math.inf, most: float = math.inf, *, is_open: bool = False
) -> Callable[[str], float]:
    """Return a type of numbers in a range.

    Args:
        least: The smallest.
        most: The largest.
        is_open: Whether the smallest itself is too small.

    Returns:
        A function from a word to the number.
    """
    wanted = "must be a number"
    if least > -math.inf:
        low = f"above {least:g}" if is_open else f"{least:g} or more"
        wanted += f", {low}" if most == math.inf else f", {low} and at most {most:g}"

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        is_inside = math.isfinite(value) and least <= value <= most
        if not is_inside or (is_open and value == least):
            raise argparse.ArgumentTypeError(f"{wanted}, got {text!r}")
        return value

    return parse


def inner_share(text: str) -> float:
    """Return a share of which neither none nor all will do: above 0 and below 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be a number above 0 and below 1, got {text!r}")
    return value


def size(text: str) -> tuple[int, int]:
    """Return the width and height in pixels that "1920x1080" or "1000" means."""
    match = re.fullmatch(r"(\d{1,9})(?:[xX×](\d{1,9}))?", text)  # noqa: RUF001 - people copy it
    if match is None:
        raise argparse.ArgumentTypeError(f"must be like 1920x1080 or 1000, got {text!r}")
    return int(match[1]), int(match[2] or match[1])


def megapixels(text: str) -> float | None:
    """Return a limit in millions of pixels; None for "auto", infinity for "none"."""
    named = {"auto": None, "none": math.inf}
    if text.lower() in named:
        return named[text.lower()]
    try:
        return number(0, is_open=True)(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(
            f'must be a number above 0, "auto" or "none", got {text!r}'
        ) from error


def path(text: str) -> str:
    """Return a path; refuse "", which an unset variable leaves and which would mean this folder."""
    if not text:
        raise argparse.ArgumentTypeError("must be a path, got '' (. is the folder you are in)")
    return text


def device(text: str) -> str:
    """Return the name of a device; refuse any other word."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(
            f"must be auto, cpu, cuda, cuda:1 (the second of several) or mps, got {text!r}"
        )
    return text


def model_name(text: str) -> str:
    """Return the name of a model; raises CheckpointError, with the nearest, if there is none."""
    if text != "starter":
        from clipkit.models.sources import resolve_source  # it reads the table of all models

        resolve_source(text)
    return text
