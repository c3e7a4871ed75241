"""A photo folder as people have them, made from the samples, to try commands on.

About 800 files: years of nested folders, messengers, bursts, RAW beside JPEG, copies, links,
screenshots, scans, odd names, broken files, and what NAS systems, Macs and Lightroom leave behind.
The same seed makes the same folder. Run as

    python benchmarks/messy_folder.py FOLDER
"""

import argparse
import os
import random
import unicodedata
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

SAMPLES = Path(__file__).parents[1] / "demo" / "samples"
BURST = 6  # frames
WORDS = ["tea", "bus", "cat", "sun", "red", "ok", "go", "to", "we"]
ODD_NAMES = [
    "new\nline.jpg", "two  blanks.jpg", " blank before.jpg", "'single' \"double\".jpg", "-rf.jpg",
    "--json.jpg", "2:cat.jpg", "a+b=c.jpg", "*.jpg", "[1].jpg", "写真.jpg", "🐈.jpg", "ÉTÉ.JPG",
    unicodedata.normalize("NFD", "Zürich é.jpg"), "x" * 240 + ".jpg", "no ending", "photo.jpg.jpg",
    "caf\udce9.jpg", "100%.jpg", "a;b&c|d.jpg", "con.jpg", "semi\u200bwide.jpg",
]  # fmt: skip


class MessyFolder:
    """A folder that is being filled.

    Args:
        root: Where; it must not exist yet.
        seed: Of everything that is drawn.
    """

    def __init__(self, root: Path, seed: int = 0) -> None:
        root.mkdir(parents=True)
        self.root = root
        self.random = random.Random(seed)
        self.samples = sorted(SAMPLES.glob("*.jpg"))

    def path(self, name: str) -> Path:
        """Return where a file goes, whose folders are made."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def photo(self, number: int) -> Image.Image:
        """Return a photograph of its own: another crop and mirror of a sample each time."""
        with Image.open(self.samples[number % len(self.samples)]) as image:
            width, height = image.size
            left, top = self.random.randrange(width // 4), self.random.randrange(height // 4)
            crop = image.crop((left, top, left + 3 * width // 4, top + 3 * height // 4))
        return ImageOps.mirror(crop) if self.random.random() < 0.5 else crop

    def write(self, name: str, image: Image.Image, *, taken: str = "", turn: int = 1) -> bytes:
        """Save an image by its ending, with a date and an orientation in its EXIF data."""
        exif = Image.Exif()
        if taken:
            exif.get_ifd(0x8769)[0x9003] = taken
            exif[0x010F], exif[0x0110] = "Canon", "Canon EOS 80D"
        if turn != 1:
            exif[0x0112] = turn
        buffer = BytesIO()
        ending = name.rpartition(".")[2].lower()
        kind = {"jpg": "JPEG", "jpeg": "JPEG", "tif": "TIFF", "heic": "HEIF"}.get(ending, ending)
        image.save(buffer, kind.upper(), exif=exif.tobytes())
        self.path(name).write_bytes(buffer.getvalue())
        return buffer.getvalue()


def fill(folder: MessyFolder) -> None:
    """Make all of it."""
    for number in range(360):
        year, month, day = 2012 + number // 36, 1 + number % 12, 1 + number % 28
        event = ("Rome", "garden", "Anna", "hike")[number % 4]
        folder.write(
            f"{year}/{month:02} {event}/IMG_{number:04}.JPG",
            folder.photo(number),
            taken=f"{year}:{month:02}:{day:02} 12:{number % 60:02}:00",
            turn=[1, 1, 1, 6, 8, 3][number % 6],
        )
    add_telephone(folder)
    add_camera_work(folder)
    add_copies_and_links(folder)
    add_odd_names(folder)
    add_broken_files(folder)
    add_what_programs_leave(folder)


def add_telephone(folder: MessyFolder) -> None:
    """Add what messengers and a telephone save, without EXIF data, and screenshots."""
    for number in range(80):
        name = f"IMG-2019{1 + number % 12:02}{1 + number % 28:02}-WA{number:04}.jpg"
        folder.write(f"phone/WhatsApp Images/{name}", folder.photo(number))
        if number % 8 == 0:
            folder.write(f"phone/WhatsApp Images/Sent/{name}", folder.photo(number))
    folder.path("phone/WhatsApp Images/Sent/.nomedia").touch()
    for number in range(40):
        image = Image.new("RGB", (540, 960), "white")
        draw = ImageDraw.Draw(image)
        for line in range(20):
            words = " ".join(
                folder.random.choices(
                    ["tea", "bus", "cat", "sun", "red", "ok", "go", "to", "we"], k=6
                )
            )
            draw.text((30, 40 + 40 * line), words, "black", font_size=24)
        name = f"Screenshot_202003{1 + number % 28:02}-12{number:02}00.png"
        folder.write(f"phone/Screenshots/{name}", image)


def add_camera_work(folder: MessyFolder) -> None:
    """Add bursts, RAW files beside their JPEGs, HEIC, scans of 16 bit and prints in CMYK."""
    for number in range(4):
        whole = folder.photo(number)
        for frame in range(BURST):
            shift = 4 * frame
            image = whole.crop((shift, shift, whole.width - 24 + shift, whole.height - 24 + shift))
            taken = f"2021:05:01 10:{number:02}:{frame:02}"
            folder.write(f"camera/burst/DSC_{number}{frame:02}.JPG", image, taken=taken)
    try:
        import tifffile
    except ImportError:
        tifffile = None
    for number in range(10):
        photo = folder.photo(number)
        taken = f"2021:06:01 10:{number:02}:00"
        folder.write(f"camera/raw/DSC_{number:04}.JPG", photo, taken=taken)
        if tifffile is not None:
            mosaic = np.asarray(photo.convert("L").resize((600, 400)), np.uint16) << 7
            tags = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, b"\0\1\1\2", True),
                    (50706, 1, 4, b"\1\4\0\0", True)]  # fmt: skip
            tifffile.imwrite(
                folder.path(f"camera/raw/DSC_{number:04}.DNG"), mosaic, photometric=32803,
                extratags=tags, metadata=None,
            )  # fmt: skip
    try:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    except ImportError:
        print("no HEIC files: pillow-heif is not installed")
    else:
        for number in range(12):
            folder.write(f"camera/iPhone/IMG_{number:04}.HEIC", folder.photo(number))
    for number in range(10):
        grey = np.asarray(folder.photo(number).convert("L"), np.uint16) * 257
        Image.fromarray(grey).save(folder.path(f"scans/negative {number}.tif"))
        folder.photo(number).convert("CMYK").save(folder.path(f"scans/print {number}.jpg"), "JPEG")
        folder.photo(number).quantize(64).save(folder.path(f"web/icon {number}.gif"))
        folder.photo(number).save(folder.path(f"web/shot {number}.webp"))
        folder.photo(number).convert("LA").save(folder.path(f"web/logo {number}.png"))


def add_copies_and_links(folder: MessyFolder) -> None:
    """Add equal files, smaller copies, symbolic and hard links, and links that lead nowhere."""
    originals = sorted((folder.root / "2015").rglob("*.JPG"))
    for number, path in enumerate(originals[:20]):
        folder.path(f"backup/{path.name}").write_bytes(path.read_bytes())
        with Image.open(path) as image:
            small = ImageOps.exif_transpose(image)
            small.thumbnail((400, 400))
            small.save(folder.path(f"to mail/small_{number}.jpg"), quality=80)
    favourites = folder.path("favourites/x").parent
    for path in originals[20:30]:
        (favourites / path.name).symlink_to(os.path.relpath(path, favourites))
        os.link(path, folder.path(f"hard links/{path.name}"))
    (favourites / "gone.jpg").symlink_to("/media/stick/gone.jpg")
    (favourites / "all").symlink_to("..")


def add_odd_names(folder: MessyFolder) -> None:
    """Add files whose names programs stumble over."""
    for number, name in enumerate(ODD_NAMES):
        buffer = BytesIO()
        folder.photo(number).save(buffer, "JPEG")
        folder.path(f"odd names/{name}").write_bytes(buffer.getvalue())


def add_broken_files(folder: MessyFolder) -> None:
    """Add files that are empty, cut off, damaged or no images at all."""
    whole = folder.samples[0].read_bytes()
    damaged = bytearray(whole)
    damaged[2000:2600] = bytes(600)
    for name, data in {
        "empty.jpg": b"",
        "cut in half.jpg": whole[: len(whole) // 2],
        "last bytes missing.jpg": whole[:-40],
        "damaged.jpg": bytes(damaged),
        "page.jpg": b"<!DOCTYPE html><title>404</title>",
        "notes.png": b"shopping list",
        "zeros.tif": bytes(5000),
        "not downloaded.HEIC": b"\0\0\0\x18ftypheic",
    }.items():
        folder.path(f"recovered/{name}").write_bytes(data)


def add_what_programs_leave(folder: MessyFolder) -> None:
    """Add thumbnails, recycle bins, previews, sidecars, videos, and what the owner left out."""
    for number, junk in enumerate(
        ("@eaDir/IMG_0001.JPG", "#recycle", "__MACOSX", "Lightroom/Cat Previews.lrdata/0",
         ".thumbnails", "$RECYCLE.BIN", "2014/@eaDir")
    ):  # fmt: skip
        for copy in range(6):
            folder.write(f"{junk}/thumb{copy}.jpg", folder.photo(number).resize((160, 120)))
    for number in range(20):
        folder.path(f"2013/._IMG_{number:04}.JPG").write_bytes(b"\0\5\x16\7Mac OS X")
        folder.path(f"camera/raw/DSC_{number:04}.xmp").write_text("<x:xmpmeta/>")
        folder.path(f"phone/VID_{number}.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
        folder.path(f"papers/bill {number}.pdf").write_bytes(b"%PDF-1.4")
        folder.write(f"private/{number}.jpg", folder.photo(number))
    folder.path(".clipkitignore").write_text("# mine\nprivate/\n")
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "2012/.picasa.ini"):
        folder.path(name).write_bytes(b"x")


def main() -> None:
    """Make the folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    folder = MessyFolder(arguments.folder, arguments.seed)
    fill(folder)
    count = sum(len(files) for _, _, files in os.walk(folder.root))
    print(f"{count} files in {folder.root}")


if __name__ == "__main__":
    main()
