"""``clipkit classify``: zero-shot classification of images by labels of the user's own."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.cli import values
from clipkit.cli.classify_output import Answer, choose_writer
from clipkit.cli.label_arguments import read_labels
from clipkit.cli.model_options import add_model_options, load_encoder
from clipkit.cli.parser import Parser
from clipkit.cli.quoting import quoted
from clipkit.cli.report_lines import absent_line, skipped_lines
from clipkit.cli.taught_concepts import TaughtConcepts, add_concept_option
from clipkit.cli.terminal import clear_bars, note, progress_bar
from clipkit.embeddings import Embeddings
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.image_embedding import EncodedBatch
from clipkit.errors import ImageReadError, InputError, LibraryError, SpaceMismatchError
from clipkit.inputs.folders import FolderEntry, find_images
from clipkit.models.sources import CONFIG_NAME
from clipkit.zero_shot.calibration import Calibration
from clipkit.zero_shot.classifier import NONE_OF_THESE, ZeroShotClassifier
from clipkit.zero_shot.label_scores import LabelScore
from clipkit.zero_shot.labels import Labels, label_prompts
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES, TEMPLATE_SETS

if TYPE_CHECKING:
    from clipkit.adaptation.head import Head
    from clipkit.search.lookup import IndexedFiles

_UNKNOWN_CUT = 0.5
_EPILOG = """\
examples:
  clipkit classify photos --labels "cat, dog, bird"
  clipkit classify fig.jpg --labels-file fruits.txt --domain food --csv > fruits.csv
  clipkit classify photos --labels "people, sea" --multi-label --json
  clipkit classify photos --labels "cat, dog" --unknown
  clipkit classify photos --head pets.safetensors      of clipkit adapt: your own classes
  clipkit classify photos --labels "Rex, dog, cat"      Rex was taught: clipkit help teach
  clipkit classify photos --labels "cat, dog" --calibration pets.json --coverage 0.9

images of an indexed folder are looked up in the index instead of decoded again. A calibration is
written by clipkit evaluate --calibrate, from some images that are sorted into folders by label
"""


def add_parser(subparsers: "argparse._SubParsersAction[Parser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "classify",
        help="say which of your labels fits each image",
        description="Zero-shot classification: score images against your labels, without training.",
        epilog=_EPILOG,
    )
    parser.add_argument(
        "paths",
        type=values.path,
        nargs="+",
        metavar="PATH",
        help="images and folders of images",
    )
    labels = parser.add_mutually_exclusive_group(required=True)
    labels.add_argument(
        "--labels",
        metavar='"a,b,c"',
        help="labels, separated by commas; or a file ending in .txt or .json",
    )
    labels.add_argument(
        "--head",
        type=values.path,
        metavar="FILE",
        help="the classes of a head that clipkit adapt -o has written, and its model",
    )
    labels.add_argument(
        "--labels-file",
        type=values.path,
        metavar="FILE",
        help="a file with one label a line; lines that begin with # are comments. Or a .json file: "
        "a list of labels, or an object with the prompts of each label, in which a {} or {c} "
        "stands for the label",
    )
    parser.add_argument(
        "--templates",
        default=DEFAULT_TEMPLATES,
        metavar="SET",
        help=f"a set of prompt templates ({', '.join(TEMPLATE_SETS)}), or one of your own with "
        "a {}",
    )
    parser.add_argument(
        "--domain", metavar="WORD", help='what kind of things the labels are, such as "food"'
    )
    parser.add_argument(
        "--top",
        "-t",
        type=values.whole_number(1),
        default=3,
        metavar="K",
        help="how many labels per image (default 3)",
    )
    parser.add_argument(
        "--multi-label",
        action="store_true",
        help="score every label on its own; several may apply, and one from 0.5 on counts as given",
    )
    parser.add_argument(
        "--unknown",
        action="store_true",
        help=f'answer "{NONE_OF_THESE}" as well, with its probability; an image counts as unknown '
        "where that is 0.5 or more",
    )
    parser.add_argument(
        "--calibration",
        type=values.path,
        metavar="FILE",
        help="probabilities by a file of clipkit evaluate --calibrate",
    )
    parser.add_argument(
        "--coverage",
        type=values.inner_share,
        metavar="SHARE",
        help="give the set of labels that holds the right one for this share of images, such as "
        "0.9: on average over images like those of the calibration, not for every image or label",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object per image and line")
    form.add_argument("--csv", action="store_true", help="path,label,score with a header")
    parser.add_argument("--strict", action="store_true", help="exit 1 if an image was skipped")
    add_concept_option(parser)
    add_model_options(parser)
    parser.explain_words = _explain_words
    parser.set_defaults(run=run, model=None)  # None: that of the head, else the starter


def _explain_words(arguments: argparse.Namespace, left: Sequence[str]) -> str:
    """Return a hint on where images are named."""
    return f"images come before the options:  clipkit classify {' '.join(map(quoted, left))} …"


def run(arguments: argparse.Namespace) -> int:
    """Classify and print.

    A label that is given twice, typed or in a file, counts once, with a note: what is printed tells
    labels apart by their names alone. (In Python equal names are two classes, with a number each.)

    Args:
        arguments: As parsed.

    Returns:
        0; or 1 if no image could be read, or one was skipped and --strict was given.

    Raises:
        InputError: If a label, a path or a calibration is refused.
        SpaceMismatchError: If the calibration is of another model.
    """
    # Both say what is wrong with what they are given before any work.
    make_answers = _by_head(arguments) if arguments.head is not None else _by_words(arguments)
    sources = _collect(arguments.paths)
    encoder = load_encoder(arguments)
    answers_of = make_answers(encoder)
    skipped = [error for source in sources for error in source.skipped]
    num_images, num_done = sum(len(source.paths) for source in sources), 0
    num_ranked = num_unknown = 0
    with progress_bar("classifying") as progress:
        progress(0, num_images)
        writer = choose_writer(arguments, [path for each in sources for path in each.paths])
        for source in sources:
            for batch in source.stream(encoder):
                answers = answers_of(batch.embeddings)
                clear_bars()
                for position, answer in zip(batch.positions, answers, strict=True):
                    writer.write(source.paths[position], answer)
                num_ranked += len(answers)
                num_unknown += sum(answer.is_unknown is True for answer in answers)
                skipped += [error for _, error in batch.skipped]
                num_done += len(answers) + len(batch.skipped)
                progress(num_done, num_images)
    for line in skipped_lines(skipped):
        note(line)
    if num_unknown > num_ranked / 2:
        note(
            f'{num_unknown} of {num_ranked} images are "{NONE_OF_THESE}": of broad labels, such as '
            "animal, try the kinds, such as cat and dog"
        )
    if not num_images and not skipped:
        note("no images found")
    return 1 if not num_ranked or (skipped and arguments.strict) else 0


_Answers = Callable[[Embeddings], list[Answer]]
"""What is said of images, from their embeddings."""


def _by_head(arguments: argparse.Namespace) -> Callable[[Encoder], _Answers]:
    """Return what answers by the classes of a head, once there is an encoder."""
    from clipkit.adaptation.head import Head, HeadClassifier

    given = {
        "--templates": arguments.templates != DEFAULT_TEMPLATES,
        "--domain": arguments.domain is not None,
        "--multi-label": arguments.multi_label,
        "--unknown": arguments.unknown,
        "--calibration": arguments.calibration is not None,
        "--coverage": arguments.coverage is not None,
    }
    if unused := [name for name, is_given in given.items() if is_given]:
        raise InputError(
            f"{', '.join(unused)}: for labels that are words; a head has its own classes and "
            "probabilities, so leave that out"
        )
    head = Head.load(Path(arguments.head))
    arguments.model = arguments.model or values.model_name(_model_of(Path(arguments.head), head))

    def make(encoder: Encoder) -> _Answers:
        classifier = HeadClassifier(encoder, head)
        return lambda embeddings: [
            Answer(labels) for labels in classifier.rank(embeddings, k=arguments.top)
        ]

    return make


def _model_of(path: Path, head: "Head") -> str:
    """Return the model of a head: the one that it lies beside, or else the one that it names."""
    folder = path.expanduser().absolute().parent
    return str(folder) if (folder / CONFIG_NAME).is_file() else head.model


def _by_words(arguments: argparse.Namespace) -> Callable[[Encoder], _Answers]:
    """Return what answers by labels that are words, once there is an encoder."""
    arguments.model = arguments.model or values.model_name("starter")
    calibration, named = _read_calibration(arguments), read_labels(arguments)
    taught = TaughtConcepts(arguments, named)
    label_prompts(named, arguments.templates, arguments.domain)

    def make(encoder: Encoder) -> _Answers:
        labels = taught.labels(named, encoder)
        classifier = _classifier(arguments, labels, calibration, encoder)
        return lambda embeddings: _answers(classifier, embeddings, arguments)

    return make


def _classifier(
    arguments: argparse.Namespace,
    labels: Labels,
    calibration: Calibration | None,
    encoder: Encoder,
) -> ZeroShotClassifier:
    with progress_bar("embedding labels", unit="prompt") as progress:
        progress(0, None)
        classifier = ZeroShotClassifier(
            encoder,
            labels,
            templates=arguments.templates,
            domain=arguments.domain,
            multi_label=arguments.multi_label,
            progress=progress,
        )
    if len(classifier.labels) == 1 and not classifier.multi_label and not arguments.unknown:
        note(
            "one label always scores 1; add more labels, --unknown for an answer beside it, or "
            "--multi-label to score it on its own"
        )
    if calibration is not None:
        classifier = classifier.with_calibration(calibration)
    if arguments.unknown:
        classifier = classifier.with_unknown()
    if calibration is not None and arguments.coverage is not None:
        # Refused before any image is embedded.
        classifier.label_sets(classifier.class_embeddings[:0], coverage=arguments.coverage)
        asked = f"{100 * arguments.coverage:.10g}%"  # .995 is not 100%
        note(
            f"sets of labels: {asked} of them or more hold the right one, on "
            f"average over images like the {calibration.num_images} of the calibration; not for "
            "every image or label, and an image that shows none of the labels has a set too"
        )
    return classifier


def _read_calibration(arguments: argparse.Namespace) -> Calibration | None:
    if arguments.coverage is not None and arguments.calibration is None:
        raise InputError(
            "--coverage needs --calibration with a file that clipkit evaluate --calibrate has "
            "written of images with these labels"
        )
    if arguments.coverage is not None and arguments.unknown:
        raise InputError(
            "--coverage and --unknown do not go together: a set holds the right label for images "
            "that show one of the labels, and says nothing of the others"
        )
    return None if arguments.calibration is None else Calibration.load(arguments.calibration)


def _answers(
    classifier: ZeroShotClassifier, embeddings: Embeddings, arguments: argparse.Namespace
) -> list[Answer]:
    ranked = classifier.rank(embeddings, k=arguments.top)
    if arguments.coverage is not None:
        sets = classifier.label_sets(embeddings, coverage=arguments.coverage)
        return [Answer(*both) for both in zip(ranked, sets, strict=True)]
    if not arguments.unknown:
        return [Answer(labels) for labels in ranked]
    return [Answer(labels, is_unknown=_is_unknown(labels[0])) for labels in ranked]


def _is_unknown(first: LabelScore) -> bool:
    return first["label"] == NONE_OF_THESE and first["score"] >= _UNKNOWN_CUT


@dataclass(frozen=True)
class _Source:
    """Images to classify: files that were named, or those of a folder."""

    paths: list[str]  # as the user wrote them
    folder: str | None = None
    entries: Sequence[FolderEntry] = ()  # of the folder, one a path
    skipped: Sequence[ImageReadError] = ()  # files of the folder that cannot be read

    def stream(self, encoder: Encoder) -> Iterator[EncodedBatch]:
        """Yield the embeddings, from the index of the folder as far as it has them."""
        known = None if self.folder is None else _look_up(self.folder, self.entries, encoder)
        yield from encoder.stream_images(self.paths) if known is None else known.stream(encoder)


def _collect(words: Sequence[str]) -> list[_Source]:
    """Return the images to classify, each path once."""
    seen: set[str] = set()
    sources = []
    for is_folder, group in groupby(words, key=_is_folder):
        if not is_folder:
            sources.append(_Source([path for path in dict.fromkeys(group) if path not in seen]))
            seen.update(sources[-1].paths)
            continue
        for folder in group:
            scan = find_images(Path(folder))
            new = {str(Path(folder) / entry.path): entry for entry in scan.entries}
            new = {path: entry for path, entry in new.items() if path not in seen}
            seen.update(new)
            sources.append(_Source([*new], folder, [*new.values()], scan.skipped_in(folder)))
    return sources


def _is_folder(word: str) -> bool:
    return Path(word).is_dir()


def _look_up(
    folder: str, entries: Sequence[FolderEntry], encoder: Encoder
) -> "IndexedFiles | None":
    """Return the indexed embeddings of a folder's images; None without a usable index."""
    from clipkit.search.library import PhotoLibrary

    try:
        library = PhotoLibrary.open_nearest(folder, encoder)
        if not library.is_indexed:
            return None
        if not entries:
            if line := absent_line(len(library) + library.num_missing, folder):
                note(line)
            return None
        known = library.look_up(entries)
    except (LibraryError, SpaceMismatchError) as error:
        note(f"the index of {folder} is not used: {error}")
        return None
    note(f"{known.num_known} of {len(entries)} images of {folder} are looked up in its index")
    return known
