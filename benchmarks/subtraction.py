"""Queries with subtraction, such as "a bird - an owl": what leaves the top, and what stays.

Run as  python benchmarks/subtraction.py  [--clip-data FOLDER]. The first table is the starter's on
the labelled photographs, which are fetched on the first run. FOLDER holds embeddings of published
models: see stored_sets.py.

Each pair is a wide A and a narrower B that the library has. Every second pair is for development:
the constants of clipkit/search/modality_gap.py were chosen there; the tables show the others.

Shapes: N images, D dimensions.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from composition import average_precision, interval
from labelled_photos import fetch_photos, read_queries, true_matches
from mixed_search import MixedSearch, make_query
from numpy.typing import NDArray
from stored_sets import StoredSet, read_sets

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.embeddings import Embeddings, mix_embeddings, normalize_rows
from clipkit.search.modality_gap import center_rows, estimate_spread, subtraction_loss
from clipkit.search.ranking import library_center
from clipkit.search.relevance import DEFAULT_MIN_RELEVANCE

Vector = NDArray[np.floating]
Mask = NDArray[np.bool_]

TOP = 10
FEWEST = 5  # images of B, and of A without B


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
    """Return the cosines to A less what is lost for showing B: clipkit's candidates."""
    wide, narrow = seen.cosines
    return np.asarray(wide - seen.spread * subtraction_loss(narrow / seen.spread))


SCORERS: dict[str, Callable[[Seen], Vector]] = {
    "A alone": lambda seen: seen.cosines[0],
    "less B": subtracted_by(1.0),
    "less B / 3": subtracted_by(1 / 3),
    "projected": projected,
    "score": ranked_by_loss,
}


def measure(trial: Trial, *, development: bool) -> None:
    """Print what each way to subtract gives on every second pair."""
    pairs = trial.pairs[0 if development else 1 :: 2]
    centers = library_center(trial.images), library_center(trial.words)
    images = center_rows(trial.images, centers[0])
    spread = estimate_spread(center_rows(trial.words, centers[1]), images[:256])
    print(f"\n{trial.name}: {len(images)} images, {len(pairs)} pairs")
    print(f"{'':12} B in top {TOP}  A without B in top {TOP}  average precision")
    seen = [Seen(center_rows(pair.texts, centers[1]), images, spread) for pair in pairs]
    scores = {name: [score(each) for each in seen] for name, score in SCORERS.items()}
    search = MixedSearch(trial.images, trial.words)
    queries = [make_query([(a, 1.0, False), (b, -1.0, False)]) for a, b in (p.texts for p in pairs)]
    scores["evidence"] = [search.found(query, weigh=False)[0] for query in queries]
    scores["clipkit"] = [search.found(query)[0] for query in queries]
    tables = {}
    for name, values in scores.items():
        rows = []
        for pair, value in zip(pairs, values, strict=True):
            top, wanted = np.argsort(-value, kind="stable")[:TOP], pair.wide & ~pair.narrow
            precision = average_precision(np.asarray(value, np.float32), wanted)
            rows.append((pair.narrow[top].mean(), wanted[top].mean(), precision))
        tables[name] = np.array(rows)
        print("{:12} {:11.3f} {:22.3f} {:18.3f}".format(name, *tables[name].mean(axis=0)))
    gains = (tables["clipkit"] - tables["score"]).T
    print("clipkit - score:", "  ".join(interval(gain) for gain in gains))
    measure_relevance(trial, pairs)


def measure_relevance(trial: Trial, pairs: list[Pair]) -> None:
    """Print how relevant images of B, of A without B, and all others are said to be."""
    search = MixedSearch(trial.images, trial.words)
    print(f"{'relevant':12}           B              A without B             others")
    for name, weights in (("A alone", [1.0]), ("clipkit", [1.0, -1.0])):
        rows = []
        for pair in pairs:
            query = make_query([(*part, False) for part in zip(pair.texts, weights, strict=False)])
            found = search.found(query)[1] >= DEFAULT_MIN_RELEVANCE
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


def stored_trial(stored: StoredSet) -> Trial:
    """Return the images of a stored set and pairs such as animal and cat."""
    pairs = []
    for text, names in stored.wider.values():
        members = [stored.class_names.index(name) for name in names]
        wide = stored.shows[:, members].any(axis=1)
        pairs += [
            Pair(np.stack([text, stored.texts[member]]), wide, stored.shows[:, member])
            for member in members
            if stored.shows[:, member].sum() >= FEWEST
            and (wide & ~stored.shows[:, member]).sum() >= FEWEST
        ]
    return Trial(stored.name, stored.images, stored.bank, pairs)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clip-data", type=Path, help="a folder of embeddings of real CLIP models")
    parser.add_argument("--development", action="store_true", help="show the other half of pairs")
    arguments = parser.parse_args()
    trials = [starter_trial()]
    if arguments.clip_data:
        trials += [stored_trial(each) for each in read_sets(arguments.clip_data) if each.wider]
    for trial in trials:
        measure(trial, development=arguments.development)


if __name__ == "__main__":
    main()
