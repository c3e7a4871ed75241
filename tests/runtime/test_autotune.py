"""The trial: what is chosen for which times, and what is remembered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from clipkit.progress import usable_cores
from clipkit.runtime.autotune import (
    Trial,
    choose_fastest,
    processor,
    remembered_trial,
    trial_key,
)


@dataclass
class Machine:
    """A clock that goes on only when something is computed."""

    now: float = 0.0
    calls: list[str] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def call(self, name: str, *seconds: float) -> Callable[[], None]:
        """Return a call that takes these times in turn, the last one for ever."""
        left = list(seconds)

        def run() -> None:
            self.calls.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("fp32", "bf16", "int8", "chosen"),
    [
        (1.0, 0.5, 0.25, "int8"),
        (1.0, 0.25, 0.5, "bf16"),
        (1.0, 0.9375, 2.0, "fp32"),  # a gain, but of less than a tenth
        (1.0, 0.875, 2.0, "bf16"),
        (1.0, 2.0, 3.0, "fp32"),
    ],
)
def test_the_fastest_wins_if_it_gains_a_tenth(
    machine: Machine, fp32: float, bf16: float, int8: float, chosen: str
) -> None:
    times = {"fp32": fp32, "bf16": bf16, "int8": int8}
    result = choose_fastest(
        {name: machine.call(name, seconds) for name, seconds in times.items()},
        key="k",
        clock=machine.clock,
    )
    assert result == Trial(chosen, times)


def test_candidates_are_called_in_turn_until_the_time_is_used_up(machine: Machine) -> None:
    result = choose_fastest(
        {"a": machine.call("a", 1.0), "b": machine.call("b", 0.5)},
        key="k",
        seconds=7.0,
        clock=machine.clock,
    )
    # 1.5 s for the first calls, then 1.5 s a round: after the fourth round 7.5 s have passed
    assert machine.calls == ["a", "b", "a", "b", "b", "a", "a", "b", "b", "a"]
    assert result.chosen == "b"


def test_first_calls_and_disturbed_ones_do_not_count(
    machine: Machine,
) -> None:
    result = choose_fastest(
        {"a": machine.call("a", 8.0, 1.0), "b": machine.call("b", 16.0, 32.0, 8.0, 0.5)},
        key="k",
        seconds=1.0,
        clock=machine.clock,
    )
    assert result == Trial("b", {"a": 1.0, "b": 0.5})


def test_slow_candidates_get_three_rounds_and_hopeless_ones_none(machine: Machine) -> None:
    result = choose_fastest(
        {
            "a": machine.call("a", 4.0),
            "b": machine.call("b", 3.0),
            "c": machine.call("c", 17.0),
        },
        key="k",
        seconds=1.0,
        clock=machine.clock,
    )
    assert machine.calls == ["a", "b", "c", "a", "b", "b", "a", "a", "b"]
    assert result == Trial("b", {"a": 4.0, "b": 3.0}, {"c": "its first call took 17 s"})


def test_who_fails_the_check_is_passed_over_with_the_reason(machine: Machine) -> None:
    asked: list[str] = []

    def check(name: str) -> str | None:
        asked.append(name)
        return "mean cosine 0.9" if name == "c" else None

    times = {"a": 1.0, "b": 0.5, "c": 0.25, "d": 0.75}
    result = choose_fastest(
        {name: machine.call(name, seconds) for name, seconds in times.items()},
        key="k",
        check=check,
        clock=machine.clock,
    )
    assert result == Trial("b", times, {"c": "mean cosine 0.9"})
    assert asked == ["c", "b"]  # neither the safest nor what would not be chosen
    assert str(result) == (
        "b (a 1000 ms, b 500 ms, c 250 ms, d 750 ms a call; not c: mean cosine 0.9)"
    )


def test_who_raises_is_refused_but_the_first_may_not(machine: Machine) -> None:
    def fail() -> None:
        raise NotImplementedError("no such kernel")

    result = choose_fastest({"a": machine.call("a", 1.0), "b": fail}, key="k", clock=machine.clock)
    assert result == Trial("a", {"a": 1.0}, {"b": "NotImplementedError: no such kernel"})
    with pytest.raises(NotImplementedError):
        choose_fastest({"b": fail, "a": machine.call("a", 1.0)}, key="k2", clock=machine.clock)
    assert remembered_trial("k2") is None


def _never() -> None:
    raise AssertionError("a remembered trial is not run again")


def test_a_trial_is_remembered_by_its_key(machine: Machine) -> None:
    assert remembered_trial("k") is None
    first = choose_fastest(
        {"a": machine.call("a", 1.0), "b": machine.call("b", 0.5)}, key="k", clock=machine.clock
    )
    assert remembered_trial("k") == first
    assert choose_fastest({"a": _never, "b": _never}, key="k") == first
    assert remembered_trial("another") is None
    # what was chosen then is no longer offered
    again = choose_fastest({"a": machine.call("a", 1.0)}, key="k", clock=machine.clock)
    assert again == Trial("a", {"a": 1.0}) == remembered_trial("k")


@pytest.mark.parametrize(
    "damage",
    ["", "{", "[]", "{}", '{"key": "k"}', '{"key": "other", "chosen": "a", "seconds": {}}'],
)
def test_a_damaged_memory_is_none_and_is_replaced(
    machine: Machine, home: Path, damage: str
) -> None:
    candidates = {"a": machine.call("a", 1.0)}
    choose_fastest(candidates, key="k", clock=machine.clock)
    (place,) = (home / "cache" / "trials").iterdir()
    place.write_text(damage)
    assert remembered_trial("k") is None
    choose_fastest(candidates, key="k", clock=machine.clock)
    assert remembered_trial("k") == Trial("a", {"a": 1.0})
    assert [path.name for path in place.parent.iterdir()] == [place.name]  # no drafts are left


def test_a_machine_that_cannot_remember_still_chooses(machine: Machine, home: Path) -> None:
    (home / "cache").write_text("a file in the way")
    assert choose_fastest({"a": machine.call("a", 1.0)}, key="k", clock=machine.clock).chosen == "a"
    assert remembered_trial("k") is None


def test_a_key_names_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    key = trial_key("precision", "0123")
    assert key == f"precision | 0123 | {processor()} | {usable_cores()} cores"
    assert processor()
    monkeypatch.setattr("clipkit.runtime.autotune.usable_cores", lambda: 1000)
    assert trial_key("precision", "0123") != key
