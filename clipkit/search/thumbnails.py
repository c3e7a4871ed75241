"""Small renderings of indexed images, for pages and programs that show them to others.

Only indexed images are rendered, and the original file is never returned: the result is a JPEG of
upright 8-bit pixels, without the EXIF data (place, camera, owner) of the file. Images that are
reached through a symbolic link in the folder are searched, but not shown: they lie elsewhere, or
under a name that is hidden.
"""

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO, NamedTuple

from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.decoder import Size
from clipkit.inputs.read_errors import UnreadableError, reason_for
from clipkit.inputs.safe_open import open_file
from clipkit.inputs.thumbnails import render_thumbnail
from clipkit.search.location import LibraryPlace
from clipkit.search.store.records import ImageRow

MAX_BYTES = 64 * 2**20  # about 2000 thumbnails


class _Key(NamedTuple):
    """One rendering of one content."""

    path: str
    size: int  # bytes of the original
    mtime_ns: int
    box: Size


class ThumbnailCache:
    """JPEG renderings of a library's indexed images, kept in memory.

    Make one with `PhotoLibrary.thumbnails`. Threads may share it. Nothing is written to disk.

    Args:
        place: The library.
        max_bytes: How many bytes of renderings are kept; the longest unused go first.
    """

    def __init__(self, place: LibraryPlace, *, max_bytes: int = MAX_BYTES) -> None:
        self._place = place
        self._max_bytes = max_bytes
        self._kept: OrderedDict[_Key, bytes] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def render(self, path: str | os.PathLike[str], *, box: Size) -> bytes:
        """Return an indexed image as a JPEG file that fits a box.

        Args:
            path: The image, as in `SearchHit.path`.
            box: The largest (width, height) in pixels, each at least 1; it is never enlarged.

        Returns:
            The file's bytes.

        Raises:
            InputError: If the path is not of an indexed image.
            ImageReadError: If the file is gone, has changed since it was indexed, is reached
                through a symbolic link in the folder, or cannot be read.
            LibraryError: If the folder has not been indexed, or the index is damaged.
        """
        image = self._indexed(Path(path))
        key = _Key(image.path, image.size, image.mtime_ns, box)
        # Also for cached renderings: the file may have been deleted since.
        with self._open(image) as file:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
            data = render_thumbnail(file, box=box)
        self._keep(key, data)
        return data

    def check(self, path: str | os.PathLike[str]) -> None:
        """Raise what `render` raises for an image that it would not open; nothing is decoded."""
        self._open(self._indexed(Path(path))).close()

    def _indexed(self, path: Path) -> ImageRow:
        """Return the record of the image at a path."""
        try:
            found = self._place.inner_paths(path)
        except (OSError, ValueError, RuntimeError):  # a null character, a link to itself
            found = set()
        # Images of an indexed parent folder that are outside of this one are not shown.
        names = sorted(name for name in found if name.startswith(self._place.prefix))
        with self._place.store.snapshot() as snapshot:
            for name in names:
                image = snapshot.find(name)
                if image is not None:
                    return image
        raise InputError(
            f"{path.absolute()} is not an indexed image of {self._place.folder}: the path must be "
            "whole, or relative to the current directory"
        )

    def _open(self, image: ImageRow) -> BinaryIO:
        """Return the file of an image, open, if it is still the one that was indexed."""
        path = self._place.indexed_folder.resolve() / image.path
        try:
            file = open_file(path)
        except (OSError, UnreadableError) as error:
            raise ImageReadError(path, reason_for(error, b"")) from error
        try:
            _check_is_indexed(file, path, image)
        except BaseException:
            file.close()
            raise
        return file

    def _keep(self, key: _Key, data: bytes) -> None:
        with self._lock:
            self._num_bytes += len(data) - len(self._kept.pop(key, b""))
            self._kept[key] = data
            while self._num_bytes > self._max_bytes:
                _, dropped = self._kept.popitem(last=False)
                self._num_bytes -= len(dropped)


def _check_is_indexed(file: BinaryIO, path: Path, image: ImageRow) -> None:
    """Raise for an open file that is not the one that was indexed.

    Of the open file, not of the path: another may have taken its place since.
    """
    status = os.fstat(file.fileno())
    if (status.st_size, status.st_mtime_ns) != (image.size, image.mtime_ns):
        raise ImageReadError(path, "has changed since it was indexed: index the folder again")
    try:
        is_here = path.resolve(strict=True) == path and os.path.samestat(status, path.lstat())
    except (OSError, RuntimeError):  # gone, or a link to itself by now
        is_here = False
    if not is_here:
        raise ImageReadError(path, "is reached through a symbolic link: its target is not shown")
