"""Indexing folders of 12-megapixel photographs, beside rclip and clip-retrieval.

Run as  python benchmarks/indexing.py  with clipkit[torch] installed, on Linux. All three have the
same architecture with the same random weights; clipkit's starter is there for information. Each run
is a process of its own over a folder that has no index; models are on the disk, exported or
compiled. clip-retrieval only embeds: what it needs for a query besides is not measured.

Speed: how many images a large folder has more than a small one, divided by the seconds that it
takes longer: starting, loading the model and the query are in both. The small one has a few: of
one image clipkit's engine would not be loaded whole. A first index: a
query over 60 images, from the process's start to its answer, with models and images out of
the system's file cache. With a model that clipkit has never seen, it compiles it first: that is
measured once.
"""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clip_retrieval_peer import REQUIREMENTS, ClipRetrievalPeer
from made_models import compiled_files, compiled_model, random_weights
from made_photos import LARGE, link_photos, make_photos
from measured import Run, forget_files, run
from rclip_peer import ARCHITECTURE, REQUIREMENT, RclipPeer
from report import Figure, Report, ratios, system_load, take_turns
from workplace import Workplace

RCLIP, RETRIEVAL, SAME, STARTER = "rclip", "clip-retrieval", "clipkit", "clipkit, starter"
QUERY = "a red boat"
K = 10
ROUNDS = 4
FIRST = 60  # images of a first index
FEW = 8


@dataclass(frozen=True)
class Folders:
    """Folders of photographs, the same files in all."""

    few: Path
    first: Path
    all: Path
    num_few: int
    num_first: int
    num_all: int


def main() -> None:
    """Make what is missing, measure, report."""
    workplace = Workplace.from_command_line(__doc__)
    rounds = workplace.num_rounds(ROUNDS)
    folders = make_folders(workplace)
    model = compiled_model(workplace, ARCHITECTURE)
    peer = RclipPeer(workplace)
    peer.prepare(random_weights(workplace, ARCHITECTURE))
    retrieval = ClipRetrievalPeer(workplace, ARCHITECTURE, random_weights(workplace, ARCHITECTURE))
    data = peer.data_directory("photos")
    weights = {RCLIP: peer.files(data), SAME: compiled_files(model)}
    load = system_load()

    def rclip(folder: Path) -> Run:
        peer.forget(data)
        command = peer.query_command(QUERY, k=K, is_indexing=True)
        return run(command, cwd=folder, variables=peer.variables(data))

    def index(name: str, folder: Path) -> Run:
        forget_index(folder)
        command = clipkit("index", str(folder), "--model", name)
        return run(command, cwd=folder, variables={})

    def first(program: str) -> Run:
        folder = folders.first
        forget_index(folder)
        forget_files([*weights[program], *folder.iterdir()])
        measured = rclip(folder) if program == RCLIP else search(model, folder)
        check_found(measured, min(K, folders.num_first))
        return measured

    runs = {
        "few images": take_turns(
            {
                RCLIP: lambda: rclip(folders.few),
                RETRIEVAL: lambda: retrieval.embed(folders.few),
                SAME: lambda: index(model, folders.few),
                STARTER: lambda: index("starter", folders.few),
            },
            rounds,
        ),
        "all images": take_turns(
            {
                RCLIP: lambda: rclip(folders.all),
                RETRIEVAL: lambda: retrieval.embed(folders.all),
                SAME: lambda: index(model, folders.all),
                STARTER: lambda: index("starter", folders.all),
            },
            rounds,
        ),
        "a first index": take_turns(
            {name: lambda name=name: first(name) for name in weights}, rounds
        ),
    }
    compiling = first_index_with_compiling(workplace, model, folders.first)
    figures = speed_figures(runs["few images"], runs["all images"], folders)
    figures += first_figures(runs["a first index"], compiling, folders.num_first)
    report = Report(
        "indexing",
        {**runs, "a first index with compiling": compiling},
        figures,
        {"architecture": ARCHITECTURE, "images": folders.num_all, "rounds": rounds},
        dict(each.split("==") for each in (REQUIREMENT, REQUIREMENTS[0])),
    )
    report.save(workplace, load)


def make_folders(workplace: Workplace) -> Folders:
    """Make the photographs and the folders, which hold links to them."""
    nums = workplace.size(FEW, 2), workplace.size(FIRST, 4), workplace.size(120, 8)
    photos = workplace.directory / "photos"
    paths = make_photos(LARGE, max(nums), photos / LARGE.name)
    found = []
    for num in nums:
        folder = photos / f"{LARGE.name}-{num}"
        link_photos(paths[:num], folder)
        found.append(folder)
    return Folders(*found, *nums)


def clipkit(*words: str) -> list[str]:
    """Return a command of clipkit's."""
    return [sys.executable, "-m", "clipkit", *words]


def forget_index(folder: Path) -> None:
    """Delete clipkit's index of a folder."""
    run(clipkit("index", str(folder), "--forget"), cwd=folder, variables={})


def search(model: str, folder: Path, **variables: str) -> Run:
    """Run a query over a folder, which is indexed if it has no index."""
    words = ("search", QUERY, str(folder), "--filepath-only", "-t", str(K))
    command = clipkit(*words, "--min-relevance", "0", "--model", model)
    return run(command, cwd=folder, variables=variables)


def check_found(measured: Run, num: int) -> None:
    """Raise unless so many images were found."""
    if len(measured.output) != num:
        raise RuntimeError(f"{num} results expected, got {measured.output}")


def first_index_with_compiling(workplace: Workplace, model: str, folder: Path) -> Run:
    """Run a query with a model that clipkit has never seen over a folder without index."""
    home = workplace.directory / "empty-home"
    shutil.rmtree(home, ignore_errors=True)
    try:
        return search(model, folder, CLIPKIT_HOME=str(home))
    finally:
        shutil.rmtree(home, ignore_errors=True)


def speed_figures(
    few: dict[str, list[Run]], every: dict[str, list[Run]], folders: Folders
) -> list[Figure]:
    """Return the speeds, and how they compare with rclip's."""
    num = folders.num_all
    steady = {
        name: [
            (whole.seconds - start.seconds) / (num - folders.num_few)
            for start, whole in zip(few[name], runs, strict=True)
        ]
        for name, runs in every.items()
    }
    what = f"index a folder of {LARGE.name} JPEGs, same architecture: speed beside rclip's"
    figures = [Figure(what, ratios(steady[RCLIP], steady[SAME]), "x", at_least=3.5)]
    whole = {name: [each.seconds for each in runs] for name, runs in every.items()}
    what = f"the same with start and loading, {num} images: speed beside rclip's"
    figures.append(Figure(what, ratios(whole[RCLIP], whole[SAME]), "x"))
    what = "the same beside clip-retrieval's, which embeds and indexes nothing"
    figures.append(Figure(what, ratios(steady[RETRIEVAL], steady[SAME]), "x"))
    what = "the same with the starter instead: speed beside rclip's"
    figures.append(Figure(what, ratios(steady[RCLIP], steady[STARTER]), "x"))
    for name, values in steady.items():
        figures.append(Figure(f"index {LARGE.name} JPEGs: {name}", invert(values), "/s"))
    for name, runs in every.items():
        peaks = [each.peak / 1e6 for each in runs]
        figures.append(Figure(f"memory of indexing {num} images: {name}", peaks, " MB"))
    return figures


def first_figures(runs: dict[str, list[Run]], compiling: Run, num: int) -> list[Figure]:
    """Return how long a first index takes, and how that compares with rclip's."""
    seconds = {name: [each.seconds for each in every] for name, every in runs.items()}
    what = f"the same from a cold start with {num} images: speed beside rclip's"
    figures = [Figure(what, ratios(seconds[RCLIP], seconds[SAME]), "x", at_least=2)]
    for name, values in seconds.items():
        figures.append(Figure(f"query over {num} images without index: {name}", values, " s"))
    what = f"query over {num} images without index: clipkit, compiling included"
    figures.append(Figure(what, [compiling.seconds], " s"))
    return figures


def invert(values: Sequence[float]) -> list[float]:
    """Return one divided by each."""
    return [1 / value for value in values]


if __name__ == "__main__":
    main()
