"""Evaluation of zero-shot classification by templates, and the report of any classification.

Shapes: N images, C classes.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clipkit.data.labelled_images import LabelledImages
from clipkit.encoder.embedded_images import EmbeddedImages, embed_images
from clipkit.encoder.encoder import Encoder
from clipkit.evaluation.classification import (
    ImageScores,
    calibration_errors,
    class_results,
    image_values,
    score_images,
    template_result,
)
from clipkit.evaluation.cross_fitting import measure_calibration
from clipkit.evaluation.options import EvaluationOptions
from clipkit.evaluation.report import (
    CalibrationResult,
    EvaluationReport,
    SelectiveAccuracy,
    Task,
    few_warning,
)
from clipkit.metrics.calibration import reliability_bins, selective_accuracy
from clipkit.metrics.comparison import ItemValues, class_mean_interval
from clipkit.progress import Callbacks
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.labels import numbered_classes
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES, resolve_templates

_BARE = "none"  # the set of templates that is the name alone
_SHARES = (0.5, 0.8, 0.9, 1.0)  # of the images that are answered


def evaluate_class_names(
    encoder: Encoder,
    data: str,
    options: EvaluationOptions,
    labelled: LabelledImages,
    callbacks: Callbacks,
) -> EvaluationReport:
    """Return how well class names by templates classify images; the bare names are compared.

    Args:
        encoder: The model.
        data: What the images were opened from, for the report.
        options: The templates, and whether to calibrate.
        labelled: The images.
        callbacks: For messages and progress.

    Returns:
        The report.

    Raises:
        InputError: If no image can be read, or options.templates are none.
        MissingExtraError: If a calibration is asked for and SciPy is not installed.
    """
    sets = _template_sets(options, labelled)
    images = embed_images(encoder, labelled.dataset, "embedding images", callbacks)
    labels = labelled.labels[images.rows]
    scores: dict[str, ImageScores] = {}
    classifiers: dict[str, ZeroShotClassifier] = {}
    for name, templates in {**sets, _BARE: resolve_templates(_BARE)}.items():
        with (
            callbacks.progress_for(f"embedding class names ({name})") as progress,
            numbered_classes(),
        ):
            classifier = ZeroShotClassifier(
                encoder, labelled.class_names, templates=templates, progress=progress
            )
        classifiers[name] = classifier
        scores[name] = score_images(
            images.embeddings, labels, classifier.class_embeddings, encoder.scoring
        )
    main = next(iter(sets))
    report = classification_report(encoder, data, labelled, images, scores[main])
    compared = tuple(template_result(name, scores[name], scores[_BARE]) for name in sets)
    settings = {"templates": main, "num_templates": len(sets[main])}
    report = replace(report, templates=compared, settings=settings)
    if not options.calibrate:
        return report
    callbacks.say(f"calibrating on {len(labels)} images")
    classes = classifiers[main].class_embeddings
    measured = measure_calibration(images.embeddings, labels, classes, encoder.scoring)
    return replace(
        report,
        calibrated=measured,
        calibration=classifiers[main].calibrate(images.embeddings, labels),
        warnings=(*report.warnings, *_calibration_warning(measured)),
    )


def classification_report(
    encoder: Encoder,
    data: str,
    labelled: LabelledImages,
    images: EmbeddedImages,
    scores: ImageScores,
    *,
    task: Task = "zeroshot_classification",
) -> EvaluationReport:
    """Return the report of a classification, however it was done.

    Args:
        encoder: The model.
        data: What the images were opened from.
        labelled: The images.
        images: Those of them that could be read.
        scores: What the classifier says of these.
        task: Metrics of a linear probe have "lp_" before their names.

    Returns:
        Metrics, classes, confusions, reliability and selective accuracy.
    """
    labels: NDArray[np.intp] = labelled.labels[images.rows]
    num_classes = len(labelled.class_names)
    prefix = "lp_" if task == "linear_probe" else ""
    of_image = image_values(scores, num_classes, prefix=prefix)
    values = {name: ItemValues(found, images.rows) for name, found in of_image.items()}
    report = EvaluationReport.of_values(encoder, data, task, len(labels), values)
    recall = f"{prefix}mean_per_class_recall"
    of_classes = class_mean_interval(scores.is_right, labels)
    classes, confusions = class_results(scores, labels, labelled.class_names)
    selective = selective_accuracy(scores.confidences, scores.is_right, np.array(_SHARES))
    warnings = [*few_warning(len(labels), "images", report.intervals)]
    if len(classes) < num_classes:
        warnings.append(
            f"{num_classes - len(classes)} of {num_classes} classes have no image that can be "
            "read: they are answers all the same, and not in mean_per_class_recall"
        )
    return replace(
        report,
        metrics={**report.metrics, recall: of_classes.mean, **calibration_errors(scores)},
        intervals={**report.intervals, recall: of_classes},
        classes=classes,
        confusions=confusions,
        reliability=tuple(reliability_bins(scores.confidences, scores.is_right)),
        selective=tuple(map(SelectiveAccuracy, _SHARES, selective.tolist())),
        warnings=tuple(warnings),
        skipped=images.skipped,
    )


def _calibration_warning(measured: CalibrationResult) -> tuple[str, ...]:
    before, after = measured.before["nll"], measured.after["nll"]
    if after < before:
        return ()
    return (
        "calibrating did not lower the log loss of images that it was not fitted on, "
        f"{before:.4f} before and {after:.4f} after: the probabilities are as good without it",
    )


def _template_sets(
    options: EvaluationOptions, labelled: LabelledImages
) -> dict[str, tuple[str, ...]]:
    if not options.templates and labelled.templates:
        return {"of the dataset": resolve_templates(labelled.templates)}
    return {name: resolve_templates(name) for name in options.templates or (DEFAULT_TEMPLATES,)}
