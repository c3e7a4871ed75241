"""``clipkit completion``: print a script for completing commands and options in a shell."""

import argparse
from collections.abc import Iterator

_SHELLS = ("bash", "zsh", "fish")
_EPILOG = """\
examples: each takes effect in every shell that is opened from then on
  clipkit completion bash > ~/.local/share/bash-completion/completions/clipkit
  clipkit completion zsh > "${fpath[1]}/_clipkit"
  clipkit completion fish > ~/.config/fish/completions/clipkit.fish
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser of the whole command line."""
    parser = subparsers.add_parser(
        "completion",
        help="print a script that lets your shell complete commands and options",
        description="Print a script for your shell. It completes commands, options and their "
        "values without running clipkit, so that pressing Tab takes no time.",
        epilog=_EPILOG,
    )
    parser.add_argument("shell", choices=_SHELLS, help="which shell")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script.

    Args:
        arguments: As parsed.

    Returns:
        0.
    """
    import shtab  # only here: no other command needs it

    from clipkit.cli.main import build_parser

    parser = build_parser()
    for action in _actions(parser):
        names = str(action.metavar or "")
        if "FOLDER" in names:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif any(word in names for word in ("FILE", "PATH", "QUERY", "PAIRS", ".")):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(parser, arguments.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of those of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)
