"""Images of a folder that have no label yet, as embeddings, and those that have one.

Shapes: M unlabelled images, N labelled ones, C classes, D dimensions.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.options import AdaptationOptions
from clipkit.arguments import quoted
from clipkit.data.labelled_images import open_labelled
from clipkit.data.listed_pairs import ListedPairs
from clipkit.embeddings import Embeddings
from clipkit.encoder.embedded_images import EmbeddedImages, embed_images
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ImageReadError, InputError, LibraryError, SpaceMismatchError
from clipkit.inputs.folders import FolderEntry, find_images
from clipkit.progress import Callbacks
from clipkit.search.library import PhotoLibrary
from clipkit.zero_shot.labels import check_class_names


@dataclass(frozen=True)
class LabelledSoFar:
    """The labelled images that can be read, and all classes that images may get."""

    embeddings: Embeddings  # shape (N, D)
    labels: NDArray[np.intp]  # the class of each, in 0..C-1, shape (N,)
    class_names: tuple[str, ...]  # C
    files: tuple[tuple[Path, str], ...]  # all that are files, with the name of the class
    num_without_file: int  # labelled images that lie in shards, or in a table itself
    skipped: tuple[ImageReadError, ...]


@dataclass(frozen=True)
class UnlabelledImages:
    """The images of a folder that can be read."""

    folder: Path
    paths: tuple[str, ...]  # relative to the folder, with / between the parts, M
    embeddings: Embeddings  # shape (M, D)
    skipped: tuple[ImageReadError, ...]


def read_labelled(
    encoder: Encoder,
    data: str,
    class_names: Sequence[str],
    options: AdaptationOptions,
    callbacks: Callbacks,
) -> LabelledSoFar:
    """Return the labelled images so far, perhaps none.

    Args:
        encoder: The model.
        data: Class folders or a table; empty: nothing is labelled yet.
        class_names: Classes that may have no labelled image yet, beside those of the data.
        options: With the layout of the data.
        callbacks: For messages and progress.

    Returns:
        The images; their classes come first.

    Raises:
        InputError: If there are not two classes in all, or the data cannot be read.
    """
    given = dict.fromkeys(check_class_names(class_names) if class_names else ())
    if not data:
        none = np.empty((0, encoder.embed_dim), dtype=np.float32)
        found = LabelledSoFar(none, np.empty(0, dtype=np.intp), tuple(given), (), 0, ())
        return _with_two_classes(found)
    images = open_labelled(
        data,
        options.layout,
        benchmark=None,
        label_column=options.label_column,
        callbacks=callbacks,
    )
    embedded = embed_images(encoder, images.dataset, "embedding labelled images", callbacks)
    known = images.class_names
    named = [(images.dataset[row].image, known[label]) for row, label in enumerate(images.labels)]
    files = [(Path(image), name) for image, name in named if isinstance(image, str | os.PathLike)]
    return _with_two_classes(
        LabelledSoFar(
            embedded.embeddings,
            images.labels[embedded.rows],
            (*known, *(name for name in given if name not in known)),
            tuple(files),
            len(named) - len(files),
            embedded.skipped,
        )
    )


def given_labelled(
    embeddings: Embeddings, labels: Sequence[str], class_names: Sequence[str]
) -> LabelledSoFar:
    """Return labelled images so far that are embedded already.

    Args:
        embeddings: Shape (N, D), N may be 0.
        labels: The name of the class of each.
        class_names: Classes that may have no labelled image yet.

    Returns:
        The images; their classes come first, by name.

    Raises:
        InputError: If there are not two classes in all.
    """
    given = check_class_names(class_names) if class_names else []
    names = tuple(dict.fromkeys((*sorted(set(labels)), *given)))
    number = {name: place for place, name in enumerate(names)}
    rows = np.array([number[label] for label in labels], dtype=np.intp)
    return _with_two_classes(LabelledSoFar(np.asarray(embeddings), rows, names, (), 0, ()))


def _with_two_classes(found: LabelledSoFar) -> LabelledSoFar:
    if len(found.class_names) < 2:
        raise InputError(
            "which images to label next depends on what classes there are, two or more, got "
            f"{quoted(found.class_names) or 'none'}: name those without a labelled image, too"
        )
    return found


def read_unlabelled(encoder: Encoder, folder: Path, callbacks: Callbacks) -> UnlabelledImages:
    """Return the images of a folder and the folders in it.

    Embeddings come from the index of the folder if it has one, else they are kept in the user's
    cache directory.

    Args:
        encoder: The model.
        folder: The folder.
        callbacks: For messages and progress.

    Returns:
        The images that can be read.

    Raises:
        InputError: If there is no such folder, or it has no image that can be read.
    """
    scan = find_images(folder)
    if not scan.entries:
        raise InputError(f"{folder} holds no images: name the folder with the unlabelled ones")
    paths = [entry.path for entry in scan.entries]
    found = _look_up(encoder, folder, scan.entries, callbacks)
    if found is None:
        dataset = ListedPairs(folder, [(path, ()) for path in paths])
        found = embed_images(encoder, dataset, "embedding unlabelled images", callbacks)
    return UnlabelledImages(
        folder,
        tuple(paths[row] for row in found.rows.tolist()),
        found.embeddings,
        (*scan.skipped, *found.skipped),
    )


def _look_up(
    encoder: Encoder, folder: Path, entries: Sequence[FolderEntry], callbacks: Callbacks
) -> EmbeddedImages | None:
    """Return embeddings from the index of a folder, of new files too; None without an index."""
    try:
        library = PhotoLibrary.open_nearest(folder, encoder)
        if not library.is_indexed:
            return None
        known = library.look_up(entries)
    except (LibraryError, SpaceMismatchError) as error:
        callbacks.say(f"the index of {folder} is not used: {error}")
        return None
    callbacks.say(f"{known.num_known} of {len(entries)} images are looked up in the index")
    rows: list[int] = []
    embeddings: list[Embeddings] = []
    skipped: list[ImageReadError] = []
    with callbacks.progress_for("embedding unlabelled images") as progress:
        for batch in known.stream(encoder):
            rows += batch.positions
            embeddings.append(np.asarray(batch.embeddings))
            skipped += [error for _, error in batch.skipped]
            progress(len(rows) + len(skipped), len(entries))
    if not rows:
        raise InputError(f"none of {len(entries)} images can be read; the first: {skipped[0]}")
    order = np.argsort(rows)
    return EmbeddedImages(
        np.concatenate(embeddings)[order], np.array(rows, dtype=np.intp)[order], tuple(skipped)
    )
