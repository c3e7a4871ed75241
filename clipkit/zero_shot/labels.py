"""Class names to prompts, and groups of class names that a model cannot tell apart.

Shapes: C labels, G of them that are ranked, R different readings of the model among them.
"""

import warnings
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import items_of, quoted
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.text_embedding import warn_of_unknown
from clipkit.errors import ClipkitWarning, InputError
from clipkit.zero_shot.embedded_labels import is_embedded
from clipkit.zero_shot.templates import DEFAULT_TEMPLATES, fill_template, resolve_templates

Label = str | Iterable[str] | NDArray[np.floating] | None
"""What stands for a label: prompts of its own, an embedding that is one already, such as that of a
taught concept, or None for the prompts that templates make."""

Labels = Iterable[str] | Mapping[str, Label]
"""Names in a list, a NumPy array, a pandas Series or the like; or each with what stands for it."""

Templates = str | Sequence[str] | Mapping[str, str | Iterable[str]]
"""The name of a set, one template or several; or, by class name, the prompts of each."""

_NEED_NONE = (
    "labels with prompts of their own need no templates and no domain: put those words into the "
    "prompts, where a {} stands for the label"
)
_SHOWN = 5  # groups in a message
_REPEATED = "class names that are given more than once"  # begins the warning of them
_LONG = 100  # names; a list of more is a published one, which repeats names on purpose
_READ_AT_ONCE = 256  # labels; the token ids of all would take too much memory


class EqualLabelsWarning(ClipkitWarning):
    """Labels are the same to the model, and are scored as one."""


class LabelGroups:
    """Groups of labels that are the same to a model.

    Different spellings of what the model reads as one are one group. A name that is repeated as it
    is stands for another class each time, so its second occurrence is in another group than its
    first; all of them have one reading.

    Args:
        names: C names.
        readings: What the model reads of each.
    """

    def __init__(self, names: Sequence[str], readings: Sequence[Hashable]) -> None:
        self.names = list(names)
        self.readings = list(readings)
        occurrences: Counter[str] = Counter()
        keys = []
        for name, reading in zip(self.names, self.readings, strict=True):
            keys.append((reading, occurrences[name]))
            occurrences[name] += 1
        # (C,) each: the group of each label, in 0..G-1, and its reading, in 0..R-1.
        self.group_of, self.reading_of = _numbered(keys), _numbered(self.readings)
        spellings: list[list[str]] = [[] for _ in range(self.group_of.max() + 1)]
        for name, group in zip(self.names, self.group_of, strict=True):
            spellings[group].append(name)
        self.labels = [" / ".join(some) for some in spellings]  # (G,), with all spellings
        self.spelled_twice = [some for some in spellings if len(some) > 1]

    @property
    def first_readings(self) -> NDArray[np.intp]:
        """Position of the first label of each reading, shape (R,)."""
        places: NDArray[np.intp] = np.unique(self.reading_of, return_index=True)[1]
        return places

    @property
    def reading_of_group(self) -> NDArray[np.intp]:
        """The reading of each group, shape (G,)."""
        numbers: NDArray[np.intp] = self.reading_of[np.unique(self.group_of, return_index=True)[1]]
        return numbers


def _numbered(keys: Iterable[Hashable]) -> NDArray[np.intp]:
    """Return a number for each key, equal ones alike, counted from 0 in the order of the keys."""
    number_of: dict[Hashable, int] = {}
    return np.array([number_of.setdefault(key, len(number_of)) for key in keys], dtype=np.intp)


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
        prompts_of: By label: a prompt, or several; a {} or {c} in one stands for the label.

    Returns:
        At least one prompt a label.

    Raises:
        InputError: If a label has no prompt, or one is empty or no string.
    """
    prompts = []
    for name, given in prompts_of.items():
        texts = _strings([given] if isinstance(given, str) else given, "prompt", f" for {name!r}")
        prompts.append(_filled(texts, name))
    return prompts


def _filled(texts: Iterable[str], name: str) -> tuple[str, ...]:
    """Return prompts with a name in its places; CLIP_benchmark's files mark them by {c}."""
    filled = (fill_template(text.replace("{c}", "{}"), name) for text in texts)
    return tuple(dict.fromkeys(filled))


def label_prompts(
    labels: Sequence[str] | Mapping[str, Label],
    templates: Templates,
    domain: str | None,
) -> list[tuple[str, ...]]:
    """Return the prompts of each label: its own, or those that templates make of it.

    Args:
        labels: C labels; or by label: its own prompts, an embedding, or None for templates.
        templates: Templates; or prompts by label, which may name more than the C.
        domain: What kind of things the labels are, or None.

    Returns:
        At least one prompt a label, but none for one that is an embedding.

    Raises:
        InputError: If a label has no prompt, the domain is no word, or templates or a domain are
            given beside prompts that need none.
        PromptError: If a template does not have exactly one {}.
    """
    if domain is not None and not (isinstance(domain, str) and domain.strip()):
        raise InputError(f'domain must be a word such as "food", got {domain!r}')
    if isinstance(labels, Mapping):
        return _prompts_by_label(labels, templates, domain)
    if not isinstance(templates, Mapping):
        return filled_prompts(labels, resolve_templates(templates), domain)
    if domain is not None:
        raise InputError(_NEED_NONE)
    prompts_of = {name.strip(): prompts for name, prompts in templates.items()}
    missing = [name for name in dict.fromkeys(labels) if name not in prompts_of]
    if missing:
        raise InputError(
            f"there are no prompts for {len(missing)} of {len(labels)} class names: "
            f"{quoted(missing)}"
        )
    own = own_prompts({name: prompts_of[name] for name in labels})
    prompts = dict(zip(dict.fromkeys(labels), own, strict=True))
    return [prompts[name] for name in labels]


def _prompts_by_label(
    labels: Mapping[str, Label], templates: Templates, domain: str | None
) -> list[tuple[str, ...]]:
    """Return the prompts of labels of which each may have its own."""
    plain = [name for name, value in labels.items() if value is None]
    own = {
        name: value
        for name, value in labels.items()
        if value is not None and not is_embedded(value)
    }
    if own and not plain and not (domain is None and _are_usual(templates)):
        raise InputError(_NEED_NONE)
    made = label_prompts([name.strip() for name in plain], templates, domain)
    prompts = dict(zip((*own, *plain), (*own_prompts(own), *made), strict=True))
    return [prompts.get(name, ()) for name in labels]


def _are_usual(templates: Templates) -> bool:
    if isinstance(templates, Mapping):
        return False
    return resolve_templates(templates) == resolve_templates(DEFAULT_TEMPLATES)


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
    is not in its vocabulary, or beyond the length that it reads. Of names that are repeated as they
    are :func:`warn_of_repeated` tells.

    Args:
        encoder: The model.
        names: C labels.
        prompts: Those of each; one without any, which is an embedding, is like no other.

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
            reading = sha256(b"".join(rows)).digest() if texts else f"embedding {len(readings)}"
            readings.append(reading)
    groups = LabelGroups(names, readings)
    if groups.spelled_twice:
        shown = "; ".join(quoted(spellings, " = ") for spellings in groups.spelled_twice[:_SHOWN])
        more = len(groups.spelled_twice) - _SHOWN
        warnings.warn(
            f"the model reads these labels as one, so by name they are scored as one: {shown}"
            f"{f'; and {more} more' if more > 0 else ''}",
            EqualLabelsWarning,
            stacklevel=3,
        )
    return groups


def warn_of_repeated(names: Sequence[str]) -> None:
    """Warn of names that a list has more than once, unless it is long.

    ImageNet's 1000 names have two of them twice on purpose; in a list of a few it is a mistake.

    Args:
        names: C class names, without outer spaces.
    """
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated and len(names) <= _LONG:
        warnings.warn(
            f"{_REPEATED} are as many classes of equal score, which share their probability: "
            f"{quoted(repeated)}; give each once, unless each is to be a class of its own",
            ClipkitWarning,
            stacklevel=3,
        )


@contextmanager
def numbered_classes() -> Iterator[None]:
    """Tell nothing of repeated names: those of a dataset have numbers, so that each is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _REPEATED, ClipkitWarning)
        yield


def warn_of_unknown_labels(
    encoder: Encoder,
    labels: Sequence[str] | Mapping[str, Label],
    prompts: Sequence[tuple[str, ...]],
    templates: Templates,
) -> None:
    """Warn of labels of which a model knows no word.

    Args:
        encoder: The model.
        labels: C labels; or by label what stands for it.
        prompts: Those of each, none of one that is an embedding.
        templates: Those that some prompts are made of: their words are known, so of such a label
            the name is looked at alone.
    """
    values = labels.values() if isinstance(labels, Mapping) else [None] * len(labels)
    has_templates = not isinstance(templates, Mapping)
    texts_of = {
        name: (fill_template("{}", name.strip()),) if has_templates and value is None else texts
        for name, value, texts in zip(labels, values, prompts, strict=True)
    }
    unknown = set(encoder.unknown_texts(text for texts in texts_of.values() for text in texts))
    warn_of_unknown(
        [name for name, texts in texts_of.items() if texts and unknown.issuperset(texts)], "labels"
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
