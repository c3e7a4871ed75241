"""Texts and prompt ensembles to embeddings: from the cache, else from the text encoder.

Shapes: N texts, E ensembles of prompts, D dimensions of the shared space.
"""

import json
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import quoted
from clipkit.embeddings import Embeddings, normalize_rows
from clipkit.encoder.text_cache import MemoryTextCache, TextCache
from clipkit.errors import ClipkitWarning
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.progress import Progress
from clipkit.runtime.base import Runtime

# 4 MB at 512 dimensions, a quarter of the cache. More at once are the captions of a dataset, which
# are embedded once and would push out the queries that come again.
KEPT_AT_ONCE = 2048


Ensemble = tuple[str, ...]
"""At least one prompt, of whose embeddings the mean is taken. A text alone is an ensemble too."""

_Rows = dict[Ensemble, NDArray[np.float32]]


class UnknownTextWarning(ClipkitWarning):
    """No word of a text is in the model's vocabulary, so its embedding means nothing."""


class TextEmbedder:
    """Embeds texts on a runtime.

    Args:
        runtime: The text encoder on an engine.
        tokenizer: Text to token ids, as the checkpoint says.
        cache: Where embeddings are looked up and kept; None: nowhere. It is left alone once the
            weights were handed out: what it has is of the weights that the space_id is of.
    """

    def __init__(
        self, runtime: Runtime, tokenizer: Tokenizer, cache: TextCache | MemoryTextCache | None
    ) -> None:
        self._runtime = runtime
        self._tokenizer = tokenizer
        self._cache = cache
        # What the last digits depend on; the cache has rows of their own for each.
        device = runtime.device.partition(":")[0]
        self._numerics = f"{runtime.engine} {device} {runtime.precision}"

    def embed_texts(
        self, texts: Sequence[str], *, batch_size: int, progress: Progress | None
    ) -> Embeddings:
        """Return the embeddings of texts, with a warning of those that the model cannot read.

        Args:
            texts: N texts. Each goes through the text encoder once, and not at all if it is cached.
            batch_size: Texts that go through the text encoder at once.
            progress: Called after every batch with (done, total).

        Returns:
            float32, shape (N, D), rows of norm 1.
        """
        ensembles = [(text,) for text in texts]
        rows, unknown = self._embed(ensembles, batch_size, progress)
        warn_of_unknown(unknown, "texts")
        return self._stacked(ensembles, rows)

    def embed_prompts(
        self, ensembles: Sequence[Ensemble], *, batch_size: int, progress: Progress | None
    ) -> Embeddings:
        """Return one embedding an ensemble: the mean of its prompts' embeddings, of norm 1 again.

        Args:
            ensembles: E of them.
            batch_size: Prompts that go through the text encoder at once.
            progress: Called after every batch of prompts with (done, total).

        Returns:
            float32, shape (E, D), rows of norm 1.

        Source:
            openai/CLIP, ``notebooks/Prompt_Engineering_for_ImageNet.ipynb``.
        """
        rows, _ = self._embed(ensembles, batch_size, progress)
        return self._stacked(ensembles, rows)

    def _embed(
        self, ensembles: Sequence[Ensemble], batch_size: int, progress: Progress | None
    ) -> tuple[_Rows, list[str]]:
        """Return the embedding of every ensemble, and the texts that the model cannot read."""
        rows = self._known(ensembles)
        missing = [some for some in dict.fromkeys(ensembles) if some not in rows]
        if not missing:  # neither vocabulary nor text encoder are loaded
            return rows, []
        texts = list(dict.fromkeys(text for some in missing for text in some))
        tokens = self._tokenizer.tokenize(texts)
        unknown = [text for text, is_it in zip(texts, tokens.is_unknown, strict=True) if is_it]
        unknown = [text for text in unknown if text.strip()]  # an empty text is meant to be empty
        cut = [text for text, is_it in zip(texts, tokens.is_cut, strict=True) if is_it]
        # Those that are warned of are not cached, so that the warning comes again.
        never_kept = {*unknown, *cut} if len(missing) <= KEPT_AT_ONCE else set(texts)
        total = sum(map(len, ensembles))
        for done, fresh in self._compute(missing, texts, tokens.token_ids, batch_size):
            rows |= fresh
            self._keep({some: row for some, row in fresh.items() if never_kept.isdisjoint(some)})
            if progress:
                progress(total - len(texts) + done, total)
        return rows, unknown

    def _compute(
        self,
        ensembles: Sequence[Ensemble],
        texts: Sequence[str],
        token_ids: NDArray[np.int64],
        batch_size: int,
    ) -> Iterator[tuple[int, _Rows]]:
        """Yield how many texts are embedded, and the ensembles that were completed by a batch."""
        number_of = {text: number for number, text in enumerate(texts)}
        embedded = np.empty((len(texts), self._runtime.embed_dim), dtype=np.float32)
        waiting = iter([(some, [number_of[text] for text in some]) for some in ensembles])
        first = next(waiting, None)
        for start in range(0, len(texts), batch_size):
            stop = min(start + batch_size, len(texts))
            embedded[start:stop] = normalize_rows(
                self._runtime.text_features(token_ids[start:stop])
            )
            fresh: _Rows = {}
            while first is not None and max(first[1]) < stop:
                fresh[first[0]] = _mean(embedded[first[1]])
                first = next(waiting, None)
            yield stop, fresh

    def _known(self, ensembles: Sequence[Ensemble]) -> _Rows:
        cache = self._trusted_cache
        if cache is None or not ensembles:
            return {}
        name_of = {_cache_name(some): some for some in ensembles}
        known = cache.get(self._runtime.space_id, self._numerics, name_of)
        return {name_of[name]: row for name, row in known.items()}

    def _keep(self, rows: _Rows) -> None:
        cache = self._trusted_cache
        if cache is not None and rows:
            named = {_cache_name(some): row for some, row in rows.items()}
            cache.put(self._runtime.space_id, self._numerics, named)

    @property
    def _trusted_cache(self) -> TextCache | MemoryTextCache | None:
        return None if self._runtime.may_weights_change else self._cache

    def _stacked(self, ensembles: Sequence[Ensemble], rows: _Rows) -> Embeddings:
        if not ensembles:
            return np.empty((0, self._runtime.embed_dim), dtype=np.float32)
        return np.stack([rows[some] for some in ensembles])


def warn_of_unknown(texts: Sequence[str], what: str = "texts") -> None:
    """Warn of texts of which the model knows no word.

    Args:
        texts: Those; none: no warning.
        what: What to call them.
    """
    if not texts:
        return
    warnings.warn(
        f"no word of these {what} is in the model's vocabulary, so its answers to them mean "
        f"nothing: {quoted(texts)}; use other words, or a model that reads this language",
        UnknownTextWarning,
        stacklevel=4,
    )


def _mean(rows: Embeddings) -> NDArray[np.float32]:
    """Return the mean of embeddings, of norm 1 again; of one, itself, bit for bit."""
    mean: NDArray[np.float32] = normalize_rows(rows.mean(axis=0, keepdims=True))[0]
    return rows[0] if len(rows) == 1 else mean


def _cache_name(ensemble: Ensemble) -> str:
    return json.dumps(ensemble)  # no two ensembles have one
