"""The results of a benchmark: every measurement as JSON, and a line for each figure."""

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TypeVar

from workplace import Workplace

Measurement = TypeVar("Measurement")

_OWN_PACKAGES = ("clipkit", "numpy", "onnxruntime", "open_clip_torch", "pillow", "torch")
_VERSIONS = (
    "import json, sys; from importlib.metadata import version; "
    "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
)


@dataclass(frozen=True)
class Figure:
    """One quantity, measured in each round, and what it should be."""

    what: str
    values: list[float]
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None

    @property
    def median(self) -> float:
        """What is compared with the bar."""
        return statistics.median(self.values)

    @property
    def holds(self) -> bool | None:
        """Whether it reaches its bar; None if it has none."""
        if self.at_least is not None:
            return self.median >= self.at_least
        return None if self.at_most is None else self.median <= self.at_most

    @property
    def bar(self) -> str:
        """The bar in words, empty if there is none."""
        if self.at_least is not None:
            return f"at least {self.at_least:g}{self.unit}"
        return "" if self.at_most is None else f"at most {self.at_most:g}{self.unit}"

    @property
    def measured(self) -> str:
        """The median, with the smallest and the largest value if there are several."""
        low, high = min(self.values), max(self.values)
        spread = f" ({_digits(low)}-{_digits(high)})" if len(self.values) > 1 else ""
        return f"{_digits(self.median)}{self.unit}{spread}"


@dataclass(frozen=True)
class Report:
    """Everything that one benchmark measured."""

    name: str
    measurements: Mapping[str, object]  # anything that JSON has a form for
    figures: Sequence[Figure]
    settings: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)  # of the peers

    def save(self, workplace: Workplace, load: float) -> None:
        """Write it as results/NAME.json, and print its figures.

        Args:
            workplace: Where to.
            load: What `system_load` returned before the measurements.
        """
        path = result_path(workplace, self.name)
        path.parent.mkdir(exist_ok=True)
        content = {
            "name": self.name,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "is_quick": workplace.is_quick,
            "machine": machine() | {"load_before": load},
            "versions": own_versions() | dict(self.versions),
            "settings": dict(self.settings),
            "figures": [_as_json(figure) for figure in self.figures],
            "measurements": self.measurements,
        }
        path.write_text(json.dumps(content, indent=1, default=asdict) + "\n")
        for figure in self.figures:
            print(line(figure, is_judged=not workplace.is_quick))
        print(f"all of it: {path}", flush=True)


def take_turns(
    works: Mapping[str, Callable[[], Measurement]], rounds: int
) -> dict[str, list[Measurement]]:
    """Return what each piece of work measured, once a round.

    In every second round they come in reverse, so that none is always the one after another.

    Args:
        works: By the name of the program.
        rounds: How many are counted, after one that is not.

    Returns:
        Measurements in the order of the rounds.
    """
    found: dict[str, list[Measurement]] = {name: [] for name in works}
    for number in range(rounds + 1):
        names = list(works) if number % 2 else list(reversed(works))
        for name in names:
            measurement = works[name]()
            if number:
                found[name].append(measurement)
    return found


def ratios(ones: Iterable[float], others: Iterable[float]) -> list[float]:
    """Return one divided by the other, for measurements of the same round."""
    return [one / other for one, other in zip(ones, others, strict=True)]


def result_path(workplace: Workplace, name: str) -> Path:
    """Return where the report of a benchmark lies."""
    return workplace.directory / "results" / f"{name}.json"


def read_figures(content: Mapping[str, object]) -> list[Figure]:
    """Return the figures of a report that was read from its file."""
    figures = content["figures"]
    assert isinstance(figures, list)
    names = ("what", "values", "unit", "at_least", "at_most")
    return [Figure(**{name: entry[name] for name in names}) for entry in figures]


def line(figure: Figure, *, is_judged: bool) -> str:
    """Return a figure as one line of text, with the verdict unless the run was a quick one."""
    verdict = {True: "holds", False: "DOES NOT HOLD", None: ""}[figure.holds if is_judged else None]
    return f"{figure.what:94} {figure.measured:24} {figure.bar:14} {verdict}".rstrip()


def own_versions() -> dict[str, str]:
    """Return the versions of Python, clipkit and what it computes with."""
    versions = {"python": platform.python_version()}
    return versions | {name: metadata.version(name) for name in _OWN_PACKAGES}


def versions_in(python: Path, packages: Sequence[str]) -> dict[str, str]:
    """Return the versions of packages in a peer's environment."""
    command = [str(python), "-c", _VERSIONS, *packages]
    found: dict[str, str] = json.loads(
        subprocess.run(command, check=True, capture_output=True).stdout
    )
    return found


def system_load() -> float:
    """Return how many processes have been busy in the last minute; 0 where the system hides it."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def machine() -> dict[str, object]:
    """Return what the machine is."""
    import psutil

    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    if sys.platform == "linux":
        for entry in Path("/proc/cpuinfo").read_text().splitlines():
            if entry.startswith("model name"):
                return entry.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _digits(value: float) -> str:
    """Return a number with three digits or so, and with more where it is almost 1."""
    if 0.99 <= value < 1.0001:
        return f"{value:.5f}"
    if abs(value) < 0.1:
        return f"{value:.2g}"
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"


def _as_json(figure: Figure) -> dict[str, object]:
    return asdict(figure) | {"median": figure.median, "holds": figure.holds}
