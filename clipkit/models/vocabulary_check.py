"""Whether a tokenizer and a text tower belong together, as far as token ids tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipkit.errors import CheckpointError


@dataclass(frozen=True)
class Vocabulary:
    """What a text tower must agree on with a tokenizer.json."""

    num_tokens: int  # the highest id and one; with added tokens, which few texts have
    num_words: int  # the same without added tokens
    start_id: int  # of the token before a text; -1: there is none
    end_id: int  # of the token behind it; -1: there is none
    ids: Mapping[str, int]  # of every token
    pad_token: str | None  # that the file itself names
    padding_side: str | None  # likewise, "left" or "right"
    is_normalizing: bool  # whether texts are changed before they are cut into tokens


def read_vocabulary(path: Path) -> Vocabulary:
    """Return what a tokenizer.json says of its token ids.

    Args:
        path: The file.

    Returns:
        Its numbers.

    Raises:
        CheckpointError: If it cannot be read or is damaged.
    """
    from tokenizers import Tokenizer

    try:
        vocabulary = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        # The Rust library raises plain Exception for every kind of damage.
        raise CheckpointError(f"{path} is not a tokenizer file: {error}") from error
    padding = vocabulary.padding or {}
    vocabulary.no_padding()
    numbers = vocabulary.get_vocab(with_added_tokens=True)
    ids = vocabulary.encode("").ids
    return Vocabulary(
        num_tokens=_highest(numbers) + 1,
        num_words=_highest(vocabulary.get_vocab(with_added_tokens=False)) + 1,
        start_id=next(iter(ids), -1),
        end_id=next(reversed(ids), -1),
        ids=numbers,
        pad_token=padding.get("pad_token"),
        padding_side=padding.get("direction"),
        is_normalizing=vocabulary.normalizer is not None,
    )


def wrong_end(text_cfg: Mapping[str, Any], highest_id: int, end_id: int) -> str | None:
    """Return what is wrong if a native text tower would pool another token than the end.

    Args:
        text_cfg: The tower's config.
        highest_id: The highest id that a text can have.
        end_id: The id that ends a text; -1: there is none.

    Returns:
        The part of a message; None if nothing is wrong.
    """
    pool_type = text_cfg.get("pool_type", "argmax")
    eos_id = text_cfg.get("eos_id", 2)
    found = {"argmax": max(highest_id, end_id), "eos": eos_id}.get(pool_type, end_id)
    is_ended = end_id >= 0 or pool_type not in ("argmax", "eos")
    if text_cfg.get("hf_model_name") or text_cfg.get("embed_cls"):
        return None  # they pool in ways of their own
    if is_ended and end_id == found:
        return None
    ending = f"ends texts with {end_id}" if end_id >= 0 else "marks no end of a text"
    return f"takes {found} as the end of a text (pool_type {pool_type}), and the tokenizer {ending}"


def check_tokenizer(
    text_cfg: Mapping[str, Any], path: Path, vocabulary: Vocabulary, num_rows: int
) -> None:
    """Refuse the tokenizer of another model in a checkpoint directory.

    Args:
        text_cfg: The text tower's config.
        path: The tokenizer.json.
        vocabulary: What it says.
        num_rows: Of the tower's embedding table.

    Raises:
        CheckpointError: If a word has no row in the table, or the tower would not find the start
            or the end of a text.
    """
    highest_id = max(vocabulary.num_words - 1, vocabulary.start_id, vocabulary.end_id)
    problem = wrong_end(text_cfg, highest_id, vocabulary.end_id)
    if highest_id >= num_rows:
        problem = f"has {num_rows} tokens, and the tokenizer has ids up to {highest_id}"
    elif problem is None and text_cfg.get("hf_model_name") and vocabulary.start_id < 0:
        problem = "takes its features from the start of a text, and the tokenizer marks none"
    if problem is not None:
        raise CheckpointError(
            f"{path} does not fit the text tower, which {problem}: copy the tokenizer's files of "
            "the model that the weights were trained as"
        )


def _highest(vocabulary: Mapping[str, int]) -> int:
    return max(vocabulary.values(), default=-1)
