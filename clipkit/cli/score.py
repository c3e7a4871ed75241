"""``clipkit score``: CLIPScore of the captions of image-text pairs."""

import argparse
import json
from pathlib import Path
from statistics import fmean

from clipkit.cli import values
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.pair_options import add_pair_options, open_source
from clipkit.cli.report_lines import skipped_lines
from clipkit.cli.terminal import note, progress_bar, to_json
from clipkit.curation.scoring import CaptionScore, References, ScoreReport, score_pairs
from clipkit.errors import InputError
from clipkit.plain_text import visible

_EPILOG = """\
examples:
  clipkit score captions.csv
  clipkit score photos --references right.json --json

a score is 2.5 times the cosine of image and caption, negative ones count as 0 (CLIPScore, Hessel
et al. 2021). Scores of different models do not compare; published ones are those of
--model ViT-B-32/openai

FILE.json holds reference captions, by the name of the image's file, with or without its ending:
{"beach.jpg": ["people on a beach", "a sunny beach"]}
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "score",
        help="say how well captions fit their images",
        description="Print one line per caption: its CLIPScore, with --references its\n"
        "RefCLIPScore, the image, and the caption. The mean comes last.",
        epilog=_EPILOG,
    )
    add_pair_options(parser)
    parser.add_argument(
        "--references",
        type=values.path,
        metavar="FILE.json",
        help="reference captions, for RefCLIPScore",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="one JSON object per caption and line, and one with the means at the end",
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 if a pair was skipped")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Score and print.

    Args:
        arguments: As parsed.

    Returns:
        0; or 1 if no image could be read, or one was skipped and --strict was given.

    Raises:
        InputError: If the pairs or the references are invalid.
    """
    references = None
    if arguments.references is not None:
        references = _read_references(Path(arguments.references))
    source = open_source(arguments)
    skipped = list(source.skipped)
    encoder = load_encoder(arguments)
    fits: list[float] = []
    referenced: list[float] = []
    with progress_bar("scoring", unit="pair") as progress:
        progress(0, len(source))
        for batch in score_pairs(encoder, source, references=references, progress=progress):
            for score in batch.scores:
                print(_line(score, arguments), flush=True)
                fits.append(score.clip_score)
                if score.ref_clip_score is not None:
                    referenced.append(score.ref_clip_score)
            skipped += batch.skipped
    for line in skipped_lines(skipped):
        note(line)
    if not fits:
        note("no pairs that can be scored")
        return 1
    report = ScoreReport(
        clip_score=fmean(fits),
        ref_clip_score=fmean(referenced) if referenced else None,
        num_captions=len(fits),
        num_with_references=len(referenced),
        skipped=skipped,
    )
    _print_means(report, arguments)
    return 1 if skipped and arguments.strict else 0


def _line(score: CaptionScore, arguments: argparse.Namespace) -> str:
    has_references = arguments.references is not None
    if arguments.json:
        found = score.to_dict()
        if not has_references:
            del found["ref_clip_score"]
        return to_json(found)
    columns = [f"{score.clip_score:.4f}", visible(score.name), visible(score.caption)]
    if has_references:
        columns.insert(1, "-" if score.ref_clip_score is None else f"{score.ref_clip_score:.4f}")
    return "\t".join(columns)


def _print_means(report: ScoreReport, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(to_json(report.to_dict()))
    note(f"captions: {report.num_captions}, mean CLIPScore {report.clip_score:.4f}")
    if arguments.references is not None:
        mean = report.ref_clip_score
        shown = "" if mean is None else f", mean RefCLIPScore {mean:.4f}"
        note(f"captions with references: {report.num_with_references}{shown}")


def _read_references(path: Path) -> References:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise InputError(f"{path} is not a JSON file in UTF-8: {error}") from error
    is_right = isinstance(found, dict) and all(
        isinstance(texts, list) and all(isinstance(text, str) for text in texts)
        for texts in found.values()
    )
    if not is_right:
        raise InputError(
            f"{path} must hold an object with a list of captions for each name, as in "
            '{"beach.jpg": ["people on a beach"]}'
        )
    return dict(found)
