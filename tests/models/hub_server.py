"""A hub on this machine: what the real client gets when it asks for files of repos."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the hub answers, and what it was asked."""

    url: str = ""
    files: dict[str, Path] = field(default_factory=dict)  # by name, of every repo
    refusal: tuple[int, str] | None = None  # status and X-Error-Code for whatever is asked
    asked: list[str] = field(default_factory=list)  # "HEAD name", "GET name"
    was_asked: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(
        default_factory=threading.Event
    )  # set, unless a test clears


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Run a hub until the block ends; questions that it was told to keep waiting end then too."""
    hub = Hub()
    hub.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _answer(self) -> None:
            name = self.path.rpartition("/")[2]
            hub.asked.append(f"{self.command} {name}")
            hub.was_asked.set()
            hub.may_answer.wait()
            status, code = hub.refusal or (200, "")
            if not hub.refusal and name not in hub.files:
                status, code = 404, "EntryNotFound"
            content = b"" if code or status != 200 else hub.files[name].read_bytes()
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{name}-etag"')
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.may_answer.set()
        server.shutdown()
        thread.join()
        server.server_close()
