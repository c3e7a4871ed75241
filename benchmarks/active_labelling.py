"""Which images to label next: ways of choosing against random choice, on real images.

Run as  python benchmarks/active_labelling.py  [--clip-data FOLDER] with clipkit[evaluate].
Sets are those of ladder.py. Twenty images at a time are chosen from a pool and labelled, and a head
of the ladder is fitted on all labelled ones and measured on the test images, which nothing else
sees: with 20, 40 and 80 labels, starting from none (class names alone) and from one a class. A seed
draws four fifths of the images to learn from as the pool, and the first labels. Figures are how
sure the model was of the images left to choose from, the accuracy with random choice, and what each
way has over that with the same pool and first labels: mean over the seeds and standard error.

--fit prints the figures that clipkit's own constants were chosen by, of other seeds and three sets.

Shapes: M images of the pool, N labelled ones, C classes, D dimensions.
"""

import argparse
import functools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from few_shot_embeddings import read_embedded_sets
from few_shot_sets import make_image_sets
from ladder import FewShotTask, choose_of_each, embed, embedded
from numpy.typing import NDArray
from workplace import Workplace, add_work_options

import clipkit
from clipkit.adaptation import next_labels
from clipkit.adaptation.closed_form import fit_discriminant
from clipkit.adaptation.labelling import class_probabilities
from clipkit.adaptation.next_labels import choose_next, doubt
from clipkit.adaptation.probe import text_probe
from clipkit.adaptation.support import Support
from clipkit.embeddings import Embeddings

BUDGETS = (20, 40, 80)
BATCH = 20
POOL_SHARE = 0.8  # of the images to learn from, so that seeds have different pools
SEEDS, FIT_SEEDS = range(10), range(100, 110)
PROBE_STRENGTH = 30.0
FIT_SETS = ("digits, starter", "stamps, starter", "CIFAR-10, starter")
FIT_GRID = [(reach, noise) for reach in (0.5, 1.0, 2.0) for noise in (0.03, 0.1, 0.3)]


def accuracy_of(support: Support, images: Embeddings, labels: NDArray[np.intp]) -> float:
    """Return the accuracy on test images, the mean of two of the ladder's classifiers."""
    classifiers = (fit_discriminant(support).classifier, text_probe(support, PROBE_STRENGTH))
    right = [one.logits(images).argmax(axis=1) == labels for one in classifiers]
    return float(np.mean(right))


@dataclass(frozen=True)
class Situation:
    """What a way of choosing may look at."""

    pool: Embeddings  # of the images without a label, (M, D)
    support: Support  # what is labelled so far, perhaps nothing
    rng: np.random.Generator

    @property
    def labelled(self) -> Embeddings:
        """Embeddings of the labelled images, (N, D)."""
        return self.support.embeddings

    @functools.cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Of the classes, by what is labelled so far, (M, C)."""
        return class_probabilities(self.support, self.pool)

    @property
    def closeness(self) -> NDArray[np.float64]:
        """1 less the margin between the two most likely classes, (M,)."""
        best = np.sort(self.probabilities, axis=1)[:, -2:]
        return 1 - (best[:, 1] - best[:, 0])


Way = Callable[[Situation], NDArray[np.intp]]
"""Returns BATCH rows of the pool."""


def at_random(found: Situation) -> NDArray[np.intp]:
    """Draw any."""
    return found.rng.permutation(len(found.pool))[:BATCH]


def by_doubt(found: Situation) -> NDArray[np.intp]:
    """Take those of the smallest margin."""
    return np.argsort(-found.closeness, kind="stable")[:BATCH]


def by_distance(found: Situation) -> NDArray[np.intp]:
    """Take what is farthest from all that is labelled or taken (k-center, "coreset")."""
    return _farthest(found, np.ones(len(found.pool)))


def by_doubt_and_distance(found: Situation) -> NDArray[np.intp]:
    """Take the greatest product of doubt and distance from all that is labelled or taken."""
    return _farthest(found, found.closeness)


def _farthest(found: Situation, weights: NDArray[np.float64]) -> NDArray[np.intp]:
    distances = np.full(len(found.pool), 2.0)
    if len(found.labelled):
        distances = 2 - 2 * (found.pool @ found.labelled.T).max(axis=1)
    chosen: list[int] = []
    for _ in range(BATCH):
        scores = weights * distances
        scores[chosen] = -1
        chosen.append(int(scores.argmax()))
        distances = np.minimum(distances, 2 - 2 * found.pool @ found.pool[chosen[-1]])
    return np.array(chosen)


def by_clusters(found: Situation) -> NDArray[np.intp]:
    """Take the most typical image of the largest clusters without a label (TypiClust).

    Source:
        Hacohen et al. 2022, "Active Learning on a Budget" (arXiv 2202.02794); there typicality is
        over 20 neighbours, here over the cluster.
    """
    from sklearn.cluster import KMeans

    rows = np.concatenate([found.pool, found.labelled])
    size = min(len(found.labelled) + BATCH, len(rows) - 1)
    seed = int(found.rng.integers(1 << 30))
    clusters = KMeans(size, n_init=3, random_state=seed).fit(rows).labels_
    of_pool = clusters[: len(found.pool)]
    taken = np.bincount(clusters[len(found.pool) :], minlength=size)
    sizes = np.bincount(clusters, minlength=size)
    chosen: list[int] = []
    while len(chosen) < BATCH:
        left = np.setdiff1d(np.arange(len(found.pool)), chosen)
        there = np.unique(of_pool[left])
        cluster = min(there, key=lambda one: (taken[one], -sizes[one]))
        inside = left[of_pool[left] == cluster]
        typical = (found.pool[inside] @ rows[clusters == cluster].T).mean(axis=1)
        chosen.append(int(inside[typical.argmax()]))
        taken[cluster] += 1
    return np.array(chosen)


def by_gradients(found: Situation) -> NDArray[np.intp]:
    """Draw gradients of the last layer that are long and far apart, as k-means++ does (BADGE).

    Source:
        Ash et al. 2020, "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds"
        (arXiv 1906.03671).
    """
    errors = (
        found.probabilities
        - np.eye(found.probabilities.shape[1])[found.probabilities.argmax(axis=1)]
    )
    norms = (errors**2).sum(axis=1)
    chosen = [int(norms.argmax())]
    distances = np.full(len(norms), np.inf)
    while len(chosen) < BATCH:
        last = chosen[-1]
        dots = (errors @ errors[last]) * (found.pool @ found.pool[last])
        distances = np.minimum(distances, np.maximum(norms + norms[last] - 2 * dots, 1e-12))
        shares = distances.copy()
        shares[chosen] = 0
        chosen.append(int(found.rng.choice(len(shares), p=shares / shares.sum())))
    return np.array(chosen)


def of_clipkit(found: Situation) -> NDArray[np.intp]:
    """Take what clipkit takes."""
    return choose_next(found.pool, doubt(found.probabilities), found.labelled, BATCH)


def without_doubt(found: Situation) -> NDArray[np.intp]:
    """Take what clipkit would take if all images counted the same."""
    return choose_next(found.pool, np.ones(len(found.pool)), found.labelled, BATCH)


def with_constants(reach: float, noise: float) -> Way:
    """Return clipkit's way with other constants."""

    def choose(found: Situation) -> NDArray[np.intp]:
        before = next_labels._REACH, next_labels._NOISE
        next_labels._REACH, next_labels._NOISE = reach, noise
        try:
            return of_clipkit(found)
        finally:
            next_labels._REACH, next_labels._NOISE = before

    return choose


WAYS: dict[str, Way] = {
    "random": at_random,
    "doubt": by_doubt,
    "distance": by_distance,
    "doubt x distance": by_doubt_and_distance,
    "gradients": by_gradients,
    "clusters": by_clusters,
    "variance": without_doubt,
    "clipkit": of_clipkit,
}


def accuracies(
    found: FewShotTask, way: Way, *, shots: int, seed: int
) -> Iterator[tuple[int, float, float]]:
    """Yield the number of labels, the accuracy with them, and how sure the model was before."""
    task, rng = found.task, np.random.default_rng(seed)
    pool, test = _halves(found, seed)
    labels = task.labels[pool]
    first = [
        rng.permutation(np.flatnonzero(labels == label))[:shots]
        for label in range(len(task.class_names))
    ]
    rows = pool[np.concatenate(first).astype(np.intp)]
    for budget in range(BATCH, max(BUDGETS) + 1, BATCH):
        left = np.setdiff1d(pool, rows)
        if len(left) < BATCH:
            return
        situation = Situation(task.embeddings[left], task.support(rows), rng)
        rows = np.concatenate([rows, left[way(situation)]])
        if budget in BUDGETS:
            images, labels = task.embeddings[test], task.labels[test]
            accuracy = accuracy_of(task.support(rows), images, labels)
            sure = situation.probabilities.max(axis=1).mean() if way is at_random else np.nan
            yield budget, accuracy, float(sure)


def _halves(found: FewShotTask, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the images of the pool and the test images."""
    labels, train = found.task.labels, found.train
    counts = np.bincount(labels)
    if train is None:
        pool = choose_of_each(labels, counts - counts // 2, seed)
        return pool, np.setdiff1d(np.arange(len(labels)), pool)
    drawn = np.random.default_rng(seed).permutation(train)[: int(POOL_SHARE * len(train))]
    return np.sort(drawn), np.setdiff1d(np.arange(len(labels)), train)


def rows_of(found: FewShotTask, ways: Mapping[str, Way], seeds: range) -> Iterator[str]:
    """Yield a line a start and budget: random choice, and what each way has over it."""
    for shots in (0, 1):
        measured = defaultdict(list)
        sure = defaultdict(list)
        for name, way in ways.items():
            for seed in seeds:
                for budget, accuracy, share in accuracies(found, way, shots=shots, seed=seed):
                    measured[name, budget].append(100 * accuracy)
                    sure[name, budget].append(100 * share)
        for budget in BUDGETS:
            base = np.array(measured["random", budget])
            if not len(base):
                continue
            cells = [found.name, str(shots), str(budget), f"{np.mean(sure['random', budget]):.0f}"]
            cells.append(f"{base.mean():.1f}")
            for name in list(ways)[1:]:
                gains = np.array(measured[name, budget]) - base
                error = gains.std(ddof=1) / np.sqrt(len(gains))
                cells.append(f"{gains.mean():+.1f} ± {error:.1f}")
            yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clip-data", type=Path, metavar="FOLDER")
    parser.add_argument("--fit", action="store_true", help="compare constants")
    parser.add_argument("--only", metavar="TEXT", default="", help="sets whose name has it")
    add_work_options(parser)
    arguments = parser.parse_args()
    workplace = Workplace.from_options(arguments)
    sets = read_embedded_sets(arguments.clip_data)[:3] if arguments.clip_data else []
    tasks = [embedded(one) for one in sets]
    images = make_image_sets(workplace, arguments.clip_data)
    encoder = clipkit.load("starter")
    wanted = [one for one in images if arguments.only in f"{one.name}, starter"]
    tasks = [task for task in tasks if arguments.only in task.name]
    tasks += [embed(encoder, one) for one in wanted]
    ways, seeds = WAYS, SEEDS
    if arguments.fit:
        tasks = [task for task in tasks if task.name in FIT_SETS]
        ways = {"random": at_random} | {
            f"reach {reach:g}, noise {noise:g}": with_constants(reach, noise)
            for reach, noise in FIT_GRID
        }
        seeds = FIT_SEEDS
    print(f"| set | first | labels | sure | {' | '.join(ways)} |")
    print(f"|---|{'--:|' * (len(ways) + 3)}")
    for task in tasks:
        for line in rows_of(task, ways, seeds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
