"""Shards as files: downloaded into the cache, and their tar members listed."""

import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from clipkit.data.image_ends import ImageEnds, read_ends
from clipkit.errors import InputError
from clipkit.files import atomic_write, read_json_object
from clipkit.paths import cache_directory, expand_home, readable_name

# Two letters at least: one is a drive of Windows.
_SCHEME = re.compile(r"(?!file:)[a-z][a-z0-9]+:(?!:)")
# Names that webdataset reserves; its reader leaves them out by the same rule.
_RESERVED = re.compile(r"__[^/]*__($|/)")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd


def is_remote(url: str) -> bool:
    """Return whether a shard is not a file: an address, or the output of a command ("pipe:…").

    A path that exists is not, even if it looks like one, such as a folder "trip:rome".
    """
    is_here = os.path.exists(url)  # noqa: PTH110 - Path.exists raises for a name too long
    return _SCHEME.match(url) is not None and not is_here


def local_path(url: str) -> Path:
    """Return the path that a shard on this machine is named by, which may begin with file:."""
    return expand_home(url.removeprefix("file://").removeprefix("file:"))


def open_shard(url: str) -> BinaryIO:
    """Open a shard for reading from its beginning to its end.

    Args:
        url: A path, or an address that fsspec or webdataset's gopen opens: s3, gs, hf, http, https,
            pipe and others. fsspec is asked first; for some kinds it needs another package (s3fs
            for s3), and http without aiohttp is curl's.

    Returns:
        The open shard.

    Raises:
        Exception: If it cannot be opened: each kind of address fails in its own way.
    """
    if not is_remote(url):
        return local_path(url).open("rb")
    import fsspec
    from webdataset.gopen import gopen, gopen_schemes

    scheme = url.partition(":")[0]
    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError):  # a package is missing, or fsspec does not know it
        if scheme not in gopen_schemes:
            raise
        return gopen(url)  # type: ignore[no-any-return]
    return fsspec.open(url, "rb").open()  # type: ignore[no-any-return]


def fetch_shard(url: str) -> Path:
    """Return a shard's copy in the cache, downloaded if it is not there.

    A copy is not downloaded again, also if the shard has changed since: delete it for that.

    Args:
        url: What :func:`open_shard` opens.

    Returns:
        The file.

    Raises:
        InputError: If it cannot be fetched.
    """
    digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    name = readable_name(url.rpartition("/")[2].removesuffix(".tar"), fallback="shard")
    cached = cache_directory() / "shards" / f"{name}-{digest}.tar"
    if cached.is_file():
        return cached
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(cached) as draft:
            with open_shard(url) as stream, draft.open("wb") as file:
                shutil.copyfileobj(stream, file)
            if not draft.stat().st_size:
                raise ValueError("there is nothing in it")
    except Exception as error:  # each kind of address fails in its own way
        raise InputError(f"the shard {url} cannot be fetched: {error}") from error
    return cached


class Member(NamedTuple):
    """The position of a file in a tar, and its first and last bytes."""

    name: str
    offset: int  # bytes
    ends: ImageEnds

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.ends.size


class Skipped(NamedTuple):
    """What is left out of a shard."""

    name: str  # of a sample or a file in it; empty: the rest of the shard
    reason: str


def list_members(file: BinaryIO, path: Path, skipped: list[Skipped]) -> Iterator[Member]:
    """Yield the files in a tar whose bytes are all there.

    Args:
        file: The tar; others may change its position meanwhile.
        path: Of the tar, for messages.
        skipped: Why members are skipped, and that the tar is cut off or damaged, is added here.

    Yields:
        Regular files in their order.

    Raises:
        InputError: If it is no tar from its first byte.
    """
    is_tar, count = False, 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            is_tar = True
            for info in _whole(tar, file):
                count += 1
                if info.issparse():
                    skipped.append(Skipped(info.name, "is stored sparse"))
                elif info.islnk() or info.issym():
                    reason = (
                        f"is a link to {info.linkname}, without bytes of its own: pack the tar "
                    )
                    reason += "again with  tar --dereference --hard-dereference"
                    skipped.append(Skipped(info.name, reason))
                elif info.isreg() and not _RESERVED.match(info.name):
                    # Now, while they are in the buffer: what lies behind a file is read next.
                    ends = read_ends(file, info.offset_data, info.size)
                    yield Member(info.name, info.offset_data, ends)
    except Exception as error:  # on damaged headers tarfile raises nearly any
        if not is_tar:
            raise InputError(f"{path} is no tar file{_what_instead(file)}") from error
        reason = " ".join(str(error).split()) or type(error).__name__
        skipped.append(Skipped("", f"is damaged or cut off after {count} files: {reason}"))


def count_expected(path: Path) -> tuple[int, str] | None:
    """Return how many samples a shard should hold, where a file beside it says so.

    Args:
        path: Of the shard.

    Returns:
        The number and the name of the file: webdataset's sizes.json, with the number for each
        shard, or img2dataset's statistics of this one. None if there is neither.
    """
    for name, keys in (("sizes.json", (path.name,)), (f"{path.stem}_stats.json", ("successes",))):
        with suppress(InputError):  # it is not there, or something else
            found = read_json_object(path.with_name(name), InputError)
            count = next((found[key] for key in keys if key in found), None)
            if isinstance(count, int) and not isinstance(count, bool):
                return count, name
    return None


def _whole(tar: tarfile.TarFile, file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a tar, or raise at the first that is not whole."""
    size = file.seek(0, 2)
    end = 0
    while (info := tar.next()) is not None:
        # A size below 0 would lead back to an earlier header, in an endless loop.
        if info.offset_data < end or info.size < 0:
            raise tarfile.ReadError("a header is damaged")
        end = info.offset_data + (info.size if info.isreg() else 0)
        if end > size:
            there = max(size - info.offset_data, 0)
            raise tarfile.ReadError(f"of {info.name} {there:,} of {info.size:,} bytes are there")
        yield info
        tar.members.clear()  # type: ignore[attr-defined]  # a million would take a gigabyte
    # At a damaged header tarfile ends as at the mark of the end, which is a block of zeros.
    file.seek(tar.offset)
    mark = file.read(tarfile.BLOCKSIZE)
    if not mark or mark.strip(b"\0"):
        raise tarfile.ReadError("a header is damaged" if mark else "the mark of its end is missing")


def _what_instead(file: BinaryIO) -> str:
    file.seek(0)
    head = file.read(8)
    if not head:
        return ": it is empty (0 bytes)"
    if head.startswith(_COMPRESSED):
        return " by itself but compressed: unpack it, so that it can be read in any order"
    return f": it starts with {head!r}"
