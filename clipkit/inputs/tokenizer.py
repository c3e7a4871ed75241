"""Tokenization: texts to token ids, with the vocabulary, cleaning and length of a checkpoint.

Shapes: N texts, L context length.
"""

import functools
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import items_of
from clipkit.errors import CheckpointError, ClipkitWarning, InputError
from clipkit.inputs.language_tokens import set_language_mark
from clipkit.inputs.text_cleaning import CLEANING_RULES, cleaning_rule
from clipkit.inputs.tokenizer_settings import (
    CLIP_SETTINGS,
    TOKENIZER_FILE,
    TokenizerSettings,
    named_tokens,
    pad_token,
    read_settings,
    sides,
    token_id,
    unusual_settings,
)
from clipkit.inputs.vocabulary_lookup import VocabularyLookup, write_lookup

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as Vocabulary

CLIP_CONTEXT_LENGTH = 77  # open_clip's default where a config names none
_SHOWN_CHARACTERS = 200  # of what a text lost
_SPACE = "\u2581"  # how SentencePiece writes a space; alone where the word behind it is unknown


class TextCutWarning(ClipkitWarning):
    """A text was longer than the text tower's context length; a part of it was left out.

    That is its end, or its start where the checkpoint's tokenizer cuts on the left.
    """


class TokenizedTexts(NamedTuple):
    """Token ids of texts, how many there are, and which texts were cut or unknown."""

    token_ids: NDArray[np.int64]  # (N, L)
    is_cut: NDArray[np.bool_]  # (N,), whether a part of the text was left out
    is_unknown: NDArray[np.bool_]  # (N,), whether no word of it is in the vocabulary
    num_tokens: NDArray[np.int64]  # (N,), those that are no padding: the marks at both ends count


class Tokenizer:
    """Turns text into token ids, equal to open_clip's own for the same checkpoint.

    The vocabulary is read when it is first needed: that takes longer than a search, and texts
    whose embeddings are cached need none. With a lookup of it, a few texts read what they need.

    Args:
        read_vocabulary: Returns a tokenizer with its special tokens; truncation and padding are
            set here.
        clean: The cleaning rule applied to every text first.
        context_length: L, tokens in a row of the result, special tokens included.
        settings: Special tokens and sides; by default rows are filled with number 0.
        file: The vocabulary's, by whose bytes it is known; None: it is CLIP's own.
        lookup: The same vocabulary as a database of :mod:`clipkit.inputs.vocabulary_lookup`.
    """

    def __init__(
        self,
        read_vocabulary: "Callable[[], Vocabulary]",
        *,
        clean: Callable[[str], str],
        context_length: int,
        settings: TokenizerSettings = CLIP_SETTINGS,
        file: Path | None = None,
        lookup: Path | None = None,
    ) -> None:
        self.context_length = context_length
        self._read_vocabulary = read_vocabulary
        self._clean = clean
        self._settings = settings
        self._file = file
        self._lookup = None if lookup is None else VocabularyLookup(lookup, file)

    @classmethod
    def from_config(
        cls, text_cfg: Mapping[str, Any], source: Path, *, lookup: Path | None = None
    ) -> "Tokenizer":
        """Build the tokenizer that a checkpoint's config names.

        Args:
            text_cfg: The ``text_cfg`` part of an open_clip model config.
            source: The checkpoint directory with a ``tokenizer.json``, or CLIP's vocabulary file.
            lookup: A database that :meth:`write_lookup` of the same tokenizer wrote.

        Returns:
            The tokenizer. Damage to its vocabulary is a CheckpointError of its first use.

        Raises:
            CheckpointError: If the files are missing or cannot be read, or they ask for a way of
                tokenizing that clipkit does not know.
        """
        options = dict(text_cfg.get("tokenizer_kwargs") or {})
        is_hugging_face = bool(text_cfg.get("hf_tokenizer_name"))
        if text_cfg.get("tokenizer_mode"):
            raise CheckpointError(
                f"the checkpoint asks for tokenizer mode {text_cfg['tokenizer_mode']!r}, "
                "which clipkit does not have; plain and SigLIP tokenizers are known"
            )
        if source.is_file():
            extra_special_tokens = options.get("additional_special_tokens") or ()
            read = functools.partial(_build_clip_vocabulary, source, extra_special_tokens)
        else:
            if not (source / TOKENIZER_FILE).is_file():
                raise CheckpointError(f"the checkpoint has no {TOKENIZER_FILE} in {source}")
            read = functools.partial(_read_vocabulary, source / TOKENIZER_FILE)
        return cls(
            read,
            clean=CLEANING_RULES[cleaning_rule(text_cfg)],
            context_length=int(text_cfg.get("context_length") or CLIP_CONTEXT_LENGTH),
            settings=read_settings(text_cfg, source) if is_hugging_face else CLIP_SETTINGS,
            file=source / TOKENIZER_FILE if is_hugging_face else None,
            lookup=lookup,
        )

    @property
    def pad_id(self) -> int:
        """Token id that fills a row."""
        return int((self._vocabulary.padding or {})["pad_id"])

    def __call__(self, texts: Iterable[str]) -> NDArray[np.int64]:
        """Return the token ids of texts.

        A text that is too long keeps its special tokens and its start, or its end where the
        checkpoint cuts on the left; one TextCutWarning a call shows what was left out.

        Args:
            texts: N texts of any length, also empty ones.

        Returns:
            int64, shape (N, L).

        Raises:
            InputError: If texts is one string, or an item is not a string.
            CheckpointError: If the vocabulary is damaged.
        """
        cleaned, encodings, vocabulary = self._encode(texts)
        self._warn_of_cuts(cleaned, encodings, vocabulary)
        return self._without_erased(self._ids(encodings), vocabulary)

    def tokenize(self, texts: Iterable[str]) -> TokenizedTexts:
        """Return the token ids of texts, which of them were too long, and which hold no known word.

        Texts that were cut give a TextCutWarning, as in a call.

        Args:
            texts: N texts of any length, also empty ones.

        Returns:
            Token ids, shape (N, L), and two booleans for each text.

        Raises:
            InputError: If texts is one string, or an item is not a string.
            CheckpointError: If the vocabulary is damaged.
        """
        cleaned, encodings, vocabulary = self._encode(texts)
        self._warn_of_cuts(cleaned, encodings, vocabulary)
        return self._tokenized(encodings, vocabulary)

    def tokenize_quietly(self, texts: Iterable[str]) -> TokenizedTexts:
        """Return what :meth:`tokenize` returns, without a warning."""
        _, encodings, vocabulary = self._encode(texts)
        return self._tokenized(encodings, vocabulary)

    def _encode(self, texts: Iterable[str]) -> "tuple[list[str], Sequence[Encoding], Vocabulary]":
        """Return the cleaned texts, their encodings, and the vocabulary they are of."""
        cleaned = [self._clean(text) for text in check_texts(texts)]
        vocabulary = self._looked_up(cleaned) or self._vocabulary
        return cleaned, vocabulary.encode_batch(cleaned), vocabulary

    def _ids(self, encodings: "Sequence[Encoding]") -> NDArray[np.int64]:
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        return ids.reshape(len(encodings), self.context_length)

    def _without_erased(
        self, ids: NDArray[np.int64], vocabulary: "Vocabulary"
    ) -> NDArray[np.int64]:
        erased_id = token_id(vocabulary, self._settings.erased_token)
        return ids if erased_id is None else np.where(ids == erased_id, 0, ids)

    def _tokenized(
        self, encodings: "Sequence[Encoding]", vocabulary: "Vocabulary"
    ) -> TokenizedTexts:
        ids = self._ids(encodings)
        is_special = np.array(
            [encoding.special_tokens_mask for encoding in encodings], dtype=np.int64
        )
        is_word = (is_special.reshape(ids.shape) == 0) & ~np.isin(
            ids, self._ids_without_word(vocabulary)
        )
        is_cut = np.array([bool(encoding.overflowing) for encoding in encodings], dtype=np.bool_)
        num_tokens = [sum(encoding.attention_mask) for encoding in encodings]
        return TokenizedTexts(
            self._without_erased(ids, vocabulary),
            is_cut,
            ~is_word.any(axis=1),
            np.array(num_tokens, dtype=np.int64),
        )

    def to_json(self) -> str:
        """Return the vocabulary as the text of a ``tokenizer.json``."""
        return str(self._vocabulary.to_str())

    def write_lookup(self, path: Path) -> bool:
        """Write the vocabulary as a database, for `from_config`.

        Args:
            path: Where to; nothing is there yet.

        Returns:
            False, and nothing is written, for kinds of which there is none.

        Raises:
            CheckpointError: If the vocabulary is damaged, or the file cannot be written.
        """
        if self._settings.language is not None:  # its token is added by other rules than the file's
            return False
        return write_lookup(self._read_vocabulary(), path, self._file)

    def digest(self) -> str:
        """Return the part of a space_id that identifies the tokenizer of a checkpoint.

        CLIP's own vocabulary never changes, so it has a name; others are known by their file's
        bytes. Settings beside the file count where they make other token ids than usual ones would:
        for the usual ones the digest is that of the file alone, as it has always been.

        Returns:
            "clip" or 64 hex digits.

        Raises:
            CheckpointError: If the vocabulary is damaged.
        """
        if self._file is None:
            return "clip"
        import hashlib  # only here: it takes 3 ms

        _, unusual = self._prepared
        digest = hashlib.sha256(self._file.read_bytes())
        if unusual:
            digest.update(json.dumps(unusual, sort_keys=True).encode())
        return digest.hexdigest()

    def _ids_without_word(self, vocabulary: "Vocabulary") -> list[int]:
        """Token ids that stand for no word: of what is unknown, and of the space before a word."""
        unknown = self._settings.unknown_token or getattr(vocabulary.model, "unk_token", None)
        ids = (token_id(vocabulary, token) for token in (unknown, _SPACE))
        return [number for number in ids if number is not None]

    def _looked_up(self, texts: Sequence[str]) -> "Vocabulary | None":
        """Return a vocabulary of what texts need; None if the whole one is there or needed."""
        if self._lookup is None or "_prepared" in self.__dict__:
            return None
        names = (*named_tokens(self._settings), _SPACE)
        vocabulary = self._lookup.vocabulary_of(texts, names=names)
        if vocabulary is not None:
            self._set_rows(vocabulary)
        return vocabulary

    @property
    def _vocabulary(self) -> "Vocabulary":
        return self._prepared[0]

    @functools.cached_property
    def _prepared(self) -> "tuple[Vocabulary, dict[str, str | None]]":
        """The vocabulary, set to rows of L tokens, and the settings that are not usual ones.

        Both come of one reading: one of 256,000 tokens takes most of a second.
        """
        vocabulary, settings = self._read_vocabulary(), self._settings
        unusual = unusual_settings(settings, vocabulary)  # which compares with the file's own
        if settings.language is not None:
            stored_marks = vocabulary.encode("").tokens
            set_language_mark(vocabulary, settings.language)
            marks = vocabulary.encode("").tokens
            if marks != stored_marks:
                unusual["language"] = " ".join(marks)
        self._set_rows(vocabulary)
        return vocabulary, unusual

    def _set_rows(self, vocabulary: "Vocabulary") -> None:
        """Let a vocabulary give rows of L tokens."""
        padding_side, truncation_side = sides(self._settings, vocabulary)
        pad_id = token_id(vocabulary, pad_token(self._settings, vocabulary)) or 0
        vocabulary.enable_truncation(max_length=self.context_length, direction=truncation_side)
        vocabulary.enable_padding(length=self.context_length, pad_id=pad_id, direction=padding_side)

    def _warn_of_cuts(
        self, texts: Sequence[str], encodings: "Sequence[Encoding]", vocabulary: "Vocabulary"
    ) -> None:
        cut = [
            (text, encoding)
            for text, encoding in zip(texts, encodings, strict=True)
            if encoding.overflowing
        ]
        if not cut:
            return
        is_at_start = (vocabulary.truncation or {})["direction"] == "left"
        left_out = _left_out(*cut[0], is_at_start=is_at_start)
        others = f" ({len(cut) - 1} more texts were cut)" if len(cut) > 1 else ""
        warnings.warn(
            f"a text is longer than the {self.context_length} tokens the model reads; left out: "
            f"{left_out!r}{others}",
            TextCutWarning,
            stacklevel=3,
        )


def check_texts(texts: Iterable[str]) -> list[str]:
    """Return texts as a list of plain strings; refuse anything else.

    Args:
        texts: Strings in a list, a generator, a NumPy array, a pandas Series or the like.

    Returns:
        N strings.

    Raises:
        InputError: If it is one string, no list or a table, or an item is not a string.
    """
    plain: list[str] = []
    for text in items_of(texts, "texts must be a list of strings"):
        if not isinstance(text, str):
            raise InputError(
                f"every text must be a string, got {type(text).__name__} in place {len(plain) + 1}"
            )
        plain.append(str.__str__(text))  # of NumPy's strings and the like, too
    return plain


def _read_vocabulary(path: Path) -> "Vocabulary":
    from tokenizers import Tokenizer as Vocabulary

    try:
        return Vocabulary.from_str(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # The Rust library raises plain Exception for every kind of damage.
        raise CheckpointError(f"{path} is not a tokenizer file: {error}") from error


def _build_clip_vocabulary(file: Path, extra_special_tokens: Sequence[str]) -> "Vocabulary":
    from clipkit.inputs.clip_vocabulary import build_clip_tokenizer

    return build_clip_tokenizer(file, extra_special_tokens=extra_special_tokens)


def _left_out(text: str, encoding: "Encoding", *, is_at_start: bool) -> str:
    """Return the part of a cut text that the encoding lacks, or what of it lies at the cut."""
    if is_at_start:
        end = next(_word_starts(encoding), len(text))
        shown = text[max(end - _SHOWN_CHARACTERS, 0) : end]
        return shown if end <= _SHOWN_CHARACTERS else f"…{shown}"
    start = next(_word_starts(encoding.overflowing[0]))
    shown = text[start : start + _SHOWN_CHARACTERS]
    return shown if len(text) - start <= _SHOWN_CHARACTERS else f"{shown}…"


def _word_starts(encoding: "Encoding") -> Iterator[int]:
    """Yield where the words of an encoding begin in its text."""
    for (begin, end), special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True):
        if not special and end > begin:
            yield begin
