"""Settings of a checkpoint's tokenizer: special tokens, and the sides of padding and truncation.

They stand in files beside the vocabulary, and in the vocabulary's own file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipkit.errors import CheckpointError
from clipkit.files import read_json_object
from clipkit.inputs.language_tokens import LanguageMark, read_language_mark
from clipkit.inputs.text_cleaning import cleaning_rule

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Vocabulary

TOKENIZER_FILE = "tokenizer.json"
_SIDES = ("right", "left")
# Classes of transformers that fill texts on the left, unless their settings say otherwise.
_LEFT_CLASSES = ("GemmaTokenizer", "Siglip2Tokenizer")
# The token that fills texts where no file names one, by its usual names: BERT's, T5's and
# XLM-RoBERTa's, CLIP's.
_USUAL_PAD_TOKENS = ("[PAD]", "<pad>", "<|endoftext|>")
_USUAL_ERASED_TOKENS = ("[SEP]", "</s>")
_GEMMAS_END = "<eos>"


@dataclass(frozen=True)
class TokenizerSettings:
    """What a checkpoint says of its tokenizer beside the vocabulary."""

    pad_token: str | None = None  # fills a row
    pad_candidates: tuple[str, ...] = ()  # the first in the vocabulary fills a row without it
    unknown_token: str | None = None  # of what is not in the vocabulary; None: the vocabulary says
    erased_token: str | None = None  # becomes 0 in the result; some were trained without it
    padding_side: str | None = "right"  # where a row is filled; None: the vocabulary's file says
    truncation_side: str | None = "right"  # where a long text is cut; None: likewise
    class_padding_side: str = "right"  # where a row is filled if the vocabulary's file is silent
    language: LanguageMark | None = None  # added to every text; None: the vocabulary's file says


# Of CLIP's own vocabulary: number 0 fills rows, and both sides are the right.
CLIP_SETTINGS = TokenizerSettings()


def read_settings(text_cfg: Mapping[str, Any], source: Path) -> TokenizerSettings:
    """Return what the files beside a tokenizer.json say of it, as transformers reads them.

    Args:
        text_cfg: The ``text_cfg`` part of an open_clip model config.
        source: The checkpoint directory.

    Returns:
        The settings.

    Raises:
        CheckpointError: If a file cannot be read, or names a side that there is not.
    """
    named = _named_settings(source)
    kind = str(named.get("tokenizer_class") or "").removesuffix("Fast")
    for key in ("padding_side", "truncation_side"):
        if named.get(key, "right") not in _SIDES:
            raise CheckpointError(
                f"{key} must be left or right, got {named[key]!r} in the settings of {source}"
            )
    is_erasing = (text_cfg.get("tokenizer_kwargs") or {}).get("strip_sep_token")
    is_siglip = text_cfg.get("no_causal_mask") or cleaning_rule(text_cfg) in (
        "canonicalize",
        "siglip",
    )
    # SigLIP fills texts with T5's end. SigLIP 2 has Gemma's tokens, where "</s>" is an HTML tag.
    siglip = ("</s>",) if is_siglip else ()
    return TokenizerSettings(
        pad_token=_content(named, "pad_token", source),
        pad_candidates=(*siglip, *_USUAL_PAD_TOKENS),
        unknown_token=_content(named, "unk_token", source),
        erased_token=_content(named, "sep_token", source) if is_erasing else None,
        padding_side=named.get("padding_side"),
        truncation_side=named.get("truncation_side"),
        class_padding_side="left" if kind in _LEFT_CLASSES else "right",
        language=read_language_mark(named),
    )


def named_tokens(settings: TokenizerSettings) -> Iterator[str | None]:
    """Yield every token that is looked for by its name, whether the vocabulary has it or not."""
    yield from (settings.pad_token, settings.unknown_token, settings.erased_token, _GEMMAS_END)
    yield from settings.pad_candidates


def unusual_settings(
    settings: TokenizerSettings, vocabulary: "Vocabulary"
) -> dict[str, str | None]:
    """Return the settings by which token ids differ from those of usual ones.

    Args:
        settings: A checkpoint's.
        vocabulary: Its own, with padding and truncation as its file has them.

    Returns:
        Any of "sep_token", "padding_side", "truncation_side" and "pad_token".

    Raises:
        CheckpointError: If the token that fills texts is not in the vocabulary.
    """
    usual = TokenizerSettings(
        pad_candidates=settings.pad_candidates, padding_side=None, truncation_side=None
    )
    found: dict[str, str | None] = {}
    if settings.erased_token not in (None, *_USUAL_ERASED_TOKENS):
        found["sep_token"] = settings.erased_token
    both = zip(sides(settings, vocabulary), sides(usual, vocabulary), strict=True)
    for key, (side, usual_side) in zip(("padding_side", "truncation_side"), both, strict=True):
        if side != usual_side:
            found[key] = side
    if pad_token(settings, vocabulary) != pad_token(usual, vocabulary):
        found["pad_token"] = settings.pad_token
    return found


def pad_token(settings: TokenizerSettings, vocabulary: "Vocabulary") -> str | None:
    """Return the token that fills texts.

    Args:
        settings: A checkpoint's.
        vocabulary: Its own.

    Returns:
        The token; None: number 0.

    Raises:
        CheckpointError: If the settings name one that is not in the vocabulary.
    """
    if settings.pad_token is not None:
        if token_id(vocabulary, settings.pad_token) is None:
            raise CheckpointError(
                f"the token {settings.pad_token!r}, which fills texts, is not in the checkpoint's "
                f"{TOKENIZER_FILE}: save the tokenizer again with it, or name another pad_token"
            )
        return settings.pad_token
    if not settings.pad_candidates:
        return None
    stored = (vocabulary.padding or {}).get("pad_token")
    is_gemma = token_id(vocabulary, _GEMMAS_END) is not None
    candidates = [token for token in settings.pad_candidates if not (is_gemma and token == "</s>")]
    known = (token for token in (stored, *candidates) if token_id(vocabulary, token) is not None)
    return next(known, None)


def sides(settings: TokenizerSettings, vocabulary: "Vocabulary") -> tuple[str, str]:
    """Return where rows are filled and where long texts are cut: "right" or "left"."""
    padding, truncation = vocabulary.padding or {}, vocabulary.truncation or {}
    padding_side = settings.padding_side or padding.get("direction") or settings.class_padding_side
    truncation_side = settings.truncation_side or truncation.get("direction") or "right"
    return str(padding_side).lower(), str(truncation_side).lower()


def token_id(vocabulary: "Vocabulary", token: str | None) -> int | None:
    """Return the number of a token; None if there is no such token, or none is given."""
    return vocabulary.token_to_id(token) if token else None


def _named_settings(directory: Path) -> dict[str, Any]:
    """Return what the files beside a tokenizer.json name; what both name as transformers does."""
    special_tokens = _without_nulls(directory / "special_tokens_map.json")
    settings = _without_nulls(directory / "tokenizer_config.json")
    if "added_tokens_decoder" in settings:  # then the other file is one that old versions read
        return special_tokens | settings
    return settings | special_tokens


def _without_nulls(path: Path) -> dict[str, Any]:
    """Return what an object in a file names, without nulls; nothing where there is no file."""
    content = read_json_object(path, CheckpointError) if path.is_file() else {}
    return {key: value for key, value in content.items() if value is not None}


def _content(named: Mapping[str, Any], key: str, source: Path) -> str | None:
    """Return a special token as text, however its file spells it."""
    token = named.get(key)
    token = token.get("content") if isinstance(token, dict) else token
    if token is not None and not isinstance(token, str):
        raise CheckpointError(
            f"{key} must be a string, or an object with one as its content, got {token!r} in the "
            f"settings of the tokenizer in {source}"
        )
    return token or None
