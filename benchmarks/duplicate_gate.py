"""How many images a gate on the cosine leaves to compare, by the starter and by published models.

Run as  python benchmarks/duplicate_gate.py --clip-data FOLDER  with a folder that stored_sets.py
describes. `clipkit duplicates` opens only images with a neighbour at least as close as its gate,
which it sets by copies of a library's own images. Copies of the stored images cannot be embedded
without their models, so the gate itself is known for the starter alone; what any gate would
leave to compare is known for all.

Shapes: N images, D dimensions.
"""

import argparse
from pathlib import Path

import numpy as np
from labelled_photos import EVERYDAY, fetch_photos
from stored_sets import read_sets

import clipkit
from clipkit.embeddings import Embeddings
from clipkit.search.duplicates.calibration import calibrate

GATES = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6)


def nearest_cosines(images: Embeddings) -> Embeddings:
    """Return the cosine of each image to the one most like it, shape (N,)."""
    cosines = images @ images.T
    np.fill_diagonal(cosines, -1.0)
    nearest: Embeddings = cosines.max(axis=1)
    return nearest


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clip-data", type=Path, required=True, metavar="FOLDER")
    folder: Path = parser.parse_args().clip_data
    encoder = clipkit.load("starter", cache_texts=False)
    paths = [photo.path for photo in fetch_photos(EVERYDAY)]
    starter = encoder.encode_images(paths)
    sets = {"starter, everyday photographs": starter}
    sets |= {one.name: one.images for one in read_sets(folder)}
    print("| images | " + " | ".join(f"{gate:g}" for gate in GATES) + " | median, nearest |")
    print("|---|" + "--:|" * (len(GATES) + 1))
    for name, images in sets.items():
        nearest = nearest_cosines(images)
        shares = (f"{(nearest >= gate).mean():.0%}" for gate in GATES)
        print(f"| {name} ({len(images)}) | {' | '.join(shares)} | {np.median(nearest):.2f} |")
    print(
        f"the starter's gate for its photographs: {calibrate(paths, starter, encoder).cosine:.2f}"
    )


if __name__ == "__main__":
    main()
