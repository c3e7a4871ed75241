"""Words as a shell needs them: in quotes, and what to type where quotes or commas are missing."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from clipkit.cli import values

COMMA_OPTIONS = ("--labels",)
"""Options whose value is a list with commas between."""

_OF_PATHS = frozenset("/\\.{:~")  # letters that say of a word that it is meant as a path


def quoted(word: str) -> str:
    """Return a word as a person types it in any shell: in double quotes where it needs some."""
    if word and not any(letter.isspace() or letter in "\"'\\$`!*?[](){}<>|&;#~" for letter in word):
        return word
    if sys.platform != "win32" and any(letter in '"\\$`!' for letter in word):
        import shlex

        return shlex.quote(word)
    return f'"{word}"'


def explain_surplus(
    args: Sequence[str], left: Sequence[str], actions: Mapping[str, argparse.Action]
) -> str:
    """Return how to write the value of an option that surplus words directly follow.

    Args:
        args: All words of a command.
        left: Those that nothing takes.
        actions: By option what it takes.

    Returns:
        A sentence, "" if the words follow no option that takes text.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> _ = parser.add_argument("--domain")
        >>> explain_surplus(["--domain", "a", "bird"], ["bird"], parser._option_string_actions)
        'several words need quotes around them:  --domain "a bird"'
    """
    for place, option, value in _options_with_values(args):
        action = actions.get(option)
        if action is None or action.nargs is not None or action.type not in (None, values.path):
            continue
        following = _words_from(args, place)
        if following[:1] == list(left[:1]):
            while len(following) > 1 and os.path.exists(following[-1]):  # noqa: PTH110 - a word
                following.pop()
            return _sentence(option, [value, *following])
    return ""


def explain_split_list(args: Sequence[str]) -> str:
    """Return how to write a list of which all but the first was taken for something else.

    Args:
        args: All words of a command, each of which was taken for something.

    Returns:
        A sentence, "" if no list was split.

    Example:
        >>> explain_split_list(["--labels", "cat", "dog", "--next", "3"]).rpartition("all:  ")[2]
        '--labels "cat, dog"'
    """
    for place, option, value in _options_with_values(args):
        if option not in COMMA_OPTIONS or ("," in value and not value.rstrip().endswith(",")):
            continue
        rest = []
        for word in _words_from(args, place):
            if os.path.exists(word) or not _OF_PATHS.isdisjoint(word):  # noqa: PTH110 - a word
                break
            rest.append(word)
        if rest:
            return (
                f"{rest[0]}: there is no such file or folder; if it is a label: "
                f"{_sentence(option, [value, *rest])}"
            )
    return ""


def _options_with_values(args: Sequence[str]) -> list[tuple[int, str, str]]:
    """Return the options that a word follows, the word, and the place after it."""
    ended = args.index("--") if "--" in args else len(args)
    return [
        (place + 2, args[place], args[place + 1])
        for place in range(ended - 1)
        if args[place][:1] in ("-", "+") and args[place + 1][:1] != "-"
    ]


def _words_from(args: Sequence[str], place: int) -> list[str]:
    """Return the words from a place on, up to the next option."""
    found = []
    for word in args[place:]:
        if word.startswith("-") or word == "+":
            break
        found.append(word)
    return found


def _sentence(option: str, words: Sequence[str]) -> str:
    if option not in COMMA_OPTIONS:
        return f"several words need quotes around them:  {option} {quoted(' '.join(words))}"
    has_commas = any("," in word for word in words)
    typed = " ".join(words) if has_commas else ", ".join(words)
    return f"labels are separated by commas, with quotes around all:  {option} {quoted(typed)}"
