"""Files that a command writes for its user: atomically, and never over a file of another kind."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from clipkit.cli.terminal import note
from clipkit.errors import InputError
from clipkit.files import atomic_write

_HEAD = 65_536  # bytes of a file that show who wrote it


@dataclass(frozen=True)
class OutputFile:
    """A file that a command is to write.

    What is there is replaced only if its content shows that this command wrote it, or if the user
    says so. Check it before any work; writing checks again, since work may take hours.
    """

    path: Path
    is_ours: Callable[[bytes], bool] = lambda _: False  # from a file's first 64 KiB
    is_forced: bool = False  # whether a file that is there may go, whatever it is

    def check(self) -> None:
        """Raise if the file cannot be put in its place.

        Raises:
            InputError: If something is there that may not go, or the folder is missing or not
                writable.
        """
        folder = self.path.parent
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{self.path} cannot be written: {folder} is a file, and no folder")
        if not folder.is_dir():
            raise InputError(
                f"{self.path} cannot be written: there is no folder {folder}; make it first"
            )
        if self.path.is_dir():
            raise InputError(f"{self.path} cannot be written: it is a folder; give a file's name")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise InputError(f"{self.path} cannot be written: the folder is read-only for you")
        if os.path.lexists(self.path) and not (self.is_forced or self._holds_ours()):
            raise InputError(
                f"{self.path} is there already, and nothing in it says that this command wrote "
                "it: choose another name, or say --force to replace it"
            )

    def checked(self) -> "OutputFile":
        """Return the file if it can be put in its place.

        Returns:
            This one.

        Raises:
            InputError: As `check` does.
        """
        self.check()
        return self

    def write_text(self, parts: Iterable[str]) -> None:
        """Write a text in UTF-8; odd bytes of file names, as Python has them, become themselves.

        Args:
            parts: The text, in pieces.

        Raises:
            InputError: As `check` does.
            OSError: If writing fails; what was there stays.
        """
        self.write_bytes(part.encode("utf-8", "surrogateescape") for part in parts)

    def write_bytes(self, parts: Iterable[bytes]) -> None:
        """Write a file atomically.

        Args:
            parts: Its content, in pieces.

        Raises:
            InputError: As `check` does.
            OSError: If writing fails; what was there stays.
        """
        self.check()
        with atomic_write(self.path, durable=True) as draft:
            with draft.open("xb") as file:
                for part in parts:
                    file.write(part)
            self.check()
        note(f"wrote {self.path}")

    def _holds_ours(self) -> bool:
        if not self.path.is_file() or self.path.is_symlink():
            return False
        with self.path.open("rb") as file:
            return self.is_ours(file.read(_HEAD))
