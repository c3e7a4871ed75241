"""Shards read as a stream from their beginnings, without being listed or kept on this machine.

The reading itself is webdataset's: its tar reader, its grouping of members, its shuffle buffer.
"""

import hashlib
import itertools
import random
import tarfile
import time
import zlib
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from clipkit.data.epoch_draws import EpochDraws
from clipkit.data.pair import Pair
from clipkit.data.shard_files import open_shard
from clipkit.data.shard_samples import ShardCaptions, image_of, texts_of
from clipkit.errors import ImageReadError, InputError

RETRY_SECONDS = (1.0, 5.0, 25.0, 60.0)
"""Between tries to read a shard that bring nothing new."""

_HOPELESS = (FileNotFoundError, PermissionError, ImportError, ValueError)
_DAMAGE = (tarfile.TarError, EOFError, zlib.error)
_FIRST, _BUFFER = 100, 1000  # pairs that wait to be shuffled, at the beginning and later
# Parts of seeds, so that these random numbers differ from others that the run's seed gives.
_SHARDS, _PAIRS = 0x7368, 0x7061


class StreamedPair(NamedTuple):
    """A pair of a stream."""

    pair: Pair  # its image is bytes
    class_name: str | None
    skipped: tuple[ImageReadError, ...]  # what was left out since the pair before it


class Lane(NamedTuple):
    """One of the readers that share the shards of an epoch."""

    number: int  # from 0
    of: int  # how many there are


@dataclass(frozen=True)
class ShardStream:
    """The image-text pairs of shards, read one after the other."""

    shards: tuple[str, ...]  # paths or addresses
    captions: ShardCaptions
    draws: EpochDraws | None = None  # how often a turn reads each shard; None: once

    @property
    def fingerprint(self) -> str:
        """A hash of the names of the shards and of what makes captions of their members."""
        named = f"{self.shards} {self.captions}"
        if self.draws is not None:
            named += f" {self.draws.sizes} {self.draws.fingerprint}"
        return hashlib.sha256(named.encode()).hexdigest()

    @property
    def num_read(self) -> int:
        """How many shards a turn reads, those counted twice that it reads twice."""
        return len(self.shards) if self.draws is None else self.draws.num_drawn

    def pairs(self, seed: int, epoch: int, lane: Lane) -> Generator[StreamedPair, None, None]:
        """Yield the pairs of an epoch that one reader reads, in an order of their own, shuffled.

        Shards are shuffled and dealt out to the readers, and a reader's pairs are shuffled among
        those that wait in a buffer. When its shards are at their end, they are dealt out anew.

        Args:
            seed: Of the run.
            epoch: Counted from 0.
            lane: Which reader; there are no more than shards.

        Yields:
            Pairs without end; equal arguments give equal ones.

        Raises:
            InputError: If a shard cannot be read after several tries, or there are no pairs.
        """
        from webdataset.filters import shuffle

        skipped: list[ImageReadError] = []
        for turn in itertools.count():
            generator = random.Random(f"{seed} {epoch} {turn} {lane.number} {_PAIRS}")
            order = self._shards_of(seed, epoch, turn)
            with closing(self._turn(order[lane.number :: lane.of], skipped)) as source:
                yield from shuffle(_BUFFER, initial=_FIRST, rng=generator)(source)

    def first_pairs(self, count: int) -> tuple[list[StreamedPair], list[ImageReadError]]:
        """Return the pairs among the first samples, and what is left out of these.

        Args:
            count: How many samples, in the order of the shards.

        Returns:
            The pairs and the reasons.

        Raises:
            InputError: If a shard cannot be read, or there are no pairs among them.
        """
        pairs: list[StreamedPair] = []
        skipped: list[ImageReadError] = []
        # Tried twice: who has just begun wants to know that an address is wrong.
        with closing(self._read(self.shards, RETRY_SECONDS[:1])) as items:
            for item in items:
                if isinstance(item, ImageReadError):
                    skipped.append(item)
                else:
                    pairs.append(item)
                if len(pairs) + len(skipped) == count:
                    break
        if not pairs:
            raise InputError(self._no_pairs(skipped))
        return pairs, skipped

    def _shards_of(self, seed: int, epoch: int, turn: int) -> list[str]:
        """Return the shards of a turn, shuffled."""
        drawn = np.arange(len(self.shards))
        if self.draws is not None:
            # A shard of weight .5 is read in every other epoch, and in every other turn of one.
            drawn = self.draws.order(seed=seed, epoch=epoch + turn)
        order = np.random.default_rng([seed, epoch, turn, _SHARDS]).permutation(drawn)
        return [self.shards[number] for number in order]

    def _turn(
        self, shards: Sequence[str], skipped: list[ImageReadError]
    ) -> Generator[StreamedPair, None, None]:
        """Yield the pairs of a reader's share of the shards of a turn.

        What was skipped before goes out with the next pair; what comes behind the last stays.
        """
        num_pairs = 0
        for item in self._read(shards, RETRY_SECONDS):
            if isinstance(item, ImageReadError):
                skipped.append(item)
                continue
            num_pairs += 1
            yield item._replace(skipped=tuple(skipped))
            skipped.clear()
        if not num_pairs:
            raise InputError(self._no_pairs(skipped))

    def _read(
        self, shards: Sequence[str], waits: Sequence[float]
    ) -> Generator[StreamedPair | ImageReadError, None, None]:
        for shard in shards:
            with closing(read_samples(shard, waits)) as samples:
                for sample in samples:
                    if isinstance(sample, ImageReadError):
                        yield sample
                    else:
                        yield self._pair(shard, sample)

    def _pair(self, shard: str, sample: dict[str, Any]) -> StreamedPair | ImageReadError:
        name = f"{shard}/{sample['__key__']}"
        try:
            texts = texts_of(sample, self.captions, lambda content: content)
            pair = Pair(image_of(sample), texts.captions, name)
        except ValueError as error:
            return ImageReadError(name, str(error))
        return StreamedPair(pair, texts.class_name or None, ())

    def _no_pairs(self, skipped: Sequence[ImageReadError]) -> str:
        why = f": {skipped[0]}" if skipped else ""
        return f"there are no pairs in {self.shards[0]} and the shards read after it{why}"


def read_samples(
    shard: str, waits: Sequence[float]
) -> Generator[dict[str, Any] | ImageReadError, None, None]:
    """Yield the samples of a shard; where reading fails, another try resumes there.

    Args:
        shard: A path or an address.
        waits: Seconds between tries that bring nothing new.

    Yields:
        The members of each sample by their endings, without the dot, and its name under
        "__key__"; at last an ImageReadError if the rest is damaged or cut off.

    Raises:
        InputError: If it cannot be read, after several tries.
    """
    num_done, num_failed = 0, 0
    while True:
        before = num_done
        try:
            with closing(_read_once(shard)) as samples:
                for sample in itertools.islice(samples, num_done, None):
                    num_done += 1
                    yield sample
            return
        except Exception as error:
            num_failed = num_failed + 1 if num_done == before else 1
            what = str(error).partition(" @ ")[0]  # behind it webdataset has a stream's name
            if num_done and num_failed > 1 and isinstance(error, _DAMAGE):
                reason = f"is damaged or cut off after {num_done:,} samples: {what}"
                yield ImageReadError(shard, reason)
                return
            if num_failed > len(waits) or _is_hopeless(shard, error):
                raise InputError(
                    f"the shard {shard} cannot be read, tried {num_failed} times: {what}"
                ) from error
            time.sleep(waits[num_failed - 1])


def _is_hopeless(shard: str, error: Exception) -> bool:
    """Return whether another try would fail as well."""
    if shard.startswith(("http://", "https://")) and isinstance(error, FileNotFoundError):
        return False  # so fsspec calls every answer of a server but 200, such as 503
    return isinstance(error, _HOPELESS)


def _read_once(shard: str) -> Generator[dict[str, Any], None, None]:
    from webdataset.tariterators import group_by_keys, tar_file_iterator

    with open_shard(shard) as stream:
        members: Iterator[dict[str, Any]] = (
            {**member, "__url__": shard} for member in tar_file_iterator(stream)
        )
        # Of two members of one name the first counts.
        yield from group_by_keys(members, handler=lambda error: True)
