"""The part of the tab Model with models to fetch, and how long the library takes with each."""

import asyncio
import contextlib
import shlex
from collections.abc import AsyncIterator, Callable
from typing import Any

import gradio as gr
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

import clipkit
from clipkit.demo import model_switch
from clipkit.demo.messages import refuse
from clipkit.demo.model_queue import ModelQueue
from clipkit.demo.model_switch import ModelSwitch, check_is_here, model_names_here
from clipkit.demo.step_progress import DONE, Step, told_steps
from clipkit.demo.web_component import QUIET, web_component

GIGABYTES = 4e-9  # a parameter, in float32
ABOUT = (
    "Models come from the Hugging Face hub: fetching one is the only thing on this page that asks "
    "a network. What was interrupted is resumed, and files are checked against the hub's "
    "SHA-256, as `clipkit fetch` does."
)

Shown = tuple[Step, Any, Any]  # how far it is, the models to fetch, and those that are here


class ModelFetcher:
    """What the events of this part do.

    Args:
        library: An indexed folder.
        queue: The queue for the model, which a trial of another model waits for.
    """

    def __init__(self, library: clipkit.PhotoLibrary, queue: ModelQueue) -> None:
        self._library = library
        self._queue = queue
        self._fetching = asyncio.Lock()
        self._threads = CapacityLimiter(1)

    async def fetch(self, name: str | None) -> AsyncIterator[Shown]:
        """Download a model, and list it as one that is here."""
        if name not in {listing.name for listing in clipkit.list_models()}:
            raise refuse("Choose a model of the list first")
        if self._fetching.locked():
            raise refuse("Another model is being fetched: wait for it, or end it by a reload")
        async with self._fetching:
            step, is_left = DONE, False

            def tell(told: Step) -> None:
                nonlocal step
                if is_left:
                    raise _LeftError
                step = told

            def work() -> None:
                clipkit.fetch_model(name, callbacks=told_steps(tell, _in_megabytes))

            task = asyncio.ensure_future(run_sync(work, limiter=self._threads))
            try:
                yield {"told": f"Asking the hub for {name} …", "share": None}, gr.skip(), gr.skip()
                while not task.done():
                    await asyncio.wait([task], timeout=0.3)
                    if step["told"]:
                        yield step, gr.skip(), gr.skip()
                await task
            except clipkit.ClipkitError as error:
                yield DONE, gr.skip(), gr.skip()
                raise refuse(str(error)) from error
            finally:
                is_left = True  # what has come so far is kept, and resumed the next time
                with contextlib.suppress(_LeftError, clipkit.ClipkitError):
                    await task
        done: Step = {"told": f"{name} is here, and loads without a network.", "share": None}
        yield (
            done,
            gr.Dropdown(choices=models_to_fetch(), value=None),
            gr.Dropdown(choices=model_names_here(), value=name),
        )

    async def try_out(
        self, name: str | None, request: gr.Request
    ) -> AsyncIterator[tuple[Step, Any]]:
        """Say how long the library takes with a model, and how the page is started with it."""
        name = check_is_here(name)

        def work(tell: Callable[[Step], None]) -> dict[str, str]:
            return self._try_out(name, tell)

        job = self._queue.start(request.session_hash, work, kind="trial")
        try:
            async for step in job:
                yield step, gr.skip()
        except clipkit.ClipkitError as error:
            yield DONE, gr.skip()
            raise refuse(str(error)) from error
        if not job.is_replaced:
            yield DONE, job.result

    def _try_out(self, name: str, tell: Callable[[Step], None]) -> dict[str, str]:
        tell({"told": f"Loading {name} …", "share": None})
        encoder = clipkit.load(name, cache_texts=False)
        other = clipkit.PhotoLibrary.open(self._library.folder, encoder)
        there = {image.path for image in other.images()} if other.is_indexed else set()
        images = self._library.images()
        if not images:
            raise refuse("Nothing is indexed yet")
        left = [image.path for image in images if image.path not in there]
        tell({"told": f"Trying {name} on images …", "share": None})
        estimate = clipkit.estimate_indexing(encoder, left) if left else None
        return {
            "told": _told(name, encoder, estimate),
            "command": f"clipkit demo {shlex.quote(str(self._library.folder))} --model "
            f"{shlex.quote(name)}",
        }


def _told(name: str, encoder: clipkit.Encoder, estimate: clipkit.IndexingEstimate | None) -> str:
    """Return how long indexing takes, in sentences; None: nothing is left to index."""
    told = f"All images are indexed with {name} already."
    if estimate is not None:
        told = f"With {name} {estimate}; one can search meanwhile."
    if encoder.engine == "torch" and encoder.device == "cpu":
        told += " The first start compiles it, once, which takes some minutes and then saves time."
    return f"{told} Another time the page starts with it by"


def models_to_fetch() -> list[tuple[str, str]]:
    """Return the models that are not here, those to begin with first: what to show, and the name.

    Returns:
        Pairs, as a list to choose from takes them.
    """
    listings = [listing for listing in clipkit.list_models() if not listing.is_here]
    listings.sort(key=lambda listing: listing.recommendation is None)
    return [(_described(listing), listing.name) for listing in listings]


def _described(listing: clipkit.ModelListing) -> str:
    facts = []
    if listing.parameters is not None:
        facts.append(f"{GIGABYTES * listing.parameters:.1f} GB")
    if listing.imagenet_top1 is not None:
        facts.append(f"ImageNet {listing.imagenet_top1:.1%}")
    if listing.recommendation is not None:
        facts += [listing.recommendation.purpose, listing.recommendation.license]
    return f"{listing.name} ({', '.join(facts)})" if facts else listing.name


def _in_megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count < 1e8 else f"{count / 1e6:,.0f} MB"


class _LeftError(Exception):
    """The visitor of a download has left."""


def list_again() -> tuple[gr.Dropdown, gr.Dropdown]:
    """Return what there is to fetch and what is here as it is now."""
    return gr.Dropdown(choices=models_to_fetch()), gr.Dropdown(choices=model_names_here())


def build(
    library: clipkit.PhotoLibrary, queue: ModelQueue, switch: ModelSwitch | None
) -> tuple[gr.Dropdown, gr.Dropdown]:
    """Add this part to the tab that is being built, of a page for this machine.

    Args:
        library: An indexed folder.
        queue: The queue for the model.
        switch: Ends the page, for it to come with another model; None: it cannot.

    Returns:
        The lists of what can be fetched and of what is here.
    """
    events = ModelFetcher(library, queue)
    with gr.Accordion("Fetch another model, and search with it", open=False, elem_id="fetching"):
        gr.Markdown(ABOUT)
        with gr.Row():
            wanted = gr.Dropdown(
                models_to_fetch(), value=None, label="Models to fetch", scale=4, min_width=260,
                info="Those to begin with first; type to search", elem_id="to-fetch",
            )  # fmt: skip
            fetch = gr.Button("Fetch", scale=1, min_width=120, elem_id="fetch")
        fetched = web_component("progress_line", elem_id="fetch-told")
        with gr.Row():
            here = gr.Dropdown(
                model_names_here(), value=None, label="Search with", scale=4, min_width=260,
                info="A model that is on this machine", elem_id="search-with",
            )  # fmt: skip
            trial = gr.Button(
                "How long would it take?", scale=1, min_width=120, elem_id="try-model"
            )
        tried = web_component("progress_line", elem_id="trial-told")
        answer = web_component("command_line", elem_id="trial")
        if switch is not None:
            model_switch.build(switch, queue, here)
        fetch.click(events.fetch, wanted, [fetched, wanted, here], **QUIET)
        trial.click(events.try_out, here, [tried, answer], **QUIET)
    return wanted, here
