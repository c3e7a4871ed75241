"""The page of results: what it says, where it links, and what a real browser makes of it."""

import base64
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from clipkit.cli.contact_sheet import contact_sheet_file, write_contact_sheet
from clipkit.errors import InputError
from tests.conftest import SAMPLES
from tests.fakes import save_image

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@dataclass(frozen=True)
class Hit:
    """What a search found."""

    path: Path
    similarity: float = 0.25
    relevance: float | None = None
    width: int | None = None
    height: int | None = None
    taken_at: str | None = None


@dataclass
class Element:
    """An element of a page, with the text in it and in what is in it."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """A page as the standard library's parser sees it."""

    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attributes})
        self.elements.append(element)
        if tag not in ("meta", "img", "wbr"):
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, tag: str) -> list[Element]:
        return [element for element in self.elements if element.tag == tag]


def sheet(file: Path, hits: list[Hit], title: str = "a cat") -> Page:
    """Write a page and read it again."""
    write_contact_sheet(contact_sheet_file(file), title, hits, summary="found <2>")
    page = Page()
    page.feed(file.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


def target(page: Path, link: str) -> bytes:
    """The file that a link on a page means."""
    assert urlsplit(link).scheme == ""
    return os.path.normpath(os.path.join(os.fsencode(page.parent), unquote_to_bytes(link)))  # noqa: PTH118


def test_what_a_card_says(tmp_path: Path) -> None:
    hits = [
        Hit(SAMPLES / "cat.jpg", 0.25, 0.875, 4000, 3000, "2024-06-01T12:30:00"),
        Hit(SAMPLES / "dog.jpg", -0.0504),
    ]
    page = sheet(tmp_path / "found.html", hits)
    assert page.all("h1")[0].text == "a cat"
    assert page.all("title")[0].text == "a cat – clipkit"  # noqa: RUF001
    assert "found <2>" in page.all("header")[0].text
    first, second = (" ".join(card.text.split()) for card in page.all("li"))
    assert first == (
        f"{SAMPLES / 'cat.jpg'} relevance 0.88 similarity 0.250 2024-06-01 12:30:00 4000 × 3000"  # noqa: RUF001
    )
    assert second == f"{SAMPLES / 'dog.jpg'} similarity -0.050"
    assert [image.attributes["alt"] for image in page.all("img")] == [str(hit.path) for hit in hits]
    assert [meter.attributes["value"] for meter in page.all("meter")] == ["0.875"]
    assert page.all("time")[0].attributes["datetime"] == "2024-06-01T12:30:00"


def test_images_are_inside_small_and_upright(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    data = Image.Exif()
    data[274] = 6
    Image.new("RGB", (800, 400), (200, 100, 50)).save(path, exif=data)
    (image,) = sheet(tmp_path / "found.html", [Hit(path)]).all("img")
    kind, _, data64 = image.attributes["src"].partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data64, validate=True))) as photo:
        assert photo.size == (160, 320)


def test_unreadable_images_say_why(tmp_path: Path) -> None:
    bad = tmp_path / "<b>.jpg"
    bad.write_bytes(b"<i>hello")
    page = sheet(tmp_path / "found.html", [Hit(bad), Hit(tmp_path / "gone.jpg")])
    assert page.all("img") == page.all("b") == page.all("i") == []
    assert [element.text for element in page.all("a")] == [
        "cannot be shown: is not an image: it starts with '<i>hello'",
        "cannot be shown: no such file",
    ]


def test_what_cannot_be_seen_is_escaped(tmp_path: Path) -> None:
    page = sheet(tmp_path / "found.html", [], title="line\nbreak\r\t\x00 \udcff é 👩‍🚀")
    assert page.all("h1")[0].text == r"line\nbreak\r\t\x00 \udcff é 👩‍🚀"


def test_links_are_relative_so_that_all_can_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_image(tmp_path / "photos" / "a b.png", (255, 0, 0))
    monkeypatch.chdir(tmp_path / "photos")
    (tmp_path / "pages").mkdir()
    for page, link in [
        (Path("found.html"), "a%20b.png"),
        (tmp_path / "found.html", "photos/a%20b.png"),
        (Path("../pages/found.html"), "../photos/a%20b.png"),
    ]:
        (found,) = sheet(page, [Hit(Path("a b.png"))]).all("a")
        assert found.attributes["href"] == link


STRANGE = [
    b'"><svg onload=alert(1)>.jpg',
    b"'onerror='alert(1)' x='.jpg",
    b"&lt;&amp;&#65;.jpg",
    b"line\nbreak\r\ttab.jpg",
    "emoji 👩‍🚀 ☕.jpg".encode(),
    b"not utf-8 \xff\xfe\xe9.jpg",
    b"100%41 #fragment ?query=1.jpg",
    b"javascript:alert(1).jpg",
    b"c:\\windows\\x.jpg",
    b" leading and trailing .jpg ",
    b"a\xe2\x80\xaeb.jpg",  # turns the direction of reading
]
names = st.binary(min_size=1, max_size=40).filter(
    lambda name: not {0, 47} & set(name) and name not in (b".", b"..")
)
posix = pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX systems only")


def with_strange_names(test: Any) -> Any:
    """Try a test with each of the strange names too."""
    for name in STRANGE:
        test = example(name)(test)
    return posix(given(names)(test))


@pytest.mark.slow
@with_strange_names
def test_every_name_is_shown_and_linked(name: bytes) -> None:
    file = Path(os.environ["CLIPKIT_HOME"]) / "found.html"
    path = file.parent / "no such folder" / os.fsdecode(name)
    page = sheet(file, [Hit(path)], title=os.fsdecode(name))
    usual = sheet(file, [Hit(file.parent / "no such folder" / "photo.jpg")])
    assert [element.tag for element in page.elements] == [
        element.tag for element in usual.elements
    ]  # nothing got in
    (link,) = page.all("a")
    assert set(link.attributes) == {"href"}
    assert target(file, link.attributes["href"]) == os.fsencode(path)
    shown = page.all("p")[1].text
    assert shown == str(file.parent / "no such folder" / page.all("h1")[0].text)
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return
    if text.isprintable():
        assert page.all("h1")[0].text == text


def test_no_page_is_left_if_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "found.html"
    sheet(file, [])
    before = file.read_text()

    broken = Hit(SAMPLES / "dog.jpg", similarity="high")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="format code"):
        write_contact_sheet(
            contact_sheet_file(file), "a cat", [Hit(SAMPLES / "cat.jpg"), broken], summary=""
        )
    assert file.read_text() == before
    assert os.listdir(tmp_path) == ["found.html"]  # noqa: PTH208


def test_places_where_no_page_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot be written: there is no folder .*nowhere"):
        write_contact_sheet(
            contact_sheet_file(tmp_path / "nowhere" / "found.html"), "a cat", [], summary=""
        )
    with pytest.raises(InputError, match=r"cannot be written: it is a folder"):
        write_contact_sheet(contact_sheet_file(tmp_path), "a cat", [], summary="")


# --- a real browser ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: get one with  apt-get install chromium"
)
@posix
def test_a_browser_shows_the_page_and_opens_its_links(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "photos #1"
    folder.mkdir()
    hits = []
    for number, name in enumerate(STRANGE):
        path = folder / os.fsdecode(name)
        Image.new("RGB", (400, 200 + number)).save(path, "JPEG")
        hits.append(Hit(path, 0.3, 0.5, 400, 200 + number))
    write_contact_sheet(
        contact_sheet_file(tmp_path / "found.html"), "<b>a & b</b>", hits, summary=""
    )

    asked: list[str] = []
    problems: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 2000})
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    address = (tmp_path / "found.html").as_uri()
    page.goto(address)

    assert page.locator("h1").inner_text() == "<b>a & b</b>"
    images = page.locator("img")
    assert images.count() == len(STRANGE)
    assert images.evaluate_all(
        "images => Promise.all(images.map(async image => {"
        " image.loading = 'eager'; await image.decode(); return image.naturalWidth; }))"
    ) == [320] * len(STRANGE)
    alts = images.evaluate_all("images => images.map(image => image.alt)")
    assert alts[0] == f'{folder}/"><svg onload=alert(1)>.jpg'
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert problems == []

    links = page.locator("a").evaluate_all("links => links.map(link => link.href)")
    for number, link in enumerate(links):
        page.goto(link)  # the image itself, known by its height
        height = "document.images[0].naturalHeight"
        assert page.evaluate(height) == 200 + number, STRANGE[number]
    page.close()
