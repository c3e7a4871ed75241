"""Error messages for visitors, without markup and without paths of this machine."""

import html
import logging
import unicodedata
from pathlib import Path, PurePath

import gradio as gr

import clipkit

SECONDS = 8  # that a message is shown
MAX_NAME = 100  # characters of a file name that are shown


def refuse(message: str) -> gr.Error:
    """Return an error for a visitor; what looks like markup in it is shown as it is."""
    return gr.Error(html.escape(message), duration=SECONDS, print_exception=False)


def translate(error: clipkit.ClipkitError) -> gr.Error:
    """Return an error of clipkit as one for a visitor."""
    if isinstance(error, clipkit.ImageReadError):
        return refuse(f"{short_name(error.path)}: {error.reason}")
    if isinstance(error, clipkit.InputError):
        return refuse(str(error))
    logging.getLogger(__name__).error("%s", error)
    return refuse("The page cannot answer now; the reason is told where it was started")


def short_stem(path: Path) -> str:
    """Return the name of an image without its ending, as it can be shown."""
    return short_name(path.stem)


def short_name(name: str) -> str:
    """Return a file's name as it can be shown: no folders, nothing that cannot be printed.

    Names of files may hold any bytes, and those that are no text cannot be sent either.
    """
    last = PurePath(name.replace("\\", "/")).name
    return "".join(letter for letter in last if letter.isprintable())[-MAX_NAME:] or "image"


def is_text(name: str) -> bool:
    """Return whether a name can be sent and typed: it has no half and no control characters."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def short_path(path: Path, folder: Path) -> str:
    """Return an image's path inside the library as it can be shown, the end of a long one."""
    parts = path.relative_to(folder).parts if path.is_relative_to(folder) else (path.name,)
    return "/".join(map(short_name, parts))[-2 * MAX_NAME :]
