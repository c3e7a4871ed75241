"""Images that look alike and are no copies: documents, recoloured graphics, frames of a burst.

All are made here, from numbers and from photographs, so that what is right is known. Each function
returns sets; within one set no two images are copies of each other.

How honest this is: documents and graphics are drawn as programs draw them, so they are the real
thing. A simulated burst has what separates two frames of a hand-held camera (a shift, a turn of up
to a degree, a change of perspective, fresh noise, and something that moved), but no parallax, no
wind in the leaves and no change of light: real bursts differ more. Frames from a tripod with
nothing that moved are made too; they differ in their noise alone.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WORDS = (
    *("supply", "energy", "rebate", "metering", "network", "delivery", "service", "balance"),
    *("paper", "printing", "transport", "storage", "insurance", "water", "heating", "repair"),
    *("cleaning", "licence", "support", "training", "rent", "fee", "tax", "of"),
)
NAMES = ("ACME Electricity", "Northern Water", "Hill & Sons", "City Library", "Blue Dental Care")
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "LiberationSans-Regular.ttf", "DejaVuSansMono.ttf")


def font(name: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font of the system, or Pillow's own where there is none of that name."""
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return ImageFont.load_default(size)


def png(image: Image.Image) -> bytes:
    """Return the bytes of an image as a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


# --- documents ----------------------------------------------------------------------------------


def invoice(rng: np.random.Generator, layout: int) -> Image.Image:
    """Return an invoice with few rows; the rest of the page is empty."""
    page = Image.new("RGB", (1240, 1754), "white")
    draw = ImageDraw.Draw(page)
    face = FONTS[layout % len(FONTS)]
    color = ((200, 30, 40), (20, 90, 160), (10, 120, 60), (90, 40, 120))[layout % 4]
    left = 80 + 20 * (layout % 3)
    draw.rectangle((left, 80, left + 220, 200), fill=color)
    draw.text((left + 250, 110), NAMES[layout % len(NAMES)], "black", font(face, 48))
    number, day = rng.integers(10000, 99999), rng.integers(1, 29)
    draw.text((left, 300), f"Invoice {number}   Date {day}.3.2024", "black", font(face, 24))
    for row in range(int(rng.integers(4, 8))):
        top = 420 + (50 + 4 * (layout % 3)) * row
        draw.line((left, top, 1160, top), "grey", 1)
        words = " ".join(rng.choice(WORDS, 2))
        draw.text((left + 10, top + 10), words.capitalize(), "black", font(face, 24))
        draw.text((900, top + 10), f"{rng.uniform(100, 900):.2f} EUR", "black", font(face, 24))
    draw.text((left, 1500), "Please pay within 14 days.", "black", font(face, 24))
    return page


def letter(rng: np.random.Generator, layout: int) -> Image.Image:
    """Return a page full of text."""
    page = Image.new("RGB", (1240, 1754), (255, 255, 255) if layout % 2 else (250, 247, 238))
    draw = ImageDraw.Draw(page)
    face = font(FONTS[layout % len(FONTS)], 26)
    draw.text((100, 90), NAMES[layout % len(NAMES)], "black", font(FONTS[0], 52))
    for row in range(34):
        words = " ".join(rng.choice(WORDS, 11))
        draw.text((100, 220 + 40 * row), words[:75], (20, 20, 30), face)
    return page


def screenshot(rng: np.random.Generator, layout: int) -> Image.Image:
    """Return a window of a program with a table; only what stands in the cells differs."""
    dark = layout % 2
    page = Image.new("RGB", (1366, 768), (30, 32, 38) if dark else (242, 243, 245))
    draw = ImageDraw.Draw(page)
    ink = "white" if dark else "black"
    face = FONTS[layout % len(FONTS)]
    draw.rectangle((0, 0, 1366, 48), fill=(60, 90, 150))
    draw.text((20, 12), "File  Edit  View  Help", "white", font(face, 18))
    draw.rectangle((0, 48, 220, 768), fill=(45, 48, 58) if dark else (225, 228, 232))
    for row in range(14):
        draw.text((20, 70 + 34 * row), WORDS[row].capitalize(), ink, font(face, 16))
    for row in range(16):
        top = 80 + 40 * row
        draw.line((240, top, 1340, top), "grey")
        for column in range(5):
            cell = f"{rng.integers(0, 99999)}" if column else str(rng.choice(WORDS))
            draw.text((250 + 220 * column, top + 10), cell, ink, font(face, 17))
    return page


def chat(rng: np.random.Generator, layout: int) -> Image.Image:
    """Return a telephone's screen with messages in bubbles of equal size."""
    page = Image.new("RGB", (720, 1280), (236, 229, 221))
    draw = ImageDraw.Draw(page)
    face = font(FONTS[layout % len(FONTS)], 26)
    draw.rectangle((0, 0, 720, 90), fill=(7, 94, 84))
    draw.text((90, 26), NAMES[layout % len(NAMES)], "white", face)
    for row in range(8):
        left, top = (40, 200)[row % 2], 120 + 135 * row
        fill = ("white", (220, 248, 198))[row % 2]
        draw.rounded_rectangle((left, top, left + 480, top + 110), 16, fill=fill)
        for line in range(2):
            words = " ".join(rng.choice(WORDS, 4))
            draw.text((left + 20, top + 18 + 38 * line), words[:30], "black", face)
    return page


DOCUMENTS: dict[str, Callable[[np.random.Generator, int], Image.Image]] = {
    "invoices": invoice,
    "letters": letter,
    "screenshots": screenshot,
    "chats": chat,
}


def document_sets(layouts: Sequence[int], number: int = 12) -> dict[str, list[Image.Image]]:
    """Return documents by kind and layout, on each layout some that differ in their text."""
    return {
        f"{kind} {layout}": [
            make(np.random.default_rng([layout, place]), layout) for place in range(number)
        ]
        for kind, make in DOCUMENTS.items()
        for layout in layouts
    }


# --- recoloured graphics ------------------------------------------------------------------------


def wallpaper(rng: np.random.Generator) -> Image.Image:
    """Return waves and discs in shades of few colours, as desktops come with."""
    height, width = 540, 960
    y, x = np.mgrid[0:height, 0:width] / height
    pixels = np.zeros((height, width, 3), np.float32)
    base, top = rng.uniform(30, 120, 3), rng.uniform(100, 250, 3)
    pixels += base + (top - base) * y[:, :, None]
    for _ in range(5):
        level = rng.uniform(0.2, 0.9) + rng.uniform(0.03, 0.12) * np.sin(
            rng.uniform(2, 7) * x + rng.uniform(0, 6)
        )
        pixels[y > level] = pixels[y > level] * 0.6 + 0.4 * rng.uniform(0, 255, 3)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        across, down, radius = rng.uniform(0, 960), rng.uniform(0, 540), rng.uniform(20, 90)
        box = (across - radius, down - radius, across + radius, down + radius)
        draw.ellipse(box, fill=tuple(int(level) for level in rng.integers(0, 256, 3)))
    return image


def with_turned_hues(image: Image.Image, degrees: float) -> Image.Image:
    """Return an image whose colours are turned around the wheel; its greys stay."""
    hue, saturation, value = image.convert("HSV").split()
    turned = hue.point(lambda level: (level + round(degrees * 256 / 360)) % 256)
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def recolored_sets(
    photographs: Sequence[Image.Image], seed: int, number: int = 12
) -> dict[str, list[Image.Image]]:
    """Return drawn wallpapers and photographs, each in seven colourings."""
    rng = np.random.default_rng(seed)
    sources = {f"wallpaper {place}": wallpaper(rng) for place in range(number)}
    sources |= {f"photograph {place}": image for place, image in enumerate(photographs)}
    turns = (0, 45, 90, 135, 180, 240, 300)
    return {
        name: [with_turned_hues(image, degrees) for degrees in turns]
        for name, image in sources.items()
    }


# --- bursts -------------------------------------------------------------------------------------


def burst(
    scene: Image.Image,
    things: Sequence[Image.Image],
    rng: np.random.Generator,
    *,
    is_held: bool,
    number: int = 5,
) -> list[Image.Image]:
    """Return frames of one scene, each an exposure of its own.

    Args:
        scene: What stands still, at least 400 pixels wide.
        things: Cut-outs with transparency that move through it; none is a still life.
        rng: Makes the movements and the noise.
        is_held: Whether a hand holds the camera, not a tripod.
        number: How many frames.

    Returns:
        Frames of the scene's size less a border of 6 %.
    """
    width, height = scene.size
    border = round(0.06 * min(scene.size))
    frames = []
    places = rng.uniform(0.15, 0.85, (len(things), 2))
    for _ in range(number):
        frame = scene.copy()
        places = np.clip(places + rng.normal(0, 0.05, places.shape), 0.02, 0.95)
        for thing, (across, down) in zip(things, places, strict=True):
            at = (
                round(across * width - thing.width / 2),
                round(down * height - thing.height / 2),
            )
            frame.paste(thing, at, thing)
        if is_held:
            frame = _held(frame, rng)
        frame = frame.crop((border, border, width - border, height - border))
        light = np.asarray(frame, np.float32) * rng.normal(1, 0.01)
        noisy = light + rng.normal(0, 3, light.shape)
        frames.append(Image.fromarray(noisy.clip(0, 255).astype(np.uint8)))
    return frames


def _held(frame: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a frame as a hand moved the camera: shifted, turned, and seen from elsewhere."""
    width, height = frame.size
    turn = np.radians(rng.normal(0, 0.5))
    shift = rng.normal(0, 0.006, 2) * max(frame.size)
    corners = np.array([(0, 0), (0, height), (width, height), (width, 0)], float)
    middle = np.array([width / 2, height / 2])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    moved = (corners - middle) @ rotation.T + middle + shift
    moved += rng.normal(0, 0.003 * max(frame.size), moved.shape)
    return frame.transform(
        frame.size, Image.Transform.QUAD, tuple(moved.ravel()), Image.Resampling.BICUBIC
    )
