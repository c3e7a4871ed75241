"""Pairs and the embeddings of their images: none lost, none twice, whatever cannot be read."""

from pathlib import Path

import numpy as np
import pytest

from clipkit.data.pair import Pair
from clipkit.encoder.pairs import EmbeddedPair, embed_pairs, image_name, stream_pairs
from clipkit.errors import ImageReadError
from tests.fake_pairs import ListSource, colored_pairs
from tests.fakes import FakeEncoder, image_embedding


@pytest.fixture
def source(tmp_path: Path) -> ListSource:
    """Rows 0 and 6 cannot be had, row 3 cannot be decoded."""
    red, green, blue, other = colored_pairs(
        tmp_path, {"red": ("a", "b"), "green": (), "blue": ("c",), "red 2": ("d",)}
    )
    (tmp_path / "bad.png").write_bytes(b"no image")
    bad = Pair(tmp_path / "bad.png", ("e",), "bad.png")
    first, last = (ImageReadError(f"gone {n}", "no such file") for n in (0, 6))
    return ListSource([first, red, green, bad, blue, other, last])


READ = [
    EmbeddedPair(1, "red.png", ("a", "b")),
    EmbeddedPair(2, "green.png", ()),
    EmbeddedPair(4, "blue.png", ("c",)),
    EmbeddedPair(5, "red 2.png", ("d",)),
]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_every_row_is_there_once_with_its_embedding_or_reason(
    source: ListSource, batch_size: int, tmp_path: Path
) -> None:
    embedded = embed_pairs(FakeEncoder(batch_size=batch_size), source)
    assert embedded.pairs == [pair._replace(name=str(tmp_path / pair.name)) for pair in READ]
    assert [(row, Path(error.path).name) for row, error in embedded.skipped] == [
        (0, "gone 0"),
        (3, "bad.png"),
        (6, "gone 6"),
    ]
    from PIL import Image

    for pair, row in zip(embedded.pairs, embedded.embeddings, strict=True):
        image = source[pair.row].image
        assert isinstance(image, Path)
        with Image.open(image) as photo:
            np.testing.assert_array_equal(row, image_embedding(photo)[0])


def test_an_image_that_is_no_file_has_the_name_of_its_pair() -> None:
    assert image_name(Pair(b"...", ("a",), "000.tar/0001")) == "000.tar/0001"
    assert image_name(Pair(Path("a/b.jpg"), ("a",), "pairs.csv row 2")) == str(Path("a/b.jpg"))


def test_progress_counts_all_rows(source: ListSource) -> None:
    seen: list[tuple[int, int | None]] = []
    embed_pairs(FakeEncoder(), source, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (7, 7)
    assert seen == sorted(seen)
    seen.clear()
    gone = ImageReadError("gone", "no such file")
    embed_pairs(FakeEncoder(), ListSource([gone]), progress=lambda *report: seen.append(report))
    assert seen == [(1, 1)]


def test_no_more_rows_are_asked_for_than_the_encoder_takes(source: ListSource) -> None:
    asked: list[int] = []

    class Asked(ListSource):
        def __getitem__(self, row: int) -> Pair:
            asked.append(row)
            return source[row]

    stream = stream_pairs(FakeEncoder(batch_size=1), Asked([None] * 7))  # type: ignore[list-item]
    assert [pair.row for pair in next(stream).pairs] == [1]
    assert asked == [0, 1]
    stream.close()


@pytest.mark.parametrize("rows", [[], [ImageReadError("gone", "no such file")]])
def test_nothing_readable_is_no_error(rows: list[ImageReadError]) -> None:
    embedded = embed_pairs(FakeEncoder(), ListSource(rows))
    assert embedded.pairs == []
    assert embedded.embeddings.shape == (0, 4)
    assert [unread.error for unread in embedded.skipped] == rows
