"""Images to train on that are cut or pasted at random: composites, crops and views."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from recipe.composites import Backgrounds, ObjectSize, paste_on_background, view_of
from recipe.picture import Picture
from recipe.trunk import ImageJob

_COMPOSITE_OBJECTS = ObjectSize(0.5, 1.0)
_SMALLEST_CROP = 0.2
_SMALLEST_SCENE_VIEW = 0.7  # what a scene is called must still be true of a part of it


class LazyBackgrounds:
    """Backgrounds that are decoded only if a picture has to be made."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._opened: Backgrounds | None = None

    def open(self) -> Backgrounds:
        """Return the decoded photographs."""
        if self._opened is None:
            self._opened = Backgrounds(self.paths)
        return self._opened

    @property
    def identity(self) -> str:
        """What tells these photographs from others."""
        return " ".join(path.name for path in self.paths)


def composite_job(picture: Picture, backgrounds: LazyBackgrounds, size: int) -> ImageJob:
    """Return a cut-out pasted on a photograph."""
    identity = f"composite {picture.category}/{picture.path.name} on {backgrounds.identity}"
    return ImageJob(
        identity,
        lambda: paste_on_background(
            picture.path,
            backgrounds.open(),
            random.Random(f"composite {picture.category}/{picture.path.name}"),
            size=size,
            object_size=_COMPOSITE_OBJECTS,
        ),
    )


def crop_job(number: int, backgrounds: LazyBackgrounds, size: int) -> ImageJob:
    """Return a random part of a random photograph."""
    return ImageJob(
        f"crop {number} of {backgrounds.identity}",
        lambda: backgrounds.open().crop(
            random.Random(f"crop {number}"), size, smallest=_SMALLEST_CROP
        ),
    )


def view_job(scene: Picture, number: int, size: int) -> ImageJob:
    """Return most of a photograph."""
    identity = f"view {number} of {scene.path.name}"
    return ImageJob(
        identity,
        lambda: view_of(scene.path, random.Random(identity), size, smallest=_SMALLEST_SCENE_VIEW),
    )
