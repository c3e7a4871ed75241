"""The calls of an encoder that take images.

Shapes: N images, H x W the image encoder's input size, D dimensions of the shared space, P patches,
W width of the image encoder.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.arguments import check_progress, check_whole
from clipkit.embeddings import EmbeddingArray, as_floats, normalize_rows
from clipkit.encoder.image_embedding import (
    EncodedBatch,
    EncodingReport,
    ImageEmbedder,
    report_of,
    rows_of_all,
)
from clipkit.encoder.loaded_model import LoadedModel
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.crop_boxes import CropBox, check_boxes
from clipkit.inputs.image_input import ImageInput, check_image_list
from clipkit.inputs.preprocess import Preprocess
from clipkit.progress import Progress

Decode = Literal["scaled", "exact"]
DECODES: tuple[Decode, ...] = get_args(Decode)


class ImageCalls(LoadedModel):
    """What an encoder does with images."""

    preprocess: Preprocess
    """Images to pixel values, as the checkpoint says."""

    _max_pixels: int | None = None
    _batch_size: int | None = None
    _decode: Decode = "scaled"

    @property
    def max_pixels(self) -> int | None:
        """Images that decode to more are refused; None takes a share of the memory."""
        return self._max_pixels

    @max_pixels.setter
    def max_pixels(self, value: int | None) -> None:
        self._max_pixels = None if value is None else check_whole(value, "max_pixels")

    @property
    def batch_size(self) -> int | None:
        """Images through the image encoder at once, unless a call says; None: what suits."""
        return self._batch_size

    @batch_size.setter
    def batch_size(self, value: int | None) -> None:
        self._batch_size = None if value is None else check_whole(value, "batch_size")

    @property
    def decode(self) -> Decode:
        """How large JPEGs are decoded: "scaled" or "exact".

        "scaled" decodes at a half, a quarter or an eighth, at least twice the size that the image
        encoder takes, several times faster; "exact" in full, for embeddings that equal those of
        open_clip's or transformers' own pipeline.
        """
        return self._decode

    @decode.setter
    def decode(self, value: Decode) -> None:
        if value not in DECODES:
            raise InputError(f'decode must be "scaled" or "exact", got {value!r}')
        self._decode = value

    def encode_image(self, image: ImageInput, *, allow_urls: bool = False) -> EmbeddingArray:
        """Return the embedding of one image.

        Many at once with :meth:`encode_images` take far less time each.

        Args:
            image: A path, bytes, a file object, a PIL image or a uint8 array.
            allow_urls: Whether a string that begins with http:// or https:// is fetched.

        Returns:
            float32, shape (D,), of norm 1.

        Raises:
            ImageReadError: If the image cannot be read.
            InputError: If it is no image at all.
        """
        return self.encode_images([image], allow_urls=allow_urls)[0]

    def encode_images(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
        allow_urls: bool = False,
    ) -> EmbeddingArray:
        """Return the embeddings of images, all of which must be readable.

        Args:
            images: N images: paths, bytes, file objects, PIL images or uint8 arrays.
            batch_size: Images that go through the tower at once; None: what suits the engine.
                It changes speed and memory only.
            progress: Called after every batch.
            allow_urls: Whether strings that begin with http:// or https:// are fetched.

        Returns:
            float32, shape (N, D), rows of norm 1; (0, D) for no images.

        Raises:
            ImageReadError: At the first image that cannot be read. To skip such images, use
                :meth:`encode_readable_images`.
            InputError: If an item is no image at all.
        """
        batches = self.stream_images(
            images, batch_size=batch_size, progress=progress, allow_urls=allow_urls
        )
        with closing(batches):
            return rows_of_all(batches, self.embed_dim, self.space_id)

    def encode_readable_images(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
        allow_urls: bool = False,
    ) -> EncodingReport:
        """Return the embeddings of the readable images, with a reason for every other one.

        Args:
            images: N images, as for :meth:`encode_images`.
            batch_size: As for :meth:`encode_images`.
            progress: Called after every batch.
            allow_urls: Whether strings that begin with http:// or https:// are fetched.

        Returns:
            A report over all N images.

        Raises:
            InputError: If an item is no image at all.
        """
        batches = self.stream_images(
            images, batch_size=batch_size, progress=progress, allow_urls=allow_urls
        )
        with closing(batches):
            return report_of(batches, self.embed_dim, self.space_id)

    def stream_images(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
        allow_urls: bool = False,
        boxes: Sequence[CropBox] | None = None,
    ) -> Generator[EncodedBatch]:
        """Yield embeddings batch by batch, in memory that does not grow with their number.

        Decoding, computing and the caller's work on a batch overlap, see
        :meth:`ImageEmbedder.stream`. Whatever fails, no thread is left behind once the generator
        is closed, and what was embedded before is yielded first.

        Args:
            images: Any number of images, as for :meth:`encode_images`.
            batch_size: Readable images a batch; None: as many as suit the engine.
            progress: Called after every batch.
            allow_urls: Whether strings that begin with http:// or https:// are fetched.
            boxes: R parts of each image to embed instead of the whole, which is decoded once for
                them: (left, top, right, bottom), fractions of its sides. None: the whole.

        Yields:
            Batches in the order of the images. Each position is in exactly one batch, with its
            row, or the R rows of its parts one after the other, or with its reason.

        Raises:
            InputError: If an item is no image at all, or a part does not lie inside an image.
        """
        check_progress(progress)
        check_image_list(images)
        embedder = self._image_embedder(allow_urls=allow_urls)
        if boxes is not None:
            embedder = replace(embedder, boxes=check_boxes(boxes))
        yield from embedder.stream(
            images, batch_size=self._image_batch_size(batch_size), progress=progress
        )

    def encode_pixel_values(
        self,
        pixel_values: ArrayLike,
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> EmbeddingArray:
        """Return the embeddings of images that are pixel values already.

        As :attr:`preprocess` makes them, or a transform of open_clip's or transformers': for a
        DataLoader of one's own, or images that no file holds.

        Args:
            pixel_values: Standardised values, shape (N, 3, H, W): an array, or a tensor of torch's
                on any device, of any floating point format.
            batch_size: As for :meth:`encode_images`.
            progress: Called after every batch.

        Returns:
            float32, shape (N, D), rows of norm 1; (0, D) for none.

        Raises:
            InputError: If they are of another shape, no floating point numbers, not finite, or too
                large to be standardised, as levels from 0 to 255 are.
        """
        check_progress(progress)
        values = self._checked_pixel_values(pixel_values)
        batch_size = self._image_batch_size(batch_size)
        rows = [np.empty((0, self.embed_dim), dtype=np.float32)]
        for start in range(0, len(values), batch_size):
            rows.append(normalize_rows(self._runtime.image_features(values[start:][:batch_size])))
            if progress:
                progress(min(start + batch_size, len(values)), len(values))
        return EmbeddingArray(np.concatenate(rows), self.space_id)

    def patch_features(self, images: Iterable[ImageInput]) -> NDArray[np.float32]:
        """Return one feature a patch: what the image tower sees before it pools.

        Args:
            images: N images, as for :meth:`encode_images`.

        Returns:
            float32, shape (N, P, W), of any norm, patches row by row from the top left.

        Raises:
            InputError: If the encoder runs on an engine that gives pooled features only, or there
                are no images.
            ImageReadError: At the first image that cannot be read.
        """
        runtime = self._runtime_with_towers("patch features")
        check_image_list(images)
        embedder = self._image_embedder(allow_urls=False)
        pixel_values = []
        with closing(embedder.decode(images, ahead=2 * runtime.image_batch)) as outcomes:
            for outcome in outcomes:
                if isinstance(outcome, ImageReadError):
                    raise outcome
                pixel_values.append(outcome)
        if not pixel_values:
            raise InputError("patch features need at least one image, got none")
        return runtime.patch_features(np.stack(pixel_values))

    def _image_embedder(self, *, allow_urls: bool) -> ImageEmbedder:
        is_scaled = self.decode == "scaled"
        return ImageEmbedder(self._runtime, self.preprocess, self.max_pixels, allow_urls, is_scaled)

    def _image_batch_size(self, asked: int | None = None) -> int:
        own = self._runtime.image_batch if self.batch_size is None else self.batch_size
        return check_whole(own if asked is None else asked, "batch_size")

    def _checked_pixel_values(self, pixel_values: ArrayLike) -> NDArray[np.float32]:
        values = as_floats(_without_tensors(pixel_values), "pixel values", dtype=None)
        shape = (3, *self.preprocess.size)
        if values.ndim != 4 or values.shape[1:] != shape:
            raise InputError(
                f"pixel values of {self.name} must have shape (N, {', '.join(map(str, shape))}), "
                f"got {values.shape}: np.stack makes that of what encoder.preprocess returns"
            )
        if values.dtype.kind != "f":
            raise InputError(
                f"pixel values must be floating point numbers, as encoder.preprocess makes them, "
                f"got {values.dtype}: images as levels from 0 to 255 are for encode_images"
            )
        values = values.astype(np.float32, copy=False)
        low, high = self.preprocess.value_range
        least, most = low - (high - low), high + (high - low)  # some resampling goes beyond
        fits = ((values >= least) & (values <= most)).all(axis=(1, 2, 3))  # NaN does not either
        if not fits.all():
            bad = int(np.argmin(fits))
            raise InputError(
                f"pixel values of {self.name} lie between {low:.2f} and {high:.2f}, got "
                f"{values[bad].min():.6g} to {values[bad].max():.6g} in image {bad}: they must be "
                "standardised as encoder.preprocess does it"
            )
        return values


def _without_tensors(values: Any) -> Any:
    """Return values with torch's tensors as arrays, also those that NumPy does not take.

    These have a gradient, are on a GPU, or are bfloat16. torch itself is not needed to tell.
    """
    if isinstance(values, list | tuple) and any(hasattr(item, "detach") for item in values):
        return [_without_tensors(item) for item in values]
    if not hasattr(values, "detach"):
        return values
    tensor = values.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
