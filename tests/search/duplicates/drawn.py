"""Images that are drawn for a test: pages that differ in their text, and copies of photographs."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WORDS = ("supply", "rebate", "metering", "network", "tax", "delivery", "balance", "printing")


def page(seed: int, layout: int = 0) -> Image.Image:
    """Return a page of text on one of some layouts; only what is written depends on the seed."""
    rng = np.random.default_rng(seed)
    paper = ("white", (250, 246, 236), (30, 32, 38))[layout % 3]
    ink = ("black", (20, 20, 60), (230, 230, 230))[layout % 3]
    size = 22 + 3 * (layout % 4)
    image = Image.new("RGB", (900, 1200), paper)
    draw = ImageDraw.Draw(image)
    draw.rectangle((60, 50, 260, 150), fill=((200, 30, 40), (20, 90, 160))[layout % 2])
    draw.text((300, 70), f"Company {layout}", ink, ImageFont.load_default(50))
    font = ImageFont.load_default(size)
    for row in range(8 + layout):
        top = 260 + (size + 30) * row
        draw.line((60, top, 840, top), "grey")
        draw.text((70, top + 8), " ".join(rng.choice(WORDS, 2)), ink, font)
        draw.text((620, top + 8), f"{rng.integers(100, 900)}.{rng.integers(10, 99)} EUR", ink, font)
    return image


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """Return the bytes of an image's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def scaled(image: Image.Image, share: float) -> Image.Image:
    """Return an image with a share of its width and height."""
    size = round(image.width * share), round(image.height * share)
    return image.resize(size, Image.Resampling.LANCZOS)


def cropped(
    image: Image.Image, left: float, top: float, right: float, bottom: float
) -> Image.Image:
    """Return an image with shares of it cut off."""
    width, height = image.size
    box = left * width, top * height, (1 - right) * width, (1 - bottom) * height
    return image.crop((round(box[0]), round(box[1]), round(box[2]), round(box[3])))


def with_turned_hues(image: Image.Image, steps: int) -> Image.Image:
    """Return an image whose hues are turned by so many of 256 steps."""
    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point([(level + steps) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def camera_exif(
    size: tuple[int, int], *, taken: str = "2024:06:01 12:30:00", changed: str | None = None
) -> Image.Exif:
    """Return EXIF data as a camera writes them into an image of this size."""
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Canon", "Canon EOS 80D"
    exif[0x0132] = changed or taken
    details = exif.get_ifd(0x8769)
    details[0x9003] = taken
    details[0xA002], details[0xA003] = size
    return exif


def save(path: Path, image: Image.Image, **options: object) -> Path:
    """Write an image and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)  # type: ignore[arg-type]
    return path
