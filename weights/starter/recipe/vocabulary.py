"""MiniLM's vocabulary without the pieces that no English query needs.

Over half of MiniLM's parameters are word vectors, and a tenth of those belong to other scripts, to
reserved slots and to long numbers. The checkpoint leaves them out: texts in Latin letters are cut
into the same pieces as before, except that numbers of three and more digits are spelled by shorter
ones.
"""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

FIRST_FREE_NUMBER = 104  # the special tokens stand below it and keep their numbers
MAX_POSITIONS = 128  # tokens; the tokenizer's own limit, the checkpoint uses 32
_MAX_DIGITS = 2
_CONTINUATION = "##"
_WORD_VECTORS = "embeddings.word_embeddings.weight"
_POSITION_VECTORS = "embeddings.position_embeddings.weight"
_CJK_START = 0x2E80


@dataclass(frozen=True)
class Vocabulary:
    """Which of MiniLM's tokens the checkpoint keeps."""

    tokens: tuple[str, ...]
    old_numbers: tuple[int, ...]  # rows of MiniLM's own matrix

    def shrink(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return MiniLM's tensors with the rows of the kept tokens and positions only."""
        shrunk = dict(tensors)
        shrunk[_WORD_VECTORS] = tensors[_WORD_VECTORS][list(self.old_numbers)]
        shrunk[_POSITION_VECTORS] = tensors[_POSITION_VECTORS][:MAX_POSITIONS]
        return shrunk

    def write(self, source: Path, folder: Path) -> None:
        """Write config, tokenizer and word list for the kept tokens."""
        numbers = {token: number for number, token in enumerate(self.tokens)}
        tokenizer = _read_json(source / "tokenizer.json")
        tokenizer["model"]["vocab"] = numbers
        text = json.dumps(tokenizer, ensure_ascii=False)
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        (folder / "vocab.txt").write_text("\n".join(self.tokens) + "\n", encoding="utf-8")
        config = _read_json(source / "config.json")
        config |= {"vocab_size": len(self.tokens), "max_position_embeddings": MAX_POSITIONS}
        del config["_name_or_path"]
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def read_vocabulary(source: Path) -> Vocabulary:
    """Return the tokens to keep from MiniLM's folder."""
    numbers = _read_json(source / "tokenizer.json")["model"]["vocab"]
    tokens = sorted(numbers, key=lambda token: int(numbers[token]))
    kept = [
        (number, token)
        for number, token in enumerate(tokens)
        if number < FIRST_FREE_NUMBER or is_useful(token)
    ]
    return Vocabulary(tuple(token for _, token in kept), tuple(number for number, _ in kept))


def is_useful(token: str) -> bool:
    """Return whether a piece occurs in English text other than long numbers."""
    letters = token.removeprefix(_CONTINUATION) or token
    if letters.startswith("[unused"):
        return False
    if letters.isdigit() and len(letters) > _MAX_DIGITS:
        return False
    return not any(_is_foreign(letter) for letter in letters)


def _is_foreign(letter: str) -> bool:
    if ord(letter) >= _CJK_START:
        return True
    return letter.isalpha() and not unicodedata.name(letter, "").startswith("LATIN")


def _read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return content
