"""What a visitor wants to classify by: labels, templates and the kind of answer, within bounds."""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import clipkit
from clipkit.demo.messages import refuse
from clipkit.demo.search_query import concepts

MAX_LABELS = 200  # a few seconds of work
MAX_LABEL = 100  # characters; the model reads about 70 words
MAX_TEMPLATES = 10
MAX_TEMPLATE = 200  # characters
MAX_DOMAIN = 40

BEST, OR_NONE, SEVERAL, HEAD = ANSWERS = (
    "One of the labels", "One of the labels, or none of these", "Several may apply, or none",
    "My classes, of the tab Adapt",
)  # fmt: skip
_CELL = re.compile(r'[^\S\n\t]*"([^"]+)"[^\S\n\t]*(?=[,;|\t\n]|$)|([^,;|\t\r\n]+)')
_RULE = re.compile(r":?-+:?")  # below the head of a table in Markdown


@dataclass(frozen=True)
class ClassifyRequest:
    """What images are classified by."""

    labels: tuple[str, ...]
    answer: str = BEST  # or another one of ANSWERS
    templates: tuple[str, ...] = clipkit.TEMPLATE_SETS["default"]
    domain: str | None = None


def read_classify_request(
    labels: str | None, answer: str, templates: str | None, domain: str | None
) -> ClassifyRequest:
    """Return what a visitor wants, within bounds.

    Args:
        labels: As for :func:`read_labels`.
        answer: One of ANSWERS.
        templates: One a line, each with one {}; none are the usual ones.
        domain: What kind of things the labels are; may be empty.

    Returns:
        The request.

    Raises:
        gr.Error: If there is too much of something.
    """
    lines = tuple(line.strip() for line in (templates or "").splitlines() if line.strip())
    if len(lines) > MAX_TEMPLATES or any(len(line) > MAX_TEMPLATE for line in lines):
        raise refuse(f"Up to {MAX_TEMPLATES} templates of {MAX_TEMPLATE} characters each")
    kind = (domain or "").strip()
    if len(kind) > MAX_DOMAIN:
        raise refuse(f"The kind of things is a word or two, up to {MAX_DOMAIN} characters")
    if answer not in ANSWERS:
        raise refuse(f"An answer is one of: {'; '.join(ANSWERS)}")
    usual = clipkit.TEMPLATE_SETS["default"]
    return ClassifyRequest(tuple(read_labels(labels or "")), answer, lines or usual, kind or None)


def read_labels(text: str) -> list[str]:
    """Return the labels a visitor typed or pasted, each once, within bounds.

    Args:
        text: Labels on lines, between commas or semicolons, or in the cells of a table whose
            columns are tabs or bars; quotes around one keep what would part it.

    Returns:
        In the order given.
    """
    cells = [quoted or plain for quoted, plain in _CELL.findall(text)]
    names = [name for cell in cells if (name := cell.strip()) and not _RULE.fullmatch(name)]
    names = list(dict.fromkeys(names))
    if len(names) > MAX_LABELS:
        raise refuse(f"{MAX_LABELS} labels at most can be compared here, got {len(names)}")
    if any(len(name) > MAX_LABEL for name in names):
        raise refuse(f"A label may have up to {MAX_LABEL} characters")
    return names


def make_classifier(
    encoder: clipkit.Encoder, request: ClassifyRequest, tell: Callable[[str], None]
) -> clipkit.ZeroShotClassifier:
    """Return the classifier of a request; labels that name a taught concept stand for that.

    Args:
        encoder: The model; it keeps embeddings of texts.
        request: The labels, and how they are to be scored.
        tell: Called after every step with what is done.

    Returns:
        The classifier.

    Raises:
        InputError: If there is no label, one cannot be read, or a score is asked for that the model
            has not.
        PromptError: If a template does not have exactly one {}.
    """
    taught = concepts(encoder.space_id)
    named = {name: taught.get(name) for name in request.labels}
    templates, domain = request.templates, request.domain
    if not any(value is None for value in named.values()):  # no text is made of any
        templates, domain = clipkit.TEMPLATE_SETS["default"], None

    def make(labels: Mapping[str, NDArray[np.floating] | None]) -> clipkit.ZeroShotClassifier:
        with warnings.catch_warnings():  # of labels, which are never logged: see `remarks`
            warnings.simplefilter("ignore", clipkit.ClipkitWarning)
            return clipkit.ZeroShotClassifier(
                encoder, labels, templates=templates, domain=domain,
                multi_label=request.answer == SEVERAL,
            )  # fmt: skip

    for number, (name, value) in enumerate(named.items(), start=1):
        if value is None:  # one a step: the last step has them all in memory
            make({name: None})
            tell(f"Reading labels: {number} of {len(named)}")
    classifier = make(named)
    if request.answer != BEST and not (classifier.multi_label and encoder.scoring.is_sigmoid):
        classifier.prepare(lambda done, total: tell("Reading words to compare with"))
    return classifier.with_unknown() if request.answer == OR_NONE else classifier


def remarks(
    encoder: clipkit.Encoder, classifier: clipkit.ZeroShotClassifier, request: ClassifyRequest
) -> str:
    """Return what a visitor should know of the labels, in a sentence or two; mostly nothing."""
    said = []
    if len(classifier.labels) == 1 and request.answer == BEST and not classifier.multi_label:
        said.append("One label alone always fits: add others, or choose another kind of answer.")
    if alike := [label for label in classifier.labels if label not in classifier.class_names]:
        said.append(f"The model reads these as one: {'; '.join(alike[:3])}.")
    taught = concepts(encoder.space_id).keys() & {*classifier.class_names}
    words = [name for name in classifier.class_names if name not in taught]
    if unknown := encoder.unknown_texts(words):
        said.append(f"The model knows no word of: {', '.join(unknown[:3])}.")
    if taught:
        said.append(f"Taken for taught concepts: {', '.join(sorted(taught))}.")
    return " ".join(said)
