"""A folder of folders, each holding the pictures of one class; the folder's name is the class's.

The layout of torchvision's ImageFolder.
"""

from collections.abc import Sequence
from pathlib import Path

from clipkit.errors import InputError, PromptError
from clipkit.inputs.folders import find_images
from clipkit.pairs.pair import ListedPairs, Pair


def open_class_folders(folder: Path, *, templates: Sequence[str]) -> ListedPairs:
    """Return the pictures of class folders, captioned by the names of their classes.

    Args:
        folder: With one folder a class; pictures may lie deeper in it. Pictures beside these
            folders have no class and are left out.
        templates: Texts with one {} for the name; a picture has as many captions.

    Returns:
        Pairs in the order of their paths. A name is its folder's, with spaces for _ and -.

    Raises:
        InputError: If two folders' names are the same class, or the folder cannot be opened.
        PromptError: If a template has not one {}.
    """
    for template in templates:
        if template.count("{}") != 1:
            raise PromptError(f'a template needs one {{}} for the class name, got "{template}"')
    scan = find_images(folder)
    by_class: dict[str, list[str]] = {}
    for entry in scan.entries:
        first, slash, _ = entry.path.partition("/")
        if slash:
            by_class.setdefault(first, []).append(entry.path)
    names = tuple(name_of(place) for place in sorted(by_class))
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{folder} has two folders for the class {sorted(twice)[0]!r}: join them")
    pairs, labels = [], []
    for label, place in enumerate(sorted(by_class)):
        captions = tuple(template.replace("{}", names[label]) for template in templates)
        for path in by_class[place]:
            pairs.append(Pair(folder / path, captions, str(folder / path)))
            labels.append(label)
    return ListedPairs(pairs, skipped=scan.skipped, class_names=names, labels=labels)


def name_of(folder_name: str) -> str:
    """Return the name of the class that a folder holds."""
    return " ".join(folder_name.replace("_", " ").replace("-", " ").split())
