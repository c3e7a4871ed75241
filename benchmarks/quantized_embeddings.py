"""How many of the ten nearest are still found in fewer bits or dimensions, on real CLIP.

Run as  python benchmarks/quantized_embeddings.py --clip-data FOLDER  with the folder that
stored_sets.py describes. It prints the table of docs/embeddings.md in a few seconds.

A quantizer is fitted on one half of the images, drawn at random five times, and measured on the
other: the share of the ten images of the highest cosine to each query that are among the first ten
by the codes; "x 4" compares the embeddings of the first forty.
"""

import argparse
from pathlib import Path

import numpy as np

from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.quantizer import EmbeddingQuantizer, QuantizedPrecision

COLUMNS: list[tuple[str, QuantizedPrecision, int]] = [
    ("float16", "float16", 1),
    ("int8", "int8", 1),
    ("binary", "binary", 1),
    ("binary x 4", "binary", 4),
]
PREFIXES = {"half of the dimensions": 2, "a quarter": 4}
DRAWS = 5


def read_pairs(folder: Path) -> dict[str, tuple[Embeddings, Embeddings]]:
    """Return queries and images, shapes (M, D) and (N, D), by what they are."""
    with np.load(folder / "coco500_vitb16.npz") as stored:
        captions, photos = normalize_rows(stored["caption_text"]), normalize_rows(stored["image"])
    with np.load(folder / "lvis1203_vitb32.npz") as stored:
        names = normalize_rows(stored["text_a_cname"])
        things = normalize_rows(stored["image_prototype_k5"])
    with np.load(folder / "cifar10_500_vitb32.npz") as stored:
        small = normalize_rows(stored["image"])
    return {
        "captions, COCO's photographs (ViT-B/16)": (captions, photos),
        "photographs, COCO's photographs (ViT-B/16)": (photos, photos),
        "names, means of 5 images of LVIS (ViT-B/32)": (names, things),
        "images, CIFAR-10's images (ViT-B/32)": (small, small),
    }


def row(queries: Embeddings, images: Embeddings) -> list[float]:
    """Return the recalls of a set, one a column, the means over the draws."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(DRAWS):
        order = rng.permutation(len(images))
        fitted, measured = images[order[::2]], images[order[1::2]]
        recalls = [
            EmbeddingQuantizer.fit(fitted, precision).recall(
                queries, measured, candidates=candidates
            )
            for _, precision, candidates in COLUMNS
        ]
        recalls += [prefix_recall(queries, measured, share) for share in PREFIXES.values()]
        drawn.append(recalls)
    return [float(value) for value in np.mean(drawn, axis=0)]


def prefix_recall(queries: Embeddings, images: Embeddings, share: int) -> float:
    """Return recall@10 of the first dimensions, of norm 1 again, beside all of them."""
    kept = images.shape[1] // share
    first = normalize_rows(queries[:, :kept]) @ normalize_rows(images[:, :kept]).T
    both = [np.argsort(-scores, axis=1)[:, :10] for scores in (queries @ images.T, first)]
    return float(np.mean([np.isin(*pair).mean() for pair in zip(*both, strict=True)]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clip-data", type=Path, required=True, metavar="FOLDER")
    folder = parser.parse_args().clip_data
    titles = [name for name, _, _ in COLUMNS] + list(PREFIXES)
    print(f"| queries, images | {' | '.join(titles)} |")
    print(f"|---|{'--:|' * len(titles)}")
    for name, (queries, images) in read_pairs(folder).items():
        recalls = row(queries, images)
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in recalls)} |")


if __name__ == "__main__":
    main()
