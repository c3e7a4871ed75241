"""Is a photograph first when one searches with an altered copy of it?

Run as  python benchmarks/relevance_copies.py . 120 of the everyday photographs, which are fetched
on the first run, by the starter: the share of altered copies whose original comes first of all,
in the order of a search and by the plain cosine.

Shapes: N images, K copies.
"""

import io
from collections.abc import Callable

import numpy as np
from labelled_photos import EVERYDAY, fetch_photos
from PIL import Image

import clipkit
from clipkit.background_words import BACKGROUND_NAMES
from clipkit.search.relevance import RelevanceScale

COPIES, SEED = 120, 0
Change = Callable[[Image.Image], Image.Image]


def save(image: Image.Image, quality: int = 50) -> Image.Image:
    """Return an image as saved anew in JPEG."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def crop(image: Image.Image, edge: float) -> Image.Image:
    """Return an image without a share of its width and height on each side."""
    x, y = round(edge * image.width), round(edge * image.height)
    return image.crop((x, y, image.width - x, image.height - y))


CHANGES: dict[str, Change] = {
    "saved anew, quality 50": save,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "cropped by a tenth": lambda image: crop(image, 0.05),
    "halved, quality 70": lambda image: save(image.reduce(2), 70),
    "without colour": lambda image: image.convert("L").convert("RGB"),
    "cropped by 30 %": lambda image: crop(image, 0.15),
}


def main() -> None:
    """Measure and print."""
    photos, encoder = fetch_photos(EVERYDAY), clipkit.load("starter", cache_texts=False)
    images = encoder.encode_images([photo.path for photo in photos])
    scale = RelevanceScale(encoder.encode_texts(BACKGROUND_NAMES), images)
    places = np.random.default_rng(SEED).permutation(len(photos))[:COPIES]
    print("| copy | first by evidence | first by the cosine |\n|---|---|---|")
    for name, change in CHANGES.items():
        altered = [change(Image.open(photos[place].path).convert("RGB")) for place in places]
        copies = encoder.encode_images(altered)
        evidence = [scale.evidence(row[None], [1.0], [True], images) for row in copies]
        first = np.mean(np.argmax(evidence, axis=1) == places)
        plain = np.mean((copies @ images.T).argmax(axis=1) == places)
        print(f"| {name} | {first:.2f} | {plain:.2f} |", flush=True)


if __name__ == "__main__":
    main()
