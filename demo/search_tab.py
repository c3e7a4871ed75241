"""The tab that finds pictures by words."""

import gradio as gr

import clipkit

QUERIES = ("a cat", "sailing boats", "sunset", "a tall tower", "musical instrument", "wild animal")


def build(library: clipkit.PhotoLibrary) -> None:
    """Add the tab's parts to the page that is being built.

    Args:
        library: An indexed folder.
    """

    def search(query: str, count: float) -> list[tuple[str, str]]:
        if not query.strip():
            raise gr.Error("Type what you are looking for, such as: a cat", duration=6)
        try:
            hits = library.search(query, k=int(count))
        except clipkit.ClipkitError as error:
            raise gr.Error(str(error)) from error
        return [(str(hit.path), f"{hit.path.stem}  {hit.similarity:.2f}") for hit in hits]

    with gr.Row():
        query = gr.Textbox(
            label="What are you looking for?", placeholder="a cat", scale=4, elem_id="query"
        )
        count = gr.Slider(1, 24, value=8, step=1, label="How many", scale=1)
        button = gr.Button("Search", variant="primary", scale=0, elem_id="search")
    gallery = gr.Gallery(
        label="Closest first, with the cosine to your words", columns=4, elem_id="found"
    )
    gr.Examples([[words] for words in QUERIES], inputs=[query], label="Try")
    gr.on([query.submit, button.click], search, [query, count], gallery, api_name="search")
