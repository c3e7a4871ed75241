"""A cold search of the sample photographs, as a user types it, beside rclip's.

Run as  python benchmarks/sample_search.py  with clipkit[torch] installed, on Linux. clipkit has its
starter, rclip its architecture with random weights. Both indexes are up to date, and both look
whether they are. Every query is a process of its own; rounds have different queries.
"""

import sys

from made_models import random_weights
from measured import Run, run
from rclip_peer import ARCHITECTURE, REQUIREMENT, RclipPeer
from report import Figure, Report, ratios, system_load, take_turns
from workplace import SAMPLES, Workplace

QUERIES = ("a cat", "a red boat", "an old castle", "something to eat", "a bird on water")
K = 10
ROUNDS = 11
CLIPKIT, RCLIP = "clipkit", "rclip"
_REPORT = "imported:"
_LISTING = f"""
import atexit, sys
atexit.register(lambda: print({_REPORT!r}, *sorted({{m.partition(".")[0] for m in sys.modules}})))
from clipkit.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
HEAVY = ("torch", "torchvision", "open_clip", "gradio", "transformers")


def main() -> None:
    """Index both, measure, report."""
    workplace = Workplace.from_command_line(__doc__)
    rounds = workplace.num_rounds(ROUNDS)
    peer = RclipPeer(workplace)
    peer.prepare(random_weights(workplace, ARCHITECTURE))
    data = peer.data_directory("samples")
    asked = dict.fromkeys((CLIPKIT, RCLIP), 0)
    words = [str(SAMPLES), "--filepath-only", "-t", str(K), "--min-relevance", "0"]

    def search(program: str) -> Run:
        query = QUERIES[asked[program] % len(QUERIES)]
        asked[program] += 1
        if program == RCLIP:
            command = peer.query_command(query, k=K, is_indexing=True)
        else:
            command = [sys.executable, "-m", "clipkit", "search", query, *words]
        variables = peer.variables(data) if program == RCLIP else {}
        measured = run(command, cwd=SAMPLES, variables=variables)
        if len(measured.output) != K:
            raise RuntimeError(f"{command} printed {measured.output}")
        return measured

    for program in asked:  # makes the index
        search(program)
    load = system_load()
    runs = take_turns({name: lambda name=name: search(name) for name in asked}, rounds)
    listing = [sys.executable, "-c", _LISTING, "search", QUERIES[0], *words]
    last = run(listing, cwd=SAMPLES, variables={}).output[-1]
    packages = last.removeprefix(_REPORT).split()
    seconds = {name: [each.seconds for each in every] for name, every in runs.items()}
    what = "cold search of the sample folder with the starter: time beside rclip's"
    figures = [Figure(what, ratios(seconds[CLIPKIT], seconds[RCLIP]), "x", at_most=1)]
    for name, values in seconds.items():
        figures.append(Figure(f"cold search of the sample folder: {name}", values, " s"))
    what = f"of {', '.join(HEAVY)} imported by it"
    figures.append(Figure(what, [len(set(HEAVY) & set(packages))], at_most=0))
    print("imported:", *(name for name in packages if not name.startswith("_")))
    settings = {"architecture of rclip's model": ARCHITECTURE, "rounds": rounds}
    measurements = {**runs, "imported packages": packages}
    versions = dict([REQUIREMENT.split("==")])
    Report("sample_search", measurements, figures, settings, versions).save(workplace, load)


if __name__ == "__main__":
    main()
