"""A folder of pictures kept in step with an index, and searched.

The library holds nothing open between two calls: each call reads, or writes, the last committed
state, so several threads and processes may search one library while one of them indexes.

Shapes: D dimensions of the shared space.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack

from clipkit.embeddings import Embeddings
from clipkit.errors import InputError, LibraryBusyError, LibraryError
from clipkit.progress import Progress
from clipkit.search.adoption import adopt_index
from clipkit.search.answering import Answering, SearchHit
from clipkit.search.background import make_background, stored_background
from clipkit.search.catalog import Catalog
from clipkit.search.closing import Closing
from clipkit.search.embedding import QueryEmbedder, needed_encoder
from clipkit.search.filters import FilterOptions, PictureFilter
from clipkit.search.location import (
    LibraryPlace,
    existing_folder,
    existing_location,
    indexed_parents,
    inner_location,
    take_index_along,
)
from clipkit.search.lock import WriterLock
from clipkit.search.query import Query, parse_query
from clipkit.search.ranking import Candidates
from clipkit.search.snapshot import committed, not_indexed, stored_meta
from clipkit.search.sync import SyncOptions, SyncReport, check_space, sync_library
from clipkit.search.vectors import vectors_files
from clipkit.search.watching import watch_folder

if TYPE_CHECKING:
    from clipkit.encoder import Encoder
    from clipkit.search.duplicates.groups import DuplicateReport
    from clipkit.search.status import LibraryStatus
    from clipkit.search.thumbnails import ThumbnailCache

__all__ = ["PhotoLibrary", "SearchHit", "SyncReport"]

PicturePath = str | os.PathLike[str]


class PhotoLibrary(Closing):
    """A folder of pictures and its index: `sync` brings them in step, `search` finds pictures.

    Make one with `PhotoLibrary.open` or `PhotoLibrary.open_nearest`. The index lies in the
    user's data directory (or ``$CLIPKIT_HOME``), never among the pictures unless asked to.

    Args:
        place: The pictures and the index.
        encoder: Makes embeddings of pictures and queries. Without one the library can be
            counted, removed, and searched by ready embeddings.
    """

    def __init__(self, place: LibraryPlace, encoder: "Encoder | None" = None) -> None:
        self._place = place
        self._encoder = encoder

    @classmethod
    def open(
        cls,
        folder: PicturePath,
        encoder: "Encoder | None" = None,
        *,
        location: PicturePath | None = None,
        here: bool = False,
    ) -> "PhotoLibrary":
        """Return the library of a folder, indexed or not; nothing is read but its catalog.

        An index inside the folder is found wherever the two have moved; one in the user's data
        directory if the folder was moved or renamed on the same disk.

        Args:
            folder: The picture folder.
            encoder: Makes embeddings of pictures and queries.
            location: Another directory for the index than the usual one.
            here: Whether to keep the index inside the folder, as ``.clipkit``. The next sync
                takes one in the user's data directory along.

        Returns:
            The library.

        Raises:
            InputError: If there is no such folder, or both `location` and `here` are given.
            LibraryError: If the index is damaged or of a newer clipkit.
            SpaceMismatchError: If the index was built with another model.
        """
        path = existing_folder(folder)
        if here and location is not None:
            raise InputError("an index can be kept here or at a location, not both: leave one out")
        if location is not None:
            index = Path(location)
        else:
            adopt_index(path)
            index = inner_location(path) if here else existing_location(path)
        return cls(LibraryPlace(path, index), encoder)._checked()

    @classmethod
    def open_nearest(cls, folder: PicturePath, encoder: "Encoder | None" = None) -> "PhotoLibrary":
        """Return the library of a folder, or its part of the nearest parent's that knows it.

        Somebody who has indexed ``photos`` and searches ``photos/2024`` gets what is in there
        without indexing it twice. A parent's index that has no picture of the folder, because
        it is new or left out there, does not count. If there is none, the library is the
        folder's own.

        Args:
            folder: The picture folder.
            encoder: Makes embeddings of pictures and queries.

        Returns:
            The library, which shows and syncs what lies in the folder.

        Raises:
            InputError: If there is no such folder.
            LibraryError: If the index is damaged or of a newer clipkit.
            SpaceMismatchError: If the index was built with another model.
        """
        path = existing_folder(folder)
        adopt_index(path)
        for place in indexed_parents(path):
            library = cls(place, encoder)
            if not place.prefix or len(library):
                return library._checked()
        return cls.open(path, encoder)

    @property
    def folder(self) -> Path:
        """The picture folder, as it was given."""
        return self._place.folder

    @property
    def location(self) -> Path:
        """The directory of the index."""
        return self._place.location

    @property
    def indexed_folder(self) -> Path:
        """The folder that was indexed: `folder`, or the parent whose part it is."""
        return self._place.indexed_folder

    @property
    def is_indexed(self) -> bool:
        """Whether there is an index to search."""
        return stored_meta(self._place) is not None

    def __len__(self) -> int:
        """Return how many pictures of the folder are indexed."""
        catalog = Catalog.open(self._place.catalog_path, self.indexed_folder)
        if catalog is None:
            return 0
        with catalog:
            return catalog.count(self._place.prefix)

    def status(self) -> "LibraryStatus":
        """Return what the index holds and how far it lags behind the folder; change nothing.

        Returns:
            The status.

        Raises:
            InputError: If the folder is gone.
            LibraryError: If the folder has not been indexed, or the index is damaged.
        """
        from clipkit.search.status import read_status  # as find_duplicates

        return read_status(self._place)

    def sync(
        self,
        *,
        progress: Progress | None = None,
        exclude: Sequence[str] | None = None,
        include_hidden: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> SyncReport:
        """Bring the index in step with the folder: new, changed, moved and deleted pictures.

        A moved, renamed or copied picture costs reading it once, a new one is also encoded.
        What is done is committed every two seconds, and on the way out of Ctrl-C; the next sync
        goes on from there. A file that cannot be read is reported, and not tried again
        until it changes.

        Args:
            progress: Called with how many pictures are done, and how many there are to do.
            exclude: Patterns of names and paths to leave out, as `find_images` has them; None
                for those of last time.
            include_hidden: Whether names that start with a dot count; None for as last time.
            clock: Tells the time in seconds.

        Returns:
            What was done and what was skipped.

        Raises:
            InputError: If the folder is gone, or there is no encoder.
            LibraryError: If another process is writing (`LibraryBusyError`), or the index is
                damaged or cannot be written.
            SpaceMismatchError: If the index was built with another model.
        """
        if self._place.prefix and not (exclude is None and include_hidden is None):
            raise InputError(
                f"{self.folder} is a part of the index of {self.indexed_folder}: what to leave "
                "out is said for the whole of it"
            )
        if self.location == inner_location(self.folder):
            take_index_along(self._place)
        return sync_library(
            self._place,
            self._needed_encoder(),
            SyncOptions(exclude, include_hidden),
            progress=progress,
            clock=clock,
        )

    def watch(self, stop: threading.Event | None = None) -> Iterator[SyncReport]:
        """Sync now, and again whenever something in the folder has changed.

        While another process is writing, its turn is waited for.

        Args:
            stop: Set it, from another thread, to end the watch; otherwise Ctrl-C does.

        Yields:
            What each sync did.

        Raises:
            InputError: If the folder is gone, or there is no encoder.
            LibraryError: If the system cannot watch the folder, or as `sync` raises it.
            SpaceMismatchError: If the index was built with another model.
        """
        is_behind = True
        for has_changed in watch_folder(self.folder, stop):
            is_behind = is_behind or has_changed
            if not is_behind:
                continue
            try:
                report = self.sync()
            except LibraryBusyError:
                continue
            is_behind = False
            yield report

    def search(
        self,
        query: str | Query | Embeddings | None = None,
        *,
        k: int = 10,
        min_relevance: float = 0.0,
        diversity: float = 0.0,
        more_like: Sequence[PicturePath] = (),
        less_like: Sequence[PicturePath] = (),
        **filters: Unpack[FilterOptions],
    ) -> list[SearchHit]:
        """Return the pictures closest to a query, as of the last commit.

        Filters come before the ranking: k pictures come back whenever k pass them. Pictures of
        the query, and those marked as more or less like what is sought, are left out.

        Args:
            query: Words, a picture such as "./cat.jpg", a parsed query, one embedding of a text
                or picture, shape (D,) or (1, D) and norm 1, or nothing if pictures are marked.
            k: The most pictures to return, k >= 1.
            min_relevance: Pictures that are less relevant than this are left out, 0..1; from
                0.5 on a picture more likely than not fits the query.
            diversity: How much results should differ from each other, 0..1; 0 ranks by the
                query alone.
            more_like: Pictures like what is sought: the query is refitted to them.
            less_like: Pictures unlike what is sought.
            **filters: What results must be like; `PictureFilter` has them: path, after,
                before, min_width, min_height, orientation, camera.

        Returns:
            Best first; equals in the order of the paths.

        Raises:
            InputError: If the query is empty or names no existing picture, an embedding has
                another shape or norm, a number or a filter is out of range, or there is no
                encoder.
            ImageReadError: If a picture of the query cannot be read.
            LibraryError: If the folder has not been indexed, or the index is damaged.
            SpaceMismatchError: If the index was built with another model.
        """
        answering = Answering(k=k, min_relevance=min_relevance, diversity=diversity)
        accepted = PictureFilter(**filters)
        if not self.is_indexed:
            raise not_indexed(self._place)  # before a model is loaded for it
        embedder = QueryEmbedder(self._place, self._encoder)
        parsed = parse_query(query) if isinstance(query, str) else query
        question = embedder.embed(parsed, more_like=more_like, less_like=less_like)
        candidates = Candidates(self._place.prefix, accepted, question.hidden)
        with committed(self._place) as snapshot:
            if self._encoder is not None:
                check_space(snapshot.meta, self._encoder, self._place)
            background = stored_background(snapshot.catalog)
            if background is None:  # of an older clipkit, or not synced since
                background = make_background(self._needed_encoder())
            answers = answering.answer(snapshot, question, candidates, background)
        return [
            SearchHit(
                similarity=answer.similarity,
                relevance=answer.relevance,
                path=self._place.path(answer.image.path),
                width=answer.image.width,
                height=answer.image.height,
                taken_at=answer.image.taken_at,
            )
            for answer in answers
        ]

    def duplicates(
        self,
        *,
        near: bool = True,
        threshold: float | None = None,
        progress: Progress | None = None,
    ) -> "DuplicateReport":
        """Return which pictures the folder has more than once; nothing is deleted.

        Args:
            near: Whether to look for pictures made anew (re-encoded, resized, lightly cropped)
                too, besides files of equal content.
            threshold: How like near duplicates must be, 0..1; None calibrates it on copies of
                pictures of this library.
            progress: Called with how much is done, and how much there is to do.

        Returns:
            Groups, the best copy of each first; paths are relative to the folder.

        Raises:
            InputError: If a threshold is out of range, or near duplicates are looked for and
                there is no encoder.
            LibraryError: If the folder has not been indexed, or the index is damaged.
            SpaceMismatchError: If the index was built with another model.
        """
        from clipkit.search.duplicates.finding import find_duplicates  # a search needs none of it

        encoder = self._needed_encoder() if near else None
        return find_duplicates(self._place, encoder, threshold=threshold, progress=progress)

    def thumbnails(self) -> "ThumbnailCache":
        """Return a cache of small renderings of the indexed images, and of nothing else.

        Returns:
            An empty cache, bounded, in memory.
        """
        from clipkit.search.thumbnails import ThumbnailCache  # a search decodes nothing

        return ThumbnailCache(self._place)

    def remove(self) -> None:
        """Delete the index, and nothing else: the pictures stay.

        Raises:
            InputError: If this is a part of a parent folder's library.
            LibraryError: If another process is writing, or a file cannot be deleted.
        """
        if self._place.prefix:
            raise InputError(
                f"{self.folder} is a part of the index of {self.indexed_folder}, which can only "
                "be removed as a whole"
            )
        if not self.location.is_dir():
            return
        catalog = self._place.catalog_path
        try:
            with WriterLock(self._place.lock_path, self.folder):
                # The catalog goes last of its files: a new one would take up an old one's log.
                for suffix in ("-wal", "-shm", "-journal", ""):
                    catalog.with_name(catalog.name + suffix).unlink(missing_ok=True)
                for path in vectors_files(self.location):
                    path.unlink()
            self._place.lock_path.unlink(missing_ok=True)
            if not any(self.location.iterdir()):
                self.location.rmdir()
        except OSError as error:
            raise LibraryError(
                f"the index at {self.location} cannot be removed: {error}"
            ) from error

    def close(self) -> None:
        """Do nothing: there is nothing open between two calls."""

    def _checked(self) -> Self:
        """Return the library, unless no call could use it with its encoder."""
        if self._encoder is not None:
            check_space(stored_meta(self._place), self._encoder, self._place)
        return self

    def _needed_encoder(self) -> "Encoder":
        return needed_encoder(self._encoder)
