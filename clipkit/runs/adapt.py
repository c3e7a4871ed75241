"""clipkit.adapt: what adapting a model to labelled images is worth, and the head to use."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipkit.adaptation.head import Head
from clipkit.adaptation.images import AdaptationImages, given_images, read_images
from clipkit.adaptation.ladder import (
    RungCallback,
    baseline_report,
    climb,
    learning_curve,
    rung_reports,
)
from clipkit.adaptation.options import LAST_CACHED_STEP, AdaptationOptions
from clipkit.adaptation.pixel_baseline import BASELINE_TITLE, PixelBaseline, read_features
from clipkit.adaptation.recommendation import (
    best_rung,
    choose_rung,
    class_needs,
    recommend,
    remembering,
)
from clipkit.adaptation.report import AdaptationReport, CurvePoint
from clipkit.adaptation.results import RungResults
from clipkit.adaptation.rung import HEAD_NAMES, EmbeddingRung, Rung, embedding_rungs
from clipkit.adaptation.split_files import split_file_text
from clipkit.adaptation.splits import Split
from clipkit.adaptation.task import AdaptationTask
from clipkit.arguments import ENCODER_RULE, check_kind
from clipkit.embeddings import Embeddings
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.inputs.image_input import ImageInput
from clipkit.progress import Callbacks, keep_warnings
from clipkit.runs.adaptation_task import check_options, embedded_task


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
    check_options(options)
    if options.last_step > LAST_CACHED_STEP:
        from clipkit.runs.trained_rungs import check_trainable  # needs torch

        check_trainable(encoder)
    warnings: list[str] = []
    callbacks = keep_warnings(callbacks or Callbacks(), warnings)
    images = read_images(encoder, str(data), options, callbacks)
    return _climbed(encoder, images, str(data), options, callbacks, warnings)


def adapt_images(  # noqa: PLR0913 - labelled images, and what is done with them
    encoder: Encoder,
    images: Sequence[ImageInput],
    labels: Sequence[str],
    *,
    embeddings: Embeddings | None = None,
    options: AdaptationOptions | None = None,
    callbacks: Callbacks | None = None,
    on_rung: RungCallback = lambda title, accuracy: None,
) -> AdaptationReport:
    """Return what each way of adapting a model is worth, as `adapt`, for images in a list.

    Nothing is kept on disk.

    Args:
        encoder: The model.
        images: N images, as for :meth:`clipkit.Encoder.encode_images`.
        labels: The name of each one's class.
        embeddings: Of the images, shape (N, D), rows of norm 1, such as an index has them; None:
            they are embedded.
        options: What to measure; None: the defaults. Those of a folder or table mean nothing here.
        callbacks: For messages, warnings and progress.
        on_rung: Called with the title and the accuracy of each rung as it has been measured.

    Returns:
        As :func:`adapt`.

    Raises:
        InputError: If there are not as many labels, or embeddings, as images, there are not two
            classes or more, a class has too few images that can be read, or options are wrong.
        MissingExtraError: If scikit-learn and SciPy are not installed.
    """
    check_kind(encoder, "encode_images", ENCODER_RULE)
    options = options or AdaptationOptions()
    check_options(options)
    if options.last_step > LAST_CACHED_STEP:
        raise InputError(
            f"images in a list are adapted to by steps 0 to {LAST_CACHED_STEP}, got last_step "
            f"{options.last_step}: for steps that train the model use adapt() with a folder"
        )
    warnings: list[str] = []
    callbacks = keep_warnings(callbacks or Callbacks(), warnings)
    given = given_images(encoder, images, labels, embeddings, callbacks)
    return _climbed(encoder, given, "images in a list", options, callbacks, warnings, on_rung)


def _climbed(  # noqa: PLR0913 - both ways in come together here
    encoder: Encoder,
    images: AdaptationImages,
    data: str,
    options: AdaptationOptions,
    callbacks: Callbacks,
    warnings: Sequence[str],
    on_rung: RungCallback = lambda title, accuracy: None,
) -> AdaptationReport:
    """Return the report of a ladder on labelled images."""
    splits, labels, names = images.splits(options), images.labels, images.class_names
    task = embedded_task(encoder, images, options, callbacks)
    rungs = _rungs(encoder, images, task, options, callbacks)
    heads = {rung.name: rung for rung in rungs if isinstance(rung, EmbeddingRung)}
    results = climb(rungs, splits, labels, callbacks, on_rung)
    allowed = remembering(results, options.max_forgetting)
    chosen = choose_rung(allowed)
    baseline = _measure_baseline(images, splits, callbacks) if options.baseline else None
    curve: tuple[CurvePoint, ...] = ()
    if options.curve and chosen in heads:  # each point of another would be training runs
        callbacks.say(f"fitting {heads[chosen].title} with fewer images")
        curve = learning_curve(heads[chosen], results[chosen])
    choice = recommend(allowed, {rung.name: rung.title for rung in rungs}, baseline, curve)
    head = heads.get(choice.name)
    if head is None:
        head = heads[best_rung({name: results[name] for name in heads if name in results})]
    return AdaptationReport(
        model=encoder.name,
        data=data,
        space_id=encoder.space_id,
        num_images=len(labels),
        num_classes=len(names),
        num_test_images=round(np.mean([len(split.test) for split in splits])),
        seeds=tuple(split.seed for split in splits),
        retention_images=0 if task.retention is None else len(task.retention.right),
        max_forgetting=options.max_forgetting,
        rungs=rung_reports(rungs, results, splits, labels, names),
        baseline=None if baseline is None else baseline_report(baseline, names),
        recommended=choice.name,
        recommendation=choice.sentence,
        curve=curve,
        curve_rung=chosen,
        needs=class_needs(results[chosen], labels, names),
        warnings=tuple(warnings),
        skipped=images.skipped,
        settings=_settings(options),
        head=_head(encoder, head, images, options),
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
    if rung not in HEAD_NAMES:
        raise InputError(
            f"there is no rung {rung!r} that is a head: it is one of {', '.join(HEAD_NAMES)}"
        )
    options = options.for_fitting()
    check_options(options)
    images = read_images(encoder, str(data), options, callbacks)
    task = embedded_task(encoder, images, options, callbacks)
    found = next(each for each in embedding_rungs(task) if each.name == rung)
    if lack := found.lack(np.bincount(images.labels, minlength=len(images.class_names))):
        raise InputError(f"the rung {rung} {lack}: take another, or add images")
    return _head(encoder, found, images, options)


def _rungs(
    encoder: Encoder,
    images: AdaptationImages,
    task: AdaptationTask,
    options: AdaptationOptions,
    callbacks: Callbacks,
) -> list[Rung]:
    """Return the rungs of the ladder up to the last step that is asked for."""
    rungs: list[Rung] = [*embedding_rungs(task)]
    if options.last_step > LAST_CACHED_STEP:
        from clipkit.runs.trained_rungs import trained_rungs  # needs torch

        rungs += trained_rungs(encoder, images, task, options, callbacks)
    return [rung for rung in rungs if rung.step <= options.last_step]


def _measure_baseline(
    images: AdaptationImages, splits: Sequence[Split], callbacks: Callbacks
) -> RungResults:
    with callbacks.progress_for("reading pixels for a small model") as progress:
        pixels = read_features([*map(images.image, range(len(images.labels)))], progress)
    model = PixelBaseline(pixels, images.labels, len(images.class_names))
    measured = []
    with callbacks.progress_for("training a small model") as progress:
        for number, split in enumerate(splits, start=1):
            callbacks.say(f"training {BASELINE_TITLE}, split {number} of {len(splits)}")
            measured.append(model.measure(split))
            progress(len(measured), len(splits))
    return RungResults(tuple(measured), tuple(splits), images.labels)


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
