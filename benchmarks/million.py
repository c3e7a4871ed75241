"""A query from a cold start among 62, 100 000 and 1 000 000 made pictures, beside rclip.

Run as  python benchmarks/million.py  with clipkit[torch] installed, on Linux and an idle machine.
It takes ten minutes; with --work DIR what is made (4 GB) is kept, and the next time takes five.

Every query is a process of its own, timed from its start to its end. All take turns: each runs
with its files out of the system's file cache, and once again with them in it. clipkit runs with
its starter, as it comes, and with rclip's architecture and the same random weights, where only
the programs differ. How long the model alone takes is in the table too.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from made_library import compile_towers, make_towers, measure_recall, write_library
from made_pictures import month_glob
from measured import Run, forget_files, run
from rclip_peer import ARCHITECTURE, RclipPeer

from clipkit.models.sources import starter_directory
from clipkit.runtime.bundle import is_bundle
from clipkit.search.location import inner_location

TEXTS = ("a red boat", "my cat asleep", "birthday cake", "snow on a mountain", "an old bicycle")
K = 50
MONTH = 37  # one of 100, so that a filter on it keeps 1 %
SMALL, LARGE, MILLION = 62, 100_000, 1_000_000
ALONE = "model alone"
STARTER, SAME, RCLIP = "clipkit, starter", "clipkit, rclip's model", "rclip"
BARS = (
    f"bars: {LARGE:,} pictures in at most .30 of rclip's seconds and .40 of its memory; "
    f"{MILLION:,} in at most 2 seconds, with a recall@{K} of at least .99"
)
_TEXT = "{text}"  # stands for the words of a query in a command
_MODEL_ALONE = "import sys, clipkit; clipkit.load(sys.argv[1]).encode_texts(sys.argv[2:])"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Case:
    """A command to be timed."""

    program: str
    task: str
    command: Sequence[str]
    files: Sequence[Path]  # what it reads, but for the programs themselves
    cwd: Path
    variables: dict[str, str] = field(default_factory=dict)  # of its environment


@dataclass(frozen=True)
class Timing:
    """The runs of one case, one a round."""

    program: str
    task: str
    uncached: list[Run] = field(default_factory=list)  # with its files out of the file cache
    cached: list[Run] = field(default_factory=list)  # with its files in it


def main() -> None:
    """Make what is missing, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="keep what is made in this directory")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each command (default 5)")
    parser.add_argument("--json", action="store_true", help="print all of it as one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (arguments.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        cases = [*clipkit_cases(work), *rclip_cases(work)]
        folder = folder_of(work, STARTER, MILLION)
        recalls = apart(measure_recall, MILLION, folder, "starter", K, MONTH)
        load = os.getloadavg()[0]
        timings = measure(cases, arguments.rounds, work / "bytecode")
    if arguments.json:
        report = {"load": load, "recall": recalls, "timings": [asdict(one) for one in timings]}
        print(json.dumps(report))
        return
    print(f"{arguments.rounds} rounds on {os.cpu_count()} cores, load before them {load:.1f}")
    print_timings(timings)
    print_ratios(timings)
    for kind, recall in recalls.items():
        print(f"recall@{K} among {MILLION:,}, {kind}: {recall:.4f}")
    print(BARS)


def clipkit_cases(work: Path) -> list[Case]:
    """Return clipkit's commands, with everything in place that they need."""
    towers, compiled = work / "towers.pt", work / ARCHITECTURE
    if not towers.exists():
        apart(make_towers, ARCHITECTURE, towers)
    if not is_bundle(compiled):
        apart(compile_towers, ARCHITECTURE, towers, compiled)
    search = [sys.executable, "-m", "clipkit", "search", _TEXT]
    options = ["--no-indexing", "--json", "-t", str(K), "--min-relevance", "0", "--model"]
    cases = []
    for program, model, directory, sizes in (
        (STARTER, "starter", starter_directory(), (SMALL, LARGE, MILLION)),
        (SAME, str(compiled), compiled, (SMALL, LARGE)),
    ):
        weights = [path for path in directory.iterdir() if path.is_file()]
        alone = [sys.executable, "-c", _MODEL_ALONE, model, _TEXT]
        cases.append(Case(program, ALONE, alone, weights, work))
        for num in sizes:
            folder = folder_of(work, program, num)
            if not inner_location(folder).exists():
                apart(write_library, num, folder, model)
            command = [*search, str(folder), *options, model]
            files = [*weights, *inner_location(folder).iterdir()]
            cases.append(Case(program, f"{num:,} pictures", command, files, work))
            if num == MILLION:
                command = [*command, "--path", month_glob(MONTH)]
                cases.append(Case(program, f"1 % of {num:,}", command, files, work))
    return cases


def rclip_cases(work: Path) -> list[Case]:
    """Return rclip's commands, with everything in place that they need."""
    peer = RclipPeer(work / "rclip")
    peer.install()
    apart(peer.export_model, work / "towers.pt")
    cases = []
    for num in (SMALL, LARGE):
        folder = folder_of(work, SAME, num)
        peer.fill(num, folder)
        commands = {f"{num:,} pictures": peer.query_command(_TEXT, k=K)}
        if num == SMALL:
            commands = {ALONE: peer.model_command(_TEXT), **commands}
        for task, command in commands.items():
            case = Case(RCLIP, task, command, peer.files(num), folder, peer.variables(num))
            cases.append(case)
    return cases


def folder_of(work: Path, program: str, num: int) -> Path:
    """Return the folder of made pictures that a program searches."""
    return work / f"{'starter' if program == STARTER else 'same'}-{num}"


def apart(task: Callable[..., Result], *arguments: object) -> Result:
    """Return the result of a task, done in a process of its own: this one stays small."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(task, *arguments).result()


def measure(cases: Sequence[Case], rounds: int, bytecode: Path) -> list[Timing]:
    """Return the runs of every case, which take turns.

    Args:
        cases: The commands.
        rounds: How many runs each has, after one that is not counted.
        bytecode: Where Python keeps compiled modules, also if the environment forbids it: what a
            user has installed is compiled.

    Returns:
        One entry a case.

    Raises:
        RuntimeError: If a search does not print K results.
    """
    everywhere = {"PYTHONPYCACHEPREFIX": str(bytecode), "PYTHONDONTWRITEBYTECODE": ""}
    timings = [Timing(case.program, case.task) for case in cases]
    for number in range(rounds + 1):
        text = TEXTS[number % len(TEXTS)]
        for case, timing in zip(cases, timings, strict=True):
            command = [text if word == _TEXT else word for word in case.command]
            forget_files(case.files)
            for runs in (timing.uncached, timing.cached):
                measured = run(command, cwd=case.cwd, variables=case.variables | everywhere)
                if len(measured.output) != (0 if case.task == ALONE else K):
                    raise RuntimeError(f"{command} printed {len(measured.output)} lines")
                if number:
                    runs.append(measured)
    return timings


def print_timings(timings: Sequence[Timing]) -> None:
    """Print a line a case: medians with the smallest and largest, memory in MB."""
    print(row("", "seconds", "uncached", "processor", "MB", "in no file"))
    for timing in timings:
        cells = [
            spread(getattr(run, name) for run in runs)
            for name, runs in (
                ("seconds", timing.cached),
                ("seconds", timing.uncached),
                ("processor_seconds", timing.cached),
            )
        ]
        for name in ("peak", "peak_anonymous"):
            cells.append(
                f"{statistics.median(getattr(run, name) for run in timing.cached) / 1e6:.0f}"
            )
        print(row(f"{timing.program}: {timing.task}", *cells))


def print_ratios(timings: Sequence[Timing]) -> None:
    """Print what clipkit takes of what rclip takes, from pairs of runs of one round."""
    by_case = {(timing.program, timing.task): timing for timing in timings}
    print(row("parts of rclip's", "seconds", "uncached", "processor", "MB"))
    for program in (STARTER, SAME):
        for task in (ALONE, f"{SMALL:,} pictures", f"{LARGE:,} pictures"):
            ours, theirs = by_case[program, task], by_case[RCLIP, task]
            cached = list(zip(ours.cached, theirs.cached, strict=True))
            uncached = list(zip(ours.uncached, theirs.uncached, strict=True))
            cells = [
                spread(getattr(one, name) / getattr(other, name) for one, other in pairs)
                for name, pairs in (
                    ("seconds", cached),
                    ("seconds", uncached),
                    ("processor_seconds", cached),
                    ("peak", cached),
                )
            ]
            print(row(f"{program}: {task}", *cells))


def row(name: str, *cells: str) -> str:
    """Return a line of a table."""
    return f"{name:42}" + "".join(f"{cell:>20}" for cell in cells)


def spread(values: Iterable[float]) -> str:
    """Return the median with the smallest and the largest value."""
    ordered = sorted(values)
    return f"{statistics.median(ordered):.2f} ({ordered[0]:.2f}-{ordered[-1]:.2f})"


if __name__ == "__main__":
    main()
