"""What visitors take with them of the images that they selected: lists, a command, a sheet."""

import csv
import io
import shlex
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import gradio as gr

import clipkit
from clipkit.demo.image_grid import ShownImage, belongs
from clipkit.demo.image_store import ImageStore
from clipkit.demo.messages import is_text
from clipkit.demo.web_component import web_component

MAX_LISTED = 2000  # each is looked at once more, which takes a millisecond
MAX_ON_SHEET = 120  # thumbnails: some 5 MB
TARGET = "selection"  # the folder that the command copies to


@dataclass(frozen=True)
class SelectedImage:
    """One selected image, by its path inside the library."""

    path: Path
    similarity: float | None  # cosine to the query, where there is one
    relevance: float | None
    width: int | None  # pixels
    height: int | None
    taken_at: str | None
    camera: str | None


def selected(
    images: Sequence[ShownImage], keys: AbstractSet[str], store: ImageStore, *, is_all: bool
) -> list[ShownImage]:
    """Return the images that a visitor has selected, in their order.

    Args:
        images: All there are to select from.
        keys: The ids of images that were selected one by one, or with `is_all` taken out.
        store: Knows the ids.
        is_all: Whether all that belong are selected.

    Returns:
        Those of them.
    """
    return [
        image
        for image in images
        if (is_all and belongs(image)) != (store.key_of(image.path) in keys)
    ]


def described(image: ShownImage, folder: Path) -> SelectedImage:
    """Return an image of the library as it is listed."""
    similarity = relevance = None
    if isinstance(image, clipkit.SearchHit):
        similarity, relevance = image.similarity, image.relevance
    return SelectedImage(
        image.path.relative_to(folder), similarity, relevance, image.width, image.height,
        image.taken_at, image.camera,
    )  # fmt: skip


def text_of(kind: str, images: Sequence[SelectedImage]) -> dict[str, str]:
    """Return a list of images as the browser takes it.

    Args:
        kind: "list", "table" or "command".
        images: The images; those whose names are no text are left out, and this is told.

    Returns:
        The text, the name and type of a file of it, and a line on it.
    """
    listed = [image for image in images if is_text(str(image.path))]
    told = f"{_number(len(listed))}, by their paths inside the folder."
    if kind == "command":
        told = f"Copies {_number(len(listed))}. To be run in the folder of the images."
    if len(listed) < len(images):
        told += f" Left out for names that are no text: {len(images) - len(listed)}."
    name, media_type, write = _TEXTS[kind]
    return {"name": name, "type": media_type, "told": told, "text": write(listed)}


def sheet_of(
    images: Sequence[SelectedImage], title: str, thumbnails: Mapping[Path, bytes]
) -> dict[str, str]:
    """Return a contact sheet as the browser takes it; its links work inside the folder.

    Args:
        images: The images.
        title: Its heading.
        thumbnails: By the image's path: a JPEG file.

    Returns:
        The page, the name and type of its file, and a line on it.
    """
    number = _number(len(images))
    page = clipkit.contact_sheet(
        images, title=title, summary=f"{number}. The links work where this page lies in the "
        "folder of the images.", folder=Path(), render=thumbnails.__getitem__,
    )  # fmt: skip
    told = f"A page with {number}: save it in the folder of the images, and its links work."
    return {"name": f"{TARGET}.html", "type": "text/html", "told": told, "text": "".join(page)}


def export_dialog() -> gr.HTML:
    """Return what shows an export, or lets the browser save it."""
    return web_component("selection", elem_id="taken")


def copy_command(paths: Sequence[PurePosixPath]) -> str:
    """Return shell commands that copy files into one folder; where names collide, with theirs."""
    if not paths:
        return ""
    has_own_names = len({path.name.casefold() for path in paths}) == len(paths)
    folders = [PurePosixPath()] if has_own_names else sorted({path.parent for path in paths})
    commands = []
    for folder in folders:
        target = shlex.quote(f"{PurePosixPath(TARGET, folder)}/")
        inside = [path for path in paths if has_own_names or path.parent == folder]
        files = " \\\n  ".join(shlex.quote(str(path)) for path in inside)
        commands.append(f"mkdir -p {target} && cp -- \\\n  {files} \\\n  {target}\n")
    return "".join(commands)


def _table(images: Sequence[SelectedImage]) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["path", "taken_at", "width", "height", "camera", "relevance", "similarity"])
    for image in images:
        numbers = (image.relevance, image.similarity)
        writer.writerow(
            [image.path.as_posix(), image.taken_at, image.width, image.height, image.camera]
            + ["" if number is None else f"{number:.4f}" for number in numbers]
        )
    return file.getvalue()


def _lines(images: Sequence[SelectedImage]) -> str:
    return "".join(f"{image.path.as_posix()}\n" for image in images)


def _command(images: Sequence[SelectedImage]) -> str:
    return copy_command([PurePosixPath(image.path.as_posix()) for image in images])


def _number(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"


_TEXTS: dict[str, tuple[str, str, Callable[[Sequence[SelectedImage]], str]]] = {
    "list": (f"{TARGET}.txt", "text/plain", _lines),
    "table": (f"{TARGET}.csv", "text/csv", _table),
    "command": (f"{TARGET}.sh", "text/x-sh", _command),
}
EXPORTS = frozenset({*_TEXTS, "sheet"})
"""The kinds of exports."""
