"""What a map shows: a table with the place of each image, what is known of it, and a thumbnail."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_whole
from clipkit.embeddings import EmbeddingArray
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ClipkitError, InputError, MissingExtraError
from clipkit.mapping.layout_process import lay_out_apart
from clipkit.mapping.projection import NUM_NEIGHBORS, find_places, lay_out, nearest
from clipkit.progress import Callbacks, map_ahead
from clipkit.search.library import PhotoLibrary
from clipkit.search.listing import LibraryImage
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.labels import Labels

MAX_THUMBNAILS = 20_000  # about 80 MB, which the browser holds in memory
_BOX = (128, 128)  # pixels
_AHEAD = 32


@dataclass(frozen=True)
class MapOptions:
    """What a map shows beside the places of the images."""

    labels: Labels = ()  # words; each image gets the one that fits best
    templates: str = "default"
    has_thumbnails: bool = True  # also left out of more than MAX_THUMBNAILS images
    newest: int | None = None  # how many images at most, the newest ones; None: all
    in_own_process: bool = False  # another process lays out: threads of this one go on meanwhile

    def __post_init__(self) -> None:
        if self.newest is not None:
            check_whole(self.newest, "newest")


@dataclass(frozen=True)
class ImageMap:
    """A map of a folder: one row an image, and which column is what."""

    table: Any  # a pandas DataFrame
    props: dict[str, Any]  # of Embedding Atlas: the names of columns
    num_unreadable: int  # images without a thumbnail: gone or changed since they were indexed


def make_map(
    library: PhotoLibrary,
    encoder: Encoder,
    options: MapOptions | None = None,
    callbacks: Callbacks | None = None,
) -> ImageMap:
    """Lay out the images of a library, and gather what is known of each.

    Args:
        library: An indexed folder.
        encoder: The model of its index.
        options: What to show.
        callbacks: For messages and progress.

    Returns:
        The map. Columns: id, path and folder (relative to the library's), taken, camera, width,
        height, x, y, neighbors; with labels label and score; with thumbnails image.

    Raises:
        InputError: If the library has no image.
        NotIndexedError: If the folder has not been indexed.
        MissingExtraError: If Embedding Atlas is not installed.

    Example:
        In a notebook, ``EmbeddingAtlasWidget`` of ``embedding_atlas.widget`` shows the table:
        ``EmbeddingAtlasWidget(table, x="x", y="y", image="image", neighbors="neighbors")``.
    """
    if find_spec("embedding_atlas") is None:
        raise MissingExtraError("map", "The map")
    import pandas as pd

    options, callbacks = options or MapOptions(), callbacks or Callbacks()
    images, rows = _read_rows(library, options)
    if not images:
        raise InputError("there is no indexed image to put on a map")
    embeddings = np.asarray(rows)
    places = _lay_out(embeddings, options, callbacks)
    paths = [image.path.relative_to(library.folder) for image in images]
    columns: dict[str, Any] = {
        "id": range(len(images)),
        "path": [path.as_posix() for path in paths],
        "folder": [path.parent.as_posix() for path in paths],
        "taken": pd.to_datetime(
            pd.Series([image.taken_at for image in images], dtype="str"), errors="coerce",
            format="ISO8601",
        ),
        "camera": [image.camera for image in images],
        "width": pd.array([image.width for image in images], dtype="Int32"),
        "height": pd.array([image.height for image in images], dtype="Int32"),
        "x": places[:, 0],
        "y": places[:, 1],
        "neighbors": _neighbors(embeddings, callbacks),
    }  # fmt: skip
    if options.labels:
        columns |= _labels(encoder, options, rows)
    num_unreadable = 0
    if options.has_thumbnails and len(images) > MAX_THUMBNAILS:
        callbacks.say(f"of more than {MAX_THUMBNAILS:,} images no thumbnails are shown")
    elif options.has_thumbnails:
        columns["image"] = _thumbnails(library, images, callbacks)
        num_unreadable = columns["image"].count(None)
    return ImageMap(pd.DataFrame(columns), _props(columns), num_unreadable)


def is_map_laid_out(library: PhotoLibrary, options: MapOptions | None = None) -> bool:
    """Return whether a map can be made without a layout, which takes long: it was laid out before.

    Args:
        library: An indexed folder.
        options: As for `make_map`.

    Returns:
        Whether places are kept for the images as they are indexed now.

    Raises:
        NotIndexedError: If the folder has not been indexed.
    """
    _, rows = _read_rows(library, options or MapOptions())
    return find_places(np.asarray(rows)) is not None


def _read_rows(
    library: PhotoLibrary, options: MapOptions
) -> tuple[list[LibraryImage], EmbeddingArray]:
    """Return the images of a map, in the order of their paths, and their embeddings."""
    known = {image.path: image for image in library.images()[: options.newest]}
    rows = library.embeddings()
    # What is indexed between the two readings is on the next map.
    chosen = [row for row, path in enumerate(rows.paths) if Path(path) in known]
    images = [known[Path(rows.paths[row])] for row in chosen]
    return images, rows.embeddings if len(chosen) == len(rows.paths) else rows.embeddings[chosen]


def _lay_out(
    embeddings: NDArray[np.float32], options: MapOptions, callbacks: Callbacks
) -> NDArray[np.float32]:
    told = f"laying out {len(embeddings):,} images"
    callbacks.say(told)
    if not options.in_own_process:
        return lay_out(embeddings)
    with callbacks.progress_for(told) as progress:
        return lay_out_apart(embeddings, lambda: progress(0, None))


def _neighbors(embeddings: NDArray[np.float32], callbacks: Callbacks) -> list[dict[str, list[Any]]]:
    with callbacks.progress_for("neighbors") as progress:
        rows, distances = nearest(embeddings, NUM_NEIGHBORS, progress)
    return [
        {"ids": ids.tolist(), "distances": each.tolist()}
        for ids, each in zip(rows, distances, strict=True)
    ]


def _labels(
    encoder: Encoder, options: MapOptions, embeddings: EmbeddingArray
) -> dict[str, list[Any]]:
    classifier = ZeroShotClassifier(encoder, options.labels, templates=options.templates)
    best = [ranked[0] for ranked in classifier.rank(embeddings, k=1)]
    return {
        "label": [found["label"] for found in best],
        "score": [round(found["score"], 4) for found in best],
    }


def _thumbnails(
    library: PhotoLibrary, images: Sequence[LibraryImage], callbacks: Callbacks
) -> list[bytes | None]:
    """Return a small JPEG file of each image; None for one that is not what was indexed."""
    cache = library.thumbnails()

    def render(image: LibraryImage) -> bytes | None:
        try:
            return cache.render(image.path, box=_BOX)
        except ClipkitError:
            return None

    found = []
    with callbacks.progress_for("thumbnails") as progress:
        progress(0, len(images))
        for data in map_ahead(render, images, ahead=_AHEAD):
            found.append(data)
            progress(len(found), len(images))
    return found


def _props(columns: dict[str, Any]) -> dict[str, Any]:
    from embedding_atlas.options import make_embedding_atlas_props

    props: dict[str, Any] = make_embedding_atlas_props(
        row_id="id", x="x", y="y", neighbors="neighbors", text="path",
        image="image" if "image" in columns else None,
    )  # fmt: skip
    return props
