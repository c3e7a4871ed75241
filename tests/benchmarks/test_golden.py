"""What the table of published numbers compares, and with what. No weights, no images."""

import importlib
import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from clipkit.models.sources import resolve_source

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # its files import each other as scripts do
    return importlib.import_module


@pytest.mark.parametrize(
    ("got", "options", "verdict"),
    [
        ([1.0, 2.0009], {"atol": 1e-3}, "holds"),
        ([1.0, 2.0011], {"atol": 1e-3}, "DOES NOT HOLD"),
        ([1.0, 2.002], {"rtol": 1e-3}, "holds"),
        ([1.0, 2.0], {}, "holds"),
        ([1.0, 2.0000001], {}, "DOES NOT HOLD"),
        ([1.0], {"atol": 1.0}, "DOES NOT HOLD"),
        ([math.nan, 2.0], {"atol": 1.0}, "DOES NOT HOLD"),
        ([5.0, 6.0], {"or_expected": [5.0, 6.0]}, "holds"),
        ([5.0, 2.0], {"or_expected": [5.0, 6.0]}, "DOES NOT HOLD"),
        ("weights are not here", {}, "weights are not here"),
    ],
)
def test_numbers_hold_within_the_tolerance_of_their_source(
    benchmark: Any, got: Any, options: dict[str, Any], verdict: str
) -> None:
    line = benchmark("golden_line").Line("a logit", [1.0, 2.0], got, **options)
    assert line.verdict == verdict
    assert str(line).endswith(f"| {verdict} |")


def test_the_summary_counts_every_line(benchmark: Any) -> None:
    golden_line = benchmark("golden_line")
    lines = [golden_line.Line("a", [1.0], got) for got in ([1.0], [2.0], "no image", [1.0])]
    assert golden_line.summarize(lines) == "2 holds; 1 DOES NOT HOLD; 1 no image"


def test_the_table_of_numbers_is_well_formed(benchmark: Any) -> None:
    golden_numbers = benchmark("golden_numbers")
    for one in golden_numbers.GOLDEN:
        assert resolve_source(one.model).name == one.model
        assert one.measure in get_args(golden_numbers.Measure)
        assert one.source
        assert one.atol > 0
        assert bool(one.image) != (one.measure in ("unit text", "raw text", "raw texts, sums"))
        if one.measure in ("probabilities", "logits", "logits, softmaxed", "raw texts, sums"):
            assert len(one.values) == len(one.texts) > 1
        assert len(one.or_values) in (0, len(one.values))
    whole = [(one.model, one.measure, one.image) for one in golden_numbers.GOLDEN]
    assert len(set(whole)) == len(whole)
    assert set(benchmark("golden_models").MEASURES) == set(get_args(golden_numbers.Measure))


def test_numbers_of_the_table_follow_from_each_other(benchmark: Any) -> None:
    goldens = benchmark("golden_numbers").GOLDEN
    lines = benchmark("golden_stored").check_against_each_other(goldens)
    assert [str(line) for line in lines if not line.holds] == []
    assert len(lines) > 5


def test_results_of_queries_are_plain_sums_or_do_not_hold(benchmark: Any) -> None:
    golden_rclip = benchmark("golden_rclip")
    names = [f"{place}.jpg" for place in range(12)] + ["bee.jpg"]
    draw = np.random.default_rng(0)
    cosines = {
        part: draw.uniform(0.1, 0.3, len(names))
        for part in ("kitty", "puppy", "roof", "fence", "night", "cat", "bee", "cat.jpg")
    }
    cosines["kitty"] = np.linspace(0.3, 0.1, len(names))
    cosines["bee"][-1] = 0.274

    def listed(scores: Any) -> dict[str, float]:
        order = np.argsort(-scores)
        return {names[place]: round(float(scores[place]), 3) for place in order}

    queries = benchmark("golden_numbers").RCLIP_QUERIES
    plain = {
        name: listed(sum(weight * cosines[part] for part, weight in parts.items()))
        for name, parts in queries.items()
    }
    lines = golden_rclip.check_sums(plain)
    assert [str(line) for line in lines if not line.holds] == []
    halved = {image: score / 2 for image, score in plain["add_queries"].items()}  # of norm 1
    assert any(not line.holds for line in golden_rclip.check_sums(plain | {"add_queries": halved}))


def test_an_image_is_in_the_folder_or_given_or_missing(benchmark: Any, tmp_path: Path) -> None:
    golden_models = benchmark("golden_models")
    (tmp_path / "here.jpg").touch()
    pictures = golden_models.Pictures(tmp_path, {"--cats-image": tmp_path / "cats.jpg"})
    assert pictures.path("here.jpg") == tmp_path / "here.jpg"
    assert pictures.path("--cats-image") == tmp_path / "cats.jpg"
    assert pictures.path("gone.jpg") == "image is not here: gone.jpg"
    assert pictures.path("--pokemon-image") == "image is not here: give --pokemon-image FILE"


def test_probabilities_are_softmax_or_sigmoid_of_logits(benchmark: Any) -> None:
    golden_models = benchmark("golden_models")
    assert golden_models.softmax([0.0, math.log(3)]).tolist() == pytest.approx([0.25, 0.75])
    assert golden_models.softmax([1000.0, 0.0]).tolist() == [1.0, 0.0]
    assert golden_models.sigmoid([0.0, math.log(3)]).tolist() == pytest.approx([0.5, 0.75])
