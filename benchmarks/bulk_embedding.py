"""Embedding a folder into files: Ray's actors beside one process, and a worker that is killed.

Run as  python benchmarks/bulk_embedding.py  with clipkit[torch,ray] installed, on Linux. ViT-B/32
with random weights, 500-pixel JPEGs. Each run is a process of its own into a new folder. Speed: how
many images the large folder has more than the small one, divided by the seconds that it takes
longer, so that starting Ray and loading the model are in neither. Every run must write the same
bytes. Then Ray's workers are at it again and one of them is killed: how many parts are done again,
and that the files are the same.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
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


def main() -> None:
    """Make what is missing, measure, report."""
    workplace = Workplace.from_command_line(__doc__)
    rounds = workplace.num_rounds(ROUNDS)
    num_few, num_all = workplace.size(64, 8), workplace.size(704, 24)
    part_size = workplace.size(32, 2)
    photos = workplace.directory / "photos"
    paths = make_photos(SMALL, num_all, photos / SMALL.name)
    few, everything = photos / f"{SMALL.name}-{num_few}", photos / f"{SMALL.name}-{num_all}"
    link_photos(paths[:num_few], few)
    link_photos(paths, everything)
    model = compiled_model(workplace, ARCHITECTURE)
    out = workplace.directory / "embeddings"
    load = system_load()
    written: dict[Path, dict[str, bytes]] = {}

    def embed(engine: str, folder: Path) -> Run:
        shutil.rmtree(out, ignore_errors=True)
        measured = run(command(model, folder, out, engine, part_size), cwd=folder, variables={})
        found = vectors(out)
        if written.setdefault(folder, found) != found:
            raise RuntimeError(f"{engine} has written other bytes than the run before")
        return measured

    def index(folder: Path) -> Run:
        words = ("-m", "clipkit", "index", str(folder), "--model", model)
        run([sys.executable, *words[:4], "--forget"], cwd=folder, variables={})
        return run([sys.executable, *words], cwd=folder, variables={})

    runs = {
        name: take_turns(
            {
                LOCAL: lambda folder=folder: embed(LOCAL, folder),
                RAY: lambda folder=folder: embed(RAY, folder),
                INDEX: lambda folder=folder: index(folder),
            },
            rounds,
        )
        for name, folder in (("few images", few), ("all images", everything))
    }
    killed = kill_a_worker(command(model, everything, out, RAY, part_size), out)
    if vectors(out) != written[everything]:
        raise RuntimeError("after a kill the files are others")
    figures = speed_figures(runs, num_all - num_few)
    figures.append(Figure("parts done again after the kill of a worker", [killed], ""))
    settings = {"images": num_all, "rounds": rounds, "part_size": part_size}
    Report("bulk_embedding", runs, figures, settings).save(workplace, load)


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


def speed_figures(runs: dict[str, dict[str, list[Run]]], num: int) -> list[Figure]:
    """Return the speeds, and how they compare."""
    steady = {
        name: [
            num / (whole.seconds - start.seconds)
            for start, whole in zip(runs["few images"][name], runs["all images"][name], strict=True)
        ]
        for name in (LOCAL, RAY, INDEX)
    }
    figures = [
        Figure(
            "embed with Ray's 2 actors: speed beside one process",
            ratios(steady[RAY], steady[LOCAL]),
            "x",
        ),
        Figure(
            "embed in one process: speed beside indexing", ratios(steady[LOCAL], steady[INDEX]), "x"
        ),
    ]
    figures += [
        Figure(f"{SMALL.name} JPEGs: {name}", values, "/s") for name, values in steady.items()
    ]
    figures += [
        Figure(f"start, load and {name}, few images", [each.seconds for each in found], " s")
        for name, found in runs["few images"].items()
    ]
    return figures


if __name__ == "__main__":
    main()
