"""Builds the documentation as a site, and checks every link in it.

Run as  make docs , or  python docs/build_site.py [FOLDER]; the site is then FOLDER/site/index.html
(FOLDER: build/docs). Pages are the repository's own Markdown, in the same tree, so that their links
hold on GitHub and here. Zensical's warnings are errors: a page, or an anchor in one, that is not
there. What it does not look at is checked afterwards: links to other files, pages that the
navigation leaves out, and anything that a browser would fetch from another host.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "docs" / "site" / "zensical.toml"
# Beside docs/*: pages, and what these show or link to.
SOURCES = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "demo/screenshot.jpg",
    "demo/samples/CREDITS.md",
    "docs/cluster/train.sbatch",
    "docs/cluster/train.yaml",
    "weights/starter/CARD.md",
)
_ENDINGS = {".md", ".svg", ".png", ".jpg", ".webp"}


class _Links(HTMLParser):
    """Collects what a page links to, and what a browser loads with it."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses of one element."""
        found = dict(attrs)
        if tag == "a" and found.get("href"):
            self.links.append(found["href"] or "")
        elif tag == "link" and found.get("rel") in ("stylesheet", "preconnect", "icon"):
            self.loaded.append(found.get("href") or "")
        elif found.get("src"):
            self.loaded.append(found["src"] or "")


def stage(folder: Path) -> None:
    """Copy the pages and the configuration to `folder`, without what an earlier build left."""
    shutil.rmtree(folder, ignore_errors=True)
    docs = ROOT / "docs"
    found = [*docs.iterdir(), *(docs / "pictures").iterdir()]
    pages = [path for path in found if path.suffix in _ENDINGS]
    for path in [*pages, *(ROOT / source for source in SOURCES)]:
        target = folder / "pages" / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copyfile(CONFIG, folder / CONFIG.name)


def pages_without_navigation(folder: Path) -> set[str]:
    """Return the staged pages that no entry of the navigation leads to."""
    named = set(re.findall(r'= "([^"]+\.md)"', (folder / CONFIG.name).read_text("utf-8")))
    pages = folder / "pages"
    return {path.relative_to(pages).as_posix() for path in pages.rglob("*.md")} - named


def faults(site: Path) -> Iterator[str]:
    """Yield what is wrong with the pages of a built site, one line each.

    Args:
        site: The folder with index.html.

    Yields:
        A link to a file that is not there, or something that would be fetched from another host.
    """
    for page in sorted(site.rglob("*.html")):
        if page.name == "404.html":  # its links begin at the root of a server
            continue
        parser = _Links()
        parser.feed(page.read_text("utf-8"))
        name = page.relative_to(site).as_posix()
        for address in parser.loaded:
            if re.match(r"(https?:)?//", address):
                yield f"{name} loads {address}"
        for address in [*parser.links, *parser.loaded]:
            target = unquote(address.partition("#")[0].partition("?")[0])
            if (
                target
                and not re.match(r"[a-z]+:|//", target)
                and not (page.parent / target).exists()
            ):
                yield f"{name} leads to {target}, which is not there"


def build(folder: Path) -> list[str]:
    """Build the site into `folder`/site.

    Args:
        folder: Replaced as a whole.

    Returns:
        What is wrong, one line each; empty if nothing is.
    """
    stage(folder)
    wrong = [f"no navigation leads to {page}" for page in sorted(pages_without_navigation(folder))]
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)
        return [*wrong, said.partition("Traceback")[0] or said]
    return [*wrong, *faults(folder / "site")]


if __name__ == "__main__":
    place = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs"
    found = build(place)
    print("\n".join(found) or f"built {place / 'site' / 'index.html'}")
    sys.exit(bool(found))
