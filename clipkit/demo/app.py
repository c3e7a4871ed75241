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
from clipkit.demo import adapt_tab, classify_tab, search_tab, teach_tab
from clipkit.demo.image_store import ImageStore
from clipkit.demo.model_queue import ModelQueue
from clipkit.demo.server import bind, is_private, make_app, page_address, serve

PREFIX = "clipkit-page-"
HEADER = "<h1>clipkit</h1><p>COUNT images, searched on this machine. Nothing leaves it.</p>"


def build_page(
    library: clipkit.PhotoLibrary, encoder: clipkit.Encoder, *, is_private: bool = False
) -> tuple[gr.Blocks, ImageStore]:
    """Build the page over a folder of images.

    Args:
        library: The folder, indexed.
        encoder: The model of its index; one that does not cache texts logs nothing that visitors
            type.
        is_private: Whether only this machine's user visits it, and may keep what is taught.

    Returns:
        The page, not yet served, and the images that it may show.
    """
    images, queue = ImageStore(library), ModelQueue()
    page: gr.Blocks
    with gr.Blocks(title="clipkit", analytics_enabled=False) as page:
        gr.HTML(
            None, html_template=HEADER.replace("COUNT", f"{len(library):,}"), js_on_load=None,
            apply_default_css=False, elem_id="header",
        )  # fmt: skip
        head = gr.State()  # the classes that a visitor has adapted to
        with gr.Tab("Search"):
            search_tab.build(page, library, encoder, images, queue)
        with gr.Tab("Classify"):
            classify_tab.build(library, encoder, images, queue, head)
        with gr.Tab("Teach"):
            teach_tab.build(page, library, encoder, images, queue, may_keep=is_private)
        with gr.Tab("Adapt"):
            adapt_tab.build(library, encoder, images, queue, head)
    return page, images


def serve_page(
    library: clipkit.PhotoLibrary,
    encoder: clipkit.Encoder,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    allowed: tuple[str, ...] = (),
    tell: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve the page until it is interrupted; its temporary files go with it.

    Args:
        library: The folder, indexed.
        encoder: The model of its index.
        host: The address of this machine to bind to.
        port: The port; None for the first free one.
        allowed: Further names under which the page is reached.
        tell: Called with the page's address once it can be opened.

    Raises:
        InputError: If the address cannot be bound to.
    """
    sweep(Path(tempfile.gettempdir()))
    warnings.simplefilter("ignore", clipkit.ClipkitWarning)  # of what is typed: it is never logged
    with (
        contextlib.closing(bind(host, port)) as bound,
        tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as cache,
    ):
        os.environ["GRADIO_TEMP_DIR"] = cache  # it makes folders there, and shares it with others
        page, images = build_page(library, encoder, is_private=is_private(host, allowed))
        app = make_app(page, images, host=host, allowed=allowed)
        tell(page_address(host, bound))
        serve(page, app, bound)


def sweep(directory: Path) -> None:
    """Remove the files that killed pages left in a directory for temporary files."""
    for left in directory.glob(f"{PREFIX}*"):
        number = left.name.removeprefix(PREFIX).partition("-")[0]
        if not (number.isdecimal() and psutil.pid_exists(int(number))):
            shutil.rmtree(left, ignore_errors=True)
