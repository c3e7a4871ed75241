"""Drawn pages: letters, articles, invoices, handwriting, tables, charts, diagrams and maps.

They say what kind of picture it is. What is written on them is chance: the head cannot read.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from recipe.backgrounds import CAPTION_FILE
from recipe.imagenet import EVERYDAY_FILE
from recipe.packages import Cache

_WIDTH = 520  # pixels of a page before the tower's own size


@dataclass(frozen=True)
class Pens:
    """Typefaces and words that pages are written with."""

    serif: Path
    sans: Path
    mono: Path
    hand: Path
    words: Sequence[str]

    def line(self, draw: random.Random, count: int) -> str:
        """Return so many random words."""
        return " ".join(draw.choice(self.words) for _ in range(count))


def read_pens(cache: Cache) -> Pens:
    """Return free typefaces, and the words of the captions that people wrote."""
    fonts = Path("usr/share/fonts/truetype")
    printed = cache.package_folder("fonts-liberation") / fonts / "liberation"
    text = CAPTION_FILE.read_text(encoding="utf-8") + EVERYDAY_FILE.read_text(encoding="utf-8")
    return Pens(
        serif=printed / "LiberationSerif-Regular.ttf",
        sans=printed / "LiberationSans-Regular.ttf",
        mono=printed / "LiberationMono-Regular.ttf",
        hand=cache.package_folder("fonts-breip") / fonts / "breip/Breip.ttf",
        words=sorted(set(re.findall(r"[a-z]{3,11}", text.lower()))),
    )


@dataclass
class Sheet:
    """A blank page with its canvas."""

    image: Image.Image
    pens: Pens
    draw: random.Random
    ink: tuple[int, int, int] = (30, 30, 35)
    canvas: ImageDraw.ImageDraw = field(init=False)

    def __post_init__(self) -> None:
        """Open the canvas."""
        self.canvas = ImageDraw.Draw(self.image)

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.image.width

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.image.height

    def write(self, place: tuple[float, float], text: str, font: Path, size: float) -> None:
        """Write one line."""
        face = ImageFont.truetype(str(font), int(size))
        self.canvas.text(place, text, fill=self.ink, font=face)

    def paragraph(self, box: tuple[float, float, float, float], font: Path, size: float) -> None:
        """Fill a box (left, top, right, bottom) with lines of words, the last ones shorter."""
        left, top, right, bottom = box
        face = ImageFont.truetype(str(font), int(size))
        y = top
        while y + size < bottom:
            if self.draw.random() < 0.08:  # a new paragraph
                y += size * 0.9
                continue
            share = self.draw.uniform(0.4, 0.8) if self.draw.random() < 0.15 else 1.0
            text = ""
            while face.getlength(text) < (right - left) * share - size * 3:
                text += self.draw.choice(self.pens.words) + " "
            self.canvas.text((left, y), text.strip(), fill=self.ink, font=face)
            y += size * 1.35


@dataclass(frozen=True)
class Page:
    """One kind of page and what people call it."""

    name: str
    draw: Callable[[Pens, random.Random], Image.Image]
    captions: tuple[str, ...]


def _blank(pens: Pens, draw: random.Random, *, aspect: float = 1.35) -> Sheet:
    tone = draw.randint(238, 255)
    paper = (tone, tone - draw.randint(0, 3), tone - draw.randint(0, 14))
    return Sheet(Image.new("RGB", (_WIDTH, int(_WIDTH * aspect)), paper), pens, draw)


def _letter(pens: Pens, draw: random.Random) -> Image.Image:
    sheet = _blank(pens, draw)
    font, size = draw.choice((pens.serif, pens.sans, pens.mono)), draw.uniform(11, 17)
    margin = sheet.width * draw.uniform(0.08, 0.15)
    y = margin
    if draw.random() < 0.6:
        sheet.write((margin, y), pens.line(draw, 3).title(), font, size * 1.8)
        y += size * 4
    sheet.paragraph((margin, y, sheet.width - margin, sheet.height - margin), font, size)
    return sheet.image


def _article(pens: Pens, draw: random.Random) -> Image.Image:
    sheet = _blank(pens, draw)
    columns, margin, size = draw.choice((2, 3, 4)), 26, draw.uniform(8, 12)
    sheet.write((margin, margin), pens.line(draw, 4).title(), pens.serif, draw.uniform(26, 38))
    top = margin + draw.uniform(55, 90)
    step = (sheet.width - 2 * margin) / columns
    for column in range(columns):
        left = margin + column * step
        start = top
        if draw.random() < 0.35:
            depth = draw.uniform(60, 140)
            shade = draw.randint(90, 190)
            box = (left, top, left + step - 12, top + depth)
            sheet.canvas.rectangle(box, fill=(shade, shade, shade))
            start += depth + 8
        box = (left, start, left + step - 10, sheet.height - margin)
        sheet.paragraph(box, pens.serif, size)
    return sheet.image


def _invoice(pens: Pens, draw: random.Random) -> Image.Image:
    sheet = _blank(pens, draw)
    size, margin = 13, 36
    sheet.write((margin, 30), draw.choice(("INVOICE", "Invoice", "BILL", "Order")), pens.sans, 30)
    for row in range(3):
        sheet.write((margin, 80 + row * 18), pens.line(draw, 3), pens.sans, size)
        number = f"{draw.randint(1000, 99999)}"
        sheet.write((sheet.width - 150, 80 + row * 18), f"No. {number}", pens.sans, size)
    rows = draw.randint(5, 14)
    for row in range(rows):
        y = 170 + row * 26
        sheet.canvas.line((margin, y, sheet.width - margin, y), fill=(150, 150, 150))
        sheet.write((margin + 4, y + 5), pens.line(draw, 2), pens.sans, size)
        price = f"{draw.uniform(1, 900):.2f}"
        sheet.write((sheet.width - 120, y + 5), price, pens.sans, size)
    y = 170 + rows * 26
    sheet.canvas.line((margin, y, sheet.width - margin, y), fill=sheet.ink, width=2)
    sheet.write((sheet.width - 190, y + 10), f"Total {draw.uniform(9, 9000):.2f}", pens.sans, 17)
    return sheet.image


def _receipt(pens: Pens, draw: random.Random) -> Image.Image:
    sheet = _blank(pens, draw, aspect=1.4)
    desk = tuple(draw.randint(60, 200) for _ in range(3))
    sheet.image.paste(desk, (0, 0, sheet.width, sheet.height))
    left, right = int(sheet.width * 0.28), int(sheet.width * 0.72)
    sheet.canvas.rectangle((left, 20, right, sheet.height - 20), fill=(250, 250, 246))
    sheet.write((left + 40, 40), pens.line(draw, 2).upper(), pens.mono, 16)
    for row in range(draw.randint(12, 26)):
        y = 90 + row * 20
        sheet.write((left + 14, y), draw.choice(pens.words)[:14], pens.mono, 13)
        sheet.write((right - 70, y), f"{draw.uniform(0.2, 99):.2f}", pens.mono, 13)
    return sheet.image


def _handwriting(pens: Pens, draw: random.Random) -> Image.Image:
    sheet = _blank(pens, draw)
    sheet.ink = draw.choice(((25, 35, 110), (30, 30, 30), (90, 30, 30)))
    size = draw.uniform(20, 34)
    if draw.random() < 0.6:
        for y in range(40, sheet.height, int(size * 1.35)):
            sheet.canvas.line((0, y, sheet.width, y), fill=(170, 190, 220))
    box = (36, 40 - size * 0.9, sheet.width - 30, sheet.height - 20)
    sheet.paragraph(box, pens.hand, size)
    return sheet.image


def _table(pens: Pens, draw: random.Random) -> Image.Image:
    sheet = _blank(pens, draw, aspect=draw.choice((0.75, 1.2)))
    columns, rows = draw.randint(3, 7), draw.randint(8, 22)
    width, height = (sheet.width - 40) / columns, (sheet.height - 40) / rows
    head = tuple(draw.randint(150, 235) for _ in range(3))
    sheet.canvas.rectangle((20, 20, sheet.width - 20, 20 + height), fill=head)
    size = min(13, height * 0.6)
    for row in range(rows):
        for column in range(columns):
            box = (
                20 + column * width,
                20 + row * height,
                20 + (column + 1) * width,
                20 + (row + 1) * height,
            )
            sheet.canvas.rectangle(box, outline=(160, 160, 160))
            is_word = row == 0 or column == 0
            text = draw.choice(pens.words)[:10] if is_word else f"{draw.uniform(0, 999):.1f}"
            sheet.write((box[0] + 4, box[1] + 3), text, pens.sans, size)
    return sheet.image


def _axes(sheet: Sheet) -> tuple[float, float, float, float]:
    left, top, right, bottom = 60.0, 60.0, sheet.width - 30.0, sheet.height - 50.0
    sheet.write((left, 18), sheet.pens.line(sheet.draw, 3), sheet.pens.sans, 20)
    for step in range(6):
        y = bottom - step * (bottom - top) / 5
        sheet.canvas.line((left, y, right, y), fill=(215, 215, 215))
        sheet.write((18, y - 8), str(step * 20), sheet.pens.sans, 12)
    sheet.canvas.line((left, top, left, bottom), fill=sheet.ink, width=2)
    sheet.canvas.line((left, bottom, right, bottom), fill=sheet.ink, width=2)
    return left, top, right, bottom


def _bars(pens: Pens, draw: random.Random) -> Image.Image:
    sheet = _blank(pens, draw, aspect=0.75)
    left, top, right, bottom = _axes(sheet)
    count = draw.randint(4, 10)
    step = (right - left) / count
    fill = _vivid(draw)
    for number in range(count):
        height = (bottom - top) * draw.uniform(0.1, 1)
        x = left + number * step + step * 0.15
        colour = _vivid(draw) if draw.random() < 0.3 else fill
        sheet.canvas.rectangle((x, bottom - height, x + step * 0.7, bottom), fill=colour)
    return sheet.image


def _lines(pens: Pens, draw: random.Random) -> Image.Image:
    sheet = _blank(pens, draw, aspect=0.75)
    left, top, right, bottom = _axes(sheet)
    for _ in range(draw.randint(1, 4)):
        level, points = draw.uniform(0.2, 0.8), []
        for step in range(24):
            level = min(1.0, max(0.0, level + draw.gauss(0, 0.08)))
            points.append((left + step * (right - left) / 23, bottom - level * (bottom - top)))
        sheet.canvas.line(points, fill=_vivid(draw), width=3)
    return sheet.image


def _pie(pens: Pens, draw: random.Random) -> Image.Image:
    sheet = _blank(pens, draw, aspect=0.8)
    sheet.write((40, 16), pens.line(draw, 3), pens.sans, 20)
    shares = [draw.uniform(0.3, 1) for _ in range(draw.randint(3, 7))]
    start, box = 0.0, (90, 60, 90 + sheet.height - 110, sheet.height - 50)
    for number, share in enumerate(shares):
        end = start + 360 * share / sum(shares)
        colour = _vivid(draw)
        sheet.canvas.pieslice(box, start, end, fill=colour, outline=(255, 255, 255))
        y = 80 + number * 28
        sheet.canvas.rectangle((sheet.width - 90, y, sheet.width - 74, y + 16), fill=colour)
        sheet.write((sheet.width - 68, y), draw.choice(pens.words)[:8], pens.sans, 13)
        start = end
    return sheet.image


def _diagram(pens: Pens, draw: random.Random) -> Image.Image:
    sheet = _blank(pens, draw, aspect=draw.choice((0.8, 1.1)))
    columns, rows = draw.randint(2, 4), draw.randint(2, 4)
    centres = [
        ((column + 0.5) * sheet.width / columns, (row + 0.5) * sheet.height / rows)
        for row in range(rows)
        for column in range(columns)
        if draw.random() < 0.85
    ]
    for first, second in itertools.pairwise(centres):
        sheet.canvas.line((*first, *second), fill=sheet.ink, width=2)
    fill = tuple(draw.randint(190, 250) for _ in range(3))
    for x, y in centres:
        box = (x - 52, y - 24, x + 52, y + 24)
        if draw.random() < 0.7:
            sheet.canvas.rounded_rectangle(box, 8, fill=fill, outline=sheet.ink, width=2)
        else:
            sheet.canvas.ellipse(box, fill=fill, outline=sheet.ink, width=2)
        sheet.write((x - 40, y - 8), draw.choice(pens.words)[:11], pens.sans, 13)
    return sheet.image


def _map(pens: Pens, draw: random.Random) -> Image.Image:
    sheet = _blank(pens, draw, aspect=draw.choice((0.8, 1.0)))
    land = (draw.randint(225, 245), draw.randint(225, 240), draw.randint(200, 225))
    sheet.image.paste(land, (0, 0, sheet.width, sheet.height))
    for _ in range(draw.randint(1, 4)):
        colour = draw.choice(((170, 205, 235), (190, 220, 175), (205, 225, 190)))
        sheet.canvas.polygon(_blob(sheet, draw), fill=colour)
    for _ in range(draw.randint(8, 20)):
        points = [(draw.uniform(0, sheet.width), draw.uniform(0, sheet.height))]
        heading = draw.uniform(0, 2 * math.pi)
        for _ in range(14):
            heading += draw.gauss(0, 0.25)
            x, y = points[-1]
            points.append((x + 55 * math.cos(heading), y + 55 * math.sin(heading)))
        width = draw.choice((2, 3, 6))
        sheet.canvas.line(points, fill=(150, 150, 150), width=width + 2)
        colour = draw.choice(((255, 255, 255), (250, 215, 120), (240, 160, 120)))
        sheet.canvas.line(points, fill=colour, width=width)
    for _ in range(draw.randint(6, 14)):
        place = (draw.uniform(0, sheet.width - 80), draw.uniform(0, sheet.height - 20))
        sheet.write(place, draw.choice(pens.words).title(), pens.sans, draw.uniform(11, 19))
    return sheet.image


def _blob(sheet: Sheet, draw: random.Random) -> list[tuple[float, float]]:
    x, y = draw.uniform(0, sheet.width), draw.uniform(0, sheet.height)
    radius = draw.uniform(60, 260)
    points = []
    for step in range(28):
        angle, length = step * 2 * math.pi / 28, radius * draw.uniform(0.75, 1.15)
        points.append((x + length * math.cos(angle), y + length * math.sin(angle)))
    return points


def _vivid(draw: random.Random) -> tuple[int, int, int]:
    """Return a strong colour of a random hue."""
    angle = draw.uniform(0, 2 * math.pi)
    red, green, blue = (128 + int(105 * math.cos(angle + third)) for third in (0.0, 2.09, 4.19))
    return red, green, blue


_PAPER = ("document", "page of text", "printed page", "scanned document", "paper")
PAGES: tuple[Page, ...] = (
    Page("letter", _letter, ("letter", "typed letter", "text document", *_PAPER)),
    Page("article", _article, ("newspaper page", "newspaper article", "magazine page", *_PAPER)),
    Page("invoice", _invoice, ("invoice", "bill", "filled-in form", "document", "paperwork")),
    Page("receipt", _receipt, ("receipt", "sales slip", "till receipt", "shopping receipt")),
    Page("handwriting", _handwriting, ("handwriting", "handwritten letter", "handwritten note")),
    Page("table", _table, ("table of numbers", "spreadsheet", "data table", "document")),
    Page("bar chart", _bars, ("bar chart", "chart", "graph", "statistics")),
    Page("line chart", _lines, ("line chart", "chart", "graph", "plot of a curve")),
    Page("pie chart", _pie, ("pie chart", "chart", "infographic")),
    Page("diagram", _diagram, ("diagram", "flow chart", "schematic drawing")),
    Page("map", _map, ("map", "street map", "city map", "road map")),
)
