"""fit_model: a model that one of the training rungs has adapted, with the head of its classes."""

import shutil
from pathlib import Path

import numpy as np

from clipkit.adaptation.classifiers import LinearClassifier
from clipkit.adaptation.head import HEAD_NAME, Head
from clipkit.adaptation.images import read_images
from clipkit.adaptation.options import AdaptationOptions
from clipkit.arguments import ENCODER_RULE, check_kind, check_path
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.files import draft_beside, put_in_place
from clipkit.paths import expand_home
from clipkit.progress import Callbacks
from clipkit.runs.adaptation_task import check_options, embedded_task
from clipkit.runs.trained_rungs import RECIPES, TrainedModel, check_trainable, trained_rungs


def fit_model(
    encoder: Encoder,
    data: str | Path,
    rung: str,
    output: str | Path,
    options: AdaptationOptions | None = None,
    *,
    callbacks: Callbacks | None = None,
) -> Path:
    """Train a model on all images by one of the rungs that train it, and measure nothing.

    What is written is a checkpoint directory as a training run writes it, which loads by its path:
    of LoRA with the adapters merged, and in a file of their own besides. With it lies the head of
    the classes, head.safetensors: the model's own prompts. Interrupted, the same call resumes.

    Args:
        encoder: The base model; one that load() has made.
        data: As for :func:`clipkit.adapt`.
        rung: "lora" or "flyp".
        output: The directory; it must not exist, or be empty.
        options: As for :func:`clipkit.adapt`; those of the images, prompts and training count.
        callbacks: For messages, warnings and progress.

    Returns:
        The directory.

    Raises:
        InputError: If there is no such rung, the images are too few, or something lies at output.
        TrainingError: If training cannot continue.
        MissingExtraError: If torch is not installed.
    """
    check_kind(encoder, "encode_images", ENCODER_RULE)
    options, callbacks = options or AdaptationOptions(), callbacks or Callbacks()
    place = expand_home(check_path(output, "output")).absolute()
    check_model_output(place)
    names = [recipe.name for recipe in RECIPES]
    if rung not in names:
        raise InputError(
            f"there is no rung {rung!r} that trains the model: it is one of {', '.join(names)}"
        )
    check_trainable(encoder)
    options = options.for_fitting()
    check_options(options)
    images = read_images(encoder, str(data), options, callbacks)
    task = embedded_task(encoder, images, options, callbacks)
    rungs = trained_rungs(encoder, images, task, options, callbacks)
    chosen = next(each for each in rungs if each.name == rung)
    if lack := chosen.lack(np.bincount(images.labels, minlength=len(images.class_names))):
        raise InputError(f"the rung {rung} {lack}: add images")
    model = chosen.train(np.arange(images.num_given))
    _head(model, place, images.class_names, rung).save(model.directory / HEAD_NAME)
    draft = draft_beside(place)
    shutil.copytree(model.directory, draft)
    put_in_place(draft, place)
    chosen.remove(model)
    return place


def check_model_output(place: Path) -> None:
    """Raise unless a model can be written to a directory, before any work.

    Args:
        place: The directory.

    Raises:
        InputError: If something lies there, or its parent is no directory.
    """
    if (place.is_dir() and any(place.iterdir())) or (place.exists() and not place.is_dir()):
        raise InputError(
            f"{place} is there already: a trained model is written to a directory that is new or "
            "empty, choose another name"
        )
    if not place.parent.is_dir():
        raise InputError(f"{place} cannot be written: there is no folder {place.parent}")


def _head(model: TrainedModel, place: Path, class_names: tuple[str, ...], rung: str) -> Head:
    weights = model.encoder.logit_scale * model.class_embeddings.astype(np.float64)
    classifier = LinearClassifier(weights, np.zeros(len(weights)))
    return Head(rung, str(place), model.encoder.space_id, class_names, classifier)
