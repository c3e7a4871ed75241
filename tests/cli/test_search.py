"""``clipkit search``, with a fake encoder in the place of a model.

Cosines by hand: red.png is (255, 0, 0, 1) / 255.00, orange.png (255, 128, 0, 1) / 285.33.
"""

import datetime
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from clipkit import files
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.cli import search
from clipkit.cli.main import main
from clipkit.search.library import PhotoLibrary
from clipkit.search.relevance import Verdict
from clipkit.search.store.local.writer import writer_lock
from tests.cli.conftest import Outcome
from tests.fakes import FakeEncoder, save_image

Captured = pytest.CaptureFixture[str]
Run = Callable[..., Outcome]


def _set_verdict(monkeypatch: pytest.MonkeyPatch, verdict: Verdict) -> None:
    monkeypatch.setattr("clipkit.search.search.verdict_of", lambda relevance: verdict)


def _set_relevance(monkeypatch: pytest.MonkeyPatch, relevance: list[float]) -> None:
    monkeypatch.setattr(
        "clipkit.search.search.relevance_of", lambda evidence, num_images: np.array(relevance)
    )


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    fake = FakeEncoder()
    monkeypatch.setattr(search, "load_encoder", lambda arguments: fake)
    # What is relevant to a fake encoder's words is chance; tests of relevance ask for it.
    _set_verdict(monkeypatch, "found")
    return fake


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "photos" / "red.png", (255, 0, 0))
    save_image(tmp_path / "photos" / "orange.png", (255, 128, 0))
    save_image(tmp_path / "photos" / "trip" / "blue.png", (0, 0, 255))
    return tmp_path / "photos"


def _paths(capsys: Captured) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_search_indexes_and_prints_as_rclip_does(capsys: Captured) -> None:
    assert main(["search", "red", "photos"]) == 0
    captured = capsys.readouterr()
    heading, *rows = (line.split("\t") for line in captured.out.splitlines())
    assert heading == ["relevance", "filepath", "similarity"]
    assert [row[1:] for row in rows] == [
        ['"photos/red.png"', "1.000"],
        ['"photos/orange.png"', "0.894"],
        ['"photos/trip/blue.png"', "0.000"],
    ]
    relevance = [float(row[0]) for row in rows]
    assert relevance == sorted(relevance, reverse=True)
    assert all(0 <= value <= 1 for value in relevance)
    assert captured.err.startswith("indexed: 3 new\nfound ")


def test_search_says_nothing_when_nothing_changed(capsys: Captured) -> None:
    main(["search", "red", "photos"])
    capsys.readouterr()
    assert main(["search", "red", "photos", "-f", "-t", "1"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("photos/red.png\n", "")


def test_json_is_one_object_a_line(capsys: Captured) -> None:
    assert main(["search", "red", "photos/", "--json", "--top", "2"]) == 0
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    fields = [
        "path",
        "similarity",
        "relevance",
        "width",
        "height",
        "taken_at",
        "raw",
        "camera",
        "crop",
    ]
    assert list(first) == fields
    assert (first["path"], second["path"]) == ("photos/red.png", "photos/orange.png")
    assert first["similarity"] == pytest.approx(0.999992, abs=5e-4)
    assert isinstance(second["similarity"], float)
    assert 0 <= second["relevance"] <= 1
    assert (first["width"], first["height"], first["taken_at"]) == (2, 2, None)


def test_json_is_what_the_hit_says(photos: Path, encoder: FakeEncoder, capsys: Captured) -> None:
    assert main(["search", "red", "photos", "--json"]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    hits = PhotoLibrary.open("photos", encoder).search("red")
    assert printed == [hit.to_dict() for hit in hits]
    assert len(printed) == 3


def test_paths_can_end_with_a_null_and_names_with_quotes_stay_one_field(
    photos: Path, capsys: Captured
) -> None:
    save_image(photos / 'a\n"b".png', (255, 0, 0))
    main(["search", "red", "photos", "-0", "-t2"])
    assert capsys.readouterr().out == 'photos/a\n"b".png\0photos/red.png\0'
    main(["search", "red", "photos", "-t1"])
    _, line = capsys.readouterr().out.splitlines()
    assert line.endswith('\t"photos/a\\n\\"b\\".png"\t1.000')


def test_the_folder_is_here_by_default(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(photos)
    assert main(["search", "-f", "red"]) == 0
    assert _paths(capsys) == ["./red.png", "./orange.png", "./trip/blue.png"]
    # What was printed is a query.
    assert main(["search", "./red.png", "-f", "-t1"]) == 0
    assert _paths(capsys) == ["./orange.png"]


@pytest.mark.parametrize(
    "words",
    [
        ["blue", "+", "3:red", "-", "blue", "photos"],
        ["blue", "photos", "+", "3:red", "-", "blue"],
        ["blue", "--add", "3:red", "photos", "--subtract", "blue"],
        ["blue", "-a", "3:red", "--sub", "blue", "photos"],
        ["-t", "1", "-s", "blue", "-a3:red", "blue", "photos"],
        ["blue", "-s", "blue", "-n", "--add=3:red", "photos", "-t", "1"],
    ],
)
def test_queries_are_added_and_subtracted_wherever_the_folder_stands(
    words: list[str], capsys: Captured
) -> None:
    main(["search", "red", "photos"])
    capsys.readouterr()
    assert main(["search", *words, "-f"]) == 0
    assert _paths(capsys)[0] == "photos/red.png"


def test_a_query_may_begin_with_a_dash(encoder: FakeEncoder) -> None:
    assert main(["search", "-f", "--", "-weird", "photos"]) == 0
    assert main(["search", "red", "-", "-40 degrees", "photos"]) == 0
    asked = [text for text in encoder.encoded_texts if text not in BACKGROUND_NAMES]
    assert asked == ["-weird", "red", "-40 degrees"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["red", "-"],
            "argument --subtract/--sub/-s/-: a value must follow, as in  --subtract QUERY",
        ),
        (["red", "photos", "+"], "argument --add/-a/+: a value must follow, as in  --add QUERY"),
        (["red", "photos", "-t", "0"], "--top/-t: must be a whole number, 1 or more, got '0'"),
        (["red", "photos", "-t", "abc"], "--top/-t: must be a whole number, 1 or more, got 'abc'"),
        (["red", "photos", "-H", "0"], "must be a whole number, 1 or more, got '0'"),
        (["red", "photos", "-b", "x"], "must be a whole number, 1 or more, got 'x'"),
        (
            ["red", "photos", "--min-relevance", "7"],
            "must be a number, 0 or more and at most 1, got '7'",
        ),
        (
            ["red", "photos", "--diversity", "nan"],
            "must be a number, 0 or more and at most 1, got 'nan'",
        ),
        (["red", "photos", "--min-size", "big"], "must be like 1920x1080 or 1000, got 'big'"),
        (["red", "photos", "--min-size", "-1"], "begins with a dash is joined by an equals"),
        (["red", "photos", "-t", "-1"], "as in  --top K ; one that begins with a dash"),
        (["red", ""], "argument FOLDER: must be a path, got ''"),
        (["red", "photos", "--html", ""], "argument --html: must be a path, got ''"),
        (["red", "photos", "--json=3"], "argument --json: takes no value, got '3'"),
        (["red", "photos", "-x"], "there is no option -x; see  clipkit search --help"),
        (["red", "photos", "--device", "gpu"], "must be auto, cpu, cuda, cuda:1"),
        (["red", "photos", "--max-image-megapixels", "0"], 'must be a number above 0, "auto"'),
        (["red", "photos", "--json", "-f"], "not allowed with argument"),
    ],
)
def test_usage_errors_are_argparses(words: list[str], message: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["search", *words])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["./absent.jpg", "photos"], "./absent.jpg: there is no such image"),
        (["red", "absent"], "absent: there is no such folder"),
        (["red", "photos", "-n"], "photos has not been indexed: run  clipkit index photos"),
        (["", "photos"], "a part of the query is empty"),
        (["red", "photos", "-", "3:red"], "cancel out"),
    ],
)
def test_other_errors_are_one_line(
    words: list[str], message: str, encoder: FakeEncoder, capsys: Captured
) -> None:
    assert main(["search", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines()[-1].startswith("clipkit: ")
    assert message in captured.err


def test_a_mistake_in_the_query_is_told_before_anything_is_indexed(photos: Path) -> None:
    assert main(["search", "./absent.jpg", "photos"]) == 2
    assert not PhotoLibrary.open(photos).is_indexed


def test_a_missing_folder_is_told_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr(search, "load_encoder", pytest.fail)
    assert main(["search", "red", "absent"]) == 2
    assert "absent: there is no such folder" in capsys.readouterr().err


def test_no_indexing_searches_what_was_indexed(photos: Path, capsys: Captured) -> None:
    main(["search", "red", "photos"])
    capsys.readouterr()
    save_image(photos / "new.png", (255, 1, 0))
    assert main(["search", "red", "photos", "--skip-index", "-f", "-t2"]) == 0
    assert _paths(capsys) == ["photos/red.png", "photos/orange.png"]
    assert main(["search", "red", "photos", "-f", "-t2"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["photos/red.png", "photos/new.png"]
    assert captured.err == "indexed: 1 new\n"


def test_a_folder_inside_an_indexed_one_is_searched_in_its_index(
    encoder: FakeEncoder, capsys: Captured
) -> None:
    main(["search", "red", "photos"])
    encoder.encoded_images.clear()
    capsys.readouterr()
    assert main(["search", "red", "photos/trip", "-f"]) == 0
    assert _paths(capsys) == ["photos/trip/blue.png"]
    assert encoder.encoded_images == []


def test_missing_images_are_told_once_and_never_found(
    photos: Path, encoder: FakeEncoder, capsys: Captured
) -> None:
    assert main(["search", "red", "photos"]) == 0
    number = len(encoder.encoded_images)
    photos.rename("disk")
    photos.mkdir()
    notes = []
    for _ in range(2):
        capsys.readouterr()
        assert main(["search", "red", "photos", "-f"]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        notes.append(captured.err.splitlines())
    nothing = f"none of the {number} images indexed in photos is there: connect their disk and "
    assert notes[0][0].startswith(f"{number} indexed images are not there, as when a disk")
    assert notes[0][1:] == notes[1] == [nothing + "run the same command again"]
    photos.rmdir()
    Path("disk").rename(photos)
    assert main(["search", "red", "photos", "-f"]) == 0
    assert len(encoder.encoded_images) == number


def test_no_result_is_status_1(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["search", "red", "empty", "--json"]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "no images found in empty\n")


def test_skipped_images_are_counted_and_strict_makes_them_count(
    photos: Path, capsys: Captured
) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    assert main(["search", "red", "photos", "-f", "-t1"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "photos/red.png\n"
    assert captured.err == "indexed: 3 new; 1 skipped, listed by  clipkit index photos\n"
    assert main(["search", "red", "photos", "-f", "-t1", "--strict"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "photos/red.png\n"
    assert captured.err == ""  # told before


def test_while_another_process_indexes_what_it_has_committed_is_searched(
    photos: Path, capsys: Captured
) -> None:
    location = PhotoLibrary.open(photos).location
    location.mkdir(parents=True)
    with writer_lock(location / "writer.lock", photos):
        assert main(["search", "red", "photos"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("clipkit: another process is indexing photos: wait until it is done")
    main(["search", "red", "photos"])
    capsys.readouterr()
    with writer_lock(location / "writer.lock", photos):
        assert main(["search", "red", "photos", "-f", "-t1"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "photos/red.png\n"
    assert captured.err == ("another process is indexing photos: using what is indexed so far\n")


def test_ctrl_c_keeps_what_is_done(encoder: FakeEncoder, capsys: Captured) -> None:
    def interrupt(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    encoder.before_image = interrupt
    assert main(["search", "red", "photos"]) == 130
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("interrupted: what is indexed so far is kept (images: 2);")
    encoder.before_image = None
    assert main(["search", "red", "photos"]) == 0
    assert capsys.readouterr().err.startswith("indexed: 1 new\n")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["red", "--path", "trip/*"], ["blue"]),
        (["red", "--path", "*.png", "-t1"], ["red"]),
        (["red", "--min-size", "3"], ["wide"]),
        (["red", "--min-size", "3x3"], ["wide"]),
        (["red", "--landscape"], ["wide"]),
        (["red", "--portrait"], []),
        (["red", "--after", "2021-05", "--before", "2021-06"], ["wide"]),
        (["red", "--camera", "acme"], ["wide"]),
        (["red", "--camera", "other"], []),
    ],
)
def test_filters_come_before_the_ranking(
    words: list[str], names: list[str], photos: Path, capsys: Captured
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Acme One"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2021:05:31 23:59:59"
    Image.new("RGB", (5, 3), (0, 255, 0)).save(photos / "wide.png", exif=exif)
    status = main(["search", *words, "photos", "-f"])
    assert [Path(path).stem for path in _paths(capsys)] == names
    assert status == (0 if names else 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["red", "photos", "--after", "yesterday"], "after must be a year, month, day or moment"),
        (["red", "photos", "--before", "2024-13"], "before must be a year, month, day or moment"),
        (["red", "photos", "--html", "nowhere/found.html"], "there is no folder nowhere"),
        (["red", "photos", "--html", "photos"], "photos cannot be written: it is a folder"),
        (["red", "photos", "--html", "photos/red.png"], "photos/red.png is there already"),
        (["red", "photos", "--model", "ViT-B-23/openai"], "near it: ViT-B-32/openai"),
        (["red", "photos", "--like", "gone.jpg"], "gone.jpg: there is no such image for --like"),
        (["red", "photos", "--more-like", "gone.jpg"], "gone.jpg: there is no such image"),
        (["red", "photos", "--less-like", "gone.jpg"], "gone.jpg: there is no such image"),
        (["photos/gone.png", "photos"], "photos/gone.png: there is no such image file"),
        (["red", "photos", "+", "gone.JPG"], "gone.JPG: there is no such image file"),
        (["./notes.txt", "photos"], "is not an image"),
        (["red", "photos", "-n"], "photos has not been indexed: run  clipkit index photos"),
        (["red", "photos", "-n", "--exclude-dir", "trip"], "leave one out"),
    ],
)
def test_everything_given_is_checked_before_any_work(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    monkeypatch.setattr(search, "load_encoder", pytest.fail)
    assert main(["search", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not PhotoLibrary.open("photos").is_indexed


def test_words_that_end_like_an_image_have_a_space_in_front(encoder: FakeEncoder) -> None:
    assert main(["search", " cat.jpg", "photos"]) == 0
    assert "cat.jpg" in encoder.encoded_texts


def test_a_folder_alone_is_no_query(capsys: Captured) -> None:
    assert main(["search", "photos"]) == 2
    error = capsys.readouterr().err
    assert "what to search for in photos?" in error
    assert 'clipkit search "a cat" photos' in error
    assert not PhotoLibrary.open(".").is_indexed
    # With a folder the same word is a query.
    assert main(["search", "photos", "photos", "-f"]) == 0


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["red", "boat", "photos"], 'clipkit search "red boat" photos'),
        (["a", "red", "boat"], 'clipkit search "a red boat"'),
        (["red", "boat"], 'clipkit search "red boat"'),
        (["red", "big", "boat", "at sea", "-t3"], 'clipkit search "red big boat at sea"'),
        (["photos", "a", "red", "boat"], 'clipkit search "a red boat" photos'),
        (["red", "boat", "./absent"], 'clipkit search "red boat" ./absent'),
    ],
)
def test_forgotten_quotes(words: list[str], meant: str, run: Run) -> None:
    outcome = run("search", *words)
    assert outcome.status == 2
    assert outcome.err.rstrip().endswith(meant)


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["photos", "a cat"], 'clipkit search "a cat" photos'),
        (["photos", "cat"], "clipkit search cat photos"),
        (["photos", "photos/red.png"], "clipkit search photos/red.png photos"),
        (["photos", "a cat", "+", "a dog"], 'clipkit search "a cat" + "a dog" photos'),
    ],
)
def test_the_query_comes_before_the_folder(words: list[str], meant: str, run: Run) -> None:
    outcome = run("search", *words)
    assert outcome.status == 2
    assert "what to search for comes before the folder" in outcome.err
    assert outcome.err.rstrip().endswith(meant)


@pytest.mark.parametrize("folder", ["./absent", "photos/absent", "~/absent", "..absent"])
def test_a_path_that_is_not_there_is_no_forgotten_quotes(folder: str, run: Run) -> None:
    for query in ("a cat", "photos"):
        outcome = run("search", query, folder)
        assert outcome.status == 2
        assert f"{folder}: there is no such folder" in outcome.err
        assert "quotes" not in outcome.err
        assert "clipkit search" not in outcome.err


def test_a_skipped_file_is_told_of_once(photos: Path, capsys: Captured) -> None:
    (photos / "broken.png").write_bytes(b"no image")
    (photos / "gone.png").symlink_to("nowhere")
    for expected in ("indexed: 3 new; 2 skipped, listed by  clipkit index photos\n", "", ""):
        main(["search", "red", "photos", "-f"])
        assert capsys.readouterr().err == expected
    (photos / "trip" / "too.png").symlink_to("nowhere")
    main(["search", "red", "photos/trip", "-f"])
    assert capsys.readouterr().err == "1 skipped, listed by  clipkit index photos/trip\n"
    main(["search", "red", "photos", "-f"])
    assert capsys.readouterr().err == ""
    assert main(["search", "red", "photos", "-f", "--strict"]) == 1


def test_what_to_index_can_be_said_as_rclip_does(photos: Path, capsys: Captured) -> None:
    save_image(photos / ".hidden.png", (255, 0, 0))
    main(["search", "red", "photos", "-f", "--exclude-dir", "trip", "--include-hidden"])
    assert sorted(Path(path).name for path in _paths(capsys)) == [
        ".hidden.png",
        "orange.png",
        "red.png",
    ]


def test_other_flags_of_rclip(encoder: FakeEncoder) -> None:
    for limit in ("12.5", "auto", "none"):
        words = ["-b", "3", "--max-image-megapixels", limit, "--experimental-raw-support"]
        assert main(["search", "red", "photos", *words]) == 0


def test_a_page_replaces_a_page_and_nothing_else(
    tmp_path: Path, photos: Path, capsys: Captured
) -> None:
    victim = photos / "red.png"
    before = victim.read_bytes()
    assert main(["search", "red", "photos", "--html", str(victim)]) == 2
    assert "choose another name, or say --force" in capsys.readouterr().err
    assert victim.read_bytes() == before
    for _ in range(2):
        assert main(["search", "red", "photos", "--html", "found.html", "-f"]) == 0
        captured = capsys.readouterr()
        assert captured.err.endswith("wrote found.html\n")
        assert captured.out.count("\n") == 3
    assert main(["search", "red", "photos", "--html", str(victim), "--force"]) == 0
    assert victim.read_bytes().startswith(b"<!DOCTYPE html>")


def test_images_alone_are_a_query(capsys: Captured) -> None:
    main(["search", "red", "photos"])
    capsys.readouterr()
    for words in (["--like", "photos/red.png", "photos"], ["photos", "--more-like=photos/red.png"]):
        assert main(["search", *words, "-f", "-t1"]) == 0
        assert _paths(capsys) == ["photos/orange.png"]
    # Two words: the first is the query, though there is a folder of that name.
    assert main(["search", "photos", "photos", "--like", "photos/red.png", "-f"]) == 0


def test_an_image_marked_as_wrong_pushes_its_like_down(photos: Path, capsys: Captured) -> None:
    save_image(photos / "violet.png", (255, 0, 255))
    save_image(photos / "plum.png", (250, 0, 240))
    assert main(["search", "red", "photos", "-f", "-t4"]) == 0
    assert [Path(path).stem for path in _paths(capsys)][:2] == ["red", "orange"]
    marks = ["--less-like", "photos/violet.png", "--more-like", "photos/orange.png"]
    assert main(["search", "red", "photos", "-f", *marks]) == 0
    assert Path(_paths(capsys)[0]).stem == "red"


def test_probably_nothing_is_an_answer(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    _set_verdict(monkeypatch, "probably nothing")
    main(["search", "red", "photos"])
    capsys.readouterr()
    # The closest are shown to a person, as rclip does; a program gets nothing, and the exit status.
    assert main(["search", "red", "photos"]) == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1 + 3
    assert captured.err == "probably nothing among 3 images; these are the closest\n"
    for option in ("-f", "-0"):
        assert main(["search", "red", "photos", option]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err == (
            f"probably nothing among 3 images; without {option} the closest are shown\n"
        )
    # Who sets a bound decides alone.
    assert main(["search", "red", "photos", "-f", "--min-relevance", "0"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert captured.err == ""
    monkeypatch.setattr(PhotoLibrary, "num_missing", 1200)
    assert main(["search", "red", "photos"]) == 1
    expected = "probably nothing among 3 images (1 200 more cannot be reached now); these are"
    assert capsys.readouterr().err.startswith(expected)


def test_not_sure_shows_the_images_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    _set_verdict(monkeypatch, "not sure")
    main(["search", "red", "photos"])
    capsys.readouterr()
    assert main(["search", "red", "photos", "-f"]) == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert captured.err == "not sure that any of these fits, among 3 images\n"


def test_found_says_how_many_are(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    _set_relevance(monkeypatch, [0.9, 0.4, 0.39])
    main(["search", "red", "photos"])
    capsys.readouterr()
    assert main(["search", "red", "photos", "--top", "1"]) == 0
    assert capsys.readouterr().err == "found 2 among 3 images; 1 shown, more with -t\n"
    assert main(["search", "red", "photos", "--top", "2"]) == 0
    assert capsys.readouterr().err == "found 2 among 3 images\n"
    assert main(["search", "red", "photos", "--path", "*"]) == 0
    assert capsys.readouterr().err == (
        "found 2 among 3 images that pass the filters; the other 1 shown fits less\n"
    )


def test_what_just_misses_the_cut_does_not_look_as_if_it_was_found(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    _set_verdict(monkeypatch, "not sure")
    _set_relevance(monkeypatch, [0.3995, 0.0499, 0.0])
    main(["search", "red", "photos"])
    captured = capsys.readouterr()
    assert [line.split("\t")[0] for line in captured.out.splitlines()[1:]] == [
        "0.39",
        "0.04",
        "0.00",
    ]
    assert captured.err.endswith("not sure that any of these fits, among 3 images\n")


def test_the_page_says_what_the_search_says(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    _set_verdict(monkeypatch, "not sure")
    main(["search", "red", "photos", "--html", "page.html"])
    assert "not sure that any of these fits, among 3 images" in Path("page.html").read_text()


def test_min_relevance_leaves_out_and_may_leave_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    _set_relevance(monkeypatch, [0.49, 0.3, 0.3])
    main(["search", "red", "photos"])
    capsys.readouterr()
    assert main(["search", "red", "photos", "--min-relevance", "0.5"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == (
        "nothing of relevance 0.5 or more among 3 images; without --min-relevance the most "
        "relevant are shown\n"
    )
    assert main(["search", "red", "photos", "--min-relevance", "0.49", "-f"]) == 0
    assert len(_paths(capsys)) == 1


def test_results_can_be_made_to_differ(photos: Path, capsys: Captured) -> None:
    save_image(photos / "red again.png", (255, 0, 0), size=3)
    main(["search", "red", "photos", "-f", "-t2"])
    assert {Path(path).stem for path in _paths(capsys)} == {"red", "red again"}
    for words in (["--diversity", "0.9"], ["--diverse", "--diversity=0.9"]):
        main(["search", *words, "red", "photos", "-f", "-t2"])
        assert not {"red", "red again"} <= {Path(path).stem for path in _paths(capsys)}
    assert main(["search", "--diverse", "red", "photos", "-f"]) == 0
    assert len(_paths(capsys)) == 4


def test_results_can_be_a_page_of_images(tmp_path: Path, capsys: Captured) -> None:
    assert main(["search", "red", "+", "blue", "photos", "--html", "found.html", "-f"]) == 0
    page = (tmp_path / "found.html").read_text(encoding="utf-8")
    assert "red + blue" in page
    assert page.count("data:image/jpeg;base64,") == len(_paths(capsys)) == 3


def test_an_index_that_cannot_be_written_is_searched(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    main(["search", "red", "photos"])
    save_image(photos / "new.png", (9, 9, 9))
    capsys.readouterr()

    def read_only(path: object, **_: object) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    without_lock = SimpleNamespace(**{**vars(sqlite3), "connect": read_only})
    monkeypatch.setattr(files, "sqlite3", without_lock)
    assert main(["search", "red", "photos", "-f", "-t1"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "photos/red.png\n"
    assert "cannot be written" in captured.err
    assert captured.err.endswith("using what is indexed so far\n")


@pytest.mark.parametrize("name", ["vectors-1.f16", "crops-1.f16", "catalog.sqlite"])
def test_a_damaged_index_is_told_once_and_not_used(
    capsys: Captured, photos: Path, encoder: FakeEncoder, name: str
) -> None:
    library = PhotoLibrary.open(photos, encoder)
    library.sync(crops=5)
    (library.location / name).write_bytes(b"no database")
    assert main(["search", "red", "photos"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("clipkit: the ")
    assert "damaged" in line


def test_negated_filters_and_the_order_of_dates(capsys: Captured, photos: Path) -> None:
    for year, name in ((2021, "orange.png"), (2023, "red.png"), (2022, "trip/blue.png")):
        moment = datetime.datetime(year, 7, 1).timestamp()
        os.utime(photos / name, (moment, moment))
    assert main(["search", "red", "photos", "-f", "--not-path", "trip/*"]) == 0
    assert _paths(capsys) == ["photos/red.png", "photos/orange.png"]
    assert main(["search", "red", "photos", "-f", "--not-path", "trip", "--not-path", "r*"]) == 0
    assert _paths(capsys) == ["photos/orange.png"]
    newest = ["photos/red.png", "photos/trip/blue.png", "photos/orange.png"]
    for sort in ("newest", "date"):
        assert main(["search", "red", "photos", "-f", "--sort", sort]) == 0
        assert _paths(capsys) == newest
    assert main(["search", "red", "photos", "-f", "--sort", "oldest"]) == 0
    assert _paths(capsys) == newest[::-1]
    assert main(["search", "red", "photos", "-f", "--sort", "oldest", "-t", "2"]) == 0
    assert _paths(capsys) == ["photos/orange.png", "photos/red.png"]  # of the best two


def test_an_image_on_the_web_is_fetched_for_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    asked: list[object] = []

    def encode_images(_: object, images: list[object], *, allow_urls: bool) -> NDArray[np.float32]:
        asked.append((images, allow_urls))
        return np.array([[0, 0, 1, 0]], dtype=np.float32)

    assert main(["search", "red", "photos", "-f"]) == 0
    capsys.readouterr()
    monkeypatch.setattr(FakeEncoder, "encode_images", encode_images)
    assert main(["search", "https://example.org/a.png", "photos", "-f", "-t", "1", "-n"]) == 0
    assert asked == [(["https://example.org/a.png"], True)]
    assert _paths(capsys) == ["photos/trip/blue.png"]
