"""``clipkit explain``: the drawing, what is printed, and what is refused."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clipkit
from clipkit.cli import explain
from tests.cli.conftest import Outcome
from tests.conftest import SAMPLES

CAT = SAMPLES / "cat.jpg"
Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def loaded_once(starter: clipkit.Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "load_encoder", lambda arguments: starter)


def test_a_drawing_is_written_and_replaced_and_the_verdict_printed(
    run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "heat.png"
    for text, status, verdict in (("a cat", 0, "there"), ("a $bicycle_猫", 1, "not there")):
        outcome = run("explain", CAT, text, "-o", out)
        assert outcome.status == status, outcome.err
        assert outcome.out.startswith(f"{text}: {verdict}: ")
        assert outcome.err.endswith(f"wrote {out}\n")
        assert Image.open(out).text["Software"] == "clipkit explain"  # type: ignore[attr-defined]


def test_json_is_what_the_api_returns(run: Run, starter: clipkit.Encoder) -> None:
    outcome = run("explain", CAT, "a cat", "--against", "a dog", "--against", "a bee", "--json")
    found = json.loads(outcome.out)
    expected = clipkit.explain(starter, CAT, "a cat", against=["a dog", "a bee"])
    np.testing.assert_allclose(found["values"], expected.values, atol=1e-4)
    assert found["against"] == ["a dog", "a bee"]


def test_the_map_is_drawn_where_it_lies_and_colours_are_not_stretched(
    starter: clipkit.Encoder,
) -> None:
    found = clipkit.explain(starter, CAT, "a cat")
    there = np.asarray(Image.open(io.BytesIO(clipkit.draw_heat_map(found, CAT))).convert("RGB"))
    absent = clipkit.explain(starter, CAT, "a bicycle")
    cold = np.asarray(Image.open(io.BytesIO(clipkit.draw_heat_map(absent, CAT))).convert("RGB"))
    # The second panel: the same image under bright colours, and under dark ones.
    middle = slice(there.shape[1] * 35 // 100, there.shape[1] * 52 // 100)
    rows = slice(there.shape[0] * 4 // 10, there.shape[0] * 7 // 10)
    assert there[rows, middle].mean() > cold[rows, middle].mean() + 50


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{cat}", "a cat"], "where should the drawing go"),
        (["{cat}", "", "-o", "{tmp}/a.png"], "texts with a word in them, got ''"),
        (["{cat}", "a cat", "-o", "{tmp}/a.jpg"], "ends in .png, got"),
        (["{cat}", "a cat", "-o", "{tmp}/no/a.png"], "there is no folder"),
        (["{cat}", "a cat", "-o", "{tmp}/mine.png"], "say --force to replace it"),
        (["{tmp}/mine.png", "a cat", "-o", "{tmp}/a.png"], "mine.png: "),
        (["{tmp}/none.jpg", "a cat", "-o", "{tmp}/a.png"], "none.jpg: "),
        (["{cat}", "a cat", "--against", "A CAT", "-o", "{tmp}/a.png"], "the same to the model"),
        (["{cat}", "a cat", "--method", "naclip", "-o", "{tmp}/a.png"], "onnx engine"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_nothing_is_written(
    run: Run, tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "mine.png").write_bytes(b"not an image")
    outcome = run("explain", *(word.format(cat=CAT, tmp=tmp_path) for word in words))
    assert outcome.status == 2
    assert message in outcome.err and outcome.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]
    assert (tmp_path / "mine.png").read_bytes() == b"not an image"
