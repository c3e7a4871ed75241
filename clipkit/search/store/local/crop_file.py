"""The crops of images: a second file of vectors beside that of the wholes.

An image whose whole is row r has its C crops in the rows from C * (r - first) on, where first is
the first row of a whole that has crops at all. So neither file nor catalog says which crop belongs
to which image, an index without crops is what it always was, and tasks that are about whole images
do not read this file. An image that had no crops when they were asked for gets a new row, with the
whole that it had.

Shapes: K images, C crops of each, M directions, D dimensions.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import Embeddings
from clipkit.search.store.local.vectors import VectorReader, crops_name
from clipkit.search.store.records import CatalogMeta


class CropReader:
    """Reads the crops of images, given their wholes.

    Args:
        location: The library's directory.
        meta: Of an index with crops.
        folder: The image folder, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        LibraryError: If it is shorter than the catalog says.
    """

    def __init__(self, location: Path, meta: CatalogMeta, folder: Path) -> None:
        self.num_crops = meta.crops - 1
        self._first = meta.first_cropped
        path = location / crops_name(meta.vectors_file)
        self.file = VectorReader(path, meta.embed_dim, meta.num_cropped * self.num_crops, folder)

    def beside(
        self, wholes: NDArray[np.float32], rows: NDArray[np.int64], directions: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the inner products of images' wholes and crops with a few directions.

        Args:
            wholes: Those of the wholes, shape (M, K).
            rows: Of the wholes, ascending, shape (K,).
            directions: Shape (M, D), norms up to 1.

        Returns:
            Shape (M, K, 1 + C), the whole first, and in place of crops that an image has not.
        """
        found = np.repeat(wholes[:, :, None], 1 + self.num_crops, axis=2)
        start = int(np.searchsorted(rows, self._first))
        if start < len(rows):
            products = self.file.products(directions, self._numbers(rows[start:]))
            found[:, start:, 1:] = products.reshape(len(directions), -1, self.num_crops)
        return found

    def take(self, wholes: Embeddings, rows: NDArray[np.int64]) -> Embeddings:
        """Return the wholes and crops of images.

        Args:
            wholes: Shape (K, D).
            rows: Of the wholes, in any order, shape (K,).

        Returns:
            Shape (K, 1 + C, D), the whole first, and in place of crops that an image has not.
        """
        found = np.repeat(wholes[:, None], 1 + self.num_crops, axis=1)
        has_crops = rows >= self._first
        crops = self.file.take(self._numbers(rows[has_crops]))
        found[has_crops, 1:] = crops.reshape(-1, self.num_crops, wholes.shape[1])
        return found

    def _numbers(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of the crops of wholes that have some, image by image."""
        return crop_rows(rows - self._first, self.num_crops)


def crop_rows(places: NDArray[np.int64], num_crops: int) -> NDArray[np.int64]:
    """Return the rows of the crops of the images at some places, image by image."""
    numbers: NDArray[np.int64] = (places[:, None] * num_crops + np.arange(num_crops)).ravel()
    return numbers


def used_names(meta: CatalogMeta) -> set[str]:
    """Return the names of the files of vectors that an index is made of."""
    crops = {crops_name(meta.vectors_file)} if meta.crops > 1 else set[str]()
    return {meta.vectors_file, *crops}


def open_crops(location: Path, meta: CatalogMeta, folder: Path) -> CropReader | None:
    """Return the crops of an index, None if it is one without; raise what CropReader does."""
    return CropReader(location, meta, folder) if meta.crops > 1 else None
