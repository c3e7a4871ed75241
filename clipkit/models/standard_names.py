"""ImageNet's class names and OpenAI's 80 templates, from open_clip's own lists."""

from clipkit.errors import MissingExtraError


def imagenet_class_names() -> tuple[str, ...]:
    """Return the names of ImageNet's 1000 classes, as OpenAI edited them, in the usual order.

    Two of them are there twice: "missile" and "sunglasses".

    Returns:
        1000 names; the order is that of the sorted WordNet ids.

    Raises:
        MissingExtraError: If open_clip is not installed.
    """
    try:
        from open_clip import IMAGENET_CLASSNAMES
    except ImportError as error:
        raise MissingExtraError("torch", "The list of ImageNet's class names") from error
    return tuple(IMAGENET_CLASSNAMES)


def openai_templates() -> tuple[str, ...]:
    """Return the 80 templates that OpenAI's published ImageNet figures are of.

    Returns:
        80 texts with one {}.

    Raises:
        MissingExtraError: If open_clip is not installed.
    """
    try:
        from open_clip import OPENAI_IMAGENET_TEMPLATES
    except ImportError as error:
        raise MissingExtraError("torch", "The 80 templates of openai80") from error
    return tuple(fill("{}") for fill in OPENAI_IMAGENET_TEMPLATES)
