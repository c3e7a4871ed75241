"""clipkit.adapt: what adapting a model to labelled images is worth, and the head to use."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.head import Head
from clipkit.adaptation.images import AdaptationImages, read_images
from clipkit.adaptation.ladder import baseline_report, climb, learning_curve, rung_reports
from clipkit.adaptation.options import SAMPLES, AdaptationOptions
from clipkit.adaptation.pixel_baseline import PixelBaseline, read_features
from clipkit.adaptation.recommendation import best_rung, choose_rung, class_needs, recommend
from clipkit.adaptation.report import AdaptationReport
from clipkit.adaptation.results import RungResults
from clipkit.adaptation.rung import RUNG_NAMES, EmbeddingRung, embedding_rungs
from clipkit.adaptation.split_files import split_file_text
from clipkit.adaptation.splits import Split
from clipkit.adaptation.task import AdaptationTask
from clipkit.arguments import ENCODER_RULE, check_kind
from clipkit.data.labelled_images import by_class
from clipkit.data.pair import PairDataset
from clipkit.data.sources import open_pairs
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ClipkitWarning, InputError, MissingExtraError
from clipkit.evaluation.zero_shot import evaluate_classes, sample_accuracy
from clipkit.progress import Callbacks, keep_warnings
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.labels import label_prompts

_ONE_PROMPT = "a photo of a {}."


def adapt(
    encoder: Encoder,
    data: str | Path,
    options: AdaptationOptions | None = None,
    *,
    callbacks: Callbacks | None = None,
) -> AdaptationReport:
    """Return what each way of adapting a model to labelled images is worth.

    Each rung of the ladder is fitted and measured on the same splits: prompts, retrieval, heads in
    closed form, a probe that starts from the prompts. Nothing is chosen by images that are measured
    on. Embeddings are kept in the user's cache directory, so that it takes seconds again.

    Args:
        encoder: The model.
        data: Class folders, or a table with the path and the class of each image.
        options: What to measure; None: the defaults.
        callbacks: For messages, warnings and progress.

    Returns:
        Figures of each rung, which one to take and why, and the head of it, fitted on all images
        of ``data``.

    Raises:
        InputError: If there are not two classes or more, a class has too few images that can be
            read, or options are wrong.
        MissingExtraError: If scikit-learn and SciPy are not installed.
    """
    check_kind(encoder, "encode_images", ENCODER_RULE)
    options = options or AdaptationOptions()
    _check_before_work(options)
    warnings: list[str] = []
    callbacks = keep_warnings(callbacks or Callbacks(), warnings)
    images = read_images(encoder, str(data), options, callbacks)
    splits, labels, names = images.splits(options), images.labels, images.class_names
    task = _embedded_task(encoder, images, options, callbacks)
    rungs = {rung.name: rung for rung in embedding_rungs(task) if rung.step <= options.last_step}
    results = climb([*rungs.values()], splits, labels, callbacks)
    chosen = choose_rung(results)
    baseline = _measure_baseline(images, splits, callbacks) if options.baseline else None
    curve = learning_curve(rungs[chosen], results[chosen]) if options.curve else ()
    titles = {name: rung.title for name, rung in rungs.items()}
    choice = recommend(results, titles, baseline, curve)
    fitted = rungs[chosen if choice.name in rungs else best_rung(results)]
    return AdaptationReport(
        model=encoder.name,
        data=str(data),
        space_id=encoder.space_id,
        num_images=len(labels),
        num_classes=len(names),
        num_test_images=round(np.mean([len(split.test) for split in splits])),
        seeds=options.seeds,
        retention_images=0 if task.retention is None else len(task.retention),
        rungs=rung_reports([*rungs.values()], results, splits, labels, names),
        baseline=None if baseline is None else baseline_report(baseline, names),
        recommended=choice.name,
        recommendation=choice.sentence,
        curve=curve,
        curve_rung=chosen,
        needs=class_needs(results[chosen], labels, names),
        warnings=tuple(warnings),
        skipped=images.skipped,
        settings=_settings(options),
        head=_head(encoder, fitted, images, options),
        split_files=_split_texts(images, splits),
    )


def fit_head(
    encoder: Encoder,
    data: str | Path,
    rung: str,
    options: AdaptationOptions | None = None,
    *,
    callbacks: Callbacks | None = None,
) -> Head:
    """Return the head of one rung, fitted on all images and measured on none.

    Args:
        encoder: The model.
        data: As for :func:`adapt`.
        rung: Its name: "prompt", "prompts", "tip-adapter", "ss-text", "gda" or "probe".
        options: As for :func:`adapt`; only those of the images and prompts count.
        callbacks: For messages, warnings and progress.

    Returns:
        The head.

    Raises:
        InputError: If there is no such rung, or the images are too few for it.
        MissingExtraError: If SciPy is not installed.
    """
    check_kind(encoder, "encode_images", ENCODER_RULE)
    options, callbacks = options or AdaptationOptions(), callbacks or Callbacks()
    if rung not in RUNG_NAMES:
        raise InputError(f"there is no rung {rung!r}: it is one of {', '.join(RUNG_NAMES)}")
    options = replace(options, test="", retention_set="")
    _check_before_work(options)
    images = read_images(encoder, str(data), options, callbacks)
    task = _embedded_task(encoder, images, options, callbacks)
    found = next(each for each in embedding_rungs(task) if each.name == rung)
    if lack := found.lack(np.bincount(images.labels, minlength=len(images.class_names))):
        raise InputError(f"the rung {rung} {lack}: take another, or add images")
    return _head(encoder, found, images, options)


def _check_before_work(options: AdaptationOptions) -> None:
    """Raise for what would else be found only once all images are embedded."""
    try:
        import scipy.optimize  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("evaluate", "Adapting") from error
    label_prompts(["class"], options.templates, options.domain)
    if options.retention_set not in ("", SAMPLES):
        _open_retention(options, Callbacks())


def _embedded_task(
    encoder: Encoder, images: AdaptationImages, options: AdaptationOptions, callbacks: Callbacks
) -> AdaptationTask:
    with callbacks.progress_for("embedding class names") as progress:
        ensemble = ZeroShotClassifier(
            encoder,
            images.class_names,
            templates=options.templates,
            domain=options.domain,
            progress=progress,
        )
    with catch_warnings():  # of the names: the ensemble has given the same ones
        simplefilter("ignore", ClipkitWarning)
        single = ZeroShotClassifier(encoder, images.class_names, templates=_ONE_PROMPT)
    return AdaptationTask(
        class_names=images.class_names,
        embeddings=images.embeddings,
        labels=images.labels,
        one_prompt=np.asarray(single.class_embeddings),
        class_embeddings=np.asarray(ensemble.class_embeddings),
        logit_scale=encoder.logit_scale,
        retention=_retention(encoder, options, callbacks),
    )


def _retention(
    encoder: Encoder, options: AdaptationOptions, callbacks: Callbacks
) -> NDArray[np.bool_] | None:
    """Return whether the model is right about images of other things, by their own names."""
    if not options.retention_set:
        return None
    callbacks.say("measuring what the model knows of other things")
    if options.retention_set == SAMPLES:
        report = sample_accuracy(encoder)
    else:
        report = evaluate_classes(encoder, _open_retention(options, callbacks))
    right = report.is_right
    return right[~np.isnan(right)] > 0


def _open_retention(options: AdaptationOptions, callbacks: Callbacks) -> PairDataset:
    path = str(options.retention_set)
    return by_class(path, open_pairs(path, options.layout, callbacks=callbacks)).dataset


def _measure_baseline(
    images: AdaptationImages, splits: Sequence[Split], callbacks: Callbacks
) -> RungResults:
    with callbacks.progress_for("reading pixels for a small model") as progress:
        pixels = read_features([*map(images.image, range(len(images.labels)))], progress)
    model = PixelBaseline(pixels, images.labels, len(images.class_names))
    callbacks.say("training a small model without the base")
    measured = tuple(model.measure(split) for split in splits)
    return RungResults(measured, tuple(splits), images.labels)


def _split_texts(images: AdaptationImages, splits: Sequence[Split]) -> tuple[str, ...]:
    paths = [*map(images.name, range(len(images.labels)))]
    labels = images.labels.tolist()
    return tuple(split_file_text(split, paths, labels, images.class_names) for split in splits)


def _settings(options: AdaptationOptions) -> dict[str, Any]:
    return {
        "templates": options.templates,
        "domain": options.domain,
        "shots": options.shots,
        "test": str(options.test),
        "split_file": str(options.split_file),
        "retention_set": str(options.retention_set),
    }


def _head(
    encoder: Encoder, rung: EmbeddingRung, images: AdaptationImages, options: AdaptationOptions
) -> Head:
    task, rows = rung.task, np.arange(images.num_given)
    details = {"num_images": len(rows), "templates": options.templates, "domain": options.domain}
    return Head(
        rung.name, encoder.name, encoder.space_id, task.class_names, rung.fitted(rows), details
    )
