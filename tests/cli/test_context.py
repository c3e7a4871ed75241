"""``clipkit context``, with a fake encoder in the place of a model."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.cli import context
from tests.cli.conftest import Outcome
from tests.fakes import FakeEncoder, save_image

Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def relevance(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return what the candidates' relevances are, best first; to be changed in place."""
    values = [0.9, 0.5, 0.1, 0.0]
    monkeypatch.setattr(context, "load_encoder", lambda arguments: FakeEncoder())
    monkeypatch.setattr(
        "clipkit.search.search.relevance_of",
        lambda evidence, count: np.resize(values, len(evidence)),
    )
    return values


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "photos" / "red.png", (255, 0, 0))
    save_image(tmp_path / "photos" / "orange.png", (255, 128, 0))
    save_image(tmp_path / "photos" / "trip" / "blue.png", (0, 0, 255))
    (tmp_path / "photos" / "red.txt").write_text("a `red` thing", encoding="utf-8")
    return tmp_path / "photos"


def test_json_is_one_object_of_the_documented_schema(photos: Path, run: Run) -> None:
    done = run("context", "red", "photos", "-k", 1, "--json")

    assert done.status == 0
    found = json.loads(done.out)
    assert found["schema"] == "clipkit.context/1"
    assert (found["query"], found["verdict"], found["is_nothing"]) == ("red", "found", False)
    assert found["folder"] == str(photos)
    (image,) = found["images"]
    assert image["path"] == "red.png"
    assert image["captions"] == ["a `red` thing"]
    page = (Path(__file__).parents[2] / "docs" / "context.md").read_text(encoding="utf-8")
    for name in (*found, *image):
        assert f"`{name}`" in page
    assert done.err == "indexed: 3 new\n"


def test_markdown_is_the_default_and_texts_stay_in_their_place(run: Run) -> None:
    done = run("context", "red", "photos")

    assert done.status == 0
    assert "- verdict: found\n" in done.out
    assert '- caption: `"a \\u0060red\\u0060 thing"`\n' in done.out
    assert [line for line in done.out.splitlines() if line.startswith("## ")] == [
        "## Image 1",
        "## Image 2",
    ]


def test_probably_nothing_is_said_and_nothing_is_listed(relevance: list[float], run: Run) -> None:
    relevance[:] = [0.04, 0.01, 0.0]

    as_json, as_text = run("context", "red", "photos", "--json"), run("context", "red", "photos")

    assert (as_json.status, as_text.status) == (1, 1)
    found = json.loads(as_json.out)
    assert (found["verdict"], found["is_nothing"]) == ("probably nothing", True)
    assert found["images"] == []
    assert "- summary: Probably nothing among 3 images fits the query" in as_text.out
    assert as_text.err == "Probably nothing among 3 images fits the query, so that none is listed\n"
    assert run("context", "red", "photos", "--min-relevance", "0.01").status == 0


def test_a_limit_is_of_all_that_is_printed(run: Run) -> None:
    whole = run("context", "red", "photos", "--json", "--thumbnails", 8)
    size = len(whole.out.encode())

    assert run("context", "red", "photos", "--json", "--thumbnails", 8, "--max-bytes", size) == (
        Outcome(0, whole.out, "")
    )
    shorter = run("context", "red", "photos", "--json", "--thumbnails", 8, "--max-bytes", 2000)
    assert len(shorter.out.encode()) <= 2000
    found = json.loads(shorter.out)
    assert found["num_thumbnails_cut"] > 0
    assert [image["path"] for image in found["images"]] == ["red.png", "orange.png"]

    small = run("context", "red", "photos", "--max-bytes", 200)
    assert (small.status, small.out) == (2, "")
    assert "max_bytes (--max-bytes) is too small, 200: the most relevant image" in small.err


def test_an_unreadable_thumbnail_is_said_and_the_image_stays(photos: Path, run: Run) -> None:
    run("context", "red", "photos")
    (photos / "red.png").write_bytes(b"no image")

    done = run("context", "red", "photos", "--no-indexing", "--json", "--thumbnails")

    assert done.status == 0
    image = json.loads(done.out)["images"][0]
    assert (image["path"], image["thumbnail"]) == ("red.png", None)
    assert image["thumbnail_error"]
    assert done.err.startswith("no thumbnail of red.png: ")


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of any bytes")
def test_a_name_of_odd_bytes_is_valid_text_and_comes_back(photos: Path, run: Run) -> None:
    name = b"caf\xe9`](x)\n# now.png"
    Image.new("RGB", (2, 2), (254, 0, 0)).save(photos / "tmp.png")
    (photos / "tmp.png").rename(photos / os.fsdecode(name))

    done = run("context", "red", "photos", "--json", "--min-relevance", 0)

    paths = [os.fsencode(image["path"]) for image in json.loads(done.out)["images"]]
    assert name in paths
    done.out.encode("utf-8")
    assert "caf%E9%60%5D%28x%29%0A%23%20now.png" in done.out
    assert "\n# now" not in run("context", "red", "photos", "--min-relevance", 0).out


def test_labels_and_filters_come_from_options(run: Run) -> None:
    done = run("context", "blue", "photos", "--path", "trip/*", "--class-folders", "--json")

    (image,) = json.loads(done.out)["images"]
    assert (image["path"], image["label"]) == ("trip/blue.png", "trip")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["red", "photos", "-k", "0"], "must be a whole number, 1 or more, got '0'"),
        (["", "photos"], "a part of the query is empty"),
        (["photos"], "what to search for in photos? Give words, as in  clipkit context "),
        (["red", "nowhere"], "nowhere: there is no such folder"),
        (["a", "red", "thing"], 'clipkit context "a red thing"'),
        (["red", "photos", "--max-bytes", "0"], "must be a whole number, 1 or more, got '0'"),
        (["red", "photos", "--thumbnails", "big"], "must be a whole number, 1 or more, got 'big'"),
        (["red", "photos", "--captions", "no.csv"], "no.csv: there is no such table of captions"),
        (["red", "photos", "--no-indexing"], "photos has not been indexed"),
        (["red", "photos", "--after", "13"], "after must be a year, month, day or moment"),
    ],
)
def test_bad_input_is_one_line_and_prints_nothing(words: list[str], message: str, run: Run) -> None:
    done = run("context", *words)

    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert done.err.count("\n") == 1


def test_a_folder_without_images_says_so(tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty").mkdir()

    done = run("context", "red", "empty", "--json")

    assert done.status == 1
    assert json.loads(done.out)["images"] == []
    assert done.err == "no images found in empty\n"


def test_ctrl_c_while_indexing_prints_nothing(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clipkit.search.library.PhotoLibrary.sync", interrupt)

    done = run("context", "red", "photos")

    assert (done.status, done.out) == (130, "")
    assert done.err.startswith("interrupted: what is indexed so far is kept (images: 0)")
