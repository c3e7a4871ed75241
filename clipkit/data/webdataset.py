"""WebDataset shards as a dataset: tar files in which image and caption of a sample share a name.

A tar is listed once; from then on each image is read with one seek. So samples are shuffled, split,
resumed and shared among processes like the pairs of any other dataset.
"""

import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.data.class_folders import check_templates
from clipkit.data.image_ends import NO_HASH, read_ends
from clipkit.data.listed_pairs import TextRows
from clipkit.data.pair import LostPairsError, Pair, Say, file_stamp, list_some
from clipkit.data.shard_files import count_expected, fetch_shard, is_remote, local_path
from clipkit.data.shard_listing import Shard, ShardListing
from clipkit.data.shard_listings import list_shards
from clipkit.data.shard_samples import ShardCaptions
from clipkit.errors import ImageReadError, InputError, MissingExtraError
from clipkit.inputs.read_errors import reason_for

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")


def is_shards(text: str) -> bool:
    """Return whether a text names shards: by the suffix of tar files, or as an address.

    Compressed tar files count as well; open_shards says that they must be unpacked first.
    """
    return text.lower().endswith(TAR_SUFFIXES) or is_remote(text)


def open_shards(text: str, captions: ShardCaptions, *, say: Say) -> "ShardPairs":
    """Open shards as a dataset.

    Args:
        text: Paths or addresses as webdataset spells them: "data-{000..099}.tar", "a.tar::b.tar",
            "https://…/000.tar", "pipe:…". What is not on this machine is downloaded into the cache.
        captions: Where captions are; where a sample has none of them, the number of a class in its
            .cls counts.
        say: Called with a line on shards whose samples are not contiguous, on members that were
            skipped, and on how far listing is where that takes long.

    Returns:
        The pairs in the order of the shards. Samples that lack an image or a caption, and what a
        shard's damage hides, are listed as skipped. If all have their captions from .cls, they have
        classes.

    Raises:
        InputError: If a shard is missing, cannot be downloaded, or is no tar file.
        MissingExtraError: If webdataset is not installed.
    """
    check_templates(captions.templates)
    shards = [_shard(url) for url in expand_shards(text)]
    # os.path, for Path.is_file raises for a name too long.
    missing = [shard.name for shard in shards if not os.path.isfile(shard.file)]  # noqa: PTH113
    if missing:
        listed = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise InputError(f"{len(missing)} of {len(shards)} shards are not there: {listed}")
    listings = list_shards(shards, captions, say=say)
    skipped: list[ImageReadError] = []
    for shard, listing in zip(shards, listings, strict=True):
        skipped += _errors(shard, listing)
        _warn_scattered(shard, listing, say)
    _warn_no_caption(shards, listings, say)
    lengths = [len(listing.rows) for listing in listings]
    offsets, sizes = np.hstack([listing.images for listing in listings])
    class_names, labels = _join_classes(listings)
    return ShardPairs(
        shards,
        TextRows.concatenate([listing.rows for listing in listings]),
        ShardImages(
            np.repeat(np.arange(len(shards), dtype=np.int32), lengths),
            offsets,
            sizes,
            np.concatenate([listing.hashes for listing in listings]),
        ),
        skipped=skipped,
        class_names=class_names,
        labels=labels,
    )


class ShardImages(NamedTuple):
    """Where images lie in shards, each array of shape (number of pairs,)."""

    shards: NDArray[np.int32]  # numbers, from 0
    offsets: NDArray[np.int64]  # bytes
    sizes: NDArray[np.int64]  # bytes
    hashes: NDArray[np.uint64] | None = None  # ImageEnds.hash; None: images are read for them


class ShardPairs:
    """A dataset of pairs in tar files, each image read by its offset.

    Args:
        shards: The files.
        rows: Of each pair the name, as in "000.tar/0001" whatever the shard's folder, and captions.
        images: Where each pair's image lies.
        skipped: Samples that are left out, with the reasons.
        class_names: Names of the classes by label, if pairs have classes.
        labels: Of each pair its class, if they have classes, shape (number of pairs,).
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        rows: TextRows,
        images: ShardImages,
        *,
        skipped: Sequence[ImageReadError],
        class_names: tuple[str, ...] = (),
        labels: NDArray[np.integer] | None = None,
    ) -> None:
        self._shards = shards
        self._rows = rows
        self._images = images
        self.skipped = skipped
        self.class_names = class_names
        self._labels = labels

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._rows)

    def __getitem__(self, row: int) -> Pair:
        """Return a pair, its image as the bytes of its file.

        Raises ImageReadError if the shard has gone or has become shorter.
        """
        local_name, *captions = self._rows[row]
        (file_path, shard_name), offset, size = self._place(row)
        # Shards of several folders may have equal names.
        name = f"{shard_name}/{local_name.partition('/')[2]}"
        try:
            # Opened each time, so that threads and forked processes share no position in it.
            with file_path.open("rb") as file:
                file.seek(offset)
                content = file.read(size)
        except OSError as error:
            raise ImageReadError(name, reason_for(error, b"")) from error
        if len(content) < size:
            raise ImageReadError(name, "its shard has become shorter since it was listed")
        return Pair(content, tuple(captions), name)

    def label(self, row: int) -> int | None:
        """Return the class of a pair, None where samples have no class."""
        return None if self._labels is None else int(self._labels[row])

    def class_name(self, row: int) -> str | None:
        """Return the name of a pair's class, None where it has none."""
        label = self.label(row)
        return None if label is None else self.class_names[label]

    def local_name(self, row: int) -> str:
        """Return the name of a pair's shard, without its folder, and of its sample."""
        return self._rows.first(row)

    def stamp(self, row: int) -> bytes:
        """Return the size and modification time of a pair's shard."""
        return file_stamp(self._place(row)[0].file)

    def image_sizes(self) -> NDArray[np.int64]:
        """Return the sizes of the encoded images, as their shards say."""
        return self._images.sizes

    def ends_hashes(self, rows: NDArray[np.integer]) -> NDArray[np.uint64]:
        """Return hashes of the first and last bytes of images, as they were listed."""
        if self._images.hashes is not None:
            hashes: NDArray[np.uint64] = self._images.hashes[rows]
            return hashes
        return np.fromiter(map(self._ends_hash, rows.tolist()), dtype=np.uint64)

    def first_rows(self) -> None:
        """Return None: equal files are equal images."""

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the listing: names, captions and sizes of the images."""
        sizes = self._images.sizes.tobytes()
        return hashlib.sha256(self._rows.digest().encode() + sizes).hexdigest()

    def _place(self, row: int) -> tuple[Shard, int, int]:
        """Return the shard of a pair's image, the offset in it, and its size in bytes."""
        images = self._images
        return (
            self._shards[int(images.shards[row])],
            int(images.offsets[row]),
            int(images.sizes[row]),
        )

    def _ends_hash(self, row: int) -> int:
        shard, offset, size = self._place(row)
        try:
            with shard.file.open("rb") as file:
                return read_ends(file, offset, size).hash
        except OSError:
            return NO_HASH


def expand_shards(text: str) -> list[str]:
    """Return the paths and addresses of shards that a text names.

    Args:
        text: As for :func:`open_shards`.

    Returns:
        One for each shard, in their order.

    Raises:
        InputError: If the text does not name shards.
        MissingExtraError: If webdataset is not installed.
    """
    try:
        from webdataset.shardlists import expand_urls
    except ImportError as error:
        raise MissingExtraError("torch", "Reading webdataset shards") from error

    if os.path.isfile(text):  # noqa: PTH113 - whatever its name looks like
        return [text]
    try:
        return list(expand_urls(text))
    except (ValueError, AssertionError) as error:  # braces, variables of the environment
        raise InputError(f"{text} does not name shards: {error}") from error


def _shard(url: str) -> Shard:
    if is_remote(url):
        return Shard(fetch_shard(url), url)
    file = local_path(url)
    return Shard(file, str(file))


def _errors(shard: Shard, listing: ShardListing) -> Iterator[ImageReadError]:
    """Yield what is left out of a shard."""
    for name, reason in listing.skipped:
        if name:
            yield ImageReadError(f"{shard.name}/{name}", reason)
        else:
            yield _lost_error(shard, listing, reason)


def _lost_error(shard: Shard, listing: ShardListing, reason: str) -> ImageReadError:
    """Return that the rest of a shard is lost, with how many samples that are if it is known."""
    expected = count_expected(shard.file)
    if expected is None:
        unknown = (
            f"how many pairs are lost is not known: a sizes.json beside it would say, as in "
            f'{{"{shard.file.name}": 1000}}'
        )
        return ImageReadError(shard.name, f"{reason}; {unknown}")
    count, source = expected
    num_lost = max(count - listing.num_samples, 0)
    reason = f"{reason}; by {source} it should have {count:,} samples, {num_lost:,} are lost"
    return LostPairsError(shard.name, reason, num_lost)


def _warn_scattered(shard: Shard, listing: ShardListing, say: Say) -> None:
    if keys := listing.scattered:
        say(
            f"{shard.name} is an unsorted tar: the members of {len(keys)} samples do not "
            f"lie beside each other ({list_some(keys)}). They are joined here; other readers "
            "of webdataset lose them: pack it again with  tar --sort=name"
        )


def _warn_no_caption(shards: Sequence[Shard], listings: Sequence[ShardListing], say: Say) -> None:
    members = [
        f"{shard.name}/{member}"
        for shard, listing in zip(shards, listings, strict=True)
        for member in listing.no_caption
    ]
    if members:
        say(
            f"{len(members)} members of shards hold no caption, so another "
            f"of the same sample was read: {list_some(members)}"
        )


def _join_classes(
    listings: Sequence[ShardListing],
) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:
    """Return the names of classes and the label of each pair; none if a pair has no class."""
    names = {name for listing in listings for name in listing.class_names}
    if not names or "" in names:
        return (), None
    class_names = tuple(sorted(names))
    numbers = {name: number for number, name in enumerate(class_names)}
    labels = [
        np.array([numbers[name] for name in listing.class_names], dtype=np.int64)[listing.classes]
        for listing in listings
    ]
    return class_names, np.concatenate(labels)
