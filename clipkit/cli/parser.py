"""argparse with a "did you mean" for unknown options and commands, and one-line errors."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from clipkit.cli.quoting import explain_split_list, explain_surplus, quoted
from clipkit.cli.terminal import note

ExplainWords = Callable[[argparse.Namespace, Sequence[str]], str]
_MOST_OWNERS = 3  # what more commands have is too common to say whose it is


class _HelpFormatter(argparse.HelpFormatter):
    """Leaves text with line breaks, such as examples, as it is; usage shows what is required."""

    def _format_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None,
    ) -> str:
        if usage is not None:
            return super()._format_usage(usage, actions, groups, prefix)
        choices = [group for group in groups if group.required]
        chosen = {action for group in choices for action in group._group_actions}
        needed = [
            action
            for action in actions
            if action.required or not action.option_strings or action in chosen
        ]
        text = super()._format_usage(None, needed, choices, prefix)
        return text.replace(self._prog, f"{self._prog} [options]", 1)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Parser(argparse.ArgumentParser):
    """argparse's parser, which suggests the nearest option where one is not known.

    Args:
        **options: As for argparse's.
    """

    explain_words: ExplainWords | None = None
    """Makes the message about surplus words, from what was parsed and those words."""

    commands_with: Callable[[str], Sequence[str]] | None = None
    """Names the commands that have an option."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _HelpFormatter)
        super().__init__(**options)

    def parse_known_args(  # type: ignore[override] # argparse's has an overload a namespace class
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse, and refuse what is left over here, where it is known which command it is for."""
        found, left = super().parse_known_args(args, namespace)
        words = sys.argv[1:] if args is None else list(args)
        if left:
            self._refuse(found, left, words)
        if hint := explain_split_list(words):
            self.error(hint)
        return found, left

    def _match_argument(self, action: argparse.Action, arg_strings_pattern: str) -> int:
        try:
            return super()._match_argument(action, arg_strings_pattern)
        except argparse.ArgumentError as error:
            if not action.option_strings or action.nargs is not None:
                raise
            option, value = action.option_strings[0], action.metavar or action.dest.upper()
            raise argparse.ArgumentError(
                action,
                f"a value must follow, as in  {option} {value} ; one that begins with a dash is "
                f"joined by an equals sign:  {option}=-…",
            ) from error

    def error(self, message: str) -> NoReturn:
        """End with one line; the usage of most commands would push it off the screen."""
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            usage = " ".join(self.format_usage().split()).removeprefix("usage: ")
            message = f"{missing} is missing:  {usage}"
        message = message.replace("ignored explicit argument", "takes no value, got")
        note(f"{self.prog}: {message}")
        self.exit(2)

    def _refuse(
        self, found: argparse.Namespace, left: Sequence[str], words: Sequence[str]
    ) -> NoReturn:
        options = [word for word in left if word.startswith("-")]
        if options:
            name = options[0].partition("=")[0]
            guess = self._explain_option(name) if name.startswith("--") else ""
            self.error(f"there is no option {name}{guess or f'; see  {self.prog} --help'}")
        if hint := explain_surplus(words, left, self._option_string_actions):
            self.error(hint)
        if self.explain_words is not None:
            self.error(self.explain_words(found, left))
        self.error(f"too many words: {' '.join(left)}; see  {self.prog} --help")

    def _explain_option(self, name: str) -> str:
        """Return a clause with the commands that have an option, or the nearest one here."""
        owners = [] if self.commands_with is None else self.commands_with(name)
        if 0 < len(owners) <= _MOST_OWNERS:
            *first, last = owners
            listed = f"{', '.join(first)} and {last} have" if first else f"{last} has"
            return f": clipkit {listed} it"
        known = [option for action in self._actions for option in action.option_strings]
        return "" if owners else did_you_mean(name, known)

    def refuse_command(self, word: str, commands: Sequence[str]) -> NoReturn:
        """End with what to type instead of a command that does not exist.

        Args:
            word: What was typed.
            commands: What there is.
        """
        guess = did_you_mean(word, commands)
        if not guess:
            guess = f"; to search for it, type  {self.prog} search {quoted(word)}"
        self.error(f"there is no command {word!r}{guess}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a clause with the known word nearest to one, empty if none is near."""
    from difflib import get_close_matches  # only here: a command that is right needs none

    close = get_close_matches(word, list(known), n=1)
    return f": did you mean {close[0]}?" if close else ""
