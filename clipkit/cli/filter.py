"""``clipkit filter``: pairs in, a table of those worth keeping out."""

import argparse
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from clipkit.cli import values
from clipkit.cli.options import add_model_options, load_encoder, skipped_lines
from clipkit.cli.outputs import OutputFile
from clipkit.cli.pair_options import add_pair_options, open_source
from clipkit.cli.terminal import note, progress_bar, table_lines
from clipkit.curation.filtering import FilterReport, filter_pairs
from clipkit.curation.rules import RULES, FilterRules
from clipkit.curation.writing import check_has_files, check_is_table, table_text
from clipkit.data.pair import PairDataset
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.progress import Progress

_EPILOG = """\
examples:
  clipkit filter pairs.csv --min-similarity -1 --dry-run     see where thresholds would cut
  clipkit filter pairs.csv --min-quantile .3 --exact --out kept.csv

rules are looked at in this order, each on what those before left over; a pair is told with the
first that it breaks:
  captions: empty, file names, length      a caption that breaks a rule is taken out; the pair goes
  images: unreadable, size, same bytes   with its last one
  similarity of caption and image, then the least similar share, then near duplicates
of duplicates the pair with the most similar caption is kept
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "filter",
        help="leave out pairs that are not worth training on",
        description="Write the pairs that keep to your rules as a table, and tell which were\n"
        "dropped and why, one line a pair: the rule, the pair, the figures. Images are never\n"
        "touched.",
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
        help="write what was dropped there instead of printing",
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
        help='no captions that are file names, such as "IMG_1234.jpg"',
    )
    for what in ("words", "characters"):
        for bound in ("min", "max"):
            group.add_argument(
                f"--{bound}-{what}",
                type=values.whole_number(1),
                metavar="N",
                help=f"{what} of a caption",
            )
    group.add_argument(
        "--min-side",
        type=values.whole_number(1),
        metavar="PX",
        help="pixels of an image's shorter side",
    )
    group.add_argument(
        "--max-aspect",
        type=values.number(),
        metavar="X",
        help="longer side divided by the shorter",
    )
    group.add_argument(
        "--exact", action="store_true", help="of images with the same bytes only one"
    )
    group.add_argument(
        "--min-similarity",
        type=values.number(),
        metavar="X",
        help="cosine of caption and image, -1 to 1",
    )
    group.add_argument(
        "--min-quantile",
        type=values.number(),
        metavar="Q",
        help="without the least similar captions: .3 drops the lowest 30 %%",
    )
    group.add_argument(
        "--near",
        type=values.number(),
        metavar="EPS",
        help="of images whose cosine is above 1 - EPS only one (SemDeDup); what EPS is right "
        "depends on the model and the images",
    )


def run(arguments: argparse.Namespace) -> int:
    """Filter, write and tell.

    Args:
        arguments: As parsed.

    Returns:
        0; or 1 if no pair is kept, or an image was unreadable and --strict was given.

    Raises:
        InputError: If there is no rule, a file is in the way, or the pairs make no sense.
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
        text = json.dumps(_as_json(report, source, encoder), indent=2) + "\n"
        report_file.write_text([text])
    else:
        rows = [(pair.rule, pair.name, pair.why) for pair in report.dropped]
        for line in table_lines(rows, has_heading=False):
            print(line)
    for line in [*skipped_lines(source.skipped), *_summary(report)]:
        note(line)
    if not report.kept:
        note("no pair is kept, so no table was written")
    is_whole = not source.skipped and "unreadable image" not in report.num_dropped
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
    if not rules.asked:
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


def _as_json(report: FilterReport, source: PairDataset, encoder: Encoder | None) -> dict[str, Any]:
    return {
        "pairs": report.num_pairs,
        "kept": len(report.kept),
        "dropped": {rule: report.num_dropped.get(rule, 0) for rule in RULES},
        "captions_removed": report.captions_removed,
        "similarity_quantiles": report.similarity_quantiles,
        "rules": report.rules.asked,
        "model": encoder and {"name": encoder.name, "space_id": encoder.space_id},
        "skipped": [{"path": error.path, "reason": error.reason} for error in source.skipped],
        "dropped_pairs": [
            {"row": pair.row, "name": pair.name, "rule": pair.rule, "why": pair.why}
            for pair in report.dropped
        ],
    }


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
