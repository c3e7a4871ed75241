"""Streams of images to embeddings: decoded in threads, batched, and put through the image encoder.

Shapes: N images, K readable ones, R parts of each that are embedded, D dimensions of the shared
space.
"""

from collections.abc import Generator, Iterable, Iterator, Sized
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from clipkit.embeddings import EmbeddingArray, normalize_rows
from clipkit.errors import ImageReadError
from clipkit.inputs.crop_boxes import CropBox
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.preprocess import Preprocess
from clipkit.progress import Progress, map_ahead, usable_cores
from clipkit.runtime.base import Runtime

DecodeOutcome = NDArray[np.float32] | ImageReadError
"""Pixel values of an image, shape (3, H, W), or of its parts, shape (R, 3, H, W), or the reason why
there are none."""


class DecodeSettings(TypedDict):
    """How images are decoded, as `Preprocess.pixel_values` takes it by name."""

    decode_scaled: bool
    max_pixels: int | None
    allow_urls: bool


@dataclass(frozen=True)
class DecodedBefore:
    """An image that was decoded already, in another process or by other code."""

    outcome: DecodeOutcome


@dataclass(frozen=True)
class EncodedBatch:
    """Some images of a stream, in order."""

    positions: list[int]  # of the rows, counted in the stream from 0
    embeddings: EmbeddingArray  # (K, D); of parts (K * R, D), those of an image one after the other
    skipped: list[tuple[int, ImageReadError]]  # position and reason of each unreadable image


@dataclass(frozen=True)
class EncodingReport:
    """Embeddings of the readable images, and why the others are missing."""

    positions: NDArray[np.intp]  # (K,), of the rows in the input
    embeddings: EmbeddingArray  # (K, D)
    skipped: list[tuple[int, ImageReadError]] = field(default_factory=list)


@dataclass
class DecodedBatch:
    """Some decoded images of a stream, in order."""

    positions: list[int] = field(default_factory=list)
    pixel_values: list[NDArray[np.float32]] = field(default_factory=list)
    skipped: list[tuple[int, ImageReadError]] = field(default_factory=list)


@dataclass(frozen=True)
class ImageEmbedder:
    """Embeds images on a runtime."""

    runtime: Runtime  # the image encoder on an engine
    preprocess: Preprocess  # images to pixel values, as the checkpoint says
    max_pixels: int | None  # images that decode to more are refused; None: a share of the memory
    allow_urls: bool  # whether strings that begin with http:// or https:// are fetched
    decode_scaled: bool = True  # whether large JPEGs are decoded at a half, a quarter or an eighth
    boxes: tuple[CropBox, ...] | None = None  # the parts of each image to embed; None: the whole

    def stream(
        self,
        images: Iterable[ImageInput | DecodedBefore],
        *,
        batch_size: int,
        progress: Progress | None,
    ) -> Generator[EncodedBatch]:
        """Yield embeddings batch by batch, in memory that does not grow with their number.

        Threads decode while others compute and the caller does something with the batch it has.
        In memory are at most batch_size x (image_workers + 3) + 2 x cores + 1 decoded images,
        scaled to what the encoder takes, and those being decoded, which share
        :func:`image_memory`.

        Args:
            images: Any number of images.
            batch_size: Readable images a batch; of R parts each, one R-th as many.
            progress: Called after every batch with (done, total).

        Yields:
            Batches in the order of the images; each position is in exactly one. What was embedded
            before a failure, here or in the caller, is yielded first, and no thread is left behind
            once the generator is closed.
        """
        total = len(images) if isinstance(images, Sized) else None
        workers = self.runtime.image_workers
        if self.boxes is not None:  # as many rows at once as of whole images
            batch_size = max(1, batch_size // len(self.boxes))
        # Enough for the decoders while the engine is waited for.
        decoded = self.decode(images, ahead=batch_size + 2 * usable_cores())
        # Each worker has a batch, and one waits: none stands still while the caller is busy.
        embedded = map_ahead(
            self._embed, in_batches(decoded, batch_size), ahead=workers + 1, workers=workers
        )
        done = 0
        with closing(decoded), closing(embedded):  # both, whichever side fails
            for batch in embedded:
                yield batch
                done += len(batch.positions) + len(batch.skipped)
                if progress:
                    progress(done, total)

    def decode(
        self, images: Iterable[ImageInput | DecodedBefore], *, ahead: int
    ) -> Generator[DecodeOutcome]:
        """Return the pixel values of images, or the reason why there are none, in their order.

        Args:
            images: Any number of images.
            ahead: How many may be decoded in advance.

        Returns:
            A generator of one an image, which decodes in threads.
        """
        return map_ahead(self.decode_one, images, ahead=ahead)

    def decode_one(self, image: ImageInput | DecodedBefore) -> DecodeOutcome:
        """Return the pixel values of an image, or the reason why there are none."""
        if isinstance(image, DecodedBefore):
            return image.outcome
        options = DecodeSettings(
            decode_scaled=self.decode_scaled,
            max_pixels=self.max_pixels,
            allow_urls=self.allow_urls,
        )
        try:
            if self.boxes is None:
                return self.preprocess.pixel_values(image, **options)
            from clipkit.inputs.crops import crop_values  # only here, with the decoders

            return crop_values(self.preprocess, image, self.boxes, **options)
        except ImageReadError as error:
            return error

    def _embed(self, batch: DecodedBatch) -> EncodedBatch:
        rows = np.empty((0, self.runtime.embed_dim), dtype=np.float32)
        if batch.positions:
            together = np.stack if self.boxes is None else np.concatenate
            rows = normalize_rows(self.runtime.image_features(together(batch.pixel_values)))
        embeddings = EmbeddingArray(rows, self.runtime.space_id)
        return EncodedBatch(batch.positions, embeddings, batch.skipped)


def rows_of_all(batches: Iterable[EncodedBatch], embed_dim: int, space_id: str) -> EmbeddingArray:
    """Return the embeddings of a stream whose images must all be readable.

    Args:
        batches: The stream.
        embed_dim: D.
        space_id: Their space.

    Returns:
        Shape (N, D).

    Raises:
        ImageReadError: At the first image that cannot be read.
    """
    rows: list[NDArray[np.float32]] = [np.empty((0, embed_dim), dtype=np.float32)]
    for batch in batches:
        if batch.skipped:
            raise batch.skipped[0][1]
        rows.append(batch.embeddings)
    return EmbeddingArray(np.concatenate(rows), space_id)


def report_of(batches: Iterable[EncodedBatch], embed_dim: int, space_id: str) -> EncodingReport:
    """Return a stream as one report.

    Args:
        batches: The stream.
        embed_dim: D.
        space_id: Their space.

    Returns:
        All its embeddings, and all reasons.
    """
    positions: list[int] = []
    rows: list[NDArray[np.float32]] = [np.empty((0, embed_dim), dtype=np.float32)]
    skipped: list[tuple[int, ImageReadError]] = []
    for batch in batches:
        positions += batch.positions
        rows.append(batch.embeddings)
        skipped += batch.skipped
    embeddings = EmbeddingArray(np.concatenate(rows), space_id)
    return EncodingReport(np.array(positions, dtype=np.intp), embeddings, skipped)


def in_batches(images: Iterable[DecodeOutcome], batch_size: int) -> Iterator[DecodedBatch]:
    """Yield decoded images in batches, of which none waits for many unreadable ones.

    Args:
        images: One an image, in order.
        batch_size: Readable images a batch; so many unreadable ones end it too.

    Yields:
        Batches in the order of the images; each image is in exactly one.
    """
    batch = DecodedBatch()
    for position, image in enumerate(images):
        if isinstance(image, ImageReadError):
            batch.skipped.append((position, image))
        else:
            batch.positions.append(position)
            batch.pixel_values.append(image)
        if batch_size in (len(batch.positions), len(batch.skipped)):
            yield batch
            batch = DecodedBatch()
    if batch.positions or batch.skipped:
        yield batch
