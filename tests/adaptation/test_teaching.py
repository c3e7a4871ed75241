"""Teaching: which images are used, embedded or looked up, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from clipkit.adaptation.concept_embedding import embed_concept
from clipkit.adaptation.teaching import teach
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import Embeddings
from clipkit.errors import InputError, LibraryError, SpaceMismatchError
from clipkit.search.library import PhotoLibrary
from clipkit.search.ranking import library_center
from tests.fakes import FakeEncoder, age_files, image_embedding, save_image

from PIL import Image  # isort: skip

REDS = [(250, 10, 10), (230, 30, 5), (240, 5, 30)]


def embedding(color: tuple[int, int, int]) -> Embeddings:
    return image_embedding(Image.new("RGB", (2, 2), color))


def words() -> Embeddings:
    return np.asarray(FakeEncoder().encode_texts(BACKGROUND_NAMES))


@pytest.fixture
def reds(tmp_path: Path) -> list[Path]:
    return [
        save_image(tmp_path / "photos" / "red" / f"{number}.png", color)
        for number, color in enumerate(REDS)
    ]


@pytest.fixture
def library(tmp_path: Path, reds: list[Path]) -> PhotoLibrary:
    generator = np.random.default_rng(0)
    for number in range(40):
        color = tuple(generator.integers(0, 256, 3).tolist())
        save_image(tmp_path / "photos" / f"{number}.png", color)
    age_files(tmp_path / "photos")
    library = PhotoLibrary.open(tmp_path / "photos", FakeEncoder())
    library.sync()
    return library


def test_it_is_the_embedding_of_the_images(reds: list[Path]) -> None:
    encoder = FakeEncoder()
    report = teach(encoder, " Rex ", reds, negatives=[Image.new("RGB", (2, 2), (5, 250, 9))])
    rows = np.concatenate([embedding(color) for color in REDS])
    expected = embed_concept(rows, words(), others=embedding((5, 250, 9)))
    concept = report.concept
    np.testing.assert_allclose(concept.embedding, expected, atol=1e-6)
    assert concept.embedding.space_id == concept.space_id == "fake-space"
    assert (concept.name, concept.model, concept.kind) == ("Rex", "fake", None)
    assert (concept.num_images, concept.num_negatives, concept.has_center) == (3, 1, False)
    assert report.skipped == ()
    assert encoder.encoded_images == ["0.png", "1.png", "2.png", "<PIL image>"]


def test_the_kind_is_a_text_of_the_model(reds: list[Path]) -> None:
    found = teach(FakeEncoder(), "Rex", reds, kind="red").concept
    kind = FakeEncoder().encode_texts(["red"])[0]
    rows = np.concatenate([embedding(color) for color in REDS])
    np.testing.assert_allclose(found.embedding, embed_concept(rows, words(), kind=kind), atol=1e-6)
    assert found.kind == "red"


def test_indexed_images_are_looked_up_and_the_others_are_what_it_is_told_from(
    reds: list[Path], library: PhotoLibrary, tmp_path: Path
) -> None:
    outside = save_image(tmp_path / "outside.png", (255, 0, 40))
    encoder = FakeEncoder()
    report = teach(encoder, "Rex", [*reds[:2], outside, reds[2]], library=library)
    assert encoder.encoded_images == ["outside.png"]
    assert report.num_looked_up == 3
    assert report.concept.has_center
    rows = np.concatenate([embedding(color) for color in (*REDS, (255, 0, 40))])
    found = library.embeddings()
    others = [
        row
        for path, row in zip(found.paths, np.asarray(found.embeddings), strict=True)
        if path not in reds
    ]
    expected = embed_concept(rows, words(), image_center=library_center(np.stack(others)))
    np.testing.assert_allclose(report.concept.embedding, expected, atol=2e-3)  # half precision


def test_looked_up_and_embedded_images_keep_their_sides(
    reds: list[Path], library: PhotoLibrary, tmp_path: Path
) -> None:
    outside = save_image(tmp_path / "outside.png", (255, 0, 40))
    inside = tmp_path / "photos" / "7.png"
    concept = teach(FakeEncoder(), "Rex", [outside], negatives=[inside], library=library).concept
    assert (concept.num_images, concept.num_negatives) == (1, 1)
    with Image.open(inside) as image:
        others = image_embedding(image)
    center = library_center(np.asarray(library.embeddings().embeddings))
    rows = embedding((255, 0, 40))
    expected = embed_concept(rows, words(), others=others, image_center=center)
    np.testing.assert_allclose(concept.embedding, expected, atol=2e-3)


def test_an_index_of_nothing_else_is_no_measure(reds: list[Path], tmp_path: Path) -> None:
    library = PhotoLibrary.open(tmp_path / "photos", FakeEncoder())
    library.sync()
    concept = teach(FakeEncoder(), "Rex", reds, library=library).concept
    assert not concept.has_center
    alone = teach(FakeEncoder(), "Rex", reds).concept
    np.testing.assert_allclose(concept.embedding, alone.embedding, atol=2e-3)


def test_unreadable_images_are_listed_and_the_others_used(reds: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    report = teach(FakeEncoder(), "Rex", [broken, *reds, tmp_path / "gone.png"])
    assert [error.path for error in report.skipped] == [str(broken), str(tmp_path / "gone.png")]
    assert report.concept.num_images == 3
    expected = teach(FakeEncoder(), "Rex", reds).concept.embedding
    np.testing.assert_array_equal(report.concept.embedding, expected)
    assert report.to_dict()["skipped"] == [error.to_dict() for error in report.skipped]


def test_no_readable_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Rex needs at least one image"):
        teach(FakeEncoder(), "Rex", [])
    broken = tmp_path / "broken.png"
    broken.write_text("no image")
    with pytest.raises(InputError, match=r"none of the 1 images of Rex can be read.*broken\.png"):
        teach(FakeEncoder(), "Rex", [broken], negatives=[Image.new("RGB", (2, 2), (1, 2, 3))])


def test_an_image_that_is_a_negative_too_is_refused(reds: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(reds[1].read_bytes())
    with pytest.raises(InputError, match=r"1\.png is given as an image of the concept and as a"):
        teach(FakeEncoder(), "Rex", reds, negatives=[copy])
    with pytest.raises(InputError, match=r"0\.png is given.*and 2 more are"):
        teach(FakeEncoder(), "Rex", reds, negatives=reds)


def test_wrong_arguments_are_refused_before_anything_is_embedded(reds: list[Path]) -> None:
    encoder = FakeEncoder()
    for name, message in (("a + b", "cannot be the name"), ("", "needs a name")):
        with pytest.raises(InputError, match=message):
            teach(encoder, name, reds)
    with pytest.raises(InputError, match="kind must say in words"):
        teach(encoder, "Rex", reds, kind=" ")
    with pytest.raises(InputError, match="must be a list of images"):
        teach(encoder, "Rex", reds[0])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="encoder must be"):
        teach("starter", "Rex", reds)  # type: ignore[arg-type]
    assert encoder.encoded_images == []


def test_a_library_of_another_model_or_not_indexed_is_refused(
    reds: list[Path], library: PhotoLibrary, tmp_path: Path
) -> None:
    with pytest.raises(SpaceMismatchError):
        teach(FakeEncoder(space_id="other"), "Rex", reds, library=library)
    save_image(tmp_path / "new" / "a.png", (1, 2, 3))
    with pytest.raises(LibraryError, match="has not been indexed"):
        teach(FakeEncoder(), "Rex", reds, library=PhotoLibrary.open(tmp_path / "new"))


def test_progress_counts_all_images(reds: list[Path], library: PhotoLibrary) -> None:
    calls: list[tuple[int, int | None]] = []
    teach(FakeEncoder(), "Rex", reds, library=library, progress=lambda *call: calls.append(call))
    assert calls[-1] == (3, 3)
