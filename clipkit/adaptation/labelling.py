"""clipkit.next_to_label: which unlabelled images to label next.

Shapes: M unlabelled images, C classes, D dimensions.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.closed_form import (
    LEAST_FOR_DISCRIMINANT,
    fit_discriminant,
    fit_text_and_means,
)
from clipkit.adaptation.held_out import Fitted
from clipkit.adaptation.labelling_report import ImageToLabel, LabellingReport
from clipkit.adaptation.next_labels import choose_next, count_like, doubt, is_copy
from clipkit.adaptation.options import AdaptationOptions
from clipkit.adaptation.support import Support
from clipkit.adaptation.unlabelled import (
    LabelledSoFar,
    UnlabelledImages,
    given_labelled,
    read_labelled,
    read_unlabelled,
)
from clipkit.arguments import ENCODER_RULE, check_kind, check_path, check_whole
from clipkit.embeddings import Embeddings, check_embeddings
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.progress import Callbacks, keep_warnings
from clipkit.runtime.base import Scoring
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.probabilities import label_log_losses

_NUM_LIKELY = 2  # classes that are named with each image


def next_to_label(  # noqa: PLR0913 - two kinds of images, and what they are looked at with
    encoder: Encoder,
    folder: str | Path,
    *,
    data: str | Path = "",
    class_names: Sequence[str] = (),
    count: int = 20,
    options: AdaptationOptions | None = None,
    callbacks: Callbacks | None = None,
) -> LabellingReport:
    """Return which images of a folder to label next, so that a classifier learns most from it.

    Images are chosen that tell most about all others, given those that are labelled already.
    These, and copies of them, are never among them. Embeddings come from the folder's index, or are
    kept in the user's cache directory.

    Args:
        encoder: The model.
        folder: With the unlabelled images, in folders too; labelled ones may lie among them.
        data: The labelled images so far, as for :func:`clipkit.adapt`; empty: there are none.
        class_names: Classes that have no labelled image yet; those of the data need not be named.
        count: How many images, at most.
        options: As for :func:`clipkit.adapt`; only those of the labelled images and prompts count.
        callbacks: For messages, warnings and progress.

    Returns:
        The images, best first, and what they probably show.

    Raises:
        InputError: If there are not two classes, no image of the folder can be read, or all are
            labelled.
        MissingExtraError: If images are labelled and SciPy is not installed.
    """
    check_kind(encoder, "encode_images", ENCODER_RULE)
    check_whole(count, "the number of images to label")
    options = options or AdaptationOptions()
    kept: list[str] = []
    callbacks = keep_warnings(callbacks or Callbacks(), kept)
    known = read_labelled(encoder, str(data), class_names, options, callbacks)
    found = read_unlabelled(encoder, check_path(folder, "folder"), callbacks)
    return _report(encoder, known, found, (str(folder), str(data)), count, options, callbacks, kept)


def next_in_list(  # noqa: PLR0913 - two kinds of images, and what they are looked at with
    encoder: Encoder,
    paths: Sequence[str | Path],
    embeddings: Embeddings,
    *,
    labelled: Embeddings | None = None,
    labels: Sequence[str] = (),
    class_names: Sequence[str] = (),
    count: int = 20,
    options: AdaptationOptions | None = None,
    callbacks: Callbacks | None = None,
) -> LabellingReport:
    """Return which images of a list to label next, as `next_to_label` does of a folder.

    Args:
        encoder: The model.
        paths: What the M images are called in the report; no file is read.
        embeddings: Theirs, shape (M, D), rows of norm 1, such as an index has them.
        labelled: Embeddings of the labelled images so far, shape (N, D); None: there are none.
        labels: The name of the class of each of these.
        class_names: Classes that have no labelled image yet; those of the labels need not be named.
        count: How many images, at most.
        options: As for :func:`clipkit.adapt`; only those of prompts count.
        callbacks: For messages, warnings and progress.

    Returns:
        The images, best first, and what they probably show.

    Raises:
        InputError: If there are not as many paths, or labels, as embeddings, there are not two
            classes, or all images are labelled.
        MissingExtraError: If images are labelled and SciPy is not installed.
    """
    check_kind(encoder, "encode_images", ENCODER_RULE)
    check_whole(count, "the number of images to label")
    rows = np.empty((0, encoder.embed_dim), np.float32) if labelled is None else labelled
    for name, given, some in (("paths", paths, embeddings), ("labels", labels, rows)):
        if len(given) != len(some):
            raise InputError(f"got {len(given)} {name} for {len(some)} embeddings")
    kept: list[str] = []
    callbacks = keep_warnings(callbacks or Callbacks(), kept)
    known = given_labelled(check_embeddings(rows), labels, class_names)
    found = UnlabelledImages(
        Path(), tuple(map(str, paths)), np.asarray(check_embeddings(embeddings)), ()
    )
    options = options or AdaptationOptions()
    return _report(encoder, known, found, ("the list", ""), count, options, callbacks, kept)


def _report(  # noqa: PLR0913 - both ways in come together here
    encoder: Encoder,
    known: LabelledSoFar,
    found: UnlabelledImages,
    places: tuple[str, str],
    count: int,
    options: AdaptationOptions,
    callbacks: Callbacks,
    warnings: Sequence[str],
) -> LabellingReport:
    """Return the report; places are where the unlabelled and the labelled images came from."""
    folder, data = places
    rows = np.flatnonzero(~is_copy(found.embeddings, known.embeddings))
    if not len(rows):
        raise InputError(
            f"all {len(found.paths)} images of {folder} that can be read are labelled already, or "
            "to the model the same as labelled ones: nothing is left to label"
        )
    embeddings = found.embeddings[rows]
    support = _support(encoder, known, options, callbacks)
    probabilities = class_probabilities(support, embeddings)
    chosen = choose_next(embeddings, doubt(probabilities), known.embeddings, count)
    num_like = count_like(embeddings, known.embeddings, chosen)
    counts = np.bincount(known.labels, minlength=len(known.class_names))
    return LabellingReport(
        model=encoder.name,
        folder=folder,
        data=data,
        images=tuple(
            ImageToLabel(
                str(found.folder / found.paths[rows[place]]),
                _likely(probabilities[place], known.class_names),
                like,
            )
            for place, like in zip(chosen.tolist(), num_like.tolist(), strict=True)
        ),
        class_names=known.class_names,
        without_labels=tuple(known.class_names[label] for label in np.flatnonzero(counts == 0)),
        num_asked=count,
        num_labelled=len(known.labels),
        num_without_file=known.num_without_file,
        num_unlabelled=len(rows),
        num_already_labelled=len(found.paths) - len(rows),
        confidence=float(probabilities.max(axis=1).mean()),
        labelled_files=known.files,
        warnings=tuple(warnings),
        skipped=(*known.skipped, *found.skipped),
    )


def class_probabilities(support: Support, embeddings: Embeddings) -> NDArray[np.float64]:
    """Return what the labelled images so far say of others.

    Args:
        support: The labelled images, perhaps none.
        embeddings: Of the others, shape (M, D).

    Returns:
        The probability of each class, shape (M, C), by the ladder's heads in closed form; by the
        texts alone if nothing is labelled.

    Raises:
        MissingExtraError: If images are labelled and SciPy is not installed.
    """
    logits = support.zero_shot(embeddings)
    if len(support.labels):
        logits = _fitted(support).calibrated().logits(embeddings)
    return np.exp(-label_log_losses(logits, Scoring(0.0, None)))


def _fitted(support: Support) -> Fitted:
    if support.counts.mean() < LEAST_FOR_DISCRIMINANT:
        return fit_text_and_means(support)
    return fit_discriminant(support)


def _support(
    encoder: Encoder, known: LabelledSoFar, options: AdaptationOptions, callbacks: Callbacks
) -> Support:
    with callbacks.progress_for("embedding class names") as progress:
        texts = ZeroShotClassifier(
            encoder,
            known.class_names,
            templates=options.templates,
            domain=options.domain,
            progress=progress,
        )
    class_embeddings = np.asarray(texts.class_embeddings)
    return Support(known.embeddings, known.labels, class_embeddings, encoder.logit_scale)


def _likely(
    probabilities: NDArray[np.float64], class_names: Sequence[str]
) -> tuple[tuple[str, float], ...]:
    best = np.argsort(-probabilities, kind="stable")[:_NUM_LIKELY]
    return tuple((class_names[label], float(probabilities[label])) for label in best.tolist())
