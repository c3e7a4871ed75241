"""WebDataset shards as a dataset: tar files in which image and caption of a sample share a name.

A tar is listed once; from then on each image is read with one seek. So samples are shuffled, split,
resumed and shared among processes like the pairs of any other dataset.
"""

import functools
import hashlib
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.data.caption_files import CAPTION_SUFFIXES, CaptionFile, choose_captions, decode_text
from clipkit.data.class_folders import check_templates, fill_templates
from clipkit.data.class_names import ClassNames
from clipkit.data.listed_pairs import TextRows
from clipkit.data.pair import DEFAULT_TEMPLATES, Pair, Say, any_of, file_stamp, list_some
from clipkit.data.shard_files import Member, fetch_shard, is_remote, list_members
from clipkit.errors import ImageReadError, InputError, MissingExtraError
from clipkit.inputs.folders import IMAGE_EXTENSIONS
from clipkit.inputs.read_errors import reason_for
from clipkit.paths import expand_home

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_MAX_CAPTION_SIZE = 1 << 20  # bytes
_CLASS_SUFFIX = ".cls"


def is_shards(text: str) -> bool:
    """Return whether a text names shards: by the suffix of tar files, or as an address.

    Compressed tar files count as well; open_shards says that they must be unpacked first.
    """
    return text.lower().endswith(_TAR_SUFFIXES) or is_remote(text)


class ShardCaptions(NamedTuple):
    """Which members of a sample hold its captions."""

    suffixes: Sequence[str] = CAPTION_SUFFIXES  # in order of preference
    class_names: ClassNames | None = None  # of the numbers in .cls
    templates: Sequence[str] = DEFAULT_TEMPLATES  # which make captions of class names


def open_shards(text: str, captions: ShardCaptions, *, say: Say) -> "ShardPairs":
    """Open shards as a dataset.

    Args:
        text: Paths or addresses as webdataset spells them: "data-{000..099}.tar", "a.tar::b.tar",
            "https://…/000.tar", "pipe:…". What is not on this machine is downloaded into the cache.
        captions: Where captions are; where a sample has none of them, the number of a class in its
            .cls counts.
        say: Called with a line on shards whose samples are not contiguous, and on members that were
            skipped.

    Returns:
        The pairs in the order of the shards. Samples that lack an image or a caption, and what a
        shard's damage hides, are listed as skipped. If all have their captions from .cls, they have
        classes.

    Raises:
        InputError: If a shard is missing, cannot be downloaded, or is no tar file.
        MissingExtraError: If webdataset is not installed.
    """
    check_templates(captions.templates)
    shards = [_shard(url) for url in _expand(text)]
    # os.path, for Path.is_file raises for a name too long.
    missing = [shard.name for shard in shards if not os.path.isfile(shard.file)]  # noqa: PTH113
    if missing:
        listed = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise InputError(f"{len(missing)} of {len(shards)} shards are not there: {listed}")
    numbers, offsets, sizes = array("q"), array("q"), array("q")
    classes: list[str] = []
    listing = _ShardListing(captions)

    def rows() -> Iterator[tuple[str, ...]]:
        for number, shard in enumerate(shards):
            for sample in listing.samples(shard):
                numbers.append(number)
                offsets.append(sample.image.offset)
                sizes.append(sample.image.size)
                classes.append(sample.class_name)
                yield f"{shard.file.name}/{sample.key}", *sample.captions

    listed_rows = TextRows(rows())
    listing.warn(say)
    return ShardPairs(
        shards,
        listed_rows,
        np.array([numbers, offsets, sizes]),
        skipped=listing.skipped,
        classes=classes if all(classes) else (),
    )


class Shard(NamedTuple):
    """A tar file."""

    file: Path
    name: str  # for messages: its path or address as given, which no other shard shares


class ShardPairs:
    """A dataset of pairs in tar files, each image read by its offset.

    Args:
        shards: The files.
        rows: Of each pair the name, as in "000.tar/0001" whatever the shard's folder, and captions.
        images: Of each pair's image its shard, the offset in it, and its size in bytes, shape
            (3, number of pairs).
        skipped: Samples that are left out, with the reasons.
        classes: Of each pair the name of its class, if they have classes.
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        rows: TextRows,
        images: NDArray[np.int64],
        *,
        skipped: Sequence[ImageReadError],
        classes: Sequence[str] = (),
    ) -> None:
        self._shards = shards
        self._rows = rows
        self._images = images
        self.skipped = skipped
        self.class_names = tuple(sorted({*classes}))
        numbers = {name: number for number, name in enumerate(self.class_names)}
        self._labels = np.array([numbers[name] for name in classes], dtype=np.int64)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self._rows)

    def __getitem__(self, row: int) -> Pair:
        """Return a pair, its image as the bytes of its file.

        Raises ImageReadError if the shard has gone or has become shorter.
        """
        local_name, *captions = self._rows[row]
        number, offset, size = self._images[:, row].tolist()
        file_path, shard_name = self._shards[number]
        # Shards of several folders may have equal names.
        name = f"{shard_name}/{local_name.partition('/')[2]}"
        try:
            # Opened each time, so that threads and forked processes share no position in it.
            with file_path.open("rb") as file:
                content = _read(file, offset, size)
        except OSError as error:
            raise ImageReadError(name, reason_for(error, b"")) from error
        if len(content) < size:
            raise ImageReadError(name, "its shard has become shorter since it was listed")
        return Pair(content, tuple(captions), name)

    def label(self, row: int) -> int | None:
        """Return the class of a pair, None where samples have no class."""
        return int(self._labels[row]) if self.class_names else None

    def class_name(self, row: int) -> str | None:
        """Return the name of a pair's class, None where it has none."""
        label = self.label(row)
        return None if label is None else self.class_names[label]

    def local_name(self, row: int) -> str:
        """Return the name of a pair's shard, without its folder, and of its sample."""
        return self._rows[row][0]

    def stamp(self, row: int) -> bytes:
        """Return the size and modification time of a pair's shard."""
        return file_stamp(self._shards[int(self._images[0, row])].file)

    def num_bytes(self, row: int) -> int | None:
        """Return the size of a pair's encoded image, as its shard says."""
        return int(self._images[2, row])

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the listing: names, captions and sizes of the images."""
        sizes = self._images[2].tobytes()
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


class _Sample(NamedTuple):
    """A sample with an image and at least one caption."""

    key: str
    image: Member
    captions: tuple[str, ...]
    class_name: str  # empty if its captions are texts


class _ShardListing:
    """Lists the samples of shards, one shard after the other."""

    def __init__(self, captions: ShardCaptions) -> None:
        self.skipped: list[ImageReadError] = []
        self._captions = captions
        self._scattered: dict[str, list[str]] = {}  # shard -> samples that are not contiguous
        self._no_caption: list[str] = []  # members that were skipped for others, with reasons

    def samples(self, shard: Shard) -> Iterator[_Sample]:
        """Yield the samples that are pairs; add the reasons of all others to skipped."""
        # Incomplete samples: an unsorted tar may have more members of the same name further on.
        incomplete: dict[str, dict[str, Any]] = {}
        try:
            with shard.file.open("rb") as file:
                for part in self._parts(shard, file):
                    key = part["__key__"]
                    sample = incomplete.pop(key, {})
                    is_scattered = bool(sample)
                    sample = part | sample  # of two equal members the first counts
                    if not self._is_complete(sample):
                        incomplete[key] = sample
                        continue
                    if is_scattered:
                        self._scattered.setdefault(shard.name, []).append(key)
                    yield from self._pair(shard, file, sample)
                for sample in incomplete.values():
                    yield from self._pair(shard, file, sample)
        except OSError as error:
            raise InputError(f"{shard.name} cannot be read: {error.strerror or error}") from error

    def warn(self, say: Say) -> None:
        """Warn of samples that are not contiguous, and of members without a caption."""
        for name, keys in self._scattered.items():
            say(
                f"{name} is an unsorted tar: the members of {len(keys)} samples do not "
                f"lie beside each other ({list_some(keys)}). They are joined here; other readers "
                "of webdataset lose them: pack it again with  tar --sort=name"
            )
        if self._no_caption:
            say(
                f"{len(self._no_caption)} members of shards hold no caption, so another "
                f"of the same sample was read: {list_some(self._no_caption)}"
            )

    def _parts(self, shard: Shard, file: BinaryIO) -> Iterator[dict[str, Any]]:
        """Yield the contiguous members of each sample."""
        from webdataset.tariterators import group_by_keys

        def note_duplicate(error: Exception) -> bool:
            name = f"{shard.name}/{str(error.args[0]).partition(':')[0]}"
            self.skipped.append(ImageReadError(name, "is there twice: the first counts"))
            return True

        members = (
            {"fname": member.name, "data": member, "__url__": ""}
            for member in list_members(file, shard.file, self.skipped)
        )
        yield from group_by_keys(members, handler=note_duplicate)

    def _is_complete(self, sample: Mapping[str, Any]) -> bool:
        has_image = any(f".{extension}" in IMAGE_EXTENSIONS for extension in sample)
        suffixes = (*self._captions.suffixes, _CLASS_SUFFIX)
        return has_image and any(suffix[1:] in sample for suffix in suffixes)

    def _pair(self, shard: Shard, file: BinaryIO, sample: Mapping[str, Any]) -> Iterator[_Sample]:
        """Yield a sample as a pair if it is one; else add the reason to skipped."""
        key = sample["__key__"]
        try:
            yield _Sample(key, _image(sample), *self._captions_and_class(shard, file, sample))
        except ValueError as error:
            self.skipped.append(ImageReadError(f"{shard.name}/{key}", str(error)))

    def _captions_and_class(
        self, shard: Shard, file: BinaryIO, sample: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], str]:
        """Return a sample's captions and class, or raise ValueError with the reason for neither."""
        files = [
            CaptionFile(f"its {suffix}", suffix, partial(_read_caption, file, sample[suffix[1:]]))
            for suffix in self._captions.suffixes
            if suffix[1:] in sample
        ]
        if not files and _CLASS_SUFFIX[1:] in sample:
            name = self._class_name(_read_caption(file, sample[_CLASS_SUFFIX[1:]]))
            return fill_templates(self._captions.templates, name), name
        try:
            captions, reasons = choose_captions(files)
        except ValueError as error:
            listed = any_of(self._captions.suffixes)
            reason = str(error) or f"has no captions: there is no {listed} with it"
            raise ValueError(reason) from error
        self._no_caption += [f"{shard.name}/{sample['__key__']}: {why}" for why in reasons]
        return captions, ""

    def _class_name(self, content: bytes) -> str:
        if self._captions.class_names is None:
            raise ValueError(
                "has a .cls for a caption, the number of a class: give a file with the names by "
                "data.class_names in RUN.toml or --class-names"
            )
        try:
            return self._captions.class_names.of_number(decode_text(content))
        except ValueError as error:
            raise ValueError(f"its .cls {error}") from error


def _image(sample: Mapping[str, Any]) -> Member:
    """Return a sample's first image, or raise ValueError."""
    for extension, member in sample.items():
        if f".{extension}" in IMAGE_EXTENSIONS:
            return member  # type: ignore[no-any-return]
    there = ", ".join(f".{extension}" for extension in sample if not extension.startswith("__"))
    raise ValueError(f"has no image, only {there}")


def _read_caption(file: BinaryIO, member: Member) -> bytes:
    if member.size > _MAX_CAPTION_SIZE:
        raise ValueError(f"holds {member.size} bytes, which is no caption")
    return _read(file, member.offset, member.size)


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
