"""The calls of an encoder that take texts.

Shapes: N texts, E ensembles of prompts, L context length, D dimensions of the shared space, W width
of the text encoder.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_progress, check_whole, items_of
from clipkit.embeddings import EmbeddingArray
from clipkit.encoder.loaded_model import LoadedModel
from clipkit.encoder.text_embedding import TextEmbedder
from clipkit.errors import InputError
from clipkit.inputs.tokenizer import TokenizedTexts, check_texts
from clipkit.progress import Progress

TEXT_BATCH_SIZE = 64


class TextCalls(LoadedModel):
    """What an encoder does with texts."""

    _texts: TextEmbedder

    def encode_text(self, text: str, *, prompt: str = "") -> EmbeddingArray:
        """Return the embedding of one text.

        Args:
            text: The text.
            prompt: As for :meth:`encode_texts`.

        Returns:
            float32, shape (D,), of norm 1.

        Raises:
            InputError: If text is no string.
        """
        if not isinstance(text, str):
            raise InputError(
                f"text must be one string, got {type(text).__name__}: several are for encode_texts"
            )
        return self.encode_texts([text], prompt=prompt)[0]

    def encode_texts(
        self,
        texts: Iterable[str],
        *,
        prompt: str = "",
        batch_size: int = TEXT_BATCH_SIZE,
        progress: Progress | None = None,
    ) -> EmbeddingArray:
        """Return the embeddings of texts.

        Args:
            texts: N texts. One that is longer than the model reads is cut, with a TextCutWarning;
                one whose words the model does not know gives an UnknownTextWarning.
                Each goes through the tower once, and not at all if its embedding is cached.
            prompt: What is put before each text, for models that were trained with an instruction
                there, as "query: ". Templates with a {} are a ZeroShotClassifier's.
            batch_size: Texts that go through the tower at once; it changes speed and memory only.
            progress: Called after every batch.

        Returns:
            float32, shape (N, D), rows of norm 1; (0, D) for no texts.

        Raises:
            InputError: If texts is one string or holds something else than strings, prompt is a
                template, or progress is no function.
        """
        check_progress(progress)
        before = _checked_prompt(prompt)
        words = [before + text for text in check_texts(texts)]
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
        check_progress(progress)
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


def _checked_prompt(prompt: str) -> str:
    if not isinstance(prompt, str) or "{}" in prompt:
        raise InputError(
            f"prompt must be a string to put before each text, got {prompt!r}: a template with a "
            "{} is for clipkit.ZeroShotClassifier(encoder, names, templates=[...])"
        )
    return prompt
