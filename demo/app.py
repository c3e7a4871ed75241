"""The demo: search and classify the sample pictures in a browser.

Run by ``make demo``, or ``python -m demo.app [FOLDER]`` for pictures of your own.
"""

import argparse
from pathlib import Path

import gradio as gr

import clipkit
from demo import classify_tab, search_tab

SAMPLES = Path(__file__).parent / "samples"
# Fonts that every system has: the page must not ask the network for any.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def build_page(folder: Path) -> gr.Blocks:
    """Return the page over a folder of pictures.

    Args:
        folder: Its pictures are indexed before the page opens.

    Returns:
        The page, not yet served.
    """
    encoder = clipkit.load()
    library = clipkit.PhotoLibrary.open(folder, encoder)
    library.sync()
    page: gr.Blocks
    with gr.Blocks(title="clipkit", analytics_enabled=False) as page:
        gr.Markdown(f"# clipkit\n{len(library)} pictures, one small model, no network.")
        with gr.Tab("Search"):
            search_tab.build(library)
        with gr.Tab("Classify"):
            classify_tab.build(encoder, folder)
    return page


def main() -> None:
    """Serve the page until it is interrupted."""
    parser = argparse.ArgumentParser(description="Search and classify pictures in a browser.")
    parser.add_argument("folder", nargs="?", type=Path, default=SAMPLES, help="pictures to search")
    parser.add_argument("--port", type=int, help="where to serve (default: the first free one)")
    arguments = parser.parse_args()
    build_page(arguments.folder).launch(
        server_port=arguments.port,
        theme=THEME,
        # The gallery shows pictures where they lie; nothing else of the disk is served.
        allowed_paths=[str(arguments.folder.resolve())],
    )


if __name__ == "__main__":
    main()
