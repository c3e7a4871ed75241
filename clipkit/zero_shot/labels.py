"""Class names to prompts, and groups of class names that a model cannot tell apart.

Shapes: C labels, G of them that differ.
"""

import warnings
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import items_of
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.text_embedding import quoted, warn_of_unknown
from clipkit.errors import ClipkitWarning, InputError
from clipkit.zero_shot.templates import fill_template

Labels = Iterable[str] | Mapping[str, str | Iterable[str]]
"""Names in a list, a NumPy array, a pandas Series or the like; or each with prompts of its own."""

_SHOWN = 5  # groups in a message
_READ_AT_ONCE = 256  # labels; the token ids of all would take too much memory


class EqualLabelsWarning(ClipkitWarning):
    """Labels are the same to the model, and are scored as one."""


class LabelGroups:
    """Groups of labels that are the same to a model.

    Args:
        names: C names.
        readings: What the model reads of each; equal ones are one group.
    """

    def __init__(self, names: Sequence[str], readings: Sequence[Hashable]) -> None:
        self.names = list(names)
        self.readings = list(readings)
        number_of: dict[Hashable, int] = {}
        for reading in readings:
            number_of.setdefault(reading, len(number_of))
        # (C,), the group of each label, in 0..G-1, numbered in the order of the labels.
        self.group_of = np.array([number_of[reading] for reading in readings], dtype=np.intp)
        spellings: list[dict[str, None]] = [{} for _ in number_of]
        for name, group in zip(self.names, self.group_of, strict=True):
            spellings[group][name] = None
        self.labels = [" / ".join(some) for some in spellings]  # (G,), with all spellings
        self.spelled_twice = [list(some) for some in spellings if len(some) > 1]

    @property
    def first(self) -> NDArray[np.intp]:
        """Position of the first label of each group, shape (G,)."""
        places: NDArray[np.intp] = np.unique(self.group_of, return_index=True)[1]
        return places


def check_class_names(class_names: Iterable[str]) -> list[str]:
    """Return class names as a list, without outer spaces.

    Args:
        class_names: At least one name, in any iterable.

    Returns:
        The names, in their order; repeated ones stay.

    Raises:
        InputError: If there is none, one is empty or no string, or a single string was given.
    """
    return _strings(class_names, "class name")


def own_prompts(prompts_of: Mapping[str, str | Iterable[str]]) -> list[tuple[str, ...]]:
    """Return the prompts that were given with each label.

    Args:
        prompts_of: By label: a prompt, or several; a {} in one stands for the label.

    Returns:
        At least one prompt a label.

    Raises:
        InputError: If a label has no prompt, or one is empty or no string.
    """
    prompts = []
    for name, given in prompts_of.items():
        texts = _strings([given] if isinstance(given, str) else given, "prompt", f" for {name!r}")
        prompts.append(tuple(dict.fromkeys(fill_template(text, name) for text in texts)))
    return prompts


def filled_prompts(
    names: Sequence[str], templates: Sequence[str], domain: str | None
) -> list[tuple[str, ...]]:
    """Return the prompts that templates make of each label.

    Args:
        names: C labels.
        templates: At least one text with one {}.
        domain: What kind of things the labels are, or None.

    Returns:
        As many prompts a label as there are templates.
    """
    return [
        tuple(fill_template(template, name, domain=domain) for template in templates)
        for name in names
    ]


def read_labels(
    encoder: Encoder, names: Sequence[str], prompts: Sequence[tuple[str, ...]]
) -> LabelGroups:
    """Return which labels a model can tell apart, with a warning of those that it cannot.

    Labels are the same to it if all their prompts have equal token ids: by another case, for what
    is not in its vocabulary, or beyond the length that it reads.

    Args:
        encoder: The model.
        names: C labels.
        prompts: Those of each.

    Returns:
        The groups.
    """
    from hashlib import sha256  # only here: it takes 3 ms

    readings: list[Hashable] = []
    for start in range(0, len(prompts), _READ_AT_ONCE):
        some = prompts[start : start + _READ_AT_ONCE]
        token_ids = iter(encoder.tokenize([text for texts in some for text in texts]).token_ids)
        for texts in some:
            rows = [next(token_ids).tobytes() for _ in texts]
            readings.append(sha256(b"".join(rows)).digest())
    groups = LabelGroups(names, readings)
    if groups.spelled_twice:
        shown = "; ".join(quoted(spellings, " = ") for spellings in groups.spelled_twice[:_SHOWN])
        more = len(groups.spelled_twice) - _SHOWN
        warnings.warn(
            f"the model reads these labels as one, so they are scored as one: {shown}"
            f"{f'; and {more} more' if more > 0 else ''}",
            EqualLabelsWarning,
            stacklevel=4,
        )
    return groups


def warn_of_unknown_labels(encoder: Encoder, texts_of: Mapping[str, Iterable[str]]) -> None:
    """Warn of labels of which a model knows no word.

    Args:
        encoder: The model.
        texts_of: By label: the texts to check, the label itself or its own prompts.
    """
    unknown = set(encoder.unknown_texts(text for texts in texts_of.values() for text in texts))
    warn_of_unknown(
        [name for name, texts in texts_of.items() if unknown.issuperset(texts)], "labels"
    )


def _strings(values: Iterable[str], noun: str, of: str = "") -> list[str]:
    """Return strings without outer spaces, at least one and none empty."""
    items = list(items_of(values, f"{noun}s{of} must be in a list"))
    if not items:
        raise InputError(f"at least one {noun}{of} is needed, got none")
    for place, item in enumerate(items, start=1):
        where = f"{noun} {place} of {len(items)}{of}"
        if not isinstance(item, str):
            raise InputError(f"{where} must be a string, got {type(item).__name__} {item!r}")
        if not item.strip():
            raise InputError(f"{where} is empty")
    return [str.__str__(item).strip() for item in items]  # of NumPy's strings, too
