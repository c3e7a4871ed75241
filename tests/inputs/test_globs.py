"""Glob patterns and ignore files, against what git itself leaves out."""

import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clipkit.inputs.folders import find_images
from clipkit.inputs.globs import matches_glob, parse_ignore_file
from tests.inputs.folder_scans import fill, paths_of

PATHS = [
    "a.jpg", "keep.jpg", "#a.jpg", "!a.jpg", "a b.jpg ", "[a].jpg", "x*.jpg", "xy.jpg",
    "trips/a.jpg", "trips/keep.jpg", "trips/rome/a.jpg", "trips/rome/raw/b.jpg", "raw/a.jpg",
    "old/trips/a.jpg", "old/keep/a.jpg", "old/keep/b.png",
]  # fmt: skip
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git to compare with")


def kept_by_git(folder: Path, ignore: str) -> list[str]:
    """Return the files that git would add, with the same lines in its own ignore file."""
    (folder / ".git" / "info").mkdir(exist_ok=True)
    (folder / ".git" / "info" / "exclude").write_text("")
    (folder / ".gitignore").write_text(ignore)
    listed = subprocess.run(
        ["git", "-c", "core.excludesFile=", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=folder, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return sorted(path for path in listed.split("\0") if path.endswith((".jpg", ".jpg ", ".png")))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    subprocess.run(["git", "init", "--quiet", "."], cwd=folder, check=True)
    for path in PATHS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def check_as_git(folder: Path, ignore: str) -> None:
    (folder / ".clipkitignore").write_text(ignore)
    kept = [entry.path for entry in find_images(folder).entries]
    assert kept == kept_by_git(folder, ignore), ignore


@needs_git
@pytest.mark.parametrize(
    "lines",
    [
        "*.png", "trips", "trips/", "/trips", "trips/*", "trips/**", "**/raw", "raw/**", "a.jpg/",
        "*\n!keep.jpg", "*\n!*/\n!keep.jpg", "*.jpg\n!keep", "*.jpg\n!keep/",
        "trips/**\n!trips/keep.jpg", "trips/\n!trips/keep.jpg", "!a.jpg\na.jpg", "a.jpg\n!a.jpg",
        "\\#a.jpg", "#a.jpg", "\\!a.jpg", "a b.jpg\\ ", "a b.jpg ", "\\[a].jpg", "[[]a].jpg",
        "x\\*.jpg", "x*.jpg", "xy.jp\\g", "**", "/*", "*/*", "old/**/a.jpg", "keep/../a.jpg", "/",
        "", "\n\n", "  \n", "[!a-k]*.jpg", "t??ps", "rome/raw", "**/rome/raw", "/rome",
    ],
)  # fmt: skip
def test_ignore_files_leave_out_what_git_leaves_out(photos: Path, lines: str) -> None:
    check_as_git(photos, f"{lines}\n")


@needs_git
@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.builds(
            "".join,
            st.tuples(
                st.sampled_from(["", "!", "/", "!/", "**/"]),
                st.sampled_from(["*", "trips", "rome", "raw", "keep", "old", "a.jpg", "?eep*"]),
                st.sampled_from(["", "/", "/*", "/**", "/a.jpg", "/**/*.jpg", ".jpg"]),
            ),
        ),
        max_size=4,
    )
)
def test_any_rules_leave_out_what_git_leaves_out(photos: Path, lines: list[str]) -> None:
    check_as_git(photos, "".join(f"{line}\n" for line in lines))


def test_lines_that_say_nothing_are_no_rules() -> None:
    assert parse_ignore_file("\ufeff# a comment\n\n \t\n") == []


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_letters_match_however_they_are_composed(form: str) -> None:
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    path = unicodedata.normalize(form, "été/Zürich.jpg")  # type: ignore[arg-type]
    for pattern in ("Zürich.*", "été", "été/Z?rich.jpg", "**/Z[ü]rich.jpg"):
        assert matches_glob(path, unicodedata.normalize(other, pattern))  # type: ignore[arg-type]


@example("aba", "*a*a")  # not the last a for the first star
@given(st.text("ab", min_size=1, max_size=8), st.text("ab*?*", min_size=1, max_size=8))
def test_stars_match_as_if_each_were_tried_in_every_way(name: str, pattern: str) -> None:
    """Against a search that tries every length for every star."""
    pattern = re.sub(r"\*+", "*", pattern)
    assert matches_glob(name, pattern) is tried(name, pattern)


def tried(name: str, part: str) -> bool:
    """Return whether a part of a pattern matches a name, by trying every length of each star."""
    if not part:
        return not name
    if part[0] == "*":
        return any(tried(name[start:], part[1:]) for start in range(len(name) + 1))
    return bool(name) and part[0] in ("?", name[0]) and tried(name[1:], part[1:])


def test_many_stars_take_no_time_to_speak_of() -> None:
    """What took longer than anybody waits: the test ends."""
    for pattern in (
        "*?" * 60 + "x",
        "*a" * 60 + "x",
        "**/" * 60 + "x",
        "*/" * 20 + "*" + "?*" * 20,
    ):
        assert not matches_glob("a/" * 12 + "a" * 200 + ".jpg", pattern)
    assert matches_glob("a" * 200 + ".jpg", "*a" * 60 + "*g")


TRIPS = ["a.jpg", "trips/b.jpg", "trips/rome/c.jpg", "trips/rome/raw/d.jpg", "old/trips/e.jpg"]


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        ("", ""),
        ("/", ""),
        ("*", "abcde"),
        ("**", "abcde"),
        ("*.jpg", "abcde"),
        ("/*.jpg", "a"),
        ("./*.jpg", "a"),
        ("**/*.jpg", "abcde"),
        ("trips", "bcde"),
        ("trips/", "bcde"),
        ("/trips", "bcd"),
        ("./trips", "bcd"),
        ("trips/*", "bcd"),
        ("trips/*.jpg", "b"),
        ("trips/**", "bcd"),
        ("trips/**/*", "bcd"),
        ("trips/**/raw", "d"),
        ("trips/**/rome", "cd"),
        ("trips/**/**/[cd].jpg", "cd"),
        ("trips/**.jpg", "b"),
        ("*/**", "bcde"),
        ("*/*", "bcde"),
        ("*/*/*", "cde"),
        ("*.jpg/**", ""),
        ("**/trips", "bcde"),
        ("**/trips/*.jpg", "be"),
        ("*/trips", "e"),
        ("**/rome/**/d.jpg", "d"),
        ("rome/c.jpg", ""),
        ("trip", ""),
        ("rips", ""),
        ("tri?s/??me", "cd"),
        ("trips?b.jpg", ""),
        ("trips[!x]b.jpg", ""),
        ("trips[/]b.jpg", ""),
        ("[!ab].jpg", "cde"),
        ("[b-d].jpg", "bcd"),
        ("[d-b].jpg", ""),
        ("TRIPS", ""),
        ("a.jpg/b", ""),
        ("a[.]jpg", "a"),
        ("(a).jpg", ""),
        ("a+.jpg", ""),
    ],
)
def test_globs_match_as_in_gitignore(pattern: str, matched: str, tmp_path: Path) -> None:
    expected = [path for path in TRIPS if Path(path).stem in matched]
    assert [path for path in TRIPS if matches_glob(path, pattern)] == expected
    fill(tmp_path, *TRIPS)
    kept = sorted(set(TRIPS) - set(expected))
    assert paths_of(find_images(tmp_path, exclude=[pattern])) == kept


@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("new\nline.jpg", "new?line.*"),
        ("new\nline/a.jpg", "new[\n]line"),
        ("new\nline.jpg", "new\nline.*"),
        ("caf\udce9/a.jpg", "caf?"),
        ("[1] x.jpg", "[[]1] *"),
        ("]x.jpg", "[]]x*"),
        ("-.jpg", "[!]a].jpg"),
        ("[.jpg", "[.jpg"),
        ("写真.jpg", "写?.jpg"),
        ("back\\slash.jpg", "back\\*"),
    ],
)
def test_globs_match_names_of_any_letters(path: str, pattern: str) -> None:
    assert matches_glob(path, pattern)
    assert not matches_glob(f"x{path}", pattern)
