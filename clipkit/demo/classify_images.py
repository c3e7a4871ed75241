"""The images that are classified: a visitor's own, or those of a place in the library.

Shapes: N images, D dimensions.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import clipkit
from clipkit.demo.image_store import ImageStore, Upload
from clipkit.demo.image_tray import open_source
from clipkit.demo.messages import short_path

MAX_OWN = 50  # images of a visitor's own
MAX_LISTED = 1000  # images of the library; all of them have ids that take 5 % of the store's
MAX_PLACES = 500  # folders to choose from

OWN = "My images, above"


@dataclass(frozen=True)
class ImageSource:
    """One image that is to be classified."""

    content: str | Path  # the id of an upload, or a file of the library
    name: str  # as it is shown


@dataclass(frozen=True)
class EmbeddedBatch:
    """Some of the images, as embeddings."""

    positions: list[int]  # of those that could be read
    embeddings: NDArray[np.float32]  # shape (N, D), rows of norm 1
    skipped: list[tuple[int, str]]  # position of each of the others, and why


def places(library: clipkit.PhotoLibrary) -> dict[str, Path]:
    """Return the folders of a library that hold images, by what they are called in a list."""
    counts: Counter[Path] = Counter()
    for image in library.images() if library.is_indexed else ():
        inner = image.path.relative_to(library.folder)
        counts.update(inner.parents)  # itself, then up to "."
    found = {}
    for place, count in sorted(counts.items())[:MAX_PLACES]:
        name = short_path(library.folder / place, library.folder)
        label = name if place.parts else "The whole library"
        found[f"{label} ({count:,})"] = place
    return found


def own_images(keys: Sequence[str], images: ImageStore) -> list[ImageSource]:
    """Return images of a tray as they are classified; some may be of the library."""
    found = []
    for key in keys:
        source = images.source(key)
        if isinstance(source, Upload):
            found.append(ImageSource(key, source.name))
        else:
            found.append(ImageSource(source, short_path(source, source.parent)))
    return found


def library_images(
    library: clipkit.PhotoLibrary, images: ImageStore, place: Path
) -> list[ImageSource]:
    """Return images of a place in the library that may be shown, the newest first, some at most."""
    found: list[ImageSource] = []
    folder = library.folder / place
    for image in library.images():
        if len(found) == MAX_LISTED:
            break
        if image.path.is_relative_to(folder) and images.is_shown(image.path):
            found.append(ImageSource(image.path, short_path(image.path, library.folder)))
    return found


def embed_sources(
    encoder: clipkit.Encoder,
    library: clipkit.PhotoLibrary,
    images: ImageStore,
    sources: Sequence[ImageSource],
) -> Iterator[EmbeddedBatch]:
    """Yield images as embeddings: those of the library as the index has them.

    Args:
        encoder: The model of the index.
        library: The library.
        images: Has what was uploaded.
        sources: The images.

    Yields:
        Batches, each short work; each image is in one of them.
    """
    listed = [at for at, source in enumerate(sources) if isinstance(source.content, Path)]
    files, kept = [], []
    for at in listed:
        if (state := _state_of(Path(sources[at].content), library.folder)) is None:
            yield EmbeddedBatch([], np.empty((0, encoder.embed_dim), np.float32), [(at, _GONE)])
            continue
        files.append(state)
        kept.append(at)
    if files:
        for batch in library.look_up(files).stream(encoder):
            skipped = [(kept[place], error.reason) for place, error in batch.skipped]
            rows = np.asarray(batch.embeddings)
            yield EmbeddedBatch([kept[place] for place in batch.positions], rows, skipped)
    for at, source in enumerate(sources):
        if isinstance(source.content, str):
            (batch,) = encoder.stream_images([open_source(images, source.content)])
            reasons = [(at, error.reason) for _, error in batch.skipped]
            yield EmbeddedBatch([at] * len(batch.positions), np.asarray(batch.embeddings), reasons)


_GONE = "no such file"


class _File(NamedTuple):
    """A file of the library as it is now: a `clipkit.FileState`."""

    path: str
    size: int
    mtime_ns: int


def _state_of(path: Path, folder: Path) -> _File | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return _File(path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns)
