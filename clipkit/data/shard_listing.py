"""The listing of one shard: its samples that are pairs, and what is left out of it."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clipkit.data.listed_pairs import TextRows
from clipkit.data.shard_files import Member, Skipped, list_members
from clipkit.data.shard_samples import CLASS_SUFFIX, ShardCaptions, image_of, texts_of
from clipkit.errors import InputError
from clipkit.inputs.extensions import IMAGE_EXTENSIONS

_MAX_CAPTION_SIZE = 1 << 20  # bytes


class Shard(NamedTuple):
    """A tar file."""

    file: Path
    name: str  # for messages: its path or address as given, which no other shard shares


@dataclass(frozen=True)
class ShardListing:
    """What is in a shard, N pairs."""

    rows: TextRows  # of each pair its name, as in "000.tar/0001", and its captions
    images: NDArray[np.int64]  # offsets and sizes of the images, bytes, shape (2, N)
    hashes: NDArray[np.uint64]  # ImageEnds.hash of the images, shape (N,)
    classes: NDArray[np.int32]  # of each pair its number among class_names, shape (N,)
    class_names: Sequence[str]  # an empty one: captions are texts
    num_samples: int  # those that are left out as well
    skipped: Sequence[Skipped]
    scattered: Sequence[str]  # samples whose members do not lie beside each other
    no_caption: Sequence[str]  # members that hold none, so that others were read, with reasons


def list_shard(shard: Shard, captions: ShardCaptions) -> ShardListing:
    """List a shard.

    Args:
        shard: The tar.
        captions: Where captions are.

    Returns:
        Its pairs in their order in there. Samples that lack an image or a caption, and what damage
        hides, are skipped.

    Raises:
        InputError: If it cannot be read, or is no tar file.
    """
    samples = _Samples(captions)
    images, hashes, classes = array("q"), array("Q"), array("i")
    class_names: dict[str, int] = {}

    def rows(file: BinaryIO) -> Iterator[tuple[str, ...]]:
        for sample in samples.of(file, shard.file):
            images.extend((sample.image.offset, sample.image.size))
            hashes.append(sample.image.ends.hash)
            classes.append(class_names.setdefault(sample.class_name, len(class_names)))
            yield f"{shard.file.name}/{sample.key}", *sample.captions

    try:
        with shard.file.open("rb") as file:
            texts = TextRows(rows(file))
    except OSError as error:
        raise InputError(f"{shard.name} cannot be read: {error.strerror or error}") from error
    return ShardListing(
        texts,
        np.array(images, dtype=np.int64).reshape(-1, 2).T,
        np.array(hashes, dtype=np.uint64),
        np.array(classes, dtype=np.int32),
        list(class_names),
        samples.count,
        samples.skipped,
        samples.scattered,
        samples.no_caption,
    )


class _Sample(NamedTuple):
    """A sample with an image and at least one caption."""

    key: str
    image: Member
    captions: tuple[str, ...]
    class_name: str  # empty if its captions are texts


class _Samples:
    """The samples of a shard."""

    def __init__(self, captions: ShardCaptions) -> None:
        self.count = 0
        self.skipped: list[Skipped] = []
        self.scattered: list[str] = []
        self.no_caption: list[str] = []
        self._captions = captions

    def of(self, file: BinaryIO, path: Path) -> Iterator[_Sample]:
        """Yield the samples that are pairs; add the reasons of all others to skipped."""
        # Incomplete samples: an unsorted tar may have more members of the same name further on.
        incomplete: dict[str, dict[str, Any]] = {}
        for part in self._parts(file, path):
            key = part["__key__"]
            sample = incomplete.pop(key, {})
            is_scattered = bool(sample)
            sample = part | sample  # of two equal members the first counts
            if not self._is_complete(sample):
                incomplete[key] = sample
                continue
            if is_scattered:
                self.scattered.append(key)
            yield from self._pair(file, sample)
        for sample in incomplete.values():
            yield from self._pair(file, sample)

    def _parts(self, file: BinaryIO, path: Path) -> Iterator[dict[str, Any]]:
        """Yield the contiguous members of each sample."""
        from webdataset.tariterators import group_by_keys

        def note_duplicate(error: Exception) -> bool:
            name = str(error.args[0]).partition(":")[0]
            self.skipped.append(Skipped(name, "is there twice: the first counts"))
            return True

        members = (
            {"fname": member.name, "data": member, "__url__": ""}
            for member in list_members(file, path, self.skipped)
        )
        yield from group_by_keys(members, handler=note_duplicate)

    def _is_complete(self, sample: Mapping[str, Any]) -> bool:
        has_image = any(f".{extension}" in IMAGE_EXTENSIONS for extension in sample)
        suffixes = (*self._captions.suffixes, CLASS_SUFFIX)
        return has_image and any(suffix[1:] in sample for suffix in suffixes)

    def _pair(self, file: BinaryIO, sample: Mapping[str, Any]) -> Iterator[_Sample]:
        """Yield a sample as a pair if it is one; else add the reason to skipped."""
        self.count += 1
        key = sample["__key__"]
        try:
            image: Member = image_of(sample)
            texts = texts_of(sample, self._captions, partial(_read_caption, file))
        except ValueError as error:
            self.skipped.append(Skipped(key, str(error)))
            return
        self.no_caption += [f"{key}: {why}" for why in texts.no_caption]
        yield _Sample(key, image, texts.captions, texts.class_name)


def _read_caption(file: BinaryIO, member: Member) -> bytes:
    if member.size > _MAX_CAPTION_SIZE:
        raise ValueError(f"holds {member.size} bytes, which is no caption")
    if member.size == len(member.ends.head):
        return member.ends.head
    file.seek(member.offset)
    return file.read(member.size)
