"""``clipkit filter``, with a fake encoder."""

import argparse
import csv
import json
import os
from pathlib import Path

import pytest

from clipkit.cli import filter as filter_command
from clipkit.data.sources import open_pairs
from clipkit.errors import ImageReadError, InputError
from tests.fakes import FakeEncoder, save_image

Captured = pytest.CaptureFixture[str]
ROWS = [
    ("photos/red.png", (255, 0, 0), "red"),
    ("photos/small.png", (255, 0, 0), "a rose"),
    ("photos/blue.png", (0, 0, 255), 'blue, "so blue"'),
    ("photos/wrong.png", (0, 255, 0), "red"),
]


@pytest.fixture(autouse=True)
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    encoder = FakeEncoder()
    monkeypatch.setattr(filter_command, "load_encoder", lambda arguments: encoder)
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["filepath", "title"])
        for name, color, caption in ROWS:
            save_image(tmp_path / name, color, size=2 if "small" in name else 8)
            rows.writerow([name, caption])
    return encoder


def _run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    filter_command.add_parser(parser.add_subparsers())
    return filter_command.run(parser.parse_args(["filter", *words]))


@pytest.mark.parametrize("words", [("--min-side", "0"), ("--min-words", "x"), ("--near", "x")])
def test_what_is_no_number_is_told(words: tuple[str, str], capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        _run("pairs.csv", *words, "--dry-run")
    assert f"argument {words[0]}: must be a " in capsys.readouterr().err


def _pairs(path: str) -> list[tuple[Path, tuple[str, ...]]]:
    source = open_pairs(path)
    assert not source.skipped
    rows = [source[row] for row in range(len(source))]
    return [(Path(str(row.image)).resolve(), row.captions) for row in rows]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_the_table_opens_as_pairs_wherever_it_lies(
    ending: str, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "lists").mkdir()
    out = f"lists/kept.{ending}"
    assert _run("pairs.csv", "--min-side", "4", "--out", out) == 0
    assert _pairs(out) == [
        (tmp_path / name, (caption,)) for name, _, caption in ROWS if "small" not in name
    ]
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    rule, name, why = line.split("\t")
    assert (rule, why) == ("image too small", "2 x 2 pixels, at least 4 a side are required")
    assert name.endswith("small.png")
    assert captured.err == (f"wrote {out}\ndropped: 1 x image too small\nkept 3 of 4 pairs\n")
    # Both may move together.
    assert str(tmp_path) not in (tmp_path / out).read_text()


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_several_captions_are_kept(ending: str, tmp_path: Path) -> None:
    lines = [
        {"filepath": "photos/red.png", "title": ["red", "", "a red square"]},
        {"filepath": "photos/blue.png", "title": ["blue"]},
    ]
    (tmp_path / "many.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert _run("many.jsonl", "--min-characters", "3", "--out", f"kept.{ending}") == 0
    assert _pairs(f"kept.{ending}") == [
        (tmp_path / "photos/red.png", ("red", "a red square")),
        (tmp_path / "photos/blue.png", ("blue",)),
    ]


def test_a_table_in_a_linked_folder_finds_its_images(tmp_path: Path) -> None:
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    assert _run("pairs.csv", "--min-side", "4", "--out", "link/kept.csv") == 0
    for place in ("link/kept.csv", "far/away/kept.csv"):
        names = ("red.png", "blue.png", "wrong.png")
        assert [path for path, _ in _pairs(place)] == [tmp_path / "photos" / n for n in names]


def test_the_report_has_the_figures(fake: FakeEncoder, tmp_path: Path, capsys: Captured) -> None:
    status = _run(
        *("pairs.csv", "--min-side", "4", "--min-similarity", "0.5", "--out", "kept.csv"),
        *("--report", "report.json"),
    )
    assert status == 0
    report = json.loads((tmp_path / "report.json").read_text())
    dropped = {rule: count for rule, count in report["dropped"].items() if count}
    # "blue, …" is a text in a direction of its own; whether it is kept is the fake's business.
    assert dropped["image too small"] == 1
    assert dropped["similarity too low"] >= 1
    assert report["pairs"] == 4
    assert report["kept"] == 4 - sum(dropped.values())
    assert report["rules"] == {"min_side": 4, "min_similarity": 0.5}
    assert report["model"] == {"name": "fake", "space_id": "fake-space"}
    assert report["skipped"] == []
    assert len(report["dropped_pairs"]) == sum(dropped.values())
    wrong = report["dropped_pairs"][-1]
    assert (wrong["row"], wrong["rule"]) == (3, "similarity too low")
    assert wrong["why"] == "0.0000, at least 0.5 is required"
    assert report["similarity_quantiles"]["1.0"] == pytest.approx(1, abs=1e-4)
    captured = capsys.readouterr()
    assert captured.out == ""  # it is in the report
    assert "similarities of captions, by share below: 0% " in captured.err


def test_a_dry_run_writes_no_table(tmp_path: Path, capsys: Captured) -> None:
    before = _names(tmp_path)
    assert _run("pairs.csv", "--exact", "--min-side", "4", "--dry-run") == 0
    assert _run("pairs.csv", "--min-side", "4", "--dry-run", "--out", "kept.csv") == 0
    assert _names(tmp_path) == before
    assert capsys.readouterr().out.count("image too small") == 2


def test_no_model_is_loaded_without_need(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(arguments: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(filter_command, "load_encoder", refuse)
    assert _run("pairs.csv", "--exact", "--min-words", "1", "--max-aspect", "2", "--dry-run") == 0
    with pytest.raises(AssertionError):
        _run("pairs.csv", "--near", "0.1", "--dry-run")


def test_files_that_are_there_stay_unless_forced(tmp_path: Path, fake: FakeEncoder) -> None:
    words = ("pairs.csv", "--min-similarity", "-1")
    for name, option in (("kept.csv", "--out"), ("report.json", "--report")):
        (tmp_path / name).write_text("mine")
        others = () if option == "--out" else ("--dry-run",)
        with pytest.raises(InputError, match=f"{name} is there already, .* --force"):
            _run(*words, option, name, *others)
        assert fake.encoded_images == []  # told before any work
        assert (tmp_path / name).read_text() == "mine"
        assert _run(*words, option, name, *others, "--force") == 0
        assert (tmp_path / name).read_text() != "mine"
        fake.encoded_images.clear()


def test_a_file_that_appears_meanwhile_stays(tmp_path: Path, fake: FakeEncoder) -> None:
    fake.before_image = lambda number: (tmp_path / "kept.csv").write_text("mine")
    with pytest.raises(InputError, match=r"kept\.csv is there already"):
        _run("pairs.csv", "--min-similarity", "-1", "--out", "kept.csv")
    assert (tmp_path / "kept.csv").read_text() == "mine"
    assert _names(tmp_path) == ["kept.csv", "pairs.csv", "photos"]


def test_an_interruption_leaves_nothing_half_done(tmp_path: Path, fake: FakeEncoder) -> None:
    (tmp_path / "kept.csv").write_text("mine")

    def interrupt(number: int) -> None:
        if number == 2:
            raise KeyboardInterrupt

    fake.before_image = interrupt
    with pytest.raises(KeyboardInterrupt):
        _run("pairs.csv", "--min-similarity", "-1", "--out", "kept.csv", "--force")
    assert (tmp_path / "kept.csv").read_text() == "mine"
    assert _names(tmp_path) == ["kept.csv", "pairs.csv", "photos"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept.csv").write_text("mine")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        _run("pairs.csv", "--min-side", "4", "--out", "kept.csv", "--force")
    assert (tmp_path / "kept.csv").read_text() == "mine"
    assert _names(tmp_path) == ["kept.csv", "pairs.csv", "photos"]


def test_nothing_kept_is_status_1_and_no_table(tmp_path: Path, capsys: Captured) -> None:
    assert _run("pairs.csv", "--min-side", "99", "--out", "kept.csv") == 1
    assert not (tmp_path / "kept.csv").exists()
    assert capsys.readouterr().err.endswith(
        "kept 0 of 4 pairs\nno pair is kept, so no table was written\n"
    )


def test_unreadable_images_are_dropped_and_strict_minds(tmp_path: Path, capsys: Captured) -> None:
    with (tmp_path / "pairs.csv").open("a") as file:
        file.write("photos/gone.png,gone\n")
    words = ("pairs.csv", "--min-side", "4", "--dry-run")
    assert _run(*words) == 0
    captured = capsys.readouterr()
    assert "gone.png" in captured.out + captured.err
    assert "no such file" in captured.out + captured.err
    assert _run(*words, "--strict") == 1


def test_pairs_in_shards_have_no_files_for_a_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Captured
) -> None:
    from clipkit.data.pair import Pair
    from tests.fake_pairs import ListSource

    shard = ListSource(
        [
            ImageReadError("0.tar/1", "is cut off"),
            Pair((tmp_path / "photos/red.png").read_bytes(), ("red",), "0.tar/2"),
            Pair((tmp_path / "photos/small.png").read_bytes(), ("red",), "0.tar/3"),
        ]
    )
    monkeypatch.setattr(filter_command, "open_source", lambda arguments: shard)
    with pytest.raises(InputError, match=r"0\.tar/2 is no file by itself"):
        _run("shards", "--min-side", "4", "--out", "kept.csv")
    assert _run("shards", "--min-side", "4", "--exact", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        "unreadable image\t0.tar/1\tis cut off",
        "image too small\t0.tar/3\t2 x 2 pixels, at least 4 a side are required",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "kept.csv"), "there is no rule to filter by"),
        (("--min-side", "4"), "where to\\? Give  --out KEPT.csv"),
        (("--min-side", "4", "--out", "kept.parquet"), "ends in .csv, .tsv or .jsonl, got kept.p"),
        (("--min-side", "4", "--out", "no/kept.csv"), "there is no folder no; make it first"),
        (("--min-side", "4", "--out", "a.csv", "--report", "a.csv"), "are both a.csv"),
        (("--max-aspect", "0", "--dry-run"), "max_aspect must be 1 or more, got 0"),
        (
            ("--min-quantile", "30", "--dry-run"),
            "min_quantile must be 0 or more and below 1, got 30",
        ),
    ],
)
def test_wrong_options_are_told(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _run("pairs.csv", *words)
