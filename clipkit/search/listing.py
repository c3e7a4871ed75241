"""Listing the images of a library by date, without a query."""

from dataclasses import dataclass
from pathlib import Path

from clipkit.search.filters import IndexFilter
from clipkit.search.location import LibraryPlace


@dataclass(frozen=True)
class LibraryImage:
    """One indexed image, as the index knows it."""

    path: Path  # the library's folder, as it was given, joined with the path inside it
    width: int | None = None  # pixels, upright; None where the file does not say
    height: int | None = None
    # Local time, as in 2024-06-01T12:30:00, or the day alone: by EXIF, XMP or the name of the file.
    taken_at: str | None = None
    camera: str | None = None  # maker and model


def list_images(place: LibraryPlace, accepted: IndexFilter) -> list[LibraryImage]:
    """Return the images of a library that pass a filter, newest first.

    Args:
        place: Where the library lies.
        accepted: Which images.

    Returns:
        By when they were taken, or else when their file was last changed; of one time in the order
        of their paths.

    Raises:
        NotIndexedError: If the folder has not been indexed.
        LibraryError: If the index is damaged.
    """
    with place.store.snapshot() as snapshot:
        records = list(snapshot.catalog.contents(place.prefix, accepted))
    records.sort(key=lambda record: record.date, reverse=True)  # stable: equal dates stay in order
    return [
        LibraryImage(
            place.path(record.path), record.width, record.height, record.taken_at, record.camera
        )
        for record in records
    ]
