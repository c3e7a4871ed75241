"""``clipkit audit``: how a model treats groups of the user's own images."""

import argparse
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipkit.cli import values
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.outputs import OutputFile
from clipkit.cli.report_lines import print_shortcomings
from clipkit.cli.terminal import note, progress_bar, table_lines, to_json, warn
from clipkit.data.caption_files import decode_text
from clipkit.errors import InputError
from clipkit.plain_text import visible
from clipkit.progress import Callbacks, Progress

if TYPE_CHECKING:
    from clipkit.evaluation.audit.audit import AuditOptions
    from clipkit.evaluation.audit.report import AuditReport

_EPILOG = """\
examples:
  clipkit audit people.csv --group gender --query "a photo of a doctor"
  clipkit audit people.csv --group gender --group age --label-column job -o audit.html
  clipkit audit photos/ --groups groups.csv --group camera   class folders; the table has the groups
  clipkit audit people.csv --group gender --queries queries.txt --concepts words.txt --json
  clipkit audit people.csv --group gender --label-column job --debias --swap "doctor=female doctor"

Groups are those in your table, never guessed by the model. A finding is more than chance, all
that was tested considered. Images are embedded once: interrupted, the same command resumes
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "audit",
        help="find differences between groups of images",
        description="Measure whether a model treats groups of images differently: accuracy by\n"
        "group, who is found by queries, and what groups are associated with.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "data",
        type=values.path,
        metavar="DATA",
        help="a table of images (.csv, .tsv, .jsonl, .parquet), or a folder with one folder a "
        "class",
    )
    _add_data_options(parser)
    _add_text_options(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=values.path,
        action="append",
        default=[],
        metavar="FILE",
        help="write the report: a page with plots (.html) or Markdown (.md); may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, with all figures")
    parser.add_argument(
        "--force", action="store_true", help="replace FILE, whatever wrote what is there"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if an image was skipped")
    add_model_options(parser)
    parser.set_defaults(run=run)


def _add_data_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("data")
    group.add_argument(
        "--group",
        action="append",
        required=True,
        metavar="COLUMN",
        help="column of the table with the group of each image; may be repeated",
    )
    group.add_argument(
        "--groups",
        type=values.path,
        metavar="FILE",
        help="for class folders: the table with these columns, its paths counted from its folder",
    )
    group.add_argument(
        "--label-column", default="", metavar="NAME", help="column of a table with the class"
    )
    group.add_argument(
        "--image-column",
        default="",
        metavar="NAME",
        help="column with the images (default: filepath, file_name, image or similar)",
    )
    group.add_argument(
        "--class-names",
        default="",
        metavar="FILE",
        help="names of class folders (default: the folders' names)",
    )


def _add_text_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what to measure")
    group.add_argument(
        "--templates", default="default", metavar="SET", help="prompt templates of the classes"
    )
    group.add_argument(
        "--query", action="append", default=[], metavar="TEXT", help="a search; may be repeated"
    )
    group.add_argument("--queries", type=values.path, metavar="FILE", help="searches, one a line")
    group.add_argument(
        "--concepts",
        type=values.path,
        metavar="FILE",
        help='words to associate groups with, one a line, as "a doctor" (default: 30 of them)',
    )
    group.add_argument(
        "--swap",
        action="append",
        default=[],
        metavar="A=B",
        help='words to swap in class names and searches (default: "man=woman" and the like)',
    )
    group.add_argument(
        "--debias",
        action="store_true",
        help="measure again with the directions in which the groups' images differ taken out of "
        "the texts",
    )
    group.add_argument(
        "--debias-words",
        action="append",
        default=[],
        metavar="A=B",
        help="the same with the direction between two words, as man=woman; may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Audit, write and print.

    Args:
        arguments: As parsed.

    Returns:
        0; or 1 if an image was skipped and --strict was given.

    Raises:
        InputError: If the data or an option do not fit, or a file cannot be written.
        MissingExtraError: If a page is asked for and matplotlib is not installed.
    """
    # Imported here, so that the help of all commands starts without them.
    from clipkit.evaluation.audit.audit import audit
    from clipkit.evaluation.audit.report_page import check_plots, report_page
    from clipkit.evaluation.audit.report_text import report_markdown

    outputs = [_output(Path(path), is_forced=arguments.force) for path in arguments.output]
    if any(_is_page(output) for output in outputs):
        check_plots()
    options = _options(arguments)
    encoder = load_encoder(arguments)
    callbacks = Callbacks(say=note, warn=warn, progress_for=_bar)
    report = audit(encoder, str(arguments.data), options, callbacks=callbacks)
    for output in outputs:
        output.write_text(report_page(report) if _is_page(output) else report_markdown(report))
    _print(report, is_json=arguments.json)
    return 1 if report.skipped and arguments.strict else 0


def _output(path: Path, *, is_forced: bool) -> OutputFile:
    from clipkit.evaluation.audit.report_text import MARK

    if path.suffix.lower() not in (".html", ".htm", ".md"):
        raise InputError(f"a report is a file that ends in .html or .md, got {path}")
    return OutputFile(path, lambda head: MARK.encode() in head, is_forced).checked()


def _is_page(output: OutputFile) -> bool:
    return output.path.suffix.lower() != ".md"


def _options(arguments: argparse.Namespace) -> "AuditOptions":
    from clipkit.data.pair import PairLayout
    from clipkit.evaluation.audit.audit import AuditOptions
    from clipkit.evaluation.audit.counterfactuals import parse_swap

    queries = tuple(arguments.query)
    if arguments.queries is not None:
        queries += _lines(Path(arguments.queries), "queries")
    options = AuditOptions(
        group_columns=tuple(arguments.group),
        groups_table=arguments.groups or "",
        label_column=arguments.label_column,
        layout=PairLayout(image_column=arguments.image_column, class_names=arguments.class_names),
        templates=arguments.templates,
        queries=queries,
        debias=arguments.debias,
        debias_words=tuple(map(parse_swap, arguments.debias_words)),
    )
    changes: dict[str, Any] = {}
    if arguments.concepts is not None:
        changes["concepts"] = _lines(Path(arguments.concepts), "concepts")
    if arguments.swap:
        changes["swaps"] = tuple(map(parse_swap, arguments.swap))
    return replace(options, **changes)


def _lines(path: Path, what: str) -> tuple[str, ...]:
    """Return the lines of a file without blanks."""
    try:
        text = decode_text(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"{path} is no text, one of the {what} a line: {error}") from error
    found = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not found:
        raise InputError(f"{path} holds none of the {what}: write one a line")
    return found


def _print(report: "AuditReport", *, is_json: bool) -> None:
    from clipkit.evaluation.audit.report_text import report_sections, report_title

    print_shortcomings(report.skipped, report.warnings)
    if is_json:
        print(to_json(report.to_dict()))
        return
    print(visible(report_title(report)))
    for section in report_sections(report):
        print(f"\n{visible(section.heading)}")
        for sentence in section.sentences:
            print(f"  {visible(sentence)}")
        for line in table_lines(section.rows or []):
            print(f"    {line}")


def _bar(label: str) -> AbstractContextManager[Progress]:
    return progress_bar(label, unit="column" if label == "shuffling groups" else "item")
