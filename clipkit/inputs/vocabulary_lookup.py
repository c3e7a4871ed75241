"""A vocabulary in a database, of which a few texts read a few hundred tokens.

Reading one whole takes 70 ms for CLIP's 49 408 tokens and a second for the 256 000 of SigLIP 2,
longer than all else in a query of words. Byte-pair encoding looks up nothing but parts of the words
of a text, and joins them in the order of their merges; WordPiece takes the longest part that is a
token. A vocabulary of those parts alone, with the same numbers and the same order, gives the same
token ids.
"""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipkit.errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Vocabulary

LOOKUP_FILE = "vocabulary.sqlite"
_END_BYTES = 65_536
_TOKENS_A_PART = 4  # to look one part up takes as long as to read two to five tokens
_SCHEMA = """
CREATE TABLE head (
    content TEXT NOT NULL,  -- of tokenizer.json, without tokens and merges
    longest INTEGER NOT NULL,  -- characters of a token
    num_tokens INTEGER NOT NULL,
    stamp TEXT NOT NULL  -- of the file it was made of
);
CREATE TABLE tokens (
    token TEXT PRIMARY KEY,
    number INTEGER NOT NULL,
    merges TEXT NOT NULL  -- "CUT:RANK CUT:RANK": after how many characters it is cut in two
) WITHOUT ROWID;
"""


def write_lookup(vocabulary: "Vocabulary", path: Path, source: Path | None = None) -> bool:
    """Write a vocabulary as a database.

    Args:
        vocabulary: As its own file has it, without the settings of a checkpoint.
        path: Where to; nothing is there yet.
        source: Its own file, a change of which makes the database useless; None: it never changes.

    Returns:
        False, and nothing is written, if it is of a kind whose ids depend on more than the parts of
        a text.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    head = json.loads(vocabulary.to_str())
    model = head["model"]
    if not _has_lookup(model):
        return False
    tokens, merges = model.pop("vocab"), model.pop("merges", [])
    cuts: dict[str, list[str]] = {}
    for rank, (first, second) in enumerate(merges):
        cuts.setdefault(first + second, []).append(f"{len(first)}:{rank}")
    rows = sorted(
        (token, number, " ".join(cuts.get(token, ()))) for token, number in tokens.items()
    )
    longest = max(map(len, tokens), default=0)
    try:
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.executescript(_SCHEMA)
            values = json.dumps(head), longest, len(tokens), _stamp(source)
            database.execute("INSERT INTO head VALUES (?, ?, ?, ?)", values)
            database.executemany("INSERT INTO tokens VALUES (?, ?, ?)", rows)
    except (OSError, sqlite3.Error) as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from error
    return True


def _stamp(source: Path | None) -> str:
    """Return what tells a file from others, without reading all of it: size, start and end.

    Settings stand at the start of a tokenizer.json, merges at its end.
    """
    if source is None:
        return ""
    size = source.stat().st_size
    with source.open("rb") as file:
        ends = file.read(_END_BYTES)
        file.seek(max(0, size - _END_BYTES))
        ends += file.read(_END_BYTES)
    return f"{size} {hashlib.sha256(ends).hexdigest()}"


def _has_lookup(model: dict[str, Any]) -> bool:
    """Return whether the ids of a text depend on its parts alone, and merges join what they say."""
    if model["type"] == "BPE":
        return not (model.get("dropout") or model.get("continuing_subword_prefix"))
    return bool(model["type"] == "WordPiece")


class VocabularyLookup:
    """A vocabulary that is looked up until reading all of it would have been as quick.

    Args:
        path: A database of `write_lookup`.
        source: The file that it was made of, as it is now.
    """

    def __init__(self, path: Path, source: Path | None = None) -> None:
        self._path = path
        self._source = source
        self._num_parts = 0  # looked up so far

    def vocabulary_of(
        self, texts: Sequence[str], *, names: Iterable[str | None] = ()
    ) -> "Vocabulary | None":
        """Return a vocabulary that encodes some texts as the whole one does.

        Args:
            texts: Cleaned texts.
            names: Tokens that are asked for by name besides those the file names itself; None is
                none.

        Returns:
            The vocabulary; None if the whole one is to be read: a text holds one of its marks, so
            much was looked up that reading is quicker, the database cannot be read, or it is of
            another file than lies there now.
        """
        try:
            uri = f"{self._path.resolve().as_uri()}?mode=ro&immutable=1"
            with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
                query = "SELECT content, longest, num_tokens, stamp FROM head"
                ((content, longest, num_tokens, stamp),) = database.execute(query)
                if stamp != _stamp(self._source):
                    return None
                head = json.loads(content)
                most = num_tokens // _TOKENS_A_PART - self._num_parts
                parts = _parts(texts, head, longest=longest, most=most)
                if parts is None:
                    return None
                self._num_parts += len(parts)
                parts |= {name for name in (*names, *_named(head)) if name}
                rows = _look_up(parts, database)
        except (
            OSError,
            sqlite3.Error,
            UnicodeEncodeError,
        ):  # the latter: half of a pair of surrogates
            return None
        return _assembled(head, rows)


def _parts(
    texts: Sequence[str], head: dict[str, Any], *, longest: int, most: int
) -> set[str] | None:
    """Return every part of the words of texts that may be a token; None if they are too many."""
    from tokenizers import Tokenizer as Vocabulary

    empty = {**head, "added_tokens": [], "post_processor": None}
    empty["model"] = {"type": "BPE", "vocab": {}, "merges": []}  # it stands for any model
    shell = Vocabulary.from_str(json.dumps(empty))
    marks = {mark["content"] for mark in head["added_tokens"]}
    marks |= {_normalized(mark, shell) for mark in marks}
    parts: set[str] = set()
    for text in texts:
        normalized = _normalized(text, shell)
        # A mark in a text stays whole, and what stands around it is read on its own.
        if any(mark and (mark in text or mark in normalized) for mark in marks):
            return None
        for word in set(_words(normalized, shell)):
            parts |= _parts_of(word, head["model"], longest)
            if len(parts) > most:
                return None
    return parts


def _parts_of(word: str, model: dict[str, Any], longest: int) -> set[str]:
    """Return every part of a word that a model may look up."""
    parts = _substrings(word + (model.get("end_of_word_suffix") or ""), longest)
    if prefix := model.get("continuing_subword_prefix"):
        parts |= {prefix + part for part in parts}
    if model.get("byte_fallback"):
        parts |= {f"<0x{byte:02X}>" for byte in word.encode()}
    return parts


def _normalized(text: str, shell: "Vocabulary") -> str:
    return str(shell.normalizer.normalize_str(text)) if shell.normalizer else text


def _words(normalized: str, shell: "Vocabulary") -> Iterator[str]:
    if shell.pre_tokenizer is None:
        yield normalized
    else:
        for word, _ in shell.pre_tokenizer.pre_tokenize_str(normalized):
            yield word


def _substrings(word: str, longest: int) -> set[str]:
    return {
        word[start:end]
        for start in range(len(word))
        for end in range(start + 1, min(start + longest, len(word)) + 1)
    }


def _named(head: dict[str, Any]) -> Iterator[str | None]:
    """Yield the tokens that a vocabulary's file names."""
    yield head["model"].get("unk_token")
    yield (head.get("padding") or {}).get("pad_token")


def _look_up(parts: Iterable[str], database: sqlite3.Connection) -> list[tuple[str, int, str]]:
    """Return the parts that are tokens, with their number and their merges."""
    query = "SELECT token, number, merges FROM tokens WHERE token = ?"
    found = (database.execute(query, (part,)).fetchone() for part in parts)
    return [row for row in found if row is not None]


def _assembled(head: dict[str, Any], rows: list[tuple[str, int, str]]) -> "Vocabulary | None":
    """Return a vocabulary of some tokens, with the merges that join them."""
    from tokenizers import Tokenizer as Vocabulary

    numbers = {token: number for token, number, _ in rows}
    ranked: list[tuple[int, str, str]] = []
    for token, _, merges in rows:
        for merge in merges.split():
            cut, rank = map(int, merge.split(":"))
            if token[:cut] in numbers and token[cut:] in numbers:
                ranked.append((rank, token[:cut], token[cut:]))
    # Marks that are no tokens of the model get the next free number unless they stand in it.
    marks = {mark["content"]: mark["id"] for mark in head["added_tokens"]}
    model = {**head["model"], "vocab": numbers | marks}
    if model["type"] == "BPE":
        model["merges"] = [[first, second] for _, first, second in sorted(ranked)]
    vocabulary = Vocabulary.from_str(json.dumps({**head, "model": model}))
    is_same = all(vocabulary.token_to_id(mark) == number for mark, number in marks.items())
    return vocabulary if is_same else None
