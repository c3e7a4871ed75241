"""Lines on what a sync has done, and on images that are skipped, missing or not there."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from clipkit.cli.quoting import quoted
from clipkit.cli.terminal import note, warn
from clipkit.errors import ImageReadError

if TYPE_CHECKING:
    from clipkit.search.library import PhotoLibrary, SyncReport


def sync_summary(report: "SyncReport", folder: str) -> str:
    """Return a message about a sync of a folder, "" if it found nothing to do."""
    counts = {
        "new": report.added,
        "changed": report.changed,
        "moved": report.moved,
        "deleted": report.removed,
    }
    news = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    if not report.newly_skipped:  # the others were reported before
        return f"indexed: {news}" if news else ""
    command = f"clipkit index {quoted(folder)}"
    skipped = f"{len(report.newly_skipped)} skipped, listed by  {command}"
    return f"indexed: {news}; {skipped}" if news else skipped


def missing_line(library: "PhotoLibrary", report: "SyncReport") -> str:
    """Return a message about indexed images that are missing, "" if there are none."""
    if not report.missing:
        return ""
    are = "image is" if report.missing == 1 else "images are"
    return (
        f"{report.missing} indexed {are} not there, as when a disk is not connected: kept, and "
        "left out of searches until it is back; if gone for good, run"
        f"  clipkit index {quoted(str(library.indexed_folder))} --prune"
    )


def nothing_line(library: "PhotoLibrary", folder: str) -> str:
    """Return a message on why a library has no images to work on.

    Args:
        library: The library.
        folder: Its folder as the user wrote it.

    Returns:
        A sentence, "" if it has some.
    """
    if len(library):
        return ""
    return absent_line(library.num_missing, folder) or f"no images found in {folder}"


def absent_line(num_missing: int, folder: str) -> str:
    """Return a message for a library of which every indexed image is missing.

    Args:
        num_missing: How many indexed images are not there.
        folder: As the user wrote it.

    Returns:
        A sentence, "" if none is missing.
    """
    if not num_missing:
        return ""
    return (
        f"none of the {num_missing} images indexed in {folder} is there: connect their disk and "
        "run the same command again"
    )


def print_shortcomings(skipped: Sequence[ImageReadError], warnings: Iterable[str]) -> None:
    """Print on stderr which images a report is without, and what it warns of."""
    for line in skipped_lines(skipped):
        note(line)
    for warning in warnings:
        warn(warning)


def skipped_lines(skipped: Sequence[ImageReadError], *, most: int = 20) -> list[str]:
    """Return the lines to print about images that could not be read.

    Args:
        skipped: One error an image.
        most: How many are named; the rest is counted.

    Returns:
        Lines; none if nothing was skipped.
    """
    if not skipped:
        return []
    noun = "image" if len(skipped) == 1 else "images"
    lines = [f"{len(skipped)} {noun} skipped:"]
    lines += [f"  {error}" for error in skipped[:most]]
    if len(skipped) > most:
        lines.append(f"  … and {len(skipped) - most} more")
    return lines
