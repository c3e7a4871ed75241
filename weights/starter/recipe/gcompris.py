"""Photographs of GCompris (mixed licences): the validation set, on which settings are chosen.

They are measured on, never trained on and never shipped.
"""

from __future__ import annotations

import re
from pathlib import Path

from recipe.packages import Cache
from recipe.picture import Picture
from recipe.qt_resources import read_resources

ARCHIVE_FOLDER = Path("usr/share/gcompris-qt/rcc")

# activity: file stem (digits removed): name
LABELS: dict[str, dict[str, str]] = {
    "erase": {
        "alpaca": "alpaca",
        "bee": "bee",
        "butterfly": "butterfly",
        "calf": "calf",
        "camels": "camel",
        "caterpillar": "caterpillar",
        "chamaeleon": "chameleon",
        "cheetah": "cheetah",
        "crab": "crab",
        "dolphin": "dolphin",
        "flying_fox": "bat",
        "gibbon": "gibbon",
        "giraffe": "giraffe",
        "goat": "goat",
        "gorilla": "gorilla",
        "gosling": "goose",
        "heron": "heron",
        "horse": "horse",
        "kingfisher": "kingfisher",
        "kitten": "cat",
        "long_nosed_monkey": "monkey",
        "macaque": "monkey",
        "meerkats": "meerkat",
        "northern_harrier": "hawk",
        "nubian_ibex": "ibex",
        "penguin": "penguin",
        "pika": "pika",
        "red_panda": "red panda",
        "rhinoceros": "rhinoceros",
        "spoonbills": "spoonbill",
        "squirrel": "squirrel",
        "swans": "swan",
        "toucan": "toucan",
    },
    "explore_farm_animals": {
        name: name
        for name in ["cat", "chicken", "cow", "dog", "duck", "horse", "owl", "pig", "sheep"]
    },
    "explore_world_animals": {
        "bison": "bison",
        "chameleon": "chameleon",
        "crocodile": "crocodile",
        "dragon": "komodo dragon",
        "giraffe": "giraffe",
        "hedgehog": "hedgehog",
        "jaguar": "jaguar",
        "kangaroo": "kangaroo",
        "koala": "koala",
        "lemur": "lemur",
        "moose": "moose",
        "narwhal": "narwhal",
        "panda": "panda",
        "polar_bear": "polar bear",
        "scarlet_macaw": "parrot",
    },
    "categorization": {
        "baseball": "baseball",
        "bucket": "bucket",
        "bulb": "light bulb",
        "chair": "chair",
        "igloo": "igloo",
        "knife": "knife",
        "pan": "frying pan",
        "pillow": "pillow",
        "plate": "plate",
        "spoons": "spoon",
        "volleyball": "volleyball",
        "weighingMachine": "scales",
        "hammer": "hammer",
        "measuringTape": "measuring tape",
        "multimeter": "multimeter",
        "plier": "pliers",
        "scissors": "scissors",
        "screwDriver": "screwdriver",
        "sickle": "sickle",
        "sideCutter": "pliers",
        "spray": "spray bottle",
        "tweezer": "tweezers",
        "wrench": "wrench",
        "nailCutter": "nail clippers",
        "dam": "dam",
        "solar": "solar panel",
        "windmill": "windmill",
        "fish": "fish",
    },
}
_CATEGORIZATION_FOLDERS = ("/others/", "/tools/", "/renewable/", "/fishes/")


def read_gcompris(cache: Cache) -> list[Picture]:
    """Return the labelled photographs; their files are written into the cache folder."""
    folder = cache.package_folder("gcompris-qt-data") / ARCHIVE_FOLDER
    pictures = []
    for activity, labels in LABELS.items():
        for name, data in sorted(read_resources(folder / f"{activity}.rcc").items()):
            stem = re.sub(r"\d+$", "", Path(name).stem)
            if not name.endswith(".webp") or stem not in labels or _is_icon(activity, name):
                continue
            path = cache.root / "gcompris" / activity / Path(name).name
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            label = labels[stem]
            pictures.append(Picture(path, (label,), label, "train", activity, is_photograph=True))
    return pictures


def _is_icon(activity: str, name: str) -> bool:
    """Return whether a file of the categorization game is one of its drawings."""
    return activity == "categorization" and not any(f in name for f in _CATEGORIZATION_FOLDERS)
