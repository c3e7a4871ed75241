"""Finding the duplicates and near-duplicates of a library."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipkit.arguments import check_share
from clipkit.progress import Progress
from clipkit.search.duplicates.calibration import calibrate
from clipkit.search.duplicates.file_checks import confirmed, present_files
from clipkit.search.duplicates.groups import (
    DuplicateGroup,
    DuplicateReport,
    distinct,
    exact_groups,
    find_near_duplicates,
)
from clipkit.search.duplicates.preference import best_first, read_merits
from clipkit.search.location import LibraryPlace
from clipkit.search.store.records import ImageFile, ImageRow
from clipkit.search.sync import check_space

if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder


def find_duplicates(
    place: LibraryPlace,
    encoder: "Encoder | None",
    *,
    threshold: float | None = None,
    progress: Progress | None = None,
) -> DuplicateReport:
    """Return which images of a library are copies of each other.

    Args:
        place: The images and the index.
        encoder: Makes embeddings of the copies that near duplicates are calibrated with; None
            looks for files of equal content only.
        threshold: How like near duplicates must be, 0..1; None as calibrated.
        progress: Called with how much is done, and how much there is to do.

    Returns:
        The groups, the exact ones first; paths are relative to the place's folder. Every file in
        them held the bytes that were indexed when this returned; `still_there` looks again.

    Raises:
        InputError: If the threshold is out of range, or no image can be read.
        LibraryError: If the folder has not been indexed, or the index is damaged.
        SpaceMismatchError: If the index was made anew with another model meanwhile.
    """
    if threshold is not None:
        threshold = check_share(threshold, "threshold")
    with place.store.snapshot() as snapshot:
        if encoder is not None:
            check_space(snapshot.meta, encoder, place)
        images = [
            image for image in snapshot.catalog.contents() if image.path.startswith(place.prefix)
        ]
        indexed = [_image_file(image, place) for image in images]
        present, files, missing = present_files(indexed, place.folder)
        places = distinct(files)
        rows = [images[present[number]].row for number in places]
        embeddings = snapshot.vector_file.stored(np.array(rows, dtype=np.int64))
    groups = exact_groups(files)
    calibration = None
    if encoder is not None and len(places) > 1:
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
        groups += [_ordered(group, place.folder, encoder.max_pixels) for group in near]
        missing += skipped
    # Comparing takes its time, and what is named last must be there too.
    now = [confirmed(group, place.folder) for group in groups]
    return DuplicateReport([group for group in now if group], missing, calibration)


def _ordered(group: DuplicateGroup, folder: Path, max_pixels: int | None) -> DuplicateGroup:
    """Return a near group with the best first, as the files themselves tell."""
    merits = read_merits(group.images, folder, max_pixels=max_pixels)
    return dataclasses.replace(group, images=tuple(best_first(group.images, merits)))


def _image_file(image: ImageRow, place: LibraryPlace) -> ImageFile:
    return ImageFile(
        image.path.removeprefix(place.prefix),
        image.digest,
        image.size,
        image.width,
        image.height,
        image.mtime_ns,
        image.is_settled,
        image.taken_at,
    )
