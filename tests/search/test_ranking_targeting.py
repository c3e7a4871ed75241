"""What a question of several parts looks for: by hand, then on real images."""

from pathlib import Path

import numpy as np
import pytest

import clipkit
from clipkit.embeddings import normalize_rows
from clipkit.errors import InputError
from clipkit.search.library import PhotoLibrary
from clipkit.search.query import parse_query
from clipkit.search.query_vectors import EmbeddedPart, Question
from clipkit.search.ranking import mixed_target, split_parts

NONE = np.empty((0, 2), dtype=np.float32)
# Four directions around the origin, so that it is their centre.
AROUND = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.float32)
RIGHT, UP = AROUND[0], AROUND[2]
SLANT = np.array([0.6, 0.8], dtype=np.float32)


def ask(*parts: EmbeddedPart, liked: object = NONE, disliked: object = NONE) -> Question:
    return Question(parts, np.asarray(liked), np.asarray(disliked), frozenset())


def test_what_is_subtracted_is_no_part_of_the_direction() -> None:
    target = mixed_target(ask(EmbeddedPart(RIGHT, 4.0), EmbeddedPart(SLANT, -3.0)), AROUND, AROUND)
    np.testing.assert_allclose(target.direction, RIGHT, atol=1e-6)
    (part,) = target.subtracted
    np.testing.assert_allclose(part.direction, SLANT, atol=1e-6)
    assert part.strength == pytest.approx(3 / 4)
    # Words on images: of 16 cosines 8 are 0, 4 are -1, and 4 are those of equals, left out.
    assert part.spread == target.spread == pytest.approx((4 / 12) ** 0.5)


def test_images_are_compared_with_other_images() -> None:
    images = normalize_rows([[1.0, 0.0], [-1.0, 0.0], [0.6, 0.8], [-0.6, -0.8]])
    parts = EmbeddedPart(RIGHT), EmbeddedPart(UP, -1.0, is_image=True)
    (part,) = mixed_target(ask(*parts), images, AROUND).subtracted
    # Each has one opposite (-1) and two at .6 or -.6.
    assert part.spread == pytest.approx(((1 + 2 * 0.36) / 3) ** 0.5)


def test_with_nothing_added_the_way_is_away() -> None:
    target = mixed_target(ask(EmbeddedPart(RIGHT, -1.0), EmbeddedPart(UP, -1.0)), AROUND, AROUND)
    np.testing.assert_allclose(target.direction, [-(0.5**0.5), -(0.5**0.5)], atol=1e-6)
    assert target.subtracted == ()


def test_with_images_marked_what_is_subtracted_stays_subtracted() -> None:
    question = ask(EmbeddedPart(UP, -1.0), liked=[[1.0, 0.0]])
    assert split_parts(question) == ([], [question.parts[0]])
    target = mixed_target(question, AROUND, AROUND)
    np.testing.assert_allclose(target.direction, RIGHT, atol=1e-6)
    assert len(target.subtracted) == 1


@pytest.mark.parametrize("weights", [(1.0, -1.0), (1.0, -0.1), (5.0, -1.0)])
def test_subtracting_what_is_sought_cancels_out(weights: tuple[float, float]) -> None:
    parts = [EmbeddedPart(RIGHT, weight) for weight in weights]
    with pytest.raises(InputError, match="cancel out"):
        mixed_target(ask(*parts), AROUND, AROUND)


# The embedded model, on real images


@pytest.fixture(scope="module")
def library(
    starter: clipkit.Encoder, samples: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> PhotoLibrary:
    location = tmp_path_factory.mktemp("index")
    library = PhotoLibrary.open(samples[0].parent, starter, location=location)
    library.sync()
    return library


# What demo/samples shows, by eye.
BIRDS = {"hens", "owl", "duck", "parrot", "kingfisher"}
BUILDINGS = {"castle", "colosseum", "eiffel_tower", "pyramid", "stone_bridge", "temple", "windmill"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wide", "narrow", "kind", "without"),
    [
        ("a bird", "an owl", BIRDS, "owl"),
        ("a bird", "a duck", BIRDS, "duck"),
        ("a building", "a castle", BUILDINGS, "castle"),
    ],
)
def test_what_is_subtracted_leaves_the_top_and_the_rest_stays(
    library: PhotoLibrary, wide: str, narrow: str, kind: set[str], without: str
) -> None:
    before = library.search(wide, k=45)
    after = library.search(parse_query(wide, "-", narrow), k=45)
    names, names_after = ([hit.path.stem for hit in hits] for hits in (before, after))
    place, place_after = names.index(without), names_after.index(without)
    assert place_after > place
    assert after[place_after].relevance < before[place].relevance / 2
    assert len((kind - {without}) & set(names_after[:3])) >= 2


@pytest.mark.parametrize("same", ["a cat", "cat", "A CAT", " a cat "])
def test_a_cat_less_a_cat_is_an_error_that_says_so(library: PhotoLibrary, same: str) -> None:
    with pytest.raises(InputError, match="cancel out"):
        library.search(parse_query("a cat", "-", same))


def test_the_only_thing_that_fits_is_said_not_to_when_it_is_subtracted(
    library: PhotoLibrary,
) -> None:
    boats = library.search("a boat", min_relevance=0.5)
    assert [hit.path.stem for hit in boats] == ["sailing_boats"]
    assert library.search(parse_query("a boat", "-", "sailing boats"), min_relevance=0.5) == []
