"""Text cleaning before tokenization: the rules that checkpoints name.

Source: open_clip 3.3 ``tokenizer.py`` (lower, whitespace) and big_vision's
``prompt_engineering.py`` (canonicalize), which SigLIP checkpoints were trained with; what
transformers does to a text outside of its tokenizer.json (none, lowercase, siglip), which mends
neither mojibake nor HTML entities.
"""

import html
import string
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from clipkit.errors import CheckpointError

WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _repair(text: str) -> str:
    """Undo mojibake and HTML entities, as CLIP's own cleaning does."""
    text = clean_surrogates(text)
    if not (text.isascii() and text.isprintable() and "&" not in text):
        # Printable ASCII without entities is a fixed point of ftfy, whose import costs 40 ms.
        import ftfy

        text = ftfy.fix_text(text)
    return html.unescape(html.unescape(text)).strip()


def clean_whitespace(text: str) -> str:
    """Return the text repaired, with runs of white space as one space."""
    return " ".join(_repair(text).split())


def clean_lower(text: str) -> str:
    """Return the text repaired, with single spaces, in lower case."""
    return clean_whitespace(text).lower()


def clean_canonicalize(text: str) -> str:
    """Return the text repaired, without ASCII punctuation, in lower case, with single spaces."""
    words = _repair(text).replace("_", " ").translate(WITHOUT_PUNCTUATION).lower()
    return " ".join(words.split())


def clean_surrogates(text: str) -> str:
    """Return the text as it is, but for lone surrogates, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def clean_lowercase(text: str) -> str:
    """Return the text in lower case, letter by letter as the Rust tokenizers do it."""
    return "".join(map(str.lower, clean_surrogates(text)))


def clean_siglip(text: str) -> str:
    """Return the text in lower case, without ASCII punctuation, with single spaces."""
    return " ".join(clean_surrogates(text).lower().translate(WITHOUT_PUNCTUATION).split())


CLEANING_RULES: Mapping[str, Callable[[str], str]] = MappingProxyType(
    {
        "canonicalize": clean_canonicalize,
        "lower": clean_lower,
        "lowercase": clean_lowercase,
        "none": clean_surrogates,
        "siglip": clean_siglip,
        "whitespace": clean_whitespace,
    }
)


def cleaning_rule(text_cfg: Mapping[str, Any]) -> str:
    """Return the name of the rule that a checkpoint cleans its texts by.

    Args:
        text_cfg: The ``text_cfg`` part of an open_clip model config; its "cleaning" is clipkit's.

    Returns:
        A key of CLEANING_RULES.

    Raises:
        CheckpointError: If the config names another one.
    """
    default = "whitespace" if text_cfg.get("hf_tokenizer_name") else "lower"
    theirs = (text_cfg.get("tokenizer_kwargs") or {}).get("clean", default)
    rule = str(text_cfg.get("cleaning") or theirs)
    if rule not in CLEANING_RULES:
        raise CheckpointError(
            f"unknown text cleaning {rule!r} in the config; known: {', '.join(CLEANING_RULES)}"
        )
    return rule
