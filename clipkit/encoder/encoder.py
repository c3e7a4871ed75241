"""The encoder: images and texts to embeddings of one space, on any engine."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from clipkit.embeddings import common_space, cosine_similarity
from clipkit.encoder.image_calls import Decode, ImageCalls
from clipkit.encoder.text_cache import MemoryTextCache, TextCache
from clipkit.encoder.text_calls import TextCalls
from clipkit.encoder.text_embedding import TextEmbedder
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.inputs.preprocess import Preprocess
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.runtime.base import Runtime
from clipkit.runtime.truncated import TruncatedRuntime

if TYPE_CHECKING:
    from clipkit.encoder.spec import EncoderSpec


class Encoder(TextCalls, ImageCalls):
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

    def __init__(
        self,
        runtime: Runtime,
        preprocess: Preprocess,
        tokenizer: Tokenizer,
        *,
        name: str,
        max_pixels: int | None = None,
        text_cache: TextCache | MemoryTextCache | None = None,
    ) -> None:
        super().__init__(runtime, tokenizer, name=name)
        self.preprocess = preprocess
        self.max_pixels = max_pixels
        self._text_cache = text_cache
        self._texts = TextEmbedder(runtime, tokenizer, text_cache)

    @property
    def spec(self) -> "EncoderSpec":
        """What load() was given and chose: it loads the same encoder in another process.

        Raises:
            InputError: If this encoder was not made by load(), or its weights were changed since.
        """
        if self._spec is None:
            raise InputError(
                f"the encoder {self.name!r} was not made by load(), so no other process can make "
                "it again: save it with encoder.save(DIRECTORY), and load(DIRECTORY) there"
            )
        self.check_weights()
        return self._spec

    @spec.setter
    def spec(self, spec: "EncoderSpec") -> None:
        self._spec = spec

    def __reduce__(self) -> tuple[object, ...]:
        """Let the encoder cross process borders: it is loaded again on the other side."""
        return _reload, (self.spec, self.max_pixels, self.batch_size, self.decode)

    def truncated(self, truncate_dim: int) -> "Encoder":
        """Return an encoder of the first dimensions: rows of norm 1 again, of a space of their own.

        For models that were trained so that a prefix of the embedding is one too (Matryoshka). Of
        others it loses much: docs/embeddings.md has figures. Both encoders share the weights.

        Args:
            truncate_dim: How many dimensions are kept, 1 to :attr:`embed_dim`.

        Returns:
            An encoder with a space_id of its own, unless all dimensions are kept.

        Raises:
            InputError: If truncate_dim is no such number.
        """
        encoder = Encoder(
            TruncatedRuntime(self._runtime, truncate_dim),
            self.preprocess,
            self._tokenizer,
            name=self.name,
            max_pixels=self.max_pixels,
            text_cache=self._text_cache,
        )
        encoder.batch_size, encoder.decode = self.batch_size, self.decode
        if self._spec is not None:
            encoder.spec = replace(
                self._spec, truncate_dim=encoder.embed_dim, space_id=encoder.space_id
            )
        return encoder

    def similarity(self, first: ArrayLike, second: ArrayLike) -> NDArray[np.float32]:
        """Return the cosine of every row of one set of embeddings to every row of another.

        Args:
            first: Embeddings of this encoder's, shape (N, D).
            second: The same, shape (M, D).

        Returns:
            float32, shape (N, M), in [-1, 1]. :attr:`logit_scale` times that is what the model was
            trained with.

        Raises:
            InputError: If the shapes do not fit together, or rows are not of norm 1.
            SpaceMismatchError: If they know that they are of another space.
        """
        space_id = common_space(first, second)
        if space_id not in (None, self.space_id):
            raise SpaceMismatchError(
                f"these embeddings are of the space {space_id}, and {self.name} has "
                f"{self.space_id}: encode them with this model"
            )
        return cosine_similarity(first, second)


def _reload(
    spec: "EncoderSpec", max_pixels: int | None, batch_size: int | None, decode: Decode
) -> Encoder:
    encoder = spec.load()
    encoder.max_pixels, encoder.batch_size, encoder.decode = max_pixels, batch_size, decode
    return encoder
