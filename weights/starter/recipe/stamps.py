"""Tux Paint's stamps (GPL-2): photographs cut out on transparent ground, and drawings.

They are measured on, never trained on and never shipped.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from recipe.packages import Cache
from recipe.picture import Picture

STAMP_FOLDER = Path("usr/share/tuxpaint/stamps")
_SKIPPED_FOLDERS = (
    "symbols/alphabets",
    "symbols/math",
    "symbols/money",
    "symbols/music",
    "symbols/shapes",
    "symbols/chess",
    "town/flags",
)

# The short names of the tux60 benchmark and the last words of the captions that mean them.
SHORT_NAMES = {
    "frog": "frog",
    "penguin": "penguin",
    "lion": "lion(ess)?",
    "bear": "bear",
    "pig": "pig",
    "rabbit": "rabbit",
    "duck": "duck|drake",
    "goose": "goose|gander",
    "owl": "owl",
    "ostrich": "ostrich",
    "peacock": "peacock|peahen",
    "pelican": "pelican",
    "flamingo": "flamingo",
    "rooster": "rooster",
    "bee": "bee|drone",
    "grasshopper": "grasshopper",
    "butterfly": "butterfly",
    "spider": "spider",
    "lizard": "iguana|lizard",
    "chimpanzee": "chimpanzee",
    "gorilla": "gorilla",
    "dolphin": "dolphin",
    "camel": "camel|dromedary",
    "deer": "deer|doe|caribou|wapiti",
    "dog": "dog|dingo",
    "fox": "fox",
    "elephant": "elephant",
    "horse": "horse",
    "zebra": "zebra",
    "giraffe": "giraffe",
    "hedgehog": "hedgehog",
    "hippopotamus": "hippopotamus",
    "beaver": "beaver",
    "mouse": "mouse",
    "squirrel": "squirrel",
    "kangaroo": "kangaroo",
    "koala": "koala",
    "cow": "cow|bull",
    "sheep": "sheep|ram",
    "tiger": "tiger",
    "apple": "apples?",
    "orange": "oranges?",
    "banana": "bananas?",
    "strawberry": "strawberr(y|ies)",
    "pineapple": "pineapple",
    "pizza": "pizza",
    "broccoli": "broccoli",
    "mushroom": "mushrooms?|ceps?",
    "carrot": "carrots?",
    "guitar": "guitar",
    "camera": "camera",
    "trumpet": "trumpet",
    "drum": "drum",
    "violin": "violin",
    "hammer": "hammer",
    "saw": "saw",
    "scissors": "scissors",
    "wrench": "wrench",
    "teapot": "teapot",
    "hat": "hat|fedora|sombrero",
    "sock": "socks?",
    "car": "car|sedan|beetle",
    "truck": "truck",
    "airplane": "airplane",
    "sailboat": "sailboat",
    "bus": "bus",
}
_UNNAMED_FOLDERS = frozenset(
    ["people", "military", "symbols", "town", "space", "naturalforces", "seasonal"]
)
_MISLEADING = re.compile("sea lion|edward|rubber|walnut")
_MAX_WORDS = 5


def read_stamps(cache: Cache) -> list[Picture]:
    """Return the stamps with an English caption; a third of the concepts is the test split."""
    folder = cache.package_folder("tuxpaint-stamps-default") / STAMP_FOLDER
    pictures = []
    for path in sorted(folder.glob("**/*")):
        relative = str(path.relative_to(folder))
        captions = path.with_suffix(".txt")
        if path.suffix not in (".png", ".svg") or relative.startswith(_SKIPPED_FOLDERS):
            continue
        if re.search(r"_(mirror|flip|mirror_flip)\.", relative) or not captions.is_file():
            continue
        lines = captions.read_text(encoding="utf-8", errors="replace").splitlines()
        caption = lines[0].strip() if lines else ""
        if not caption or "=" in caption:  # a first line with "=" is another language's
            continue
        caption = caption.rstrip(".!")
        concept = re.sub(r"\(.*?\)", "", caption).strip().lower().split()[-1].rstrip("s")
        digest = int(hashlib.md5(("tux" + concept).encode()).hexdigest(), 16)
        pictures.append(
            Picture(
                path,
                (caption,),
                concept,
                split="test" if digest % 3 == 0 else "train",
                category=str(Path(relative).parent),
                is_photograph="cartoon" not in relative and path.suffix == ".png",
                is_cutout=True,
            )
        )
    return pictures


def short_name(stamp: Picture) -> str | None:
    """Return the tux60 name of a photographic stamp, or None if it has none or two."""
    if not stamp.is_photograph or stamp.category.split("/")[0] in _UNNAMED_FOLDERS:
        return None
    caption = re.sub(r"\(.*?\)", "", stamp.captions[0]).lower().rstrip(".!")
    if len(caption.split()) > _MAX_WORDS or _MISLEADING.search(caption):
        return None
    names = [
        name for name, pattern in SHORT_NAMES.items() if re.search(rf"(^| )({pattern})$", caption)
    ]
    return names[0] if len(names) == 1 else None
