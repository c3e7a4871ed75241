"""The pairs of a source, read once: what training on them would meet."""

import hashlib
import warnings
from collections import defaultdict
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipkit.errors import ImageReadError
from clipkit.inputs.images import borrow_image
from clipkit.inputs.tokenizer import TextCutWarning, Tokenizer
from clipkit.pairs.pair import PairSource
from clipkit.progress import Progress, map_ahead

_AHEAD = 32  # pictures
_CAPTIONS_AT_ONCE = 1024
_LISTED = 10  # names of bad pairs that a person is shown
# A JPEG is decoded at an eighth: damage shows all the same, in a tenth of the time.
_TARGET = 64, 64


@dataclass(frozen=True)
class PairSurvey:
    """What was found among pairs."""

    num_pairs: int  # that can be read
    num_captions: int  # all of them
    num_different_captions: int
    unreadable: dict[str, str]  # name -> reason, the listing's own included
    num_duplicates: int  # pictures whose bytes another one before has too
    num_cut: int  # captions longer than the text tower reads
    median_tokens: float  # of a caption, with the marks of its start and end
    # In a batch, ordered pairs of pairs that say the same: InfoNCE would call them negatives.
    false_negatives: float
    batch_size: int

    def lines(self) -> list[str]:
        """Return the survey as lines for a person."""
        found = [
            f"{self.num_pairs:,} pairs with {self.num_captions:,} captions, "
            f"{self.num_different_captions:,} of them different, "
            f"{self.median_tokens:g} tokens in the middle",
            f"{self.num_duplicates:,} pictures are copies of others",
            f"{self.num_cut:,} captions are longer than the model reads, and are cut",
            f"in a batch of {self.batch_size}, {self.false_negatives:.1f} of "
            f"{self.batch_size * (self.batch_size - 1):,} negatives say the same as the pair "
            "itself, and are left out",
            f"{len(self.unreadable):,} pairs cannot be read",
        ]
        bad = list(self.unreadable.items())
        found += [f"  {name}: {reason}" for name, reason in bad[:_LISTED]]
        if len(bad) > _LISTED:
            found.append(f"  … and {len(bad) - _LISTED} more")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the survey as values that JSON can hold."""
        return asdict(self)


def survey_pairs(
    source: PairSource,
    tokenizer: Tokenizer,
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> PairSurvey:
    """Return what is among pairs, after reading all of them once.

    Args:
        source: The pairs.
        tokenizer: Of the text tower.
        batch_size: Pairs in a step.
        progress: Called after each pair with (done, total).

    Returns:
        The survey.
    """
    tally = _Tally(tokenizer)
    unreadable = {error.path: error.reason for error in source.skipped}

    def look(row: int) -> _Look:
        return _look(source, row)

    with closing(map_ahead(look, range(len(source)), ahead=_AHEAD)) as looks:
        for done, item in enumerate(looks, 1):
            if item.reason is None:
                tally.count(item)
            else:
                unreadable[item.name] = item.reason
            if progress:
                progress(done, len(source))
    return tally.survey(unreadable, batch_size)


class _Look(NamedTuple):
    """What one pair turned out to be."""

    name: str
    captions: tuple[str, ...]
    digest: bytes  # of the picture's bytes
    reason: str | None  # why it cannot be read


class _Tally:
    """Counts pairs as they come."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._seen: set[bytes] = set()
        self._waiting: list[str] = []  # captions whose tokens are not counted yet
        self._lengths: list[int] = []
        # Of each caption: how many pairs draw it, as expected, and the sum of squares of that.
        self._drawn: defaultdict[str, float] = defaultdict(float)
        self._squares: defaultdict[str, float] = defaultdict(float)
        self._num_pairs = self._num_captions = self._num_duplicates = self._num_cut = 0

    def count(self, look: _Look) -> None:
        self._num_pairs += 1
        self._num_duplicates += look.digest in self._seen
        self._seen.add(look.digest)
        self._num_captions += len(look.captions)
        share = 1 / len(look.captions)
        for caption in look.captions:
            self._drawn[caption] += share
            self._squares[caption] += share**2
        self._waiting += look.captions
        if len(self._waiting) >= _CAPTIONS_AT_ONCE:
            self._count_tokens()

    def survey(self, unreadable: dict[str, str], batch_size: int) -> PairSurvey:
        self._count_tokens()
        pairs = self._num_pairs
        size = min(batch_size, pairs)
        # Of all ordered pairs of pairs, those that draw the same caption, as expected; a batch
        # holds its share of them.
        equal = sum(drawn**2 - self._squares[caption] for caption, drawn in self._drawn.items())
        share = size * (size - 1) / (pairs * (pairs - 1)) if pairs > 1 else 0.0
        return PairSurvey(
            num_pairs=pairs,
            num_captions=self._num_captions,
            num_different_captions=len(self._drawn),
            unreadable=unreadable,
            num_duplicates=self._num_duplicates,
            num_cut=self._num_cut,
            median_tokens=float(np.median(self._lengths)) if self._lengths else 0.0,
            false_negatives=max(equal, 0.0) * share,
            batch_size=batch_size,
        )

    def _count_tokens(self) -> None:
        if not self._waiting:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TextCutWarning)
            tokens = self._tokenizer.tokenize(self._waiting)
        used = tokens.token_ids != self._tokenizer.pad_id
        # Where padding is the end mark too, all that follows the first one is padding.
        ends = used.shape[1] - used[:, ::-1].argmax(axis=1)
        self._lengths += ends.tolist()
        self._num_cut += int(tokens.is_cut.sum())
        self._waiting.clear()


def _look(source: PairSource, row: int) -> _Look:
    try:
        pair = source[row]
    except ImageReadError as error:
        return _Look(error.path, (), b"", error.reason)
    try:
        content = pair.image
        if isinstance(content, str | Path):
            content = Path(content).read_bytes()
        with borrow_image(content, target=_TARGET):
            pass
    except ImageReadError as error:
        return _Look(pair.name, (), b"", error.reason)
    except OSError as error:
        return _Look(pair.name, (), b"", f"cannot be opened: {error.strerror}")
    assert isinstance(content, bytes)  # sources give paths or bytes
    return _Look(pair.name, pair.captions, hashlib.sha256(content).digest(), None)
