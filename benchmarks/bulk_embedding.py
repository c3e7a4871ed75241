"""Embedding a folder into files: Ray's actors beside one process, and a worker that is killed.

Run as  python benchmarks/bulk_embedding.py  with clipkit[torch,ray] installed, on Linux. ViT-B/32
with random weights, 500-pixel JPEGs. Each run is a process of its own into a new folder. The pace
is that between the first file and the last, without starting Ray and loading the model. Every run
must write the same bytes. Then Ray's workers are at it again and one of them is killed: how many
parts are done again, and that the files are the same.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from made_models import compiled_model
from made_photos import SMALL, link_photos, make_photos
from measured import Run, run
from report import Figure, Report, ratios, system_load, take_turns
from workplace import Workplace

ARCHITECTURE = "ViT-B-32"
LOCAL, RAY = "one process", "Ray, 2 actors"
OPTIONS = {LOCAL: (), RAY: ("--engine", "ray", "--workers", "2")}
INDEX = "clipkit index"
ROUNDS = 3


@dataclass(frozen=True)
class Embedding:
    """One run."""

    run: Run
    pace: float  # images a second between the first file and the last
    start: float  # seconds until the first file


def main() -> None:
    """Make what is missing, measure, report."""
    workplace = Workplace.from_command_line(__doc__)
    rounds = workplace.num_rounds(ROUNDS)
    num, part_size = workplace.size(704, 24), workplace.size(32, 2)
    photos = workplace.directory / "photos"
    paths = make_photos(SMALL, num, photos / SMALL.name)
    folder = photos / f"{SMALL.name}-{num}"
    link_photos(paths, folder)
    model = compiled_model(workplace, ARCHITECTURE)
    out = workplace.directory / "embeddings"
    load = system_load()
    written: dict[str, bytes] = {}

    def embed(engine: str) -> Embedding:
        shutil.rmtree(out, ignore_errors=True)
        begun = time.time()
        measured = run(command(model, folder, out, engine, part_size), cwd=folder, variables={})
        found = vectors(out)
        if written and written != found:
            raise RuntimeError(f"{engine} has written other bytes than the run before")
        written.update(found)
        times = sorted((out / name).stat().st_mtime for name in found)
        return Embedding(measured, (num - part_size) / (times[-1] - times[0]), times[0] - begun)

    def index() -> Run:
        words = [sys.executable, "-m", "clipkit", "index", str(folder), "--model", model]
        run([*words[:5], "--forget"], cwd=folder, variables={})
        return run(words, cwd=folder, variables={})

    runs = take_turns({LOCAL: lambda: embed(LOCAL), RAY: lambda: embed(RAY)}, rounds)
    indexed = take_turns({INDEX: index}, rounds)[INDEX]
    killed = kill_a_worker(command(model, folder, out, RAY, part_size), out)
    if vectors(out) != written:
        raise RuntimeError("after a kill the files are others")
    figures = make_figures(runs, indexed)
    figures.append(Figure("parts done again after the kill of a worker", [killed], ""))
    settings = {"images": num, "rounds": rounds, "part_size": part_size}
    report = Report("bulk_embedding", {**runs, INDEX: indexed}, figures, settings)
    report.save(workplace, load)


def command(model: str, folder: Path, out: Path, engine: str, part_size: int) -> list[str]:
    """Return the command that embeds a folder."""
    words = ("embed", str(folder), str(out), "--model", model, "--part-size", str(part_size))
    return [sys.executable, "-m", "clipkit", *words, "--json", *OPTIONS[engine]]


def vectors(out: Path) -> dict[str, bytes]:
    """Return the files of vectors."""
    return {path.name: path.read_bytes() for path in sorted(out.glob("part-*.parquet"))}


def kill_a_worker(words: list[str], out: Path) -> int:
    """Kill one of Ray's workers in the middle; return how many parts were done once more."""
    shutil.rmtree(out, ignore_errors=True)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None:
        marks = sorted((out / "begun").glob("*.json"))
        if marks and len(vectors(out)) >= 2:
            with suppress(OSError):  # that part was done at this moment
                os.kill(json.loads(marks[0].read_text())["pid"], signal.SIGKILL)
                break
        time.sleep(0.01)
    output, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"after the kill Ray failed: {errors}")
    return int(json.loads(output)["num_retried"])


def make_figures(runs: dict[str, list[Embedding]], indexed: list[Run]) -> list[Figure]:
    """Return the paces, and how they compare."""
    paces = {name: [each.pace for each in found] for name, found in runs.items()}
    figures = [
        Figure(
            "embed with Ray's 2 actors: pace beside one process",
            ratios(paces[RAY], paces[LOCAL]),
            "x",
        )
    ]
    for name, found in runs.items():
        figures.append(Figure(f"{SMALL.name} JPEGs: {name}", paces[name], "/s"))
        figures.append(
            Figure(f"until the first file: {name}", [each.start for each in found], " s")
        )
        figures.append(Figure(f"all of it: {name}", [each.run.seconds for each in found], " s"))
    figures.append(Figure(f"all of it: {INDEX}", [each.seconds for each in indexed], " s"))
    local = [each.run.processor_seconds for each in runs[LOCAL]]
    figures.append(Figure(f"processor seconds: {LOCAL}", local, " s"))
    figures.append(
        Figure(f"processor seconds: {INDEX}", [each.processor_seconds for each in indexed], " s")
    )
    return figures


if __name__ == "__main__":
    main()
