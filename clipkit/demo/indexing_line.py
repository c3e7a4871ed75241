"""The page's first line: how many images there are, and how far the indexing of them is."""

from typing import Any

import gradio as gr

from clipkit.demo.folder_indexer import FolderIndexer
from clipkit.demo.web_component import web_component


def build(page: gr.Blocks, indexer: FolderIndexer, *, may_steer: bool) -> None:
    """Add the line to the page that is being built.

    The browser asks for what it says, often while something is indexed and seldom else, and tells
    the other parts of the page when the index has changed: the event "indexed" of the document.

    Args:
        page: The page.
        indexer: What indexes it.
        may_steer: Whether visitors may pause the indexing, and have new images looked for.
    """

    def tell() -> dict[str, Any]:
        return describe(indexer, may_steer=may_steer)

    def pause() -> dict[str, Any]:
        indexer.pause()
        return tell()

    async def look() -> dict[str, Any]:  # in the loop of the server, as the event that it sets
        indexer.look()
        return tell()

    line = web_component("indexing_line", tell(), elem_id="header")
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    page.load(tell, None, line, **private)
    line.ask(tell, None, line, **private)
    if may_steer:
        line.pause(pause, None, line, **private)
        line.look(look, None, line, **private)


def describe(indexer: FolderIndexer, *, may_steer: bool) -> dict[str, Any]:
    """Return what the line says.

    Args:
        indexer: What indexes the folder.
        may_steer: Whether there are buttons.

    Returns:
        The line's value.
    """
    state, total = indexer.state, len(indexer.library)
    told = state.problem
    if state.total:
        told = f"Indexing: {state.num_done:,} of {state.total:,}"
        if (left := state.seconds_left) is not None:
            told += f", {_duration(left)} left"
        told += "."
    elif state.is_paused:
        told = "Indexing is paused."
    return {
        "images": f"{total:,} image{'s' * (total != 1)}, searched on this machine. "
        "Nothing leaves it.",
        "told": told,
        "share": state.num_done / state.total if state.total else None,
        "version": indexer.version,
        "button": ("look" if state.is_paused or not state.total else "pause") if may_steer else "",
        "is_paused": state.is_paused,
    }


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"
