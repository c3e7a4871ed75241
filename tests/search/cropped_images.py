"""Images with a spot in a corner, their crops by hand, and the rows that an index has of them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipkit.inputs.crop_boxes import WHOLE, crop_boxes, pixel_box
from clipkit.search.library import PhotoLibrary
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.vectors import VectorReader, crops_name
from tests.fakes import image_embedding

BLUE = (0, 0, 255)


def save_corner(path: Path, color: tuple[int, int, int], corner: int, side: int = 100) -> Path:
    """Write a blue image whose corner of a tenth of each side has another colour."""
    image = Image.new("RGB", (side, side), BLUE)
    left, top = (0, side - side // 10)[corner % 2], (0, side - side // 10)[corner // 2]
    image.paste(color, (left, top, left + side // 10, top + side // 10))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def parts_by_hand(path: Path) -> NDArray[np.float32]:
    """Return the embeddings of an image's whole and crops, shape (5, 4), cropped by Pillow."""
    with Image.open(path) as image:
        boxes = [pixel_box(box, image.size) for box in (WHOLE, *crop_boxes(5))]
        return np.concatenate([image_embedding(image.crop(box)) for box in boxes])


def rows_of(library: PhotoLibrary) -> dict[str, bytes]:
    """Return the rows of each path, read as plainly as can be."""
    catalog = Catalog.open(library.location / "catalog.sqlite", Path())
    assert catalog is not None
    with catalog:
        meta = catalog.meta()
        assert meta is not None
        places = {path: file.row for path, file in catalog.images().items()}
        assert not set(places.values()) & set(catalog.absent_rows().tolist())
    wholes = VectorReader(library.location / meta.vectors_file, 4, meta.num_rows, Path())
    found = {path: wholes.take(np.array([row])).tobytes() for path, row in places.items()}
    if meta.crops > 1:
        numbers = np.fromfile(library.location / crops_name(meta.vectors_file), "<f2")
        crops = numbers[: meta.num_cropped * 16].reshape(-1, 4, 4).astype(np.float32)
        for path, row in places.items():
            if row >= meta.first_cropped:
                found[path] += crops[row - meta.first_cropped].tobytes()
    return found
