"""The encoder: images and texts to embeddings of one space, on any engine.

Shapes: N inputs, L context length, D dimensions of the shared space, P patches, W width of a tower.
"""

from collections.abc import Generator, Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_whole, items_of
from clipkit.embeddings import EmbeddingArray
from clipkit.encoder.image_embedding import EncodedBatch, EncodingReport, ImageEmbedder
from clipkit.encoder.loaded_model import LoadedModel
from clipkit.encoder.text_cache import TextCache
from clipkit.encoder.text_embedding import TextEmbedder
from clipkit.errors import ImageReadError, InputError
from clipkit.inputs.images import ImageInput, check_image_list
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import TokenizedTexts, Tokenizer, check_texts
from clipkit.progress import Progress
from clipkit.runtime.base import Runtime

if TYPE_CHECKING:
    from clipkit.encoder.spec import EncoderSpec

TEXT_BATCH_SIZE = 64
Decode = Literal["scaled", "exact"]
DECODES: tuple[Decode, ...] = get_args(Decode)


class Encoder(LoadedModel):
    """Turns images and text into embeddings of one space; :func:`clipkit.load` makes one.

    Args:
        runtime: The two towers on an engine.
        preprocess: Images to pixel values, as the checkpoint says.
        tokenizer: Text to token ids, as the checkpoint says.
        name: The model's name, as it was resolved.
        max_pixels: Images that decode to more are refused; None takes a share of the memory.
        text_cache: Where embeddings of texts are kept and looked up; None: nowhere.
    """

    _spec: "EncoderSpec | None" = None  # set by load()

    batch_size: int | None = None
    """Images that go through the image encoder at once, unless a call says; None: what suits."""

    decode: Decode = "scaled"
    """How large JPEGs are decoded: "scaled" at a half, a quarter or an eighth, at least twice the
    size that the image encoder takes, several times faster; "exact" in full, for embeddings that
    equal those of open_clip's or transformers' own pipeline."""

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
        super().__init__(runtime, tokenizer, name=name)
        self.preprocess = preprocess
        self.max_pixels = max_pixels
        self._texts = TextEmbedder(runtime, tokenizer, text_cache)

    @property
    def spec(self) -> "EncoderSpec":
        """What load() was given and chose: it loads the same encoder in another process.

        Raises:
            InputError: If this encoder was not made by load().
        """
        if self._spec is None:
            raise InputError(
                f"the encoder {self.name!r} was not made by load(), so no other process can make "
                "it again: save it with encoder.save(DIRECTORY), and load(DIRECTORY) there"
            )
        return self._spec

    @spec.setter
    def spec(self, spec: "EncoderSpec") -> None:
        self._spec = spec

    def __reduce__(self) -> tuple[object, ...]:
        """Let the encoder cross process borders: it is loaded again on the other side."""
        return _reload, (self.spec, self.max_pixels, self.batch_size, self.decode)

    def encode_texts(
        self,
        texts: Iterable[str],
        *,
        batch_size: int = TEXT_BATCH_SIZE,
        progress: Progress | None = None,
    ) -> EmbeddingArray:
        """Return the embeddings of texts.

        Args:
            texts: N texts. One that is longer than the model reads is cut, with a TextCutWarning;
                one whose words the model does not know gives an UnknownTextWarning.
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
        batch_size: int = TEXT_BATCH_SIZE,
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
            ImageReadError: At the first image that cannot be read. To skip such images, use
                :meth:`encode_readable_images`.
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

        Decoding, computing and the caller's work on a batch overlap, see
        :meth:`ImageEmbedder.stream`. Whatever fails, no thread is left behind once the generator
        is closed, and what was embedded before is yielded first.

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
        if batch_size is None:
            suiting = self._runtime.image_batch
            batch_size = suiting if self.batch_size is None else self.batch_size
        batch_size = check_whole(batch_size, "batch_size")
        embedder = self._image_embedder(allow_urls=allow_urls)
        yield from embedder.stream(images, batch_size=batch_size, progress=progress)

    def token_features(self, texts: Iterable[str]) -> NDArray[np.float32]:
        """Return one feature a token: what the text tower sees before it pools.

        Args:
            texts: N texts.

        Returns:
            float32, shape (N, L, W), of any norm.

        Raises:
            InputError: If the encoder runs on an engine that gives pooled features only.
        """
        return self._runtime_with_towers("token features").token_features(self._tokenizer(texts))

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
        if self.decode not in DECODES:
            raise InputError(f'decode must be "scaled" or "exact", got {self.decode!r}')
        is_scaled = self.decode == "scaled"
        return ImageEmbedder(self._runtime, self.preprocess, self.max_pixels, allow_urls, is_scaled)


def _reload(
    spec: "EncoderSpec", max_pixels: int | None, batch_size: int | None, decode: Decode
) -> Encoder:
    encoder = spec.load()
    encoder.max_pixels, encoder.batch_size, encoder.decode = max_pixels, batch_size, decode
    return encoder
