"""Does a verdict depend on how many images a library has?

Run as  python benchmarks/relevance_sizes.py  [--clip-data FOLDER]. For each collection, libraries
of 10 to 500 000 made images: drawn from a normal distribution with the mean and the covariance of
the real ones. A query is asked with one real image that matches it planted among them, and without.
Printed is the share of verdicts by size, and how many queries' verdicts flip from "found" to
"probably nothing" or back between two sizes.

Shapes: Q queries, N images, D dimensions.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from relevance_collections import Collection, Rows, read_collections

from clipkit.search.relevance import VERDICTS, RelevanceScale, Verdict, verdict_of

SIZES = (10, 50, 500, 5000, 500_000)
SAMPLE, CANDIDATES = 1024, 200  # as in a search
QUERIES = 40  # of a collection, drawn among those with a match
BLOCK = 20_000
SEED = 0


def made_images(collection: Collection, count: int) -> np.ndarray:
    """Return images drawn like the real ones, float32, shape (count, D), rows of norm 1."""
    generator = np.random.default_rng(SEED)
    center = collection.images.mean(axis=0)
    _, scales, axes = np.linalg.svd(collection.images - center, full_matrices=False)
    spread = (scales[:, None] * axes / np.sqrt(len(collection.images) - 1)).astype(np.float32)
    made = np.empty((count, len(center)), np.float32)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        drawn = generator.standard_normal((size, len(spread)), np.float32)
        block = center.astype(np.float32) + drawn @ spread
        made[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return made


def verdicts(
    collection: Collection, queries: Sequence[int], library: np.ndarray
) -> dict[str, list[Verdict]]:
    """Return the verdict on each query, with its match among the images and without."""
    generator = np.random.default_rng(SEED)
    scale = RelevanceScale(collection.bank, library[:SAMPLE])
    found: dict[str, list[Verdict]] = {"planted": [], "absent": []}
    scores = library @ collection.texts[queries].astype(np.float32).T
    for column, query in zip(scores.T, queries, strict=True):
        count = min(CANDIDATES, len(library))
        best = library[np.argpartition(-column, count - 1)[:count]].astype(np.float64)
        matches = np.flatnonzero(collection.matches[query])
        match = collection.images[generator.choice(matches)]
        for name, rows in (("absent", best), ("planted", np.vstack([match, best]))):
            found[name].append(_verdict(scale, collection.texts[query], rows, len(library)))
    return found


def _verdict(scale: RelevanceScale, text: Rows, rows: Rows, num_images: int) -> Verdict:
    found = scale.relevance(text[None], [1.0], [False], rows, num_images=num_images)
    return verdict_of(found)


def flips(by_size: Sequence[Sequence[Verdict]]) -> int:
    """Return how many queries are "found" at one size and "probably nothing" at another."""
    opposite = {"found", "probably nothing"}
    return sum(opposite <= set(verdicts) for verdicts in zip(*by_size, strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clip-data", type=Path, help="embeddings of published models")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    arguments = parser.parse_args()
    print("| collection | query | " + " | ".join(f"{size}" for size in arguments.sizes), end=" | ")
    print("flips |\n|---|---" + "|---" * len(arguments.sizes) + "|---|")
    for collection in read_collections(arguments.clip_data):
        there = np.flatnonzero(collection.matches.any(axis=1))
        draw = np.random.default_rng(SEED).permutation(there)[:QUERIES]
        library = made_images(collection, max(arguments.sizes))
        every = [verdicts(collection, draw.tolist(), library[:size]) for size in arguments.sizes]
        for name in ("planted", "absent"):
            by_size = [each[name] for each in every]
            cells = [
                " ".join(f"{row.count(verdict) / len(row):.2f}" for verdict in VERDICTS)
                for row in by_size
            ]
            row = [collection.name, name, *cells, f"{flips(by_size)} of {len(draw)}"]
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
