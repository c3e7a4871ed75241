"""Class folders of made drawings to fine-tune on: some worth learning, one with random labels.

Run by verdicts.py. Every drawing is different; the same seed makes the same ones.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIZE = 64  # pixels
Rng = np.random.Generator
Drawing = Callable[[str, Rng], Image.Image]

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "crescent", "arrow")
PATTERNS = ("horizontal stripes", "vertical stripes", "checks", "dots", "diagonal stripes", "waves")


def write_task(name: str, folder: Path, counts: dict[str, int], seed: int) -> None:
    """Write the class folders of a task.

    Args:
        name: "digits", "shapes", "patterns", or "random labels": digits whose names were drawn.
        folder: Where to; FOLDER/PART/CLASS/NUMBER.png.
        counts: Drawings a class, by part.
        seed: Of the drawings.
    """
    rng = np.random.default_rng([seed, sum(map(ord, name))])
    names, draw = TASKS[name]
    for part, count in counts.items():
        for label in names:
            place = folder / part / label
            place.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                shown = str(rng.choice(names)) if name == "random labels" else label
                draw(shown, rng).save(place / f"{number:03}.png")


def _ground(rng: Rng) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Return a noisy ground and a colour that stands out from it."""
    ground = rng.uniform(0, 255, 3)
    ink = rng.uniform(0, 255, 3)
    while np.abs(ink - ground).sum() < 200:
        ink = rng.uniform(0, 255, 3)
    noise = rng.normal(0, 25, (SIZE, SIZE, 3))
    red, green, blue = (int(value) for value in ink)
    return np.clip(ground + noise, 0, 255), (red, green, blue)


def _paste(
    ground: NDArray[np.float64], mask: Image.Image, ink: Sequence[int], rng: Rng
) -> Image.Image:
    turned = mask.rotate(float(rng.uniform(-25, 25)), resample=Image.Resampling.BILINEAR)
    share = np.asarray(turned, dtype=np.float64)[:, :, None] / 255
    pixels = ground * (1 - share) + np.array(ink) * share
    return Image.fromarray(pixels.astype(np.uint8))


def _draw_digit(label: str, rng: Rng) -> Image.Image:
    ground, ink = _ground(rng)
    mask = Image.new("L", (SIZE, SIZE))
    font = ImageFont.load_default(size=int(rng.integers(28, 56)))
    at = (int(rng.integers(8, 28)), int(rng.integers(0, 16)))
    ImageDraw.Draw(mask).text(at, str(DIGITS.index(label)), fill=255, font=font)
    return _paste(ground, mask, ink, rng)


def _draw_shape(label: str, rng: Rng) -> Image.Image:
    ground, ink = _ground(rng)
    mask = Image.new("L", (SIZE, SIZE))
    draw = ImageDraw.Draw(mask)
    radius = float(rng.uniform(12, 24))
    x, y = rng.uniform(radius, SIZE - radius, 2)
    box = (x - radius, y - radius, x + radius, y + radius)
    match label:
        case "circle":
            draw.ellipse(box, fill=255)
        case "square":
            draw.rectangle(box, fill=255)
        case "ring":
            draw.ellipse(box, outline=255, width=max(3, int(radius / 4)))
        case "crescent":
            draw.ellipse(box, fill=255)
            half = radius * 0.7
            draw.ellipse((x - half / 2, y - radius, x + radius + half, y + radius), fill=0)
        case "cross":
            third = radius / 3
            draw.rectangle((x - third, y - radius, x + third, y + radius), fill=255)
            draw.rectangle((x - radius, y - third, x + radius, y + third), fill=255)
        case "arrow":
            draw.polygon([(x, y - radius), (x + radius, y), (x - radius, y)], fill=255)
            draw.rectangle((x - radius / 3, y, x + radius / 3, y + radius), fill=255)
        case _:
            points = 3 if label == "triangle" else 10
            angles = np.linspace(0, 2 * np.pi, points, endpoint=False) - np.pi / 2
            lengths = np.where((np.arange(points) % 2 == 1) & (points > 3), 0.4, 1.0) * radius
            draw.polygon(
                [
                    (float(x + length * np.cos(angle)), float(y + length * np.sin(angle)))
                    for angle, length in zip(angles, lengths, strict=True)
                ],
                fill=255,
            )
    return _paste(ground, mask, ink, rng)


def _draw_pattern(label: str, rng: Rng) -> Image.Image:
    ground, ink = _ground(rng)
    period, phase = rng.uniform(8, 20), rng.uniform(0, 20)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    down, across = ((axis + phase) % period < period / 2 for axis in (rows, columns))
    match label:
        case "horizontal stripes":
            cells = down
        case "vertical stripes":
            cells = across
        case "checks":
            cells = down ^ across
        case "diagonal stripes":
            cells = (rows + columns + phase) % period < period / 2
        case "waves":
            cells = (rows + 5 * np.sin(columns / 6) + phase) % period < period / 2
        case _:
            centre = [((axis + phase) % period - period / 2) ** 2 for axis in (rows, columns)]
            cells = sum(centre) < (period / 3.5) ** 2
    mask = Image.fromarray((np.asarray(cells) * 255).astype(np.uint8))
    share = np.asarray(mask, dtype=np.float64)[:, :, None] / 255
    return Image.fromarray((ground * (1 - share) + np.array(ink) * share).astype(np.uint8))


TASKS: dict[str, tuple[tuple[str, ...], Drawing]] = {
    "digits": (DIGITS, _draw_digit),
    "shapes": (SHAPES, _draw_shape),
    "patterns": (PATTERNS, _draw_pattern),
    "random labels": (DIGITS, _draw_digit),
}
