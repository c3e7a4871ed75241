"""Classifying each image by labels of its own."""

from collections.abc import Iterable

from clipkit.arguments import check_whole, items_of
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.inputs.image_input import ImageInput, check_image_list
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.label_scores import LabelScore
from clipkit.zero_shot.labels import Templates, check_class_names
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES


def classify_each(
    encoder: Encoder,
    images: Iterable[ImageInput],
    class_names: Iterable[Iterable[str]],
    *,
    templates: Templates = DEFAULT_TEMPLATES,
    k: int | None = None,
) -> list[list[LabelScore]]:
    """Classify each image by its own list of labels; return them best first.

    Args:
        encoder: The model.
        images: N images.
        class_names: N lists of names.
        templates: As for ZeroShotClassifier.
        k: How many labels an image; None for all.

    Returns:
        One list an image.

    Raises:
        InputError: If the counts differ, a list is empty, or k is less than 1.
        ImageReadError: At the first image that cannot be read.
    """
    check_image_list(images)
    lists = items_of(class_names, "class names must be one list for each image")
    sources, names_of = list(images), [check_class_names(names) for names in lists]
    if len(sources) != len(names_of):
        raise InputError(
            f"one list of labels an image is needed, got {len(names_of)} for {len(sources)}"
        )
    if not sources:
        return []
    # All names at once: prompts shared by many images go through the tower once.
    everything = list(dict.fromkeys(name for names in names_of for name in names))
    classifier = ZeroShotClassifier(encoder, everything, templates=templates)
    if k is not None:
        check_whole(k, "k")
    embeddings = encoder.encode_images(sources)
    return [
        labels
        for row, names in zip(embeddings, names_of, strict=True)
        for labels in classifier.only(names).rank(row[None], k=k)
    ]
