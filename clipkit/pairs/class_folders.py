"""A folder of folders, each holding the pictures of one class; the folder's name is the class's.

The layout of torchvision's ImageFolder.
"""

import functools
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import ImageReadError, InputError, PromptError
from clipkit.inputs.folders import FolderScan
from clipkit.pairs.pair import Pair
from clipkit.pairs.picture_digest import file_stamp
from clipkit.pairs.text_rows import TextRows


def open_class_folders(
    folder: Path, scan: FolderScan, *, templates: Sequence[str]
) -> "ClassFolders":
    """Return the pictures of class folders, captioned by the names of their classes.

    Args:
        folder: With one folder a class; pictures may lie deeper in it.
        scan: What find_images saw in it.
        templates: Texts with one {} for the name; a picture has as many captions.

    Returns:
        Pairs in the order of their classes' folders, then of their paths. Pictures beside these
        folders have no class and are listed as skipped.

    Raises:
        InputError: If two folders' names are the same class.
        PromptError: If there is no template, or one has not one {}.
    """
    for template in templates:
        if template.count("{}") != 1:
            raise PromptError(f'a template needs one {{}} for the class name, got "{template}"')
    if not templates:
        raise PromptError("class folders need a template to make captions of names, got none")
    skipped = [ImageReadError(folder / error.path, error.reason) for error in scan.skipped]
    by_class: dict[str, list[str]] = {}
    for entry in scan.entries:
        first, slash, _ = entry.path.partition("/")
        if slash:
            by_class.setdefault(first, []).append(entry.path)
        else:
            skipped.append(ImageReadError(folder / first, "lies in no class's folder"))
    folders = sorted(by_class)
    names = tuple(map(name_of, folders))
    for place, name in enumerate(names):
        if name in names[:place]:
            twin = folders[names.index(name)]
            raise InputError(
                f"{folder} has two folders for the class {name!r}, {twin} and {folders[place]}: "
                "put their pictures into one"
            )
    return ClassFolders(
        folder,
        TextRows([path] for place in folders for path in by_class[place]),
        np.repeat(np.arange(len(folders)), [len(by_class[place]) for place in folders]),
        class_names=names,
        templates=templates,
        skipped=skipped,
    )


class ClassFolders:
    """Pictures of named classes.

    Args:
        folder: Where they are.
        paths: One a row, relative to the folder.
        labels: The class of each, shape (number of pairs,).
        class_names: Names of the classes.
        templates: Texts with one {}.
        skipped: What is no pair.
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
        self._captions = [
            tuple(dict.fromkeys(template.replace("{}", name) for template in templates))
            for name in class_names
        ]
        self.skipped = skipped

    def __len__(self) -> int:
        """How many pairs."""
        return len(self._paths)

    def __getitem__(self, row: int) -> Pair:
        """Return a pair."""
        path = self._folder / self._paths[row][0]
        return Pair(path, self._captions[self._labels[row]], str(path))

    def label(self, row: int) -> int:
        """Return the class of a pair."""
        return int(self._labels[row])

    def local_name(self, row: int) -> str:
        """Return a picture's path, relative to the folder."""
        return self._paths[row][0]

    def stamp(self, row: int) -> bytes:
        """Return the size of a picture's file and when it was written."""
        return file_stamp(self._folder / self._paths[row][0])

    @functools.cached_property
    def fingerprint(self) -> str:
        """What identifies the listing."""
        captions = TextRows(self._captions).digest()
        return hashlib.sha256(f"{self._paths.digest()} {captions}".encode()).hexdigest()


def name_of(folder_name: str) -> str:
    """Return the name of the class that a folder holds: words, in Unicode."""
    readable = os.fsencode(folder_name).decode("utf-8", "replace")
    return " ".join(readable.replace("_", " ").replace("-", " ").split()) or folder_name
