"""What users see of a shift of scores, on real CLIP: where the gate of compiled models lies.

Run as  python benchmarks/score_shift.py --clip-data FOLDER  with the folder that stored_sets.py
describes. It prints the table of docs/performance.md in some minutes.

Embeddings of images and texts are moved at random, as rounding moves them, more and more. The shift
is what `clipkit.runtime.parity` measures. Beside it: for how many texts another image comes first,
how many of the first five stay, and for how many the verdict of a search becomes another.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from relevance_collections import Collection, Rows, read_published

from clipkit.embeddings import normalize_rows
from clipkit.runtime.parity import ReferenceEmbeddings, compare
from clipkit.search.relevance import RelevanceScale, verdict_of

# How far images are moved, as tangents of the angle; texts twice as far, as in 8 bits.
MOVES = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06)
DRAWS = 2
MOST_TEXTS = 100  # of a collection, drawn at random: a verdict takes its time


def move(rows: Rows, tangent: float, random: np.random.Generator) -> Rows:
    """Return rows of norm 1 moved by an angle, each in a direction of its own."""
    noise = random.standard_normal(rows.shape)
    noise -= (noise * rows).sum(axis=1, keepdims=True) * rows
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    moved: Rows = rows + tangent * noise
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def verdicts(collection: Collection, images: Rows, texts: Rows, bank: Rows) -> NDArray[np.str_]:
    """Return the verdict on a search with each text."""
    scale = RelevanceScale(bank, images)
    return np.array([verdict_of(scale.relevance([text], [1.0], [False], images)) for text in texts])


def row(collection: Collection, tangent: float) -> list[float]:
    """Return shift, share of other first images, top-5 overlap and share of other verdicts."""
    drawn = []
    before = verdicts(collection, collection.images, collection.texts, collection.bank)
    for draw in range(DRAWS):
        random = np.random.default_rng(draw)
        images = move(collection.images, tangent, random)
        texts = move(collection.texts, 2 * tangent, random)
        bank = move(collection.bank, 2 * tangent, random)
        parity = compare(
            ReferenceEmbeddings(
                *(normalize_rows(x) for x in (collection.images, collection.texts))
            ),
            ReferenceEmbeddings(*(normalize_rows(x) for x in (images, texts))),
        )
        after = verdicts(collection, images, texts, bank)
        seen = 1 - parity.same_first_image, parity.top5_overlap, (before != after).mean()
        drawn.append([parity.mean_text_cosine, parity.score_shift, *seen])
    return [float(value) for value in np.mean(drawn, axis=0)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clip-data", type=Path, required=True, metavar="FOLDER")
    titles = ("collection", "cosine of texts", "shift", "other first image", "same among five")
    print(f"| {' | '.join(titles)} | other verdict |")
    print(f"|---|{'--:|' * len(titles)}")
    for whole in read_published(parser.parse_args().clip_data):
        if whole.query_images is not None:
            continue
        chosen = np.random.default_rng(0).permutation(len(whole.texts))[:MOST_TEXTS]
        collection = replace(whole, texts=whole.texts[chosen], matches=whole.matches[chosen])
        for tangent in MOVES:
            cells = " | ".join(f"{value:.4g}" for value in row(collection, tangent))
            print(f"| {collection.name}, {collection.model} | {cells} |")


if __name__ == "__main__":
    main()
