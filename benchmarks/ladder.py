"""The ladder of adaptation on real images: each rung by shots, and whether its advice holds.

Run as  python benchmarks/ladder.py  [--clip-data FOLDER] with clipkit[evaluate] installed. Sets are
those of few_shot_sets.py with the starter and, with FOLDER, of few_shot_embeddings.py: published
embeddings of OpenAI's CLIP. --advice checks recommendations instead.

Rungs: of each class so many images are drawn to adapt with (three seeds), and the test images are
measured on. Advice: so many images a class are all that a user has; clipkit measures the rungs on
splits of these and recommends one. All rungs are then fitted on all of them and measured on the
test images, which the recommendation has not seen: it holds if its rung is within one standard
error of the best one's accuracy. What is typical of each rung, by which clipkit chooses, comes from
other draws (FITTED_ON): it is printed, and beside the recommendations by clipkit's own values those
are counted that are made by what the other sets say. --seeds draws others.

Shapes: N images, C classes.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
from clipkit.adaptation.recommendation import TYPICAL, best_rung, choose
from clipkit.adaptation.results import RungResults, gain
from clipkit.adaptation.rung import Rung, embedding_rungs
from clipkit.adaptation.splits import Split, draw_splits
from clipkit.adaptation.task import AdaptationTask
from clipkit.progress import Callbacks

SHOTS = (1, 2, 4, 8, 16)
SEEDS = (0, 1, 2)
FITTED_ON, REPORTED = (0, 1, 2), tuple(range(3, 12))  # seeds of the draws, for advice
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


@dataclass(frozen=True)
class OwnedImages:
    """So many images a class that a user has, and what all rungs are worth on the test images."""

    task: FewShotTask
    shots: int
    whole: Split
    truth: dict[str, RungResults]

    def measured(self) -> dict[str, RungResults]:
        """Return what clipkit measures of the rungs, and of the small model, on splits of them."""
        labels, own = self.task.task.labels, self.whole.train
        drawn = draw_splits(labels[own], self.task.task.class_names, SEEDS)
        return _all_measured(
            self.task, [Split(one.seed, own[one.train], own[one.test]) for one in drawn]
        )

    def advice(self, chosen: str) -> Advice:
        """Return what a recommendation is worth."""
        best = best_rung(self.truth)
        right = self.truth[best].per_image
        right = right[~np.isnan(right)]
        return Advice(
            chosen,
            best,
            (self.truth[chosen].accuracies[0], self.truth[best].accuracies[0]),
            float(right.std(ddof=1) / np.sqrt(len(right))),
            gain(self.truth[best], self.truth[chosen]).error,
        )


def draw_owned(task: FewShotTask, seeds: Sequence[int]) -> Iterator[OwnedImages]:
    """Yield images that users may have, and what the rungs are worth to them."""
    for owned in OWNED:
        for seed in seeds:
            whole = task.draw(owned, seed)
            if whole is not None:
                yield OwnedImages(task, owned, whole, _all_measured(task, [whole]))


def _all_measured(task: FewShotTask, splits: list[Split]) -> dict[str, RungResults]:
    found = measure([*embedding_rungs(task.task)], splits, task.task.labels)
    baseline = baseline_of(task, splits)
    return found if baseline is None else {**found, "pixels": baseline}


def typical_of(given: Sequence[OwnedImages]) -> dict[str, float]:
    """Return by how much each rung's accuracy on test images is above the mean of the heads.

    Heads are those that can always be fitted.
    """
    differences = defaultdict(list)
    for one in given:
        shares = {name: found.accuracies[0] for name, found in one.truth.items()}
        level = np.mean([shares[name] for name in ("tip-adapter", "ss-text", "adapter", "probe")])
        for name, share in shares.items():
            differences[name].append(share - level)
    return {name: float(np.mean(found)) for name, found in differences.items()}


def counts_row(name: str, *given: Sequence[Advice]) -> str:
    """Return in how many cases recommendations of each kind held, and what they lost."""
    cells = [name, str(len(given[0]))]
    for advices in given:
        loss = np.mean([one.accuracies[1] - one.accuracies[0] for one in advices])
        held, tied = (
            sum(found) for found in zip(*((one.holds, one.is_tied) for one in advices), strict=True)
        )
        cells += [str(held), str(tied), f"{100 * loss:.2f}"]
    return f"| {' | '.join(cells)} |"


def print_advice(tasks: list[FewShotTask], seeds: Sequence[int]) -> None:
    """Print each recommendation, and how many of each set held."""
    earlier = {task.name: [*draw_owned(task, FITTED_ON)] for task in tasks}
    for name, share in typical_of([*chain.from_iterable(earlier.values())]).items():
        print(f"typical of {name}: {share:+.3f} (clipkit's own: {TYPICAL[name]:+.2f})")
    print(
        "\n| set | a class | seed | typical by | recommended | best | it | best | error | of gap "
        "| holds | tied |"
    )
    print("|---|--:|--:|---|---|---|--:|--:|--:|--:|---|---|")
    own: dict[str, list[Advice]] = {}
    other: dict[str, list[Advice]] = {}
    for task in tasks:
        others = [one for name, found in earlier.items() if name != task.name for one in found]
        kinds: list[tuple[str, Mapping[str, float], dict[str, list[Advice]]]] = [
            ("clipkit", TYPICAL, own)
        ]
        if others:
            kinds.append(("other sets", typical_of(others), other))
        for owned in draw_owned(task, seeds):
            measured = owned.measured()
            baseline = measured.pop("pixels", None)
            for kind, typical, found in kinds:
                advice = owned.advice(choose(measured, baseline, typical))
                found.setdefault(task.name, []).append(advice)
                cells = [task.name, str(owned.shots), str(owned.whole.seed), kind, *advice.cells()]
                print(f"| {' | '.join(cells)} |", flush=True)
    print(
        "\n| set | cases | holds | of the gap | points lost "
        "| by other sets: holds | of the gap | points lost |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for found in (own, other):
        found["all"] = [*chain.from_iterable(found.values())]
    for name in own:
        print(counts_row(name, own[name], *([other[name]] if other.get(name) else [])))


def main() -> None:
    """Print one of the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clip-data", type=Path, metavar="FOLDER")
    parser.add_argument("--advice", action="store_true", help="check recommendations")
    parser.add_argument("--seeds", type=int, nargs="+", default=REPORTED, help="of the draws")
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
