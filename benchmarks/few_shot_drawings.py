"""The script that draws the emoji and the stamps of few_shot_sets.py into class folders.

Run as  python few_shot_drawings.py emoji|stamps DIRECTORY , with resvg_py, and with the recipe of
the starter on PYTHONPATH: packages are fetched, checked and read as there.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from emoji_drawings import HELD_OUT, ICON_PACKAGES, icon_drawer, vendors
from few_shot_folders import halves, join_kinds, write_card
from PIL import Image
from recipe.emoji import read_emoji
from recipe.packages import PACKAGES, Cache, Package
from recipe.picture import Picture, UnreadablePictureError, on_white, open_picture, pad_to_square
from recipe.stamps import STAMP_FOLDER

CACHE = Cache(Path.home() / ".cache" / "clipkit-starter")
_SIZE = 224  # pixels of a side

# Code points and the noun that a person would say.
CONCEPTS = {
    "1F415": "dog",
    "1F408": "cat",
    "1F404": "cow",
    "1F416": "pig",
    "1F410": "goat",
    "1F40E": "horse",
    "1F418": "elephant",
    "1F412": "monkey",
    "1F405": "tiger",
    "1F428": "koala",
    "1F414": "chicken",
    "1F413": "rooster",
    "1F40A": "crocodile",
    "1F422": "turtle",
    "1F40D": "snake",
    "1F42C": "dolphin",
    "1F40C": "snail",
    "1F41D": "bee",
    "1F41C": "ant",
    "1F339": "rose",
    "1F337": "tulip",
    "1F344": "mushroom",
    "1F347": "grapes",
    "1F34A": "orange",
    "1F34B": "lemon",
    "1F34E": "apple",
    "1F350": "pear",
    "1F351": "peach",
    "1F352": "cherries",
    "1F345": "tomato",
    "1F35E": "bread",
    "1F36A": "cookie",
    "1F36F": "honey pot",
    "1F37A": "mug of beer",
    "1F377": "glass of wine",
    "1F680": "rocket",
    "1F697": "car",
    "1F68C": "bus",
    "1F692": "fire engine",
    "1F6B2": "bicycle",
    "26F5": "sailboat",
    "1F681": "helicopter",
    "1F3B8": "guitar",
    "1F3B9": "piano keyboard",
    "1F3BA": "trumpet",
    "1F3BB": "violin",
    "1F4FA": "television",
    "1F52D": "telescope",
    "1F4D6": "book",
    "1F451": "crown",
    "1F456": "jeans",
    "1F388": "balloon",
    "1F6BD": "toilet",
    "1F6C1": "bathtub",
}
TEST_VENDORS = (HELD_OUT, "streamline")
_FLUENT_3D = Package(
    "npm",
    "@lobehub/fluent-emoji-3d",
    "1.1.0",
    "lobehub-fluent-emoji-3d-1.1.0.tgz",
    "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    "MIT (Microsoft)",
    "evaluation",
)
_MORE_ICONS = {
    "emojione": Package(
        "npm",
        "@iconify-json/emojione",
        "1.2.3",
        "iconify-json-emojione-1.2.3.tgz",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
        "CC-BY-4.0 (EmojiOne, second design)",
        "evaluation",
    ),
    "emojione-v1": Package(
        "npm",
        "@iconify-json/emojione-v1",
        "1.2.3",
        "iconify-json-emojione-v1-1.2.3.tgz",
        "6641d59d48a42823fdc2b84e7427e9f302944eb98d2c7d94d6e67c139e7b37b3",
        "CC-BY-SA-4.0 (EmojiOne, first design)",
        "evaluation",
    ),
    "streamline": Package(
        "npm",
        "@iconify-json/streamline-emojis",
        "1.2.4",
        "iconify-json-streamline-emojis-1.2.4.tgz",
        "5dac87c876b322500989828c5823143e0100d78881627a2e4081a4b897cbfdbc",
        "CC-BY-4.0 (Streamline)",
        "evaluation",
    ),
}
_EMOJI_PACKAGES = (
    "emoji-datasource-google",
    "emoji-datasource-twitter",
    "emojilib",
    "cldr-annotations-full",
    HELD_OUT,
)

# The folders of a class, and the names of files in them that show something else.
STAMPS = {
    "bird": ("animals/birds", "tux|pengwin|penguin_with"),
    "insect": ("animals/insects", "slug|woodlouse|snail|spider|wings"),
    "mammal": ("animals/mammals animals/marsupials", "teddy|edward"),
    "fish": ("animals/fish", "lobster|seahorse|shrimp"),
    "fruit": ("food/fruit", ""),
    "vegetable": ("food/vegetables", "mushroom"),
    "flower": ("plants/flowers", ""),
    "vehicle": ("vehicles", "7spoke|bikewheel|tyre|wheel_|trainSign|sedan_police"),
    "clothing": ("clothes", "hats/|armor/|hanger|clothespin|button"),
    "hat": ("clothes/hats", ""),
    "tool": ("household/tools", ""),
    "kitchenware": ("household/dishes", ""),
    "electronic device": ("household/electronics", ""),
    "musical instrument": ("hobbies/music", ""),
    "building": ("town/houses", "cave|city.png"),
    "road sign": ("town/roadsigns", "stoplight|traffic_cone"),
    "coin": (
        "symbols/money/us/coins symbols/money/euro/coins symbols/money/canadian/coins "
        "symbols/money/japanese",
        "",
    ),
}
_VARIANT = re.compile(r"_(mirror|flip|mirror_flip)\.")
_MIN_KIND = 3  # letters
_ANY_KIND = frozenset(
    ["iso", "toy", "little", "ahead", "red", "blue", "green", "brown", "white", "yellow"]
)


def make_emoji(directory: Path) -> None:
    """Draw every concept by ten vendors: eight to learn from, two to measure on."""
    packages = [package for package in PACKAGES if package.name in _EMOJI_PACKAGES]
    packages += [*ICON_PACKAGES.values(), *_MORE_ICONS.values(), _FLUENT_3D]
    for package in packages:
        CACHE.fetch(package)
    drawers = _drawers()
    by_code = {emoji.concept: emoji for emoji in read_emoji(CACHE, "google")}
    for code, name in CONCEPTS.items():
        for vendor, draw in drawers.items():
            image = draw(by_code[code])
            if image is None:
                raise ValueError(f"{vendor} has no drawing of {name}")
            half = "test" if vendor in TEST_VENDORS else "train"
            save_cutout(image, directory / half / name / f"{vendor}.png")
    unseen = [name for code, name in CONCEPTS.items() if by_code[code].split == "test"]
    about = f"""# Emoji of {len(CONCEPTS)} things by {len(drawers)} vendors

The test images are those of {" and ".join(TEST_VENDORS)}. The starter was trained on google and
twitter, without {", ".join(unseen)}, and on no other vendor."""
    write_card(directory, about, packages)


def _drawers() -> dict[str, Callable[[Picture], Image.Image | None]]:
    """Return what draws an emoji, by vendor."""
    three_dimensional = CACHE.folder(_FLUENT_3D) / "package" / "assets"

    def draw_fluent_3d(emoji: Picture) -> Image.Image | None:
        path = three_dimensional / f"{emoji.concept.lower()}.webp"
        return open_picture(path) if path.is_file() else None

    more = {
        vendor: icon_drawer(CACHE.folder(package) / "package" / "icons.json")
        for vendor, package in _MORE_ICONS.items()
    }
    return {**vendors(CACHE), **more, "fluent-3d": draw_fluent_3d}


def make_stamps(directory: Path) -> None:
    """Copy stamps by category onto white; what shows one kind of thing is in one half."""
    package = next(one for one in PACKAGES if one.name == "tuxpaint-stamps-default")
    CACHE.fetch(package)
    root = CACHE.folder(package) / STAMP_FOLDER
    for name, (folders, others) in STAMPS.items():
        images = {
            path: image
            for folder in folders.split()
            for path in find_stamps(root / folder)
            if not (others and re.search(others, str(path.relative_to(root))))
            and (image := _open_stamp(path))
        }
        kinds = join_kinds([_words(path, name) for path in images])
        for (path, image), half in zip(images.items(), halves(kinds), strict=True):
            place = str(path.relative_to(root).with_suffix("")).replace("/", "-")
            save_cutout(image, directory / half / name / f"{place}.png")
    about = """# Tux Paint's stamps by category

Photographs cut out and drawings, on white, without mirrored ones. Stamps that share the last word
of their captions, or the name of their file, are in one half. The starter was trained on none."""
    write_card(directory, about, [package])


def _open_stamp(path: Path) -> Image.Image | None:
    """Return a stamp, None where it cannot be drawn: some of the SVG have no size."""
    try:
        return open_picture(path)
    except UnreadablePictureError:
        return None


def save_cutout(image: Image.Image, path: Path) -> None:
    """Save a drawing or a thing that was cut out: on white, padded to a square of 224 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    square = pad_to_square(on_white(image))
    square.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS).save(path)


def find_stamps(folder: Path) -> list[Path]:
    """Return the stamps below a folder, without mirrored ones; of an SVG and its PNG the PNG."""
    paths = [path for path in folder.rglob("*") if path.suffix in (".png", ".svg")]
    kept = [path for path in paths if not _VARIANT.search(path.name)]
    return sorted(p for p in kept if p.suffix == ".png" or not p.with_suffix(".png").is_file())


def _words(path: Path, class_name: str) -> set[str]:
    """Return the words that say what kind of thing a stamp shows."""
    if "money" in path.parts:  # the coins of a country look alike
        return {path.parts[path.parts.index("money") + 1]}
    captions = path.with_suffix(".txt")
    text = captions.read_text(encoding="utf-8", errors="replace") if captions.is_file() else ""
    first = re.sub(r"\(.*?\)", "", text.partition("\n")[0]).lower()
    words = re.findall(r"[a-z]+", first)[-1:] + re.findall(r"[a-z]+", path.stem.lower())
    singular = {word.removesuffix("s") for word in words if len(word) >= _MIN_KIND}
    return (singular - {*class_name.split(), *_ANY_KIND}) or {path.stem}


if __name__ == "__main__":
    {"emoji": make_emoji, "stamps": make_stamps}[sys.argv[1]](Path(sys.argv[2]))
