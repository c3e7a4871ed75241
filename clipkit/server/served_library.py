"""The library of a server: searches of many requests, by what `ServedModel` has embedded.

What a request says of an image of the library is looked up in the index: no path of a request is
opened. Paths in answers are relative to the library's folder.
"""

import base64
import contextlib
import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import numpy as np
from anyio.to_thread import run_sync
from numpy.typing import NDArray

from clipkit.errors import ClipkitError, ImageReadError, InputError
from clipkit.progress import Callbacks, usable_cores
from clipkit.search.context import ContextOptions, retrieve_context
from clipkit.search.context_report import ContextImage
from clipkit.search.filters import FilterOptions
from clipkit.search.library import PhotoLibrary
from clipkit.search.query import Query, QueryPart
from clipkit.search.search import SearchHits
from clipkit.search.thumbnails import ThumbnailCache

_ESCAPED_BYTE = re.compile(r"\\x([89a-f][0-9a-f])")


class ServedLibrary:
    """A library that many requests search at once, each in a thread.

    Args:
        library: With the encoder of its index.
    """

    def __init__(self, library: PhotoLibrary) -> None:
        self._library = library
        self._thumbnails: ThumbnailCache = library.thumbnails()
        self._searchers = anyio.CapacityLimiter(usable_cores() + 1)  # one may wait for the disk

    async def embedding_of(self, path: str) -> tuple[NDArray[np.float32], str]:
        """Return the embedding of an indexed image, shape (D,), norm 1, and its path in the index.

        Args:
            path: Relative to the library's folder, as answers have it.

        Returns:
            As it is stored; the path is another one where its bytes are no UTF-8.

        Raises:
            InputError: If there is none of that path.
        """
        return await run_sync(self._find, path, limiter=self._searchers)

    def _find(self, path: str) -> tuple[NDArray[np.float32], str]:
        try:
            return self._library.embedding_of(path), path
        except InputError:
            meant = _ESCAPED_BYTE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), path)
            if meant != path:
                with contextlib.suppress(InputError):
                    return self._library.embedding_of(meant), meant
            raise

    async def search(
        self, parts: Sequence[QueryPart], hidden: Sequence[str], options: Mapping[str, Any]
    ) -> dict[str, object]:
        """Return the images that fit a query, as `SearchHits.to_dict` has them.

        Args:
            parts: The query, embedded.
            hidden: Paths of its own images, which are no hits.
            options: As `PhotoLibrary.search` takes them.

        Returns:
            What JSON takes, paths relative to the folder.

        Raises:
            ClipkitError: As `PhotoLibrary.search` does.
        """
        search = partial(self._library.search, Query(tuple(parts)), **_without(options, hidden))
        return self._shown(await run_sync(search, limiter=self._searchers))

    async def context(
        self,
        parts: Sequence[QueryPart],
        hidden: Sequence[str],
        options: ContextOptions,
        filters: FilterOptions,
    ) -> dict[str, Any]:
        """Return the images that fit a query as context, as `ContextReport.to_dict` has them.

        Args:
            parts: The query, embedded.
            hidden: Paths of its own images, which are not listed.
            options: How many images, and what is told of them.
            filters: Which images.

        Returns:
            What JSON takes. In place of the folder of this machine stands its name, and a URI is
            relative to it.

        Raises:
            ClipkitError: As `retrieve_context` does.
        """
        retrieve = partial(self._retrieve, Query(tuple(parts)), options, _without(filters, hidden))
        return await run_sync(retrieve, limiter=self._searchers)

    def _retrieve(
        self, query: Query, options: ContextOptions, filters: Mapping[str, Any]
    ) -> dict[str, Any]:
        quiet = Callbacks(warn=lambda line: None)
        plain = replace(options, thumbnail_size=None)
        report = retrieve_context(self._library, query, plain, callbacks=quiet, **filters)
        images = [self._presented(image, options.thumbnail_size) for image in report.images]
        folder = self._library.folder.name
        return replace(report, folder=folder, images=tuple(images)).to_dict()

    def _presented(self, image: ContextImage, size: int | None) -> ContextImage:
        """Return an image without this machine's folders, with a rendering if one was asked for."""
        file_path = self._library.folder / image.path
        uri = quote(image.path, errors="surrogateescape")
        raw = None if image.raw is None else told_path(image.raw)
        image = replace(image, uri=uri, path=told_path(image.path), raw=raw)
        if size is None:
            return image
        # By the index, which also refuses what a link leads to: the file may be another by now.
        try:
            file = self._thumbnails.render(file_path, box=(size, size))
        except ImageReadError as error:
            return replace(image, thumbnail_error=error.reason)
        except ClipkitError:  # no index on this machine: the library is in a store
            return replace(image, thumbnail_error="the file is not on the server")
        return replace(image, thumbnail=data_url(file))

    def _shown(self, hits: SearchHits) -> dict[str, object]:
        folder = self._library.folder
        shown = [
            hit.to_dict()
            | {
                "path": inner_path(hit.path, folder),
                "raw": None if hit.raw is None else inner_path(hit.raw, folder),
            }
            for hit in hits
        ]
        return hits.to_dict() | {"hits": shown}


def inner_path(path: Path, folder: Path) -> str:
    """Return the path of a hit relative to the library's folder, with / between its parts."""
    is_inside = path.is_relative_to(folder)
    return told_path(path.relative_to(folder).as_posix() if is_inside else path.name)


def told_path(path: str) -> str:
    r"""Return a path as text that any parser of JSON takes: bytes that are no UTF-8 as ``\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def data_url(jpeg: bytes) -> str:
    """Return a JPEG file as a data URL."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _without(options: Mapping[str, Any], hidden: Sequence[str]) -> dict[str, Any]:
    """Return options of a search that leave out some paths too."""
    if not hidden:
        return dict(options)
    globs = [f"/{glob.escape(path)}" for path in hidden]
    return {**options, "not_path": [*(options.get("not_path") or ()), *globs]}
