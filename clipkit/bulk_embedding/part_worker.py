"""A worker: embeds parts with one encoder, each into its files, and survives what a part may do.

Before a part is begun, a mark of it is written; it goes when the part is done. A mark that is there
beforehand says that a worker has died of this part, or was killed at it. Then its images are read
and embedded by a process of their own, so that one which ends its process costs itself only.
"""

import json
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clipkit.bulk_embedding.images import ReadImage, read_bulk_image
from clipkit.bulk_embedding.output_folder import OutputFolder, host_and_process
from clipkit.bulk_embedding.part_files import Layout, PartRows, UnreadImage, write_part
from clipkit.bulk_embedding.parts import Part
from clipkit.bulk_embedding.separate_process import embed_apart
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.repeatable import EmbedOutcome, embed_repeatably
from clipkit.errors import ClipkitError, ImageReadError, InputError

_MARK = "begun/part-{:05d}.json"
_MARKS = "begun/"
_LISTED = 1000  # unreadable images of a part that a report names


@dataclass(frozen=True)
class PartResult:
    """What became of a part."""

    number: int
    num_embedded: int = 0
    num_unread: int = 0
    unread: list[tuple[str, str]] = field(default_factory=list)  # the first: id and reason
    failure: str = ""  # why all of it could not be read; it is not done then
    is_retried: bool = False  # whether a worker had been at it before, and was lost


@dataclass(frozen=True)
class PartWorker:
    """Embeds parts."""

    encoder: Encoder
    folder: OutputFolder
    layout: Layout
    about: dict[str, Any]  # noted in each file
    threads: int | None = None  # None: one for each core

    def embed(self, part: Part, *, tick: Callable[[], None] = lambda: None) -> PartResult:
        """Embed a part and write its files.

        Args:
            part: The part.
            tick: Called after each image.

        Returns:
            What became of it. One whose images cannot be got at, such as of a shard that is not
            there, is not written: the next run tries it again.

        Raises:
            LibraryError: If the files cannot be written.
        """
        mark = _MARK.format(part.number)
        is_retried = self.folder.has(mark)
        self.folder.write(mark, json.dumps(host_and_process()).encode(), durable=False)
        try:
            rows = self._rows(part, tick, is_apart=is_retried)
            if isinstance(rows, str):
                return PartResult(part.number, failure=rows, is_retried=is_retried)
            about = self.about | {"container": part.images.key}
            write_part(self.folder, self.layout, part.number, rows, about)
        finally:  # on Ctrl-C as well; not where the process is killed
            self.folder.remove(mark)
        return PartResult(
            part.number,
            len(rows.ids),
            len(rows.unread),
            [(each.id, each.reason) for each in rows.unread[:_LISTED]],
            is_retried=is_retried,
        )

    def _rows(self, part: Part, tick: Callable[[], None], *, is_apart: bool) -> PartRows | str:
        """Return the rows of a part, or why its images cannot be got at."""
        rows = PartRows()
        outcomes = self._outcomes(part, is_apart=is_apart)
        try:
            with closing(outcomes):
                for reading, outcome in outcomes:
                    _add(rows, reading, outcome)
                    tick()
        except Exception as error:  # each kind of address fails in its own way
            is_of_work = isinstance(error, ClipkitError) and not isinstance(error, InputError)
            if is_of_work or not part.images.key:
                raise
            return " ".join(str(error).split()) or type(error).__name__
        return rows

    def _outcomes(self, part: Part, *, is_apart: bool) -> Generator[tuple[ReadImage, EmbedOutcome]]:
        images = map(ReadImage, part.images.read())
        if is_apart:
            return embed_apart(self.encoder, images)
        return embed_repeatably(self.encoder, images, read_bulk_image, threads=self.threads)


def clear_marks(folder: OutputFolder) -> None:
    """Delete the marks of parts whose workers were stopped on purpose."""
    for name in folder.names():
        if name.startswith(_MARKS):
            folder.remove(name)


def _add(rows: PartRows, reading: ReadImage, outcome: EmbedOutcome) -> None:
    name = reading.image.id
    if isinstance(outcome, ImageReadError):
        rows.unread.append(UnreadImage(name, outcome.reason, reading.size, reading.mtime_ns))
        return
    rows.ids.append(name)
    rows.vectors.append(outcome.astype(np.float16))
    rows.digests.append(reading.digest)
    rows.sizes.append(reading.size)
    rows.mtimes.append(reading.mtime_ns)
