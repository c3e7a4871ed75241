"""clipkit.evaluate: how good a model is on a dataset of the user's own.

Shapes: N images, C classes, T captions.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.data.pair import PairDataset, PairLayout
from clipkit.data.sources import has_split, open_pairs
from clipkit.data.table_rows import MissingColumnError
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.text_embedding import quoted
from clipkit.errors import InputError
from clipkit.evaluation.benchmark_layout import BenchmarkSet, find_benchmark_set
from clipkit.evaluation.caption_retrieval import caption_retrieval
from clipkit.evaluation.classification import (
    ImageScores,
    calibration_errors,
    class_results,
    image_values,
    score_images,
    score_log_probabilities,
    template_result,
)
from clipkit.evaluation.cross_fitting import check_can_calibrate, measure_calibration
from clipkit.evaluation.embedded import EmbeddedImages, embed_images
from clipkit.evaluation.labelled_images import LabelledImages, by_class, open_labelled
from clipkit.evaluation.leaks import find_leaks
from clipkit.evaluation.linear_probe import choose_shots, fit_linear_probe
from clipkit.evaluation.options import NO_CALIBRATION, EvaluationOptions, in_split, task_of
from clipkit.evaluation.report import (
    CalibrationResult,
    EvaluationReport,
    SelectiveAccuracy,
    Task,
    data_name,
    few_warning,
)
from clipkit.evaluation.search_queries import evaluate_search, read_queries
from clipkit.metrics.calibration import reliability_bins, selective_accuracy
from clipkit.metrics.comparison import ItemValues, class_mean_interval
from clipkit.paths import expand_home
from clipkit.progress import Callbacks
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES, resolve_templates

_BARE = "none"  # the set of templates that is the name alone
_SHARES = (0.5, 0.8, 0.9, 1.0)  # of the images that are answered


def evaluate(
    encoder: Encoder,
    data: str | Path,
    options: EvaluationOptions | None = None,
    *,
    callbacks: Callbacks | None = None,
) -> EvaluationReport:
    """Return how good a model is on a dataset.

    Embeddings are kept in the user's cache directory, so that an evaluation that was interrupted is
    resumed and one with other templates takes seconds.

    Args:
        encoder: The model.
        data: Class folders, a table, shards with .cls, or a dataset in CLIP_benchmark's layout
            (folder or address) for classification; images with captions for retrieval; a folder of
            images for search.
        options: What to measure; None: classification of images that have classes, else retrieval.
        callbacks: For messages and progress.

    Returns:
        Metrics by CLIP_benchmark's names, in fractions, and the details.

    Raises:
        InputError: If the data do not fit the task, or nothing of them can be read.
        MissingExtraError: If a probe or a calibration is asked for and scikit-learn is not
            installed.
    """
    options, callbacks = options or EvaluationOptions(), callbacks or Callbacks()
    data = str(data)
    task = task_of(options)
    if options.calibrate:
        check_can_calibrate()
    if task == "search":
        queries = read_queries(expand_home(options.queries))
        return evaluate_search(encoder, data, queries, callbacks)
    benchmark = find_benchmark_set(data, options.split)
    if benchmark is None:
        options = in_split(data, options)
    if task == "probe":
        return _evaluate_probe(encoder, data, options, benchmark, callbacks)
    has_names = bool(options.label_column or options.layout.class_names)
    if task == "auto" and benchmark is not None:
        has_names = has_names or bool(benchmark.class_names)
    if task == "classification" or (has_names and task == "auto"):
        labelled = _open(data, options, benchmark, callbacks)
        return _evaluate_classes(encoder, data, options, labelled, callbacks)
    pairs = _open_pairs(data if benchmark is None else benchmark.shards, options.layout, callbacks)
    if task == "auto" and pairs.class_names:
        labelled = _checked(data, by_class(data, pairs))
        return _evaluate_classes(encoder, data, options, labelled, callbacks)
    if options.calibrate:
        raise InputError(NO_CALIBRATION)
    if options.templates:
        callbacks.warn(f"templates are not used: {data} has captions, and those are its texts")
    return _evaluate_captions(encoder, data, pairs, callbacks)


def _open_pairs(path: str, layout: PairLayout, callbacks: Callbacks) -> PairDataset:
    try:
        return open_pairs(path, layout, callbacks=callbacks)
    except MissingColumnError as error:
        if error.key != "caption_column":
            raise
        raise InputError(
            f"{error.lack}: name the column with the class of each image (--label-column), or the "
            "one with its caption (--caption-column)"
        ) from error


def _open(
    data: str, options: EvaluationOptions, benchmark: BenchmarkSet | None, callbacks: Callbacks
) -> LabelledImages:
    labelled = open_labelled(
        data,
        options.layout,
        benchmark=benchmark,
        label_column=options.label_column,
        callbacks=callbacks,
    )
    return _checked(data, labelled)


def _checked(data: str, labelled: LabelledImages) -> LabelledImages:
    """Refuse images of one class."""
    if len(labelled.class_names) < 2:
        skipped = labelled.dataset.skipped
        rest = f"; {len(skipped)} were skipped, such as {skipped[0]}" if skipped else ""
        raise InputError(
            f"all images of {data} that count are of one class, {labelled.class_names[0]}, so that "
            f"every answer would be right: classification needs two classes or more{rest}"
        )
    return labelled


def _evaluate_classes(
    encoder: Encoder,
    data: str,
    options: EvaluationOptions,
    labelled: LabelledImages,
    callbacks: Callbacks,
) -> EvaluationReport:
    sets = _template_sets(options, labelled)
    images = embed_images(encoder, labelled.dataset, "embedding images", callbacks)
    labels = labelled.labels[images.rows]
    scores: dict[str, ImageScores] = {}
    classifiers: dict[str, ZeroShotClassifier] = {}
    for name, templates in {**sets, _BARE: resolve_templates(_BARE)}.items():
        with callbacks.progress_for(f"embedding class names ({name})") as progress:
            classifier = ZeroShotClassifier(
                encoder, labelled.class_names, templates=templates, progress=progress
            )
        classifiers[name] = classifier
        scores[name] = score_images(
            images.embeddings, labels, classifier.class_embeddings, encoder.scoring
        )
    main = next(iter(sets))
    report = _classification_report(encoder, data, labelled, images, scores[main])
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


def _evaluate_probe(
    encoder: Encoder,
    data: str,
    options: EvaluationOptions,
    benchmark: BenchmarkSet | None,
    callbacks: Callbacks,
) -> EvaluationReport:
    test = _open(data, options, benchmark, callbacks)
    train = _open_train(data, options, callbacks)
    number_of = _same_classes(train.class_names, test.class_names)
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
    report = _classification_report(encoder, data, test, tested, scores, task="linear_probe")
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


def _same_classes(train: Sequence[str], test: Sequence[str]) -> NDArray[np.intp]:
    """Return the number that each class of the training data has in the test data."""
    if list(train) == list(test):
        return np.arange(len(train))  # names may repeat
    place = {name: number for number, name in enumerate(test)}
    unknown, missing = sorted({*train} - {*test}), sorted({*test} - {*train})
    if unknown or missing or len(place) < len(test):
        raise InputError(
            "training and test data must have the same classes, each of another name; "
            f"{_number_of(unknown)} only in training, {_number_of(missing)} only in the test"
        )
    return np.array([place[name] for name in train])


def _number_of(names: Sequence[str]) -> str:
    return f"{len(names)} ({quoted(names)})" if names else "none"


def _open_train(data: str, options: EvaluationOptions, callbacks: Callbacks) -> LabelledImages:
    """Return the training data: those named, else the split called train."""
    path = str(options.train or data)
    layout = replace(options.layout, split="train")
    found = find_benchmark_set(path, "train")
    if not options.train and found is None and not has_split(path, "train"):
        raise InputError(
            f"a probe needs training data, and {data} has no split for it: give some "
            "(--train PAIRS)"
        )
    return _open(path, replace(options, layout=layout), found, callbacks)


def _leak_warning(leaks: tuple[object, ...], num_images: int) -> tuple[str, ...]:
    if not leaks:
        return ()
    return (
        f"{len(leaks)} of {num_images} test images are in the training data as well, as the same "
        "file or a copy: the figures are too good",
    )


def _classification_report(
    encoder: Encoder,
    data: str,
    labelled: LabelledImages,
    images: EmbeddedImages,
    scores: ImageScores,
    *,
    task: Task = "zeroshot_classification",
) -> EvaluationReport:
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


def _evaluate_captions(
    encoder: Encoder, data: str, pairs: PairDataset, callbacks: Callbacks
) -> EvaluationReport:
    images = embed_images(encoder, pairs, "embedding images", callbacks)
    if len(images.rows) < 2:
        raise InputError(
            f"{data} has one image only that can be read, and every answer would be right: "
            "retrieval needs two or more"
        )
    captions: list[str] = []
    owners: list[int] = []
    for number, row in enumerate(images.rows.tolist()):
        captions += pairs[row].captions
        owners += [number] * (len(captions) - len(owners))
    with callbacks.progress_for("embedding captions") as progress:
        texts = encoder.encode_texts(captions, progress=progress)
    of_query, median_ranks = caption_retrieval(images.embeddings, texts, np.array(owners))
    values = {
        name: ItemValues(found.values, images.rows[found.items]) for name, found in of_query.items()
    }
    num_equal = len(captions) - len({*captions})
    report = EvaluationReport.of_values(
        encoder, data, "zeroshot_retrieval", len(images.rows), values
    )
    warnings = [*few_warning(len(images.rows), "images", report.intervals)]
    if num_equal:
        warnings.append(
            f"{num_equal} of {len(captions)} captions are repeated: each counts for its own image, "
            "so that the images that share one cannot all be found by it"
        )
    return replace(
        report,
        metrics={**report.metrics, **median_ranks},
        settings={"captions": len(captions)},
        warnings=tuple(warnings),
        skipped=images.skipped,
    )
