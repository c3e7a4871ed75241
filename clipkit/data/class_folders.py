"""Class folders as a dataset of pairs: one folder per class, captions from templates.

The layout of torchvision's ImageFolder.
"""

import functools
import hashlib
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.data.class_names import CONTAINERS, ClassNames, odd_names, spaced, words_of
from clipkit.data.image_ends import file_hashes, file_sizes
from clipkit.data.listed_pairs import TextRows
from clipkit.data.pair import Pair, file_stamp, list_some
from clipkit.errors import ImageReadError, InputError, PromptError
from clipkit.inputs.folders import FolderScan
from clipkit.progress import Callbacks


def open_class_folders(
    folder: Path,
    scan: FolderScan,
    *,
    templates: Sequence[str],
    names: ClassNames | None = None,
    are_named_later: bool = False,
    callbacks: Callbacks,
) -> "ClassFolders":
    """Open class folders as a dataset; captions are the names of the classes in templates.

    Args:
        folder: With one folder a class; images may be deeper in it.
        scan: What find_images found in it.
        templates: Texts with one {} for the name; an image has as many captions.
        names: Of the classes, and folders of one name are one class; None: the folders' names,
            made into words by words_of.
        are_named_later: Whether the folders' names are no names of classes: they are kept as they
            are, and names has none.
        callbacks: Told how names were understood, and which are odd.

    Returns:
        Pairs in the order of their classes' folders, then of their paths. An image that has
        several paths counts once. Images beside these folders have no class and are listed as
        skipped.

    Raises:
        InputError: If the names of two folders are the same words, none is a class, or names do
            not fit the folders.
        PromptError: If there is no template, or one has not exactly one {}.
    """
    check_templates(templates)
    skipped = scan.skipped_in(folder)
    by_class: dict[str, list[str]] = {}
    for path in (entry.path for entry in scan.entries):
        first, slash, _ = path.partition("/")
        if slash:
            by_class.setdefault(first, []).append(path)
        else:
            skipped.append(ImageReadError(folder / first, "lies in no class's folder"))
    folders = sorted(by_class)
    if folders and all(name.casefold() in CONTAINERS for name in folders):
        raise InputError(
            f"{folder} has no class folders: {', '.join(folders)} say what kind of files they "
            "hold. For images with captions put those into captions/ beside images/, each in a "
            "text file of its image's name"
        )
    found: Sequence[str] = folders
    if names is None and not are_named_later:
        found = words_of(folders)
        _check_differ(folder, folders, found)
        _tell_names(folder, folders, found, callbacks)
    elif names is not None:
        found = names.of_folders(folders)
        _tell_shared(folder, folders, found, names.path, callbacks)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(found))}
    _tell_empty(folder, scan, {*folders}, callbacks)
    if others := scan.other_paths:
        callbacks.say(
            f"{folder}: {len(others)} images have other paths, by links; each counts once: "
            f"{list_some(f'{path} = {rest[0]}' for path, rest in others.items())}"
        )
    return ClassFolders(
        folder,
        TextRows([path] for subfolder in folders for path in by_class[subfolder]),
        np.repeat(
            [numbers[name] for name in found],
            [len(by_class[subfolder]) for subfolder in folders],
        ),
        class_names=tuple(numbers),
        templates=templates,
        skipped=skipped,
    )


def check_templates(templates: Sequence[str]) -> None:
    """Raise unless each template has exactly one placeholder for the class name.

    Args:
        templates: Texts with one {} for the name.

    Raises:
        PromptError: If there is no template, or one has not exactly one {}.
    """
    for template in templates:
        if template.count("{}") != 1:
            raise PromptError(f'a template needs one {{}} for the class name, got "{template}"')
    if not templates:
        raise PromptError("class folders need a template to make captions of names, got none")


def fill_templates(templates: Sequence[str], name: str) -> tuple[str, ...]:
    """Return the captions of a class: its name in each template."""
    return tuple(dict.fromkeys(template.replace("{}", name) for template in templates))


def _check_differ(folder: Path, folders: Sequence[str], names: Sequence[str]) -> None:
    first: dict[str, str] = {}
    for subfolder, name in zip(folders, names, strict=True):
        if name in first:
            raise InputError(
                f"{folder} has two folders for the class {name!r}, {first[name]!r} and "
                f"{subfolder!r}: put their images into one, or give them names by a file, by "
                "data.class_names in RUN.toml or --class-names"
            )
        first[name] = subfolder


def _tell_shared(
    folder: Path, folders: Sequence[str], names: Sequence[str], file: Path, callbacks: Callbacks
) -> None:
    """Warn of folders that a file gives one name: nothing that is written tells them apart."""
    by_name: dict[str, list[str]] = {}
    for subfolder, name in zip(folders, names, strict=True):
        by_name.setdefault(name, []).append(subfolder)
    shared = [
        f"{' and '.join(alike)} are {name}" for name, alike in by_name.items() if len(alike) > 1
    ]
    if shared:
        callbacks.warn(
            f"{folder}: {len(folders)} folders have {len(by_name)} different names by {file}, and "
            f"those of one name are one class: {list_some(shared)}"
        )


def _tell_names(
    folder: Path, folders: Sequence[str], names: Sequence[str], callbacks: Callbacks
) -> None:
    """Say which names have lost a number, and which are odd."""
    changed = [
        f"{subfolder} is {name}"
        for subfolder, name in zip(folders, names, strict=True)
        if name != spaced(subfolder)
    ]
    if changed:
        callbacks.say(f"{folder}: class names are read without their numbers: {list_some(changed)}")
    for line in odd_names(names):
        callbacks.warn(line)


def _tell_empty(folder: Path, scan: FolderScan, classes: Set[str], callbacks: Callbacks) -> None:
    """Warn of folders in which no image was found, which would be classes otherwise."""
    told = classes | {other.path.partition("/")[0] for other in scan.left_out}
    empty = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.name not in told and not entry.name.startswith(".") and entry.is_dir()
    )
    if empty:
        callbacks.warn(
            f"folders of {folder} in which no image was found are no classes: {list_some(empty)}"
        )


class ClassFolders:
    """A dataset of images of named classes.

    Args:
        folder: Where they are.
        paths: One a row, relative to the folder.
        labels: The class of each, shape (number of pairs,).
        class_names: Names of the classes.
        templates: Texts with one {}.
        skipped: Images that are left out, with the reasons.
    """

    def __init__(
        self,
        folder: Path,
        paths: TextRows,
        labels: NDArray[np.int64],
        *,
        class_names: tuple[str, ...],
        templates: Sequence[str],
        skipped: Sequence[ImageReadError],
    ) -> None:
        self._folder = folder
        self._paths = paths
        self._labels = labels
        self.class_names = class_names
        self._captions = [fill_templates(templates, name) for name in class_names]
        self.skipped = skipped

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._paths)

    def __getitem__(self, row: int) -> Pair:
        """Return a pair."""
        path = self._folder / self._paths[row][0]
        return Pair(path, self._captions[self._labels[row]], str(path))

    def label(self, row: int) -> int:
        """Return the class label of a pair."""
        return int(self._labels[row])

    def class_name(self, row: int) -> str | None:
        """Return the name of a pair's class, None where it has none."""
        label = self.label(row)
        return None if label is None else self.class_names[label]

    def local_name(self, row: int) -> str:
        """Return an image's path, relative to the folder."""
        return self._paths[row][0]

    def stamp(self, row: int) -> bytes:
        """Return the size and modification time of an image's file."""
        return file_stamp(self._folder / self._paths[row][0])

    def image_sizes(self) -> NDArray[np.int64]:
        """Return the sizes of the images' files."""
        return file_sizes(self._folder / self.local_name(row) for row in range(len(self)))

    def ends_hashes(self, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Return hashes of the first and last bytes of images' files."""
        return file_hashes(self._folder / self.local_name(row) for row in rows.tolist())

    def first_rows(self) -> None:
        """Return None: equal files are equal images."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the listing."""
        captions = TextRows(self._captions).digest()
        return hashlib.sha256(f"{self._paths.digest()} {captions}".encode()).hexdigest()
