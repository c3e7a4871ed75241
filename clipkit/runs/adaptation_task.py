"""The task of a ladder: images and prompts as embeddings, and what the model knows besides."""

from warnings import catch_warnings, simplefilter

import numpy as np

from clipkit.adaptation.images import AdaptationImages
from clipkit.adaptation.options import SAMPLES, AdaptationOptions
from clipkit.adaptation.task import AdaptationTask, Retention
from clipkit.data.labelled_images import by_class
from clipkit.data.pair import PairDataset
from clipkit.data.sources import open_pairs
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ClipkitWarning, MissingExtraError
from clipkit.evaluation.zero_shot import evaluate_classes, sample_accuracy
from clipkit.progress import Callbacks
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.labels import label_prompts

_ONE_PROMPT = "a photo of a {}."


def check_options(options: AdaptationOptions) -> None:
    """Raise for what would else be found only once all images are embedded.

    Args:
        options: Prompts and retention set.

    Raises:
        InputError: If a template or the retention set is wrong.
        MissingExtraError: If SciPy is not installed.
    """
    try:
        import scipy.optimize  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("evaluate", "Adapting") from error
    label_prompts(["class"], options.templates, options.domain)
    if options.retention_set not in ("", SAMPLES):
        _open_retention(options, Callbacks())


def embedded_task(
    encoder: Encoder, images: AdaptationImages, options: AdaptationOptions, callbacks: Callbacks
) -> AdaptationTask:
    """Return labelled images and the prompts of their classes as embeddings.

    Args:
        encoder: The model.
        images: With their embeddings.
        options: Prompts and retention set.
        callbacks: For messages and progress.

    Returns:
        The task.

    Raises:
        InputError: If the model can read none of the class names, or the retention set is wrong.
    """
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
        retention=measure_retention(encoder, options, callbacks),
    )


def measure_retention(
    encoder: Encoder, options: AdaptationOptions, callbacks: Callbacks
) -> Retention | None:
    """Return what a model says of the retention set, by the names of its own classes.

    Args:
        encoder: The model, as it is or trained.
        options: With the retention set.
        callbacks: For messages.

    Returns:
        One entry an image that can be read; None: there is no retention set.

    Raises:
        InputError: If it has no classes, or no image can be read.
    """
    if not options.retention_set:
        return None
    callbacks.say("measuring what the model knows of other things")
    if options.retention_set == SAMPLES:
        report = sample_accuracy(encoder)
    else:
        report = evaluate_classes(encoder, _open_retention(options, callbacks))
    can_read = ~np.isnan(report.is_right)
    return Retention(report.is_right[can_read] > 0, report.label_probabilities[can_read])


def _open_retention(options: AdaptationOptions, callbacks: Callbacks) -> PairDataset:
    path = str(options.retention_set)
    return by_class(path, open_pairs(path, options.layout, callbacks=callbacks)).dataset
