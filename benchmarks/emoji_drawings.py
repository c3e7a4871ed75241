"""The script that draws the images of emoji_pairs.py and writes its tables.

Run as  python emoji_drawings.py DIRECTORY , with resvg_py, and with the recipe of the starter on
PYTHONPATH: packages are fetched, checked and read as there.
"""

import io
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import resvg_py
from emoji_pairs import EmojiPairs, as_table, captions_of, letters
from PIL import Image
from recipe.emoji import read_emoji
from recipe.packages import PACKAGES, Cache, Package
from recipe.picture import Picture, on_white, open_picture, pad_to_square

SIZE = 64  # pixels of a side
HELD_OUT = "openmoji"
_DRAWN_SIZE = 128  # of SVG, before it is made smaller
_RECIPE_PACKAGES = (
    "emoji-datasource-google",
    "emoji-datasource-twitter",
    "emojilib",
    "cldr-annotations-full",
    HELD_OUT,
)
ICON_PACKAGES = {
    "fluent": Package(
        "npm",
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "iconify-json-fluent-emoji-flat-1.2.6.tgz",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        "MIT (Microsoft)",
        "training",
    ),
    "fxemoji": Package(
        "npm",
        "@iconify-json/fxemoji",
        "1.2.2",
        "iconify-json-fxemoji-1.2.2.tgz",
        "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
        "Apache-2.0 (Mozilla)",
        "training",
    ),
    "noto-v1": Package(
        "npm",
        "@iconify-json/noto-v1",
        "1.2.5",
        "iconify-json-noto-v1-1.2.5.tgz",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
        "Apache-2.0 (Google, its first design)",
        "training",
    ),
}


@dataclass(frozen=True)
class Drawing:
    """One picture that was written."""

    vendor: str
    emoji: Picture  # names, keywords, split
    path: Path


def main(directory: Path) -> None:
    """Fetch, draw, write tables and card."""
    cache = Cache(Path.home() / ".cache" / "clipkit-starter")
    packages = [package for package in PACKAGES if package.name in _RECIPE_PACKAGES]
    packages += ICON_PACKAGES.values()
    for package in packages:
        cache.fetch(package)
    pairs = EmojiPairs(directory.resolve())
    emoji = read_emoji(cache, "google")
    drawings = []
    for vendor, draw in vendors(cache).items():
        folder = pairs.directory / vendor
        folder.mkdir(parents=True, exist_ok=True)
        for one in emoji:
            image = draw(one)
            if image is not None:
                path = folder / f"{one.concept}.png"
                square = pad_to_square(on_white(image))
                square.resize((SIZE, SIZE), Image.Resampling.LANCZOS).save(path)
                drawings.append(Drawing(vendor, one, path))
    _write_tables(pairs, drawings)
    pairs.card.write_text(_card(packages, drawings, pairs), encoding="utf-8")


def vendors(cache: Cache) -> dict[str, Callable[[Picture], Image.Image | None]]:
    """Return what draws an emoji, or has no drawing of it, by vendor."""
    twitter = {one.concept: one.path for one in read_emoji(cache, "twitter")}
    openmoji = cache.package_folder(HELD_OUT) / "package" / "color" / "svg"

    def draw_twitter(emoji: Picture) -> Image.Image | None:
        path = twitter.get(emoji.concept)
        return open_picture(path) if path else None

    def draw_openmoji(emoji: Picture) -> Image.Image | None:
        for name in (emoji.concept, emoji.concept.replace("-FE0F", "")):
            path = openmoji / f"{name}.svg"
            if path.is_file():
                return _draw(path.read_text(encoding="utf-8"))
        return None

    return {
        "google": lambda emoji: open_picture(emoji.path),
        "twitter": draw_twitter,
        **{
            vendor: icon_drawer(cache.folder(package) / "package" / "icons.json")
            for vendor, package in ICON_PACKAGES.items()
        },
        HELD_OUT: draw_openmoji,
    }


def icon_drawer(file: Path) -> Callable[[Picture], Image.Image | None]:
    """Return what draws the emoji of an icon set, which it knows by one of their names."""
    icons = json.loads(file.read_text(encoding="utf-8"))
    keys = {letters(name): name for name in icons["icons"]}

    def draw(emoji: Picture) -> Image.Image | None:
        spoken, *others = emoji.captions
        # A short name may be another thing's: "bow" is a ribbon, and short for "person bowing".
        names = [spoken, *(name for name in others if " " in name)]
        found = next((keys[key] for key in map(letters, names) if key in keys), None)
        return _draw(_as_svg(icons, found)) if found else None

    return draw


def _as_svg(icons: dict[str, Any], name: str) -> str:
    """Return one drawing of an icon set as a file of its own."""
    icon = {"left": 0, "top": 0, **icons, **icons["icons"][name]}
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{icon["left"]} {icon["top"]} {icon["width"]} {icon["height"]}">'
        f"{icon['body']}</svg>"
    )


def _draw(svg: str) -> Image.Image:
    data = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=_DRAWN_SIZE))
    return Image.open(io.BytesIO(data))


def _write_tables(pairs: EmojiPairs, drawings: Sequence[Drawing]) -> None:
    """Write the tables; rows to train on are shuffled once, so that any part is a fair one."""
    train = [
        (drawing.path, caption)
        for drawing in drawings
        if drawing.vendor != HELD_OUT and drawing.emoji.split == "train"
        for caption in captions_of(drawing.emoji.captions, drawing.emoji.tags)
    ]
    random.Random(0).shuffle(train)
    pairs.train.write_text(as_table(train), encoding="utf-8")
    for split, table in (("train", pairs.seen), ("test", pairs.unseen)):
        rows = [
            (drawing.path, drawing.emoji.captions[0])
            for drawing in drawings
            if drawing.vendor == HELD_OUT and drawing.emoji.split == split
        ]
        table.write_text(as_table(rows), encoding="utf-8")


def _card(packages: Sequence[Package], drawings: Sequence[Drawing], pairs: EmojiPairs) -> str:
    """Return what the data is, in Markdown."""
    counts = Counter((drawing.vendor, drawing.emoji.split) for drawing in drawings)
    rows = {table.name: table.read_text(encoding="utf-8").count("\n") - 1 for table in _all(pairs)}
    lines = [
        "# Emoji of several vendors, with names",
        "",
        f"{SIZE} x {SIZE} pixels, transparency on white. Flags and skin tones are left out. Names",
        "and keywords are those of emoji-datasource, the Unicode CLDR and emojilib. One emoji in",
        f"five is held out for all vendors; {HELD_OUT} is only measured on.",
        "",
        "| vendor | drawings trained on | measured on |",
        "|---|--:|--:|",
    ]
    for vendor in dict.fromkeys(drawing.vendor for drawing in drawings):
        train, test = counts[vendor, "train"], counts[vendor, "test"]
        shown = (0, train + test) if vendor == HELD_OUT else (train, 0)
        lines.append(f"| {vendor} | {shown[0]} | {shown[1]} |")
    lines += ["", "| table | pairs |", "|---|--:|"]
    lines += [f"| {name} | {count} |" for name, count in rows.items()]
    lines += ["", "| package | version | licence | SHA-256 |", "|---|---|---|---|"]
    lines += [f"| {one.name} | {one.version} | {one.licence} | {one.sha256} |" for one in packages]
    return "\n".join(lines) + "\n"


def _all(pairs: EmojiPairs) -> tuple[Path, Path, Path]:
    return pairs.train, pairs.seen, pairs.unseen


if __name__ == "__main__":
    main(Path(sys.argv[1]))
