"""Evaluation of a linear probe: a classifier fitted on embeddings, measured on other images."""

from dataclasses import replace

import numpy as np

from clipkit.adaptation.linear_probe import fit_linear_probe
from clipkit.adaptation.splits import choose_shots
from clipkit.data.labelled_images import LabelledImages, same_classes
from clipkit.encoder.embedded_images import embed_images
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.evaluation.classification import score_log_probabilities
from clipkit.evaluation.options import EvaluationOptions
from clipkit.evaluation.report import EvaluationReport, data_name
from clipkit.evaluation.zero_shot_classification import classification_report
from clipkit.progress import Callbacks
from clipkit.search.duplicates.leaks import find_leaks


def evaluate_probe(
    encoder: Encoder,
    data: str,
    options: EvaluationOptions,
    sets: tuple[LabelledImages, LabelledImages],
    callbacks: Callbacks,
) -> EvaluationReport:
    """Return how well a linear probe that is fitted on training images classifies test images.

    Args:
        encoder: The model.
        data: What the test images were opened from, for the report.
        options: Shots, seed, and the name of the training data.
        sets: Training and test images, of the same classes.
        callbacks: For messages and progress.

    Returns:
        The report, with the test images that are in the training data.

    Raises:
        InputError: If the classes differ, or one has no training image that can be read.
        MissingExtraError: If scikit-learn is not installed.
    """
    train, test = sets
    number_of = same_classes(train.class_names, test.class_names)
    trained = embed_images(encoder, train.dataset, "embedding training images", callbacks)
    tested = embed_images(encoder, test.dataset, "embedding images", callbacks)
    callbacks.say("looking for test images in the training data")
    leaks = find_leaks((train.dataset, trained), (test.dataset, tested))
    labels = number_of[train.labels[trained.rows]]
    counts = np.bincount(labels, minlength=len(test.class_names))
    if not counts.all():
        empty = [test.class_names[number] for number in np.flatnonzero(counts == 0)]
        raise InputError(
            f"{len(empty)} of {len(counts)} classes have no training image that can be read: "
            f"{', '.join(empty[:3])}"
        )
    chosen = np.arange(len(labels))
    if options.shots is not None:
        chosen = choose_shots(labels, options.shots, options.seed)
    callbacks.say(f"fitting a linear probe on {len(chosen)} images")
    probe = fit_linear_probe(trained.embeddings[chosen], labels[chosen], options.seed)
    scores = score_log_probabilities(
        probe.log_probabilities(tested.embeddings), test.labels[tested.rows]
    )
    report = classification_report(encoder, data, test, tested, scores, task="linear_probe")
    return replace(
        report,
        near_duplicates=leaks,
        warnings=(*_leak_warning(leaks, len(tested.rows)), *report.warnings),
        settings={
            "train": data_name(str(options.train or data)),
            "train_images": len(chosen),
            "fewshot_k": -1 if options.shots is None else options.shots,
            "seed": options.seed,
            "C": probe.strength,
            "C_is_chosen": probe.is_chosen,
        },
    )


def _leak_warning(leaks: tuple[object, ...], num_images: int) -> tuple[str, ...]:
    if not leaks:
        return ()
    return (
        f"{len(leaks)} of {num_images} test images are in the training data as well, as the same "
        "file or a copy: the figures are too good",
    )
