"""The page's tab with the map of the library: similar images close together."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import gradio as gr
from anyio.to_thread import run_sync

import clipkit
from clipkit.demo.classify_request import read_labels
from clipkit.demo.messages import translate
from clipkit.demo.model_queue import ModelQueue
from clipkit.demo.shared_map import MAX_MAPPED, SharedMap
from clipkit.demo.web_component import QUIET, web_component

ABOUT = (
    "Every image is a point, and similar ones lie close together. How far apart two groups are, "
    "and where on the map they lie, means little."
)
TO_MAKE = (
    "There is no map of this folder yet. Making one takes some twenty seconds, more for thousands "
    "of images, with searches in between."
)
NONE_YET = (
    "There is no map of this folder yet. Who runs this page makes one with  clipkit map FOLDER, or "
    "on the page as their own machine shows it."
)
TO_INSTALL = 'The map needs  pip install "clipkit[map]"  on the machine that serves this page.'

_Tell = Callable[[str], None]


class MapTab:
    """What the tab's events do; one map is made at a time, for all visitors.

    Args:
        shared: The map.
        queue: The queue for the model, which reads the labels.
        may_make: Whether visitors may have the map made.
    """

    def __init__(self, shared: SharedMap, queue: ModelQueue, *, may_make: bool) -> None:
        self._shared = shared
        self._queue = queue
        self._may_make = may_make
        self._making = asyncio.Lock()

    async def open(self) -> AsyncIterator[tuple[str, Any]]:
        """Show the map that there is, as the tab is opened."""
        if not self._shared.is_made and await run_sync(self._shared.is_laid_out):
            async for told in self._make((), is_wanted=lambda: not self._shared.is_made):
                yield told, gr.skip()
        if not self._shared.is_made:
            yield TO_MAKE if self._may_make else NONE_YET, None
            return
        yield await run_sync(self._show)

    async def make(self, labels: str) -> AsyncIterator[tuple[str, Any]]:
        """Make the map anew, and show it."""
        async for told in self._make(read_labels(labels)):
            yield told, gr.skip()
        yield await run_sync(self._show)

    def _show(self) -> tuple[str, Any]:
        """Return the line above the map, and the map."""
        try:
            plot = self._shared.plot()
        except clipkit.ClipkitError as error:
            raise translate(error) from error
        if plot is None:
            return NONE_YET, None
        count = len(plot["x"])
        told = f"{count:,} images."
        if count == MAX_MAPPED:
            told = f"The newest {count:,} images; clipkit map shows all of them."
        elif plot["num_new"]:
            told += f" {plot['num_new']:,} were indexed after the map was made."
        return told, plot

    async def _make(
        self, labels: Sequence[str], is_wanted: Callable[[], bool] = lambda: True
    ) -> AsyncIterator[str]:
        """Make the map when it is its turn, and yield how far it is."""
        if self._making.locked():
            yield "Somebody else is having a map made: waiting for that."
        async with self._making:
            if not is_wanted():
                return

            def work(tell: _Tell) -> None:
                self._work(labels, tell)

            job = self._queue.start("map", work)
            last = ""
            try:
                async for told in job:
                    if told != last:
                        yield told
                    last = told
            except clipkit.ClipkitError as error:
                raise translate(error) from error

    def _work(self, labels: Sequence[str], tell: _Tell) -> None:
        started = time.monotonic()

        @contextmanager
        def progress_for(label: str) -> Iterator[clipkit.Progress]:
            def tell_progress(done: int, total: int | None) -> None:
                seconds = f"{time.monotonic() - started:.0f} s"
                share = f"{done:,} of {total:,}" if total else seconds
                tell(f"{label[:1].upper()}{label[1:]}: {share} …")

            yield tell_progress

        tell("Reading the index …")
        self._shared.make(labels, clipkit.Callbacks(warn=_say_nothing, progress_for=progress_for))


def _say_nothing(line: str) -> None:
    """Leave out a warning: labels are never logged."""


def is_installed() -> bool:
    """Return whether a map can be made and shown here."""
    return find_spec("embedding_atlas") is not None


def build(tab: gr.Tab, shared: SharedMap, queue: ModelQueue, *, may_make: bool) -> None:
    """Add the tab's parts to the page that is being built.

    Args:
        tab: Itself; the map comes as it is opened, for it may be large.
        shared: The map.
        queue: The queue for the model.
        may_make: Whether visitors may have the map made.
    """
    gr.Markdown(ABOUT)
    if not is_installed():
        gr.Markdown(TO_INSTALL, elem_id="map-told")
        return
    events = MapTab(shared, queue, may_make=may_make)
    if may_make:
        with gr.Row(elem_id="map-asking"):
            labels = gr.Textbox(
                label="Labels to colour by", info="May be empty; each image gets the best of them",
                placeholder="people, city, sea, mountains, food", max_lines=1, scale=4,
                min_width=260, elem_id="map-labels",
            )  # fmt: skip
            button = gr.Button("Make the map", scale=1, min_width=150, elem_id="make-map")
    told = web_component("status_line", "", elem_id="map-told")
    plot = web_component("map_plot", elem_id="map")
    tab.select(events.open, None, [told, plot], **QUIET)
    if may_make:
        gr.on([button.click, labels.submit], events.make, labels, [told, plot], **QUIET)
