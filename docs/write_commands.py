"""Writes docs/commands.md and docs/clipkit.1, the man page, from the parsers of the command line.

Run as  python docs/write_commands.py  after an option or a help text changed; a test looks whether
that was done. argparse-manpage makes man pages too, but leaves out the examples.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from clipkit.cli.main import EXIT_STATUSES, build_parser

ROOT = Path(__file__).parents[1]
PAGE, MANUAL = ROOT / "docs" / "commands.md", ROOT / "docs" / "clipkit.1"
_HEAD = """\
# Commands

What `clipkit help COMMAND` prints, on one page. `man clipkit` has it too, where clipkit is
installed. Made by `python docs/write_commands.py`.

## Exit statuses

| status | means |
|--:|---|
"""


def commands() -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Return each command's line in the list of all, and its parser, by its name."""
    subparsers = _subcommands(build_parser())
    assert subparsers is not None
    helps = {choice.dest: choice.help or "" for choice in subparsers._choices_actions}
    return {name: (helps[name], parser) for name, parser in subparsers.choices.items()}


def commands_page() -> str:
    """Return docs/commands.md."""
    lines = [_HEAD + "".join(f"| {status} | {text} |\n" for status, text in EXIT_STATUSES)]
    for name, (_, parser) in commands().items():
        lines += [f"## clipkit {name}", "", _plain(_description(parser)), ""]
        lines += ["```", *_usages(parser), "```", ""]
        for title, rows in _groups(parser):
            lines += [f"| {title} | |", "|---|---|"]
            lines += [f"| `{_cell(names)}` | {_cell(_plain(text))} |" for names, text in rows]
            lines.append("")
        lines += ["```", (parser.epilog or "").strip("\n"), "```", ""]
    return "\n".join(lines)


def manual() -> str:
    """Return the man page, in the macros of man(7)."""
    lines = [
        '.TH CLIPKIT 1 "" clipkit "User commands"',
        *(".SH NAME", r"clipkit \- search and classify images by words, offline"),
        *(".SH SYNOPSIS", r"\fBclipkit\fR \fICOMMAND\fR [options]"),
        *(".SH DESCRIPTION", _roff(_description(build_parser([])))),
        ".SH COMMANDS",
    ]
    for name, (line, _) in commands().items():
        lines += [".TP", rf"\fBclipkit {name}\fR", _roff(line)]
    for name, (_, parser) in commands().items():
        lines += [f".SH CLIPKIT {name.upper()}", _roff(_description(parser))]
        lines += [".PP", ".nf", *map(_roff, _usages(parser)), ".fi"]
        for title, rows in _groups(parser):
            lines.append(f".SS {_roff(title)}")
            for names, text in rows:
                lines += [".TP", rf"\fB{_roff(names)}\fR", _roff(text)]
        lines += [".PP", ".nf", *map(_roff, (parser.epilog or "").strip("\n").split("\n")), ".fi"]
    lines.append(".SH EXIT STATUS")
    for status, text in EXIT_STATUSES:
        lines += [".TP", rf"\fB{status}\fR", _roff(text)]
    return "\n".join(lines) + "\n"


def _subcommands(
    parser: argparse.ArgumentParser,
) -> "argparse._SubParsersAction[argparse.ArgumentParser] | None":
    found = (it for it in parser._actions if isinstance(it, argparse._SubParsersAction))
    return next(found, None)


def _description(parser: argparse.ArgumentParser) -> str:
    return " ".join((parser.description or "").split())


def _usages(parser: argparse.ArgumentParser) -> list[str]:
    """Return how a command is called, and each of its actions, if it has any."""
    inner = _subcommands(parser)
    parsers = [parser, *(inner.choices.values() if inner else ())]
    return [" ".join(it.format_usage().split()).removeprefix("usage: ") for it in parsers]


def _groups(parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the title of each group of arguments, with their names and help texts."""
    formatter = parser._get_formatter()
    for group in parser._action_groups:
        rows = []
        for action in group._group_actions:
            if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
                continue
            if isinstance(action, argparse._SubParsersAction):
                rows += [(it.dest, it.help or "") for it in action._choices_actions]
                continue
            text = formatter._expand_help(action) if action.help else ""
            rows.append((_names(action), " ".join(text.split())))
        if rows:
            yield group.title or "", rows


def _names(action: argparse.Action) -> str:
    """Return an argument as it is typed, "--top K, -t K"; the same on every version of Python."""
    value = action.metavar or action.dest.upper()
    if action.choices is not None and action.metavar is None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    value = value if isinstance(value, str) else " ".join(value)
    if not action.option_strings:
        return value
    return ", ".join(
        option if action.nargs == 0 else f"{option} {value}" for option in action.option_strings
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _plain(text: str) -> str:
    """Return text without what Markdown would read as emphasis or as HTML."""
    return text.replace("*", r"\*").replace("_", r"\_").replace("<", "&lt;")


def _roff(text: str) -> str:
    """Return text without what troff would read as commands."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    text = "".join(it if it.isascii() else rf"\[u{ord(it):04X}]" for it in text)
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    PAGE.write_text(commands_page(), encoding="utf-8")
    MANUAL.write_text(manual(), encoding="utf-8")
