"""Labels scored on their own (multi_label) beside other cuts, with the right answers known.

Run as  python benchmarks/labels.py  [--clip-data FOLDER] [--fit] [--json FILE]. Labels are the
words of the queries of labelled_photos.py, and the class names of COCO, CIFAR-10 and four folders
where FOLDER holds published embeddings of CLIP (see relevance_collections.py, also for the everyday
words: COCO's labels are their own). The starter's labels and everyday words are filled into the
default templates.

"best cut" is the one of the best F1 on the very images that are measured: an advantage that
multi_label and the rule before it do not get. The second table is of images without a label: half
of the labels are left out, ten times with fixed seeds, and an image that has none of those left
should have no label above the cut.

Shapes: C labels, N images, B everyday words, D dimensions.
"""

import argparse
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from labelled_photos import EVERYDAY, THINGS, fetch_photos, read_queries, true_matches
from relevance_collections import (
    Collection,
    Mask,
    Rows,
    read_cifar,
    read_published,
    unit_rows,
)
from relevance_designs import (
    best_f1,
    cosine,
    f1_at_cuts,
    f1_of_pairs,
    logistic,
    mean_average_precision,
)

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.word_evidence import WordScale
from clipkit.zero_shot.label_evidence import LABEL_CENTER, LABEL_SLOPE

CLIP_SCALE = 100.0  # the logit scale of OpenAI's models
SYNONYM_COSINE = 0.6  # of the rule that clipkit had before
NUM_HALVES = 10
DEFAULT_CUT = 0.5
CENTERS, SLOPES = np.arange(1.0, 8.0, 0.05), np.arange(0.3, 4.0, 0.05)  # to choose from
PUBLISHED = ("COCO classes", "CIFAR-10", "four folders")

Way = Callable[[Collection], Rows]


# Ways to score, each (C, N)


def evidence(collection: Collection) -> Rows:
    """Return the evidence, in spreads of the scores of everyday words."""
    return WordScale(collection.bank).evidence(collection.texts, collection.images).T


def multi_label(
    collection: Collection, center: float = LABEL_CENTER, slope: float = LABEL_SLOPE
) -> Rows:
    """Return what a classifier with multi_label gives."""
    return logistic(slope * (evidence(collection) - center))


def closest_name(collection: Collection) -> Rows:
    """Return each label's probability against the closest word that is no synonym."""
    is_rival = collection.texts @ collection.bank.T < SYNONYM_COSINE
    of_words = collection.images @ collection.bank.T
    rivals = [np.where(mask, of_words, -1.0).max(axis=1) for mask in is_rival]
    return logistic(scale_of(collection.model) * (cosine(collection) - np.stack(rivals)))


def softmax(collection: Collection) -> Rows:
    """Return softmax over the labels."""
    return _softmax(scale_of(collection.model) * cosine(collection))


def concept_matching(collection: Collection) -> Rows:
    """Return softmax over the labels at temperature 1: MCM, Ming et al. 2022 (arXiv 2211.13445)."""
    return _softmax(cosine(collection))


def _softmax(logits: Rows) -> Rows:
    powers: Rows = np.exp(logits - logits.max(axis=0))
    return powers / powers.sum(axis=0)


LABEL_WAYS: dict[str, tuple[Way, float | None]] = {
    "multi_label": (multi_label, DEFAULT_CUT),
    "evidence, best cut": (evidence, None),
    "the rule before": (closest_name, DEFAULT_CUT),
    "cosine, best cut": (cosine, None),
    "softmax, best cut": (softmax, None),
}
UNKNOWN_WAYS: dict[str, tuple[Way, float | None]] = {
    "multi_label": (multi_label, DEFAULT_CUT),
    "the rule before": (closest_name, DEFAULT_CUT),
    "highest cosine": (cosine, None),
    "highest softmax": (softmax, None),
    "MCM": (concept_matching, None),
}


# Measures


def measure_labels(scores: Rows, matches: Mask, cut: float | None) -> dict[str, float]:
    """Return how well scores tell which labels images have.

    Args:
        scores: Higher is likelier, shape (C, N).
        matches: The right answers, shape (C, N).
        cut: From here on a label is given; None for the cut of the best micro F1 on these images.

    Returns:
        The figures by name; means over labels are of those that some image has.
    """
    cut = best_f1(scores, matches)[1] if cut is None else cut
    found, used = scores >= cut, matches.any(axis=1)
    each = [f1_of_pairs(*rows) for rows in zip(found[used], matches[used], strict=True)]
    return {
        "mAP": mean_average_precision(scores, matches),
        "micro F1": f1_of_pairs(found, matches),
        "macro F1": float(np.mean(each)),
        "precision": float((found & matches).sum() / max(found.sum(), 1)),
        "recall": float((found & matches).sum() / matches.sum()),
        "cut": cut,
    }


def measure_unknown(way: Way, collection: Collection, cut: float | None) -> dict[str, float]:
    """Return how well the best label tells images of none, as means over halves of the labels.

    Args:
        way: A way to score.
        collection: With all labels.
        cut: From here on a label is given.

    Returns:
        The area under the curve; with a cut also the share of images with a label that get any,
        and of those without that get none.
    """
    rows = []
    used = np.flatnonzero(collection.matches.any(axis=1))
    for seed in range(NUM_HALVES):
        half = np.random.default_rng(seed).permutation(used)[: (len(used) + 1) // 2]
        part = replace(collection, texts=collection.texts[half], matches=collection.matches[half])
        best, is_known = way(part).max(axis=0), part.matches.any(axis=0)
        row = {"AUROC": auroc(best[is_known], best[~is_known])}
        if cut is not None:
            row["known, any label"] = float((best[is_known] >= cut).mean())
            row["unknown, none"] = float((best[~is_known] < cut).mean())
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def auroc(positive: Rows, negative: Rows) -> float:
    """Return the chance that a positive scores higher than a negative; ties count half."""
    ranked = np.sort(negative)
    below, up_to = (np.searchsorted(ranked, positive, side) for side in ("left", "right"))
    return float((below + up_to).mean() / 2 / len(negative))


# Fitting


def fit(collections: Sequence[Collection]) -> tuple[float, float]:
    """Return the center and slope of one logistic curve for all collections.

    Equal images have the same weight together, however many collections they are in. The center is
    where the mean micro F1 is best with a cut of .5; the slope makes the right answers likeliest,
    with the logarithm of the likelihood taken for each match.
    """
    sets = [(evidence(collection), collection.matches) for collection in collections]
    groups = [images_of(collection) for collection in collections]
    weights = np.array([1 / groups.count(group) for group in groups])
    weights /= weights.sum()
    curve = weights @ [f1_at_cuts(values, matches, CENTERS) for values, matches in sets]
    # The middle of where it is nearly best, so that ripples of single images do not decide.
    center = float(CENTERS[curve > curve.max() - 0.003].mean())
    losses = [
        weights @ [_loss(slope * (values - center), matches) for values, matches in sets]
        for slope in SLOPES
    ]
    return center, float(SLOPES[int(np.argmin(losses))])


def _loss(logits: Rows, matches: Mask) -> float:
    return float(np.logaddexp(0, np.where(matches, -logits, logits)).sum() / matches.sum())


def images_of(collection: Collection) -> str:
    """Return what collections of the same images have in common."""
    return collection.name.split(",")[0]


def leave_out(collections: Sequence[Collection]) -> dict[str, dict[str, float]]:
    """Return the constants fitted to all, and the figures of each by the others' constants."""
    rows = {"nothing": dict(zip(("center", "slope"), fit(collections), strict=True))}
    for each in collections:
        center, slope = fit([o for o in collections if images_of(o) != images_of(each)])
        found = measure_labels(multi_label(each, center, slope), each.matches, DEFAULT_CUT)
        rows[title(each)] = {
            "center": center,
            "slope": slope,
            "micro F1": found["micro F1"],
            "macro F1": found["macro F1"],
        }
    return rows


# Collections


@functools.cache
def starter() -> clipkit.Encoder:
    """Return the embedded model."""
    return clipkit.load()


def scale_of(model: str) -> float:
    """Return the logit scale of a model."""
    return starter().logit_scale if model == "starter" else CLIP_SCALE


def read_labelled(clip_data: Path | None) -> list[Collection]:
    """Return the collections of labels, CLIP's where its embeddings are."""
    found = []
    for name, source in (("things", THINGS), ("everyday", EVERYDAY)):
        photos, queries = fetch_photos(source), read_queries(source)
        names, matches = [query.words for query in queries], true_matches(queries, photos)
        found.append(_by_starter(name, [photo.path for photo in photos], names, matches))
    if clip_data is None:
        return found
    found.append(_by_starter("CIFAR-10", *read_cifar(clip_data)))
    for each in read_published(clip_data):
        if each.name in PUBLISHED:
            found.append(each)
        if each.name == "COCO classes":
            with np.load(clip_data / "coco500_vitb16.npz") as stored:
                texts = unit_rows(stored["class_text_ensemble"])
            found.append(replace(each, name=f"{each.name}, ensemble", texts=texts, bank=texts))
    return found


def _by_starter(name: str, images: list, labels: list[str], matches: Mask) -> Collection:
    """Return a collection whose labels and everyday words are filled into the same templates."""
    texts, words = (
        unit_rows(clipkit.ZeroShotClassifier(starter(), names).class_embeddings)
        for names in (labels, BACKGROUND_NAMES)
    )
    rows = unit_rows(starter().encode_images(images))
    return Collection(name, "starter", rows, texts, matches, words)


# The report


def title(collection: Collection) -> str:
    """Return a collection's name with its model's."""
    return f"{collection.name}, {collection.model}"


def report(collection: Collection) -> dict[str, dict[str, dict[str, float]]]:
    """Return both tables of one collection."""
    labels = {
        name: measure_labels(way(collection), collection.matches, cut)
        for name, (way, cut) in LABEL_WAYS.items()
    }
    unknown = {
        name: measure_unknown(way, collection, cut) for name, (way, cut) in UNKNOWN_WAYS.items()
    }
    return {"labels": labels, "images without a label": unknown}


def print_table(heading: str, table: dict[str, dict[str, float]]) -> None:
    """Print a table as Markdown."""
    columns = list(dict.fromkeys(column for row in table.values() for column in row))
    print(f"\n### {heading}\n\n| | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|")
    for name, row in table.items():
        cells = [f"{row[column]:.3f}" if column in row else "" for column in columns]
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip-data", type=Path, help="a folder of published CLIP embeddings")
    parser.add_argument("--fit", action="store_true", help="fit the constants, leaving each out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON too")
    arguments = parser.parse_args()
    collections = read_labelled(arguments.clip_data)
    reports: dict[str, dict] = {title(each): report(each) for each in collections}
    for each in collections:
        size = f"{each.matches.shape[1]} images, {len(each.texts)} labels, {len(each.bank)} words"
        for name, table in reports[title(each)].items():
            print_table(f"{title(each)} ({size}): {name}", table)
    if arguments.fit:
        reports["fitted without"] = leave_out(collections)
        print_table("fitted without", reports["fitted without"])
    if arguments.json:
        arguments.json.write_text(json.dumps(reports, indent=2))


if __name__ == "__main__":
    main()
