"""The ``clipkit`` command: runs a subcommand, prints an error as one line, returns the status."""

import argparse
import gc
import importlib
import io
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from clipkit.cli.parser import Parser
from clipkit.cli.terminal import note, use_file_system_encoding
from clipkit.errors import ClipkitError, InputError

# Each is a module of this name in clipkit.cli.
COMMANDS = (
    "search",
    "context",
    "classify",
    "index",
    "embed",
    "teach",
    "concepts",
    "duplicates",
    "export",
    "demo",
    "serve",
    "map",
    "explain",
    "train",
    "adapt",
    "evaluate",
    "compare",
    "audit",
    "card",
    "score",
    "filter",
    "models",
    "fetch",
    "compile",
    "doctor",
    "completion",
)

EXIT_STATUSES = (
    ("0", "done"),
    ("1", "done, but nothing was found, a problem was, or with --strict something was skipped"),
    ("2", "an error, or wrong arguments: one line on stderr says what to do"),
    ("130", "interrupted by Ctrl-C; what was committed stays"),
)
"""What the process ends with, and what that means."""

_EPILOG = """\
examples:
  clipkit search "a red boat" ~/Pictures            the images that fit, best first
  clipkit classify photos --labels "cat, dog"       which label fits each image
  clipkit adapt pets/ -o pets.safetensors           learn your own labels from a few images
  clipkit fetch ViT-B-32-256/datacomp_s34b_b86k     a real CLIP; then --model with its name

clipkit help COMMAND has the options of a command, with examples. Results go to stdout, notes and
progress to stderr; --json prints what programs can read.

exit status:
""" + "".join(f"  {status:3}  {text}\n" for status, text in EXIT_STATUSES)

_GUIDE = """\
clipkit finds and classifies images by words, offline.

  clipkit search "a red boat" ~/Pictures       the images that fit, best first
  clipkit classify cat.jpg --labels "cat,dog"  which label fits an image
  clipkit duplicates ~/Pictures                copies and near-duplicates
  clipkit demo ~/Pictures                      the same in the browser
  clipkit models                               larger models, and what they cost here

clipkit help lists all commands, clipkit help COMMAND explains one.
"""


def build_parser(commands: Sequence[str] = COMMANDS) -> Parser:
    """Return the parser of the command line.

    Args:
        commands: Those that it knows. Each is imported; importing all takes as long as a search.

    Returns:
        The parser.
    """
    parser = Parser(
        prog="clipkit",
        description="Search and classify images by words. Works offline with its embedded model.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", "-v", action=_Version, nargs=0, help="print the version")
    # Not required: that would be reported before an option that does not exist.
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", prog="clipkit")
    for command in commands:
        importlib.import_module(f"clipkit.cli.{command}").add_parser(subparsers)
    for subparser in subparsers.choices.values():
        subparser.commands_with = _commands_with
    return parser


def _commands_with(option: str) -> list[str]:
    """Return the commands that have an option; only here are all of them imported."""
    actions = build_parser()._actions
    commands = next(each for each in actions if isinstance(each, argparse._SubParsersAction))
    return [
        name
        for name, parser in commands.choices.items()
        if any(option in action.option_strings for action in parser._actions)
    ]


class _Version(argparse.Action):
    """Looks the version up only for --version: that takes as long as a search."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version and end."""
        from clipkit.version import __version__

        print(f"clipkit {__version__}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after the program's name; None takes those of the process.

    Returns:
        The exit status.
    """
    warnings.showwarning = _WarningNotes().show
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process, as >&- does
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
    use_file_system_encoding()
    if isinstance(sys.stderr, io.TextIOWrapper):
        # Names in notes are printed as they are, also in a console of another encoding.
        sys.stderr.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        status = _run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()
    except ClipkitError as error:
        note(f"clipkit: {error}")
        return 2
    except KeyboardInterrupt:
        note("clipkit: interrupted")
        return 130
    except BrokenPipeError:
        # The reader of the pipe has ended, as in clipkit search … | head -1.
        _drop_stdout()
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        note(f"clipkit: {place}{error.strerror or error}")
        _drop_stdout()
        return 2
    return status


def _run(words: list[str]) -> int:
    """Parse and run; commands are imported in here, since Ctrl-C may come at any time."""
    if not words:
        print(_GUIDE, end="")
        return 0
    if words[0] == "help":
        words = [*words[1:2], "--help"]
    command = words[0]
    if not command.startswith("-") and command not in COMMANDS:
        Parser(prog="clipkit", usage="clipkit COMMAND …").refuse_command(command, COMMANDS)
    arguments = build_parser([command] if command in COMMANDS else COMMANDS).parse_args(words)
    if "run" not in arguments:
        raise InputError("which command? Run  clipkit help  for all of them")
    if not gc.isenabled():  # as `python -m clipkit` has it while all this is imported
        gc.freeze()  # not to be looked through at the first collection either
        gc.enable()
    status: int = arguments.run(arguments)
    return status


def _drop_stdout() -> None:
    """Drop buffered output, which would fail once more when the process ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
