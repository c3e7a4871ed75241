"""The model of a server: texts, images and labels of all requests, each kind in batches."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import anyio
import numpy as np
from anyio.to_thread import run_sync
from numpy.typing import NDArray

from clipkit.background_words import BACKGROUND_NAMES
from clipkit.encoder.encoder import Encoder
from clipkit.errors import InputError
from clipkit.inputs.image_input import ImageInput
from clipkit.models.public_name import public_name
from clipkit.progress import usable_cores
from clipkit.server.batching import Batcher
from clipkit.server.metrics import ServerMetrics
from clipkit.server.settings import MAX_PROMPTS, MAX_WAITING_IMAGES, MAX_WAITING_TEXTS
from clipkit.zero_shot.classifier import ZeroShotClassifier
from clipkit.zero_shot.templates import resolve_templates

TEXT_BATCH, IMAGE_BATCH = 64, 32
KEPT_CLASSIFIERS = 32  # label sets that come again need no prompts again

_WARM_UP = 16  # a batch, for which engines make other sessions than for one


class EmbeddedText(NamedTuple):
    """One text of a request, embedded."""

    embedding: NDArray[np.float32]  # shape (D,), norm 1
    num_tokens: int


class LabelSet(NamedTuple):
    """Labels and what is made of them; equal ones are one classifier."""

    labels: tuple[str, ...]
    templates: str | tuple[str, ...]
    domain: str | None
    multi_label: bool
    has_unknown: bool


class ServedModel:
    """An encoder that many requests share. To be made and used in one event loop.

    Each encoder has a thread of its own: a text does not wait until images are done. Images are
    decoded in others before, one core each, so that a bad or a slow one holds up nobody else.

    Args:
        encoder: The model.
        metrics: Told of the batches.
    """

    def __init__(self, encoder: Encoder, metrics: ServerMetrics) -> None:
        self.encoder = encoder
        self.name = public_name(encoder.name)
        self.texts = Batcher(
            self._embed_texts,
            max_batch=TEXT_BATCH,
            max_waiting=MAX_WAITING_TEXTS,
            observe=metrics.batches_of("text"),
            name="texts",
        )
        self.images = Batcher(
            self._embed_pixel_values,
            max_batch=IMAGE_BATCH,
            max_waiting=MAX_WAITING_IMAGES,
            observe=metrics.batches_of("image"),
            name="images",
        )
        self._decoders = anyio.CapacityLimiter(usable_cores())
        self._labellers = anyio.CapacityLimiter(1)
        self._classifiers: OrderedDict[LabelSet, ZeroShotClassifier] = OrderedDict()

    async def warm_up(self) -> None:
        """Compute a text, an image and a batch of each, so that no request waits for a session."""
        grey = np.full((*self.encoder.preprocess.size, 3), 128, dtype=np.uint8)
        for count in (1, _WARM_UP):
            await self.embed_texts([f"a photo of {number}" for number in range(count)])
            await self.embed_images([grey] * count)

    async def embed_texts(self, texts: Sequence[str]) -> list[EmbeddedText]:
        """Return the embeddings of texts.

        Args:
            texts: N texts.

        Returns:
            N embeddings, with the tokens that the model has read.

        Raises:
            RefusedError: If too many wait.
        """
        with self.texts.admit(len(texts)):
            return await self.texts.submit(texts)

    async def embed_images(self, images: Sequence[ImageInput]) -> list[NDArray[np.float32]]:
        """Return the embeddings of images, all of which must be readable.

        Args:
            images: N images: bytes or arrays, never paths.

        Returns:
            N embeddings, shape (D,), norm 1.

        Raises:
            ImageReadError: At the first that cannot be read.
            RefusedError: If too many wait.
        """
        with self.images.admit(len(images)):
            values = await asyncio.gather(*map(self._decode, images))
            return await self.images.submit(values)

    async def classifier(self, asked: LabelSet) -> ZeroShotClassifier:
        """Return the classifier of some labels.

        Args:
            asked: The labels, and what is made of them.

        Returns:
            The classifier; of equal labels, the one of last time.

        Raises:
            InputError: If a label or a template is refused, or there are too many prompts.
        """
        known = self._classifiers.get(asked)
        if known is None:
            known = await run_sync(partial(self._make_classifier, asked), limiter=self._labellers)
        self._classifiers[asked] = known
        self._classifiers.move_to_end(asked)
        while len(self._classifiers) > KEPT_CLASSIFIERS:
            self._classifiers.popitem(last=False)
        return known

    def close(self) -> None:
        """End the threads."""
        self.texts.close()
        self.images.close()

    async def _decode(self, image: ImageInput) -> NDArray[np.float32]:
        encoder = self.encoder
        decode = partial(
            encoder.preprocess.pixel_values,
            image,
            decode_scaled=encoder.decode == "scaled",
            max_pixels=encoder.max_pixels,
        )
        return await run_sync(decode, limiter=self._decoders)

    def _embed_texts(self, texts: list[str]) -> list[EmbeddedText]:
        rows = np.asarray(self.encoder.encode_texts(texts))
        counts = self.encoder.tokenize(texts).num_tokens.tolist()
        return list(map(EmbeddedText, rows, counts))

    def _embed_pixel_values(self, values: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        return list(np.asarray(self.encoder.encode_pixel_values(np.stack(values))))

    def _make_classifier(self, asked: LabelSet) -> ZeroShotClassifier:
        is_alone = asked.multi_label and not self.encoder.scoring.is_sigmoid
        needs_words = asked.has_unknown or is_alone
        names = len(asked.labels) + len(BACKGROUND_NAMES) * needs_words
        count = names * len(resolve_templates(asked.templates))
        if count > MAX_PROMPTS:
            words = f" and {len(BACKGROUND_NAMES)} everyday words" * needs_words
            raise InputError(
                f"labels{words} times templates must be at most {MAX_PROMPTS} prompts, got "
                f"{count}: give fewer labels, or fewer templates"
            )
        classifier = ZeroShotClassifier(
            self.encoder,
            asked.labels,
            templates=asked.templates,
            domain=asked.domain,
            multi_label=asked.multi_label,
        )
        if asked.has_unknown:
            classifier = classifier.with_unknown()
        if needs_words:
            classifier.prepare()  # else the first image would wait for it
        return classifier
