"""The page's tab about the model: what it is, how it does here, and which others there are.

What names paths of this machine, or takes minutes, is for a page that only its own user visits.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import gradio as gr

import clipkit
from clipkit.demo import model_audit, model_fetch
from clipkit.demo.messages import translate
from clipkit.demo.model_queue import ModelQueue
from clipkit.demo.model_switch import ModelSwitch
from clipkit.demo.web_component import web_component

R = TypeVar("R")
_Tell = Callable[[str], None]
_MARKS = {"ok": "fine", "remark": "look at it", "problem": "wrong"}
_HEADER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)  # of a model card: for the hub


class ModelTab:
    """What the tab's events do: each is done once, and its result kept for who asks again.

    Args:
        encoder: The model.
        queue: The queue for the model.
    """

    def __init__(self, encoder: clipkit.Encoder, queue: ModelQueue) -> None:
        self._encoder = encoder
        self._queue = queue
        self._working = asyncio.Lock()
        self._results: dict[str, object] = {}

    async def diagnose(self) -> AsyncIterator[tuple[str, Any]]:
        """Check the model and the machine, as ``clipkit doctor`` does."""
        async for told, found in self._do("checks", self._diagnose):
            yield told, gr.skip() if found is None else found

    async def describe(self) -> AsyncIterator[tuple[str, Any]]:
        """Measure what the model can do, as ``clipkit card`` does."""
        async for told, text in self._do("card", self._make_card):
            yield told, gr.skip() if text is None else gr.Markdown(text, visible=True)

    async def _do(
        self, name: str, work: Callable[[_Tell], R]
    ) -> AsyncIterator[tuple[str, R | None]]:
        """Do long work, one at a time, and yield how far it is, and at the end its result."""
        yield "Waiting for its turn.", None
        async with self._working:
            if name not in self._results:
                job = self._queue.start("model", work)
                try:
                    async for told in job:
                        yield told, None
                except clipkit.ClipkitError as error:
                    raise translate(error) from error
                self._results[name] = job.result
            yield "", self._results[name]  # type: ignore[misc] # what `work` has returned

    def _diagnose(self, tell: _Tell) -> dict[str, Any]:
        tell("Checking the model: it is loaded once more for that.")
        found = [clipkit.diagnose(self._encoder.spec.name), clipkit.diagnose_machine()]
        rows = [
            [_MARKS[check.verdict], check.name, check.figure, check.advice]
            for diagnosis in found
            for check in diagnosis.checks
        ]
        return rows_of("Checks", ["", "What", "Found", "To do"], rows)

    def _make_card(self, tell: _Tell) -> str:
        @contextmanager
        def progress_for(label: str) -> Iterator[clipkit.Progress]:
            yield lambda num_done, total: tell(f"{label}: {num_done:,} of {total or 0:,}")

        callbacks = clipkit.Callbacks(progress_for=progress_for)
        text = clipkit.model_card_text(clipkit.make_model_card(self._encoder, callbacks=callbacks))
        return _HEADER.sub("", text)


def build(
    opened: gr.Tab,
    library: clipkit.PhotoLibrary,
    encoder: clipkit.Encoder,
    queue: ModelQueue,
    *,
    is_private: bool,
    switch: ModelSwitch | None,
) -> None:
    """Add the tab's parts to the page that is being built.

    Args:
        opened: The tab itself.
        library: An indexed folder.
        encoder: The model.
        queue: The queue for the model.
        is_private: Whether only this machine's user visits the page.
        switch: Ends the page, for it to come with another model; None: it cannot.
    """
    with gr.Row():
        with gr.Column(scale=2, min_width=280):
            text_table("model", rows_of("This model", [], facts_of(encoder)))
        if is_private:
            with gr.Column(scale=3, min_width=280):
                models = text_table("models", list_here())
    if not is_private:
        return
    tab = ModelTab(encoder, queue)
    with gr.Row():
        check = gr.Button("Check it", elem_id="check")
        measure = gr.Button("What can it do? (a minute)", elem_id="measure")
    told = gr.Markdown("", elem_id="progress")
    checks = text_table("checks")
    card = gr.Markdown(visible=False, latex_delimiters=[], elem_id="card")
    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    check.click(tab.diagnose, None, [told, checks], **private)
    measure.click(tab.describe, None, [told, card], **private)
    lists = model_fetch.build(library, queue, switch)
    opened.select(
        lambda: (list_here(), *model_fetch.list_again()), None, [models, *lists], **private
    )
    model_audit.build(library, encoder, queue)


def facts_of(encoder: clipkit.Encoder) -> list[list[str]]:
    """Return what decides a model's embeddings, without paths of this machine."""
    rows = [
        ["Name", "a directory of this machine" if _is_path(encoder.name) else encoder.name],
        ["Space", encoder.space_id],
        ["Dimensions", str(encoder.embed_dim)],
        ["Engine", f"{encoder.engine} on {encoder.device}"],
        ["Precision", encoder.precision],
        ["Scores", f"{encoder.scoring.logit_scale:.4g} x cosine"],
    ]
    if (preprocess := getattr(encoder, "preprocess", None)) is not None:
        height, width = preprocess.size
        rows.append(["Images", f"{height} x {width} pixels, {preprocess.interpolation}"])
        rows.append(["Texts", f"up to {encoder.context_length} tokens"])
    return rows


def list_here() -> dict[str, Any]:
    """Return the table of the models that are on this machine."""
    headings = ["Name", "Parameters", "Pixels", "ImageNet, published"]
    return rows_of("On this machine", headings, models_here())


def models_here() -> list[list[str]]:
    """Return the models that load without a network, with what is known of them."""
    return [
        [
            listing.name,
            "" if listing.parameters is None else f"{listing.parameters / 1e6:.0f} M",
            "" if listing.image_size is None else str(listing.image_size),
            "" if listing.imagenet_top1 is None else f"{listing.imagenet_top1:.1%}",
        ]
        for listing in clipkit.list_models()
        if listing.is_here
    ]


def text_table(name: str, value: dict[str, Any] | None = None) -> gr.HTML:
    """Return a table that is only read; its cells are texts, whatever they say."""
    return web_component("text_table", value, elem_id=name)


def rows_of(title: str, headings: list[str], rows: list[list[str]]) -> dict[str, Any]:
    """Return the value of a table."""
    return {"title": title, "headings": headings, "rows": rows}


def _is_path(name: str) -> bool:
    return name.startswith(("local-dir:", "/")) or "\\" in name
