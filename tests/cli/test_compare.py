"""clipkit compare: tables and verdicts for people, JSON for programs, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Outcome

Run = Callable[..., Outcome]


def test_a_model_against_itself_is_noise(run: Run, samples: list[Path]) -> None:
    queries = samples[0].parent / "queries.json"
    words = ("starter", "starter", "--data", samples[0].parent, "--queries", queries)
    outcome = run("compare", *words, "--json")
    assert outcome.status == 0
    found = json.loads(outcome.out)
    assert (found["task"], len(found["models"])) == ("search", 2)
    assert all(entry["difference"]["mean"] == 0 for entry in found["differences"])
    assert "they cannot differ" in outcome.err

    outcome = run("compare", *words)
    assert "size and speed on this machine" in outcome.out
    assert "is noise on 38 queries" in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["starter", "--data", "."], "two models at least, got starter only"),
        (["starter", "starter"], "--data"),
        (["starter", "gone/model", "--data", "."], "gone/model"),
        (["starter", "starter", "--data", "gone"], "gone"),
    ],
)
def test_what_does_not_fit_is_one_line(run: Run, words: list[str], message: str) -> None:
    outcome = run("compare", *words)
    assert outcome.status == 2
    assert outcome.out == ""
    assert message in outcome.err
    assert "Traceback" not in outcome.err
