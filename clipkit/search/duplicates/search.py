"""Finding the duplicates and near-duplicates of a library."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_share
from clipkit.errors import ImageReadError
from clipkit.inputs.perceptual_hash import read_grey_thumbnails
from clipkit.near_duplicates import rows_near_another
from clipkit.progress import Progress
from clipkit.search.duplicates.calibration import DuplicateCalibration, calibrate
from clipkit.search.duplicates.confirmation import Confirmation
from clipkit.search.duplicates.file_checks import files_as_indexed, with_same_bytes
from clipkit.search.duplicates.groups import (
    DuplicateGroup,
    DuplicateReport,
    exact_groups,
    near_groups,
    one_of_each,
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
        encoder: Makes embeddings of the copies that the thresholds are calibrated on; None
            finds files of equal content only.
        threshold: How similar near-duplicates must be, 0..1; None as calibrated.
        progress: Called with how much is done, and how much there is to do.

    Returns:
        The groups, the exact ones first; paths are relative to the place's folder. Every file in
        them held the bytes that were indexed when this returned; `still_as_indexed` checks again.

    Raises:
        InputError: If the threshold is out of range, or no image can be read.
        LibraryError: If the folder has not been indexed, or the index is damaged.
        SpaceMismatchError: If the index was rebuilt with another model meanwhile.
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
        positions, files, missing = files_as_indexed(indexed, place.folder)
        distinct = one_of_each(files)
        rows = [images[positions[number]].row for number in distinct]
        embeddings = snapshot.vector_file.stored(np.array(rows, dtype=np.int64))
        snapshot.vector_file.check(embeddings)
    groups = exact_groups(files)
    calibration = None
    if encoder is not None and len(distinct) > 1:
        files = [files[number] for number in distinct]
        paths = [place.folder / file.path for file in files]
        calibration = calibrate(paths, embeddings, encoder, progress=progress)
        if threshold is not None:
            calibration = dataclasses.replace(calibration, similarity=threshold)
        near, skipped = find_near_groups(
            files,
            paths,
            embeddings,
            calibration,
            max_pixels=encoder.max_pixels,
            progress=progress,
        )
        groups += [_best_first(group, place.folder, encoder.max_pixels) for group in near]
        missing += skipped
    # Comparing takes a while: the files of the last groups may have changed meanwhile.
    now = [with_same_bytes(group, place.folder) for group in groups]
    return DuplicateReport([group for group in now if group], missing, calibration)


def find_near_groups(
    images: Sequence[ImageFile],
    paths: Sequence[Path],
    embeddings: NDArray[np.floating[Any]],
    calibration: DuplicateCalibration,
    *,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[DuplicateGroup], list[ImageReadError]]:
    """Return the groups of near-duplicates, reading only images that may be in one.

    Args:
        images: N images, one of each set of exact copies.
        paths: Their files, N.
        embeddings: Theirs, shape (N, D), rows of norm 1, float16 or float32.
        calibration: The thresholds.
        max_pixels: How many pixels of one image may be decoded. None: default_max_pixels().
        progress: Called during each of four stages, from 0 each: comparing embeddings, reading
            images that are close to another, comparing those, and comparing the pixels of those
            that are similar.

    Returns:
        The groups, and why some images could not be compared.
    """
    near = rows_near_another(embeddings, calibration.cosine, progress=progress)
    report = read_grey_thumbnails(
        [paths[row] for row in near], max_pixels=max_pixels, progress=progress
    )
    near = near[report.positions]
    path_of = {images[row].path: paths[row] for row in near}
    confirmation = Confirmation(path_of, max_pixels=max_pixels, progress=progress)
    groups = near_groups(
        [images[row] for row in near],
        embeddings[near],
        report.thumbnails,
        calibration,
        confirm=confirmation,
        progress=progress,
    )
    return groups, [*report.skipped, *confirmation.skipped]


def _best_first(group: DuplicateGroup, folder: Path, max_pixels: int | None) -> DuplicateGroup:
    """Return a near group with the best first, judged by the opened files."""
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
