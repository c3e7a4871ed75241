"""Openclipart drawings (public domain) with the titles and keywords of their SVG metadata."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from recipe.packages import Cache
from recipe.picture import Picture, Split

PNG_FOLDER = Path("usr/share/openclipart/png")
SVG_FOLDER = Path("usr/share/openclipart/svg")
# Icon themes, letters, logos: what they show is not what their titles name.
SKIPPED_CATEGORIES = frozenset(["computer", "signs_and_symbols", "unsorted", "logos", "buttons"])
_SKIPPED_FOLDERS = ("shapes/", "special/", "unsorted/duplicates", "signs_and_symbols/flags")
_EMPTY_KEYWORDS = frozenset(
    [
        "",
        "unsorted",
        "image",
        "clip art",
        "clipart",
        "svg",
        "none",
        "raster",
        "color",
        "line art",
        "externalsource",
        "wikimedia commons",
    ]
)
_MAX_KEYWORD_LETTERS = 30


def read_clipart(cache: Cache) -> list[Picture]:
    """Return the titled drawings; one title in ten is held out."""
    png_folder = cache.package_folder("openclipart-png") / PNG_FOLDER
    svg_folder = cache.package_folder("openclipart-svg") / SVG_FOLDER
    pictures = []
    for path in sorted(png_folder.glob("**/*.png")):
        relative = path.relative_to(png_folder)
        source = (svg_folder / relative).with_suffix(".svg")
        category = relative.parts[0]
        if str(relative).startswith(_SKIPPED_FOLDERS) or category in SKIPPED_CATEGORIES:
            continue
        if not source.is_file():
            continue
        title, keywords = _metadata(source, fallback=path.stem)
        if title:
            pictures.append(
                Picture(
                    path,
                    (title,),
                    concept=title.lower(),
                    split=_split(title),
                    category=category,
                    tags=tuple(keywords),
                    is_cutout=True,
                )
            )
    return pictures


def _split(title: str) -> Split:
    """Return the split of a title."""
    digest = int(hashlib.md5(("clip" + title.lower()).encode()).hexdigest(), 16)
    return "test" if digest % 10 == 0 else "train"


def _metadata(source: Path, *, fallback: str) -> tuple[str, list[str]]:
    """Return title and keywords of an SVG file; the file's name stands in for a missing title."""
    text = source.read_text(encoding="utf-8", errors="replace")
    block = re.search(r"<(?:cc:)?Work.*?</(?:cc:)?Work>", text, re.DOTALL)
    metadata = block.group(0) if block else ""
    found = re.search(r"<dc:title>([^<]*)<", metadata)
    title = (found.group(1).strip() if found else "") or fallback
    title = re.sub(r"\b0?\d+\b", "", title.replace("_", " "))
    keywords = [word.strip() for word in re.findall(r"<rdf:li>([^<]*)<", metadata)]
    useful = [
        word
        for word in dict.fromkeys(keywords)
        if word.lower() not in _EMPTY_KEYWORDS and len(word) < _MAX_KEYWORD_LETTERS
    ]
    return re.sub(r"\s+", " ", title).strip(), useful
