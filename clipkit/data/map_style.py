"""Image-text pairs of a map-style dataset in memory: a torch Dataset, a list of tuples or alike."""

import functools
import hashlib
import os
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clipkit.data.caption_files import captions_of
from clipkit.data.image_ends import NO_HASH, NO_SIZE
from clipkit.data.pair import Pair, list_some
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.image_input import ImageInput, check_source, is_pillow_image, is_url

_NUM_TRIED = 4  # items that are read before a run begins, twice
_LONGEST_REASON = 200  # letters


class MapStyleDataset(Protocol):
    """Images with captions by number: a torch ``Dataset``, a list of tuples, any class alike.

    What a run that is resumed, or that reads in several processes, has to rely on:

    - ``dataset[i]`` is the same for the same i, in every process and after a restart. What is
      random (crops, flips, which caption, the order) is clipkit's, from seed, epoch and position:
      do not augment in the dataset.
    - It is called from worker processes (``data.workers``), which fork from the one that trains,
      and from threads: open files in ``__getitem__``, not before.

    An item that raises, or that is no image with a caption, is a pair that cannot be read, as a
    damaged file is: another one is taken, and ``data.max_bad_fraction`` decides.

    It may have besides:

    - ``fingerprint``, a text that changes when the items do. A run is resumed only with a dataset
      of the same length and the same fingerprint.
    - ``image_keys``, for each item a number or a text that is equal for equal images: where one
      image is several items, each with another caption. These are then no negatives of each other,
      and ``data.validation_fraction`` keeps them together. Without it all images are different.
    """

    def __len__(self) -> int:
        """Return the number of items."""

    def __getitem__(self, index: int, /) -> tuple[ImageInput, str | Sequence[str]]:
        """Return an image and its caption, or several captions of which one is drawn each time.

        The image is a Pillow image, a path, the bytes of a file, or a uint8 array (H, W, 3).
        """


class MapStylePairs:
    """A map-style dataset as a dataset of pairs; nothing is read before it is needed.

    Args:
        dataset: Any :class:`MapStyleDataset`.
        name: What to call it in messages and reports.

    Raises:
        InputError: If it has no length or no items, or its fingerprint or keys are none.
    """

    class_names: tuple[str, ...] = ()
    skipped: Sequence[ImageReadError] = ()

    def __init__(self, dataset: MapStyleDataset, name: str = "dataset") -> None:
        self._dataset = dataset
        self._name = name
        self._length = _length_of(dataset, name)
        self._first_rows = _first_rows(dataset, name, self._length)
        self._stated = getattr(dataset, "fingerprint", "")
        if not isinstance(self._stated, str):
            raise InputError(
                f"the fingerprint of {name} must be a text that changes when its items do, got "
                f"{type(self._stated).__name__}"
            )

    def __len__(self) -> int:
        """Return the number of pairs, as it was in the beginning."""
        return self._length

    def __getitem__(self, row: int) -> Pair:
        """Return a pair.

        Raises ImageReadError if the dataset raises, or gives what is no image with captions.
        """
        name = self.local_name(row)
        try:
            item: Any = self._dataset[row]
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
            raise ImageReadError(name, f"the dataset raised {reason}") from error
        try:
            if not isinstance(item, tuple | list) or len(item) != 2:
                raise ValueError(f"is no (image, caption), but {_described(item)}")
            image = _image(item[0])
            if isinstance(image, str | Path):
                name = f"{name} ({image})"
            return Pair(image, _captions(item[1]), name)
        except ValueError as error:
            raise ImageReadError(name, str(error)) from error

    def check_items(self) -> None:
        """Read a few items twice, spread over the dataset.

        Raises:
            InputError: If none of them is a pair, or one differs from time to time.
        """
        rows = np.unique(np.linspace(0, len(self) - 1, _NUM_TRIED).astype(np.int64)).tolist()
        errors = []
        for row in rows:
            try:
                self._check_twice(row)
            except ImageReadError as error:
                errors.append(error)
        if len(errors) == len(rows):
            raise InputError(
                f"{self._name} must give an image with its caption for each number, and gives none "
                f"of the {len(rows)} that were tried: {list_some(errors, most=2)}"
            )

    def label(self, row: int) -> None:
        """Return None: the images have no class."""

    def class_name(self, row: int) -> str | None:
        """Return None: the images have no class."""
        return None

    def local_name(self, row: int) -> str:
        """Return the name of the dataset and the number of the item."""
        return f"{self._name}[{row}]"

    def stamp(self, row: int) -> bytes:
        """Return the same for all: items do not change while the fingerprint does not."""
        return b"item"

    def image_sizes(self) -> NDArray[np.int64]:
        """Return NO_SIZE for all: what an image is encoded in is not known."""
        return np.full(len(self), NO_SIZE, dtype=np.int64)

    def ends_hashes(self, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Return NO_HASH for all."""
        return np.full(len(rows), NO_HASH, dtype=np.uint64)

    def first_rows(self) -> NDArray[np.int64]:
        """Return for each pair the row of the first one with the same image, by ``image_keys``."""
        return self._first_rows

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the length, and of what the dataset says of its items and images."""
        digest = hashlib.sha256(
            f"map-style {len(self)} {self._stated}".encode("utf-8", "surrogatepass")
        )
        digest.update(self._first_rows.tobytes())
        return digest.hexdigest()

    def _check_twice(self, row: int) -> None:
        first, again = self[row], self[row]
        name = self.local_name(row)
        if first.image is again.image and getattr(first.image, "fp", None) is not None:
            raise InputError(
                f"{name} is one open file, whose position all processes and threads would share: "
                "give the path, open the image in __getitem__, or call its load() beforehand"
            )
        if first.captions != again.captions or _content(first.image) != _content(again.image):
            raise InputError(
                f"{name} is another pair the second time it is read, so that a run could not be "
                "resumed: let the dataset give images and captions as they are; clipkit augments "
                "them (data.crop_scale, horizontal_flip, …) and draws one of several captions"
            )


def _length_of(dataset: MapStyleDataset, name: str) -> int:
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise InputError(
            f"{name} must be a map-style dataset, with len() and items by number (a list of "
            f"(image, caption), a torch Dataset), got {type(dataset).__name__}"
        )
    try:
        length = len(dataset)
    except Exception as error:
        raise InputError(f"len() of {name} raised {type(error).__name__}: {error}") from error
    if not length:
        raise InputError(f"{name} is empty: there is no pair in it")
    return length


def _first_rows(dataset: MapStyleDataset, name: str, length: int) -> NDArray[np.int64]:
    """Return for each item the first one with an equal key; itself where there are no keys."""
    keys = getattr(dataset, "image_keys", None)
    if keys is None:
        return np.arange(length, dtype=np.int64)
    firsts: dict[Hashable, int] = {}
    try:
        values = keys.tolist() if hasattr(keys, "tolist") else list(keys)
        rows = [firsts.setdefault(key, row) for row, key in enumerate(values)]
    except TypeError as error:
        raise InputError(
            f"image_keys of {name} must be a sequence, a number or a text for each item: {error}"
        ) from error
    if len(rows) != length:
        raise InputError(
            f"image_keys of {name} must be one for each of its {length} items, got {len(rows)}"
        )
    return np.array(rows, dtype=np.int64)


def _image(value: Any) -> ImageInput:
    """Return an image; ValueError says what else it is."""
    is_path = isinstance(value, str | os.PathLike)
    if not (is_path or isinstance(value, bytes | np.ndarray) or is_pillow_image(value)):
        raise ValueError(
            f"its image is {_described(value)}: give a PIL image, a path, the bytes of a file, or "
            "a uint8 array of shape (H, W, 3)"
        )
    if isinstance(value, str) and is_url(value):
        raise ValueError(
            f"its image is the URL {value!r}, and nothing is fetched: download it, and give its "
            "path or bytes"
        )
    check_source(value, allow_urls=False)
    image: ImageInput = Path(value) if isinstance(value, os.PathLike) else value
    return image


def _captions(value: Any) -> tuple[str, ...]:
    """Return captions without space around them; ValueError says why there are none."""
    if not isinstance(value, str | list | tuple):
        raise ValueError(
            f"its caption is {_described(value)}: give a text, or a list of several texts"
        )
    captions = captions_of(value if isinstance(value, str) else list(value))
    if not captions:
        raise ValueError("has no caption")
    return captions


def _described(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


def _content(image: ImageInput) -> object:
    """Return what is equal for equal images, decoded or not."""
    if isinstance(image, str | Path | bytes):
        return image
    try:
        content = image.tobytes()  # type: ignore[union-attr]  # of an array or a Pillow image
    except Exception:  # noqa: BLE001 - on damaged files Pillow raises nearly any; found when read
        return None
    shape = image.shape if isinstance(image, np.ndarray) else (image.size, image.mode)  # type: ignore[union-attr]
    return shape, content
