"""Damaged and unusual images, as the bytes of their files, by name.

All that `alike_images` returns shows the same stripes once it is upright and in RGB.
"""

import struct
import zlib
from io import BytesIO

from PIL import Image, ImageCms

_SIDE = 60_000  # of a bomb, pixels


def stripes() -> Image.Image:
    """Return a small image that no turn or mirror leaves as it is."""
    image = Image.new("RGB", (48, 32), (240, 240, 240))
    image.paste((200, 30, 30), (0, 0, 16, 32))
    image.paste((30, 30, 200), (0, 0, 48, 8))
    return image


def encoded(image: Image.Image, image_format: str, **options: object) -> bytes:
    """Return an image's file."""
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def alike_images() -> dict[str, bytes]:
    """Return the same pixels in many disguises, none of which loses any."""
    image = stripes()
    png, palette = encoded(image, "PNG"), image.quantize(4)
    frames = [Image.new("RGB", image.size, color) for color in ("black", "green")]
    images = {
        "plain.png": png,
        "PLAIN.PNG": png,
        "Mixed.JpEg": png,
        "double.tar.png": png,
        "double.jpg.png": png,
        "png_and_more.png": png + b"\0" * 10_000,
        "really_png.jpg": png,
        "really_tiff.gif": encoded(image, "TIFF"),
        "really_bmp.heic": encoded(image, "BMP"),
        "really_webp.png": encoded(image, "WEBP", lossless=True),
        "palette.png": encoded(palette, "PNG"),
        "palette_alpha.png": encoded(palette, "PNG", transparency=bytes([255] * 4)),
        "alpha.png": encoded(image.convert("RGBA"), "PNG"),
        "animated.png": encoded(image, "PNG", save_all=True, append_images=frames),
        "animated.gif": encoded(image, "GIF", save_all=True, append_images=frames),
        "pages.tif": encoded(image, "TIFF", save_all=True, append_images=frames),
        "damaged_exif.png": encoded(image, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
        "cut_profile.png": encoded(image, "PNG", icc_profile=_color_profile()[:100]),
        "no_profile.tif": encoded(image, "TIFF", icc_profile=b"no profile"),
    }
    for turn, undo in _TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = turn
        turned = image if undo is None else image.transpose(undo)
        images[f"turned_{turn}.png"] = encoded(turned, "PNG", exif=exif)
    return images


# What makes an image that this EXIF orientation turns upright again.
_TURNS = {
    0: None,  # no orientation there is
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
    99: None,
}


def other_images() -> dict[str, bytes]:
    """Return images of strange sizes and kinds, all of which can be read."""
    image = stripes()
    grey = image.convert("L")
    deep = grey.convert("I").point(lambda value: value * 257).convert("I;16")
    damaged_exif = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01"
    return {
        "dot.png": encoded(image.resize((1, 1)), "PNG"),
        "line.png": encoded(image.resize((1, 10_000)), "PNG"),
        "wire.png": encoded(image.resize((10_000, 1)), "PNG"),
        "grey.png": encoded(grey, "PNG"),
        "one_bit.png": encoded(image.convert("1"), "PNG"),
        "sixteen_bits.png": encoded(deep, "PNG"),
        "sixteen_bits.tif": encoded(deep, "TIFF"),
        "floats.tif": encoded(grey.convert("F"), "TIFF"),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "cmyk.tif": encoded(image.convert("CMYK"), "TIFF"),
        "damaged_exif.jpg": encoded(image, "JPEG", exif=damaged_exif),
        "cut_profile.jpg": encoded(image, "JPEG", icc_profile=_color_profile()[:100]),
        "lossy.jp2": encoded(image, "JPEG2000"),
        "lossy.avif": encoded(image, "AVIF"),
    }


def no_images() -> dict[str, bytes]:
    """Return files that are called images and are something else."""
    return {
        "one_byte.jpg": b"\xff",
        "text.jpg": b"this is no image\n" * 50,
        "page.png": b"<!DOCTYPE html><html><body>404</body></html>",
        "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
        "paper.jpg": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "script.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "archive.png": b"PK\x03\x04" + b"\0" * 100,
        "film.jpg": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + b"\0" * 100,
        "zeros.jpg": b"\0" * 100_000,
        "noise.jpg": bytes((i * 7919 + 13) % 251 for i in range(10_000)),
        "escape.jpg": b"\x1b[2J\x1b[31m\n\r\0",
    }


def cut_images() -> dict[str, bytes]:
    """Return images of every format, cut off at several places."""
    noisy = Image.effect_noise((64, 64), 100).convert("RGB")  # its data fill the file to its end
    images: dict[str, bytes] = {}
    for image_format in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "JPEG2000", "AVIF", "PPM"):
        data = encoded(noisy, image_format)
        ending = {"JPEG2000": "jp2"}.get(image_format, image_format.lower())
        sizes = {"start": 12, "third": len(data) // 3, "most": len(data) * 9 // 10}
        images |= {f"cut_{name}.{ending}": data[:size] for name, size in sizes.items()}
    return images


def bombs() -> dict[str, bytes]:
    """Return small files that state enormous images."""
    ihdr = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1_000_000)
    gif_frame = b"," + struct.pack("<HHHHB", 0, 0, _SIDE, _SIDE, 0) + b"\x02\x02L\x01\0;"
    bmp_header = struct.pack("<IiiHHIIiiII", 40, _SIDE, -_SIDE, 1, 24, 0, 0, 0, 0, 0, 0)
    vp8l = b"\x2f" + struct.pack("<I", 16383 | 16383 << 14) + b"\0" * 13  # 16384 x 16384
    tiff = bytearray(encoded(Image.new("1", (8, 8)), "TIFF"))
    for tag in (256, 257):  # width and height
        place = tiff.index(struct.pack("<H", tag), 8)
        tiff[place : place + 12] = struct.pack("<HHII", tag, 4, 1, _SIDE)
    jp2 = bytearray(encoded(Image.new("L", (8, 8)), "JPEG2000", no_jp2=True))
    jp2[8:16] = struct.pack(">II", _SIDE, _SIDE)
    return {
        "bomb.png": b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", ihdr) + png_chunk(b"IDAT", rows),
        "bomb.gif": b"GIF89a" + struct.pack("<HHBBB", _SIDE, _SIDE, 0, 0, 0) + gif_frame,
        "bomb.tif": bytes(tiff),
        "bomb.bmp": b"BM" + struct.pack("<III", 54, 0, 54) + bmp_header,
        "bomb.webp": b"RIFF\x1e\0\0\0WEBPVP8L" + struct.pack("<I", len(vp8l)) + vp8l,
        "bomb.jp2": bytes(jp2),
        "bomb.ppm": b"P6 %d %d 255\n" % (_SIDE, _SIDE),
    }


def png_with_text_bomb() -> bytes:
    """Return a PNG whose comment is 20 MB long once it is unpacked."""
    png = encoded(stripes(), "PNG")
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 20_000_000))
    return png[:33] + text + png[33:]  # behind the first chunk


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """Return a part of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _color_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
