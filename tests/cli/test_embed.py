"""``clipkit embed``, and ``clipkit index --from`` what it wrote."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clipkit.cli import embed as embed_command
from tests.bulk_embedding.made_sources import COLORS, image_bytes, make_folder
from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_folder(tmp_path / "photos", 3)


def test_a_folder_is_embedded_and_indexed_from_there(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("embed", "photos", "out", "--precision", "fp32")
    assert (done.status, done.out, done.err) == (
        0,
        "out: 3 embedded, 0 there before, 0 unreadable\n",
        "",
    )
    (photos / "new.png").write_bytes(image_bytes(COLORS[9]))
    shutil.copy(photos / "0.png", photos / "copy.png")
    indexed = run("index", "photos", "--from", "out", "--precision", "fp32")
    assert indexed.status == 0
    assert indexed.out.startswith("photos: 5 added, 0 changed")
    assert "3 with ready embeddings" in indexed.out  # the copy takes the row of the first
    again = run("index", "photos", "--from", "out", "--json", "--rebuild", "--precision", "fp32")
    assert json.loads(again.out)["from_files"] == 3


def test_another_model_is_refused_with_what_to_do(run: Run, tiny_checkpoint: Path) -> None:
    run("embed", "photos", "out", "--precision", "fp32")
    options = ("--model", tiny_checkpoint, "--precision", "fp32")
    wrong = run("index", "photos", "--from", "out", *options, "--engine", "torch")
    assert wrong.status == 2 and "give --model starter, or embed again" in wrong.err
    wrong = run("embed", "photos", "out", *options, "--runtime", "torch")
    assert wrong.status == 2 and "embed into a folder of its own" in wrong.err


def test_from_needs_a_folder_of_images(run: Run) -> None:
    wrong = run("index", "--from", "out")
    assert wrong.status == 2 and "an index is of a folder of images" in wrong.err
    assert "--store URL" in wrong.err
    wrong = run("index", "photos", "--from", "none")
    assert wrong.status == 2 and "clipkit embed SOURCE none" in wrong.err


def test_strict_json_and_what_was_skipped(run: Run, photos: Path) -> None:
    (photos / "bad.png").write_text("no image")
    done = run("embed", "photos", "out", "--strict", "--json", "--layout", "clip-retrieval")
    assert done.status == 1
    report = json.loads(done.out)
    assert (report["num_embedded"], report["num_unread"]) == (3, 1)
    assert report["unread"][0]["path"] == "bad.png" and "1 image skipped" in done.err
    assert run("embed", "photos", "out", "--strict").status == 0  # done, and not tried again


def test_ctrl_c_says_how_to_resume(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(embed_command, "embed_source", interrupted)
    done = run("embed", "photos", "out")
    assert done.status == 130
    assert "to resume, run  clipkit embed photos out  with the same options" in done.err


def test_options_of_ray_need_its_engine(run: Run) -> None:
    wrong = run("embed", "photos", "out", "--workers", "2")
    assert wrong.status == 2 and "choose the engine ray" in wrong.err
