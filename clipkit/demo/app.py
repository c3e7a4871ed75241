"""The page as a whole: its tabs over one indexed folder, and serving it until it is interrupted.

Run by ``clipkit demo [FOLDER]``. Visitors see renderings of what is indexed, and nothing else of
the disk; see docs/page.md.
"""

import contextlib
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import psutil

import clipkit
from clipkit.demo import (
    adapt_tab,
    classify_tab,
    indexing_line,
    map_tab,
    model_tab,
    search_tab,
    teach_tab,
)
from clipkit.demo.folder_indexer import FolderIndexer
from clipkit.demo.image_store import ImageStore
from clipkit.demo.model_switch import ModelSwitch
from clipkit.demo.server import is_private, make_app, serve
from clipkit.demo.shared_map import SharedMap
from clipkit.web.listening import bind, shown_address

PREFIX = "clipkit-page-"


def build_page(
    encoder: clipkit.Encoder,
    indexer: FolderIndexer,
    *,
    is_private: bool = False,
    switch: ModelSwitch | None = None,
) -> tuple[gr.Blocks, ImageStore, SharedMap]:
    """Build the page over a folder of images.

    Args:
        encoder: The model of the folder's index; one that does not cache texts logs nothing that
            visitors type.
        indexer: Indexes the folder while the page is served.
        is_private: Whether only this machine's user visits it, and may steer the indexing and keep
            what is taught.
        switch: Ends the page, for it to come with another model; None: it cannot.

    Returns:
        The page, not yet served, the images that it may show, and the map.
    """
    library, queue = indexer.library, indexer.queue
    images = ImageStore(library)
    shared = SharedMap(library, encoder, images)
    page: gr.Blocks
    with gr.Blocks(title="clipkit", analytics_enabled=False) as page:
        indexing_line.build(page, indexer, may_steer=is_private)
        head = gr.State()  # the classes that a visitor has adapted to
        with gr.Tabs(overflow_behavior="wrap"):  # else a phone hides some behind a menu
            with gr.Tab("Search"):
                search_tab.build(page, library, encoder, images, indexer)
            with gr.Tab("Classify"):
                classify_tab.build(library, encoder, images, queue, head)
            with gr.Tab("Teach"):
                teach_tab.build(page, library, encoder, images, queue, may_keep=is_private)
            with gr.Tab("Adapt"):
                adapt_tab.build(library, encoder, images, queue, head)
            if is_private or map_tab.is_installed():
                with gr.Tab("Map") as tab:
                    map_tab.build(tab, shared, queue, may_make=is_private)
            with gr.Tab("Model") as tab:
                model_tab.build(tab, library, encoder, queue, is_private=is_private, switch=switch)
    return page, images, shared


def serve_page(  # noqa: PLR0913 - what the command's options say
    encoder: clipkit.Encoder,
    indexer: FolderIndexer,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    allowed: tuple[str, ...] = (),
    has_mcp: bool = False,
    tell: Callable[[str], None] = lambda address: None,
) -> tuple[clipkit.Encoder | None, int]:
    """Serve the page until it is interrupted or its model switched; its temporary files go with it.

    Args:
        encoder: The model of the folder's index.
        indexer: Indexes the folder meanwhile.
        host: The address of this machine to bind to.
        port: The port; None for the first free one.
        allowed: Further names under which the page is reached.
        has_mcp: Whether its functions are tools of an MCP server too, which needs the extra "mcp".
        tell: Called with the page's address once it can be opened.

    Returns:
        The model that it is to be served with from now on, None if it was interrupted; and its
        port.

    Raises:
        InputError: If the address cannot be bound to, or the folder not be indexed as asked.
    """
    sweep(Path(tempfile.gettempdir()))
    warnings.simplefilter("ignore", clipkit.ClipkitWarning)  # of what is typed: it is never logged
    with (
        contextlib.closing(bind(host, port)) as bound,
        tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as cache,
    ):
        os.environ["GRADIO_TEMP_DIR"] = cache  # it makes folders there, and shares it with others
        indexer.begin()
        switch = ModelSwitch()
        page, images, shared = build_page(
            encoder, indexer, is_private=is_private(host, allowed), switch=switch
        )
        app = make_app(
            page, images, host=host, allowed=allowed, shared=shared, meanwhile=indexer.running,
            has_mcp=has_mcp,
        )  # fmt: skip
        tell(shown_address(host, bound))
        number: int = bound.getsockname()[1]
        serve(page, app, bound, switch)
        return switch.encoder, number


def sweep(directory: Path) -> None:
    """Remove the files that killed pages left in a directory for temporary files."""
    for left in directory.glob(f"{PREFIX}*"):
        number = left.name.removeprefix(PREFIX).partition("-")[0]
        if not (number.isdecimal() and psutil.pid_exists(int(number))):
            shutil.rmtree(left, ignore_errors=True)
