"""The entry point: words to commands, errors to one line and an exit status.

Exit statuses: 0 done; 1 done, but nothing was found or (with --strict) something was skipped;
2 could not be done; 130 interrupted.
"""

import argparse
import atexit
import gc
import importlib
import io
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence

from clipkit.cli.progress import note
from clipkit.cli.stdout import use_file_system_encoding
from clipkit.errors import ClipkitError

# Each is a module of this name in clipkit.cli.
COMMANDS = (
    "search",
    "classify",
    "index",
    "duplicates",
    "train",
    "score",
    "filter",
    "models",
    "fetch",
    "compile",
    "doctor",
)


def build_parser(commands: Sequence[str] = COMMANDS) -> argparse.ArgumentParser:
    """Return the parser of the command line.

    Args:
        commands: Those that it knows. Each is imported, and all of them take as long as a search.

    Returns:
        The parser.
    """
    parser = argparse.ArgumentParser(
        prog="clipkit",
        description="Search and classify pictures by words. Works offline with its embedded model.",
        epilog="Run  clipkit COMMAND --help  for the options of a command.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="say which version this is")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in commands:
        importlib.import_module(f"clipkit.cli.{command}").add_parser(subparsers)
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: that takes as long as a search."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version and end."""
        from importlib.metadata import version

        print(f"clipkit {version('clipkit')}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after the program's name; None takes those of the process.

    Returns:
        The exit status.
    """
    # The interpreter's last search for garbage is 10 % of a query, and all memory goes anyway.
    atexit.register(gc.freeze)
    words = sys.argv[1:] if argv is None else argv
    is_command = bool(words) and words[0] in COMMANDS
    arguments = build_parser(words[:1] if is_command else COMMANDS).parse_args(words)
    warnings.showwarning = _WarningNotes().show
    use_file_system_encoding()
    if isinstance(sys.stderr, io.TextIOWrapper):
        # Names in notes are printed as they are, also in a console of another encoding.
        sys.stderr.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except ClipkitError as error:
        note(f"clipkit: {error}")
        return 2
    except KeyboardInterrupt:
        note("clipkit: interrupted")
        return 130
    except BrokenPipeError:
        # The reader of the pipe has seen enough, as in  clipkit search … | head -1.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        note(f"clipkit: {place}{error.strerror or error}")
        return 2
    return status


class _WarningNotes:
    """Prints warnings as notes for a person, without the line of code they came from."""

    def __init__(self) -> None:
        self._counts: Counter[type[Warning]] = Counter()

    def show(
        self, message: Warning | str, category: type[Warning], *_: object, **__: object
    ) -> None:
        """Print a warning, unless there were several of its kind: a data set has thousands."""
        self._counts[category] += 1
        if self._counts[category] <= _SHOWN_OF_A_KIND:
            note(f"clipkit: {message}")
        elif self._counts[category] == _SHOWN_OF_A_KIND + 1:
            note("clipkit: more warnings of this kind are not shown")


_SHOWN_OF_A_KIND = 5
