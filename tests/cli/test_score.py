"""``clipkit score``, with a fake encoder."""

import argparse
import json
import math
from pathlib import Path

import pytest

from clipkit.cli import score
from clipkit.errors import InputError
from tests.fakes import FakeEncoder, save_image, word_embedding

Captured = pytest.CaptureFixture[str]
ROWS = [
    ("red.png", (255, 0, 0), "red"),
    ("red.png", (255, 0, 0), "a rose"),
    ("blue.png", (0, 0, 255), "blue sky"),
]


@pytest.fixture(autouse=True)
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake = FakeEncoder()
    monkeypatch.setattr(score, "load_encoder", lambda arguments: fake)
    monkeypatch.chdir(tmp_path)
    lines = ["filepath,title"]
    for name, color, caption in ROWS:
        save_image(tmp_path / name, color)
        lines.append(f"{name},{caption}")
    path = tmp_path / "pairs.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def _run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    score.add_parser(parser.add_subparsers())
    return score.run(parser.parse_args(["score", *words]))


def _expected(color: tuple[int, int, int], caption: str) -> float:
    image = [*color, 1.0]
    norm = math.hypot(*image)
    text: list[float] = word_embedding("A photo depicts " + caption)[0].tolist()
    return 2.5 * max(sum(a * b for a, b in zip(image, text, strict=True)) / norm, 0.0)


def test_one_line_a_caption_and_the_mean_on_stderr(capsys: Captured) -> None:
    assert _run("pairs.csv") == 0
    captured = capsys.readouterr()
    lines = [line.split("\t") for line in captured.out.splitlines()]
    assert sorted((Path(name).name, caption) for _, name, caption in lines) == sorted(
        (name, caption) for name, _, caption in ROWS
    )
    expected = {caption: _expected(color, caption) for _, color, caption in ROWS}
    for printed, _, caption in lines:
        assert float(printed) == pytest.approx(expected[caption], abs=6e-5)
    mean = sum(expected.values()) / 3
    assert captured.err.startswith("captions: 3, mean CLIPScore ")
    assert float(captured.err.split()[-1]) == pytest.approx(mean, abs=6e-5)


def test_references_give_a_second_column(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "right.json").write_text('{"blue": ["blue sky"]}')
    assert _run("pairs.csv", "--references", "right.json") == 0
    captured = capsys.readouterr()
    by_caption = {line.split("\t")[3]: line.split("\t") for line in captured.out.splitlines()}
    fit = _expected((0, 0, 255), "blue sky")
    both = 2 * fit / (fit + 1)  # its own reference, a cosine of 1
    assert float(by_caption["blue sky"][1]) == pytest.approx(both, abs=6e-5)
    assert by_caption["red"][1] == by_caption["a rose"][1] == "-"
    assert f"captions with references: 1, mean RefCLIPScore {both:.4f}" in captured.err


def test_json_ends_with_the_means(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "right.json").write_text('{"blue.png": ["blue sky"], "elsewhere": ["x"]}')
    with (tmp_path / "pairs.csv").open("a") as file:
        file.write("gone.png,gone\n")
    assert _run("pairs.csv", "--json", "--references", "right.json") == 0
    captured = capsys.readouterr()
    *found, last = map(json.loads, captured.out.splitlines())
    assert [list(item) for item in found] == [
        ["name", "caption", "clip_score", "ref_clip_score"]
    ] * 3
    assert last["captions"] == 3
    assert last["mean"]["clip_score"] == pytest.approx(
        sum(item["clip_score"] for item in found) / 3
    )
    refs = [item["ref_clip_score"] for item in found if item["ref_clip_score"] is not None]
    assert len(refs) == 1
    assert last["mean"]["ref_clip_score"] == refs[0]
    assert [Path(item["path"]).name for item in last["skipped"]] == ["pairs.csv line 5"]
    assert "gone.png" in last["skipped"][0]["reason"]


def test_what_was_skipped_is_told_and_strict_minds(tmp_path: Path, capsys: Captured) -> None:
    with (tmp_path / "pairs.csv").open("a") as file:
        file.write("gone.png,gone\n")
    assert _run("pairs.csv") == 0
    assert "1 image skipped:" in capsys.readouterr().err
    assert _run("pairs.csv", "--strict") == 1


def test_a_caption_cannot_break_lines(tmp_path: Path, capsys: Captured) -> None:
    with (tmp_path / "odd.jsonl").open("w") as file:
        file.write(json.dumps({"filepath": "red.png", "title": "two\tlines\n\x1b[31m"}) + "\n")
    assert _run("odd.jsonl") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("\ttwo\\tlines\\n\\x1b[31m")


def test_nothing_to_score_is_status_1(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "torn.png").write_bytes(b"no image")
    (tmp_path / "torn.csv").write_text("filepath,title\ntorn.png,torn\n")
    assert _run("torn.csv") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("no pairs that can be scored\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "right.json is not a JSON file in UTF-8"),
        (b"\xff\xfe{}", "right.json is not a JSON file in UTF-8"),
        (b"[]", "must hold an object with a list of captions for each name"),
        (b'{"red.png": "red"}', "must hold an object with a list of captions for each name"),
        (b'{"red.png": [1]}', "must hold an object with a list of captions for each name"),
    ],
)
def test_wrong_references_are_told(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "right.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        _run("pairs.csv", "--references", "right.json")


def test_class_folders_are_scored_by_the_names_of_a_file(tmp_path: Path, capsys: Captured) -> None:
    for folder, color in (("n1", (255, 0, 0)), ("n2", (0, 0, 255))):
        save_image(tmp_path / "ds" / "train" / folder / "a.png", color)
        save_image(tmp_path / "ds" / "val" / folder / "b.png", color)
    (tmp_path / "names.csv").write_text("folder,name\nn1,red\nn2,blue\n")

    assert _run("ds", "--class-names", "names.csv") == 0

    captured = capsys.readouterr()
    lines = [line.split("\t") for line in captured.out.splitlines()]
    assert [caption for _, _, caption in lines] == ["a photo of a red.", "a photo of a blue."]
    expected = [_expected((255, 0, 0), lines[0][2]), _expected((0, 0, 255), lines[1][2])]
    assert [float(fit) for fit, _, _ in lines] == pytest.approx(expected, abs=6e-5)
    assert "ds is divided into splits: ds/train is read, not val" in captured.err
