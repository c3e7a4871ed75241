"""Webdataset shards: tar files in which the picture and the caption of a sample share a name.

A tar is listed once; from then on each picture is read with one seek. So shards are shuffled,
split, gone on with and shared among processes like any other pairs.
"""

import functools
import hashlib
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import ImageReadError, InputError, MissingExtraError
from clipkit.inputs.folders import IMAGE_EXTENSIONS
from clipkit.inputs.reasons import reason_for
from clipkit.pairs.captions import CAPTION_SUFFIXES, read_captions
from clipkit.pairs.fetching import fetch_shard, is_remote
from clipkit.pairs.pair import Pair
from clipkit.pairs.picture_digest import file_stamp
from clipkit.pairs.tar_members import Member, list_members
from clipkit.pairs.text_rows import TextRows
from clipkit.places import expand_home

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_MOST_CAPTION = 1 << 20  # bytes


def is_shards(text: str) -> bool:
    """Return whether a text names tar files: by its ending, or as something that is not here.

    So do tar files that must be unpacked first, which open_shards says.
    """
    return text.lower().endswith(_SUFFIXES) or is_remote(text)


def open_shards(text: str) -> "ShardPairs":
    """Return the pairs in shards.

    Args:
        text: Paths or addresses as webdataset spells them: "data-{000..099}.tar", "a.tar::b.tar",
            "https://…/000.tar", "pipe:…". What is not on this machine is fetched into the cache.

    Returns:
        The pairs in the order of the shards. Samples that lack a picture or a caption, and what a
        shard's damage hides, are listed as skipped.

    Raises:
        InputError: If a shard is missing, cannot be fetched, or is no tar file.
        MissingExtraError: If webdataset is not installed.
    """
    shards = [_shard(url) for url in _expand(text)]
    # os.path, for Path.is_file raises for a name too long.
    missing = [shard.name for shard in shards if not os.path.isfile(shard.file)]  # noqa: PTH113
    if missing:
        listed = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise InputError(f"{len(missing)} of {len(shards)} shards are not there: {listed}")
    skipped: list[ImageReadError] = []
    numbers, offsets, sizes = array("q"), array("q"), array("q")

    def rows() -> Iterator[tuple[str, ...]]:
        for number, shard in enumerate(shards):
            for key, picture, captions in _samples(shard, skipped):
                numbers.append(number)
                offsets.append(picture.offset)
                sizes.append(picture.size)
                yield f"{shard.file.name}/{key}", *captions

    listed_rows = TextRows(rows())
    return ShardPairs(shards, listed_rows, np.array([numbers, offsets, sizes]), skipped=skipped)


class Shard(NamedTuple):
    """A tar file."""

    file: Path
    name: str  # for people: its path or address as given, which no other shard shares


class ShardPairs:
    """Pairs in tar files, read where they lie.

    Args:
        shards: The files.
        rows: Of each pair the name, as in "000.tar/0001" wherever the shard lies, and captions.
        pictures: Of each pair's picture its shard, the offset in it, and its size in bytes, shape
            (3, number of pairs).
        skipped: What is no pair.
    """

    class_names: tuple[str, ...] = ()

    def __init__(
        self,
        shards: Sequence[Shard],
        rows: TextRows,
        pictures: NDArray[np.int64],
        *,
        skipped: Sequence[ImageReadError],
    ) -> None:
        self._shards = shards
        self._rows = rows
        self._pictures = pictures
        self.skipped = skipped

    def __len__(self) -> int:
        """How many pairs."""
        return len(self._rows)

    def __getitem__(self, row: int) -> Pair:
        """Return a pair, its picture as the bytes of its file.

        Raises ImageReadError if the shard has gone or has become shorter.
        """
        local_name, *captions = self._rows[row]
        number, offset, size = self._pictures[:, row].tolist()
        file_path, shard_name = self._shards[number]
        # Shards of several folders may have equal names.
        name = shard_name + local_name[len(file_path.name) :]
        try:
            # Opened each time, so that threads and forked processes share no position in it.
            with file_path.open("rb") as file:
                content = _read(file, offset, size)
        except OSError as error:
            raise ImageReadError(name, reason_for(error, b"")) from error
        if len(content) < size:
            raise ImageReadError(name, "its shard has become shorter since it was listed")
        return Pair(content, tuple(captions), name)

    def label(self, row: int) -> None:
        """Return None: samples have no class."""

    def local_name(self, row: int) -> str:
        """Return the name of a pair's shard, without its folder, and of its sample."""
        return self._rows[row][0]

    def stamp(self, row: int) -> bytes:
        """Return the size of a pair's shard and when it was written."""
        return file_stamp(self._shards[int(self._pictures[0, row])].file)

    @functools.cached_property
    def fingerprint(self) -> str:
        """What identifies the listing: names and captions, and how large the pictures are."""
        sizes = self._pictures[2].tobytes()
        return hashlib.sha256(self._rows.digest().encode() + sizes).hexdigest()


def _expand(text: str) -> list[str]:
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
    path = url.removeprefix("file://").removeprefix("file:")
    file = expand_home(path)
    return Shard(file, str(file))


def _samples(
    shard: Shard, skipped: list[ImageReadError]
) -> Iterator[tuple[str, Member, tuple[str, ...]]]:
    """Yield key, picture and captions of each sample; what is none is added to skipped."""
    from webdataset.tariterators import group_by_keys

    def told(error: Exception) -> bool:
        name = str(error.args[0]).partition(":")[0]
        skipped.append(ImageReadError(f"{shard.name}/{name}", "is there twice: the first counts"))
        return True

    try:
        with shard.file.open("rb") as file:
            members = (
                {"fname": member.name, "data": member, "__url__": ""}
                for member in list_members(file, shard.file, skipped)
            )
            for sample in group_by_keys(members, handler=told):
                key = sample["__key__"]
                try:
                    yield key, _picture(sample), _captions(file, sample)
                except ValueError as error:
                    skipped.append(ImageReadError(f"{shard.name}/{key}", str(error)))
    except OSError as error:
        raise InputError(f"{shard.name} cannot be read: {error.strerror or error}") from error


def _picture(sample: Mapping[str, Any]) -> Member:
    """Return a sample's first picture, or raise ValueError."""
    for extension, member in sample.items():
        if f".{extension}" in IMAGE_EXTENSIONS:
            return member  # type: ignore[no-any-return]
    there = ", ".join(f".{extension}" for extension in sample if not extension.startswith("__"))
    raise ValueError(f"has no picture, only {there}")


def _captions(file: BinaryIO, sample: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a sample's captions, or raise ValueError with the reason why there are none."""
    suffix = next((suffix for suffix in CAPTION_SUFFIXES if suffix[1:] in sample), None)
    if suffix is None:
        raise ValueError("has no captions: there is no .txt or .json with it")
    member = sample[suffix[1:]]
    if member.size > _MOST_CAPTION:
        raise ValueError(f"has a {suffix} of {member.size} bytes, which is no caption")
    try:
        captions = read_captions(_read(file, member.offset, member.size), suffix)
    except ValueError as error:
        raise ValueError(f"has a {suffix} that {error}") from error
    if not captions:
        raise ValueError(f"has a {suffix} without a caption")
    return captions


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
