"""Files of labelled pictures and queries: read in order, and what is no such line refused."""

from pathlib import Path

import pytest
from recipe.labelled import (
    LabelledPhoto,
    LabelledQuery,
    PhotoLine,
    fetch_labelled,
    read_evaluation_packages,
    read_labelled_queries,
    read_photo_lines,
    true_matches,
)
from recipe.packages import Cache, RecipeError


def test_pictures_are_read_in_order(tmp_path: Path) -> None:
    file = tmp_path / "photos.txt"
    file.write_text(
        "# package path | label | what else\n\nowls a/my owl.jpg | barn owl | owl, bird\n"
        "cats b.rcc:/c.png | tabby\n"
    )
    assert read_photo_lines(file) == [
        PhotoLine("owls", "a/my owl.jpg", "barn owl", ("owl", "bird")),
        PhotoLine("cats", "b.rcc:/c.png", "tabby", ()),
    ]


@pytest.mark.parametrize(
    "line", ["owls | owl", "owls a.jpg", "owls a.jpg | ", "owls a.jpg | a | b | c"]
)
def test_what_is_no_picture_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "photos.txt"
    file.write_text(f"{line}\n")
    with pytest.raises(RecipeError, match=r"photos\.txt: .* is no picture: write 'package path"):
        read_photo_lines(file)


def test_packages_are_for_measuring_only(tmp_path: Path) -> None:
    file = tmp_path / "packages.txt"
    file.write_text("npm @a/owls 1.0.2 a-owls-1.0.2.tgz 00ff MIT, CC-BY 4.0 (photographs)\n")
    (package,) = read_evaluation_packages(file)
    assert (package.registry, package.name, package.version) == ("npm", "@a/owls", "1.0.2")
    assert (package.file_name, package.sha256) == ("a-owls-1.0.2.tgz", "00ff")
    assert (package.licence, package.purpose) == ("MIT, CC-BY 4.0 (photographs)", "evaluation")


def test_a_package_without_a_licence_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "packages.txt"
    file.write_text("npm owls 1.0.2 owls-1.0.2.tgz 00ff\n")
    with pytest.raises(RecipeError, match="is no package: write 'registry name version"):
        read_evaluation_packages(file)


def test_queries_have_the_kind_of_their_section(tmp_path: Path) -> None:
    file = tmp_path / "queries.txt"
    file.write_text(
        "owl: owl, barn owl\n# a comment: not a query\n## small subject\nowl far off: far owl\n\n"
        "## noun\nunicorn:\n"
    )
    assert read_labelled_queries(file) == [
        LabelledQuery("owl", frozenset({"owl", "barn owl"}), ""),
        LabelledQuery("owl far off", frozenset({"far owl"}), "small subject"),
        LabelledQuery("unicorn", frozenset(), "noun"),
    ]


def test_pictures_lie_in_the_folders_of_their_packages(tmp_path: Path) -> None:
    file = tmp_path / "packages.txt"
    file.write_text("npm @a/owls 1.0.2 a-owls-1.0.2.tgz 00ff MIT\n")
    folder = tmp_path / "unpacked" / "a-owls"
    folder.mkdir(parents=True)  # as if fetched
    lines = [PhotoLine("@a/owls", "img/owl.jpg", "barn owl", ("owl",))]
    photos = fetch_labelled(lines, read_evaluation_packages(file), Cache(tmp_path))
    assert photos == [LabelledPhoto(folder / "img" / "owl.jpg", "barn owl", ("owl",))]


def test_a_package_that_is_not_pinned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no version of the package 'owls' is pinned"):
        fetch_labelled([PhotoLine("owls", "owl.jpg", "owl", ())], [], Cache(tmp_path))


def test_a_picture_matches_by_any_of_its_names() -> None:
    photos = [
        LabelledPhoto(Path("a"), "barn owl", ("owl", "bird")),
        LabelledPhoto(Path("b"), "duck", ("bird",)),
    ]
    queries = [
        LabelledQuery("owl", frozenset({"owl"})),
        LabelledQuery("bird", frozenset({"bird"})),
        LabelledQuery("unicorn", frozenset()),
    ]
    assert true_matches(queries, photos).tolist() == [[True, False], [True, True], [False, False]]
