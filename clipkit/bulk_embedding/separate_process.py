"""Embedding in a process of its own, for images of which one may end the process that reads it.

Decoders are written in C: a damaged file can crash one, or ask for more memory than there is.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from itertools import islice

from clipkit.bulk_embedding.images import ReadImage, read_bulk_image
from clipkit.encoder.encoder import Encoder
from clipkit.encoder.pool_worker import (
    EncoderOrder,
    PoolWorker,
    WorkerDiedError,
    shares_of_cores,
)
from clipkit.encoder.repeatable import EmbedOutcome, embed_repeatably, images_a_call
from clipkit.errors import ImageReadError

_AT_ONCE = 32  # images that are tried one by one if a process dies of them
_DEADLY = "ended the process that read it, twice: it is damaged, or needs more memory than there is"

_Outcome = tuple[ReadImage, EmbedOutcome]


@dataclass(frozen=True)
class _EmbedSome:
    """Some images of a part."""

    images: list[ReadImage]

    def __call__(self, encoder: Encoder) -> list[_Outcome]:
        return list(embed_repeatably(encoder, self.images, read_bulk_image))


def embed_apart(encoder: Encoder, images: Iterator[ReadImage]) -> Generator[_Outcome]:
    """Yield images with their embeddings, computed in another process.

    Args:
        encoder: Made by load(); the process loads the same.
        images: The images.

    Yields:
        Each image, in their order; one that ends its process twice with that as the reason.

    Raises:
        ClipkitError: If a process cannot begin.
    """
    order = EncoderOrder(encoder.spec, encoder.max_pixels, encoder.batch_size, encoder.decode)
    worker = PoolWorker(shares_of_cores(1)[0])
    group = images_a_call(encoder)
    size = -(-_AT_ONCE // group) * group  # whole groups: the same bits as without such a process
    try:
        while some := list(islice(images, size)):
            try:
                yield from worker.run(order, _EmbedSome(some)).result
            except WorkerDiedError:
                for image in some:
                    yield _embed_one(worker, order, image)
    finally:
        worker.stop()


def _embed_one(worker: PoolWorker, order: EncoderOrder, image: ReadImage) -> _Outcome:
    try:
        (outcome,) = worker.run(order, _EmbedSome([image])).result
        return outcome
    except WorkerDiedError:
        return image, ImageReadError(image.image.id, _DEADLY)
