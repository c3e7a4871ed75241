"""Images behind URLs, from a real server on this machine."""

import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from numpy.typing import NDArray

from clipkit.errors import ImageReadError
from clipkit.inputs import urls
from clipkit.inputs.images import read_image


class Site:
    """What the server answers: path -> (status, headers, body); and what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.user_agents: list[str] = []
        self.address = ""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.user_agents.append(self.headers["User-Agent"])
            status, headers, body = site.pages.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield site
        server.shutdown()
        thread.join()


def reason_of(url: str) -> str:
    with pytest.raises(ImageReadError) as caught:
        read_image(url, allow_urls=True)
    assert caught.value.path == url
    return caught.value.reason


def test_image_behind_a_url(
    site: Site, encode: Callable[..., bytes], noise: NDArray[np.uint8]
) -> None:
    site.pages["/a.png"] = (200, {}, encode(noise, "PNG"))
    site.pages["/moved"] = (302, {"Location": "/a.png"}, b"")
    for path in ("/a.png", "/moved"):
        image = read_image(site.address + path, allow_urls=True)
        assert np.array_equal(np.asarray(image.pixels), noise)
    assert all(agent.startswith("clipkit") for agent in site.user_agents)


def test_status_is_the_reason(site: Site) -> None:
    site.pages["/broken"] = (500, {}, b"")
    assert reason_of(site.address + "/none.jpg") == "cannot be fetched: HTTP 404 Not Found"
    assert reason_of(site.address + "/broken") == (
        "cannot be fetched: HTTP 500 Internal Server Error"
    )


def test_answers_that_are_no_image(site: Site) -> None:
    site.pages["/page"] = (200, {}, b"<!DOCTYPE html>")
    site.pages["/empty"] = (200, {}, b"")
    assert reason_of(site.address + "/page") == "is not an image: it starts with '<!DOCTYPE'"
    assert reason_of(site.address + "/empty") == "is empty (0 bytes)"


@pytest.mark.parametrize(
    "target", ["file:///etc/hosts", "ftp://127.0.0.1/a.jpg", "data:image/png;base64,AAAA"]
)
def test_redirects_lead_to_the_web_only(site: Site, target: str) -> None:
    site.pages["/away"] = (302, {"Location": target}, b"")
    reason = reason_of(site.address + "/away")
    assert reason.startswith("cannot be fetched: HTTP 302 ")
    assert f"{target!r}" in reason


def test_redirects_in_a_circle_end(site: Site) -> None:
    site.pages["/circle"] = (302, {"Location": "/circle"}, b"")
    assert reason_of(site.address + "/circle").startswith("cannot be fetched: HTTP 302")


def test_too_large_by_its_own_word(site: Site) -> None:
    site.pages["/large"] = (200, {"Content-Length": "50000001"}, b"x" * 100_000)
    assert reason_of(site.address + "/large") == (
        "cannot be fetched: it is larger than the limit of 50 MB"
    )


def test_too_large_without_a_word(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "MAX_BYTES", 100_000)
    site.pages["/large"] = (200, {"Content-Length": "", "Connection": "close"}, b"x" * 100_001)
    assert "larger than the limit of 0.1 MB" in reason_of(site.address + "/large")


def test_answer_that_ends_early(site: Site) -> None:
    site.pages["/short"] = (200, {"Content-Length": "1000"}, b"x" * 10)
    assert reason_of(site.address + "/short") == (
        "cannot be fetched: the answer ended 990 bytes early"
    )


def test_too_slow_in_all(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "TOTAL_SECONDS", -1.0)
    site.pages["/slow"] = (200, {}, b"x")
    assert reason_of(site.address + "/slow").startswith("cannot be fetched: no answer for 10 sec")


def test_no_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urls, "TIMEOUT_SECONDS", 0.05)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reason = reason_of(f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpg")
    assert reason.startswith("cannot be fetched: no answer for 10 seconds")


def test_nobody_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert reason_of(f"http://127.0.0.1:{port}/a.jpg") == "cannot be fetched: connection refused"


@pytest.mark.parametrize("url", ["http://", "http://[", "http://a b/c.jpg", "https:///a.jpg"])
def test_malformed_urls(url: str) -> None:
    assert reason_of(url).startswith("cannot be fetched: ")
