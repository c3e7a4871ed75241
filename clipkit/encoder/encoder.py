"""The encoder: images and texts to embeddings, on whatever engine.

Shapes: N inputs, K readable ones, L context length, D dimensions of the shared space, P patches,
W width of a tower.
"""

from collections.abc import Generator, Iterable, Sized
from contextlib import closing
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_path, check_whole, items_of
from clipkit.embeddings import EmbeddingArray, normalize_rows
from clipkit.encoder.image_batches import (
    DecodedBatch,
    EncodedBatch,
    EncodingReport,
    Outcome,
    in_batches,
)
from clipkit.encoder.text_cache import TextCache
from clipkit.encoder.text_embedding import TextEmbedder
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.images import ImageInput, check_image_list
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import TokenizedTexts, Tokenizer, check_texts
from clipkit.progress import Progress, map_ahead, usable_cores
from clipkit.runtime.base import FineRuntime, Runtime, Scoring

__all__ = ["EncodedBatch", "Encoder", "EncodingReport", "ReloadsEncoder"]

TEXT_BATCH = 64


class ReloadsEncoder(Protocol):
    """What an encoder is made of again in another process, as :func:`clipkit.load` leaves it."""

    def load(self) -> "Encoder":
        """Return such an encoder."""


class Encoder:
    """Turns images and text into embeddings of one space.

    Args:
        runtime: The two towers on an engine.
        preprocess: Images to pixel values, as the checkpoint says.
        tokenizer: Text to token ids, as the checkpoint says.
        name: What the model was asked for by.
        max_pixels: Images that decode to more are refused; None takes a share of the memory.
        text_cache: Where embeddings of texts are kept and looked up; None: nowhere.
    """

    spec: ReloadsEncoder | None = None
    """What load() was told and found; without it an encoder cannot be pickled."""

    def __init__(
        self,
        runtime: Runtime,
        preprocess: Preprocess,
        tokenizer: Tokenizer,
        *,
        name: str,
        max_pixels: int | None = None,
        text_cache: TextCache | None = None,
    ) -> None:
        self.name = name
        self.preprocess = preprocess
        self.max_pixels = max_pixels
        self.image_batch: int | None = None  # images a batch unless a call says; None: what suits
        self._runtime = runtime
        self._tokenizer = tokenizer
        self._texts = TextEmbedder(runtime, tokenizer, text_cache)

    def __reduce__(self) -> tuple[object, ...]:
        """Let the encoder cross process borders: it is loaded again on the other side."""
        if self.spec is None:
            raise InputError(
                f"the encoder {self.name!r} was not made by load(), so no other process can make "
                "it again: save it with encoder.save(DIRECTORY), and load(DIRECTORY) there"
            )
        return _reload, (self.spec, self.max_pixels)

    def __repr__(self) -> str:
        return (
            f"Encoder({self.name!r}, embed_dim={self.embed_dim}, engine={self.engine!r}, "
            f"device={self.device!r}, precision={self.precision!r}, space_id={self.space_id!r})"
        )

    @property
    def space_id(self) -> str:
        """Identity of the space; embeddings compare only with those of the same space."""
        return self._runtime.space_id

    @property
    def embed_dim(self) -> int:
        """D, the size of the shared space."""
        return self._runtime.embed_dim

    @property
    def scoring(self) -> Scoring:
        """How the checkpoint turns cosines into logits."""
        return self._runtime.scoring

    @property
    def engine(self) -> str:
        """Name of the engine: "onnx" or "torch"."""
        return self._runtime.engine

    @property
    def device(self) -> str:
        """Where it computes, as torch spells it."""
        return self._runtime.device

    @property
    def precision(self) -> str:
        """Number format of the computation: "fp32", "bf16" or "fp16"."""
        return self._runtime.precision

    def encode_texts(
        self,
        texts: Iterable[str],
        *,
        batch_size: int = TEXT_BATCH,
        progress: Progress | None = None,
    ) -> EmbeddingArray:
        """Return the embeddings of texts.

        Args:
            texts: N texts. One that is longer than the model reads is cut, with a TextCutWarning;
                of one whose words the model does not know, an UnknownTextWarning tells.
                Each goes through the tower once, and not at all if its embedding is cached.
            batch_size: Texts that go through the tower at once; it changes speed and memory only.
            progress: Called after every batch.

        Returns:
            float32, shape (N, D), rows of norm 1; (0, D) for no texts.

        Raises:
            InputError: If texts is one string or holds something else than strings.
        """
        words = check_texts(texts)
        rows = self._texts.embed_texts(
            words, batch_size=check_whole(batch_size, "batch_size"), progress=progress
        )
        return EmbeddingArray(rows, self.space_id)

    def encode_prompts(
        self,
        ensembles: Iterable[Iterable[str]],
        *,
        batch_size: int = TEXT_BATCH,
        progress: Progress | None = None,
    ) -> EmbeddingArray:
        """Return one embedding an ensemble of prompts: the mean of theirs, of norm 1 again.

        Args:
            ensembles: E lists of at least one text each, that say the same in other words.
            batch_size: As for :meth:`encode_texts`.
            progress: Called after every batch of prompts.

        Returns:
            float32, shape (E, D), rows of norm 1.

        Raises:
            InputError: If an ensemble is empty, one string, or holds something else than strings.

        Source:
            openai/CLIP, ``notebooks/Prompt_Engineering_for_ImageNet.ipynb``.
        """
        lists = items_of(ensembles, "ensembles must be a list of lists of strings")
        prompts = [tuple(check_texts(texts)) for texts in lists]
        if not all(prompts):
            raise InputError(f"ensemble {prompts.index(()) + 1} of {len(prompts)} has no prompt")
        rows = self._texts.embed_prompts(
            prompts, batch_size=check_whole(batch_size, "batch_size"), progress=progress
        )
        return EmbeddingArray(rows, self.space_id)

    def tokenize(self, texts: Iterable[str]) -> TokenizedTexts:
        """Return what the text tower reads of texts, without a warning.

        Texts of equal token ids are the same to the model.

        Args:
            texts: N texts.

        Returns:
            Token ids, shape (N, L), and which texts are cut or unknown.

        Raises:
            InputError: If texts is one string or holds something else than strings.
        """
        return self._tokenizer.tokenize_quietly(texts)

    def unknown_texts(self, texts: Iterable[str]) -> list[str]:
        """Return the texts of which no word is in the model's vocabulary, empty ones apart.

        Args:
            texts: N texts.

        Returns:
            Those, in their order.

        Raises:
            InputError: If texts is one string or holds something else than strings.
        """
        words = check_texts(texts)
        unknown = zip(words, self.tokenize(words).is_unknown, strict=True)
        return [text for text, is_unknown in unknown if is_unknown and text.strip()]

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
            ImageReadError: At the first image that cannot be read. To go on without such
                images, use :meth:`encode_readable_images`.
            InputError: If an item is no image at all.
        """
        rows: list[NDArray[np.float32]] = [np.empty((0, self.embed_dim), dtype=np.float32)]
        for batch in self.stream_images(
            images, batch_size=batch_size, progress=progress, allow_urls=allow_urls
        ):
            if batch.skipped:
                raise batch.skipped[0][1]
            rows.append(batch.embeddings)
        return EmbeddingArray(np.concatenate(rows), self.space_id)

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
        positions: list[int] = []
        rows: list[NDArray[np.float32]] = [np.empty((0, self.embed_dim), dtype=np.float32)]
        skipped: list[tuple[int, ImageReadError]] = []
        for batch in self.stream_images(
            images, batch_size=batch_size, progress=progress, allow_urls=allow_urls
        ):
            positions += batch.positions
            rows.append(batch.embeddings)
            skipped += batch.skipped
        embeddings = EmbeddingArray(np.concatenate(rows), self.space_id)
        return EncodingReport(np.array(positions, dtype=np.intp), embeddings, skipped)

    def stream_images(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
        allow_urls: bool = False,
    ) -> Generator[EncodedBatch]:
        """Yield embeddings batch by batch, in memory that does not grow with their number.

        Threads decode while others compute and the caller does something with the batch it has. In
        memory are at most batch_size x (image_workers + 3) + 2 x cores + 1 decoded images, scaled
        to what the tower takes, and those being decoded, which share :func:`image_memory`.

        Whatever fails, here or in the caller, no thread is left behind once the generator is
        closed, and what was embedded before is yielded first.

        Args:
            images: Any number of images, as for :meth:`encode_images`.
            batch_size: Readable images a batch; None: as many as suit the engine.
            progress: Called after every batch.
            allow_urls: Whether strings that begin with http:// or https:// are fetched.

        Yields:
            Batches in the order of the images. Each position is in exactly one batch, with its
            row or with its reason.

        Raises:
            InputError: If an item is no image at all.
        """
        check_image_list(images)
        total = len(images) if isinstance(images, Sized) else None
        batch_size = batch_size if batch_size is not None else self.image_batch
        if batch_size is None:
            batch_size = self._runtime.image_batch
        batch_size = check_whole(batch_size, "batch_size")
        workers = self._runtime.image_workers
        # Enough for the decoders while the engine is waited for.
        decoded = self._decode(images, batch_size + 2 * usable_cores(), allow_urls)
        # Each worker has a batch, and one waits: none stands still while the caller is busy.
        embedded = map_ahead(
            self._embed, in_batches(decoded, batch_size), ahead=workers + 1, workers=workers
        )
        done = 0
        with closing(decoded), closing(embedded):  # both at once, whoever fails
            for batch in embedded:
                yield batch
                done += len(batch.positions) + len(batch.skipped)
                if progress:
                    progress(done, total)

    def token_features(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return one feature a token: what the text tower sees before it pools.

        Args:
            texts: N texts.

        Returns:
            float32, shape (N, L, W), of any norm.

        Raises:
            InputError: If the encoder runs on an engine that gives pooled features only.
        """
        return self._fine_runtime("token features").token_features(self._tokenizer(texts))

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
        runtime = self._fine_runtime("patch features")
        check_image_list(images)
        outcomes = list(self._decode(images, 2 * runtime.image_batch, allow_urls=False))
        for outcome in outcomes:
            if isinstance(outcome, ImageReadError):
                raise outcome
        if not outcomes:
            raise InputError("patch features need at least one image, got none")
        return runtime.patch_features(np.stack([o for o in outcomes if isinstance(o, np.ndarray)]))

    def save(self, directory: str | Path) -> None:
        """Write the model as a checkpoint directory in open_clip's layout, whole or not at all.

        Plain open_clip opens it as "local-dir:directory" with equal embeddings, and so does
        :func:`load`, with the same space_id.

        Args:
            directory: Where to. A checkpoint that is there is replaced; anything else is not.

        Raises:
            InputError: If the encoder runs on an engine that does not hold the weights, or they
                were rounded when they were loaded.
            CheckpointError: If something that is no checkpoint lies there, or writing fails.
        """
        runtime = self._fine_runtime("weights to save")
        runtime.save(check_path(directory, "directory"), tokenizer_json=self._tokenizer.to_json())

    def _fine_runtime(self, what: str) -> FineRuntime:
        if not isinstance(self._runtime, FineRuntime):
            raise InputError(
                f"{what} are not available on the {self.engine} engine; "
                f'load the model with engine="torch"'
            )
        return self._runtime

    def _embed(self, batch: DecodedBatch) -> EncodedBatch:
        rows = np.empty((0, self.embed_dim), dtype=np.float32)
        if batch.positions:
            rows = normalize_rows(self._runtime.image_features(np.stack(batch.pixel_values)))
        return EncodedBatch(batch.positions, EmbeddingArray(rows, self.space_id), batch.skipped)

    def _decode(
        self,
        images: Iterable[ImageInput],
        ahead: int,
        allow_urls: bool,  # noqa: FBT001 - private, and every caller names it
    ) -> Generator[Outcome]:
        """Return pixel values or the reason why there are none, in order, decoding ahead."""

        def decode(image: ImageInput) -> Outcome:
            try:
                return self.preprocess.pixel_values(
                    image, max_pixels=self.max_pixels, allow_urls=allow_urls
                )
            except ImageReadError as error:
                return error

        return map_ahead(decode, images, ahead=ahead)


def _reload(spec: ReloadsEncoder, max_pixels: int | None) -> Encoder:
    encoder = spec.load()
    encoder.max_pixels = max_pixels
    return encoder
