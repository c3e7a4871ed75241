"""Names of classes: folder names made into words, or names looked up in a file."""

import functools
import json
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipkit.data.caption_files import decode_text
from clipkit.data.pair import list_some
from clipkit.data.table_rows import split_line
from clipkit.errors import InputError

_LISTED = re.compile(r"^\d+[.)]\s*(?=[^\W\d_])")  # "001.Albatross": the number of a list
_COUNTED = re.compile(r"^(\d+)[-_ ]+(?=[^\W\d_])")  # "12-cat" maybe, "4-wheel drive" not
_SYNSET = re.compile(r"n\d{8}")
_SYNSET_BESIDE = re.compile(r"^n\d{8}[-_. ]+(?=[^\W\d_])|(?<=[^\W_])[-_. ]+n\d{8}$")
_NUMBER = re.compile(r"((class|label|category|id|cls|group|folder) ?)?\d+", re.IGNORECASE)

CONTAINERS = frozenset(
    [
        "images",
        "image",
        "imgs",
        "img",
        "jpegimages",
        "captions",
        "caption",
        "texts",
        "text",
        "labels",
        "label",
        "masks",
        "mask",
        "annotations",
        "annotation",
        "data",
        "dataset",
    ]
)
"""Names of folders, in lower case, that say what kind of files they hold and name no class."""

# A name after a WordNet id or another number: "n01440764 tench, Tinca tinca", "0: cat".
_NUMBERED_LINE = re.compile(r"(n\d{8}|\d+)[\s:,;]+(.*\S)")

_KINDS = ", ".join(("a JSON object {folder: name}", "lines of  folder,name", "or one name a line"))


def words_of(folder_names: Sequence[str]) -> tuple[str, ...]:
    """Return names of classes from the names of their folders: words, in Unicode.

    Underscores and dashes become spaces. A number in front is removed if it counts the folders: all
    of them have one, and their names differ without. It is such a number if it ends in a dot
    ("001.Black_footed_Albatross"); or if all have equally many digits, with leading zeros
    ("03_cat"); or if no two are equal and they start at 0 or 1 ("12-cat"). The WordNet id beside a
    name is removed as well ("n02085620-Chihuahua"). Numbers that are a name or a part of one stay:
    "747", "3d printer", "2CV", "cat_2".

    Args:
        folder_names: Of all classes that belong together.

    Returns:
        A name for each.
    """
    kept = list(folder_names)
    for pattern in (_SYNSET_BESIDE, _LISTED, _COUNTED):
        kept = _without(pattern, kept)
    return tuple(map(spaced, kept))


def spaced(name: str) -> str:
    """Return a folder's name with spaces for underscores and dashes, in Unicode."""
    decoded = os.fsencode(name).decode("utf-8", "replace")
    readable = unicodedata.normalize("NFC", decoded)  # macOS decomposes letters with accents
    return " ".join(readable.replace("_", " ").replace("-", " ").split()) or name


def odd_names(
    names: Sequence[str],
    advice: str = "Give their names in a file, by data.class_names in RUN.toml or --class-names",
) -> Iterator[str]:
    """Yield what is odd about names of classes, in one line each that ends in advice."""
    kinds = {
        "are numbers of WordNet": [name for name in names if _SYNSET.fullmatch(name)],
        "are only numbers": [name for name in names if _NUMBER.fullmatch(name)],
        "name a kind of files, or a part of a data set": [
            name for name in names if is_no_class(name)
        ],
    }
    for what, found in kinds.items():
        if found:
            yield (
                f"{len(found)} of {len(names)} class names {what}, which may tell the "
                f"text encoder nothing: {list_some(found)}. {advice}"
            )


def is_no_class(name: str) -> bool:
    """Return whether a folder's name says what kind of files it holds, or names a split."""
    return name.casefold() in CONTAINERS or name.casefold() in ("val", "valid", "validation")


def _without(pattern: re.Pattern[str], names: list[str]) -> list[str]:
    """Return names without what the pattern matches in all of them, if they still differ."""
    matches = [pattern.search(name) for name in names]
    if not all(matches) or not names:
        return names
    if pattern is _COUNTED and not _is_count([match[1] for match in matches if match]):
        return names
    rest = [pattern.sub("", name, count=1) for name in names]
    return rest if len({*rest}) == len(names) else names


def _is_count(numbers: Sequence[str]) -> bool:
    is_padded = any(number[0] == "0" < number for number in numbers)
    if is_padded and len({len(number) for number in numbers}) == 1:
        return True
    different = {int(number) for number in numbers}
    return 1 < len(numbers) == len(different) and min(different) <= 1


# --- a file of names ----------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassNames:
    """Names of classes from a file, by the key of each class or in the order of the classes."""

    path: Path
    by_key: Mapping[str, str]  # the name of a folder, or the number in a .cls file
    in_order: tuple[str, ...]  # lines of the file: each a name, or "key name"

    def of_folders(self, folders: Sequence[str]) -> tuple[str, ...]:
        """Return the names of folders.

        Args:
            folders: Sorted, as numbers of classes count them.

        Returns:
            A name for each.

        Raises:
            InputError: If a folder has no name; or if there is no key, and not one name a folder.
        """
        by_key = self.by_key or self._by_first_word
        known = by_key.keys() & {*folders}
        # One line "dog house" among names does not make "dog" a key.
        if (self.by_key and known) or 2 * len(known) > len(folders):
            missing = [folder for folder in folders if folder not in by_key]
            if missing:
                raise InputError(
                    f"{self.path} has no name for {len(missing)} of {len(folders)} class folders: "
                    f"{list_some(missing)}"
                )
            return tuple(by_key[folder] for folder in folders)
        in_order = self.in_order or self._by_number()
        if len(in_order) != len(folders):
            raise InputError(
                f"{self.path} has {len(in_order) or len(by_key)} names, and there are "
                f"{len(folders)} class folders ({list_some(folders)}): give {_KINDS} in the sorted "
                "order of the folders"
            )
        return tuple(map(_name, in_order))

    def of_number(self, key: str) -> str:
        """Return the name of the class that a .cls file gives.

        Args:
            key: What the file holds: a number, counted from 0, or what the names are given by.

        Returns:
            The name.

        Raises:
            ValueError: If there is none; the message is a reason.
        """
        key = key.strip()
        by_key = self.by_key or self._by_first_word
        if key in by_key:
            return by_key[key]
        if key.isdecimal() and int(key) < len(self.in_order):
            return _name(self.in_order[int(key)])
        raise ValueError(f"holds {key!r:.60}, which {self.path} has no name for")

    @functools.cached_property
    def _by_first_word(self) -> dict[str, str]:
        """The names by the first word of each line, if all but the first line have more words.

        Examples are ImageNet's LOC_synset_mapping.txt, "n01440764 tench, Tinca tinca", and tables
        of two columns, whose first line may name them.
        """
        found = {key: name for key, name in map(_parted, self.in_order) if name}
        return found if len(found) >= len(self.in_order) - 1 else {}

    def _by_number(self) -> tuple[str, ...]:
        """Return the names in order where the keys are numbers from 0, as in id2label."""
        numbers = [str(number) for number in range(len(self.by_key))]
        is_counted = self.by_key.keys() == {*numbers}
        return tuple(self.by_key[number] for number in numbers) if is_counted else ()


def read_class_names(path: Path) -> ClassNames:
    """Return the names of classes in a file.

    Args:
        path: JSON with an object {folder: name}, or with a list of names in the sorted order of
            the folders; CSV or TSV with a folder and its name a line; or a name a line, in sorted
            order, or behind its folder. Keras' imagenet_class_index.json is understood, and so
            are the keys "0", "1", … of Hugging Face's id2label. Underscores stand for spaces.

    Returns:
        The names.

    Raises:
        InputError: If it cannot be read, or is none of these.
    """
    try:
        text = decode_text(path.read_bytes())
        if path.suffix.lower() == ".json":
            return _from_json(path, json.loads(text))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no file of class names, which is {_KINDS}: {error}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]
    if not lines:
        raise InputError(f"{path} is no file of class names, which is {_KINDS}: it is empty")
    return ClassNames(path, {}, tuple(lines))


def _from_json(path: Path, value: Any) -> ClassNames:
    """Return the names in the content of a JSON file; raise ValueError if it holds none."""
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return ClassNames(path, {}, tuple(map(_name, value)))
    if not isinstance(value, dict) or not value:
        raise ValueError(f"it holds {value!s:.60}")
    by_key = {}
    for key, name in value.items():
        if isinstance(name, list) and len(name) == 2:  # Keras: number -> [folder, name]
            key, name = name
        elif isinstance(name, int) and not isinstance(name, bool):  # label2id: name -> number
            key, name = str(name), key
        if not isinstance(key, str) or not isinstance(name, str) or not name.strip():
            raise ValueError(f"{key!s:.60} has the name {name!s:.60}")
        by_key[key] = _name(name, key)
    return ClassNames(path, by_key, ())


def _parted(line: str) -> tuple[str, str]:
    """Return the key and the name on a line; the name is empty if there is only one of them."""
    if numbered := _NUMBERED_LINE.fullmatch(line):
        return numbered[1], _name(numbered[2].strip('"'), numbered[1])
    for separator in ("\t", ",", ";"):
        cells = [cell.strip() for cell in split_line(line, separator)]
        if len(cells) == 2 and all(cells):
            return cells[0], _name(cells[1], cells[0])
    key, _, name = line.partition(" ")
    return key.rstrip(":"), _name(name, key)


def _name(text: str, key: str = "") -> str:
    # WordNet's names are lists of synonyms, the usual one first: "tench, Tinca tinca".
    text = text.partition(",")[0] if _SYNSET.fullmatch(key) else text
    return " ".join(text.replace("_", " ").split())
