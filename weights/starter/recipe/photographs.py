"""Thirty-eight photographs, each with its own label, from three packages: only to measure."""

from __future__ import annotations

from pathlib import Path

from recipe.packages import Cache
from recipe.picture import Picture

# file: label
SCIKIT_IMAGE = {
    "astronaut.png": "astronaut",
    "chelsea.png": "cat",
    "coffee.png": "cup of coffee",
    "rocket.jpg": "rocket",
    "camera.png": "photographer with a camera",
    "coins.png": "coins",
    "brick.png": "brick wall",
    "grass.png": "grass",
    "gravel.png": "gravel",
    "hubble_deep_field.jpg": "galaxy",
    "moon.png": "moon",
    "motorcycle_left.png": "motorcycle",
    "page.png": "printed page",
    "clock_motion.png": "clock",
    "retina.jpg": "retina",
}
SCIKIT_LEARN = {"china.jpg": "temple", "flower.jpg": "flower"}
OPENCV = {
    "fruits.jpg": "fruit",
    "baboon.jpg": "monkey",
    "squirrel_cls.jpg": "squirrel",
    "home.jpg": "house",
    "apple.jpg": "apple",
    "orange.jpg": "orange",
    "butterfly.jpg": "butterfly",
    "building.jpg": "building",
    "messi5.jpg": "soccer player",
    "board.jpg": "circuit board",
    "aloeL.jpg": "potted plant",
    "aero1.jpg": "aerial view",
    "sudoku.png": "sudoku puzzle",
    "smarties.png": "candy",
    "left01.jpg": "chessboard",
    "leuvenA.jpg": "parked cars",
    "starry_night.jpg": "painting",
    "cards.png": "playing cards",
    "basketball1.png": "basketball",
    "graf1.png": "graffiti",
    "HappyFish.jpg": "fish",
}


def read_photographs(cache: Cache) -> list[Picture]:
    """Return the photographs; their caption is their label."""
    sources = (
        (cache.package_folder("scikit-image") / "skimage/data", SCIKIT_IMAGE),
        (cache.package_folder("scikit-learn") / "sklearn/datasets/images", SCIKIT_LEARN),
        (
            cache.package_folder("opencv-doc") / Path("usr/share/doc/opencv-doc/examples/data"),
            OPENCV,
        ),
    )
    return [
        Picture(folder / name, (label,), label, "test", "photographs", is_photograph=True)
        for folder, labels in sources
        for name, label in labels.items()
    ]
