"""Embeddings in files sent to a store, in a file of Milvus Lite, and searched there."""

from pathlib import Path

import numpy as np
import pytest

import clipkit
from clipkit.bulk_embedding.embed import EmbedOptions, embed_source
from clipkit.errors import SpaceMismatchError
from clipkit.search.store_load import exact_in_files, send_embeddings
from tests.bulk_embedding.made_sources import COLORS, image_bytes, make_shard
from tests.store_file import url as url

pytest.importorskip("milvus_lite", reason="the extra milvus-lite is not installed")


def _embed(tmp_path: Path, starter: clipkit.Encoder, count: int) -> clipkit.EmbeddingFiles:
    for number in range(count):
        samples = {f"{n}.png": image_bytes(COLORS[n + 3 * number]) for n in range(3)}
        make_shard(tmp_path / "shards" / f"{number}.tar", samples)
    shards, out = f"{tmp_path}/shards/{{0..{count - 1}}}.tar", tmp_path / "out"
    embed_source(shards, out, starter, options=EmbedOptions())
    return clipkit.open_embedding_files(out)


def test_shards_are_searched_in_a_store(tmp_path: Path, starter: clipkit.Encoder, url: str) -> None:
    report = send_embeddings(_embed(tmp_path, starter, 2), starter, url)
    assert (report.sent, report.removed, report.unchanged) == (6, 0, 0)
    files = _embed(tmp_path, starter, 3)
    report = send_embeddings(files, starter, url)
    assert (report.sent, report.removed, report.unchanged) == (3, 0, 6)
    library = clipkit.PhotoLibrary.open(encoder=starter, store=url)
    assert len(library) == 9
    stored = files.read()
    hits = library.search(stored.embeddings[4], k=1)
    assert hits[0].path == tmp_path / "shards" / stored.ids[4]
    assert hits[0].similarity == pytest.approx(1, abs=1e-3)


def test_what_is_not_in_the_files_leaves_the_store(
    tmp_path: Path, starter: clipkit.Encoder, url: str
) -> None:
    send_embeddings(_embed(tmp_path, starter, 2), starter, url)
    (tmp_path / "out" / "part-00000.parquet").unlink()
    files = clipkit.open_embedding_files(tmp_path / "out")
    report = send_embeddings(files, starter, url)
    assert (report.sent, report.removed, report.unchanged) == (0, 3, 3)


def test_another_model_is_refused(tmp_path: Path, starter: clipkit.Encoder, url: str) -> None:
    with pytest.raises(SpaceMismatchError, match="dimensions of starter: embed again"):
        send_embeddings(_embed(tmp_path, starter, 1), starter.truncated(64), url)


def test_exact_neighbours_are_those_of_a_plain_sort(
    tmp_path: Path, starter: clipkit.Encoder
) -> None:
    files = _embed(tmp_path, starter, 3)
    stored = files.read()
    queries = starter.encode_texts(["red", "a blue wall"])
    order = np.argsort(-(queries @ stored.embeddings.T), axis=1)[:, :4]
    expected = [{stored.ids[place] for place in row} for row in order]
    assert exact_in_files(files, queries, 4) == expected
    assert exact_in_files(files, queries, 99) == [{*stored.ids}] * 2
