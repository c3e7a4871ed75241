"""Labelled images as class folders that a training run reads: links to the files, and names."""

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipkit.adaptation.images import AdaptationImages
from clipkit.files import write_text
from clipkit.inputs.image_input import ImageInput


@dataclass(frozen=True)
class TrainingFolder:
    """A directory with class folders, and with a file that names their classes.

    The folders have the numbers of the classes, since a class may have a name that no folder can
    have.
    """

    directory: Path

    @property
    def images(self) -> Path:
        """The folder with the class folders."""
        return self.directory / "images"

    @property
    def class_names(self) -> Path:
        """The file with their names."""
        return self.directory / "class-names.json"

    def write(self, images: AdaptationImages, rows: NDArray[np.intp]) -> None:
        """Write some images; class folders that are there already are made anew.

        Args:
            images: Labelled images.
            rows: Of them, ascending; the same rows give the same files.

        Raises:
            OSError: If they cannot be written.
        """
        shutil.rmtree(self.images, ignore_errors=True)
        names = {}
        for row in rows.tolist():
            label = int(images.labels[row])
            folder = self.images / f"class-{label}"
            names[folder.name] = images.class_names[label]
            folder.mkdir(parents=True, exist_ok=True)
            ending = Path(images.name(row)).suffix or ".jpg"  # what is in the file decides
            _place(images.image(row), folder / f"{row:07d}{ending}")
        write_text(self.class_names, json.dumps(names))


def _place(image: ImageInput, path: Path) -> None:
    """Put an image at a path: a link where the system has them, else a copy."""
    if isinstance(image, bytes):  # of an archive or a Parquet file
        path.write_bytes(image)
        return
    assert isinstance(image, str | Path)  # a dataset of pairs has no others
    source = Path(image).absolute()
    with suppress(OSError, NotImplementedError):
        path.symlink_to(source)
        return
    shutil.copyfile(source, path)
