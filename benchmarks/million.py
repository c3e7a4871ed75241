"""A query from a cold start among 62, 100 000 and 1 000 000 made images, beside rclip.

Run as  python benchmarks/million.py  with clipkit[torch] installed, on Linux and an idle machine.
It takes ten minutes and keeps what it makes (4 GB): the next time takes five. With --ten-million
there is a library of 10 000 000 too, which takes ten minutes more and 10 GB; a machine that has
less memory than that free cannot keep it in its file cache.

Every query is a process of its own, timed from its start to its end. All take turns: each runs
with its files out of the system's file cache, and once again with them in it. clipkit runs with
its starter, as it comes, and with rclip's architecture and the same random weights, where only
the programs differ. How long the model alone takes is in the table too.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from made_images import month_glob
from made_library import measure_recall, write_library
from made_models import compiled_files, compiled_model, random_weights, space_of
from measured import Run, forget_files, run
from rclip_peer import ARCHITECTURE, REQUIREMENT, RclipPeer
from report import Figure, Report, ratios, system_load
from workplace import Workplace, add_work_options, apart

from clipkit.search.location import inner_location

TEXTS = ("a red boat", "my cat asleep", "birthday cake", "snow on a mountain", "an old bicycle")
K = 50
ROUNDS = 5
MONTH = 37  # one of 100, so that a filter on it keeps 1 %
ALONE = "model alone"
STARTER, SAME, RCLIP = "clipkit, starter", "clipkit, rclip's model", "rclip"
_TEXT = "{text}"  # stands for the words of a query in a command
_MODEL_ALONE = "import sys, clipkit; clipkit.load(sys.argv[1]).encode_texts(sys.argv[2:])"


@dataclass(frozen=True)
class Sizes:
    """How many images the libraries have."""

    small: int = 62
    large: int = 100_000
    million: int = 1_000_000  # clipkit with its starter alone
    largest: int | None = None  # as the million


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
    add_work_options(parser)
    parser.add_argument("--ten-million", action="store_true", help="among 10 000 000 images too")
    arguments = parser.parse_args()
    workplace = Workplace.from_options(arguments)
    rounds = workplace.num_rounds(ROUNDS)
    largest = workplace.size(10_000_000, 20_000) if arguments.ten_million else None
    sizes = Sizes(62, 2_000, 5_000, largest) if workplace.is_quick else Sizes(largest=largest)
    cases = [*clipkit_cases(workplace, sizes), *rclip_cases(workplace, sizes)]
    folder = library_folder(workplace, "starter", sizes.million)
    recalls = apart(measure_recall, sizes.million, folder, "starter", K, MONTH)
    load = system_load()
    timings = measure(cases, rounds)
    print(f"{rounds} rounds on {os.cpu_count()} cores, load before them {load:.1f}")
    print_timings(timings)
    print_ratios(timings, sizes)
    report = Report(
        "million",
        {f"{one.program}: {one.task}": vars(one) for one in timings},
        query_figures(timings, recalls, sizes),
        {"architecture of rclip's model": ARCHITECTURE, "rounds": rounds, "k": K},
        dict([REQUIREMENT.split("==")]),
    )
    report.save(workplace, load)


def clipkit_cases(workplace: Workplace, sizes: Sizes) -> list[Case]:
    """Return clipkit's commands, with everything in place that they need."""
    search = [sys.executable, "-m", "clipkit", "search", _TEXT]
    options = ["--no-indexing", "--json", "-t", str(K), "--min-relevance", "0", "--model"]
    cases = []
    same = compiled_model(workplace, ARCHITECTURE)
    largest = () if sizes.largest is None else (sizes.largest,)
    for program, model, nums in (
        (STARTER, "starter", (sizes.small, sizes.large, sizes.million, *largest)),
        (SAME, same, (sizes.small, sizes.large)),
    ):
        weights = [path for path in compiled_files(model) if path.is_file()]
        alone = [sys.executable, "-c", _MODEL_ALONE, model, _TEXT]
        cases.append(Case(program, ALONE, alone, weights, workplace.directory))
        for num in nums:
            folder = library_folder(workplace, model, num)
            if not inner_location(folder).exists():
                print(f"making a library of {num:,} images", flush=True)
                apart(write_library, num, folder, model)
            command = [*search, str(folder), *options, model]
            files = [*weights, *inner_location(folder).iterdir()]
            cases.append(Case(program, f"{num:,} images", command, files, workplace.directory))
            if num in (sizes.million, sizes.largest):
                command = [*command, "--path", month_glob(MONTH)]
                task = f"1 % of {num:,}"
                cases.append(Case(program, task, command, files, workplace.directory))
    return cases


def rclip_cases(workplace: Workplace, sizes: Sizes) -> list[Case]:
    """Return rclip's commands, with everything in place that they need."""
    peer = RclipPeer(workplace)
    peer.prepare(random_weights(workplace, ARCHITECTURE))
    model = compiled_model(workplace, ARCHITECTURE)
    cases = []
    for num in (sizes.small, sizes.large):
        folder = library_folder(workplace, model, num)
        data = peer.fill(num, folder)
        commands = {f"{num:,} images": peer.query_command(_TEXT, k=K)}
        if num == sizes.small:
            commands = {ALONE: peer.model_command(_TEXT), **commands}
        for task, command in commands.items():
            case = Case(RCLIP, task, command, peer.files(data), folder, peer.variables(data))
            cases.append(case)
    return cases


def library_folder(workplace: Workplace, model: str, num: int) -> Path:
    """Return the folder of made images that are indexed with a model."""
    return workplace.directory / "libraries" / f"{space_of(model)}-{num}"


def measure(cases: Sequence[Case], rounds: int) -> list[Timing]:
    """Return the runs of every case, which take turns.

    Args:
        cases: The commands.
        rounds: How many runs each has, after one that is not counted.

    Returns:
        One entry a case.

    Raises:
        RuntimeError: If a search does not print K results.
    """
    timings = [Timing(case.program, case.task) for case in cases]
    for number in range(rounds + 1):
        text = TEXTS[number % len(TEXTS)]
        for case, timing in zip(cases, timings, strict=True):
            command = [text if word == _TEXT else word for word in case.command]
            forget_files(case.files)
            for runs in (timing.uncached, timing.cached):
                measured = run(command, cwd=case.cwd, variables=case.variables)
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


def query_figures(
    timings: Sequence[Timing], recalls: dict[str, float], sizes: Sizes
) -> list[Figure]:
    """Return what the bars are about."""
    by_case = {(timing.program, timing.task): timing for timing in timings}
    task = f"{sizes.large:,} images"
    theirs = by_case[RCLIP, task]
    figures = []
    for program in (STARTER, SAME):
        ours = by_case[program, task]
        for name, quantity, is_cached, bar in (
            ("seconds", "time", True, 0.3),
            ("seconds", "time, uncached", False, 0.3),
            ("peak", "memory", True, 0.4),
        ):
            values = [
                [getattr(each, name) for each in (one.cached if is_cached else one.uncached)]
                for one in (ours, theirs)
            ]
            what = f"cold query, {task} ({program}): {quantity} beside rclip's"
            figures.append(Figure(what, ratios(*values), "x", at_most=bar))
    for num, bar, uncached_bar in ((sizes.million, 0.3, 2.0), (sizes.largest, 2.0, None)):
        if num is None:
            continue
        task = f"{num:,} images"
        timing = by_case[STARTER, task]
        seconds = [each.seconds for each in timing.cached]
        figures.append(Figure(f"cold query, {task}, cached", seconds, " s", at_most=bar))
        seconds = [each.seconds for each in timing.uncached]
        what = f"cold query, {task}, uncached"
        figures.append(Figure(what, seconds, " s", at_most=uncached_bar))
        smaller = by_case[STARTER, f"{sizes.large:,} images"]
        peaks = [[each.peak for each in one.cached] for one in (timing, smaller)]
        what = f"memory among {task} beside among {sizes.large:,}"
        figures.append(Figure(what, ratios(*peaks), "x", at_most=1.1))
    task = f"{sizes.million:,} images"
    for kind, recall in recalls.items():
        what = f"recall@{K} against exact, {task}, {kind}"
        figures.append(Figure(what, [recall], at_least=0.99))
    return figures


def print_ratios(timings: Sequence[Timing], sizes: Sizes) -> None:
    """Print what clipkit takes of what rclip takes, from pairs of runs of one round."""
    by_case = {(timing.program, timing.task): timing for timing in timings}
    print(row("parts of rclip's", "seconds", "uncached", "processor", "MB"))
    for program in (STARTER, SAME):
        for task in (ALONE, f"{sizes.small:,} images", f"{sizes.large:,} images"):
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
