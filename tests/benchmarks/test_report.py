"""What a benchmark says of its own measurements. The measurements are not repeated here."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.conftest import Load

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def report(load_benchmark: Load) -> Any:
    return load_benchmark("report")


@pytest.fixture
def run_all(load_benchmark: Load) -> Any:
    return load_benchmark("run_all")


@pytest.mark.parametrize(
    ("values", "bar", "holds"),
    [
        ([3.0, 3.5, 9.0], {"at_least": 3.5}, True),
        ([3.0, 3.4, 9.0], {"at_least": 3.5}, False),
        ([0.1, 0.3, 0.9], {"at_most": 0.3}, True),
        ([0.1, 0.31, 0.9], {"at_most": 0.3}, False),
        ([0.0], {"at_most": 0}, True),
        ([1.0], {}, None),
    ],
)
def test_the_median_is_held_against_the_bar(
    report: Any, values: list[float], bar: dict[str, float], holds: bool | None
) -> None:
    assert report.Figure("a speed", values, **bar).holds is holds


def test_ratios_are_of_the_same_round(report: Any) -> None:
    assert report.ratios([8.0, 3.0], [2.0, 6.0]) == [4.0, 0.5]
    with pytest.raises(ValueError, match="shorter"):
        report.ratios([1.0, 2.0], [1.0])


def test_programs_take_turns_and_the_first_round_does_not_count(report: Any) -> None:
    asked: list[str] = []

    def work(name: str) -> int:
        asked.append(name)
        return len(asked)

    found = report.take_turns({"a": lambda: work("a"), "b": lambda: work("b")}, 2)
    assert asked == ["b", "a", "a", "b", "b", "a"]
    assert found == {"a": [3, 6], "b": [4, 5]}


def test_the_table_replaces_the_one_on_the_page(run_all: Any, report: Any, tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{run_all.BEGIN}\nyesterday\n{run_all.END}\nafter\n")
    figures = [
        {"what": "a ratio", "values": [2.0, 4.0, 3.0], "unit": "x", "at_least": 5, "at_most": None}
    ]
    content = {
        "date": "2026-01-02T03:04:05+00:00",
        "machine": {
            "processor": "P",
            "cores": 2,
            "memory_gb": 8.2,
            "system": "S",
            "load_before": 0.5,
        },
        "versions": {"clipkit": "1"},
        "figures": figures,
    }
    run_all.write_table(page, {"one": json.loads(json.dumps(content))})
    after = page.read_text()
    assert after.startswith("before\n")
    assert after.endswith("\nafter\n")
    assert "yesterday" not in after
    assert "| a ratio | at least 5x | 3.00x (2.00-4.00) | **no** |" in after
    assert "2026-01-02" in after


def test_every_page_has_a_place_for_its_table_and_every_comparison_is_a_script(
    run_all: Any,
) -> None:
    for page, names in run_all.PAGES.items():
        _, _, rest = page.read_text().partition(run_all.BEGIN)
        assert run_all.END in rest
        assert [name for name in names if not (BENCHMARKS / f"{name}.py").is_file()] == []


def test_a_table_is_written_of_whole_runs_only(run_all: Any) -> None:
    whole, quick = {"is_quick": False}, {"is_quick": True}
    assert run_all.is_whole({"a": whole, "b": whole, "c": quick}, ["a", "b"])
    assert not run_all.is_whole({"a": whole, "b": quick}, ["a", "b"])
    assert not run_all.is_whole({"a": whole}, ["a", "b"])
