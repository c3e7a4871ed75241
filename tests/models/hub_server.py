"""A hub on this machine: what the real client gets when it asks for files of repos."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = (".safetensors", ".bin")  # files that the hub names by their SHA-256


@dataclass
class Hub:
    """What the hub answers, and what it was asked."""

    url: str = ""
    commit: str = COMMIT
    files: dict[str, Path] = field(default_factory=dict)  # by name, of every repo
    refusal: tuple[int, str] | None = None  # status and X-Error-Code for whatever is asked
    refuses_downloads: bool = False  # whether the refusal is only for what begins with GET
    asked: list[str] = field(default_factory=list)  # "HEAD name", "GET name"
    revisions: list[str] = field(default_factory=list)  # of each question
    ranges: list[str] = field(default_factory=list)  # of each download; "" is for all of it
    ends_at: int | None = None  # the position at which a download's connection is closed
    stops_at: int | None = None  # the position at which a download waits for `may_go_on`
    shows_only: int | None = None  # how many bytes a download has by its own account
    has_zeros: bool = False  # whether the first thousand bytes of a download are zeros
    ignores_ranges: bool = False
    was_asked: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(
        default_factory=threading.Event
    )  # set, unless a test clears
    may_go_on: threading.Event = field(default_factory=threading.Event)

    def etag(self, name: str) -> str:
        """Return the hash by which the cache knows a file: SHA-256 of large ones, else git's."""
        content = self.files[name].read_bytes()
        if name.endswith(LARGE):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def ask_this_hub(patch: pytest.MonkeyPatch, hub: Hub, cache: Path) -> None:
    """Let the real client ask a hub on this machine, and keep files in a cache of its own."""
    from huggingface_hub import constants

    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Run a hub until the block ends; questions that it was told to keep waiting end then too."""
    hub = Hub()
    hub.may_answer.set()

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.may_answer.set()
        hub.may_go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    def __init__(self, hub: Hub, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)  # which answers

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # of a client that was killed
            super().handle()

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        if "/resolve/" not in self.path:  # the client asks for other things once a process
            self.send_error(404)
            return
        revision, _, name = self.path.partition("/resolve/")[2].partition("/")
        self.hub.asked.append(f"{self.command} {name}")
        self.hub.revisions.append(revision)
        self.hub.was_asked.set()
        self.hub.may_answer.wait()
        is_refused = self.hub.refusal and (self.command == "GET" or not self.hub.refuses_downloads)
        if is_refused or name not in self.hub.files:
            status, code = (self.hub.refusal if is_refused else None) or (404, "EntryNotFound")
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("X-Repo-Commit", self.hub.commit)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send(name)

    def _send(self, name: str) -> None:
        content = self.hub.files[name].read_bytes()
        start = 0
        if self.command == "GET":
            wanted = self.headers.get("Range", "")
            self.hub.ranges.append(wanted)
            if wanted and not self.hub.ignores_ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            content = content[: self.hub.shows_only]
            if self.hub.has_zeros:
                content = bytes(1000) + content[1000:]
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", self.hub.commit)
        self.send_header("ETag", f'"{self.hub.etag(name)}"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if self.command == "GET":
            with contextlib.suppress(OSError):  # the client may have ended
                self._send_body(content, start)

    def _send_body(self, content: bytes, start: int) -> None:
        end = len(content) if self.hub.ends_at is None else self.hub.ends_at
        stop = self.hub.stops_at
        if stop is not None:
            self.wfile.write(content[start : min(stop, end)])
            self.hub.may_go_on.wait()
            start = max(start, stop)
        self.wfile.write(content[start:end])
        if end < len(content):
            self.close_connection = True
