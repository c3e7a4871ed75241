"""The indexes of one folder, one for each model it was indexed with.

The first lies in the folder's own directory of the user's data, a further one in a directory
inside that. Each has its own catalog, vectors and lock, so none knows of the others.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import suppress

from clipkit.errors import LibraryError
from clipkit.search.entries import CatalogMeta
from clipkit.search.location import LibraryPlace, indexes_at, space_location
from clipkit.search.snapshot import stored_meta


def place_of_space(place: LibraryPlace, space_id: str) -> LibraryPlace:
    """Return where the index of one model lies, or is to lie.

    Args:
        place: The images, and the directory of the first index.
        space_id: The space of the model.

    Returns:
        The place of that index, which need not exist.

    Raises:
        LibraryError: If the first index is damaged: nobody knows whose it is.
    """
    own = dataclasses.replace(place, location=space_location(place.location, space_id))
    if own.catalog_path.is_file():
        return own
    first = stored_meta(place)
    return place if first is None or first.space_id == space_id else own


def places_of_all(place: LibraryPlace) -> Iterator[LibraryPlace]:
    """Yield the places of all indexes of a folder, the first one's first.

    Args:
        place: The images, and the directory of the first index.

    Yields:
        Places that have a catalog.
    """
    for location in indexes_at(place.location):
        yield dataclasses.replace(place, location=location)


def metas_of_all(place: LibraryPlace) -> Iterator[CatalogMeta]:
    """Yield what holds for each index of a folder; one that cannot be read is left out."""
    for each in places_of_all(place):
        with suppress(LibraryError):
            meta = stored_meta(each)
            if meta is not None:
                yield meta
