"""Public-domain photographs of landscapes, cities and space: backgrounds, and scenes to name.

The photographs are those of the game Endless Sky that its Debian package declares public domain
(taken from Unsplash before 2017, morgueFile, NASA and USGS). The captions were written by hand.
"""

from __future__ import annotations

from pathlib import Path

from recipe.packages import Cache, RecipeError
from recipe.picture import Picture

PHOTOGRAPH_FOLDER = Path("usr/share/games/endless-sky/images/land")
CAPTION_FILE = Path(__file__).with_name("scene_captions.txt")


def read_scenes(cache: Cache) -> list[Picture]:
    """Return the captioned photographs.

    Raises:
        RecipeError: If a line of the caption file names no photograph.
    """
    return [picture for picture in _read_all(cache) if picture.captions]


def background_paths(cache: Cache) -> list[Path]:
    """Return the files of all photographs."""
    return [picture.path for picture in _read_all(cache)]


def _read_all(cache: Cache) -> list[Picture]:
    folder = cache.package_folder("endless-sky-data") / PHOTOGRAPH_FOLDER
    pictures = []
    for line in CAPTION_FILE.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.removeprefix("-").partition(":")
        path = folder / f"{name}.jpg"
        if not path.is_file():
            raise RecipeError(f"{CAPTION_FILE.name}: {line!r} names no photograph in {folder}")
        phrases = tuple(phrase.strip() for phrase in rest.split(";"))
        pictures.append(
            Picture(
                path,
                captions=() if line.startswith("-") else phrases,
                concept="scene " + phrases[0],
                split="train",
                category="scene",
                is_photograph=True,
            )
        )
    return pictures
