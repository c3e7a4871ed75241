"""Statistics of a dataset: caption lengths, duplicates, false negatives, unreadable images."""

import hashlib
from collections import defaultdict
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.arguments import check_progress
from clipkit.data.pair import PairDataset, count_pairs, image_digest, list_some
from clipkit.errors import ImageReadError
from clipkit.inputs.images import borrow_image
from clipkit.inputs.tokenizer import Tokenizer
from clipkit.progress import Progress, map_ahead

_AHEAD = 32  # images
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
    num_different_captions: int  # as the model reads them: by their token ids
    first_caption: str  # of the first that can be read
    class_names: tuple[str, ...]  # none where images have no class
    most_repeated: dict[str, int]  # captions of several pairs -> of how many; at most three
    unreadable: dict[str, str]  # name -> reason, the listing's own included
    num_unreadable: int  # pairs; a shard that is cut off may have lost many
    num_duplicates: int  # images with the same bytes as an earlier one
    num_cut: int  # captions longer than the context length of the text tower
    median_tokens: float  # of a caption, with the start and end tokens
    # Expected number in a batch: ordered pairs of pairs with the same caption or class. InfoNCE
    # would take them for negatives.
    false_negatives: float
    batch_size: int

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
            f"{self.num_unreadable:,} pairs cannot be read",
        ]
        bad = list(self.unreadable.items())
        found += [f"  {name}: {reason}" for name, reason in bad[:_NUM_BAD_SHOWN]]
        if len(bad) > _NUM_BAD_SHOWN:
            found.append(f"  … and {len(bad) - _NUM_BAD_SHOWN} more")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as values that JSON can hold."""
        return asdict(self)


def collect_statistics(
    dataset: PairDataset,
    tokenizer: Tokenizer,
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> PairStatistics:
    """Return the statistics of a dataset, after reading all of its pairs once.

    Args:
        dataset: The pairs.
        tokenizer: Of the text tower.
        batch_size: Pairs in a step, drawn from all that can be read.
        progress: Called after each pair with (done, total).

    Returns:
        The statistics.
    """
    check_progress(progress)
    counts = _Counts(tokenizer)
    unreadable: dict[str, ImageReadError] = {error.path: error for error in dataset.skipped}

    first_rows = dataset.first_rows()

    def read(row: int) -> _ReadPair | ImageReadError:
        return _read(dataset, row, first_rows)

    with closing(map_ahead(read, range(len(dataset)), ahead=_AHEAD)) as pairs:
        for done, pair in enumerate(pairs, 1):
            if isinstance(pair, ImageReadError):
                unreadable[pair.path] = pair
            else:
                counts.add(pair)
            if progress:
                progress(done, len(dataset))
    return counts.statistics(dataset, unreadable, batch_size=batch_size)


class _ReadPair(NamedTuple):
    """A pair whose image could be decoded."""

    captions: tuple[str, ...]
    class_name: str | None
    digest: bytes  # of the image's bytes, or of what else equal images share


def _read(
    dataset: PairDataset, row: int, first_rows: NDArray[np.int64] | None
) -> _ReadPair | ImageReadError:
    """Return a pair, or why it cannot be read."""
    try:
        pair = dataset[row]
    except ImageReadError as error:
        return error
    try:
        with borrow_image(pair.image, target=_TARGET):
            pass
        known = None if first_rows is None else first_rows[row].tobytes()
        digest = known or image_digest(pair.image)
        return _ReadPair(pair.captions, dataset.class_name(row), digest)
    except ImageReadError as error:
        # Bytes that were read from a shard carry no file name.
        return ImageReadError(pair.name, error.reason)


@dataclass
class _Caption:
    """A caption as the text encoder reads it: all texts of the same token ids."""

    text: str  # the first
    num_tokens: int
    is_cut: bool
    count: int = 0  # pairs that have it


class _Counts:
    """Counters that are filled while the pairs are read."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.num_pairs = 0
        self.num_duplicates = 0
        self._tokenizer = tokenizer
        self._seen: set[bytes] = set()
        self._captions: dict[bytes, _Caption] = {}  # by their token ids
        self._key_of: dict[str, bytes] = {}
        # What pairs that are positives of each other have in common, a class or a caption: how many
        # pairs are expected to draw it, and the sum of the squares of these probabilities.
        self._expected: dict[bytes | str, float] = defaultdict(float)
        self._squares: dict[bytes | str, float] = defaultdict(float)

    def add(self, pair: _ReadPair) -> None:
        self.num_pairs += 1
        self.num_duplicates += pair.digest in self._seen
        self._seen.add(pair.digest)
        drawn: dict[bytes | str, float] = defaultdict(float)
        for key in map(self._key, pair.captions):
            self._captions[key].count += 1
            drawn[key if pair.class_name is None else pair.class_name] += 1 / len(pair.captions)
        for common, probability in drawn.items():
            self._expected[common] += probability
            self._squares[common] += probability**2

    def _key(self, caption: str) -> bytes:
        """Return what captions of equal token ids share."""
        if caption not in self._key_of:
            tokens = self._tokenizer.tokenize_quietly([caption])
            ids = tokens.token_ids[0]
            key = hashlib.sha256(ids.tobytes()).digest()
            used = np.flatnonzero(ids != self._tokenizer.pad_id)  # it may stand in a text as well
            num_tokens = int(used[-1]) + 1 if len(used) else 0
            self._key_of[caption] = key
            self._captions.setdefault(key, _Caption(caption, num_tokens, bool(tokens.is_cut[0])))
        return self._key_of[caption]

    def statistics(
        self, dataset: PairDataset, unreadable: dict[str, ImageReadError], *, batch_size: int
    ) -> PairStatistics:
        captions = list(self._captions.values())
        counts = np.array([caption.count for caption in captions], dtype=np.int64)
        most = np.argsort(-counts, kind="stable")[:_NUM_REPEATED].tolist()
        lengths = np.array([caption.num_tokens for caption in captions], dtype=np.int64)
        return PairStatistics(
            num_pairs=self.num_pairs,
            num_captions=int(counts.sum()),
            num_different_captions=len(captions),
            first_caption=captions[0].text if captions else "",
            class_names=dataset.class_names,
            most_repeated={captions[at].text: int(counts[at]) for at in most if counts[at] > 1},
            unreadable={path: error.reason for path, error in unreadable.items()},
            num_unreadable=count_pairs(unreadable.values()),
            num_duplicates=self.num_duplicates,
            num_cut=sum(caption.count for caption in captions if caption.is_cut),
            median_tokens=float(np.median(np.repeat(lengths, counts))) if captions else 0.0,
            false_negatives=self._false_negatives(batch_size),
            batch_size=batch_size,
        )

    def _false_negatives(self, batch_size: int) -> float:
        """Return the expected number of ordered pairs of a batch that draw the same.

        Of all n (n - 1) ordered pairs these are the sum over classes and captions of (sum of
        probabilities)^2 minus the sum of their squares; with one caption per pair, of c (c - 1). A
        batch of B drawn without replacement has the share B (B - 1) / (n (n - 1)) of them.
        """
        if self.num_pairs < 2:
            return 0.0
        size = min(batch_size, self.num_pairs)
        equal = sum(
            expected**2 - self._squares[common] for common, expected in self._expected.items()
        )
        return equal * size * (size - 1) / (self.num_pairs * (self.num_pairs - 1))
