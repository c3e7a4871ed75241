"""The demo page: search and classify images in a browser.

Run by ``make demo``, or ``python -m demo.app [FOLDER]`` for images of your own. Visitors see
renderings of what is indexed, and nothing else of the disk; see docs/page.md.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import gradio as gr
import psutil

import clipkit
from demo import classify_tab, search_tab
from demo.image_store import ImageStore
from demo.model_queue import ModelQueue
from demo.server import make_app, serve

PREFIX = "clipkit-page-"
SAMPLES = Path(__file__).parent / "samples"


def build_page(folder: Path) -> tuple[gr.Blocks, ImageStore]:
    """Build the page over a folder of images.

    Args:
        folder: Its images are indexed before the page opens.

    Returns:
        The page, not yet served, and the images that it may show.
    """
    encoder = clipkit.load(cache_texts=False)  # what visitors type is never logged
    library = clipkit.PhotoLibrary.open(folder, encoder)
    library.sync()
    images, queue = ImageStore(library), ModelQueue()
    page: gr.Blocks
    with gr.Blocks(title="clipkit", analytics_enabled=False) as page:
        gr.Markdown(f"# clipkit\n{len(library)} images, one small model, no network.")
        with gr.Tab("Search"):
            search_tab.build(library, images, queue)
        with gr.Tab("Classify"):
            classify_tab.build(encoder, images, queue, folder)
    return page, images


def sweep(directory: Path) -> None:
    """Remove the files that killed pages left in a directory for temporary files."""
    for left in directory.glob(f"{PREFIX}*"):
        number = left.name.removeprefix(PREFIX).partition("-")[0]
        if not (number.isdecimal() and psutil.pid_exists(int(number))):
            shutil.rmtree(left, ignore_errors=True)


def main() -> None:
    """Serve the page until it is interrupted."""
    parser = argparse.ArgumentParser(description="Search and classify images in a browser.")
    parser.add_argument("folder", nargs="?", type=Path, default=SAMPLES, help="images to search")
    parser.add_argument("--port", type=int, help="where to serve (default: the first free one)")
    parser.add_argument(
        "--host", default="127.0.0.1",
        help="address to serve at; 0.0.0.0 lets other machines in (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--allow-host", action="append", default=[], metavar="NAME",
        help="a name under which the page is reached, such as a proxy's, with its port if that is "
        "not the usual one; may be repeated",
    )  # fmt: skip
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # after cleaning up
    sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as cache:
        os.environ["GRADIO_TEMP_DIR"] = cache  # it makes folders there, and shares it with others
        page, images = build_page(arguments.folder)
        allowed = tuple(arguments.allow_host)
        app = make_app(page, images, host=arguments.host, allowed=allowed)
        serve(page, app, arguments.host, arguments.port)


if __name__ == "__main__":
    main()
