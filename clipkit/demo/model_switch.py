"""Switching the model of a page that is being served: its server ends, and another takes over."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import gradio as gr

import clipkit
from clipkit.demo.messages import refuse
from clipkit.demo.model_queue import ModelQueue
from clipkit.demo.step_progress import DONE, Step
from clipkit.demo.web_component import QUIET, web_component


class Server(Protocol):
    """What can be told to end, as uvicorn's servers can."""

    should_exit: bool


class ModelSwitch:
    """The model that a page is to be served with next, and the end of the server it has now."""

    def __init__(self) -> None:
        self.encoder: clipkit.Encoder | None = None  # None: nobody has asked for another
        self._server: Server | None = None

    def serve_by(self, server: Server) -> None:
        """Remember the server that has to end."""
        self._server = server

    def to(self, encoder: clipkit.Encoder) -> None:
        """End the server, so that the page comes again with another model."""
        assert self._server is not None
        self.encoder = encoder
        self._server.should_exit = True


class SwitchEvents:
    """What the button does.

    Args:
        switch: What ends the page.
        queue: The queue for the model, in which another one is loaded.
    """

    def __init__(self, switch: ModelSwitch, queue: ModelQueue) -> None:
        self._switch = switch
        self._queue = queue
        self._switching = asyncio.Lock()

    async def switch(
        self, name: str | None, request: gr.Request
    ) -> AsyncIterator[tuple[Step, Any]]:
        """Load another model, and serve the page with it from then on."""
        name = check_is_here(name)
        if self._switching.locked():
            raise refuse("Another model is being loaded: wait for it")
        async with self._switching:

            def work(tell: Callable[[Step], None]) -> clipkit.Encoder:
                return load_compiled(name, tell)

            job = self._queue.start(request.session_hash, work, kind="switch")
            try:
                async for step in job:
                    yield step, gr.skip()
            except clipkit.ClipkitError as error:
                yield DONE, gr.skip()
                raise refuse(str(error)) from error
            # The browser asks again and again from now on, until the other page answers.
            yield {"told": f"The page starts again with {name} …", "share": None}, {"to": name}
            asyncio.get_running_loop().call_later(0.5, self._switch.to, job.result)


def model_names_here() -> list[str]:
    """Return the names of the models that load without a network."""
    return [listing.name for listing in clipkit.list_models() if listing.is_here]


def check_is_here(name: str | None) -> str:
    """Return a chosen model's name; refuse what is none of a model that is here."""
    if name is None or name not in model_names_here():
        raise refuse("Choose a model that is on this machine first")
    return name


def load_compiled(name: str, tell: Callable[[Step], None]) -> clipkit.Encoder:
    """Load a model, compiled before if it would run on torch on the CPU, as commands do."""
    tell({"told": f"Loading {name} …", "share": None})
    encoder = clipkit.load(name, cache_texts="memory")  # what visitors type is never logged
    if encoder.engine == "torch" and encoder.device == "cpu":
        del encoder
        clipkit.compile_model(
            name, progress=lambda step: tell({"told": f"Compiling {name}: {step}", "share": None})
        )
        encoder = clipkit.load(name, cache_texts="memory")
    return encoder


def build(switch: ModelSwitch, queue: ModelQueue, here: gr.Dropdown) -> None:
    """Add the button to the tab that is being built.

    Args:
        switch: What ends the page.
        queue: The queue for the model.
        here: Where a visitor chooses a model.
    """
    events = SwitchEvents(switch, queue)
    button = gr.Button("Search with it from now on", size="sm", elem_id="switch-model")
    told = web_component("progress_line", elem_id="switch-told")
    waiting = web_component("page_restart", elem_id="page-restart")
    button.click(events.switch, here, [told, waiting], **QUIET)
