"""Statistics of a dataset: caption lengths, duplicates, false negatives, unreadable images."""

import warnings
from array import array
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_progress
from clipkit.data.pair import PairDataset, image_digest, list_some
from clipkit.errors import ImageReadError
from clipkit.inputs.images import borrow_image
from clipkit.inputs.tokenizer import TextCutWarning, Tokenizer
from clipkit.progress import Progress, map_ahead

_AHEAD = 32  # images
_CAPTIONS_AT_ONCE = 1024
_NUM_BAD_SHOWN = 10
_NUM_CLASSES_SHOWN = 5
_NUM_REPEATED = 3
# A JPEG is decoded at an eighth of its size, which shows damage in a fraction of the time.
_TARGET = 64, 64


@dataclass(frozen=True)
class PairStatistics:
    """Statistics of the pairs of a dataset."""

    num_pairs: int  # that can be read
    num_captions: int  # all of them
    num_different_captions: int
    first_caption: str  # of the first that can be read
    class_names: tuple[str, ...]  # none where images have no class
    most_repeated: dict[str, int]  # captions of several pairs -> of how many; at most three
    unreadable: dict[str, str]  # name -> reason, the listing's own included
    num_duplicates: int  # images with the same bytes as an earlier one
    num_shared: int  # pairs whose image is in the other split as well
    num_cut: int  # captions longer than the context length of the text tower
    median_tokens: float  # of a caption, with the start and end tokens
    # Expected number in a batch: ordered pairs of pairs with the same caption. InfoNCE would take
    # them for negatives.
    false_negatives: float
    batch_size: int
    digests: frozenset[bytes] = field(repr=False)  # of the images' bytes

    def lines(self) -> list[str]:
        """Return the statistics as lines for a person."""
        found = [
            f"{self.num_pairs:,} pairs with {self.num_captions:,} captions, "
            f"{self.num_different_captions:,} of them different, "
            f"{self.median_tokens:g} tokens in the middle",
            f"the first caption: {self.first_caption:.70}",
        ]
        if self.class_names:
            names = list_some(self.class_names, most=_NUM_CLASSES_SHOWN)
            found.append(f"{len(self.class_names):,} classes: {names}")
        found += [
            f"  {count:,} pairs say: {text:.70}" for text, count in self.most_repeated.items()
        ]
        found += [
            f"{self.num_duplicates:,} images are copies of others",
            f"{self.num_cut:,} captions are longer than the model reads, and are cut",
            f"in a batch of {self.batch_size}, {self.false_negatives:.1f} of "
            f"{self.batch_size * (self.batch_size - 1):,} negatives say the same as the pair "
            "itself, and are left out",
            f"{len(self.unreadable):,} pairs cannot be read",
        ]
        bad = list(self.unreadable.items())
        found += [f"  {name}: {reason}" for name, reason in bad[:_NUM_BAD_SHOWN]]
        if len(bad) > _NUM_BAD_SHOWN:
            found.append(f"  … and {len(bad) - _NUM_BAD_SHOWN} more")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as values that JSON can hold."""
        return {name: value for name, value in asdict(self).items() if name != "digests"}


def collect_statistics(
    dataset: PairDataset,
    tokenizer: Tokenizer,
    *,
    batch_size: int,
    apart_from: PairStatistics | None = None,
    progress: Progress | None = None,
) -> PairStatistics:
    """Return the statistics of a dataset, after reading all of its pairs once.

    Args:
        dataset: The pairs.
        tokenizer: Of the text tower.
        batch_size: Pairs in a step, drawn from all that can be read.
        apart_from: Of a split that should have no image in common with this one, as training and
            validation; None: there is none.
        progress: Called after each pair with (done, total).

    Returns:
        The statistics.
    """
    check_progress(progress)
    counts = _Counts(frozenset() if apart_from is None else apart_from.digests)
    unreadable = {error.path: error.reason for error in dataset.skipped}

    def read(row: int) -> _ReadPair | ImageReadError:
        return _read(dataset, row)

    with closing(map_ahead(read, range(len(dataset)), ahead=_AHEAD)) as pairs:
        for done, pair in enumerate(pairs, 1):
            if isinstance(pair, ImageReadError):
                unreadable[pair.path] = pair.reason
            else:
                counts.add(pair)
            if progress:
                progress(done, len(dataset))
    return counts.statistics(tokenizer, dataset, unreadable, batch_size=batch_size)


class _ReadPair(NamedTuple):
    """A pair whose image could be decoded."""

    captions: tuple[str, ...]
    digest: bytes  # of the image's bytes


def _read(dataset: PairDataset, row: int) -> _ReadPair | ImageReadError:
    """Return a pair, or why it cannot be read."""
    try:
        pair = dataset[row]
    except ImageReadError as error:
        return error
    try:
        with borrow_image(pair.image, target=_TARGET):
            pass
        return _ReadPair(pair.captions, image_digest(pair.image))
    except ImageReadError as error:
        # Bytes that were read from a shard carry no file name.
        return ImageReadError(pair.name, error.reason)


class _Counts:
    """Counters that are filled while the pairs are read."""

    def __init__(self, others: frozenset[bytes]) -> None:
        self.num_pairs = 0
        self.num_duplicates = 0
        self.num_shared = 0
        self._others = others
        self._seen: set[bytes] = set()
        # Of each different caption, by its number: how many pairs have it, how many of them are
        # expected to draw it, and the sum of the squares of these probabilities.
        self._numbers: dict[str, int] = {}
        self._counts = array("q")
        self._expected = array("d")
        self._squares = array("d")

    def add(self, pair: _ReadPair) -> None:
        self.num_pairs += 1
        self.num_duplicates += pair.digest in self._seen
        self.num_shared += pair.digest in self._others
        self._seen.add(pair.digest)
        probability = 1 / len(pair.captions)
        for caption in pair.captions:
            number = self._numbers.setdefault(caption, len(self._numbers))
            if number == len(self._counts):
                self._counts.append(0)
                self._expected.append(0)
                self._squares.append(0)
            self._counts[number] += 1
            self._expected[number] += probability
            self._squares[number] += probability**2

    def statistics(
        self,
        tokenizer: Tokenizer,
        dataset: PairDataset,
        unreadable: dict[str, str],
        *,
        batch_size: int,
    ) -> PairStatistics:
        captions = list(self._numbers)
        counts = np.array(self._counts)
        most = np.argsort(-counts, kind="stable")[:_NUM_REPEATED].tolist()
        lengths, is_cut = _tokens(captions, tokenizer)
        return PairStatistics(
            num_pairs=self.num_pairs,
            num_captions=int(counts.sum()),
            num_different_captions=len(captions),
            first_caption=captions[0] if captions else "",
            class_names=dataset.class_names,
            most_repeated={captions[at]: int(counts[at]) for at in most if counts[at] > 1},
            unreadable=unreadable,
            num_duplicates=self.num_duplicates,
            num_shared=self.num_shared,
            num_cut=int(counts[is_cut].sum()),
            median_tokens=float(np.median(np.repeat(lengths, counts))) if captions else 0.0,
            false_negatives=self._false_negatives(batch_size),
            batch_size=batch_size,
            digests=frozenset(self._seen),
        )

    def _false_negatives(self, batch_size: int) -> float:
        """Return the expected number of ordered pairs of a batch that draw the same caption.

        Of all n (n - 1) ordered pairs these are the sum over captions of (sum of probabilities)^2
        minus the sum of their squares; with one caption per pair, of c (c - 1). A batch of B drawn
        without replacement has the share B (B - 1) / (n (n - 1)) of them.
        """
        if self.num_pairs < 2:
            return 0.0
        size = min(batch_size, self.num_pairs)
        equal = float(np.sum(np.array(self._expected) ** 2 - np.array(self._squares)))
        return equal * size * (size - 1) / (self.num_pairs * (self.num_pairs - 1))


def _tokens(
    captions: list[str], tokenizer: Tokenizer
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return how many tokens each caption has, and whether it is cut."""
    lengths, is_cut = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.bool_)]
    for start in range(0, len(captions), _CAPTIONS_AT_ONCE):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TextCutWarning)  # they are counted
            tokens = tokenizer.tokenize(captions[start : start + _CAPTIONS_AT_ONCE])
        is_used = tokens.token_ids != tokenizer.pad_id  # but the same token may stand in a text
        lengths.append(np.max(is_used * np.arange(1, is_used.shape[1] + 1), axis=1))
        is_cut.append(tokens.is_cut)
    return np.concatenate(lengths), np.concatenate(is_cut)
