"""The ladder of adaptation on real images: each rung by shots, and whether its advice holds.

Run as  python benchmarks/ladder.py  [--clip-data FOLDER] with clipkit[evaluate] installed. Sets are
those of few_shot_sets.py with the starter and, with FOLDER, of few_shot_embeddings.py: published
embeddings of OpenAI's CLIP. --advice checks recommendations instead.

Rungs: of each class so many images are drawn to adapt with (three seeds), and the test images are
measured on. Advice: so many images a class are all that a user has; clipkit measures the rungs on
splits of these and recommends one. All rungs are then fitted on all of them and measured on the
test images, which the recommendation has not seen: it holds if its rung is within one standard
error of the best one's accuracy. --seeds draws others.

Shapes: N images, C classes.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from few_shot_embeddings import EmbeddedSet, read_embedded_sets
from few_shot_sets import ImageSet, make_image_sets
from numpy.typing import NDArray
from workplace import Workplace, add_work_options

import clipkit
from clipkit.adaptation.ladder import climb
from clipkit.adaptation.pixel_baseline import PixelBaseline, read_features
from clipkit.adaptation.recommendation import best_rung, recommend
from clipkit.adaptation.results import RungResults, gain
from clipkit.adaptation.rung import Rung, embedding_rungs
from clipkit.adaptation.splits import Split, draw_splits
from clipkit.adaptation.task import AdaptationTask
from clipkit.progress import Callbacks

SHOTS = (1, 2, 4, 8, 16)
SEEDS = (0, 1, 2)
OWNED = (3, 6, 12, 24)  # images a class that a user has, of which a third is measured on
ONE_PROMPT = "a photo of a {}."


@dataclass(frozen=True)
class FewShotTask:
    """Images to draw shots from and images to measure on, embedded by one model."""

    name: str
    task: AdaptationTask
    train: NDArray[np.intp] | None  # None: test images are drawn, half of each class
    features: NDArray[np.float32] | None  # of the small model without the base

    def draw(self, shots: int, seed: int) -> Split | None:
        """Return so many images a class and the test images; None if too few classes have them."""
        labels, train = self.task.labels, self.train
        if train is None:
            counts = np.bincount(labels)
            half = choose_of_each(labels, counts - counts // 2, seed)
            train = np.setdiff1d(np.arange(len(labels)), half)
        test = np.setdiff1d(np.arange(len(labels)), train)
        counts = np.bincount(labels[train], minlength=len(self.task.class_names))
        if np.mean(counts >= shots) < 0.5:
            return None
        return Split(seed, train, test).few(labels, shots)


def choose_of_each(
    labels: NDArray[np.intp], counts: NDArray[np.intp], seed: int
) -> NDArray[np.intp]:
    """Return rows with so many images of each class, (C,), drawn at random."""
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen = [order[labels[order] == label][:count] for label, count in enumerate(counts)]
    return np.sort(np.concatenate(chosen))


def embedded(found: EmbeddedSet) -> FewShotTask:
    """Return published embeddings as a task."""
    task = AdaptationTask(
        tuple(found.class_names),
        found.images,
        found.labels,
        found.texts,
        found.ensemble_texts,
        found.logit_scale,
    )
    return FewShotTask(f"{found.name}, {found.model}", task, found.train, None)


def embed(encoder: clipkit.Encoder, images: ImageSet) -> FewShotTask:
    """Return class folders as a task of the starter."""
    names = images.class_names
    paths, labels = [], []
    for folder in (images.train, images.test):
        for label, name in enumerate(names):
            found = sorted((folder / name).iterdir())
            paths += found
            labels += [label] * len(found)
    single, ensemble = (
        np.asarray(
            clipkit.ZeroShotClassifier(
                encoder, names, templates=templates, domain=domain
            ).class_embeddings
        )
        for templates, domain in ((ONE_PROMPT, None), ("default", images.domain))
    )
    task = AdaptationTask(
        tuple(names),
        np.asarray(encoder.encode_images(paths)),
        np.array(labels),
        single,
        ensemble,
        encoder.logit_scale,
    )
    features = read_features(paths, lambda done, total: None)
    train = np.arange(sum(images.counts(images.train)))
    return FewShotTask(f"{images.name}, starter", task, train, features)


def measure(
    rungs: list[Rung], splits: list[Split], labels: NDArray[np.intp]
) -> dict[str, RungResults]:
    """Return what each rung that can be fitted is worth on the splits."""
    return climb(rungs, splits, labels, Callbacks())


def baseline_of(found: FewShotTask, splits: list[Split]) -> RungResults | None:
    """Return what the small model without the base is worth, if there are pixels."""
    if found.features is None:
        return None
    labels = found.task.labels
    model = PixelBaseline(found.features, labels, len(found.task.class_names))
    return RungResults(tuple(map(model.measure, splits)), tuple(splits), labels)


def rung_rows(found: FewShotTask) -> Iterator[str]:
    """Yield a line a number of shots: the accuracy of each rung, and its spread over the seeds."""
    names = [rung.name for rung in embedding_rungs(found.task)]
    for shots in SHOTS:
        splits = [split for seed in SEEDS if (split := found.draw(shots, seed)) is not None]
        if not splits:
            continue
        results = measure([*embedding_rungs(found.task)], splits, found.task.labels)
        baseline = baseline_of(found, splits)
        cells = [found.name, str(shots)]
        for name in names:
            cells.append(_cell(results.get(name)))
        cells.append(_cell(baseline))
        worst = min(
            gain(results[name], results["prompts"]).mean
            / max(gain(results[name], results["prompts"]).error, 1e-9)
            for name in names[2:]
            if name in results
        )
        cells.append(f"{min(worst, 0):.1f}")
        yield f"| {' | '.join(cells)} |"


def _cell(found: RungResults | None) -> str:
    if found is None:
        return ""
    return f"{100 * np.mean(found.accuracies):.1f} ± {100 * np.std(found.accuracies, ddof=1):.1f}"


@dataclass(frozen=True)
class Advice:
    """A recommendation, and the accuracies of its rung and of the best one on test images."""

    chosen: str
    best: str
    accuracies: tuple[float, float]
    error: float  # standard error of the best one's accuracy
    gap_error: float  # of the difference of the two

    @property
    def holds(self) -> bool:
        """Whether its rung is within one standard error of the best one.

        The larger one: an accuracy of 100 % has none of its own.
        """
        return self._gap <= max(self.error, self.gap_error) + 1e-12

    @property
    def is_tied(self) -> bool:
        """Whether the difference is within its own standard error, which is smaller."""
        return self._gap <= self.gap_error + 1e-12

    @property
    def _gap(self) -> float:
        return self.accuracies[1] - self.accuracies[0]

    def cells(self) -> list[str]:
        """Return it as the cells of a row."""
        shares = [f"{100 * share:.1f}" for share in (*self.accuracies, self.error, self.gap_error)]
        says = ["yes" if found else "no" for found in (self.holds, self.is_tied)]
        return [self.chosen, self.best, *shares, *says]


def advice_rows(found: FewShotTask, seeds: Sequence[int]) -> Iterator[tuple[str, Advice]]:
    """Yield a line a number of images and seed, and the recommendation."""
    labels, names = found.task.labels, found.task.class_names
    rungs: list[Rung] = [*embedding_rungs(found.task)]
    for owned in OWNED:
        for seed in seeds:
            whole = found.draw(owned, seed)
            if whole is None:
                continue
            own = whole.train
            drawn = draw_splits(labels[own], names, SEEDS)
            splits = [Split(one.seed, own[one.train], own[one.test]) for one in drawn]
            results = measure(rungs, splits, labels)
            titles = {rung.name: rung.title for rung in rungs}
            choice = recommend(results, titles, baseline_of(found, splits), ())
            truth = measure(rungs, [whole], labels)
            baseline = baseline_of(found, [whole])
            if baseline is not None:
                truth["pixels"] = baseline
            best = best_rung(truth)
            right = truth[best].per_image
            right = right[~np.isnan(right)]
            advice = Advice(
                choice.name,
                best,
                (truth[choice.name].accuracies[0], truth[best].accuracies[0]),
                float(right.std(ddof=1) / np.sqrt(len(right))),
                gain(truth[best], truth[choice.name]).error,
            )
            cells = [found.name, str(owned), str(seed), *advice.cells()]
            yield f"| {' | '.join(cells)} |", advice


def counts_row(name: str, given: list[Advice]) -> str:
    """Return in how many cases recommendations held, and what they lost."""
    loss = np.mean([one.accuracies[1] - one.accuracies[0] for one in given])
    held, tied = (
        sum(found) for found in zip(*((one.holds, one.is_tied) for one in given), strict=True)
    )
    return f"| {name} | {len(given)} | {held} | {tied} | {100 * loss:.2f} |"


def print_advice(tasks: list[FewShotTask], seeds: Sequence[int]) -> None:
    """Print each recommendation, and how many of each set held."""
    print(
        "| set | a class | seed | recommended | best | it | best | error | of gap | holds | tied |"
    )
    print("|---|--:|--:|---|---|--:|--:|--:|--:|---|---|")
    of_set: dict[str, list[Advice]] = {}
    for task in tasks:
        for line, advice in advice_rows(task, seeds):
            print(line, flush=True)
            of_set.setdefault(task.name, []).append(advice)
    print("\n| set | cases | within an error of the best | of the gap | points lost |")
    print("|---|--:|--:|--:|--:|")
    of_set["all"] = [*chain.from_iterable(of_set.values())]
    for name, given in of_set.items():
        print(counts_row(name, given))


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clip-data", type=Path, metavar="FOLDER")
    parser.add_argument("--advice", action="store_true", help="check recommendations")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of the draws")
    parser.add_argument("--only", metavar="TEXT", default="", help="sets whose name has it")
    add_work_options(parser)
    arguments = parser.parse_args()
    workplace = Workplace.from_options(arguments)
    tasks = (
        [embedded(one) for one in read_embedded_sets(arguments.clip_data)]
        if arguments.clip_data
        else []
    )
    encoder = clipkit.load("starter")
    images = make_image_sets(workplace, arguments.clip_data)
    tasks = [task for task in tasks if arguments.only in task.name]
    tasks += [embed(encoder, one) for one in images if arguments.only in f"{one.name}, starter"]
    if arguments.advice:
        print_advice(tasks, arguments.seeds)
        return
    names = [rung.name for rung in embedding_rungs(tasks[0].task)]
    print(f"| set | shots | {' | '.join(names)} | pixels | worst against prompts, errors |")
    print(f"|---|{'--:|' * (len(names) + 3)}")
    for task in tasks:
        for line in rung_rows(task):
            print(line, flush=True)


if __name__ == "__main__":
    main()
