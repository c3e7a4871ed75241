"""Images on one self-contained HTML page: thumbnails inside, each a link to its file."""

import base64
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from clipkit.errors import ImageReadError
from clipkit.plain_text import visible

START, TITLE_END = "<!DOCTYPE html>", " &ndash; clipkit</title>"
"""What every such page begins with, and what the end of its title says."""


class FoundImage(Protocol):
    """One image that a search has found, or a library lists."""

    @property
    def path(self) -> Path:
        """Its path."""

    @property
    def similarity(self) -> float | None:
        """Cosine to the query, -1..1; None: there is none."""

    @property
    def relevance(self) -> float | None:
        """How likely it fits the query, 0..1; None: not known."""

    @property
    def width(self) -> int | None:
        """Pixels; None: not known."""

    @property
    def height(self) -> int | None:
        """Pixels; None: not known."""

    @property
    def taken_at(self) -> str | None:
        """When it was taken, "2024-06-01T12:30:00"; None: not known."""


def contact_sheet(
    images: Sequence[FoundImage],
    *,
    title: str,
    summary: str,
    folder: str | os.PathLike[str],
    render: Callable[[Path], bytes],
) -> Iterator[str]:
    """Yield a page that shows images in their order, each a link to its file.

    The links are relative where they can be, so that page and images can move together. An image
    that cannot be read has a card that says why.

    Args:
        images: The images; their paths are shown as they are.
        title: The heading, such as the query.
        summary: A sentence about them as a whole.
        folder: Where the page will lie.
        render: From an image's path to a small JPEG file of it; threads call it.

    Yields:
        HTML, piece by piece.
    """
    place = Path(os.path.abspath(folder))  # noqa: PTH100 - as browsers do: links are not followed
    with ThreadPoolExecutor() as pool:
        cards = pool.map(lambda image: _card(image, place, render), images)
        yield from _page(title, summary, cards)


def _page(title: str, summary: str, cards: Iterable[str]) -> Iterator[str]:
    heading = escape(visible(title))
    yield f"""\
{START}
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{heading}{TITLE_END}
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1><bdi>{heading}</bdi></h1>
<p>{escape(visible(summary))}</p>
</header>
<main>
<ol>
"""
    yield from cards
    yield "</ol>\n</main>\n</body>\n</html>\n"


def _card(hit: FoundImage, folder: Path, render: Callable[[Path], bytes]) -> str:
    name = escape(visible(str(hit.path)))
    facts = []
    if hit.relevance is not None:
        facts.append(f'<meter value="{hit.relevance:.3f}" aria-label="relevance"></meter>')
        facts.append(f"<b>relevance {hit.relevance:.2f}</b>")
    if hit.similarity is not None:
        facts.append(f"<span>similarity {hit.similarity:.3f}</span>")
    if hit.taken_at is not None:
        time = escape(hit.taken_at)
        facts.append(f'<time datetime="{time}">{time.replace("T", " ")}</time>')
    if hit.width is not None and hit.height is not None:
        facts.append(f"<span>{hit.width} &times; {hit.height}</span>")
    return f"""\
<li>
<a href="{escape(_link(hit.path, folder))}">{_image(hit.path, name, render)}</a>
<p class="path"><bdi>{name.replace("/", "/<wbr>")}</bdi></p>
<p class="facts">{" ".join(facts)}</p>
</li>
"""


def _image(path: Path, name: str, render: Callable[[Path], bytes]) -> str:
    """Return an image's thumbnail, or why there is none, as HTML."""
    try:
        data = base64.b64encode(render(path)).decode("ascii")
    except ImageReadError as error:
        return f'<span class="missing">cannot be shown: {escape(visible(error.reason))}</span>'
    return f'<img src="data:image/jpeg;base64,{data}" alt="{name}" loading="lazy">'


def _link(path: Path, folder: Path) -> str:
    place = os.path.abspath(path)  # noqa: PTH100 - as browsers do: links are not followed
    try:
        relative = os.path.relpath(place, folder)
    except ValueError:  # another drive of Windows
        return Path(place).as_uri()
    # The bytes of the name: a browser asks the file system for just these.
    return quote(os.fsencode(relative.replace(os.sep, "/")))


_STYLE = """
:root { --back: #fafafa; --card: #fff; --line: #ddd; --text: #1b1b1b; --quiet: #5c5c5c; }
@media (prefers-color-scheme: dark) {
  :root { --back: #141414; --card: #1f1f1f; --line: #383838; --text: #eee; --quiet: #a8a8a8; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 110rem; padding: 1.5rem; background: var(--back);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; overflow-wrap: anywhere; }
header p { margin: 0 0 1.5rem; color: var(--quiet); }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr));
  gap: 1rem; margin: 0; padding: 0; list-style: none; }
li { display: flex; flex-direction: column; overflow: hidden; background: var(--card);
  border: 1px solid var(--line); border-radius: .6rem; }
a { display: block; color: inherit; background: var(--back); text-decoration: none; }
a:focus-visible { outline: 3px solid Highlight; outline-offset: -3px; }
img, .missing { display: block; width: 100%; height: auto; aspect-ratio: 4 / 3; }
img { object-fit: scale-down; }
.missing { padding: 1rem; color: var(--quiet); overflow: auto; overflow-wrap: anywhere; }
li p { margin: 0; padding: .5rem .75rem 0; overflow-wrap: anywhere; }
.path { flex: 1; font-size: .9rem; white-space: pre-wrap; }
.facts { display: flex; flex-wrap: wrap; gap: 0 .75rem; padding-bottom: .6rem;
  color: var(--quiet); font-size: .8rem; }
.facts b { color: var(--text); }
meter { width: 100%; height: .5rem; }
"""
