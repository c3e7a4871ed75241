"""Crops of images that are indexed already: embedded from their files, while their wholes stay.

Shapes: C crops of an image, D dimensions.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from clipkit.embeddings import Embeddings
from clipkit.errors import ImageReadError
from clipkit.inputs.crop_boxes import CropBox
from clipkit.search.store.records import ImageRow

if TYPE_CHECKING:
    from clipkit.encoder.encoder import Encoder


class CroppedImages(NamedTuple):
    """Some indexed images whose crops were embedded, and others whose files cannot be read."""

    images: list[tuple[ImageRow, Embeddings]]  # with the crops, shape (C, D)
    failed: list[ImageReadError]


def embed_crops(
    encoder: "Encoder",
    images: Sequence[ImageRow],
    boxes: Sequence[CropBox],
    locate: Callable[[str], Path],
) -> Generator[CroppedImages]:
    """Yield the crops of images, of equal content embedded once.

    Args:
        encoder: Makes the embeddings.
        images: As they are indexed.
        boxes: The crops, C of them.
        locate: Maps a path in the index to the file.

    Yields:
        Batches. A file of another size or time than the index records is in none.
    """
    groups: dict[bytes | str, list[ImageRow]] = {}
    for image in images:
        groups.setdefault(image.digest or image.path, []).append(image)
    alike = list(groups.values())
    paths = [locate(same[0].path) for same in alike]
    with closing(encoder.stream_images(paths, boxes=boxes)) as batches:
        for batch in batches:
            shape = len(batch.positions), len(boxes), encoder.embed_dim
            rows = batch.embeddings.reshape(shape)
            cropped = [
                (image, crops)
                for position, crops in zip(batch.positions, rows, strict=True)
                for image in alike[position]
                if _is_as_indexed(locate(image.path), image)
            ]
            failed = [
                ImageReadError(
                    locate(image.path), f"has no crops, only its whole is searched: {error.reason}"
                )
                for position, error in batch.skipped
                for image in alike[position]
            ]
            yield CroppedImages(cropped, failed)


def _is_as_indexed(path: Path, image: ImageRow) -> bool:
    """Return whether a file has the size and time of change that the index records."""
    with suppress(OSError):
        status = path.stat()
        return (status.st_size, status.st_mtime_ns) == (image.size, image.mtime_ns)
    return False
