"""Labels as the command line gives them: typed, or in a file."""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from clipkit.arguments import quoted
from clipkit.cli.terminal import note
from clipkit.errors import InputError
from clipkit.zero_shot.labels import check_class_names

GivenLabels = list[str] | dict[str, str | list[str]]
"""Labels, or the prompts of each."""


def read_labels(arguments: argparse.Namespace) -> GivenLabels:
    """Return the labels that --labels or --labels-file give, each once.

    Args:
        arguments: As parsed.

    Returns:
        Labels, or the prompts of each.

    Raises:
        InputError: If there are none, or a file cannot be read as labels.
    """
    return _without_repeats(_given(arguments))


def _given(arguments: argparse.Namespace) -> GivenLabels:
    words = arguments.labels
    if words is None:
        return _labels_of(Path(arguments.labels_file))
    if "," not in words and words.strip().lower().endswith((".txt", ".json")):
        return _labels_of(Path(words.strip()))
    found = [label for label in words.split(",") if label.strip()]
    if not found:
        raise InputError(
            f'--labels needs one label or more, as in  --labels "cat, dog", got {words!r}'
        )
    return found


def _without_repeats(labels: GivenLabels) -> GivenLabels:
    """Return each label once, with a note of those that were repeated."""
    names = check_class_names(labels)
    counts = Counter(names)
    if repeated := [name for name, count in counts.items() if count > 1]:
        note(f"labels that were given more than once count once: {quoted(repeated)}")
    return labels if isinstance(labels, dict) else list(counts)


def _labels_of(path: Path) -> GivenLabels:
    """Return the labels of a file: one a line without comments, or JSON."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not a text file in UTF-8: {error.reason}") from error
    found = _from_json(path, text) if path.suffix.lower() == ".json" else _from_lines(text)
    if not found:
        raise InputError(f"{path} holds no label: one a line is needed")
    return found


def _from_lines(text: str) -> list[str]:
    lines = [line.strip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    # A backslash before it makes a label of what begins with #.
    labels = [label.removeprefix("\\") if label[:2] == "\\#" else label for label in lines]
    return [label for label in labels if label]


def _from_json(path: Path, text: str) -> GivenLabels:
    """Return the labels of a JSON file: a list, or an object with the prompts of each."""

    def with_keys_that_differ(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key.strip() in found:
                raise InputError(f"{path} has the label {key.strip()!r} more than once")
            found[key.strip()] = value
        return found

    try:
        content = json.loads(text, object_pairs_hook=with_keys_that_differ)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, list | dict):
        raise InputError(
            f"{path} must hold a list of labels, or an object with the prompts of each, "
            f"got a {type(content).__name__}"
        )
    return content
