"""The labelled images that a visitor adapts to: classes of dropped images, or folders."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

import clipkit
from clipkit.demo.classify_images import ImageSource, embed_sources, own_images
from clipkit.demo.classify_request import MAX_LABEL
from clipkit.demo.image_store import ImageStore
from clipkit.demo.image_tray import open_source, read_tray
from clipkit.demo.messages import refuse, short_name, short_path

MAX_CLASSES = 6  # that are named, and have images dropped
MAX_EACH = 20  # images of each of them
MAX_FOLDERS = 50  # classes of the library
MAX_LABELLED = 300  # images in all: fitting to them takes some seconds in short steps
LEAST = 2  # images of a folder that is a class


@dataclass(frozen=True)
class LabelledSources:
    """Images with the name of the class of each."""

    sources: tuple[ImageSource, ...]
    labels: tuple[str, ...]


def class_folders(library: clipkit.PhotoLibrary) -> dict[str, Path]:
    """Return the folders of a library whose folders are classes, by what they are called."""
    counts: dict[Path, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for image in library.images() if library.is_indexed else ():
        parts = image.path.relative_to(library.folder).parts[:-1]
        for depth, name in enumerate(parts):
            counts[Path(*parts[:depth])][name] += 1
    found = {}
    for place, classes in sorted(counts.items()):
        usable = sum(count >= LEAST for count in classes.values())
        if 2 <= usable <= MAX_FOLDERS:
            name = short_path(library.folder / place, library.folder)
            label = name if place.parts else "The whole library"
            found[f"{label} ({usable} folders, {sum(classes.values()):,} images)"] = place
    return found


def folder_classes(
    library: clipkit.PhotoLibrary, images: ImageStore, place: Path
) -> LabelledSources:
    """Return the images of a folder's folders, the newest of each, some at most."""
    by_name: dict[str, list[ImageSource]] = defaultdict(list)
    root = library.folder / place
    for image in library.images():
        if image.path.is_relative_to(root) and images.is_shown(image.path):
            name, *below = image.path.relative_to(root).parts
            if below:
                file = short_path(image.path, library.folder)
                by_name[short_name(name)].append(ImageSource(image.path, file))
    by_name = {name: some for name, some in by_name.items() if len(some) >= LEAST}
    if len(by_name) < 2:
        raise refuse("Two folders with two images each, or more, are needed there")
    most = max(LEAST, MAX_LABELLED // len(by_name))
    pairs = [(source, name) for name, some in sorted(by_name.items()) for source in some[:most]]
    return LabelledSources(*map(tuple, zip(*pairs, strict=True)))


def read_classes(
    names: Sequence[str], trays: Sequence[str], images: ImageStore
) -> dict[str, list[str]]:
    """Return the ids of the images that a visitor has put to each class.

    Args:
        names: What the classes are called; those without a name and images are left out.
        trays: The tray of each.
        images: Knows the ids.

    Returns:
        By name, in order; a class may have no images.
    """
    found: dict[str, list[str]] = {}
    for number, (given, tray) in enumerate(zip(names, trays, strict=True), start=1):
        name, keys = (given or "").strip(), read_tray(tray, images, most=MAX_EACH)
        if keys and not name:
            raise refuse(f"Give class {number} a name: the model reads it, too")
        if len(name) > MAX_LABEL:
            raise refuse(f"The name of a class may have up to {MAX_LABEL} characters")
        if name in found:
            raise refuse(f"Two classes are called {name}: give one another name")
        if name:
            found[name] = keys
    return found


def dropped_classes(classes: dict[str, list[str]], images: ImageStore) -> LabelledSources:
    """Return the images that a visitor has put to classes."""
    pairs = [
        (source, name) for name, keys in classes.items() for source in own_images(keys, images)
    ]
    return LabelledSources(tuple(source for source, _ in pairs), tuple(label for _, label in pairs))


def embed_labelled(
    encoder: clipkit.Encoder,
    library: clipkit.PhotoLibrary,
    images: ImageStore,
    data: LabelledSources,
    tell: Callable[[int, int], None],
) -> tuple[LabelledSources, NDArray[np.float32]]:
    """Return those images that can be read, and their embeddings.

    Args:
        encoder: The model.
        library: Knows embeddings of its images.
        images: Has what was uploaded.
        data: The images.
        tell: Called after every step with how many are done, and how many there are.

    Returns:
        The images, and rows of norm 1 in their order.
    """
    rows: dict[int, NDArray[np.float32]] = {}
    for batch in embed_sources(encoder, library, images, data.sources):
        rows |= dict(zip(batch.positions, batch.embeddings, strict=True))
        tell(len(rows), len(data.sources))
    kept = sorted(rows)
    read = LabelledSources(
        tuple(data.sources[at] for at in kept), tuple(data.labels[at] for at in kept)
    )
    none = np.empty((0, encoder.embed_dim), dtype=np.float32)
    return read, np.stack([rows[at] for at in kept]) if kept else none


def contents(data: LabelledSources, images: ImageStore) -> list[Path | BinaryIO]:
    """Return the images for whom reads their pixels."""
    return [
        source.content if isinstance(source.content, Path) else open_source(images, source.content)
        for source in data.sources
    ]
