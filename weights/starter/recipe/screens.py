"""Drawn screens: programs, web pages, code, chats, slides; and collages of photographs."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

from recipe.composites import Backgrounds
from recipe.pages import Pens, Sheet

_WIDTH, _HEIGHT = 640, 440


@dataclass(frozen=True)
class Screen:
    """One kind of screen and what people call it."""

    name: str
    draw: Callable[[Pens, Backgrounds, random.Random], Image.Image]
    captions: tuple[str, ...]


def _program(pens: Pens, backgrounds: Backgrounds, draw: random.Random) -> Image.Image:
    sheet = _desk(pens, draw, size=(_WIDTH, _HEIGHT))
    _title_bar(sheet)
    for number in range(draw.randint(5, 9)):
        sheet.write((10 + number * 62, 30), draw.choice(pens.words)[:7].title(), pens.sans, 13)
    for number in range(draw.randint(6, 18)):
        x = 10 + number * 34
        colour = tuple(draw.randint(60, 230) for _ in range(3))
        sheet.canvas.rectangle((x, 54, x + 22, 76), fill=colour)
    for row in range(14):
        sheet.write((12, 96 + row * 23), draw.choice(pens.words)[:14], pens.sans, 13)
    if draw.random() < 0.5:
        photo = backgrounds.crop(draw, 320, smallest=0.4)
        sheet.image.paste(photo.resize((470, 330)), (155, 92))
    else:
        for row in range(13):
            y = 96 + row * 25
            sheet.canvas.rectangle((155, y, 625, y + 24), outline=(190, 190, 190))
            sheet.write((162, y + 4), pens.line(draw, 4)[:46], pens.sans, 13)
    return sheet.image


def _dialog(pens: Pens, backgrounds: Backgrounds, draw: random.Random) -> Image.Image:
    sheet = _desk(pens, draw, size=(480, 340))
    _title_bar(sheet)
    for row in range(draw.randint(3, 6)):
        y = 50 + row * 36
        sheet.write((24, y), pens.line(draw, 2)[:18], pens.sans, 14)
        kind = draw.random()
        if kind < 0.5:
            box = (190, y - 3, 440, y + 20)
            sheet.canvas.rectangle(box, fill=(255, 255, 255), outline=(150, 150, 150))
        else:
            sheet.canvas.rectangle((190, y, 204, y + 14), outline=(90, 90, 90), width=2)
            sheet.write((214, y - 2), pens.line(draw, 2)[:20], pens.sans, 14)
    for number, label in enumerate(("Cancel", "OK")):
        box = (270 + number * 95, 295, 355 + number * 95, 323)
        sheet.canvas.rounded_rectangle(box, 5, fill=(210, 220, 235), outline=(120, 130, 150))
        sheet.write((box[0] + 18, 300), label, pens.sans, 15)
    return sheet.image


def _web_page(pens: Pens, backgrounds: Backgrounds, draw: random.Random) -> Image.Image:
    sheet = _desk(pens, draw, size=(_WIDTH, 560))
    sheet.image.paste((255, 255, 255), (0, 0, _WIDTH, 560))
    accent = tuple(draw.randint(20, 200) for _ in range(3))
    sheet.canvas.rectangle((0, 0, _WIDTH, 34), fill=(235, 236, 240))
    sheet.canvas.rounded_rectangle((90, 7, 560, 27), 9, fill=(255, 255, 255))
    sheet.write((104, 8), f"www.{draw.choice(pens.words).replace(' ', '')}.com", pens.sans, 13)
    sheet.canvas.rectangle((0, 34, _WIDTH, 80), fill=accent)
    sheet.write((24, 46), pens.line(draw, 2).title(), pens.sans, 21)
    sheet.image.paste(backgrounds.crop(draw, 300, smallest=0.4).resize((_WIDTH, 200)), (0, 80))
    for column in range(3):
        left = 24 + column * 204
        photo = backgrounds.crop(draw, 180, smallest=0.3).resize((184, 96))
        sheet.image.paste(photo, (left, 300))
        sheet.write((left, 402), pens.line(draw, 2).title()[:19], pens.sans, 16)
        sheet.paragraph((left, 426, left + 184, 540), pens.sans, 11)
    return sheet.image


def _code(pens: Pens, backgrounds: Backgrounds, draw: random.Random) -> Image.Image:
    sheet = _desk(pens, draw, size=(_WIDTH, _HEIGHT))
    is_dark = draw.random() < 0.65
    ground = (30, 31, 38) if is_dark else (252, 252, 250)
    sheet.image.paste(ground, (0, 0, _WIDTH, _HEIGHT))
    tones = (
        ((130, 200, 130), (220, 180, 110), (120, 170, 240), (225, 225, 225), (200, 120, 160))
        if is_dark
        else ((20, 120, 40), (150, 80, 20), (30, 60, 180), (40, 40, 40), (150, 30, 110))
    )
    indent = 0
    for row in range(24):
        indent = max(0, min(4, indent + draw.choice((-1, 0, 0, 1))))
        x = 44.0 + indent * 24
        sheet.ink = (120, 120, 120)
        sheet.write((8, 10 + row * 18), str(row + 1), pens.mono, 13)
        for _ in range(draw.randint(0, 5)):
            sheet.ink = draw.choice(tones)
            piece = draw.choice(pens.words).replace(" ", "_") + draw.choice((" ", "(", " = ", ":"))
            sheet.write((x, 10 + row * 18), piece, pens.mono, 14)
            x += 8.6 * len(piece)
    return sheet.image


def _chat(pens: Pens, backgrounds: Backgrounds, draw: random.Random) -> Image.Image:
    sheet = _desk(pens, draw, size=(300, 560))
    sheet.image.paste((236, 240, 243), (0, 0, 300, 560))
    accent = tuple(draw.randint(30, 200) for _ in range(3))
    sheet.canvas.rectangle((0, 0, 300, 56), fill=accent)
    sheet.ink = (255, 255, 255)
    sheet.write((60, 18), pens.line(draw, 1).title(), pens.sans, 19)
    sheet.canvas.ellipse((12, 12, 46, 46), fill=(220, 220, 220))
    sheet.ink = (30, 30, 30)
    y = 72
    while y < 500:
        is_mine, depth = draw.random() < 0.5, draw.choice((32, 50, 70))
        left = 100 if is_mine else 12
        fill = (205, 240, 200) if is_mine else (255, 255, 255)
        sheet.canvas.rounded_rectangle((left, y, left + 188, y + depth), 10, fill=fill)
        for line in range(depth // 19):
            text = pens.line(draw, 3)[:24]
            sheet.write((left + 10, y + 6 + line * 18), text, pens.sans, 13)
        y += depth + 12
    return sheet.image


def _slide(pens: Pens, backgrounds: Backgrounds, draw: random.Random) -> Image.Image:
    sheet = _desk(pens, draw, size=(_WIDTH, 360))
    sheet.image.paste((255, 255, 255), (0, 0, _WIDTH, 360))
    accent = tuple(draw.randint(20, 210) for _ in range(3))
    sheet.canvas.rectangle((0, 0, _WIDTH, 14), fill=accent)
    sheet.write((40, 40), pens.line(draw, 3).title(), pens.sans, 34)
    for row in range(draw.randint(3, 5)):
        y = 120 + row * 42
        sheet.canvas.ellipse((44, y + 7, 54, y + 17), fill=accent)
        sheet.write((68, y), pens.line(draw, 3), pens.sans, 22)
    if draw.random() < 0.5:
        sheet.image.paste(backgrounds.crop(draw, 200, smallest=0.4), (420, 130))
    return sheet.image


def _collage(pens: Pens, backgrounds: Backgrounds, draw: random.Random) -> Image.Image:
    side, count = 540, draw.choice((2, 3, 4))
    gap = draw.choice((0, 6, 12))
    image = Image.new("RGB", (side, side), draw.choice(((255, 255, 255), (20, 20, 20))))
    cell = (side - gap * (count + 1)) // count
    for row in range(count):
        for column in range(count):
            place = (gap + column * (cell + gap), gap + row * (cell + gap))
            image.paste(backgrounds.crop(draw, cell, smallest=0.3), place)
    return image


def _desk(pens: Pens, draw: random.Random, *, size: tuple[int, int]) -> Sheet:
    tone = draw.randint(225, 250)
    return Sheet(Image.new("RGB", size, (tone, tone, tone)), pens, draw)


def _title_bar(sheet: Sheet) -> None:
    draw = sheet.draw
    tone = draw.choice(((60, 90, 150), (50, 50, 55), (200, 205, 215), (90, 60, 110)))
    sheet.canvas.rectangle((0, 0, sheet.width, 24), fill=tone)
    ImageDraw.Draw(sheet.image).text((10, 5), sheet.pens.line(draw, 2).title(), fill="white")
    for number, colour in enumerate(((220, 80, 70), (230, 190, 70), (90, 180, 90))):
        x = sheet.width - 20 - number * 20
        sheet.canvas.ellipse((x, 6, x + 12, 18), fill=colour)


_SCREEN = ("screenshot", "screen capture", "computer screen")
SCREENS: tuple[Screen, ...] = (
    Screen("program", _program, ("screenshot of a program", "software window", *_SCREEN)),
    Screen("dialog", _dialog, ("dialog box", "settings window", "screenshot of a form", *_SCREEN)),
    Screen("web page", _web_page, ("screenshot of a website", "web page", "homepage", *_SCREEN)),
    Screen("code", _code, ("source code", "program code", "terminal", "code on a screen")),
    Screen("chat", _chat, ("chat messages", "screenshot of a chat", "phone screenshot")),
    Screen("slide", _slide, ("presentation slide", "slide of a talk")),
    Screen("collage", _collage, ("collage of photos", "photo collage", "many small pictures")),
)
