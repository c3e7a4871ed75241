"""A library whose vectors are searched in a store of their own, such as a Milvus cluster."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clipkit.errors import ClipkitWarning, NotIndexedError
from clipkit.search.location import LibraryPlace, existing_location
from clipkit.search.store.milvus.address import read_address
from clipkit.search.store.milvus.connection import MilvusConnection
from clipkit.search.store.milvus.store import MilvusStore
from clipkit.search.store.records import CatalogMeta

if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder


@dataclass(frozen=True)
class RemotePlace:
    """The image folder of a library and the store that its embeddings are searched in.

    Attributes:
        local: The folder, and where its own index is, if this machine has one.
        store: Holds the embeddings of the whole folder.
    """

    local: LibraryPlace
    store: MilvusStore

    @property
    def folder(self) -> Path:
        """The image folder: as it was given, or as it was named when it was indexed."""
        return self.local.folder

    @property
    def indexed_folder(self) -> Path:
        """The same: a store holds whole folders."""
        return self.local.folder

    @property
    def location(self) -> str:
        """The store's URL."""
        return str(self.store.address)

    @property
    def prefix(self) -> str:
        """The folder's path in the indexed one: "", for it is the same."""
        return ""

    def path(self, inner: str) -> Path:
        """Return the file of an image in the store, whether or not it is on this machine."""
        return self.local.path(inner)

    def inner_paths(self, path: Path) -> set[str]:
        """Return the store's paths for a file; none if it is outside of the folder."""
        return self.local.inner_paths(path)

    def check_encoder(self, encoder: "Encoder | None") -> None:
        """Raise SpaceMismatchError if an encoder is of another space than what is in the store."""
        meta = self.store.meta()
        if meta is not None and encoder is not None:
            self.store.check_space(meta, encoder.space_id, encoder.name)


def open_remote(url: str, local: LibraryPlace | None) -> RemotePlace:
    """Return a store, with the folder that is or will be in it.

    Args:
        url: Of the store, as `clipkit.search.store.milvus.address` describes it.
        local: The folder and its own index; None for the folder that was indexed there.

    Returns:
        The place; lost connections are told as warnings.

    Raises:
        InputError: If the URL is none.
        NotIndexedError: If no folder is given, and none was indexed there.
        LibraryError: If the server does not answer, or refuses.
    """
    connection = MilvusConnection(
        read_address(url), on_retry=lambda text: warnings.warn(text, ClipkitWarning, stacklevel=2)
    )
    store = MilvusStore(connection)
    if local is None:
        folder = Path(_known(store).folder)
        local = LibraryPlace(folder, existing_location(folder))
    return RemotePlace(local, store)


def _known(store: MilvusStore) -> CatalogMeta:
    """Return what a store tells of the whole."""
    meta = store.meta()
    if meta is None:
        raise NotIndexedError(
            f"there is no collection at {store.address}: make it with  clipkit index FOLDER "
            f"--store {store.address}"
        )
    return meta
