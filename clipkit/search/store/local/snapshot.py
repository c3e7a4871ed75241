"""One committed state of a library, held while it is read."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from clipkit.errors import LibraryError
from clipkit.search.location import LibraryPlace
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.schema import damaged_library
from clipkit.search.store.local.vectors import VectorReader
from clipkit.search.store.records import CatalogMeta

_ATTEMPTS = 5  # to read a library whose vectors file is being replaced


class Snapshot(NamedTuple):
    """What was committed at one moment; writers do not change it."""

    catalog: Catalog
    meta: CatalogMeta
    vectors: VectorReader


@contextmanager
def committed(place: LibraryPlace) -> Iterator[Snapshot]:
    """Hold the last committed state of a library.

    Args:
        place: Where it lies.

    Yields:
        The state.

    Raises:
        LibraryError: If the folder has not been indexed, or the index is damaged.
    """
    for _ in range(_ATTEMPTS):
        catalog = Catalog.open(place.catalog_path, place.indexed_folder)
        if catalog is None:
            raise not_indexed(place)
        with catalog, catalog.snapshot():
            meta = catalog.meta()
            if meta is None:
                raise not_indexed(place)
            path = place.location / meta.vectors_file
            try:
                vectors = VectorReader(path, meta.embed_dim, meta.num_rows, place.indexed_folder)
            except FileNotFoundError:
                continue  # a writer has replaced it since: look again
            yield Snapshot(catalog, meta, vectors)
            return
    raise damaged_library(place.indexed_folder, f"{path} is missing")


def stored_meta(place: LibraryPlace) -> CatalogMeta | None:
    """Return what holds for a library, None if the folder has not been indexed."""
    catalog = Catalog.open(place.catalog_path, place.indexed_folder)
    if catalog is None:
        return None
    with catalog:
        return catalog.meta()


def not_indexed(
    place: LibraryPlace, model: str = "", other_models: Sequence[str] = ()
) -> LibraryError:
    """Return the error for a folder without an index, or without one of this model."""
    command = f"clipkit index {shlex.quote(str(place.folder))}"
    if not other_models:
        return LibraryError(f"{place.folder} has not been indexed: run  {command}")
    return LibraryError(
        f"{place.folder} has not been indexed with {model}, only with {', '.join(other_models)}: "
        f"name that model, or run  {command} --model {shlex.quote(model)}"
    )
