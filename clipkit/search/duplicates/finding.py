"""Comparing the pictures of a library with each other."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from clipkit.errors import InputError
from clipkit.progress import Progress
from clipkit.search.duplicates.calibration import calibrate
from clipkit.search.duplicates.groups import (
    DuplicateReport,
    PictureFile,
    distinct,
    exact_groups,
    find_near_duplicates,
)
from clipkit.search.entries import ImageRow
from clipkit.search.location import LibraryPlace
from clipkit.search.snapshot import committed
from clipkit.search.sync import check_space

if TYPE_CHECKING:
    from clipkit.encoder import Encoder


def find_duplicates(
    place: LibraryPlace,
    encoder: "Encoder | None",
    *,
    threshold: float | None = None,
    progress: Progress | None = None,
) -> DuplicateReport:
    """Return which pictures of a library are copies of each other.

    Args:
        place: The pictures and the index.
        encoder: Makes embeddings of the copies that near duplicates are calibrated with; None
            looks for files of equal content only.
        threshold: How like near duplicates must be, 0..1; None as calibrated.
        progress: Called with how much is done, and how much there is to do.

    Returns:
        The groups, the exact ones first; paths are relative to the place's folder.

    Raises:
        InputError: If the threshold is out of range, or no picture can be read.
        LibraryError: If the folder has not been indexed, or the index is damaged.
        SpaceMismatchError: If the index was made anew with another model meanwhile.
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"threshold must be between 0 and 1, got {threshold}")
    with committed(place) as (catalog, meta, vectors):
        if encoder is not None:
            check_space(meta, encoder, place)
        images = [image for image in catalog.contents() if image.path.startswith(place.prefix)]
        files = [_picture_file(image, place) for image in images]
        places = distinct(files)
        embeddings = vectors.stored(np.array([images[n].row for n in places], dtype=np.int64))
    exact = exact_groups(files)
    if encoder is None or len(places) < 2:
        return DuplicateReport(exact)
    files = [files[number] for number in places]
    paths = [place.folder / file.path for file in files]
    calibration = calibrate(paths, embeddings, encoder, progress=progress)
    if threshold is not None:
        calibration = dataclasses.replace(calibration, likeness=threshold)
    near, skipped = find_near_duplicates(
        files,
        paths,
        embeddings,
        calibration,
        max_pixels=encoder.max_pixels,
        progress=progress,
    )
    return DuplicateReport([*exact, *near], skipped, calibration)


def _picture_file(image: ImageRow, place: LibraryPlace) -> PictureFile:
    return PictureFile(
        image.path.removeprefix(place.prefix),
        image.digest,
        image.size,
        image.width,
        image.height,
    )
