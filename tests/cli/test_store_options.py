"""``clipkit index --store`` and ``clipkit search --store``, in a file of Milvus Lite."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import clipkit
from clipkit.bulk_embedding.embed import embed_source
from clipkit.cli import index, search
from clipkit.cli.main import main
from tests.conftest import SAMPLES
from tests.fakes import FakeEncoder, age_files, save_image
from tests.store_file import url as url

pytest.importorskip("milvus_lite", reason="the extra milvus-lite is not installed")

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    fake = FakeEncoder()
    for command in (index, search):
        monkeypatch.setattr(command, "load_encoder", lambda arguments: fake)
    return fake


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_image(tmp_path / "photos" / "red.png", (255, 0, 0))
    save_image(tmp_path / "photos" / "trip" / "blue.png", (0, 0, 255))
    age_files(tmp_path / "photos")
    return tmp_path / "photos"


def _run(*words: object) -> int:
    return main([str(word) for word in words])


def test_what_index_has_sent_search_finds_without_the_folder(
    photos: Path, url: str, capsys: Captured
) -> None:
    assert _run("index", "photos", "--store", url) == 0
    assert capsys.readouterr().out.splitlines() == [
        "photos: 2 added, 0 changed, 0 moved, 0 removed, 0 unchanged, 0 skipped",
        f"{url}: 2 sent, 0 removed, 0 unchanged, index flat",
    ]
    assert _run("search", "red", "--store", url, "--min-relevance", "0", "-f") == 0
    assert capsys.readouterr().out.splitlines() == [
        str(photos / "red.png"),
        str(photos / "trip" / "blue.png"),
    ]
    arguments = ("--path", "trip", "--json", "-t", 1, "--min-relevance", "0")
    assert _run("search", "red", "--store", url, *arguments) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["path"] == str(photos / "trip" / "blue.png")


def test_an_image_of_the_folder_is_a_query(
    photos: Path, url: str, encoder: FakeEncoder, capsys: Captured
) -> None:
    _run("index", "photos", "--store", url)
    encoder.encoded_images.clear()
    assert _run("search", "photos/red.png", "--store", url, "-f", "--min-relevance", "0") == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(photos / "trip" / "blue.png")
    assert encoder.encoded_images == []  # it was looked up


def test_the_index_is_chosen_and_its_recall_printed(
    photos: Path, url: str, capsys: Captured
) -> None:
    assert _run("index", "photos", "--store", url, "--store-index", "hnsw") == 0
    assert capsys.readouterr().out.splitlines()[1] == (
        f"{url}: 2 sent, 0 removed, 0 unchanged, index hnsw, whose recall@50 of texts is 1.000"
    )
    assert _run("index", "photos", "--store", url, "--json") == 0
    assert json.loads(capsys.readouterr().out)["store"] == {
        "url": url,
        "sent": 0,
        "removed": 0,
        "unchanged": 2,
        "index": "hnsw",
        "recall_at_50": None,
    }


@pytest.mark.parametrize("option", ["--rebuild", "--forget"])
def test_the_collection_alone_is_deleted(
    photos: Path, url: str, capsys: Captured, option: str
) -> None:
    _run("index", "photos", "--store", url)
    capsys.readouterr()
    assert _run("index", "photos", "--store", url, option) == 0
    captured = capsys.readouterr()
    if option == "--rebuild":
        assert "0 added" in captured.out
        assert "2 sent" in captured.out
        return
    assert "the folder's own index stays" in captured.err
    assert _run("search", "red", "--store", url) == 2
    assert f"clipkit index FOLDER --store {url}" in capsys.readouterr().err
    assert _run("search", "red", "photos", "-n", "-f", "--min-relevance", "0") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("search", "red", "photos", "--store", "{url}"), "leave out photos"),
        (("search", "red", "--store", "{url}", "--exclude", "x"), "clipkit index FOLDER --store"),
        (("search", "--store", "{url}"), "what to search for?"),
        (("search", "red", "--store", "http://host/photos"), "milvus://HOST:19530/COLLECTION"),
        (("search", "red", "--store", "milvus://me:secret@host/a"), "CLIPKIT_MILVUS_TOKEN"),
        (("search", "red", "--store", "milvus://127.0.0.1:9/a"), "no Milvus server answers"),
        (("index", "photos", "--store", "milvus://127.0.0.1:9/a"), "no Milvus server answers"),
        (("index", "photos", "--store-index", "hnsw"), "name it with --store"),
        (("index", "photos", "--store", "{url}", "--status"), "leave out --store"),
        (("index", "--store", "{url}"), "which folder?"),
    ],
)
def test_what_cannot_be_done_is_one_line_that_says_what_to_do(
    photos: Path, url: str, capsys: Captured, words: tuple[str, ...], message: str
) -> None:
    assert _run(*(word.format(url=url) for word in words)) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "secret" not in captured.err
    assert captured.err.count("\n") == 1


def test_ctrl_c_keeps_what_was_sent(
    photos: Path, url: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("clipkit.search.store_sync.settle_index", interrupt)
    assert _run("index", "photos", "--store", url) == 130
    assert f"to resume, run  clipkit index photos --store {url}" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(index, "load_encoder", lambda arguments: FakeEncoder())
    monkeypatch.chdir(photos.parent)
    assert _run("index", "photos", "--store", url) == 0
    assert "0 sent, 0 removed, 2 unchanged" in capsys.readouterr().out


def test_embeddings_in_files_are_sent_without_a_folder(
    photos: Path, url: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter = clipkit.load(cache_texts=False)
    embed_source(photos, photos.parent / "out", starter)
    monkeypatch.setattr(index, "load_encoder", lambda arguments: starter)
    assert _run("index", "--from", "out", "--store", url) == 0
    assert capsys.readouterr().out == f"{url}: 2 sent, 0 removed, 0 unchanged, index flat\n"
    assert _run("index", "--from", "out", "--store", url, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["sent"], report["unchanged"]) == (0, 2)


def test_a_rebuilding_that_is_refused_leaves_the_collection(
    photos: Path, url: str, capsys: Captured
) -> None:
    assert _run("index", "photos", "--store", url) == 0
    assert _run("index", "photos", "--rebuild", "--crops", "5", "--store", url) == 2
    assert _run("index", "photos", "--crops", "5") == 0
    assert _run("index", "photos", "--rebuild", "--store", url) == 2
    assert "or drop the crops (--crops 1)" in capsys.readouterr().err
    assert _run("search", "red", "--store", url, "--min-relevance", "0", "-f") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_another_process_finds_what_one_has_sent(tmp_path: Path) -> None:
    """Milvus Lite forgets with the process which collections of a file are loaded."""
    folder, url = tmp_path / "photos", f"milvus://{tmp_path}/photos.db"
    folder.mkdir()
    for name in ("cat.jpg", "castle.jpg"):
        shutil.copy(SAMPLES / name, folder)

    def run(*words: object) -> str:
        command = [sys.executable, "-m", "clipkit", *map(str, words), "--store", url]
        environment = os.environ | {"CLIPKIT_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True, timeout=300
        )
        assert "trying again" not in done.stderr
        return done.stdout

    run("index", folder)
    assert run("search", "a cat", "-f", "-t", 1).splitlines() == [str(folder / "cat.jpg")]
    assert "2 unchanged" in run("index", folder).splitlines()[1]
