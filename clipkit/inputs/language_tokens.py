"""The token that says the language of a text, for tokenizers whose class places it.

NLLB's class in transformers does so whatever the post-processor of a tokenizer.json has. The
published files have it behind the end of a text, as was done before transformers 4.30; the class
puts it in front, where the text towers of NLLB-CLIP pool.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clipkit.errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Vocabulary

_END = "</s>"


@dataclass(frozen=True)
class LanguageMark:
    """The language of every text, and where its token stands."""

    token: str = "eng_Latn"
    is_last: bool = False  # behind the end of a text; otherwise in front of it


def read_language_mark(settings: Mapping[str, Any]) -> LanguageMark | None:
    """Return the language that a tokenizer adds by its class.

    Args:
        settings: What the files beside a tokenizer.json name, without nulls.

    Returns:
        The mark; None where the vocabulary's own file says what is added to a text.
    """
    if str(settings.get("tokenizer_class")).removesuffix("Fast") != "NllbTokenizer":
        return None
    return LanguageMark(
        token=str(settings.get("src_lang", LanguageMark.token)),
        is_last=bool(settings.get("legacy_behaviour")),
    )


def set_language_mark(vocabulary: "Vocabulary", mark: LanguageMark) -> None:
    """Make a vocabulary add a language to every text, and the end, and nothing else.

    Args:
        vocabulary: The vocabulary, whose post-processor is replaced.
        mark: The language.

    Raises:
        CheckpointError: If the vocabulary lacks one of the tokens.
    """
    from tokenizers.processors import TemplateProcessing

    special_tokens = []
    for token in (mark.token, _END):
        token_id = vocabulary.token_to_id(token)
        if token_id is None:
            raise CheckpointError(
                f"the token {token!r}, which marks texts, is not in the checkpoint's "
                "tokenizer.json: save the tokenizer again with it, or name another src_lang"
            )
        special_tokens.append((token, token_id))
    parts = ["$A", _END, mark.token] if mark.is_last else [mark.token, "$A", _END]
    vocabulary.post_processor = TemplateProcessing(single=parts, special_tokens=special_tokens)
