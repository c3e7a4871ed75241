"""``clipkit classify``: pictures and labels in, ranked labels out."""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from clipkit.cli.options import add_model_options, load_encoder, skipped_lines
from clipkit.cli.progress import note, progress_bar
from clipkit.cli.stdout import to_json
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.folders import find_images
from clipkit.zero_shot.classifier import LabelScore, ZeroShotClassifier
from clipkit.zero_shot.labels import check_class_names
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES, TEMPLATE_SETS


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "classify",
        help="say which of your labels fits each picture",
        description="Score pictures against labels you give, without training.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="pictures and folders of pictures")
    labels = parser.add_mutually_exclusive_group(required=True)
    labels.add_argument(
        "--labels", metavar='"a,b,c"', help="labels, separated by commas; or a file ending in .txt"
    )
    labels.add_argument(
        "--labels-file",
        metavar="FILE",
        help="a file with one label a line; lines that begin with # are comments",
    )
    parser.add_argument(
        "--templates",
        default=DEFAULT_TEMPLATES,
        metavar="SET",
        help=f"a set of prompts ({', '.join(TEMPLATE_SETS)}) or one of your own with a {{}}",
    )
    parser.add_argument(
        "--domain", metavar="WORD", help='what kind of things the labels are, such as "food"'
    )
    parser.add_argument(
        "--top", type=int, default=3, metavar="K", help="labels a picture (default 3)"
    )
    parser.add_argument(
        "--multi-label", action="store_true", help="score every label on its own; several may apply"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object a picture and line")
    form.add_argument("--csv", action="store_true", help="path,label,score with a header")
    parser.add_argument("--strict", action="store_true", help="exit 1 if a picture was skipped")
    add_model_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Classify and print.

    Args:
        arguments: As parsed.

    Returns:
        0; or 1 if no picture could be read, or one was skipped and --strict was given.

    Raises:
        InputError: If labels, paths or numbers make no sense.
    """
    if arguments.top < 1:
        raise InputError(f"--top must be at least 1, got {arguments.top}")
    class_names = check_class_names(_read_labels(arguments))
    paths, skipped = _collect(arguments.paths)
    encoder = load_encoder(arguments)
    with progress_bar("reading labels", unit="prompt") as progress:
        progress(0, None)
        classifier = ZeroShotClassifier(
            encoder,
            class_names,
            templates=arguments.templates,
            domain=arguments.domain,
            multi_label=arguments.multi_label,
            progress=progress,
        )
    if len(classifier.labels) == 1 and not classifier.multi_label:
        note("one label always scores 1; add more labels, or --multi-label to score it on its own")
    num_ranked = 0
    with progress_bar("classifying") as progress:
        progress(0, len(paths))
        writer = _choose_writer(arguments)
        for batch in encoder.stream_images(paths, progress=progress):
            ranked = classifier.rank(batch.embeddings, k=arguments.top)
            for position, labels in zip(batch.positions, ranked, strict=True):
                writer.write(paths[position], labels)
            num_ranked += len(ranked)
            skipped += [error for _, error in batch.skipped]
    for line in skipped_lines(skipped):
        note(line)
    if not paths and not skipped:
        note("no pictures found")
    return 1 if not num_ranked or (skipped and arguments.strict) else 0


def _read_labels(arguments: argparse.Namespace) -> list[str]:
    words = arguments.labels
    if words is None:
        return _labels_of(Path(arguments.labels_file))
    if "," not in words and words.strip().lower().endswith(".txt"):
        return _labels_of(Path(words.strip()))
    return [label for label in words.split(",") if label.strip()]


def _labels_of(path: Path) -> list[str]:
    """Return the labels of a file, one a line, without comments."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file in UTF-8: {error.reason}") from error
    labels = [line.strip() for line in lines if not line.lstrip().startswith("#")]
    # A backslash before it makes a label of what begins with #.
    labels = [label.removeprefix("\\") if label[:2] == "\\#" else label for label in labels]
    found = [label for label in labels if label]
    if not found:
        raise InputError(f"{path} holds no label: one a line is needed")
    return found


def _collect(words: Sequence[str]) -> tuple[list[str], list[ImageReadError]]:
    """Return the paths of pictures, as given, and what was skipped in folders."""
    paths: list[str] = []
    skipped: list[ImageReadError] = []
    for word in words:
        if Path(word).is_dir():
            scan = find_images(Path(word))
            paths += [str(Path(word) / image.path) for image in scan.entries]
            skipped += scan.skipped
        else:
            paths.append(word)
    return list(dict.fromkeys(paths)), skipped


class _JsonWriter:
    def write(self, path: str, labels: list[LabelScore]) -> None:
        pairs = [{"label": item["label"], "score": item["score"]} for item in labels]
        print(to_json({"path": path, "labels": pairs}), flush=True)


class _CsvWriter:
    def __init__(self) -> None:
        self._rows = csv.writer(sys.stdout, lineterminator="\n")
        self._rows.writerow(["path", "label", "score"])

    def write(self, path: str, labels: list[LabelScore]) -> None:
        for item in labels:
            self._rows.writerow([path, item["label"], f"{item['score']:.6f}"])


class _TextWriter:
    def write(self, path: str, labels: list[LabelScore]) -> None:
        scores = "  ".join(f"{item['label']} {item['score']:.1%}" for item in labels)
        print(f"{path}\t{scores}", flush=True)


_Writer = _JsonWriter | _CsvWriter | _TextWriter


def _choose_writer(arguments: argparse.Namespace) -> _Writer:
    if arguments.json:
        return _JsonWriter()
    return _CsvWriter() if arguments.csv else _TextWriter()
