"""The folder that embeddings are written to: on a disk, or wherever fsspec can write."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from clipkit.data.shard_files import is_remote, local_path
from clipkit.errors import LibraryError
from clipkit.files import exclusive_lock, is_draft, write_bytes

LOCK_NAME = "embed.lock"


class OutputFolder:
    """Files by their names in one folder; each appears whole or not at all.

    On a disk a file is renamed into its place; a store of objects shows none before it is whole.

    Args:
        location: A path, or the URL of a folder ("s3://bucket/embeddings").
    """

    def __init__(self, location: str | Path) -> None:
        self.location = str(location).rstrip("/") or "/"
        self._path = None if is_remote(self.location) else local_path(self.location)

    def __str__(self) -> str:
        return self.location

    @property
    def is_remote(self) -> bool:
        """Whether it is at a URL."""
        return self._path is None

    def make(self) -> None:
        """Make the folder, if need be.

        Raises:
            LibraryError: If it cannot be made.
        """
        with self._errors():
            if self._path is not None:
                self._path.mkdir(parents=True, exist_ok=True)

    def names(self) -> set[str]:
        """Return the names of all files in it.

        Returns:
            Such as "metadata/metadata_00000.parquet".

        Raises:
            LibraryError: If it cannot be read.
        """
        with self._errors():
            if self._path is not None:
                found = (path for path in self._path.rglob("*") if path.is_file())
                return {
                    path.relative_to(self._path).as_posix() for path in found if not is_draft(path)
                }
            files, root = self._remote()
            start = f"{root.rstrip('/')}/"
            listed = files.find(root) if files.exists(root) else ()
            return {str(name).removeprefix(start) for name in listed}

    def read(self, name: str) -> bytes:
        """Return the content of a file.

        Args:
            name: Of the file.

        Returns:
            All of it.

        Raises:
            LibraryError: If it cannot be read.
        """
        with self._errors():
            if self._path is not None:
                return (self._path / name).read_bytes()
            files, root = self._remote()
            content: bytes = files.cat_file(f"{root}/{name}")
            return content

    @contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading parts of it.

        Args:
            name: Of the file.

        Yields:
            The open file.

        Raises:
            LibraryError: If it cannot be read.
        """
        with self._errors():
            if self._path is not None:
                with (self._path / name).open("rb") as file:
                    yield file
                return
            files, root = self._remote()
            with files.open(f"{root}/{name}", "rb") as remote_file:
                yield remote_file

    def write(self, name: str, content: bytes, *, durable: bool = True) -> None:
        """Write a file; one that is there is replaced.

        Args:
            name: Of the file.
            content: All of it.
            durable: Whether to wait until it is on the disk.

        Raises:
            LibraryError: If it cannot be written.
        """
        with self._errors():
            if self._path is not None:
                path = self._path / name
                path.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(path, content, durable=durable)
                return
            files, root = self._remote()
            files.pipe_file(f"{root}/{name}", content)

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        if self._path is not None:
            (self._path / name).unlink(missing_ok=True)
            return
        files, root = self._remote()
        if files.exists(f"{root}/{name}"):
            files.rm_file(f"{root}/{name}")

    def has(self, name: str) -> bool:
        """Return whether a file is there."""
        if self._path is not None:
            return (self._path / name).is_file()
        files, root = self._remote()
        return bool(files.exists(f"{root}/{name}"))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other runs out of the folder for as long as the block runs, where it is on a disk.

        Yields:
            Nothing.

        Raises:
            LibraryError: If another run is writing here.
        """
        if self._path is None:  # stores of objects have no locks: two runs would do the work twice
            yield
            return
        held = LibraryError(
            f"another clipkit embed is writing to {self}: wait until it is done, or give another "
            "folder"
        )
        with ExitStack() as stack:
            with self._errors():
                stack.enter_context(exclusive_lock(self._path / LOCK_NAME, held))
            yield

    def _remote(self) -> tuple[Any, str]:
        """Return the file system, and the folder's path in it."""
        from fsspec.core import url_to_fs

        files, root = url_to_fs(self.location)
        return files, str(root)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Say of an error of the disk which folder it is about."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise LibraryError(f"{self} cannot be written or read: {reason}") from error


def host_and_process() -> dict[str, object]:
    """Return the names of this machine and this process."""
    import platform

    return {"host": platform.node(), "pid": os.getpid()}
