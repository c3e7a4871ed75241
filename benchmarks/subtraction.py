"""Queries with subtraction, such as "a bird - an owl": what leaves the top, and what stays.

Run as  python benchmarks/subtraction.py  [--clip-data FOLDER]. The first table is the starter's on
the labelled photographs, which are fetched on the first run. FOLDER holds embeddings of published
models: cifar10_500_vitb32.npz, coco500_vitb16.npz, facebookresearch+Detic/oid_clip_a+cname.npy.

Each pair is a wide A and a narrower B that the library has. Every second pair is for development:
the constants of clipkit/search/modality_gap.py were chosen there; the tables show the others.

Shapes: N images, D dimensions.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from composition import average_precision
from labelled_photos import fetch_photos, read_queries, true_matches
from numpy.typing import NDArray

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import Embeddings, mix_embeddings, normalize_rows
from clipkit.search.modality_gap import center_rows, estimate_spread, subtraction_loss
from clipkit.search.ranking import library_center
from clipkit.search.relevance import NullDistribution, relevance_of

Vector = NDArray[np.floating]
Mask = NDArray[np.bool_]

TOP = 10
# The classes of OpenImages in Detic's file that CIFAR's belong to: "a animal" and "a vehicle".
OPEN_IMAGES = {"animal": 6, "vehicle": 148}
ANIMALS = {"bird", "cat", "deer", "dog", "frog", "horse"}
# COCO's supercategories; their text is the mean of their classes'.
KINDS = {
    "animal": "bird cat dog horse sheep cow elephant bear zebra giraffe",
    "vehicle": "bicycle car motorcycle airplane bus train truck boat",
    "food": "banana apple sandwich orange broccoli carrot hot_dog pizza donut cake",
    "furniture": "chair couch potted_plant bed dining_table toilet",
    "appliance": "microwave oven toaster sink refrigerator",
    "kitchenware": "bottle wine_glass cup fork knife spoon bowl",
    "electronics": "tv laptop mouse remote keyboard cell_phone",
}


@dataclass(frozen=True)
class Pair:
    """A query "A - B", and which images show each."""

    texts: Embeddings  # (2, D)
    wide: Mask
    narrow: Mask


@dataclass(frozen=True)
class Trial:
    """A library and the pairs that are asked of it."""

    name: str
    images: Embeddings
    words: Embeddings  # everyday words
    pairs: list[Pair]


@dataclass(frozen=True)
class Seen:
    """A pair as seen from the centres: the texts' directions and their cosines to N images."""

    directions: Embeddings  # (2, D)
    images: Embeddings
    spread: float

    @property
    def cosines(self) -> Vector:
        """Return the cosine of every image to A and to B, shape (2, N)."""
        return np.asarray(self.directions @ self.images.T)


def subtracted_by(share: float) -> Callable[[Seen], Vector]:
    """Return a score that takes a share of B off the direction of A."""

    def score(seen: Seen) -> Vector:
        return np.asarray(seen.images @ mix_embeddings(seen.directions, [1.0, -share])[0])

    return score


def projected(seen: Seen) -> Vector:
    """Return scores of A without what it has of B's direction."""
    wide, narrow = seen.directions
    return np.asarray(seen.images @ normalize_rows((wide - wide @ narrow * narrow)[None])[0])


def ranked_by_loss(seen: Seen) -> Vector:
    """Return the cosines to A less what is lost for showing B: what clipkit does."""
    wide, narrow = seen.cosines
    return np.asarray(wide - seen.spread * subtraction_loss(narrow / seen.spread))


SCORERS: dict[str, Callable[[Seen], Vector]] = {
    "A alone": lambda seen: seen.cosines[0],
    "less B": subtracted_by(1.0),
    "less B / 3": subtracted_by(1 / 3),
    "projected": projected,
    "clipkit": ranked_by_loss,
}


def measure(trial: Trial, *, development: bool) -> None:
    """Print what each way to subtract gives on every second pair."""
    pairs = trial.pairs[0 if development else 1 :: 2]
    centers = library_center(trial.images), library_center(trial.words)
    images = center_rows(trial.images, centers[0])
    spread = estimate_spread(center_rows(trial.words, centers[1]), images[:256])
    print(f"\n{trial.name}: {len(images)} images, {len(pairs)} pairs")
    print(f"{'':12} B in top {TOP}  A without B in top {TOP}  average precision")
    for name, score in SCORERS.items():
        rows = []
        for pair in pairs:
            scores = score(Seen(center_rows(pair.texts, centers[1]), images, spread))
            top, wanted = np.argsort(-scores, kind="stable")[:TOP], pair.wide & ~pair.narrow
            precision = average_precision(np.asarray(scores, np.float32), wanted)
            rows.append((pair.narrow[top].mean(), wanted[top].mean(), precision))
        print("{:12} {:11.3f} {:22.3f} {:18.3f}".format(name, *np.mean(rows, axis=0)))
    measure_relevance(trial, pairs)


def measure_relevance(trial: Trial, pairs: list[Pair]) -> None:
    """Print how relevant images of B, of A without B, and all others are said to be."""
    null = NullDistribution(trial.words, trial.images)
    print(f"{'relevant':12}           B              A without B             others")
    for name, weights in (("A alone", [1.0]), ("clipkit", [1.0, -1.0])):
        rows = []
        for pair in pairs:
            texts, kinds = pair.texts[: len(weights)], [False] * len(weights)
            found = relevance_of(null.z_scores(texts, weights, kinds, trial.images)) >= 0.5
            masks = (pair.narrow, pair.wide & ~pair.narrow, ~(pair.wide | pair.narrow))
            rows.append([found[mask].mean() for mask in masks])
        print("{:12} {:11.3f} {:22.3f} {:18.3f}".format(name, *np.mean(rows, axis=0)))


def starter_trial() -> Trial:
    """Return the labelled photographs and pairs of their queries such as bird and toucan."""
    encoder, photos, queries = clipkit.load(), fetch_photos(), read_queries()
    words = encoder.encode_texts([query.words for query in queries])
    matches = true_matches(queries, photos)
    pairs = [
        Pair(words[[wide, narrow]], matches[wide], matches[narrow])
        for wide, narrow in np.ndindex(len(queries), len(queries))
        if matches[narrow].any()
        and not (matches[narrow] & ~matches[wide]).any()
        and matches[wide].sum() >= matches[narrow].sum() + 3
    ]
    images = encoder.encode_images([photo.path for photo in photos])
    background = encoder.encode_texts(list(BACKGROUND_NAMES))
    return Trial("starter, labelled photographs", images, background, pairs)


def cifar_trial(folder: Path) -> Trial:
    """Return CIFAR's images of OpenAI's ViT-B/32 and pairs such as animal and cat."""
    open_images = _rows(np.load(folder / "facebookresearch+Detic" / "oid_clip_a+cname.npy"))
    with np.load(folder / "cifar10_500_vitb32.npz") as stored:
        images, labels = _rows(stored["image"]), stored["labels"]
        texts, names = _rows(stored["class_text_a_cname"]), stored["class_names"].tolist()
    pairs = []
    for label, name in enumerate(names):
        kin = [other for other, its in enumerate(names) if (its in ANIMALS) == (name in ANIMALS)]
        wide = open_images[OPEN_IMAGES["animal" if name in ANIMALS else "vehicle"]]
        both = np.stack([wide, texts[label]])
        pairs.append(Pair(both, np.isin(labels, kin), labels == label))
    return Trial("ViT-B/32, CIFAR-10", images, open_images, pairs)


def coco_trial(folder: Path) -> Trial:
    """Return COCO's photographs of OpenAI's ViT-B/16 and pairs such as animal and cat."""
    with np.load(folder / "coco500_vitb16.npz") as stored:
        labelled = stored["labelled"]
        images, shown = _rows(stored["image"][labelled]), stored["labels80"][labelled] > 0
        texts, names = _rows(stored["class_text_single"]), stored["class_names80"].tolist()
    pairs = []
    for kind in KINDS.values():
        members = [names.index(name.replace("_", " ")) for name in kind.split()]
        text, wide = normalize_rows(texts[members].mean(axis=0)[None])[0], shown[:, members].any(1)
        pairs += [
            Pair(np.stack([text, texts[member]]), wide, shown[:, member])
            for member in members
            if shown[:, member].sum() >= 5 and (wide & ~shown[:, member]).sum() >= 5
        ]
    return Trial("ViT-B/16, COCO", images, texts, pairs)


def _rows(stored: NDArray[np.floating]) -> Embeddings:
    return normalize_rows(stored)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clip-data", type=Path, help="a folder of embeddings of real CLIP models")
    parser.add_argument("--development", action="store_true", help="show the other half of pairs")
    arguments = parser.parse_args()
    trials = [starter_trial()]
    if arguments.clip_data:
        trials += [cifar_trial(arguments.clip_data), coco_trial(arguments.clip_data)]
    for trial in trials:
        measure(trial, development=arguments.development)


if __name__ == "__main__":
    main()
