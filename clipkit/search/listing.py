"""Listing the images of a library without a query."""

from dataclasses import dataclass
from pathlib import Path

from clipkit.search.filters import IndexFilter
from clipkit.search.location import LibraryPlace
from clipkit.search.order import LISTING_SORTS, ListingSort, check_sort, order_of


@dataclass(frozen=True)
class LibraryImage:
    """One indexed image, as the index knows it."""

    path: Path  # the library's folder, as it was given, joined with the path inside it
    width: int | None = None  # pixels, upright; None where the file does not say
    height: int | None = None
    # Local time, as in 2024-06-01T12:30:00, or the day alone: by EXIF, XMP or the name of the file.
    taken_at: str | None = None
    camera: str | None = None  # maker and model


def list_images(
    place: LibraryPlace, accepted: IndexFilter, sort: ListingSort
) -> list[LibraryImage]:
    """Return the images of a library that pass a filter.

    Args:
        place: Where the library lies.
        accepted: Which images.
        sort: Their order.

    Returns:
        The images; those that the order does not part by their paths.

    Raises:
        InputError: If there is no such order.
        NotIndexedError: If the folder has not been indexed.
        LibraryError: If the index is damaged.
    """
    check_sort(sort, LISTING_SORTS)
    with place.store.snapshot() as snapshot:
        records = list(snapshot.catalog.contents(place.prefix, accepted))
    return [
        LibraryImage(
            place.path(record.path), record.width, record.height, record.taken_at, record.camera
        )
        for record in map(records.__getitem__, order_of(records, sort))
    ]
