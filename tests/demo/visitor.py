"""A visitor who speaks to the page without a browser, and can send what no browser would."""

import json
import socket
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

API = "gradio_api/"


class Visitor:
    """One session with a page.

    Args:
        address: Where the page is served, with a slash at its end.
        session: The session's name.
    """

    def __init__(self, address: str, session: str = "visitor") -> None:
        self.address = address
        self.session = session
        self.http = httpx.Client(base_url=address, timeout=60, trust_env=False)
        self.config = self.http.get("config").json()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def function(self, name: str) -> int:
        """Return the number of a function, by its public name or by the id of what is clicked.

        "table.save" is what the event "save" of the element "table" calls.
        """
        element, _, event = name.partition(".")
        clicked = {
            component["id"]
            for component in self.config["components"]
            if component["props"].get("elem_id") == element
        }
        for function in self.config["dependencies"]:
            targets = {target for target, kind in function["targets"] if not event or kind == event}
            if function["api_name"] == name or targets & clicked:
                return int(function["id"])
        raise KeyError(name)

    def join(self, function: str, *values: object, event: object = None) -> httpx.Response:
        """Ask for a call of a function, by picking something of an event if there is one."""
        call = {"data": values, "fn_index": self.function(function), "event_data": event}
        return self.post({**call, "session_hash": self.session})

    def post(self, call: object) -> httpx.Response:
        """Send a call as it is: JSON, or bytes that are to be taken for it."""
        body = call if isinstance(call, bytes) else json.dumps(call).encode()
        headers = {"Content-Type": "application/json"}
        return self.http.post(f"{API}queue/join", content=body, headers=headers)

    def messages(self) -> Iterator[dict[str, Any]]:
        """Yield what the page tells this session, until it has told everything."""
        with self.http.stream("GET", f"{API}queue/data?session_hash={self.session}") as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def results(self) -> list[dict[str, Any]]:
        """Return the last message about each call that is under way."""
        return [each for each in self.messages() if each["msg"] == "process_completed"]

    def call(self, function: str, *values: object, event: object = None) -> dict[str, Any]:
        """Return the last message about a call: its output, or its error."""
        response = self.join(function, *values, event=event)
        response.raise_for_status()
        (done,) = self.results()
        return done

    def search(self, words: str, count: int = 8, image: object = None) -> list[dict[str, Any]]:
        """Return the gallery of a search."""
        message = self.call("search", *search_values(words, count, image))
        assert message["success"], message
        gallery: list[dict[str, Any]] = message["output"]["data"][0]["images"]
        return gallery

    def upload(self, data: bytes, name: str = "image.jpg") -> httpx.Response:
        """Send a file."""
        return self.http.post(f"{API}upload", files={"files": (name, data)})


def search_values(words: object, count: object, image: object = None) -> tuple[object, ...]:
    """Return all that a search takes, without filters, in its order; None is for the session."""
    return words, count, None, image, 0, "best", "", "", "", "", 0, ""


def image_value(key: str) -> dict[str, Any]:
    """Return an image as Gradio's clients send it."""
    return {"path": key, "meta": {"_type": "gradio.FileData"}}


def raw_request(
    address: str, target: str | bytes, method: str = "GET", headers: tuple[str, ...] = ()
) -> bytes:
    """Return all that comes back for a request that no client would let through as it is."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port or 80), timeout=60) as connection:
        head = method.encode() + b" " + (target if isinstance(target, bytes) else target.encode())
        lines = [f"Host: {place.netloc}", "Connection: close", *headers]
        if any(line.lower().startswith("host:") for line in headers):
            lines = lines[1:]
        connection.sendall(head + b" HTTP/1.1\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n")
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer
