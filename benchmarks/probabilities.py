"""Probabilities that hold: calibration, label sets with a guarantee, and images of no label.

Run as  python benchmarks/probabilities.py  [--clip-data FOLDER] [--fit] [--diagram FILE]. The
starter's images are those of labelled_photos.py; with FOLDER also CIFAR's pixels, and published
embeddings of OpenAI's ViT-B/32 and ViT-B/16 (see relevance_collections.py). Of COCO's photographs
those that show one class only have a right label.

Every figure is of images that nothing was fitted on. --fit shows how the constants were chosen:
of calibration on the starter and ViT-B/32 (then ViT-B/16 is unseen), of images that show no label
on the starter's photographs and COCO's by ViT-B/16 (then CIFAR and ViT-B/32 are unseen).

Shapes: N images, C labels, B everyday words, D dimensions.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from labelled_photos import THINGS, fetch_photos
from labels import (
    NUM_HALVES,
    concept_matching,
    evidence,
    print_table,
    read_labelled,
    scale_of,
    softmax,
    starter,
    title,
)
from numpy.typing import NDArray
from relevance_collections import Collection, Rows, unit_rows
from sklearn.metrics import roc_auc_score

import clipkit
from clipkit.evaluation.reliability_diagram import draw_reliability_diagram
from clipkit.metrics.calibration import (
    expected_calibration_error,
    reliability_bins,
    selective_accuracy,
)
from clipkit.runtime.base import Scoring
from clipkit.word_evidence import WordScale
from clipkit.zero_shot.calibration import SCALE_SPREAD, Calibration, fit_scoring
from clipkit.zero_shot.label_evidence import KNOWN_CENTER, KNOWN_SLOPE, LabelEvidence
from clipkit.zero_shot.probabilities import label_log_losses, sigmoid

NUM_SPLITS = 50
FIT_SIZES = (5, 10, 20, 50, 100)
SPREADS = (0.15, 0.2, 0.25, 0.3, 0.5, np.inf)
LEAST_TESTED = 40  # images that must be left to measure on
COVERAGES = (0.8, 0.9)
KNOWN_PART = ("things, starter", "everyday, starter", "COCO classes, CLIP ViT-B/16")
CENTERS, SLOPES = np.arange(-10.0, 6.0, 0.1), np.arange(0.05, 1.5, 0.01)  # to choose from


# Calibration and label sets


@dataclass(frozen=True)
class LabelledSet:
    """Images with one right label each."""

    name: str
    cosines: Rows  # (N, C)
    labels: NDArray[np.intp]  # (N,)
    scoring: Scoring  # the checkpoint's own

    def splits(self, size: int) -> Iterator[tuple["LabelledSet", "LabelledSet"]]:
        """Yield so many images, drawn at random, and the others."""
        for seed in range(NUM_SPLITS):
            order = np.random.default_rng(seed).permutation(len(self.labels))
            yield self._of(order[:size]), self._of(order[size:])

    def losses(self, scoring: Scoring) -> NDArray[np.float64]:
        """Return the log loss of each image."""
        return label_log_losses(self.cosines, scoring)[np.arange(len(self.labels)), self.labels]

    def ece(self, scoring: Scoring) -> float:
        """Return the expected calibration error."""
        return expected_calibration_error(*self.confidences(scoring))

    def confidences(self, scoring: Scoring) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the probability of the first label, and whether it is right."""
        probabilities = np.exp(-label_log_losses(self.cosines, scoring))
        return probabilities.max(axis=1), self.cosines.argmax(axis=1) == self.labels

    def _of(self, rows: NDArray[np.intp]) -> "LabelledSet":
        return replace(self, cosines=self.cosines[rows], labels=self.labels[rows])


def labelled_sets(collections: list[Collection]) -> list[LabelledSet]:
    """Return what has one right label an image."""
    found = [_of_collection(_things(collections[0]))]
    names = ("CIFAR-10", "four folders", "COCO classes")
    return found + [_of_collection(each) for each in collections if each.name in names]


def _things(things: Collection) -> Collection:
    """Return the photographs of things with what each is called as its label."""
    photos = fetch_photos(THINGS)
    names = sorted({photo.label for photo in photos})
    texts = unit_rows(clipkit.ZeroShotClassifier(starter(), names).class_embeddings)
    matches = np.array([[photo.label == name for photo in photos] for name in names])
    return replace(things, texts=texts, matches=matches)


def _of_collection(each: Collection) -> LabelledSet:
    has_one = each.matches.sum(axis=0) == 1
    cosines = each.images[has_one] @ each.texts.T
    labels = each.matches[:, has_one].argmax(axis=0)
    return LabelledSet(title(each), cosines, labels, Scoring(float(np.log(scale_of(each.model)))))


def measure_calibration(each: LabelledSet, size: int) -> dict[str, float]:
    """Return what fitting the scale on so many images does to the others."""
    rows = []
    for few, rest in each.splits(size):
        fitted = fit_scoring(few.cosines, few.labels, each.scoring)
        losses, before = rest.losses(fitted), rest.losses(each.scoring)
        rows.append(
            {
                "own scale": each.scoring.logit_scale,
                "fitted": fitted.logit_scale,
                "ECE before": rest.ece(each.scoring),
                "ECE after": rest.ece(fitted),
                "NLL before": before.mean(),
                "NLL after": losses.mean(),
                "splits worse": float(losses.mean() > before.mean()),
            }
        )
    return _means(rows)


def measure_spreads(each: LabelledSet, size: int) -> dict[str, float]:
    """Return the change of the log loss for several penalties on leaving the own scale."""
    rows = []
    for few, rest in each.splits(size):
        before = rest.losses(each.scoring).mean()
        row = {}
        for spread in SPREADS:
            fitted = fit_scoring(few.cosines, few.labels, each.scoring, spread=spread)
            row[f"spread {spread:g}"] = rest.losses(fitted).mean() - before
        rows.append(row)
    return _means(rows)


def measure_sets(each: LabelledSet, size: int, coverage: float) -> dict[str, float]:
    """Return how many sets of labels hold the right one, over the splits."""
    rows = []
    for few, rest in each.splits(size):
        losses = tuple(np.sort(few.losses(each.scoring)).tolist())
        threshold = Calibration("", "", each.scoring, ("",), "", losses).threshold(coverage)
        is_in = label_log_losses(rest.cosines, each.scoring) <= threshold
        is_in[np.arange(len(is_in)), rest.cosines.argmax(axis=1)] = True
        sizes = is_in.sum(axis=1)
        held = is_in[np.arange(len(is_in)), rest.labels].mean()
        rows.append({"held": held, "mean size": sizes.mean(), "one label": (sizes == 1).mean()})
    held = [row["held"] for row in rows]
    ends = {"5 % of splits below": np.quantile(held, 0.05), "above": np.quantile(held, 0.95)}
    return {"asked": coverage, **_means(rows), **ends}


def measure_selective(each: LabelledSet) -> dict[str, float]:
    """Return the accuracy where only the surest images are answered."""
    shares = np.array([0.5, 0.8, 0.9, 1.0])
    found = selective_accuracy(*each.confidences(each.scoring), shares)
    return {f"{share:.0%}": value for share, value in zip(shares, found, strict=True)}


# Images of no label


@dataclass(frozen=True)
class Halves:
    """Half of a collection's labels, and which images show any of them."""

    part: Collection
    is_known: NDArray[np.bool_]


def halves(each: Collection, *, with_words: bool) -> Iterator[Halves]:
    """Yield a collection with half of its labels left out, several times.

    Args:
        each: With all labels.
        with_words: Whether everyday words may be the labels that are left out. If not, those
            nearest to them are taken away too, as if nobody had thought of what the images show.
    """
    used = np.flatnonzero(each.matches.any(axis=1))
    for seed in range(NUM_HALVES):
        order = np.random.default_rng(seed).permutation(used)
        half, out = np.split(order, [(len(used) + 1) // 2])
        bank = each.bank if with_words else _without(each.bank, each.texts[out])
        part = replace(each, texts=each.texts[half], matches=each.matches[half], bank=bank)
        yield Halves(part, part.matches.any(axis=0))


def _without(bank: Rows, texts: Rows) -> Rows:
    center = bank.mean(axis=0)
    words, labels = unit_rows(bank - center), unit_rows(texts - center)
    return bank[(words @ labels.T).max(axis=1) < 0.9]


def known_log_odds(part: Collection) -> NDArray[np.float64]:
    """Return clipkit's evidence that images show any of the labels, shape (N,)."""
    texts, images = part.texts.astype(np.float32), part.images.astype(np.float32)
    return LabelEvidence(WordScale(part.bank), texts).known_log_odds(images)


UNKNOWN_WAYS = {
    "max softmax": lambda part: softmax(part).max(axis=0),
    "MCM": lambda part: concept_matching(part).max(axis=0),
    "best evidence": lambda part: evidence(part).max(axis=0),
    "clipkit": known_log_odds,
}


def measure_unknown(each: Collection, *, with_words: bool) -> dict[str, float]:
    """Return AUROC and FPR95 of every way, and what clipkit's cut does."""
    rows = []
    for half in halves(each, with_words=with_words):
        row = {}
        for name, way in UNKNOWN_WAYS.items():
            scores = way(half.part)
            row[f"AUROC {name}"] = float(roc_auc_score(half.is_known, scores))
            row[f"FPR95 {name}"] = false_positive_rate(scores, half.is_known)
        found = sigmoid(KNOWN_SLOPE * (scores - KNOWN_CENTER)) > 0.5
        row["known, kept"] = found[half.is_known].mean()
        row["unknown, told"] = 1 - found[~half.is_known].mean()
        rows.append(row)
    return _means(rows)


def false_positive_rate(scores: NDArray[np.float64], is_known: NDArray[np.bool_]) -> float:
    """Return the share of unknown images above the cut that keeps 95 % of the known ones."""
    return float((scores[~is_known] >= np.quantile(scores[is_known], 0.05)).mean())


def fit_known(collections: list[Collection]) -> tuple[float, float]:
    """Return the center and slope of the logistic curve that fits collections best.

    The center is where the mean of the known images that are kept and the unknown ones that are
    told is best; then the slope makes the right answers likeliest. Models have equal weight.
    """
    sets = [
        [(known_log_odds(half.part), half.is_known) for half in _all_halves(each)]
        for each in collections
    ]
    models = [each.model for each in collections]
    weights = np.array([1 / models.count(model) for model in models])
    weights /= weights.sum()
    curve = weights @ [_mean_accuracy(some) for some in sets]
    # The middle of where it is nearly best, so that ripples of single images do not decide.
    center = float(CENTERS[curve > curve.max() - 0.003].mean())
    losses = [weights @ [_loss(some, center, slope) for some in sets] for slope in SLOPES]
    return center, float(SLOPES[int(np.argmin(losses))])


def _all_halves(each: Collection) -> Iterator[Halves]:
    yield from halves(each, with_words=True)
    if has_other_words(each):
        yield from halves(each, with_words=False)


def has_other_words(each: Collection) -> bool:
    """Return whether the everyday words are more than the labels themselves."""
    return each.name != "COCO classes"


def _mean_accuracy(sets: list[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> Rows:
    return np.mean(
        [
            (np.mean(odds[is_known, None] > CENTERS, axis=0) / 2)
            + (np.mean(odds[~is_known, None] <= CENTERS, axis=0) / 2)
            for odds, is_known in sets
        ],
        axis=0,
    )


def _loss(
    sets: list[tuple[NDArray[np.float64], NDArray[np.bool_]]], center: float, slope: float
) -> float:
    return float(
        np.mean(
            [
                np.logaddexp(0, np.where(is_known, -1, 1) * slope * (odds - center))[of].mean()
                for odds, is_known in sets
                for of in (is_known, ~is_known)
            ]
        )
    )


# The report


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def print_calibration(sets: list[LabelledSet]) -> None:
    """Print the tables of calibration and label sets."""
    sizes = {
        f"{each.name}: {size}": (each, size)
        for each in sets
        for size in FIT_SIZES
        if len(each.labels) - size >= LEAST_TESTED
    }
    calibrated = {name: measure_calibration(*pair) for name, pair in sizes.items()}
    print_table("Scale fitted on so many images, measured on the others", calibrated)
    for coverage in COVERAGES:
        enough = {name: pair for name, pair in sizes.items() if pair[1] >= 10}
        found = {name: measure_sets(*pair, coverage) for name, pair in enough.items()}
        print_table(f"Label sets, {coverage:.0%}", found)
    selective = {each.name: measure_selective(each) for each in sets}
    print_table("Accuracy where only the surest are answered", selective)


def print_fit(collections: list[Collection], sets: list[LabelledSet]) -> None:
    """Print how the constants were chosen."""
    rows = {}
    for each in sets:
        changes = [measure_spreads(each, size) for size in (5, 10, 20, 50)]
        rows[f"{each.name}, 5 to 50 images"] = _means(changes)
    print_table(f"Change of the log loss; {SCALE_SPREAD} is taken", rows)
    part = [each for each in collections if title(each) in KNOWN_PART]
    rows = {"taken": {"center": KNOWN_CENTER, "slope": KNOWN_SLOPE}}
    parts = {" and ".join(KNOWN_PART): part, **{title(each): [each] for each in collections}}
    for name, some in parts.items():
        rows[name] = dict(zip(("center", "slope"), fit_known(some), strict=True))
    print_table("Known images", rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip-data", type=Path, help="a folder of published CLIP embeddings")
    parser.add_argument("--fit", action="store_true", help="show how the constants were chosen")
    parser.add_argument(
        "--diagram", type=Path, metavar="FILE", help="draw the starter's reliability diagram"
    )
    arguments = parser.parse_args()
    collections = read_labelled(arguments.clip_data)
    collections = [each for each in collections if not each.name.endswith("ensemble")]
    sets = labelled_sets(collections)
    if arguments.diagram:
        bins = reliability_bins(*sets[0].confidences(sets[0].scoring))
        kind = arguments.diagram.suffix[1:]
        arguments.diagram.write_bytes(draw_reliability_diagram(bins, sets[0].name, kind))
    if arguments.fit:
        print_fit(collections, sets)
    print_calibration(sets)
    for with_words, words in ((True, ""), (False, ", no word for what is left out")):
        found = {
            title(each): measure_unknown(each, with_words=with_words)
            for each in collections
            if with_words or has_other_words(each)
        }
        print_table(f"Images of labels that are left out{words}", found)


if __name__ == "__main__":
    main()
