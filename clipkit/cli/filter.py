"""``clipkit filter``: write the image-text pairs that pass a set of rules as a table."""

import argparse
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from clipkit.cli import values
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.outputs import OutputFile
from clipkit.cli.pair_options import add_pair_options, open_source
from clipkit.cli.report_lines import skipped_lines
from clipkit.cli.terminal import note, progress_bar, table_lines
from clipkit.curation.filtering import FilterReport, filter_pairs
from clipkit.curation.rules import RULES, FilterRules
from clipkit.curation.writing import check_has_files, check_is_table, table_text
from clipkit.errors import InputError
from clipkit.progress import Progress

_EPILOG = """\
examples:
  clipkit filter pairs.csv --min-similarity -1 --dry-run     see where thresholds would cut
  clipkit filter pairs.csv --min-quantile .3 --exact --out kept.csv

rules apply in this order, each to what is left; a pair is listed under the first that it breaks:
  captions: empty, file names, length      drops the caption, and the pair with its last caption
  images: unreadable, size, same bytes
  similarity of caption and image, then the lowest quantile, then near-duplicates
of duplicates the pair with the most similar caption is kept
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "filter",
        help="leave out pairs that are not worth training on",
        description="Filter a dataset of image-text pairs: write those that pass your rules as a\n"
        "table, and print the dropped ones, one line per pair: the rule, the pair, the figures.\n"
        "Images are never touched.",
        epilog=_EPILOG,
    )
    add_pair_options(parser)
    _add_rules(parser.add_argument_group("rules"))
    parser.add_argument(
        "--out", type=Path, metavar="KEPT.csv", help="the table to write: .csv, .tsv or .jsonl"
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="REPORT.json",
        help="write what was dropped to this file instead of printing it",
    )
    parser.add_argument("--dry-run", action="store_true", help="write no table")
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    parser.add_argument("--strict", action="store_true", help="exit 1 if an image was unreadable")
    add_model_options(parser)
    parser.set_defaults(run=run)


def _add_rules(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--drop-file-names",
        action="store_true",
        help='drop captions that are file names, such as "IMG_1234.jpg"',
    )
    for what in ("words", "characters"):
        for bound, limit in (("min", "at least"), ("max", "at most")):
            group.add_argument(
                f"--{bound}-{what}",
                type=values.whole_number(1),
                metavar="N",
                help=f"{limit} so many {what} in a caption",
            )
    group.add_argument(
        "--min-side",
        type=values.whole_number(1),
        metavar="PX",
        help="at least so many pixels on the shorter side of an image",
    )
    group.add_argument(
        "--max-aspect",
        type=values.number(),
        metavar="X",
        help="at most this ratio of the longer to the shorter side",
    )
    group.add_argument(
        "--exact", action="store_true", help="keep one of several images with the same bytes"
    )
    group.add_argument(
        "--min-similarity",
        type=values.number(),
        metavar="X",
        help="at least this cosine of caption and image, -1 to 1",
    )
    group.add_argument(
        "--min-quantile",
        type=values.number(),
        metavar="Q",
        help="drop the least similar captions: .3 drops the lowest 30 %%",
    )
    group.add_argument(
        "--near",
        type=values.number(),
        metavar="EPS",
        help="keep one of several images whose cosine is above 1 - EPS (SemDeDup); the right EPS "
        "depends on the model and the images",
    )


def run(arguments: argparse.Namespace) -> int:
    """Filter, write and print.

    Args:
        arguments: As parsed.

    Returns:
        0; or 1 if no pair is kept, or an image was unreadable and --strict was given.

    Raises:
        InputError: If there is no rule, a file is in the way, or the pairs cannot be read.
    """
    rules = _rules(arguments)
    out, report_file = _outputs(arguments)
    source = open_source(arguments)
    if out is not None:
        check_has_files(source)
    encoder = load_encoder(arguments) if rules.need_embeddings else None
    with ExitStack() as bars:

        def stage(label: str) -> Progress:
            bars.close()  # one bar at a time
            return bars.enter_context(progress_bar(label, unit="pair"))

        report = filter_pairs(source, rules, encoder, progress=stage)
    if out is not None and report.kept:
        out.write_text([table_text(out.path, source, report.kept)])
    if report_file is not None:
        text = json.dumps(report.to_dict(), indent=2) + "\n"
        report_file.write_text([text])
    else:
        rows = [(pair.rule, pair.name, pair.why) for pair in report.dropped]
        for line in table_lines(rows, has_heading=False):
            print(line)
    for line in [*skipped_lines(report.skipped), *_summary(report)]:
        note(line)
    if not report.kept:
        note("no pair is kept, so no table was written")
    is_whole = not report.skipped and "unreadable image" not in report.num_dropped
    return 1 if not report.kept or (arguments.strict and not is_whole) else 0


def _rules(arguments: argparse.Namespace) -> FilterRules:
    rules = FilterRules(
        drop_file_names=arguments.drop_file_names,
        min_words=arguments.min_words,
        max_words=arguments.max_words,
        min_characters=arguments.min_characters,
        max_characters=arguments.max_characters,
        min_side=arguments.min_side,
        max_aspect=arguments.max_aspect,
        drop_exact_copies=arguments.exact,
        min_similarity=arguments.min_similarity,
        min_quantile=arguments.min_quantile,
        near_epsilon=arguments.near,
    )
    if not rules.active:
        raise InputError("there is no rule to filter by: give one, as in  --min-quantile .3")
    return rules


def _outputs(arguments: argparse.Namespace) -> tuple[OutputFile | None, OutputFile | None]:
    """Return where the table and the report go, if anywhere; checked before any work."""
    if arguments.out is None and not arguments.dry_run:
        raise InputError("where to? Give  --out KEPT.csv , or --dry-run to write no table")
    out = None if arguments.dry_run else arguments.out
    if out is not None:
        check_is_table(out)
    if out is not None and out == arguments.report:
        raise InputError(f"--out and --report are both {out}: give them different names")
    files = [
        None if path is None else OutputFile(path, is_forced=arguments.force)
        for path in (out, arguments.report)
    ]
    for file in files:
        if file is not None:
            file.check()
    return files[0], files[1]


def _summary(report: FilterReport) -> Iterator[str]:
    if report.similarity_quantiles:
        figures = ", ".join(
            f"{share:.0%} {value:.3f}" for share, value in report.similarity_quantiles.items()
        )
        yield f"similarities of captions, by share below: {figures}"
    counts = report.num_dropped
    for rule in RULES:
        if rule in counts:
            yield f"dropped: {counts[rule]} x {rule}"
    yield f"kept {len(report.kept)} of {report.num_pairs} pairs"
