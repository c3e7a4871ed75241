"""The steps of the ladder that train the model, beside the others: accuracy, forgetting, minutes.

Run as  python benchmarks/trained_rungs.py  with clipkit[torch,evaluate] installed. On two cores
each training takes minutes, and what was measured is kept in clipkit's cache. --set changes the
training: with a high learning rate the model forgets, and is not recommended. Images are those of
few_shot_sets.py, so many a class to adapt with, and the model is the starter.
"""

import argparse
from pathlib import Path

from few_shot_sets import ImageSet, make_image_sets
from workplace import Workplace, add_work_options

import clipkit


def measure(
    encoder: clipkit.Encoder, images: ImageSet, arguments: argparse.Namespace
) -> clipkit.AdaptationReport:
    """Return the whole ladder on a set."""
    options = clipkit.AdaptationOptions(
        test=images.test,
        shots=arguments.shots,
        seeds=tuple(range(arguments.seeds)),
        domain=images.domain,
        last_step=6,
        training=tuple(arguments.training),
        curve=False,
    )
    return clipkit.adapt(encoder, images.train, options)


def rows(name: str, report: clipkit.AdaptationReport) -> list[str]:
    """Return a line a rung: accuracy, what is kept and forgotten, minutes."""
    lines = []
    for rung in (*report.rungs, report.baseline):
        if rung is None or rung.accuracy is None:
            continue
        mark = " (recommended)" if rung.name == report.recommended else ""
        kept = "" if rung.kept is None else f"{100 * rung.kept:.1f}"
        forgot = "" if rung.kept is None else f"{100 * rung.forgot:.2f}"
        cells = [name, f"{rung.title}{mark}"]
        cells += [f"{100 * rung.accuracy:.1f} ± {100 * (rung.spread or 0):.1f}", kept, forgot]
        cells.append(f"{(rung.seconds or 0) / 60:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", metavar="TEXT", default="", help="sets whose name has it")
    parser.add_argument("--shots", type=int, default=4, help="images a class (default: 4)")
    parser.add_argument("--seeds", type=int, default=3, help="splits (default: 3)")
    parser.add_argument(
        "--set", action="append", default=[], dest="training", metavar="KEY=VALUE", help="a setting"
    )
    parser.add_argument("--clip-data", type=Path, metavar="FOLDER", help="for CIFAR-10")
    add_work_options(parser)
    arguments = parser.parse_args()
    encoder = clipkit.load("starter")
    print("| set | rung | accuracy | kept | less probable | minutes |")
    print("|---|---|--:|--:|--:|--:|")
    for images in make_image_sets(Workplace.from_options(arguments), arguments.clip_data):
        if arguments.only not in images.name:
            continue
        report = measure(encoder, images, arguments)
        print("\n".join(rows(images.name, report)), flush=True)
        print(f"\n{report.recommendation}\n", flush=True)


if __name__ == "__main__":
    main()
