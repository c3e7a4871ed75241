"""A folder of damaged and strange files, and what must become of each."""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from tests.hostile_images import (
    alike_images,
    bombs,
    cut_images,
    encoded,
    no_images,
    other_images,
    png_with_text_bomb,
    stripes,
)

_CUT = "is (cut off|damaged or cut off)"
_NO_FILE = "is not a regular file"
_NO_IMAGE = "is not an image"
_TOO_LARGE = "is too large"
_SPARSE_BYTES = 5_000_000_000


@dataclass
class HostileFolder:
    """What was made; paths are relative, reasons are regular expressions for their start."""

    root: Path
    alike: set[bytes] = field(default_factory=set)  # good, and the same when seen upright
    other: set[bytes] = field(default_factory=set)  # good, with other pixels
    skipped: dict[bytes, str] = field(default_factory=dict)
    left_out: dict[bytes, str] = field(default_factory=dict)
    ignored: set[bytes] = field(default_factory=set)  # neither images nor folders: not told of

    @property
    def good(self) -> set[bytes]:
        """All that must be indexed."""
        return self.alike | self.other

    @property
    def num_things(self) -> int:
        """How many bad or strange things there are."""
        return sum(map(len, (self.good, self.skipped, self.left_out, self.ignored)))

    def path(self, name: bytes | str) -> Path:
        """Return where a file lies, after making the folders above it."""
        path = self.root / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def add_alike(self, name: bytes | str, data: bytes) -> None:
        """Write an image that must be indexed, and shows the stripes."""
        self.path(name).write_bytes(data)
        self.alike.add(os.fsencode(name))

    def add_bad(self, name: bytes | str, data: bytes, reason: str, *, size: int = 0) -> None:
        """Write a file that must be reported, sparse if its size is more than its data."""
        with self.path(name).open("wb") as file:
            file.write(data)
            file.truncate(max(size, len(data)))
        self.skipped[os.fsencode(name)] = reason

    def add_left_out(self, name: bytes | str, left_out: bytes | str, reason: str) -> None:
        """Write an image that must be left out, or a folder it lies in."""
        self.path(name).write_bytes(encoded(stripes(), "PNG"))
        self.left_out[os.fsencode(left_out)] = reason


def make_hostile_folder(root: Path) -> HostileFolder:
    """Return a folder with all of it; needs names of any bytes, links and pipes."""
    folder = HostileFolder(root)
    _add_images(folder)
    _add_names(folder)
    _add_sparse_files(folder)
    _add_special_files(folder)
    _add_links(folder)
    _add_what_is_left_out(folder)
    return folder


def _add_images(folder: HostileFolder) -> None:
    for name, data in alike_images().items():
        folder.add_alike(name, data)
    for name, data in other_images().items():
        folder.path(name).write_bytes(data)
        folder.other.add(name.encode())
    for name, data in no_images().items():
        folder.add_bad(name, data, _NO_IMAGE)
    for name, data in cut_images().items():
        # The first bytes of some formats say little of what they were the start of.
        folder.add_bad(name, data, f"{_CUT}|{_NO_IMAGE}" if "start" in name else _CUT)
    for name, data in bombs().items():
        folder.add_bad(name, data, f"{_TOO_LARGE}|{_CUT}" if name == "bomb.webp" else _TOO_LARGE)
    folder.add_alike("text_bomb.png", png_with_text_bomb())
    folder.add_bad("empty.jpg", b"", "is empty")


def _add_names(folder: HostileFolder) -> None:
    png = encoded(stripes(), "PNG")
    names: list[bytes | str] = [
        "new\nline.png", "car\rriage.png", "tab\t.png", "\n.png", "\x1b[31mred.png", "\x07\x7f.png",
        "\x9b31m.png",
        "two  blanks.png", " blank before.png", "blank behind.png ", "break behind.png\n",
        "'single'.png", '"double".png', "`back`.png", "back\\slash.png", "{}%s$HOME~.png",
        "*.png", "[a]?.png", "<b>&amp;.png", "a;rm -rf b.png", "-.png", "--json.png", "-rf.png",
        "+.png", "2:cat.png", "a=b.png", "#1.png", "@file.png", "~.png", "ünïcödé.png", "写真.png",
        "😀👩\u200d👩\u200d👧.png", "u\u0308.png", "\u202egnp.png", "\u2028\u2029.png",
        "\ufeff.png", "é" * 125 + ".png", b"\x80" * 251 + b".png", "deep/" * 700 + "a.png",
        "http:/example.org/a.png", "-/+/-.png", "new\nfolder/a.png", "folder.png/inside.png",
        "blank /a.png", b"d\xe9j\xe0/vu.png", b"caf\xe9.png", b"\xff\xfe.png",
        b"cut utf-8 \xe2\x82.png", b"surrogate \xed\xb3\xa9.png", b"no null\\x00.png",
    ]  # fmt: skip
    for name in names:
        folder.add_alike(name, png)
    folder.add_bad(b"\x1b[31mn\xf6 image\n.png", b"no image", _NO_IMAGE)


def _add_sparse_files(folder: HostileFolder) -> None:
    """Add files that are too long to be read, or to be searched for the rest of their header."""
    jpeg = encoded(stripes(), "JPEG")
    folder.add_bad("sparse.jpg", b"", _NO_IMAGE, size=_SPARSE_BYTES)
    folder.add_bad("cut_and_sparse.jpg", jpeg[:300], _CUT, size=_SPARSE_BYTES)
    folder.add_bad("comment.ppm", b"P6 #", _CUT, size=_SPARSE_BYTES)
    folder.add_bad("sparse.dng", b"", f"{_TOO_LARGE}|is a camera RAW", size=_SPARSE_BYTES)
    webp = encoded(stripes(), "WEBP")
    folder.add_bad("sparse.webp", webp, _TOO_LARGE, size=_SPARSE_BYTES)
    png = encoded(stripes(), "PNG")
    folder.add_bad("cut_and_sparse.png", png[:60], _CUT, size=_SPARSE_BYTES)


def _add_special_files(folder: HostileFolder) -> None:
    strange = b"\x1b[31mpip\xe9\n.jpg"  # sorts first: a person is told only some by name
    for pipe in (strange, "pipe.jpg", "pipe"):
        os.mkfifo(folder.path(pipe))
    folder.ignored.add(b"pipe")
    with socket.socket(socket.AF_UNIX) as unix_socket:
        here = Path.cwd()
        os.chdir(folder.root)  # a socket's path has little room
        try:
            unix_socket.bind("socket.jpg")
        finally:
            os.chdir(here)
    folder.skipped |= dict.fromkeys((strange, b"pipe.jpg", b"socket.jpg"), _NO_FILE)
    for device in ("zero", "random", "null", "tty"):
        folder.path(f"{device}.png").symlink_to(f"/dev/{device}")
        folder.skipped[f"{device}.png".encode()] = _NO_FILE
    folder.path("memory.png").symlink_to("/proc/self/mem")
    folder.skipped[b"memory.png"] = "is empty"
    folder.add_bad("mode_000.png", encoded(stripes(), "PNG"), "permission denied")
    folder.path("mode_000.png").chmod(0)
    folder.path("locked").mkdir(mode=0)
    folder.skipped[b"locked"] = "is a folder that cannot be read: permission denied"


def _add_links(folder: HostileFolder) -> None:
    folder.path("hard_link.png").hardlink_to(folder.path("plain.png"))
    folder.add_alike("loop/a.png", encoded(stripes(), "PNG"))
    # Of two names of one file the first by the alphabet stands for it, of a link its target.
    folder.alike ^= {b"plain.png", b"hard_link.png"}
    one_file = "is another way to a file that is indexed already"
    several = (b"plain.png", b"soft_link.png", b"link_to_strange.png")
    folder.left_out |= dict.fromkeys(several, one_file)
    for name, target in {
        "soft_link.png": "plain.png",
        "link_to_strange.png": "new\nline.png",
        "broken.jpg": "/gone/for/good",
        "broken": "/gone/for/good",  # it may have been a folder
        "itself.jpg": "itself.jpg",
        "ping.jpg": "pong.jpg",
        "pong.jpg": "ping.jpg",
        "here": ".",
        "loop/round": "../loop",
        "second loop": "loop",
        "up": "..",
        "disk.jpg": "/",
    }.items():
        folder.path(name).symlink_to(target)
    nowhere, back = "is a link that leads nowhere", "is a link that leads back to itself"
    folder.skipped |= dict.fromkeys((b"broken.jpg", b"broken"), nowhere)
    folder.skipped |= dict.fromkeys((b"itself.jpg", b"ping.jpg", b"pong.jpg"), back)
    another_way = "is another way to a folder that is indexed already"
    folder.left_out |= dict.fromkeys((b"here", b"loop/round", b"second loop"), another_way)
    outside = "leads to a folder that the indexed one lies in"
    folder.left_out |= dict.fromkeys((b"up", b"disk.jpg"), outside)


def _add_what_is_left_out(folder: HostileFolder) -> None:
    junk = "is a folder that programs fill"
    folder.add_left_out(".hidden.png", ".hidden.png", "is hidden")
    folder.add_left_out(b".\xe9.png", b".\xe9.png", "is hidden")
    folder.add_left_out(".git/a.png", ".git", "is hidden")
    folder.add_left_out("loop/._a.png", "loop/._a.png", "is what macOS keeps")
    folder.add_left_out("@eaDir/a.png", "@eaDir", junk)
    folder.add_left_out("$RECYCLE.BIN/a.png", "$RECYCLE.BIN", junk)
    folder.add_left_out("lost+found/a.png", "lost+found", junk)
    for name in ("Thumbs.db", ".DS_Store", "notes.txt", "jpg", "a.jpg.part", ".jpg"):
        folder.path(name).write_bytes(encoded(stripes(), "PNG"))
        folder.ignored.add(name.encode())
