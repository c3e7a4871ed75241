"""Emoji drawings: Google's and Twitter's with their names to train on, OpenMoji's to measure on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

from recipe.packages import Cache
from recipe.picture import Picture, Split

Vendor = Literal["google", "twitter"]

OBJECT_CATEGORIES = frozenset(
    ["Animals & Nature", "Food & Drink", "Travel & Places", "Activities", "Objects"]
)
_SKIPPED_CATEGORIES = frozenset(["Flags", "Component"])
_VARIATION_SELECTOR = "\ufe0f"  # asks for the coloured form; lists differ in writing it


def read_emoji(cache: Cache, vendor: Vendor) -> list[Picture]:
    """Return a vendor's emoji with names and keywords that may be trained on.

    Names come from emoji-datasource (MIT) and the Unicode CLDR, keywords from the CLDR and
    emojilib (MIT).
    """
    folder = cache.package_folder(f"emoji-datasource-{vendor}") / "package"
    names = _cldr_names(cache)
    keywords = _emojilib_keywords(cache)
    pictures = []
    for entry in _entries(cache):
        path = folder / f"img/{vendor}/64" / entry["image"]
        if not path.is_file():
            continue
        character = _character(entry["unified"])
        spoken, cldr_keywords = names.get(character, ([], []))
        short_names = [name.replace("_", " ").replace("-", " ") for name in entry["short_names"]]
        captions = [*spoken, (entry["name"] or "").lower(), *short_names]
        tags = [*cldr_keywords, *keywords.get(character, [])]
        pictures.append(
            Picture(
                path,
                tuple(dict.fromkeys(caption for caption in captions if caption)),
                concept=entry["unified"],
                split=_split(entry["unified"]),
                category=entry["category"],
                tags=tuple(dict.fromkeys(tags)),
                is_cutout=True,
            )
        )
    return pictures


def read_benchmark_emoji(cache: Cache, vendor: Literal["google", "openmoji"]) -> list[Picture]:
    """Return the held-out object emoji with OpenMoji's annotation as caption: only to measure."""
    openmoji = cache.package_folder("openmoji") / "package"
    google = cache.package_folder("emoji-datasource-google") / "package/img/google/64"
    described = {
        item["hexcode"]: item
        for item in json.loads((openmoji / "data/openmoji.json").read_text())
        if not item["skintone"]
    }
    pictures = []
    for entry in _entries(cache):
        unified = entry["unified"]
        if _split(unified) != "test" or entry["category"] not in OBJECT_CATEGORIES:
            continue
        item = described.get(unified) or described.get(unified.replace("-FE0F", ""))
        if vendor == "google":
            path = google / entry["image"]
        elif item:
            path = openmoji / "color/svg" / f"{item['hexcode']}.svg"
        else:
            continue
        if path.is_file():
            caption = item["annotation"] if item else entry["name"].lower()
            pictures.append(
                Picture(path, (caption,), unified, "test", entry["category"], is_cutout=True)
            )
    return pictures


def _entries(cache: Cache) -> list[dict[str, Any]]:
    """Return emoji-datasource's entries without flags and skin tones."""
    file = cache.package_folder("emoji-datasource-google") / "package/emoji.json"
    return [e for e in json.loads(file.read_text()) if e["category"] not in _SKIPPED_CATEGORIES]


def _split(unified: str) -> Split:
    """Return the split of a code point sequence: one in five is held out, for all vendors."""
    digest = int(hashlib.md5(("emo" + unified).encode()).hexdigest(), 16)
    return "test" if digest % 5 == 0 else "train"


def _character(unified: str) -> str:
    """Return the emoji of "1F44D-FE0F" without its variation selector."""
    text = "".join(chr(int(code, 16)) for code in unified.split("-"))
    return text.replace(_VARIATION_SELECTOR, "")


def _cldr_names(cache: Cache) -> dict[str, tuple[list[str], list[str]]]:
    """Return spoken names and keywords of the Unicode CLDR by character."""
    folder = cache.package_folder("cldr-annotations-full") / "package/annotations/en"
    annotations = json.loads(Path(folder / "annotations.json").read_text())
    return {
        character.replace(_VARIATION_SELECTOR, ""): (entry.get("tts", []), entry.get("default", []))
        for character, entry in annotations["annotations"]["annotations"].items()
    }


def _emojilib_keywords(cache: Cache) -> dict[str, list[str]]:
    """Return emojilib's keywords by character, without emoticons such as ":D"."""
    file = cache.package_folder("emojilib") / "package/dist/emoji-en-US.json"
    return {
        character.replace(_VARIATION_SELECTOR, ""): [
            word.replace("_", " ") for word in words if any(letter.isalpha() for letter in word[:1])
        ]
        for character, words in json.loads(file.read_text()).items()
    }
