"""CLIP's own byte-pair (BPE) vocabulary as a tokenizer of the ``tokenizers`` library.

Source: openai/CLIP ``clip/simple_tokenizer.py``: 256 bytes, 256 bytes that end a word, 48 894
merges, 2 special tokens.
"""

import gzip
from collections.abc import Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors

from clipkit.errors import CheckpointError

START, END = "<start_of_text>", "<end_of_text>"
NUM_MERGES = 49152 - 256 - 2
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+)"


def _byte_characters() -> list[str]:
    """Return the printable stand-in of every byte, in the order of the vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += range(ord("®"), ord("ÿ") + 1)
    others = range(256, 256 + 256 - len(printable))  # the other bytes borrow later letters
    return [chr(code) for code in [*printable, *others]]


def build_clip_tokenizer(
    vocabulary: Path, *, extra_special_tokens: Sequence[str] = ()
) -> Tokenizer:
    """Return CLIP's tokenizer, with start and end tokens around every text.

    Args:
        vocabulary: The file ``bpe_simple_vocab_16e6.txt.gz`` that openai/CLIP and open_clip ship.
        extra_special_tokens: Special tokens that a checkpoint adds after the two of CLIP.

    Returns:
        A tokenizer without truncation or padding.

    Raises:
        CheckpointError: If the file is not that vocabulary.
    """
    try:
        lines = gzip.decompress(vocabulary.read_bytes()).decode("utf-8").split("\n")
        merges = [(pair[0], pair[1]) for pair in map(str.split, lines[1 : NUM_MERGES + 1])]
    except (OSError, EOFError, UnicodeDecodeError, IndexError) as error:
        raise CheckpointError(f"{vocabulary} is not CLIP's vocabulary file: {error}") from error
    characters = _byte_characters()
    entries = [*characters, *(character + "</w>" for character in characters)]
    entries += [first + second for first, second in merges]
    special = [START, END, *extra_special_tokens]
    ids = {entry: number for number, entry in enumerate([*entries, *special])}

    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(token, ids[token]) for token in (START, END)]
    )
    return tokenizer
