"""A query of words from a cold start, with models of published sizes, beside open_clip on torch.

Run as  python benchmarks/cold_start.py  with clipkit[torch] installed, on Linux and an idle
machine. It takes a quarter of an hour and 6 GB of disk, most of it for compiling: models are made
one after another with random weights (cold_models.py), and removed. Every query is a process of its
own, timed from its start to its end, with files in the system's file cache: `clipkit search` over
the indexed sample photographs, and for scale a Python that imports open_clip, loads the same
weights and embeds the same words, without any search. Peak memory counts pages of mapped files,
which the system takes back at will; "in no file" is what belongs to the process alone.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cold_models import ARCHITECTURES, cold_model
from made_models import compiled_files
from measured import Run, run
from report import Figure, Report, ratios, system_load, take_turns
from workplace import SAMPLES, Workplace, add_work_options

QUERY = "a red boat on a lake"
ROUNDS = 5
_OPEN_CLIP = """
import sys, open_clip, torch
name, text = sys.argv[1:]
model = open_clip.create_model(name).eval()
tokens = open_clip.get_tokenizer(name)([text])
with torch.inference_mode():
    print(model.encode_text(tokens, normalize=True).shape)
"""


def main() -> None:
    """Make each model, measure, remove it; report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add_work_options(parser)
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--keep", action="store_true", help="keep the models, 2 to 4 GB each")
    options = parser.parse_args()
    workplace = Workplace.from_options(options)
    names = options.only[:1] if workplace.is_quick else options.only
    photos = workplace.directory / "photos" / "samples"
    photos.mkdir(parents=True, exist_ok=True)
    for path in SAMPLES.glob("*.jpg"):
        shutil.copy2(path, photos)
    load, figures, runs = system_load(), [], {}
    starter = take_turns(
        {"clipkit": clipkit_query(photos, "starter")}, workplace.num_rounds(ROUNDS)
    )
    figures += figures_of("starter", starter)
    for architecture in names:
        folder = cold_model(workplace, architecture)
        runs[architecture] = measure(workplace, folder, photos)
        figures += figures_of(architecture, runs[architecture])
        for figure in figures_of(architecture, runs[architecture]):
            print(figure.what, figure.measured, flush=True)
        if not options.keep:
            for directory in (folder, compiled_files(str(folder))[0].parent):
                shutil.rmtree(directory)
    settings = {"query": QUERY, "rounds": workplace.num_rounds(ROUNDS)}
    Report("cold_start", {"starter": starter, **runs}, figures, settings).save(workplace, load)


def measure(workplace: Workplace, folder: Path, photos: Path) -> dict[str, list[Run]]:
    """Return the runs of both programs with a model, which is compiled and has an index before."""
    subprocess.run([sys.executable, "-m", "clipkit", "compile", str(folder)], check=True)
    peer = [sys.executable, "-c", _OPEN_CLIP, f"local-dir:{folder}", QUERY]
    works: dict[str, Callable[[], Run]] = {
        "clipkit": clipkit_query(photos, str(folder)),
        "open_clip": lambda: run(peer, cwd=folder, variables={}),
    }
    return take_turns(works, workplace.num_rounds(ROUNDS))


def clipkit_query(photos: Path, model: str) -> Callable[[], Run]:
    """Return a search of the photographs, which are indexed."""
    command = [sys.executable, "-m", "clipkit"]
    subprocess.run([*command, "index", str(photos), "--model", model], check=True)
    search = [*command, "search", QUERY, str(photos), "--json", "--min-relevance", "0"]
    return lambda: run([*search, "--model", model], cwd=photos, variables={})


def figures_of(name: str, runs: dict[str, list[Run]]) -> list[Figure]:
    """Return seconds and memory of a model, and what clipkit takes of open_clip's."""
    figures = []
    for program, found in runs.items():
        what = f"cold query, {name}: {program}"
        figures.append(Figure(what, [each.seconds for each in found], " s"))
        processor = [each.processor_seconds for each in found]
        figures.append(Figure(f"{what}, processor time", processor, " s"))
        peaks = [each.peak / 1e6 for each in found]
        figures.append(Figure(f"{what}, peak memory", peaks, " MB"))
        own = [each.peak_anonymous / 1e6 for each in found]
        figures.append(Figure(f"{what}, of it in no file", own, " MB"))
    if "open_clip" in runs:
        for quantity, words in (
            ("seconds", "time"),
            ("processor_seconds", "processor time"),
            ("peak", "memory"),
        ):
            both = [[getattr(each, quantity) for each in found] for found in runs.values()]
            what = f"cold query, {name}: {words} beside open_clip's"
            figures.append(Figure(what, ratios(*both), "x"))
    return figures


if __name__ == "__main__":
    main()
