"""``clipkit duplicates``: find copies and near-duplicates among the images of a folder."""

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from clipkit.cli import values
from clipkit.cli.indexing import check_is_indexed, sync_if_possible
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.report_lines import nothing_line, skipped_lines
from clipkit.cli.terminal import note, path_start, progress_bar, table_lines, to_json
from clipkit.search.duplicates.file_checks import still_as_indexed
from clipkit.search.duplicates.groups import DuplicateGroup
from clipkit.search.library import PhotoLibrary
from clipkit.search.store.records import ImageFile

_DESCRIPTION = """\
Find files with the same bytes, and near-duplicates: images saved again, resized or lightly
cropped. Links to a file are no copies of it, nor is the RAW file beside a JPEG. The best copy of
each group comes first: in colour, as the camera wrote it, with most real pixels. New, changed and
deleted images are indexed first. Exits 1 if there are no duplicates.
"""
_EPILOG = """\
examples: nothing is ever deleted; to put spare copies aside yourself, look at them first
  clipkit duplicates photos --exact
  clipkit duplicates photos --exact -0 | xargs -0 mv -t spare
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "duplicates",
        help="find copies and near-duplicates among images",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    parser.add_argument(
        "folder",
        type=values.path,
        metavar="FOLDER",
        nargs="?",
        default=".",
        help="where to look (default: here)",
    )
    parser.add_argument("--exact", action="store_true", help="only files with the same bytes")
    parser.add_argument(
        "--threshold",
        type=values.number(0, 1, is_open=True),
        metavar="X",
        help="least similarity of near-duplicates, 0 to 1 (default: calibrated on copies of your "
        "own images)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--filepath-only", "-f", action="store_true", help="print only the paths of spare copies"
    )
    form.add_argument(
        "--print0", "-0", action="store_true", help="the same, each ended by a null, for xargs -0"
    )
    form.add_argument("--json", action="store_true", help="one JSON object per group and line")
    parser.add_argument(
        "--no-indexing",
        "-n",
        action="store_true",
        help="compare the index as it is, without looking for changes in the folder",
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if an image was skipped")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare and print.

    Args:
        arguments: As parsed.

    Returns:
        0; 1 if there are no duplicates, or an image was skipped and --strict was given; 130
        after Ctrl-C.
    """
    PhotoLibrary.open(arguments.folder)  # says at once if there is no such folder
    if arguments.no_indexing:
        check_is_indexed(arguments.folder)
    library = PhotoLibrary.open_nearest(arguments.folder, load_encoder(arguments))
    try:
        done = None if arguments.no_indexing else sync_if_possible(library, arguments.folder)
        with progress_bar("comparing") as progress:
            report = library.duplicates(
                find_near=not arguments.exact, threshold=arguments.threshold, progress=progress
            )
    except KeyboardInterrupt:
        note("interrupted: what is indexed so far is kept; run the same command again to resume")
        return 130
    groups: list[DuplicateGroup] = []
    for group in report.groups:
        # Whatever reads this may be removing files already.
        now = still_as_indexed(group, Path(arguments.folder))
        if now is None:
            continue
        for line in _lines(now, arguments, is_first=not groups):
            print(line, end="\0" if arguments.print0 else "\n")
        groups.append(now)
    skipped = [*(done.skipped if done else []), *report.skipped]
    new = done.newly_skipped if done else []  # the others were reported before
    for line in skipped_lines([*new, *report.skipped]):
        note(line)
    note(nothing_line(library, arguments.folder) or _summary(groups, arguments.folder))
    return 1 if not groups or (skipped and arguments.strict) else 0


def _lines(
    group: DuplicateGroup, arguments: argparse.Namespace, *, is_first: bool
) -> Iterator[str]:
    """Yield what to print of one group."""
    group = _as_shown(group, arguments.folder)
    if arguments.json:
        yield to_json(group.to_dict())
    elif arguments.filepath_only or arguments.print0:
        yield from (file.path for file in group.images[1:])
    else:
        if not is_first:
            yield ""
        yield _heading(group)
        rows = [_row(file, is_best=file is group.best) for file in group.images]
        yield from table_lines(rows, has_heading=False, right={1, 2})


def _as_shown(group: DuplicateGroup, folder: str) -> DuplicateGroup:
    """Return a group with the paths of its images as the user can give them to other programs."""
    start = path_start(folder)
    images = (file._replace(path=f"{start}{Path(folder) / file.path}") for file in group.images)
    return dataclasses.replace(group, images=tuple(images))


def _heading(group: DuplicateGroup) -> str:
    count = len(group.images)
    if group.kind == "exact":
        return f"exact: {count} files with the same bytes"
    return f"near: {count} images, similarity at least {group.similarity:.3f}"


def _row(file: ImageFile, *, is_best: bool) -> tuple[str, ...]:
    mark = "best" if is_best else ""
    pixels = f"{file.width}x{file.height}" if file.num_pixels else "?"
    # JSON's quotes, as search has them: a name with a line break stays one field.
    return mark, pixels, str(file.num_bytes), to_json(file.path)


def _summary(groups: Sequence[DuplicateGroup], folder: str) -> str:
    if not groups:
        return f"no duplicates found in {folder}"
    spare = [file for group in groups for file in group.images[1:]]
    megabytes = sum(file.num_bytes_to_gain for file in spare) / 1e6
    return (
        f"groups: {len(groups)}, spare copies: {len(spare)}, together {megabytes:.1f} MB; "
        "nothing was deleted"
    )
