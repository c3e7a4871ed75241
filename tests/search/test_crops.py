"""Crops of images in an index: found by their best row, whatever has happened to the folder."""

import errno
import os
import re
import sqlite3
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import clipkit
from clipkit.errors import InputError, LibraryError
from clipkit.inputs.crop_boxes import WHOLE, crop_boxes, pixel_box
from clipkit.search.library import PhotoLibrary
from clipkit.search.relevance import SIZE_WEIGHT, SLOPE, RelevanceScale
from clipkit.search.store.local.vectors import copy_rows, crops_name
from tests.fakes import MEMORY, FakeEncoder, age_files, change_time, save_image
from tests.search.cropped_images import BLUE, parts_by_hand, rows_of, save_corner

BOXES = crop_boxes(5)
RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


@pytest.fixture
def corners(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for corner in range(4):
        save_corner(folder / f"{corner}.png", RED, corner)
    save_corner(folder / "green.png", GREEN, 3)
    save_image(folder / "blue.png", BLUE)
    save_image(folder / "pixel.png", WHITE, size=1)
    age_files(folder)
    return folder


def test_a_hit_is_as_close_as_its_best_row_and_says_which(corners: Path) -> None:
    library = PhotoLibrary.open(corners, FakeEncoder())
    library.sync(crops=5)
    hits = library.search("red", k=10)
    assert sorted(hit.path.name for hit in hits) == sorted(path.name for path in corners.iterdir())
    for hit in hits:
        cosines = parts_by_hand(hit.path)[:, 0]  # red is the first axis
        assert hit.similarity == pytest.approx(cosines.max(), abs=2e-3)  # half precision
    found = {hit.path.name: hit.crop for hit in hits}
    assert [found[f"{corner}.png"] for corner in range(4)] == list(BOXES)
    assert found["blue.png"] is None  # all its rows are equal: the whole
    assert found["pixel.png"] is None
    told = {hit.path.name: hit.to_dict()["crop"] for hit in hits}
    assert told["3.png"] == [round(side, 4) for side in BOXES[3]]
    assert told["blue.png"] is None
    whole = PhotoLibrary.open(corners, FakeEncoder(), location=corners.parent / "other")
    whole.sync()
    assert {hit.crop for hit in whole.search("red", k=10)} == {None}
    plain = {hit.path.name: hit.similarity for hit in whole.search("red", k=10)}
    assert all(plain[f"{corner}.png"] < 0.05 for corner in range(4))
    assert min(hit.similarity for hit in hits if hit.crop) > 2 * max(
        plain[f"{corner}.png"] for corner in range(4)
    )


@pytest.mark.parametrize("words", ["a dog", "the sea", "food on a plate"])
def test_the_starter_finds_what_crops_by_hand_find(
    starter: clipkit.Encoder, samples: list[Path], tmp_path: Path, words: str
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for sample in samples[:6]:
        (folder / sample.name).symlink_to(sample)
    library = PhotoLibrary.open(folder, starter)
    library.sync(crops=5)
    query = starter.encode_texts([words])[0]
    expected = {}
    for path in sorted(folder.iterdir()):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        parts = [image.crop(pixel_box(box, image.size)) for box in (WHOLE, *BOXES)]
        expected[path.name] = (starter.encode_images(parts) @ query).max()
    hits = library.search(words, k=6)
    # Large photographs are decoded scaled, rows kept in half precision, batches are others.
    assert {hit.path.name: hit.similarity for hit in hits} == pytest.approx(expected, abs=0.02)


def test_subtracted_is_what_any_row_shows(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    save_corner(folder / "clean.png", BLUE, 0)
    save_corner(folder / "spot.png", RED, 0)
    for number in range(12):
        save_image(folder / f"{number}.png", (number, 20 * number, 255 - 20 * number))
    age_files(folder)
    library = PhotoLibrary.open(folder, FakeEncoder())
    library.sync(crops=5)
    order = [hit.path.name for hit in library.search(clipkit.parse_query("blue", "-", "red"), k=20)]
    assert order.index("clean.png") < order.index("spot.png")


def test_asking_for_crops_later_embeds_only_them(corners: Path) -> None:
    encoder = FakeEncoder()
    library = PhotoLibrary.open(corners, encoder)
    library.sync()
    before = library.embeddings()
    encoder.encoded_images.clear()
    report = library.sync(crops=5)
    assert (report.cropped, report.unchanged, report.added, report.changed) == (7, 7, 0, 0)
    assert report.has_news
    assert report.to_dict()["cropped"] == 7
    assert encoder.encoded_parts == [(path.name, 4) for path in sorted(corners.iterdir())]
    after = library.embeddings()
    assert (after.paths, after.embeddings.tobytes()) == (before.paths, before.embeddings.tobytes())
    report = library.sync()
    assert (report.cropped, report.unchanged, report.has_news) == (0, 7, False)
    assert len(encoder.encoded_images) == 7
    equals_a_new_index(library, 5)


def test_leaving_crops_out_again_keeps_the_wholes(corners: Path) -> None:
    encoder = FakeEncoder()
    library = PhotoLibrary.open(corners, encoder)
    library.sync(crops=5)
    assert encoder.encoded_parts == [(name, 5) for name in encoder.encoded_images]
    encoder.encoded_images.clear()
    library.sync(crops=1)
    assert encoder.encoded_images == []
    assert not list(library.location.glob("crops-*"))
    equals_a_new_index(library, 1)
    library.sync(crops=5)
    assert len(encoder.encoded_images) == 7
    equals_a_new_index(library, 5)


def test_the_index_remembers_and_a_search_of_it_goes_on(corners: Path) -> None:
    library = PhotoLibrary.open(corners, FakeEncoder())
    assert library.crops == 1
    library.sync(crops=5)
    save_corner(corners / "late.png", RED, 2)
    library.sync()
    assert (library.crops, library.status().crops, library.status().num_uncropped) == (5, 5, 0)
    late = next(hit for hit in library.search("red") if hit.path.name == "late.png")
    assert late.crop == BOXES[2]


def test_an_interrupted_change_is_searched_and_resumed(corners: Path) -> None:
    PhotoLibrary.open(corners, FakeEncoder()).sync()

    class StoppedError(Exception):
        pass

    def stop(number: int) -> None:
        if number == 4:
            raise StoppedError

    encoder = FakeEncoder(batch_size=1, before_image=stop)
    library = PhotoLibrary.open(corners, encoder)
    with pytest.raises(StoppedError):
        library.sync(crops=5)
    assert (library.status().num_uncropped, library.crops) == (3, 5)
    has_crop = {hit.path.name: hit.crop is not None for hit in library.search("red", k=9)}
    # In the order of their names: 0 to 3 were done, and green.png, blue.png and pixel.png not.
    done = set(encoder.encoded_images)
    assert {name for name, has in has_crop.items() if has} <= done
    again = FakeEncoder()
    resumed = PhotoLibrary.open(corners, again)
    assert resumed.sync().cropped == 3
    assert set(again.encoded_images) == {path.name for path in corners.iterdir()} - done
    equals_a_new_index(resumed, 5)


def test_what_cannot_be_read_any_more_keeps_its_whole_and_is_told(corners: Path) -> None:
    library = PhotoLibrary.open(corners, FakeEncoder())
    library.sync()
    status = (corners / "0.png").stat()
    (corners / "0.png").write_bytes(b"x" * status.st_size)
    os.utime(corners / "0.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    report = library.sync(crops=5)
    assert (report.cropped, len(report.skipped)) == (6, 1)
    assert "has no crops, only its whole is searched" in report.skipped[0].reason
    assert len(library.search("red", k=10)) == 7
    assert library.sync().skipped  # tried again


def test_a_file_that_changes_meanwhile_gets_no_crops_of_its_new_content(corners: Path) -> None:
    PhotoLibrary.open(corners, FakeEncoder()).sync()

    def change(number: int) -> None:
        if number == 0:
            save_corner(corners / "0.png", GREEN, 0)
            change_time(corners / "0.png")

    library = PhotoLibrary.open(corners, FakeEncoder(before_image=change))
    assert library.sync(crops=5).cropped == 6
    assert library.sync().changed == 1
    equals_a_new_index(library, 5)


def test_moved_and_copied_images_keep_their_crops(corners: Path) -> None:
    encoder = FakeEncoder()
    library = PhotoLibrary.open(corners, encoder)
    library.sync(crops=5)
    encoder.encoded_images.clear()
    (corners / "0.png").rename(corners / "moved.png")
    (corners / "copy.png").write_bytes((corners / "1.png").read_bytes())
    (corners / "green.png").unlink()
    age_files(corners)
    report = library.sync()
    assert (report.moved, report.added, report.removed) == (1, 1, 1)
    assert encoder.encoded_images == []
    equals_a_new_index(library, 5)


def test_a_copy_of_an_image_without_crops_is_not_without(corners: Path) -> None:
    library = PhotoLibrary.open(corners, FakeEncoder())
    library.sync()
    (corners / "copy.png").write_bytes((corners / "1.png").read_bytes())
    (corners / "2.png").rename(corners / "moved.png")
    change_time(corners / "3.png")
    report = library.sync(crops=5)
    assert (report.added, report.moved, report.unchanged) == (1, 1, 6)
    equals_a_new_index(library, 5)


def test_per_image_tasks_see_each_image_once_and_whole(corners: Path, tmp_path: Path) -> None:
    encoder = FakeEncoder()
    library = PhotoLibrary.open(corners, encoder)
    library.sync()
    plain = {
        "count": len(library),
        "images": library.images(),
        "sample": library.sample_embeddings().tobytes(),
        "one": library.embedding_of("0.png").tobytes(),
        "duplicates": library.duplicates(find_near=False).to_dict(),
    }
    library.export(tmp_path / "plain", table="jsonl")
    library.sync(crops=5)
    assert plain == {
        "count": len(library),
        "images": library.images(),
        "sample": library.sample_embeddings().tobytes(),
        "one": library.embedding_of("0.png").tobytes(),
        "duplicates": library.duplicates(find_near=False).to_dict(),
    }
    library.export(tmp_path / "cropped", table="jsonl")
    for name in ("embeddings.npy", "images.jsonl"):
        first, second = (tmp_path / each / name for each in ("plain", "cropped"))
        assert first.read_bytes() == second.read_bytes()
    hits = library.search("red", k=20, path="[0-3].png")
    assert (len(hits), hits.num_searched) == (4, 4)
    assert library.search(corners / "0.png", k=20).num_searched == 7


def test_the_room_is_four_rows_more_for_each_image_and_no_more(corners: Path) -> None:
    library = PhotoLibrary.open(corners, FakeEncoder())
    for crops in (1, 5, 1, 5):
        library.sync(crops=crops)
        with library._place.store.snapshot() as snapshot:
            meta = snapshot.meta
        sizes = {path.name: path.stat().st_size for path in library.location.glob("*.f16")}
        row = 2 * meta.embed_dim
        expected = {meta.vectors_file: meta.num_rows * row}
        if crops == 5:
            expected[crops_name(meta.vectors_file)] = 4 * 7 * row
        assert sizes == expected
        assert meta.num_rows == 7


def test_a_clipkit_that_knows_no_crops_leaves_an_index_with_them_alone(corners: Path) -> None:
    library = PhotoLibrary.open(corners, FakeEncoder())

    def version() -> int:
        with sqlite3.connect(library.location / "catalog.sqlite") as connection:
            found: int = connection.execute("PRAGMA user_version").fetchone()[0]
            return found

    library.sync()
    usual = version()
    library.sync(crops=5)
    assert version() > 255  # above every schema: refused as a newer clipkit's
    library.sync(crops=1)
    assert version() == usual


def test_a_lost_file_of_crops_is_damage(corners: Path) -> None:
    library = PhotoLibrary.open(corners, FakeEncoder())
    library.sync(crops=5)
    (crops,) = library.location.glob("crops-*")
    crops.write_bytes(crops.read_bytes()[:-1])
    with pytest.raises(LibraryError, match=r"crops-1\.f16 has .* bytes instead of"):
        library.search("red")
    crops.unlink()
    with pytest.raises(LibraryError, match=r"crops-1\.f16 is missing"):
        library.search("red")
    for crops_asked in (None, 5):
        with pytest.raises(LibraryError, match=r"crops-1\.f16 is missing\): run .* --crops 1 ,"):
            library.sync(crops=crops_asked)


@pytest.mark.parametrize("content", [None, b"", b"cut", b"\0", b"\xff"])
def test_damaged_crops_are_dropped_and_made_again_without_the_wholes(
    corners: Path, content: bytes | None
) -> None:
    """Gone, empty, cut short, zeros, and numbers that are none (0xffff in half precision)."""
    encoder = FakeEncoder()
    library = PhotoLibrary.open(corners, encoder)
    library.sync(crops=5)
    (crops,) = library.location.glob("crops-*")
    size = crops.stat().st_size
    crops.unlink()
    if content is not None:
        crops.write_bytes(content * size if len(content) == 1 else content)
    with pytest.raises(LibraryError, match=r"crops in the index of .* are damaged \(.*crops-1"):
        library.search("red")
    encoder.encoded_parts.clear()
    library.sync(crops=1)
    assert encoder.encoded_parts == []
    assert library.sync(crops=5).cropped == 7
    assert {count for _, count in encoder.encoded_parts} == {4}
    equals_a_new_index(library, 5)


@pytest.mark.parametrize("content", [b"\0", b"\xff", b"\x3c"])
def test_wholes_that_are_no_embeddings_are_damage_and_no_empty_answer(
    corners: Path, content: bytes
) -> None:
    """Zeros, numbers that are none, and 0x3c3c, which is 1.06 in half precision."""
    library = PhotoLibrary.open(corners, FakeEncoder())
    library.sync()
    (vectors,) = library.location.glob("vectors-*")
    vectors.write_bytes(content * vectors.stat().st_size)
    for read in (
        lambda: library.search("red"),
        lambda: library.search(corners / "0.png"),
        library.embeddings,
        library.sample_embeddings,
        library.duplicates,
    ):
        with pytest.raises(LibraryError, match=r"vectors-1\.f16 has rows that are no embeddings"):
            read()


def test_a_copy_that_does_not_fit_on_the_disk_leaves_nothing_of_it(
    corners: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = PhotoLibrary.open(corners, FakeEncoder())
    library.sync()

    def copy_some(*arguments: Any) -> None:
        copy_rows(*arguments)
        if arguments[2].name.startswith("crops"):
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("clipkit.search.store.local.writer.copy_rows", copy_some)
        with pytest.raises(LibraryError, match="No space left"):
            library.sync(crops=5)  # half of the rows of the wholes are dead now
    files = {path.name for path in library.location.glob("*.f16")}
    assert files == {"vectors-1.f16", "crops-1.f16"}
    assert library.sync().cropped == 0
    equals_a_new_index(library, 5)
    assert {path.name for path in library.location.glob("*.f16")} == {
        "vectors-2.f16",
        "crops-2.f16",
    }


def test_what_does_not_go_with_crops_says_so(corners: Path) -> None:
    library = PhotoLibrary.open(corners, FakeEncoder())
    for crops in (3, 0, 5.0, "5", True, np.float32(5)):
        with pytest.raises(
            InputError, match=f"crops must be 1 or 5, .* got {re.escape(repr(crops))}"
        ):
            library.sync(crops=crops)  # type: ignore[arg-type]
    save_image(corners / "in" / "a.png", RED)
    library.sync(crops=5)
    part = PhotoLibrary.open_nearest(corners / "in", FakeEncoder())
    with pytest.raises(InputError, match="how many crops there are, is said for the whole"):
        part.sync(crops=1)
    part.sync()
    with pytest.raises(InputError, match="only indexing its folder adds to it"):
        library._place.store.upsert([], np.empty((0, 4), np.float32))


def test_evidence_of_the_best_of_five_is_no_higher_than_of_one() -> None:
    """Texts that mean nothing: their evidence has the mean that it has without crops.

    The mean of the best of five independent normal numbers is 1.163: so much more a query would
    have if the words that it is measured by had one row each.
    """
    generator = np.random.default_rng(0)

    def rows(*shape: int) -> NDArray[np.float64]:
        drawn: NDArray[np.float64] = generator.normal(size=(*shape, 64))
        drawn /= np.linalg.norm(drawn, axis=-1, keepdims=True)
        return drawn

    words, texts, images = rows(400), rows(200), rows(50, 5)
    scale = RelevanceScale(words, images[:, 0])
    plain, best = (
        np.mean([scale.evidence([text], [1.0], [False], each) for text in texts])
        for each in (images[:, 0], images)
    )
    assert best == pytest.approx(plain, abs=0.1)
    scores, others = np.max(images @ texts.T, axis=1), images[:, 0] @ words.T
    uneven = (scores - others.mean(axis=1)[:, None]) / others.std(axis=1)[:, None]
    assert uneven.mean() == pytest.approx(1.163, abs=0.1)


def test_five_rows_an_image_count_as_five_times_the_images(tmp_path: Path) -> None:
    """Images of one colour, whose crops are their wholes: only the number of rows differs.

    Relevance is a logistic curve of SLOPE times spreads, of which SIZE_WEIGHT times ln(rows / 500)
    are taken off above 500 rows: of 120 images nothing, of 600 rows ln 1.2.
    """
    folder = tmp_path / "photos"
    for number in range(120):
        save_image(folder / f"{number}.png", (2 * number, 3 * number % 256, 250 - 2 * number))
    library = PhotoLibrary.open(folder, FakeEncoder())
    logits = []
    for crops in (1, 5):
        library.sync(crops=crops)
        hits = {hit.path.name: hit.relevance for hit in library.search("red", k=120)}
        odds = np.array([hits[name] / (1 - hits[name]) for name in sorted(hits)])
        logits.append(np.log(odds))
    expected = SLOPE * SIZE_WEIGHT * np.log(1.2)
    np.testing.assert_allclose(logits[0] - logits[1], expected, atol=1e-6)


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["write", "delete", "rename", "copy", "sync", "crops", "no crops", "stop"]),
        st.integers(0, 3),
        st.integers(0, 3),
    ),
    max_size=14,
)


@settings(deadline=None, max_examples=40)
@given(acts=ACTS)
def test_any_history_ends_as_a_new_index(acts: list[tuple[str, int, int]]) -> None:
    with TemporaryDirectory(dir=MEMORY) as home:
        folder = Path(home) / "photos"
        folder.mkdir()
        library = PhotoLibrary.open(folder, FakeEncoder(), location=Path(home) / "index")
        crops, time = 1, 10**18
        for act, one, other in acts:
            path, target = folder / f"{one}.png", folder / f"{other}.png"
            time += 1
            if act == "write":
                save_corner(path, (RED, GREEN, WHITE)[other % 3], other, side=20)
                os.utime(path, ns=(time, time))
            elif act == "delete":
                path.unlink(missing_ok=True)
            elif act == "rename" and path.exists():
                path.replace(target)
            elif act == "copy" and path.exists():
                target.write_bytes(path.read_bytes())
                os.utime(target, ns=(time, time))
            elif act == "stop":
                _sync_a_little(library, one)
            elif act in ("sync", "crops", "no crops"):
                crops = {"sync": crops, "crops": 5, "no crops": 1}[act]
                library.sync(crops=None if act == "sync" else crops, prune=True)
                equals_a_new_index(library, crops)
        library.sync(prune=True)
        equals_a_new_index(library, crops)


def _sync_a_little(library: PhotoLibrary, allowed: int) -> None:
    class StoppedError(Exception):
        pass

    def stop(number: int) -> None:
        if number == allowed:
            raise StoppedError

    encoder = FakeEncoder(batch_size=1, before_image=stop)
    with suppress(StoppedError):
        PhotoLibrary.open(library.folder, encoder, location=library.location).sync()


def equals_a_new_index(library: PhotoLibrary, crops: int) -> None:
    """Check every row and some searches against an index made at once."""
    with TemporaryDirectory(dir=MEMORY) as scratch:
        new = PhotoLibrary.open(library.folder, FakeEncoder(), location=scratch)
        new.sync(crops=crops)
        assert library.crops == new.crops == crops
        assert rows_of(library) == rows_of(new)
        for query in ("red", "green", "something else"):
            assert library.search(query, k=20) == new.search(query, k=20)
