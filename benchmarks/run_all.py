"""All comparisons with peers, one after another, and a table of what they should reach.

Run as  python benchmarks/run_all.py  with clipkit[torch] installed, on Linux and an idle machine;
`make bench` does so. A comparison that fails is named, and the others still run.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from report import Figure, Report, line, read_figures, result_path, system_load
from workplace import ROOT, Workplace, add_work_options

PIPELINE = "pipeline"
# Which page has the table of which comparisons.
PAGES = {
    ROOT / "docs" / "performance.md": (
        "indexing",
        "million",
        "cold_start",
        "zero_shot",
        "embedding",
        "fidelity",
        "sample_search",
        PIPELINE,
    ),
    ROOT / "docs" / "training.md": (
        "training",
        "training_step",
        "gradient_cache_memory",
        "fine_tuning",
    ),
}
# Of which docs/performance.md tells in tables by hand, with what was chosen and why.
OTHERS = ("outliers", "image_cost")
COMPARISONS = (*(name for names in PAGES.values() for name in names), *OTHERS)
BEGIN, END = "<!-- table of benchmarks/run_all.py -->", "<!-- end of table -->"
_HERE = Path(__file__).parent


def main() -> None:
    """Run, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_work_options(parser)
    parser.add_argument("--only", nargs="+", choices=COMPARISONS, help="some of them")
    parser.add_argument(
        "--write-docs", action="store_true", help="put the tables that are whole into docs/"
    )
    parser.add_argument(
        "--no-run", action="store_true", help="take the results that are there from before"
    )
    arguments = parser.parse_args()
    workplace = Workplace.from_options(arguments)
    names = arguments.only or COMPARISONS
    start = time.perf_counter()
    failed = [] if arguments.no_run else [name for name in names if not run(workplace, name)]
    reports = read_reports(workplace, [name for name in names if name not in failed])
    print(f"\nall of it took {(time.perf_counter() - start) / 60:.0f} minutes\n")
    broken = 0
    for report in reports.values():
        for figure in read_figures(report):
            print(line(figure, is_judged=not report["is_quick"]))
            broken += figure.holds is False and not report["is_quick"]
    print(f"\nbars that do not hold: {broken}")
    if failed:
        print("failed:", ", ".join(failed))
    if arguments.write_docs:
        whole = [page for page, of_page in PAGES.items() if is_whole(reports, of_page)]
        for page in whole:
            write_table(page, {name: reports[name] for name in PAGES[page]})
            print("written:", page.relative_to(ROOT))
        if not whole:
            sys.exit("not written: a page's table is made of whole runs of all it shows")
    sys.exit(1 if failed else 0)


def run(workplace: Workplace, name: str) -> bool:
    """Run one comparison and return whether it ended well."""
    print(f"\n== {name}", flush=True)
    try:
        if name == PIPELINE:
            run_pipeline(workplace)
        else:
            subprocess.run(
                [sys.executable, str(_HERE / f"{name}.py"), *options(workplace)], check=True
            )
    except subprocess.CalledProcessError as error:
        print(f"failed with status {error.returncode}", flush=True)
        return False
    return True


def options(workplace: Workplace) -> list[str]:
    """Return the words that make a comparison work as this one was told to."""
    words = ["--work", str(workplace.directory)]
    if workplace.rounds:
        words += ["--rounds", str(workplace.rounds)]
    return [*words, "--quick"] if workplace.is_quick else words


def run_pipeline(workplace: Workplace) -> None:
    """Run the benchmark of the pipeline, which has no peer, and report as the others do."""
    path = workplace.directory / "results" / "pipeline.part"
    path.parent.mkdir(exist_ok=True)
    large, small = workplace.size(120, 8), workplace.size(480, 32)
    rounds = workplace.num_rounds(3)
    command = [sys.executable, str(_HERE / "pipeline.py"), "--json", str(path)]
    command += ["--work", str(workplace.directory / "photos"), "--rounds", str(rounds)]
    load = system_load()
    subprocess.run([*command, "--large", str(large), "--small", str(small)], check=True)
    outcomes = json.loads(path.read_text())
    path.unlink()
    figures = [
        Figure(
            f"pipeline efficiency, {outcome['images']} photographs",
            [outcome["efficiency_apart"]],
            at_least=0.9,
        )
        for outcome in outcomes
    ]
    Report(PIPELINE, {"outcomes": outcomes}, figures, {"rounds": rounds}).save(workplace, load)


def read_reports(workplace: Workplace, names: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the reports that are there, by name."""
    paths = {name: result_path(workplace, name) for name in names}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.is_file()}


def is_whole(reports: Mapping[str, Mapping[str, Any]], names: Sequence[str]) -> bool:
    """Return whether each of these reports is there and not of a quick run."""
    return all(name in reports and not reports[name]["is_quick"] for name in names)


def write_table(page: Path, reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the table into a page, in place of the one that is there."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"{page} has no {BEGIN} with {END} after it")
    page.write_text(f"{before}{BEGIN}\n{table(reports)}\n{END}{after}")


def table(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Return all figures as a table in Markdown, with machine, date and versions."""
    last = max(reports.values(), key=lambda report: report["date"])
    machine = last["machine"]
    versions: dict[str, str] = {}
    for report in reports.values():
        versions |= report["versions"]
    load = max(report["machine"]["load_before"] for report in reports.values())
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB, "
        f"{machine['system']}; {last['date'][:10]}; load before a comparison {load:.1f} at most.",
        ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + ".",
        "",
        "| | bar | measured | holds |",
        "|---|---|--:|---|",
    ]
    for report in reports.values():
        for figure in read_figures(report):
            verdict = {True: "yes", False: "**no**", None: ""}[figure.holds]
            lines.append(f"| {figure.what} | {figure.bar} | {figure.measured} | {verdict} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
