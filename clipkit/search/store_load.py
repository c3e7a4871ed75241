"""Embeddings in files straight to a store, of images that no folder of this machine holds.

Those are images in shards and tables, more of them than one machine indexes. A folder's own index
knows more of each image: its size in pixels, when it was taken, with which camera.

Shapes: D dimensions, Q queries, K images of a block.
"""

from pathlib import PurePosixPath

import numpy as np

from clipkit.background_words import BACKGROUND_NAMES
from clipkit.bulk_embedding.embedding_files import EmbeddingBlock, EmbeddingFiles
from clipkit.embeddings import Embeddings
from clipkit.encoder.encoder import Encoder
from clipkit.errors import SpaceMismatchError, advise_model
from clipkit.progress import Callbacks
from clipkit.search.relevance import make_background
from clipkit.search.store.milvus.address import read_address
from clipkit.search.store.milvus.ann_index import IndexKind, check_kind_of_index
from clipkit.search.store.milvus.connection import MilvusConnection, in_requests
from clipkit.search.store.milvus.store import MilvusStore
from clipkit.search.store.records import CatalogMeta, ImageRow
from clipkit.search.store_sync import (
    LISTED_FIELDS,
    RECALL_AT,
    StoreListing,
    StoreReport,
    settle_index,
    write_words,
)

_NOT_KNOWN = -1  # in the place of a size, or of a time of change


def send_embeddings(
    files: EmbeddingFiles,
    encoder: Encoder,
    store: str,
    *,
    index: IndexKind | None = None,
    callbacks: Callbacks | None = None,
) -> StoreReport:
    """Bring a Milvus collection in step with what ``clipkit embed`` wrote.

    What is new or changed is sent, what is not in the files is removed; after an interruption the
    same call goes on.

    Args:
        files: As :func:`clipkit.open_embedding_files` opens them.
        encoder: Of the same model; it embeds the everyday words that queries are weighed against.
        store: URL of the collection, ``milvus://host:19530/photos``; it is made if there is none.
        index: Of the vectors: "flat", "ivf", "hnsw" or "diskann"; None: as before, or what suits
            their number.
        callbacks: Told how far it is.

    Returns:
        What was done.

    Raises:
        InputError: If the URL is none.
        SpaceMismatchError: If the files or the collection are of another model.
        LibraryError: If files are damaged, or the server refuses or stays away.
    """
    callbacks = callbacks or Callbacks()
    kind = None if index is None else check_kind_of_index(index)
    if files.space_id != encoder.space_id:
        raise SpaceMismatchError(
            f"{files.location} holds embeddings of {files.model} (space {files.space_id}), not of "
            f"{encoder.name} (space {encoder.space_id}): "
            + advise_model(files.model, encoder.name, otherwise="embed again")
        )
    target = MilvusStore(MilvusConnection(read_address(store), on_retry=callbacks.warn))
    words = make_background(encoder)
    target.create(_meta(files, encoder))
    with target.snapshot() as remote:
        named = dict(zip(BACKGROUND_NAMES, np.asarray(words), strict=True))
        write_words(target, remote.background(), named)
        listing = StoreListing(remote.list_fields(LISTED_FIELDS))
    num_sent = num_seen = 0
    size = target.rows_a_request(files.embed_dim)
    with callbacks.progress_for("sending") as progress:
        for block in files.blocks():
            images = _records(block)
            known = listing.is_known(images)
            new = [place for place, is_known in enumerate(known) if not is_known]
            for some in in_requests(new, size):
                target.upsert([images[place] for place in some], block.embeddings[some])
            num_sent, num_seen = num_sent + len(new), num_seen + len(images)
            progress(num_seen, None)
    gone = listing.left()
    target.remove_keys(gone)
    built, recall = settle_index(
        target,
        num_seen,
        words,
        lambda queries: exact_in_files(files, queries, RECALL_AT),
        kind=kind,
        callbacks=callbacks,
    )
    return StoreReport(store, num_sent, len(gone), num_seen - num_sent, built.kind, recall)


def exact_in_files(files: EmbeddingFiles, queries: Embeddings, k: int) -> list[set[str]]:
    """Return the ids of the k images nearest to each query, by comparing with all of them.

    Args:
        files: With the images.
        queries: Shape (Q, D).
        k: How many, all if there are fewer.

    Returns:
        Q sets.
    """
    ids = np.empty((len(queries), 0), dtype=object)
    scores = np.empty((len(queries), 0), dtype=np.float32)
    for block in files.blocks():
        products = np.asarray(queries) @ np.asarray(block.embeddings).T
        names = np.array(block.ids, dtype=object)
        ids = np.concatenate([ids, np.broadcast_to(names, products.shape)], axis=1)
        scores = np.concatenate([scores, products], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        ids = np.take_along_axis(ids, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
    return [{*row} for row in ids.tolist()]


def _records(block: EmbeddingBlock) -> list[ImageRow]:
    return [
        ImageRow(
            id_,
            _NOT_KNOWN if size is None else size,
            _NOT_KNOWN if mtime is None else mtime,
            row=-1,
            digest=digest,
        )
        for id_, size, mtime, digest in zip(
            block.ids, block.sizes, block.mtimes, block.digests, strict=True
        )
    ]


def _meta(files: EmbeddingFiles, encoder: Encoder) -> CatalogMeta:
    """Return the metadata of the whole; a hit's path is the folder and the id."""
    source = PurePosixPath(files.source)
    is_file = source.suffix != ""  # a list, a table, shards: ids count from the folder they are in
    return CatalogMeta(
        folder=str(source.parent if is_file else source),
        space_id=files.space_id,
        embed_dim=files.embed_dim,
        model=files.model,
        engine=encoder.engine,
        precision=encoder.precision,
        clipkit_version="",
        vectors_file="",
    )
