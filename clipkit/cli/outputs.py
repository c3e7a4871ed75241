"""Files that a command writes where it was told to: whole or not at all, over nothing foreign."""

import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clipkit.cli.terminal import note
from clipkit.errors import InputError

_HEAD = 65_536  # bytes of a file that show who wrote it


@dataclass(frozen=True)
class OutputFile:
    """A file that a command shall write.

    A file that is there is replaced if its content shows that this command wrote it, or if the
    user says so. Check it before any work; writing checks once more, since work may take hours.
    """

    path: Path
    is_ours: Callable[[bytes], bool] = lambda _: False  # from a file's first 64 KiB
    is_forced: bool = False  # whether a file that is there may go, whatever it is

    def check(self) -> None:
        """Raise if the file cannot be put in its place.

        Raises:
            InputError: If something is there that may not go, or the folder is missing or closed.
        """
        folder = self.path.parent
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

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """Give a new file beside the output, which takes its place when the block has ended well.

        Yields:
            Where to write; nothing is there yet, and the ending is the output's.

        Raises:
            InputError: As `check` does.
        """
        self.check()
        draft = self.path.with_name(f".clipkit-{secrets.token_hex(6)}{self.path.suffix[:32]}")
        try:
            yield draft
            self.check()
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)
        note(f"wrote {self.path}")

    def write_text(self, parts: Iterable[str]) -> None:
        """Write a text in UTF-8; odd bytes of file names, as Python has them, as they were.

        Args:
            parts: The text, in pieces.

        Raises:
            InputError: As `check` does.
            OSError: If writing fails; what was there stays.
        """
        with self.draft() as draft, draft.open("xb") as file:
            for part in parts:
                file.write(part.encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(file.fileno())

    def _holds_ours(self) -> bool:
        if not self.path.is_file() or self.path.is_symlink():
            return False
        with self.path.open("rb") as file:
            return self.is_ours(file.read(_HEAD))
