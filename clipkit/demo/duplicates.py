"""The images that a library has more than once, in groups, for the grid."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import clipkit
from clipkit.demo.model_queue import ModelQueue


@dataclass(frozen=True)
class DuplicateImage:
    """One of several copies of an image."""

    path: Path
    width: int | None  # pixels, upright; None where the file does not say
    height: int | None
    taken_at: str | None
    group: int  # the number of its group
    heading: str  # what the group's copies have in common
    is_spare: bool  # whether there is a better copy
    camera: str | None = None


class DuplicateFinder:
    """Finds the duplicates of a library, once until it changes, and once for all who ask.

    Args:
        library: An indexed folder.
        queue: The queue for the model, which measures how alike copies are.
        version: Tells a state of the library's index from any other one.
    """

    def __init__(
        self, library: clipkit.PhotoLibrary, queue: ModelQueue, version: Callable[[], int]
    ) -> None:
        self._library = library
        self._queue = queue
        self._version = version
        self._finding = asyncio.Lock()
        self._found: tuple[int, list[DuplicateImage], str] | None = None

    async def find(self) -> tuple[list[DuplicateImage], str]:
        """Return the copies, group by group and the best of each first, and a line on them.

        Returns:
            The images and the line.

        Raises:
            ClipkitError: If the library cannot be read.
        """
        async with self._finding:
            version = self._version()
            if self._found is None or self._found[0] != version:
                job = self._queue.start("duplicates", self._compare)
                async for _ in job:
                    pass
                images = list(_grouped(job.result, self._library.folder))
                self._found = version, images, _describe(job.result)
        return self._found[1:]

    def _compare(self, tell: Callable[[None], None]) -> clipkit.DuplicateReport:
        return self._library.duplicates(progress=lambda *_: tell(None))


def _grouped(report: clipkit.DuplicateReport, folder: Path) -> Iterator[DuplicateImage]:
    for number, group in enumerate(report.groups):
        copies = f"{len(group.images)} files with the same bytes"
        if group.kind == "near":
            copies = f"{len(group.images)} images that look the same"
        for file in group.images:
            yield DuplicateImage(
                folder / file.path, file.width, file.height, file.taken_at,
                group=number, heading=copies, is_spare=file is not group.best,
            )  # fmt: skip


def _describe(report: clipkit.DuplicateReport) -> str:
    """Return a line on how many there are, and how much they take."""
    if not report.groups:
        return "No duplicates found."
    spare = [file for group in report.groups for file in group.images[1:]]
    megabytes = sum(file.num_bytes_to_gain for file in spare) / 1e6
    return (
        f"Images with duplicates: {len(report.groups)}. Spare copies: {len(spare)}, "
        f"together {megabytes:.1f} MB."
    )
