"""The page attacked by somebody who knows its code: nothing gets out, nothing gets in."""

import html
import io
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from PIL import Image

import clipkit
from tests.conftest import ROOT, SAMPLES
from tests.demo.conftest import WARNINGS, served, watched
from tests.demo.visitor import API, Visitor, image_value, raw_request, search_values

pytest.importorskip("gradio", reason='the demo needs  pip install "clipkit[demo]"')

pytestmark = [pytest.mark.slow, *WARNINGS]

SECRET = b"PRIVATE-KEY-THAT-NOBODY-MAY-SEE"
GPS = 34853  # the EXIF tag of where a photograph was taken
MARKUP = "<img src=nowhere onerror=document.title=1>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with things in it that are nobody's business, and its index inside."""
    folder = tmp_path_factory.mktemp("own") / "images"
    (folder / ".ssh").mkdir(parents=True)
    (folder / ".ssh" / "id_rsa").write_bytes(SECRET)
    (folder / "notes.txt").write_bytes(SECRET)
    outside = folder.parent / "outside.txt"
    outside.write_bytes(SECRET)
    (folder / "link.jpg").symlink_to(outside)
    shutil.copy(SAMPLES / "owl.jpg", folder / ".hidden.jpg")
    shutil.copy(SAMPLES / "castle.jpg", folder / f"{MARKUP}.jpg")
    with Image.open(SAMPLES / "cat.jpg") as cat:
        exif = cat.getexif()
        exif[GPS] = {1: "N", 2: (52.0, 31.0, 0.0)}
        exif[315] = SECRET.decode()  # the artist
        cat.resize((3000, 2000)).save(folder / "cat.jpg", exif=exif, quality=95)
    with Image.open(SAMPLES / "dog.jpg") as dog:
        dog.save(folder / "dog.tif")
    return folder


@pytest.fixture(scope="module")
def own_address(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A page over that folder."""
    clipkit.PhotoLibrary.open(folder, clipkit.load(cache_texts=False), keep_here=True).sync()
    with served(folder, tmp_path_factory.mktemp("home")) as address:
        yield address


@pytest.fixture
def visitor(own_address: str, request: pytest.FixtureRequest) -> Iterator[Visitor]:
    with Visitor(own_address, re.sub(r"\W", "-", request.node.name)[:60]) as visitor:
        yield visitor


def test_files_of_the_disk_are_not_served(own_address: str, folder: Path) -> None:
    plain = [
        folder / ".ssh" / "id_rsa", folder / "notes.txt", folder / "link.jpg", folder / "cat.jpg",
        folder / ".hidden.jpg", folder / ".clipkit", *(folder / ".clipkit").iterdir(),
        Path("/etc/passwd"), Path(__file__), folder / ".." / "outside.txt",
    ]  # fmt: skip
    paths = [str(path) for path in plain]
    hidden = paths[0]
    paths += [hidden.replace("/", "%2f"), hidden.replace(".", "%2e"), hidden.replace("/", "\\")]
    paths += [hidden + "%00.jpg", hidden + "?x=.jpg", "file://" + hidden, "../../../etc/passwd"]
    paths += ["..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "..%c0%af..%c0%afetc/passwd"]
    paths += ["%252e%252e%252fetc%252fpasswd", "http://127.0.0.1:1/", "~/.ssh/id_rsa", ""]
    doors = [
        "/gradio_api/file=", "/gradio_api/file/", "/file=", "/static/", "/assets/", "/",
        "/assets/..", "/static/../", "/svelte/", "/gradio_api/proxy=", "//",
    ]  # fmt: skip
    for door in doors:
        for path in paths:
            for method in ("GET", "HEAD"):
                answer = raw_request(own_address, f"{door}{path}", method, ("Range: bytes=0-99",))
                if (door, path) not in {("/", ""), ("/", "?x=")}:
                    assert re.match(rb"HTTP/1.1 (400|403|404)", answer), (door, path, answer[:200])
                assert SECRET not in answer
                assert b"root:" not in answer


def test_only_ids_that_were_given_out_are_shown(visitor: Visitor) -> None:
    key = visitor.search("a cat")[0]["image"]["path"]
    assert visitor.http.get(f"{API}file={key}").status_code == 200
    last = "0" if key[0] != "0" else "1"
    for other in (last + key[1:], key[:-1], key + "x", key.upper() + "/", "0" * 32, f"/{key}"):
        assert visitor.http.get(f"{API}file={other}").status_code == 404, other


def test_an_image_is_sent_as_a_small_jpeg_without_its_metadata(
    visitor: Visitor, folder: Path
) -> None:
    gallery = visitor.search("a cat", 8)
    assert len(gallery) == 3  # nothing hidden, no link to what is no image
    for item in gallery:
        path = item["image"]["path"]
        for key, side in ((path, 480), (path.removesuffix("-small"), 1600)):
            answer = visitor.http.get(f"{API}file={key}?whatever=..", headers={"Range": "bytes=0-"})
            with Image.open(io.BytesIO(answer.content)) as image:
                assert image.format == "JPEG"
                assert max(image.size) <= side
                assert not image.getexif()
            assert SECRET not in answer.content
            assert answer.headers["content-type"] == "image/jpeg"
            head = visitor.http.head(f"{API}file={key}")
            assert (head.status_code, head.content) == (200, b"")
    small = visitor.http.get(f"{API}file={gallery[0]['image']['path']}").content
    assert len(small) < (folder / "cat.jpg").stat().st_size / 20


@pytest.mark.parametrize(
    "headers",
    [
        ["Host: evil.example"],
        ["Host: evil.example:{port}"],
        ["Host: localhost.evil.example"],
        ["Host: 127.0.0.1.evil.example:{port}"],
        ["Host: 10.0.0.1"],
        ["Host: "],
        ["Host: localhost", "Host: evil.example"],
        ["Host: user@evil.example@localhost:x"],
        ["Host: [::1"],
        ["Host: localhost", "X-Forwarded-Host: evil.example"],
        ["Host: localhost", "X-Forwarded-Host: localhost, evil.example"],
        ["Host: localhost", "Origin: http://evil.example"],
        ["Host: localhost:{port}", "Origin: http://localhost:1"],
        ["Host: localhost:{port}", "Origin: http://127.0.0.1:1"],  # of the address it is bound to
        ["Host: 127.0.0.1:{port}", "Origin: http://127.0.0.1"],
        ["Host: localhost", "X-Forwarded-Host: localhost", "X-Forwarded-Host: evil.example"],
        ["Host: localhost", "Origin: null"],
        ["Host: localhost", "Origin: file://"],
        ["Host: localhost", "Origin: http://["],
        ["Host: localhost", "Upgrade: websocket", "Connection: upgrade", "Origin: http://evil.example"],
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/"), ("GET", "/config"), ("POST", "/gradio_api/queue/join"),
     ("POST", "/gradio_api/upload"), ("GET", "/gradio_api/queue/data?session_hash=a"),
     ("OPTIONS", "/gradio_api/queue/join")],
)  # fmt: skip
def test_other_sites_and_names_are_refused(
    own_address: str, method: str, target: str, headers: list[str]
) -> None:
    port = own_address.rstrip("/").rpartition(":")[2]
    lines = tuple(line.format(port=port) for line in headers)
    answer = raw_request(own_address, target, method, lines)
    assert re.match(rb"HTTP/1.1 (400|403)", answer), answer[:200]
    assert b"access-control-allow-origin" not in answer.lower()


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:7860"])
def test_local_names_are_answered_with_their_own_origin(own_address: str, name: str) -> None:
    lines = (f"Host: {name}", f"Origin: http://{name}")
    assert raw_request(own_address, "/config", headers=lines).startswith(b"HTTP/1.1 200")


def test_names_that_the_owner_lists_are_answered(folder: Path, tmp_path: Path) -> None:
    with served(folder, tmp_path, allowed=("Photos.example",)) as address:
        # A proxy may hand on the name, or its own.
        for lines in (
            ("Host: photos.example", "Origin: https://photos.example"),
            ("Host: localhost", "Origin: https://photos.example"),
            ("Host: localhost", "X-Forwarded-Host: photos.example"),
        ):  # fmt: skip
            assert raw_request(address, "/config", headers=lines).startswith(b"HTTP/1.1 200")
        for line in (
            "Host: other.example",
            "Host: photos.example\r\nOrigin: https://other.example",
            "Host: photos.example\r\nOrigin: https://photos.example:8443",
        ):
            assert raw_request(address, "/config", headers=(line,)).startswith(b"HTTP/1.1 403")


def test_at_every_address_numbers_are_answered_and_names_are_not(
    folder: Path, tmp_path: Path
) -> None:
    with served(folder, tmp_path, host="0.0.0.0") as address:
        for host, status in (("192.168.1.5:7860", 200), ("[fe80::1]", 200), ("evil.example", 403)):
            answer = raw_request(address, "/config", headers=(f"Host: {host}",))
            assert answer.startswith(f"HTTP/1.1 {status}".encode()), host


@pytest.mark.parametrize(
    "target",
    ["gradio_api/proxy=https://a.hf.space/", "gradio_api/openapi.json", "gradio_api/deep_link",
     "gradio_api/runs", "gradio_api/run-history/buckets", "gradio_api/vibe-code", "monitoring",
     "monitoring/summary", "gradio_api/queue/status", "gradio_api/call/search", "login", "logout",
     "gradio_api/component_server", "gradio_api/run/search", "gradio_api/api/search", "docs",
     "gradio_api/process_recording", "gradio_api/stream/a", "gradio_api/token", "openapi.json",
     "gradio_api/custom_component/1/client/component/x.js", "gradio_api/login_check", "redoc",
     "gradio_api/dev/reload", "gradio_api/profiling/traces", "gradio_api/mcp", "pwa_icon"],
)  # fmt: skip
def test_what_the_page_does_not_need_is_not_there(visitor: Visitor, target: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert visitor.http.request(method, target).status_code == 404


def test_a_payload_names_no_file_and_no_address(visitor: Visitor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there = f"http://127.0.0.1:{listener.getsockname()[1]}/x.jpg"
        known = visitor.search("a cat")[0]["image"]["path"]
        for value in (
            image_value("/etc/passwd"),
            image_value(there),
            image_value("x.svg"),
            {**image_value("0" * 32), "url": there},
            {"path": "/etc/passwd"},
            {"url": "data:image/png;base64,AAAA"},
            {"path": None, "url": there},
            {"path": [known]},
            [image_value(known)],
            {"value": image_value("/etc/passwd"), "__type__": "update"},
        ):
            for values in (search_values(value, 8), search_values("a", 8, value)):
                response = visitor.join("search", *values)
                assert response.status_code == 422, (value, response.text)
        # An address beside a known id is not followed, and what a state holds is not the client's.
        found = visitor.search("", image={**image_value(known), "url": there, "is_stream": True})
        assert found
        assert not select.select([listener], [], [], 0)[0], "somebody was sent to fetch"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b"\xff", b'{"data": 1}', b"[" * 100_000, b'{"data": [NaN]}',
     b'{"data": [], "session_hash": 1}', b'{"data": [], "session_hash": "../a"}',
     b'{"data": [], "session_hash": "a", "fn_index": "x"}',
     b'{"data": [], "session_hash": "a", "fn_index": -1}',
     b'{"data": [1e999], "session_hash": "a", "fn_index": true}',
     json.dumps({"data": [1] * 17, "session_hash": "a"}).encode()],
    ids=lambda body: body[:30].decode(errors="replace"),
)  # fmt: skip
def test_a_call_that_is_none_is_refused(visitor: Visitor, body: bytes) -> None:
    response = visitor.post(body)
    assert response.status_code == 422
    assert "detail" in response.json()  # what Gradio's script shows


def test_marks_are_images_that_were_given_out(visitor: Visitor) -> None:
    visitor.search("a cat")
    (own,) = visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()
    for value in ("/etc/passwd", "0" * 32, own, [own], {"path": own}, 1, None):
        response = visitor.join("more", None, event={"index": 0, "value": value})
        assert response.status_code == 200
        (message,) = visitor.results()
        assert message["output"]["error"] == "Pick an image of the results first", value


def test_a_selection_is_of_images_that_were_found(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = visitor.search("a cat", 1)[0]["image"]["path"]
    for index in (["/etc/passwd"], [key, "0" * 32], [{"path": key}], [[key]], {"a": 1}, "a"):
        event: Any = {"index": index, "value": "list", "selected": False}
        assert visitor.join("take", None, event=event).status_code == 422, index
    for value in ("list", "delete", "../x", None):
        event = {"index": [key], "value": value, "selected": False}
        visitor.join("take", None, event=event).raise_for_status()
        (message,) = visitor.results()
        if value == "list":
            assert message["output"]["data"][0]["text"] == "cat.jpg\n"
        else:
            assert message["output"]["error"] == "Select images first"
    (own,) = visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()
    visitor.join("take", None, event={"index": [own], "value": "list", "selected": False})
    (message,) = visitor.results()
    assert message["output"]["data"][0]["text"] == ""  # an upload is not of the library
    monkeypatch.setattr("clipkit.demo.search_tab.MAX_LISTED", 2)
    visitor.search("")
    visitor.join("take", None, event={"index": [], "value": "list", "selected": True})
    (message,) = visitor.results()
    assert message["output"]["error"] == "Up to 2 images at a time, 3 are selected"


def test_uploads_over_the_limit_are_refused_early(visitor: Visitor) -> None:
    from clipkit.demo.request_filter import MAX_UPLOAD

    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
        while sent < 2**30:
            sent += 2**20
            yield bytes(2**20)

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    try:
        answer = visitor.http.post(f"{API}upload", content=endless(), headers=headers)
        assert answer.status_code == 413
    except httpx.TransportError:
        pass  # the door was shut while the rest was on its way
    assert sent < 2 * MAX_UPLOAD + 2**24
    lines = ("Content-Type: multipart/form-data; boundary=x", f"Content-Length: {2**30}")
    assert raw_request(visitor.address, f"/{API}upload", "POST", lines).startswith(b"HTTP/1.1 413")


def test_a_body_is_counted_whatever_it_says_of_itself(folder: Path) -> None:
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from clipkit.demo.image_store import ImageStore
    from clipkit.demo.request_filter import MAX_CALL, MAX_UPLOAD, RequestFilter
    from clipkit.demo.server import _add_image_routes

    app = FastAPI()
    _add_image_routes(app, ImageStore(clipkit.PhotoLibrary.open(folder)))
    http = TestClient(RequestFilter(app, check_call=json.loads), base_url="http://localhost")
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    parts = iter([head, *(bytes(2**20) for _ in range(MAX_UPLOAD // 2**20 + 1))])
    answer = http.post(f"/{API}upload", content=parts, headers=form)
    assert answer.status_code == 413
    assert answer.json()["detail"] == "an image may have up to 34 MB"
    text = iter([b'"', *(b"a" * 1000 for _ in range(MAX_CALL // 1000 + 1)), b'"'])
    answer = http.post(f"/{API}queue/join", content=text)
    assert answer.status_code == 413
    assert answer.json()["detail"] == "this may have up to 131 kB: give less text"
    for length in ("-1", "1e9", "", "9" * 30):
        headers = {**form, "Content-Length": length}
        assert http.post(f"/{API}upload", headers=headers).status_code == 413


def test_what_is_no_image_is_not_kept(visitor: Visitor) -> None:
    for data in (b"", SECRET, b"<svg xmlns='http://www.w3.org/2000/svg'/>", bytes(2**20)):
        response = visitor.upload(data, f"../../{MARKUP}.jpg")
        assert response.status_code == 415
        assert "<" not in response.text
    assert visitor.http.post(f"{API}upload", data={"files": "text"}).status_code == 400
    two = [("files", ("a.jpg", b"x")), ("files", ("b.jpg", b"x"))]
    assert visitor.http.post(f"{API}upload", files=two).status_code == 400
    assert visitor.http.post(f"{API}upload", content=b"x").status_code == 400


def test_an_upload_of_any_kind_is_seen_as_jpeg_and_found(visitor: Visitor) -> None:
    file = io.BytesIO()
    with Image.open(SAMPLES / "cat.jpg") as cat:
        cat.save(file, "TIFF")
    (key,) = visitor.upload(file.getvalue(), "cat.tif").json()
    assert re.fullmatch("[0-9a-f]{32}", key)  # no path of the server
    with Image.open(io.BytesIO(visitor.http.get(f"{API}file={key}").content)) as image:
        assert image.format == "JPEG"
    assert visitor.search("", image=image_value(key))[0]["caption"].startswith("cat ")


def test_uploads_are_kept_up_to_a_number_of_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipkit.demo import image_store

    store = image_store.ImageStore(clipkit.PhotoLibrary.open(folder))
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(
        file, "PNG"
    )
    first = store.upload(file.getvalue(), "a.png")
    size = len(store.render(first) or b"")
    monkeypatch.setattr(image_store, "MAX_UPLOADED_BYTES", 2 * size)
    second, third = (store.upload(file.getvalue(), "a.png") for _ in range(2))
    assert [key in store for key in (first, second, third)] == [False, True, True]


def test_labels_and_words_are_bounded(visitor: Visitor) -> None:
    (key,) = visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()
    image = image_value(key)
    for labels, told in (
        (",".join(f"thing {number}" for number in range(201)), "200 labels at most"),
        ("a" * 101, "up to 100 characters"),
        (" , ", "at least one class name is needed"),
    ):
        message = visitor.call("classify", image, labels, False)
        assert told in message["output"]["error"]
    message = visitor.call("search", *search_values("a" * 501, 8))
    assert "up to 500 characters" in message["output"]["error"]
    many = ",".join(f"label {number}" for number in range(50_000))
    assert visitor.join("classify", image, many, False).status_code == 413
    for count in (0, 25, 10**400, -1, None, "many"):
        assert not visitor.call("search", *search_values("a cat", count))["success"]


MINE, BEST = "My images, above", "One of the labels"


def classify(visitor: Visitor, tray: object, labels: str = "owl, cat", **other: object) -> Any:
    """Return the last message about a classification of several images."""
    values = {"where": MINE, "answer": BEST, "templates": "", "domain": "", **other}
    asked = (values["answer"], values["templates"], values["domain"])
    return visitor.call("classify-images", values["where"], tray, labels, *asked, None)


def test_a_tray_holds_what_the_page_gave_out_and_nothing_else(visitor: Visitor) -> None:
    (key,) = visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()
    for other in ("/etc/passwd", "http://127.0.0.1:1/x.jpg", "0" * 32, "../" + key, key.upper()):
        message = classify(visitor, f"{key} {other}")
        assert "not here any more" in message["output"]["error"], other
    for value in ([key], image_value(key), 7, {"path": key}):
        response = visitor.join("classify-images", MINE, value, "owl, cat", BEST, "", "", None)
        if response.status_code == 200:
            (done,) = (each for each in visitor.messages() if each["msg"] == "process_completed")
            assert not done["success"], value
    (row,) = classify(visitor, key)["output"]["data"][0]["rows"]
    assert row["image"] == f"{key}-small"


def test_what_is_asked_of_a_classification_is_bounded(visitor: Visitor) -> None:
    (key,) = visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()
    many = " ".join(visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()[0] for _ in range(51))
    for asked, told in (
        (classify(visitor, many), "Up to 50 images"),
        (classify(visitor, key, ",".join(map(str, range(201)))), "200 labels at most"),
        (classify(visitor, key, templates="{}\n" * 11), "Up to 10 templates"),
        (classify(visitor, key, templates="{}" + "a" * 200), "200 characters each"),
        (classify(visitor, key, templates="a photo"), "exactly one {}"),
        (classify(visitor, key, domain="a" * 41), "up to 40 characters"),
        (classify(visitor, key, answer="All"), "is not in the list of choices"),
        (classify(visitor, key, where="/etc"), "is not in the list of choices"),
        (classify(visitor, key, where="../.."), "is not in the list of choices"),
    ):
        assert told in html.unescape(asked["output"]["error"])


def test_details_are_of_what_the_visitor_has_classified(visitor: Visitor) -> None:
    (key,) = visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()
    fake = {"images": [{"source": {"content": "/etc/passwd"}}]}
    for element, told in (("table.pick", "Pick an image"), ("scores.explain", "Pick a label")):
        assert visitor.join(element, fake, event={"index": 0}).status_code == 422
        message = visitor.call(element, "/etc/passwd", event={"index": 0})
        assert told in message["output"]["error"]
    assert "Classify some" in visitor.call("table.save", "/etc/passwd")["output"]["error"]
    classify(visitor, key)
    assert visitor.call("scores.explain", None, event={"index": 1})["success"]
    for element, index in (("table.pick", 1), ("scores.explain", 2)):
        assert "first" in visitor.call(element, None, event={"index": index})["output"]["error"]
    with Visitor(visitor.address, "another") as other:
        assert (
            "Pick a label"
            in other.call("scores.explain", None, event={"index": 1})["output"]["error"]
        )


def test_what_is_taught_is_bounded_and_made_of_what_the_page_gave_out(visitor: Visitor) -> None:
    (owl,) = visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()
    many = " ".join(visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()[0] for _ in range(21))
    for asked, told in (
        (("Rex", "", "/etc/passwd", ""), "not here any more"),
        (("Rex", "", owl, "0" * 32), "not here any more"),
        (("Rex", "", many, ""), "Up to 20 images"),
        (("Rex", "", owl, many), "Up to 20 images"),
        (("Rex", "", "", ""), "Give an image that shows it"),
        (("", "", owl, ""), "Give it a name"),
        (("../../etc/passwd", "", owl, ""), "cannot be the name of a concept"),
        (("a" * 81, "", owl, ""), "cannot be the name of a concept"),
        (("Rex", "a dog " * 20, owl, ""), "up to 100 characters"),
        (("Rex", "", owl, owl), "is given as an image of the concept and as a negative one"),
    ):
        message = visitor.call("teach", *asked)
        assert told in html.unescape(message["output"]["error"]), asked
    assert "Teach something first" in visitor.call("keep", None)["output"]["error"]
    assert "Teach something first" in visitor.call("fetch-concept", None)["output"]["error"]
    assert not visitor.call("concepts", None, event={"index": 0})["success"]


def test_nothing_is_kept_here_for_visitors_from_elsewhere(folder: Path, tmp_path: Path) -> None:
    served_to_others: list[dict[str, Any]] = [
        {"host": "0.0.0.0"}, {"allowed": ("photos.example",)},
    ]  # fmt: skip
    for number, options in enumerate(served_to_others):
        home = tmp_path / str(number)
        with served(folder, home, **options) as address, Visitor(address) as stranger:
            (owl,) = stranger.upload((SAMPLES / "owl.jpg").read_bytes()).json()
            assert stranger.call("teach", "Rex", "", owl, "")["success"]
            assert stranger.call("fetch-concept", None)["success"]
            for name in ("keep", "replace", "concepts", "listing", "remove"):
                with pytest.raises(KeyError):
                    stranger.function(name)
            assert "only it can keep and remove them" in stranger.http.get("config").text
            assert not list(home.rglob("*.safetensors"))


DROPPED = "Classes that I name, below"


def fields(*classes: tuple[str, str]) -> list[str]:
    """Return the classes of a call: their names and trays."""
    return [value for pair in (*classes, *[("", "")] * (6 - len(classes))) for value in pair]


def test_classes_are_bounded_and_made_of_what_the_page_gave_out(visitor: Visitor) -> None:
    owl, cat = (
        visitor.upload((SAMPLES / f"{name}.jpg").read_bytes()).json()[0] for name in ("owl", "cat")
    )
    many = " ".join(visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()[0] for _ in range(21))
    for classes, told in (
        ((("owl", owl), ("cat", "/etc/passwd")), "not here any more"),
        ((("owl", owl), ("cat", "0" * 32)), "not here any more"),
        ((("owl", owl), ("cat", many)), "Up to 20 images"),
        ((("owl", owl), ("", cat)), "Give class 2 a name"),
        ((("owl", owl), ("a" * 101, cat)), "up to 100 characters"),
        ((("owl", owl), ("owl", cat)), "Two classes are called owl"),
        ((("owl", owl),), "Name two classes or more"),
        ((("owl", owl), ("cat", cat)), "fewer than two images"),
    ):
        message = visitor.call("adapt", DROPPED, *fields(*classes))
        assert told in html.unescape(message["output"]["error"]), classes
    for where in ("/etc", "..", ""):
        assert not visitor.call("adapt", where, *fields(("owl", owl), ("cat", cat)))["success"]
    assert visitor.join("adapt", DROPPED, *fields(), *[""] * 8).status_code == 422  # more classes
    assert not visitor.call("fetch-head", None)["success"]
    assert visitor.join("fetch-head", {"method": "gda"}).status_code == 422
    head = classify(visitor, owl, answer="My classes, of the tab Adapt")
    assert "no classes of yours yet" in head["output"]["error"]


def test_adapting_leaves_nothing_on_the_disk_and_its_head_to_its_visitor(
    folder: Path, tmp_path: Path
) -> None:
    with served(folder, tmp_path) as address, Visitor(address) as stranger:
        before = sorted(tmp_path.rglob("*"))
        trays = [
            " ".join(stranger.upload((SAMPLES / f"{name}.jpg").read_bytes()).json()[0]
                     for name in names)
            for names in (("owl", "hens", "duck"), ("castle", "temple", "pyramid"))
        ]  # fmt: skip
        message = stranger.call("adapt", DROPPED, *fields(("bird", trays[0]), ("house", trays[1])))
        assert message["success"], message
        mine = classify(stranger, trays[0].split()[0], answer="My classes, of the tab Adapt")
        assert {label for label, _ in mine["output"]["data"][0]["rows"][0]["labels"]} == {
            "bird", "house",
        }  # fmt: skip
        assert sorted(tmp_path.rglob("*")) == before
        with Visitor(address, "another") as other:
            assert not other.call("fetch-head", None)["success"]


@pytest.mark.parametrize(
    ("module_function", "element"), [("adapt_images", "adapt"), ("next_in_list", "suggest")]
)
def test_a_ladder_lets_others_search_meanwhile(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch, module_function: str, element: str
) -> None:
    (owl,) = visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()
    (cat,) = visitor.upload((SAMPLES / "cat.jpg").read_bytes()).json()
    has_searched = threading.Event()

    def work(*_: object, callbacks: clipkit.Callbacks, **__: object) -> object:
        with callbacks.progress_for("climbing") as progress:
            for step in range(100_000):
                progress(step, 100_000)
                if has_searched.is_set():
                    raise clipkit.InputError("somebody else has had a turn")
        raise AssertionError("nobody else had a turn")

    monkeypatch.setattr(f"clipkit.{module_function}", work)
    values = fields(("owl", owl), ("cat", cat))
    visitor.join(element, *([DROPPED] * (element == "adapt")), *values).raise_for_status()
    with Visitor(visitor.address, "another") as other:
        assert other.search("a cat")
        has_searched.set()
    (done,) = (each for each in visitor.messages() if each["msg"] == "process_completed")
    assert "somebody else" in done["output"]["error"]


def test_a_heat_map_lets_others_search_meanwhile(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key,) = visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()
    classify(visitor, key)
    has_searched = threading.Event()

    def explain(*_: object, progress: clipkit.Progress) -> object:
        for step in range(100_000):
            progress(step, 100_000)
            if has_searched.is_set():
                raise clipkit.InputError("somebody else has had a turn")
        raise AssertionError("nobody else had a turn")

    monkeypatch.setattr("clipkit.explain", explain)
    visitor.join("scores.explain", None, event={"index": 0}).raise_for_status()
    with Visitor(visitor.address, "another") as other:
        assert other.search("a cat")
        has_searched.set()
    (done,) = (each for each in visitor.messages() if each["msg"] == "process_completed")
    assert "somebody else" in done["output"]["error"]


def test_somebody_who_asks_without_listening_is_not_heard_for_ever(visitor: Visitor) -> None:
    from clipkit.demo.server import MAX_PENDING

    codes = [visitor.join("search", *search_values("a", 1)).status_code for _ in range(20)]
    assert codes == [200] * MAX_PENDING + [422] * (20 - MAX_PENDING)
    with Visitor(visitor.address, "other") as other:
        assert other.search("a cat")


def test_a_job_ends_when_its_visitor_has_gone(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key,) = visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()
    steps = []

    class Counted(clipkit.ZeroShotClassifier):
        def __init__(self, encoder: clipkit.Encoder, names: list[str], **options: Any) -> None:
            steps.append(len(names))
            super().__init__(encoder, names, **options)

    monkeypatch.setattr("clipkit.ZeroShotClassifier", Counted)
    labels = ",".join(f"thing {number} of many" for number in range(200))
    visitor.join("classify", image_value(key), labels, False)
    for message in visitor.messages():
        if message["msg"] == "process_generating":
            break  # and the connection is closed
    with Visitor(visitor.address, "another") as other:
        for number in range(50):  # between two of them, the job would have had its turn
            other.search(f"word {number}")
    assert len(steps) < 25, "all 50 steps were made for nobody"


def test_no_message_tells_a_path_of_the_server(tmp_path: Path) -> None:
    own = tmp_path / "images"
    own.mkdir()
    owl = own / f"{MARKUP}.jpg"
    shutil.copy(SAMPLES / "owl.jpg", owl)
    with served(own, tmp_path / "home") as address, Visitor(address) as stranger:
        key = stranger.search("an owl")[0]["image"]["path"]
        owl.unlink()
        gone = stranger.call("search", *search_values("", 8, image_value(key)))
        assert gone["output"]["error"] == html.escape(f"{owl.name}: no such file")
        assert stranger.http.get(f"{API}file={key.removesuffix('-small')}").status_code == 404
        shutil.rmtree(tmp_path / "home")
        broken = stranger.call("search", *search_values("an owl", 8))
        assert not broken["success"]
        told = json.dumps([gone, broken, stranger.http.get("config").json()])
        assert str(tmp_path) not in told
        assert str(ROOT) not in told


def test_the_page_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    killed = temporary / "clipkit-page-x-killed"
    other = temporary / f"clipkit-page-{os.getpid()}-serves"
    for directory in (killed, other):
        (directory / "within").mkdir(parents=True)
    environment = {
        **os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT),
        "CLIPKIT_HOME": str(tmp_path / "home"),
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "clipkit", "demo", str(folder)], cwd=tmp_path, env=environment,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout
        address = process.stdout.readline().split()[-1] + "/"
        with Visitor(address) as visitor:
            (key,) = visitor.upload((folder / "cat.jpg").read_bytes()).json()
            visitor.search("a cat", image=image_value(key))
        assert not killed.exists()
        big = [path for path in temporary.rglob("*") if path.is_file() and path.stat().st_size > 99]
        assert not big, "a copy of somebody's image lies about"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert list(temporary.glob("clipkit*")) == [other]
    assert not [path for path in temporary.rglob("*") if path.is_file() and path.suffix]


def test_images_behind_links_and_names_that_are_no_text(tmp_path: Path) -> None:
    own, private = tmp_path / "images", tmp_path / "private"
    (own / ".hidden").mkdir(parents=True)
    private.mkdir()
    for name, place in (
        ("cat", os.fsencode(own) + b"/c\xff\xe9t.jpg"),
        ("owl", own / "owl.jpg"),
        ("castle", tmp_path / "castle.jpg"),
        ("hens", private / "hens.jpg"),
        ("bee", own / ".hidden" / "bee.jpg"),
    ):
        shutil.copy(os.fsencode(SAMPLES / f"{name}.jpg"), os.fsencode(place))
    (own / "castle.jpg").symlink_to(tmp_path / "castle.jpg")
    (own / "album").symlink_to(private)
    (own / "bee.jpg").symlink_to(own / ".hidden" / "bee.jpg")
    with served(own, tmp_path / "home") as address, Visitor(address) as stranger:
        found = stranger.search("an animal", 24)
        assert {item["caption"].split()[0] for item in found} == {"ct", "owl"}
        for item in found:
            assert stranger.http.get(f"{API}file={item['image']['path']}").status_code == 200
        # What was shown and what was found goes with its file, or when a link is in its place.
        owl = next(item["image"]["path"] for item in found if item["caption"].startswith("owl"))
        (own / "owl.jpg").rename(tmp_path / "owl.jpg")
        (own / "owl.jpg").symlink_to(tmp_path / "owl.jpg")
        assert stranger.http.get(f"{API}file={owl}").status_code == 404
        for name, values in (("search", search_values("", 8, image_value(owl))),
                             ("classify", (image_value(owl), "owl, cat", False))):  # fmt: skip
            message = stranger.call(name, *values)
            assert "symbolic link" in message["output"]["error"]
        assert len(stranger.search("an animal", 24)) == 1


def test_half_a_character_breaks_nothing(visitor: Visitor) -> None:
    (key,) = visitor.upload((SAMPLES / "owl.jpg").read_bytes()).json()
    assert visitor.search("a cat \ud83d")
    message = visitor.call("classify", image_value(key), "owl\ud83d, cat\udcff", False)
    assert {item["label"] for item in message["output"]["data"][0]["confidences"]} == {
        "owl?", "cat?"
    }  # fmt: skip


@pytest.mark.parametrize("query", ["?page=x", "?deep_link=../../x", "?page=../etc", "?%00"])
def test_what_stands_behind_an_address_is_not_read(visitor: Visitor, query: str) -> None:
    for path in ("", "config", "theme.css", "gradio_api/info"):
        plain, asked = (visitor.http.get(path + more) for more in ("", query))
        assert (asked.status_code, asked.text) == (plain.status_code, plain.text)


def test_uploads_under_way_have_a_limit_together(folder: Path) -> None:
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from clipkit.demo.image_store import ImageStore
    from clipkit.demo.request_filter import RequestFilter
    from clipkit.demo.server import _add_image_routes

    app = FastAPI()
    _add_image_routes(app, ImageStore(clipkit.PhotoLibrary.open(folder)))
    front = RequestFilter(app, check_call=json.loads)
    http = TestClient(front, base_url="http://localhost")
    owl = (SAMPLES / "owl.jpg").read_bytes()
    before = front.budget.left
    front.budget.left = len(owl)  # others are sending the rest
    answer = http.post(f"/{API}upload", files={"files": ("owl.jpg", owl)})
    assert (answer.status_code, answer.headers["connection"]) == (503, "close")
    assert front.budget.left == len(owl)
    front.budget.left = before
    assert http.post(f"/{API}upload", files={"files": ("owl.jpg", owl)}).status_code == 200
    assert front.budget.left == before


def test_uploads_that_wait_for_their_turn_are_not_in_memory(
    visitor: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starlette.datastructures import UploadFile

    async def read(self: UploadFile, size: int = -1) -> bytes:
        raise AssertionError("read before it is decoded")

    monkeypatch.setattr(UploadFile, "read", read)
    assert visitor.upload((SAMPLES / "owl.jpg").read_bytes()).status_code == 200


@pytest.mark.parametrize(
    "beginning",
    [b"", b"GET / HTTP/1.1\r\nHost: local", b"GET /robots.txt HTTP/1.1\r\nHost: localhost\r\n\r\nG",
     b"POST /gradio_api/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"],
    ids=["nothing", "half a head", "half a second head", "half a body"],
)  # fmt: skip
def test_half_a_request_keeps_no_place(
    own_address: str, monkeypatch: pytest.MonkeyPatch, beginning: bytes
) -> None:
    monkeypatch.setattr("clipkit.web.listening.HEAD_SECONDS", 0.1)
    monkeypatch.setattr("clipkit.demo.request_filter.CALL_SECONDS", 0.1)
    place = urlsplit(own_address)
    with socket.create_connection((place.hostname, place.port or 80), timeout=10) as connection:
        connection.sendall(beginning)
        while connection.recv(65536):
            pass  # until the server closes it


@pytest.mark.browser
def test_names_of_files_and_labels_are_text(browser: Any, own_address: str, tmp_path: Path) -> None:
    with watched(browser) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(own_address)
        page.locator("#query textarea, #query input").first.fill("a castle")
        page.keyboard.press("Enter")
        # The line above comes after the images, and forgets what was picked before it.
        page.locator("#told [role=status]", has_text="images").wait_for()
        page.locator("#found .caption-label", has_text=MARKUP).click()
        page.get_by_role("button", name=f"More like {MARKUP}").click()
        page.locator("#told [role=status]", has_text=f"More like: {MARKUP}.").wait_for()
        broken = tmp_path / f"{MARKUP}.jpg"
        broken.write_bytes(b"nothing")
        page.locator("#sought input[type=file]").set_input_files(str(broken))
        page.get_by_test_id("toast-body").filter(has_text=MARKUP).wait_for()
        page.get_by_role("tab", name="Classify").click()
        page.locator("#examples button").first.click()
        page.locator("#image img").wait_for()
        page.locator("#labels textarea, #labels input").first.fill(f"{MARKUP}, an owl")
        page.locator("#classify-images").click()
        page.locator("#scores", has_text=MARKUP).wait_for()
        assert page.title() == "clipkit"
        assert not [url for url in asked if "nowhere" in url]
