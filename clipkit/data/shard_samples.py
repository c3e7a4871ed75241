"""A sample of a shard: which of its members is the image, and which hold its captions."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from clipkit.data.caption_files import CAPTION_SUFFIXES, CaptionFile, choose_captions, decode_text
from clipkit.data.class_folders import fill_templates
from clipkit.data.class_names import ClassNames
from clipkit.data.pair import DEFAULT_TEMPLATES, any_of
from clipkit.inputs.extensions import IMAGE_EXTENSIONS

CLASS_SUFFIX = ".cls"


class ShardCaptions(NamedTuple):
    """Which members of a sample hold its captions."""

    suffixes: Sequence[str] = CAPTION_SUFFIXES  # in order of preference
    class_names: ClassNames | None = None  # of the numbers in .cls
    templates: Sequence[str] = DEFAULT_TEMPLATES  # which make captions of class names


class SampleTexts(NamedTuple):
    """The captions of a sample."""

    captions: tuple[str, ...]  # at least one
    class_name: str  # empty if its captions are texts
    no_caption: Sequence[str]  # why members that come first hold none


def image_of(sample: Mapping[str, Any]) -> Any:
    """Return the first image of a sample.

    Args:
        sample: Its members by their endings, without the dot.

    Returns:
        That member.

    Raises:
        ValueError: If it has none; the message is a reason.
    """
    for extension, member in sample.items():
        if f".{extension}" in IMAGE_EXTENSIONS:
            return member
    there = ", ".join(f".{extension}" for extension in sample if not extension.startswith("__"))
    raise ValueError(f"has no image, only {there}")


def texts_of(
    sample: Mapping[str, Any], rules: ShardCaptions, read: Callable[[Any], bytes]
) -> SampleTexts:
    """Return the captions of a sample.

    Args:
        sample: Its members by their endings, without the dot.
        rules: Which of them hold captions.
        read: Returns the bytes of a member, or raises ValueError with a reason.

    Returns:
        The captions of the first member that holds any, else those of its class.

    Raises:
        ValueError: If it has none; the message is a reason.
    """
    files = [
        CaptionFile(f"its {suffix}", suffix, partial(read, sample[suffix[1:]]))
        for suffix in rules.suffixes
        if suffix[1:] in sample
    ]
    if not files and CLASS_SUFFIX[1:] in sample:
        name = _class_name(read(sample[CLASS_SUFFIX[1:]]), rules.class_names)
        return SampleTexts(fill_templates(rules.templates, name), name, ())
    try:
        captions, reasons = choose_captions(files)
    except ValueError as error:
        reason = str(error) or f"has no captions: there is no {any_of(rules.suffixes)} with it"
        raise ValueError(reason) from error
    return SampleTexts(captions, "", reasons)


def _class_name(content: bytes, names: ClassNames | None) -> str:
    if names is None:
        raise ValueError(
            "has a .cls for a caption, the number of a class: give a file with the names by "
            "data.class_names in RUN.toml or --class-names"
        )
    try:
        return names.of_number(decode_text(content))
    except ValueError as error:
        raise ValueError(f"its .cls {error}") from error
