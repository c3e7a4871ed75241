"""Listings of shards in the cache, so that a shard is listed once and not at each start."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.data.listed_pairs import TextRows
from clipkit.data.shard_files import Skipped
from clipkit.data.shard_listing import Shard, ShardListing
from clipkit.data.shard_samples import ShardCaptions
from clipkit.files import atomic_write
from clipkit.inputs.extensions import IMAGE_EXTENSIONS
from clipkit.paths import cache_directory, readable_name

_DAMAGE = (ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile)  # what NumPy raises on it
_FORMAT = 1  # to be raised when listings hold something else, or are made by other rules


class CachedListing:
    """The place in the cache of a shard's listing.

    It holds for the shard as it is now, by its path, size and time of modification, and for what
    decides which samples are pairs. Make it before the shard is listed: one that changes meanwhile
    is then listed again.

    Args:
        shard: The tar, which is there.
        captions: Where captions are.
    """

    def __init__(self, shard: Shard, captions: ShardCaptions) -> None:
        path = shard.file.absolute()
        found = path.stat()
        rules = (_FORMAT, sorted(IMAGE_EXTENSIONS), *captions)
        self._key = _hash(f"{path} {found.st_size} {found.st_mtime_ns} {rules}")
        # One for a shard and rules: that of an older state is replaced.
        name = readable_name(path.stem, fallback="shard")
        self.file = (
            cache_directory() / "shard_listings" / f"{name}-{_hash(f'{path} {rules}')[:16]}.npz"
        )

    def read(self) -> ShardListing | None:
        """Return the listing; None if there is none that holds, or it is damaged."""
        with (
            suppress(OSError, *_DAMAGE),
            self.file.open("rb") as file,  # by its name NumPy leaves a damaged one open
            np.load(file, allow_pickle=False) as arrays,
        ):
            notes = json.loads(arrays["notes"].tobytes())
            if notes.pop("key") == self._key:
                return _unpacked(arrays, notes)
        return None

    def write(self, listing: ShardListing) -> bool:
        """Keep a listing, and return whether it could be written."""
        with suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(self.file) as draft:
                np.savez(draft, **_packed(listing, self._key))  # type: ignore[arg-type]
            return True
        return False


def _packed(listing: ShardListing, key: str) -> dict[str, NDArray[Any]]:
    notes = {
        "key": key,
        "class_names": listing.class_names,
        "num_samples": listing.num_samples,
        "skipped": listing.skipped,
        "scattered": listing.scattered,
        "no_caption": listing.no_caption,
    }
    return {
        "notes": np.frombuffer(json.dumps(notes).encode(), dtype=np.uint8),
        "images": listing.images,
        "hashes": listing.hashes,
        "classes": listing.classes,
        **listing.rows.arrays(),
    }


def _unpacked(arrays: Mapping[str, NDArray[Any]], notes: dict[str, Any]) -> ShardListing:
    notes["skipped"] = [Skipped(*each) for each in notes["skipped"]]
    rows = TextRows.from_arrays(arrays)
    return ShardListing(rows, arrays["images"], arrays["hashes"], arrays["classes"], **notes)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
