"""Listing many shards: from the cache, and those that are not in it by several processes."""

import itertools
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing

from clipkit.data.pair import Say
from clipkit.data.shard_cache import CachedListing
from clipkit.data.shard_listing import Shard, ShardListing, list_shard
from clipkit.data.shard_samples import ShardCaptions
from clipkit.progress import usable_cores

_SAY_SECONDS = 10.0
_WORTH_PROCESSES = 64 << 20  # bytes of shards: seconds of work


def list_shards(
    shards: Sequence[Shard], captions: ShardCaptions, *, say: Say
) -> list[ShardListing]:
    """Return the listing of each shard.

    Args:
        shards: Tar files that are there.
        captions: Where captions are.
        say: Called with how many are listed, every ten seconds, and once if listings cannot be
            kept in the cache.

    Returns:
        The listings, in the order of the shards.

    Raises:
        InputError: If a shard cannot be read, or is no tar file.
    """
    places = [CachedListing(shard, captions) for shard in shards]
    cached = [place.read() for place in places]
    missing = [number for number, listing in enumerate(cached) if listing is None]
    found = {number: listing for number, listing in enumerate(cached) if listing is not None}
    num_kept = 0
    said = time.monotonic()
    with closing(_listed([shards[number] for number in missing], captions)) as listings:
        for done, (number, listing) in enumerate(zip(missing, listings, strict=True), 1):
            found[number] = listing
            num_kept += places[number].write(listing)
            if time.monotonic() - said >= _SAY_SECONDS:
                said = time.monotonic()
                say(f"{done:,} of {len(missing):,} shards are listed")
    if num_kept < len(missing):
        say(
            f"{len(missing) - num_kept:,} listings of shards cannot be written to "
            f"{places[0].file.parent}, so these shards will be listed again at the next start"
        )
    return [found[number] for number in range(len(shards))]


def _listed(
    shards: Sequence[Shard], captions: ShardCaptions
) -> Generator[ShardListing, None, None]:
    """Yield the listings of shards in order, made ahead by processes where that is worth it."""
    num_processes = min(usable_cores(), len(shards))
    size = sum(shard.file.stat().st_size for shard in shards)
    has_fork = "fork" in multiprocessing.get_all_start_methods()
    num_done = 0
    if has_fork and num_processes > 1 and size >= _WORTH_PROCESSES:
        try:
            for listing in _listed_by_processes(shards, captions, num_processes):
                yield listing
                num_done += 1
        except BrokenProcessPool:  # one of them was killed
            pass
    for shard in shards[num_done:]:
        yield list_shard(shard, captions)


def _listed_by_processes(
    shards: Sequence[Shard], captions: ShardCaptions, num_processes: int
) -> Generator[ShardListing, None, None]:
    pool = ProcessPoolExecutor(
        num_processes, mp_context=multiprocessing.get_context("fork"), initializer=_begin
    )
    try:
        with warnings.catch_warnings():
            # Python warns of a fork beside threads, but listing uses no lock of the threads here.
            warnings.simplefilter("ignore", DeprecationWarning)
            listings = pool.map(list_shard, shards, itertools.repeat(captions))
        yield from listings
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Let signals end a process that lists, without a traceback, and so the end of its parent."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
