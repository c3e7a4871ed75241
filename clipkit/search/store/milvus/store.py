"""The Milvus store: one collection of images, and a small one of the words queries are weighed by.

What is acknowledged is kept by the server, through a kill as well, and is seen by every snapshot
that is taken afterwards. One request is one change; what is larger is sent in several, each of
which is there or reported.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.errors import InputError, LibraryError, SpaceMismatchError, advise_model
from clipkit.search.filters import Selection
from clipkit.search.store.milvus.address import WORDS, MilvusAddress
from clipkit.search.store.milvus.ann_index import AnnIndex, IndexKind, check_kind_of_index
from clipkit.search.store.milvus.connection import MilvusConnection, NoCollectionError, in_requests
from clipkit.search.store.milvus.expressions import paths_expression
from clipkit.search.store.milvus.schema import (
    MOST_CAMERAS,
    VECTOR,
    camera_properties,
    cameras_of,
    decode_path,
    entity_of,
    image_schema,
    meta_of,
    properties_of,
    word_schema,
)
from clipkit.search.store.milvus.snapshot import MOST_ROWS, MilvusSnapshot
from clipkit.search.store.records import CatalogMeta, ImageRow

_BYTES_A_REQUEST = 16 * 2**20  # servers take 64 MB
_PATHS_A_REQUEST = 2048
_SLOW = 600.0  # seconds that writing all that was sent may take, or loading it
_STALLED = 600.0  # seconds that building an index may go without a sign of progress
_POLL = 0.5  # seconds between two looks at how far it is
_EFFORT, _REQUESTED = "clipkit.effort", "clipkit.index"  # properties


class MilvusStore:
    """The index of a folder in a Milvus collection.

    Args:
        connection: To the server, for that collection.
    """

    def __init__(self, connection: MilvusConnection) -> None:
        self.connection = connection
        self._words: Mapping[str, NDArray[np.float32]] | None = None

    @property
    def address(self) -> MilvusAddress:
        """Of the collection."""
        return self.connection.address

    @contextmanager
    def snapshot(self) -> Iterator[MilvusSnapshot]:
        """Read from now on: what was acknowledged until now is seen, as `MilvusSnapshot` says.

        Yields:
            The state.

        Raises:
            NotIndexedError: If there is no such collection.
            LibraryError: If there is no such server, or the collection is not clipkit's.
        """
        properties = self._properties()
        meta = meta_of(properties, str(self.address))
        index, cameras = self._index(properties), cameras_of(properties)
        yield MilvusSnapshot(self.connection, meta, index, cameras, self._background)

    def meta(self) -> CatalogMeta | None:
        """Return what is known of the whole, None if there is no such collection."""
        try:
            return meta_of(self._properties(), str(self.address))
        except NoCollectionError:
            return None

    def count(self, prefix: str = "") -> int:
        """Return how many images of a folder are in the store; 0 without a collection."""
        try:
            with self.snapshot() as snapshot:
                return snapshot.count(Selection(prefix))
        except NoCollectionError:
            return 0

    def count_missing(self, prefix: str = "") -> int:
        """Return 0: an image that cannot be reached is kept, and searched, until it is gone."""
        del prefix
        return 0

    def create(self, meta: CatalogMeta) -> None:
        """Make an empty collection, or change what is known of the whole of one.

        Args:
            meta: Of the index.

        Raises:
            SpaceMismatchError: If there is one of another space.
            LibraryError: If there is one that is not clipkit's, or none can be made.
        """
        stored = self.meta()
        has_words = self._has_own_words()
        if stored is None:
            if has_words:  # left by an interrupted run, perhaps of another model
                self.connection.call(
                    "drop_collection", collection_name=self.address.words_collection
                )
        else:
            self.check_space(stored, meta.space_id, meta.model)
            if properties_of(stored) != properties_of(meta):
                self.connection.call("alter_collection_properties", properties=properties_of(meta))
        for name, schema in (
            (
                self.address.words_collection,
                word_schema,
            ),  # first: a collection of images has its words
            (self.address.collection, image_schema),
        ):
            if not self._has(name):
                self._make(name, schema, meta)
            self._make_ready(name)

    def check_space(self, stored: CatalogMeta, space_id: str, model: str) -> None:
        """Raise SpaceMismatchError unless the store is of a model's space.

        Args:
            stored: What is known of the store.
            space_id: Of the model.
            model: Its name.
        """
        if stored.space_id != space_id:
            raise SpaceMismatchError(
                f"{self.address} holds embeddings of {stored.model or 'another model'} (space "
                f"{stored.space_id}), not of {model} (space {space_id}): "
                + advise_model(
                    stored.model,
                    model,
                    otherwise="name another collection, or replace this one with  clipkit index "
                    f"FOLDER --store {self.address} --model {model} --rebuild",
                )
            )

    def upsert(self, records: Sequence[ImageRow], vectors: Embeddings) -> None:
        """Add images, or replace the records of their paths; one request for each 16 MB."""
        properties = self._properties()
        meta = meta_of(properties, str(self.address))
        if vectors.shape != (len(records), meta.embed_dim):
            raise InputError(
                f"{len(records)} records need vectors of shape ({len(records)}, {meta.embed_dim}), "
                f"got {vectors.shape}"
            )
        self._name_cameras(properties, {record.camera for record in records if record.camera})
        last = {record.path: place for place, record in enumerate(records)}
        rows = np.ascontiguousarray(vectors, np.float32)
        entities = [entity_of(records[place], rows[place]) for place in last.values()]
        for part in in_requests(entities, self.rows_a_request(meta.embed_dim)):
            self.connection.call("upsert", data=part)

    def remove_keys(self, keys: Iterable[int]) -> None:
        """Forget images by the keys of their paths, as `path_key` makes them."""
        for part in in_requests(list(keys), _PATHS_A_REQUEST):
            self.connection.call("delete", filter=f"path_key in {part}")

    def remove(self, paths: Iterable[str]) -> None:
        """Forget images; one request for each 2048."""
        for part in in_requests(list(paths), _PATHS_A_REQUEST):
            # By an expression: pymilvus would make one of a list without escaping quotes.
            self.connection.call("delete", filter=paths_expression(part))

    def write_background(self, names: Sequence[str], embeddings: Embeddings) -> None:
        """Store the words that queries are weighed against, in place of any others.

        Args:
            names: B of them.
            embeddings: Shape (B, D).
        """
        known = self._read_words()
        if gone := sorted(known.keys() - set(names)):
            self.connection.call(
                "delete",
                collection_name=self.address.words_collection,
                filter=paths_expression(gone),
            )
        data = [
            {"path": name, VECTOR: np.asarray(row, np.float32)}
            for name, row in zip(names, embeddings, strict=True)
        ]
        self.connection.call("upsert", collection_name=self.address.words_collection, data=data)
        self._words = None

    def drop(self) -> None:
        """Delete the collection, and that of the words; only those of clipkit.

        Raises:
            LibraryError: If the collection is not clipkit's.
        """
        try:
            meta_of(self._properties(), str(self.address))
        except NoCollectionError:
            return
        if self._has_own_words():
            self.connection.call("drop_collection", collection_name=self.address.words_collection)
        self.connection.call("drop_collection")
        self._words = None

    def index(self) -> AnnIndex:
        """Return how vectors are found now."""
        return self._index(self._properties())

    def build_index(
        self, index: AnnIndex, progress: Callable[[int, int | None], None] | None = None
    ) -> None:
        """Replace the index of the vectors; no search is answered meanwhile.

        Args:
            index: The new one.
            progress: Called with how many vectors are in it, and how many there are.

        Raises:
            LibraryError: If the server cannot build it; the vectors have a flat one then.
        """
        self.connection.call("flush", timeout=_SLOW)  # what is not written is not indexed
        self.connection.call("release_collection")
        try:
            self._put_index(index)
            self._wait_for_index(progress)
        except LibraryError:
            self._put_index(AnnIndex())  # every server has it
            self._load(AnnIndex())
            raise
        self._load(index)

    def _load(self, index: AnnIndex) -> None:
        """Let searches use an index."""
        self.connection.call("load_collection", timeout=_SLOW)
        self.set_effort(index)

    def _put_index(self, index: AnnIndex) -> None:
        """Replace the index of a collection that is not loaded; it is built in the background."""
        self.connection.call("drop_index", index_name=VECTOR)
        self.connection.call("create_index", index_params=self._index_params(index), sync=False)

    def nearest_paths(self, queries: Embeddings, k: int, index: AnnIndex) -> list[list[str]]:
        """Return the paths of the k images nearest to each query, as the index finds them.

        Args:
            queries: Shape (Q, D).
            k: How many.
            index: How hard it looks.

        Returns:
            Q lists, nearest first.
        """
        found = self.connection.call(
            "search",
            data=list(queries.astype(np.float32)),
            limit=k,
            output_fields=["path"],
            search_params=index.search_parameters(k),
            consistency_level="Strong",
        )
        return [[decode_path(hit["entity"]["path"]) for hit in hits] for hits in found]

    def requested_kind(self) -> IndexKind | None:
        """Return the kind of index that was asked for; None if it goes by the number of images."""
        kind = self._properties().get(_REQUESTED)
        return check_kind_of_index(kind) if kind else None

    def request_kind(self, kind: IndexKind) -> None:
        """Remember the kind of index that was asked for."""
        self.connection.call("alter_collection_properties", properties={_REQUESTED: kind})

    def set_effort(self, index: AnnIndex) -> None:
        """Store how hard searches are to look."""
        self.connection.call("alter_collection_properties", properties={_EFFORT: str(index.effort)})

    def close(self) -> None:
        """End the connection; the next call makes a new one."""
        self.connection.close()

    @staticmethod
    def rows_a_request(embed_dim: int) -> int:
        """Return how many images are sent at once."""
        return max(1, _BYTES_A_REQUEST // (4 * embed_dim + 512))

    def _properties(self) -> dict[str, str]:
        return dict(self.connection.call("describe_collection").get("properties", {}))

    def _name_cameras(self, properties: Mapping[str, str], cameras: set[str]) -> None:
        """Name cameras before images of them are there: filters by camera ask for these names.

        Where there are too many, one too many is named, which tells that others are not.
        """
        named = cameras_of(properties)
        if named is None:
            return
        new = sorted(cameras - named)[: MOST_CAMERAS + 1 - len(named)]
        if new:
            self.connection.call("alter_collection_properties", properties=camera_properties(new))

    def _index(self, properties: Mapping[str, str]) -> AnnIndex:
        description = self.connection.call("describe_index", index_name=VECTOR)
        return AnnIndex.described(description or {}, int(properties.get(_EFFORT, 0)))

    def _has(self, name: str) -> bool:
        return bool(self.connection.call("has_collection", collection_name=name))

    def _has_own_words(self) -> bool:
        """Return whether there is the collection of words; raise if it is somebody else's."""
        if not self._has(self.address.words_collection):
            return False
        found = self.connection.call(
            "describe_collection", collection_name=self.address.words_collection
        )
        meta_of(found.get("properties", {}), f"{self.address}{WORDS}")
        return True

    def _make(self, name: str, schema: Callable[..., Any], meta: CatalogMeta) -> None:
        """Make a collection that has no index yet."""
        from pymilvus import DataType

        empty = self.connection.client().create_schema(auto_id=False, enable_dynamic_field=False)
        self.connection.call(
            "create_collection",
            collection_name=name,
            schema=schema(DataType, empty, meta.embed_dim),
            properties=properties_of(meta),
            consistency_level="Strong",
        )

    def _make_ready(self, name: str) -> None:
        """Give a collection the index that it lacks, also after an interruption, and load it."""
        if VECTOR not in self.connection.call("list_indexes", collection_name=name):
            self.connection.call(
                "create_index",
                collection_name=name,
                index_params=self._index_params(AnnIndex()),
                sync=False,  # loading waits for it
            )
        self.connection.call("load_collection", collection_name=name, timeout=_SLOW)

    def _index_params(self, index: AnnIndex) -> Any:
        parameters = self.connection.client().prepare_index_params()
        parameters.add_index(VECTOR, index_name=VECTOR, **index.build_parameters())
        return parameters

    def _wait_for_index(self, progress: Callable[[int, int | None], None] | None) -> None:
        """Wait until every vector is in the index."""
        last, waited = -1, 0.0
        while True:
            found = self.connection.call("describe_index", index_name=VECTOR)
            done, total = int(found.get("indexed_rows", 0)), int(found.get("total_rows", 0))
            if progress:
                progress(done, total)
            state = found.get("state", "Finished")
            if state in ("Finished", 3) or (total and done >= total):
                return
            waited = 0.0 if done != last else waited + _POLL
            if state in ("Failed", 4) or waited > _STALLED:
                raise LibraryError(
                    f"{self.address} does not build the index of type {found.get('index_type')}: "
                    "the server may lack it, or memory; choose another with --store-index, as in  "
                    f"clipkit index FOLDER --store {self.address} --store-index flat"
                )
            last = done
            self.connection.wait(_POLL)

    def _background(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the words. Once read they are kept: they change with the space only."""
        if not self._words:
            self._words = self._read_words()
        return self._words

    def _read_words(self) -> dict[str, NDArray[np.float32]]:
        try:
            found = self.connection.call(
                "query",
                collection_name=self.address.words_collection,
                filter='path != ""',
                output_fields=["path", VECTOR],
                limit=MOST_ROWS,
                consistency_level="Session",
            )
        except NoCollectionError:
            return {}
        return {each["path"]: np.array(each[VECTOR], np.float32) for each in found}
