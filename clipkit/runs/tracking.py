"""Telling the experiment trackers of a run what the metrics log has, without waiting for them."""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from clipkit.errors import TrainingError
from clipkit.files import read_json_object, write_text
from clipkit.progress import Callbacks
from clipkit.runs.trackers import TRACKERS, TrackedRun, Tracker
from clipkit.training.config import RunConfig

Entry = Mapping[str, Any]
"""A line of the metrics log."""

TRACKERS_NAME = "trackers"
_ID_NAME = "run.json"
_PATIENCE = 60.0  # seconds for all trackers together, at the end of a run


@contextmanager
def tracked(
    config: RunConfig, callbacks: Callbacks, *, patience: float = _PATIENCE
) -> Iterator[Callable[[Entry], None]]:
    """Tell the trackers that a run names of every line of its metrics log.

    Each works in a thread of its own, so that one that waits for a network does not hold up the
    training; one that fails is warned of once and told nothing more.

    Args:
        config: The run.
        callbacks: Called with what the trackers say and what fails, in the caller's thread.
        patience: Seconds that all of them may take together when the block ends.

    Yields:
        What is called with each line, those of a resumed run from its beginning: a tracker gets
        those that it does not hold yet.

    Raises:
        TrainingError: If there can be no directory for them.
    """
    if not config.watch.trackers:
        yield lambda entry: None
        return
    directory = Path(config.output) / TRACKERS_NAME
    try:
        directory.mkdir(exist_ok=True)
    except OSError as error:
        raise TrainingError(
            f"{directory} cannot be made: {error.strerror}: move what is there away, or leave out "
            "watch.trackers, which keep what they are told in it"
        ) from error
    run = TrackedRun(
        id=_run_id(directory / _ID_NAME),
        name=Path(config.output).name,
        project=config.watch.tracker_project,
        settings=config.to_dict(),
        directory=directory,
        say=callbacks.say,
    )
    names = dict.fromkeys(config.watch.trackers)
    followers = [_Follower(name, run) for name in names]

    def tell(entry: Entry) -> None:
        for follower in followers:
            follower.tell(entry)
            follower.report(callbacks)

    is_finished = False
    try:
        yield tell
        is_finished = True
    finally:
        for follower in followers:
            follower.end(is_finished=is_finished)
        deadline = time.monotonic() + patience
        for follower in followers:
            follower.wait(max(0.0, deadline - time.monotonic()))
            follower.report(callbacks)


class _Follower:
    """A tracker in a thread, with the lines that wait for it."""

    def __init__(self, name: str, run: TrackedRun) -> None:
        self._name = name
        self._said: list[str] = []
        self._problem = ""
        self._is_warned = False
        self._waiting: SimpleQueue[Entry | bool] = SimpleQueue()  # a bool ends it
        run = replace(run, say=self._said.append)
        # A daemon: a tracker that hangs does not keep the program from ending.
        self._thread = Thread(target=lambda: None, daemon=True)
        with self._noting_problems():
            tracker = TRACKERS[name]()
            self._thread = Thread(target=self._work, args=(tracker, run), daemon=True)
        self._thread.start()

    def tell(self, entry: Entry) -> None:
        """Let the tracker have a line, when it comes to it."""
        if not self._problem:
            self._waiting.put(entry)

    def end(self, *, is_finished: bool) -> None:
        """Let the tracker end, when it has had all lines."""
        self._waiting.put(is_finished)

    def wait(self, seconds: float) -> None:
        """Wait until the tracker has ended, or so long."""
        self._thread.join(seconds)
        if self._thread.is_alive() and not self._problem:
            self._problem = "it does not answer, and may lack the last lines"

    def report(self, callbacks: Callbacks) -> None:
        """Say what the tracker has said, and warn once of what has failed."""
        while self._said:
            callbacks.say(self._said.pop(0))
        if self._problem and not self._is_warned:
            self._is_warned = True
            callbacks.warn(
                f"{self._name} cannot follow this run: {self._problem}. Training is not affected; "
                "metrics.jsonl has all numbers, and what is missing is sent when the run resumes"
            )

    def _work(self, tracker: Tracker, run: TrackedRun) -> None:
        with self._noting_problems():
            held = tracker.start(run)
            while not isinstance(entry := self._waiting.get(), bool):
                if numbers := _new_numbers(entry, held):
                    tracker.log(entry["step"], numbers)
            tracker.end(is_finished=entry)

    @contextmanager
    def _noting_problems(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever a tracker does, training goes on
            text = " ".join(str(error).split())[:300]
            self._problem = f"{type(error).__name__}: {text}" if text else repr(error)


def _new_numbers(entry: Entry, held: Mapping[str, int]) -> dict[str, float]:
    """Return the numbers of a line that a tracker does not hold yet."""
    found = {}
    for name, value in entry.items():
        if isinstance(value, float) and math.isfinite(value):
            try:
                last = held[name]  # not get, which no default of a mapping comes out of
            except KeyError:
                last = -1
            if last < entry["step"]:
                found[name] = value
    return found


def _run_id(path: Path) -> str:
    """Return the name of a run to its trackers, made once and kept in a file."""
    try:
        return str(read_json_object(path, TrainingError)["id"])
    except (TrainingError, KeyError):
        name = uuid.uuid4().hex
        write_text(path, f'{{"id": "{name}"}}\n')
        return name
