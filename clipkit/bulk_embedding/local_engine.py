"""Embedding parts in this process, one after the other, each on all cores."""

from collections.abc import Callable, Generator, Sequence

from clipkit.bulk_embedding.part_worker import PartResult, PartWorker
from clipkit.bulk_embedding.parts import Part


def embed_here(
    worker: PartWorker, parts: Sequence[Part], tick: Callable[[int], None]
) -> Generator[PartResult]:
    """Yield what became of parts.

    Args:
        worker: Embeds them.
        parts: The parts.
        tick: Called with how many more images are done.

    Yields:
        One result a part, in their order.

    Raises:
        LibraryError: If the files of a part cannot be written.
    """
    for part in parts:
        yield worker.embed(part, tick=lambda: tick(1))
