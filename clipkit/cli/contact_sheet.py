"""Search results as one self-contained HTML page: ``clipkit search --html FILE``."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from clipkit.cli.outputs import OutputFile
from clipkit.errors import InputError
from clipkit.inputs.read_errors import reason_for
from clipkit.inputs.thumbnails import render_thumbnail
from clipkit.search.contact_sheet import START, TITLE_END, FoundImage, contact_sheet


def contact_sheet_file(path: str | Path, *, is_forced: bool = False) -> OutputFile:
    """Return the file of a page, which replaces an older page and nothing else.

    Args:
        path: The page.
        is_forced: Whether it may replace anything.

    Returns:
        The file, not checked yet.
    """
    return OutputFile(Path(path), _is_contact_sheet, is_forced)


def write_contact_sheet(
    file: OutputFile,
    title: str,
    hits: Sequence[FoundImage],
    *,
    summary: str,
    max_pixels: int | None = None,
) -> None:
    """Write a page that shows images, as `contact_sheet` has it, atomically.

    Args:
        file: The page, as `contact_sheet_file` returns it.
        title: The query, as a heading.
        hits: The images, best first.
        summary: A sentence about them as a whole.
        max_pixels: How many pixels of one image may be decoded. None: default_max_pixels().

    Raises:
        InputError: If the page cannot be written.
    """
    pieces = contact_sheet(
        hits,
        title=title,
        summary=summary,
        folder=Path(file.path).parent,
        render=partial(render_thumbnail, box=_THUMBNAIL, max_pixels=max_pixels),
    )
    try:
        file.write_text(pieces)
    except OSError as error:
        raise InputError(f"{file.path} cannot be written: {reason_for(error, b'')}") from error


_THUMBNAIL = (320, 320)  # pixels


def _is_contact_sheet(head: bytes) -> bool:
    return head.startswith(START.encode()) and TITLE_END.encode() in head
