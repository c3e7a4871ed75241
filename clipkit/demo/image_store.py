"""The images that the page may show, by unguessable ids, and the Gradio components for them.

A visitor never names a file. The browser gets an id for each image that a search has found or that
was uploaded, and for an id it gets a rendering as JPEG.
"""

import hmac
import io
import re
import secrets
import threading
from abc import ABCMeta
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import gradio as gr
from gradio.component_meta import ComponentMeta
from gradio.components.gallery import GalleryData, GalleryImage, GalleryVideo
from gradio.data_classes import ImageData

import clipkit
from clipkit.demo.messages import refuse, short_name

THUMBNAIL = (480, 480)  # pixels: a tile of the gallery, on a sharp screen
SCREEN = (1600, 1600)
MAX_FOUND = 20_000  # ids of found images: 1000 visitors' last results
MAX_UPLOADED_BYTES = 128 * 2**20  # of renderings: some 400 visitors' images
MAX_UPLOAD_PIXELS = 100_000_000
UPLOAD_QUALITY = 95  # the model reads this rendering: cosine to the file's .9995 on average

ID = re.compile(r"[0-9a-f]{32}(?P<small>-small)?")


class Upload(NamedTuple):
    """An image that a visitor has uploaded."""

    name: str
    rendering: bytes  # JPEG, at most SCREEN


class ImageStore:
    """Ids that cannot be guessed, for images of the library and for uploads, in memory.

    Args:
        library: What is searched.
    """

    def __init__(self, library: clipkit.PhotoLibrary) -> None:
        self._thumbnails = library.thumbnails()
        self._secret = secrets.token_bytes(32)
        self._found: OrderedDict[str, Path] = OrderedDict()
        self._mapped: dict[str, Path] = {}
        self._uploads: OrderedDict[str, Upload] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()

    def key_of(self, path: Path) -> str:
        """Return the id of an image of the library, the same as long as the page is served."""
        return hmac.digest(self._secret, bytes(path), "sha256").hex()[:32]

    def admit(self, path: Path) -> str:
        """Return the id of an image of the library, which its rendering can be had by from now."""
        key = self.key_of(path)
        with self._lock:
            self._found[key] = path
            self._found.move_to_end(key)
            if len(self._found) > MAX_FOUND:
                self._found.popitem(last=False)
        return key

    def admit_map(self, paths: Sequence[Path]) -> tuple[str, ...]:
        """Return the ids of all images of a map, in the place of those of an earlier map."""
        mapped = {self.key_of(path): path for path in paths}
        with self._lock:
            self._mapped = mapped
        return tuple(mapped)

    def upload(self, data: bytes, name: str) -> str:
        """Keep a rendering of a file from outside, not the file.

        Args:
            data: The file.
            name: What it is called there.

        Returns:
            The image's id.

        Raises:
            ImageReadError: If it is no image that can be read.
        """
        file = io.BytesIO(data)
        file.name = short_name(name)  # for messages, and RAW files are known by it
        rendering = clipkit.render_thumbnail(
            file, box=SCREEN, quality=UPLOAD_QUALITY, max_pixels=MAX_UPLOAD_PIXELS
        )
        key = secrets.token_hex(16)
        with self._lock:
            self._uploads[key] = Upload(file.name, rendering)
            self._num_bytes += len(rendering)
            while self._num_bytes > MAX_UPLOADED_BYTES:
                _, dropped = self._uploads.popitem(last=False)
                self._num_bytes -= len(dropped.rendering)
        return key

    def __contains__(self, text: object) -> bool:
        """Return whether a text is an id that was given out, with or without its size."""
        match = ID.fullmatch(text) if isinstance(text, str) else None
        return match is not None and self._find(match[0][:32]) is not None

    def source(self, key: str) -> Path | Upload:
        """Return the image behind an id.

        Args:
            key: The id, without a size.

        Returns:
            The file of an image of the library, or what was uploaded.

        Raises:
            gr.Error: If the page has forgotten it.
            ClipkitError: If its file may not be shown any more.
        """
        source = self._find(key)
        if source is None:
            raise refuse("This image is not here any more: choose it again")
        if isinstance(source, Path):
            self._thumbnails.check(source)
        return source

    def render(self, text: str) -> bytes | None:
        """Return an id's image as a JPEG file; None if the id was not given out."""
        match = ID.fullmatch(text)
        source = self._find(text[:32]) if match else None
        if match is None or source is None:
            return None
        if isinstance(source, Upload):
            return source.rendering
        return self._thumbnails.render(source, box=THUMBNAIL if match["small"] else SCREEN)

    def thumbnail(self, path: Path) -> bytes:
        """Return a small rendering of an image of the library as a JPEG file.

        Args:
            path: The image.

        Returns:
            The file's bytes.

        Raises:
            ClipkitError: If the image may not be shown any more.
        """
        return self._thumbnails.render(path, box=THUMBNAIL)

    def is_shown(self, path: Path) -> bool:
        """Return whether a file is an indexed image that can be shown."""
        try:
            self._thumbnails.check(path)
        except clipkit.ClipkitError:
            return False
        return True

    def _find(self, key: str) -> Path | Upload | None:
        with self._lock:
            for known in (self._found, self._uploads):
                if key in known:
                    known.move_to_end(key)
                    return known[key]
            return self._mapped.get(key)


class PlainMeta(ComponentMeta):
    """Creates classes as Python does; Gradio's metaclass writes a stub file beside the module."""

    def __new__(cls, name: str, bases: tuple[type, ...], attributes: dict[str, object]) -> type:
        """Return the class."""
        made: type = ABCMeta.__new__(cls, name, bases, attributes)
        return made


def _stay(self: object, url_or_file_path: str | Path | None) -> str | None:
    """Return an id as it is, where Gradio would fetch or copy what a path or an address names."""
    return None if url_or_file_path is None else str(url_or_file_path)


async def _stay_async(self: object, url_or_file_path: str | Path | None) -> str | None:
    return _stay(self, url_or_file_path)


class StoredImage(gr.Image, metaclass=PlainMeta):
    """One image of the store; handlers get and give its id."""

    is_template = True  # drawn in the browser by the parent's code
    move_resource_to_block_cache = _stay
    async_move_resource_to_block_cache = _stay_async

    def preprocess(self, payload: ImageData | None) -> str | None:
        """Return the id that a visitor sent."""
        return payload.path if payload else None

    def postprocess(self, value: str | None) -> ImageData | None:  # type: ignore[override]
        """Return the value for the browser."""
        return ImageData(path=value, orig_name="image.jpg") if value else None


class StoredGallery(gr.Gallery, metaclass=PlainMeta):
    """Images of the store; handlers give pairs of an id and a caption."""

    is_template = True
    move_resource_to_block_cache = _stay
    async_move_resource_to_block_cache = _stay_async

    def postprocess(  # type: ignore[override]
        self, value: list[tuple[str, str | None]] | None
    ) -> GalleryData:
        """Return the value for the browser."""
        items: list[GalleryImage | GalleryVideo] = [
            GalleryImage(image=ImageData(path=key, orig_name="image.jpg"), caption=caption)
            for key, caption in value or ()
        ]
        return GalleryData(root=items)


def small(key: str) -> str:
    """Return an id that asks for the thumbnail."""
    return f"{key}-small"
