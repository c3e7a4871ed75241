"""The web application inside the test, over the samples."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.testclient import TestClient

import clipkit
from clipkit.server.serving import Served
from clipkit.server.settings import ServerSettings
from clipkit.web.hosts import AllowedHosts


@contextmanager
def client_of(
    encoder: clipkit.Encoder,
    library: clipkit.PhotoLibrary | None = None,
    settings: ServerSettings | None = None,
) -> Iterator[TestClient]:
    """Run the application of one worker; yield what sends it requests, once it is ready."""
    from clipkit.server.app import make_app

    failures: list[Exception] = []
    settings = settings or ServerSettings(AllowedHosts(frozenset({"testserver"})))
    app = make_app(settings, lambda: Served(encoder, library), failures.append)
    max_pixels = encoder.max_pixels
    with TestClient(app) as client:
        while client.get("/health/ready").status_code != 200:
            assert not failures, failures
        yield client
    encoder.max_pixels = max_pixels


def answer_of(client: TestClient, path: str, body: object, status: int = 200) -> Any:
    """Return the JSON of an answer that has a status."""
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def sentence_of(client: TestClient, path: str, body: object, status: int = 422) -> str:
    """Return the sentence with which a request is refused."""
    fault = answer_of(client, path, body, status)["error"]
    assert set(fault) == {"message", "type", "param", "code"}
    return str(fault["message"])
