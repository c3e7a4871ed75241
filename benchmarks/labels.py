"""Labels scored on their own (multi_label) beside other cuts, with the right answers known.

Run as  python benchmarks/labels.py  [--clip-data FOLDER] [--fit] [--json]. Without a folder the
starter is measured, on the photographs of labelled_photos.py, by the words of their queries as
labels. A folder of embeddings of real CLIP models adds OpenAI's ViT-B/16 on photographs of COCO and
ViT-B/32 on CIFAR-10 and on 111 photographs of four things or none of them. Their everyday words
are those whose embeddings the folder has: COCO's 80 class names for ViT-B/16, so that its words are
its labels, and the class names of Open Images and Objects365 for ViT-B/32.

The second table is of images without any label: half of the labels are left out, ten times with
fixed seeds, and an image that has none of those left should have no label above the cut.

Shapes: N images, C labels, B words, D dimensions.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cut_offs import Array, Mask, auroc, average_precision, best_threshold
from labelled_photos import EVERYDAY, THINGS, Collection, fetch_photos, read_queries, true_matches
from numpy.typing import NDArray

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import normalize_rows
from clipkit.word_evidence import WordScale
from clipkit.zero_shot.classifier import LABEL_CENTER, LABEL_SLOPE

CLIP_SCALE = 100.0  # the logit scale of OpenAI's models
SYNONYM_COSINE = 0.6  # of the rule that clipkit had before
NUM_HALVES = 10
DEFAULT_CUT = 0.5
CENTERS, SLOPES = np.arange(1.0, 8.0, 0.05), np.arange(0.3, 4.0, 0.05)  # to choose from
MIXED = {"cat": "cat", "dog": "dog", "bicycle": "bike", "car": "carsgraz"}  # class, in the file


@dataclass(frozen=True)
class Trial:
    """Images, labels and words of one model, and which labels each image has."""

    name: str
    photographs: str  # trials of the same photographs are left out together
    images: Array  # (N, D)
    texts: Array  # (C, D)
    words: Array  # (B, D)
    matches: Mask  # (N, C)
    scale: float

    def part(self, labels: NDArray[np.intp]) -> "Trial":
        """Return the trial with some of the labels."""
        return replace(self, texts=self.texts[labels], matches=self.matches[:, labels])


# Ways to score


def cosines(trial: Trial) -> Array:
    """Return the plain cosines, shape (N, C)."""
    return np.asarray(trial.images @ trial.texts.T)


def softmax(trial: Trial, scale: float | None = None) -> Array:
    """Return softmax over the labels."""
    logits = (trial.scale if scale is None else scale) * cosines(trial)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def closest_name(trial: Trial) -> Array:
    """Return each label's probability against the closest word that is no synonym."""
    is_rival = trial.texts @ trial.words.T < SYNONYM_COSINE
    of_words = trial.images @ trial.words.T
    rivals = [np.where(mask, of_words, -1.0).max(axis=1) for mask in is_rival]
    return logistic(trial.scale * (cosines(trial) - np.stack(rivals, axis=1)))


def evidence(trial: Trial) -> Array:
    """Return the evidence, in spreads of the scores of words."""
    return WordScale(trial.words).evidence(trial.texts, trial.images)


def multi_label(trial: Trial, center: float = LABEL_CENTER, slope: float = LABEL_SLOPE) -> Array:
    """Return what a classifier with multi_label gives."""
    return logistic(slope * (evidence(trial) - center))


def logistic(logits: Array) -> Array:
    """Return the logistic function; tanh does not overflow."""
    return np.asarray(0.5 + 0.5 * np.tanh(logits / 2))


# Measures


def measure_labels(scores: Array, matches: Mask, cut: float | None) -> dict[str, float]:
    """Return how well scores, shape (N, C), tell which labels images have.

    Args:
        scores: Higher is likelier.
        matches: The right answers, shape (N, C).
        cut: From here on a label is given; None for the cut of the best micro F1 on these images.

    Returns:
        The figures by name; means over labels are of those that some image has.
    """
    cut = best_threshold(scores, matches) if cut is None else cut
    found, used = scores >= cut, matches.any(axis=0)
    right, size = (found & matches).sum(axis=0), found.sum(axis=0) + matches.sum(axis=0)
    precisions = [
        average_precision(np.argsort(-scores[:, label], kind="stable"), matches[:, label])
        for label in np.flatnonzero(used)
    ]
    return {
        "mAP": float(np.mean(precisions)),
        "micro F1": float(2 * right.sum() / size.sum()),
        "macro F1": float((2 * right / np.maximum(size, 1))[used].mean()),
        "precision": float(right.sum() / max(found.sum(), 1)),
        "recall": float(right.sum() / matches.sum()),
        "cut": cut,
    }


def measure_unknown(
    score: Callable[[Trial], Array], trial: Trial, cut: float | None
) -> list[float]:
    """Return how well the best label tells images of none, as means over halves of the labels.

    Args:
        score: A way to score.
        trial: All labels.
        cut: From here on a label is given.

    Returns:
        The area under the curve; with a cut, the share of images with a label that get any, and
        of those without that get none.
    """
    rows = []
    used = np.flatnonzero(trial.matches.any(axis=0))
    for seed in range(NUM_HALVES):
        half = np.random.default_rng(seed).permutation(used)[: (len(used) + 1) // 2]
        part = trial.part(half)
        best, is_known = score(part).max(axis=1), part.matches.any(axis=1)
        rows.append([auroc(best[is_known], best[~is_known])])
        if cut is not None:
            rows[-1] += [(best[is_known] >= cut).mean(), (best[~is_known] < cut).mean()]
    return [float(value) for value in np.mean(rows, axis=0)]


# Fitting


def fit(trials: Sequence[Trial]) -> tuple[float, float]:
    """Return the center and slope of one logistic curve for all trials.

    All photographs have the same weight, however many trials they are in. The center is where the
    mean micro F1 is best with a cut of .5; the slope makes the right answers likeliest, with the
    logarithm of the likelihood taken for each match.
    """
    pairs = [(evidence(trial), trial.matches) for trial in trials]
    photographs = [trial.photographs for trial in trials]
    weights = np.array([1 / photographs.count(name) for name in photographs])
    weights /= weights.sum()
    curve = np.array(
        [weights @ [measure_f1(value >= c, matches) for value, matches in pairs] for c in CENTERS]
    )
    # The middle of where it is nearly best, so that ripples of single images do not decide.
    center = float(CENTERS[curve > curve.max() - 0.003].mean())
    losses = [
        weights @ [_loss(slope * (value - center), matches) for value, matches in pairs]
        for slope in SLOPES
    ]
    return center, float(SLOPES[int(np.argmin(losses))])


def measure_f1(found: Mask, matches: Mask) -> float:
    """Return micro F1."""
    return float(2 * (found & matches).sum() / (found.sum() + matches.sum()))


def _loss(logits: Array, matches: Mask) -> float:
    return float(np.logaddexp(0, np.where(matches, -logits, logits)).mean() / matches.mean())


# Trials


def starter_trials() -> list[Trial]:
    """Return the labelled photographs, each image with the queries that it answers."""
    encoder = clipkit.load()
    return [
        _starter_trial(encoder, "things", THINGS),
        _starter_trial(encoder, "everyday", EVERYDAY),
    ]


def _starter_trial(encoder: clipkit.Encoder, name: str, collection: Collection) -> Trial:
    photos, queries = fetch_photos(collection), read_queries(collection)
    labels = clipkit.ZeroShotClassifier(encoder, [query.words for query in queries])
    words = clipkit.ZeroShotClassifier(encoder, BACKGROUND_NAMES)  # by the same templates
    images = encoder.encode_images([photo.path for photo in photos])
    return Trial(
        f"starter, {name}",
        name,
        np.asarray(images, np.float64),
        np.asarray(labels.class_embeddings, np.float64),
        np.asarray(words.class_embeddings, np.float64),
        true_matches(queries, photos).T,
        encoder.logit_scale,
    )


def clip_trials(folder: Path) -> list[Trial]:
    """Return the trials of OpenAI's models, from their embeddings in a folder."""
    detic = folder / "facebookresearch+Detic"
    names = ("oid_clip_a+cname.npy", "o365_clip_a+cnamefix.npy")
    words = np.vstack([_rows(np.load(detic / name)) for name in names])
    classes = _rows(np.load(detic / "coco_clip_a+cname.npy"))
    with np.load(folder / "coco500_vitb16.npz") as stored:
        has_answer = stored["labelled"]
        images, shown = _rows(stored["image"][has_answer]), stored["labels80"][has_answer] > 0
        coco_names = stored["class_names80"].tolist()
        trials = [
            Trial(f"ViT-B/16, COCO, {kind}", "coco", images, texts, texts, shown, CLIP_SCALE)
            for kind in ("single", "ensemble")
            for texts in [_rows(stored[f"class_text_{kind}"])]
        ]
    with np.load(folder / "cifar10_500_vitb32.npz") as stored:
        shown = stored["labels"][:, None] == np.arange(10)
        texts = _rows(stored["class_text_a_cname"])
        images = _rows(stored["image"])
        trials.append(Trial("ViT-B/32, CIFAR-10", "cifar", images, texts, words, shown, CLIP_SCALE))
    with np.load(folder / "mixed130_vitb32.npz") as stored:
        # What riders ride is not told.
        is_kept = stored["label"] != "rider"
        shown = stored["label"][is_kept, None] == np.array([*MIXED.values()])
        texts, images = classes[[coco_names.index(name) for name in MIXED]], _rows(stored["image"])
    trials.append(
        Trial("ViT-B/32, mixed", "mixed", images[is_kept], texts, words, shown, CLIP_SCALE)
    )
    return trials


def _rows(stored: NDArray[np.floating]) -> Array:
    return np.asarray(normalize_rows(stored), np.float64)


# The report


def report(trial: Trial) -> dict[str, dict[str, dict[str, float]]]:
    """Return both tables of one trial."""
    labels = {
        "multi_label": measure_labels(multi_label(trial), trial.matches, DEFAULT_CUT),
        "evidence, best cut": measure_labels(evidence(trial), trial.matches, None),
        "closest name": measure_labels(closest_name(trial), trial.matches, DEFAULT_CUT),
        "cosine, best cut": measure_labels(cosines(trial), trial.matches, None),
        "softmax, best cut": measure_labels(softmax(trial), trial.matches, None),
    }
    columns = ("AUROC", "known, any label", "unknown, none")
    ways: dict[str, tuple[Callable[[Trial], Array], float | None]] = {
        "multi_label": (multi_label, DEFAULT_CUT),
        "closest name": (closest_name, DEFAULT_CUT),
        "highest cosine": (cosines, None),
        "highest softmax": (softmax, None),
        "MCM": (lambda part: softmax(part, 1.0), None),
    }
    unknown = {
        name: dict(zip(columns, measure_unknown(score, trial, cut), strict=False))
        for name, (score, cut) in ways.items()
    }
    return {"labels": labels, "unknown": unknown}


def print_table(title: str, table: dict[str, dict[str, float]]) -> None:
    """Print a table as Markdown."""
    columns = list(next(iter(table.values())))
    print(f"\n### {title}\n\n| way | " + " | ".join(columns) + " |\n|---" * 1, end="")
    print("|---" * len(columns) + "|")
    for name, row in table.items():
        cells = [f"{row[column]:.3f}" if column in row else "" for column in columns]
        print(f"| {name} | " + " | ".join(cells) + " |")


def print_fits(trials: Sequence[Trial]) -> None:
    """Print the constants of all trials, and of all but those of the same photographs."""
    print("\n| fitted without | center, slope | micro F1 | macro F1 |\n|---|---|---|---|")
    center, slope = fit(trials)
    print(f"| nothing | {center:.2f}, {slope:.2f} | | |")
    for trial in trials:
        others = [other for other in trials if other.photographs != trial.photographs]
        center, slope = fit(others)
        row = measure_labels(multi_label(trial, center, slope), trial.matches, DEFAULT_CUT)
        figures = f"{row['micro F1']:.3f} | {row['macro F1']:.3f}"
        print(f"| {trial.name} | {center:.2f}, {slope:.2f} | {figures} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip-data", type=Path, help="a folder of embeddings of real CLIP models")
    parser.add_argument(
        "--fit", action="store_true", help="fit the constants, leaving each one out"
    )
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    arguments = parser.parse_args()
    trials = starter_trials()
    if arguments.clip_data:
        trials += clip_trials(arguments.clip_data)
    reports = {trial.name: report(trial) for trial in trials}
    if arguments.json:
        print(json.dumps(reports, indent=2))
        return
    for trial in trials:
        size = f"{len(trial.images)} images, {len(trial.texts)} labels, {len(trial.words)} words"
        print_table(f"{trial.name}: {size}", reports[trial.name]["labels"])
        print_table("images without a label", reports[trial.name]["unknown"])
    if arguments.fit:
        print_fits(trials)


if __name__ == "__main__":
    main()
