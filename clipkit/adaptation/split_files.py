"""Few-shot splits as files, in the form that CoOp published and others took over.

A JSON object with the lists "train", "val" and "test", each of [path, label, class name]. Paths are
relative to the folder of the images, labels whole numbers from 0.

Source:
    KaiyangZhou/CoOp, DATASETS.md: the files "split_zhou_….json".
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clipkit.adaptation.splits import Split
from clipkit.data.labelled_images import LabelledImages
from clipkit.data.listed_pairs import ListedPairs
from clipkit.errors import InputError
from clipkit.files import read_json_object

_PARTS = ("train", "val", "test")
_FORM = 'a list of [path, label, class name], such as ["cat/1.jpg", 0, "cat"]'


def read_split_file(path: Path, folder: Path) -> tuple[LabelledImages, LabelledImages]:
    """Return the images to adapt with and those to measure on, as a published split has them.

    Those for validation are left out: nothing here is chosen on them.

    Args:
        path: The file.
        folder: Of the images.

    Returns:
        Training and test images, of the same classes by number.

    Raises:
        InputError: If the file cannot be read, or is of another form.
    """
    content = read_json_object(path, InputError)
    parts = {part: _entries(path, part, content.get(part, [])) for part in _PARTS}
    names: dict[int, str] = {}
    for entries in parts.values():
        for _, label, name in entries:
            if names.setdefault(label, name) != name:
                raise InputError(
                    f'{path} calls class {label} both "{names[label]}" and "{name}": each number '
                    "needs one name"
                )
    if sorted(names) != list(range(len(names))) or not parts["train"] or not parts["test"]:
        raise InputError(
            f"{path} is no split: it needs training and test images, and labels that count from "
            f"0; got {len(parts['train'])} and {len(parts['test'])} images of the labels "
            f"{sorted(names)!s:.60}"
        )
    class_names = tuple(names[label] for label in range(len(names)))
    train, test = (_images(folder, parts[part], class_names) for part in ("train", "test"))
    return train, test


def split_file_text(
    split: Split, paths: Sequence[str], labels: Sequence[int], class_names: Sequence[str]
) -> str:
    """Return the text of a file with a split.

    Args:
        split: Rows to adapt with, and to measure on.
        paths: Of all images, relative to their folder.
        labels: The class of each.
        class_names: By number.

    Returns:
        JSON; nothing is for validation.
    """

    def entries(rows: Sequence[int]) -> list[tuple[str, int, str]]:
        return [(paths[row], int(labels[row]), class_names[labels[row]]) for row in rows]

    values = {
        "train": entries(split.train.tolist()),
        "val": [],
        "test": entries(split.test.tolist()),
    }
    return json.dumps(values) + "\n"


def _images(
    folder: Path, entries: Sequence[tuple[str, int, str]], class_names: tuple[str, ...]
) -> LabelledImages:
    dataset = ListedPairs(folder, [(path, (name,)) for path, _, name in entries])
    labels = np.array([label for _, label, _ in entries], dtype=np.intp)
    return LabelledImages(dataset, labels, class_names)


def _entries(path: Path, part: str, found: object) -> list[tuple[str, int, str]]:
    if not isinstance(found, list):
        raise InputError(f'{path} is no split: "{part}" must be {_FORM}, got {found!r:.60}')
    return [_entry(path, part, entry) for entry in found]


def _entry(path: Path, part: str, entry: Any) -> tuple[str, int, str]:
    is_one = (
        isinstance(entry, list)
        and len(entry) == 3
        and isinstance(entry[0], str)
        and isinstance(entry[1], int)
        and not isinstance(entry[1], bool)
        and isinstance(entry[2], str)
        and bool(entry[0].strip() and entry[2].strip())
    )
    if not is_one:
        raise InputError(f'{path} is no split: "{part}" must be {_FORM}, and holds {entry!r:.60}')
    return entry[0], entry[1], entry[2]
