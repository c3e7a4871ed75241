"""Every kind of TIFF that tifffile can write, as tiny files with the 8-bit pixels they stand for.

Run as  python -m tests.inputs.tiff_kinds  it counts what clipkit makes of all of them.

A kind is one choice of colours, sample type and bits, layout, compression, predictor, byte order
and tiling. What tifffile refuses to write is no kind.
"""

import contextlib
import io
import itertools
import os
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from clipkit.errors import ImageReadError
from clipkit.inputs.images import read_image

HEIGHT, WIDTH = 19, 21  # odd, so that no row of packed bits ends with a byte
TILE = (16, 16)

COLORS = {  # name: photometric, samples, of which extra
    "grey": ("minisblack", 1, ()),
    "white is zero": ("miniswhite", 1, ()),
    "grey + alpha": ("minisblack", 2, ("unassalpha",)),
    "palette": ("palette", 1, ()),
    "rgb": ("rgb", 3, ()),
    "rgb + alpha": ("rgb", 4, ("unassalpha",)),
    "rgb + premultiplied": ("rgb", 4, ("assocalpha",)),
    "rgb + unnamed": ("rgb", 4, ("unspecified",)),
    "cmyk": ("separated", 4, ()),
    "lab": ("cielab", 3, ()),
}
SAMPLES = {  # name: dtype, bits
    "1 bit": ("bool", 1),
    **{f"{bits} bit": ("uint8", bits) for bits in (2, 4, 6, 8)},
    **{f"{bits} bit": ("uint16", bits) for bits in (10, 12, 14, 16)},
    "24 bit": ("uint32", 24),
    "32 bit": ("uint32", 32),
    "64 bit": ("uint64", 64),
    "signed 8 bit": ("int8", 8),
    "signed 16 bit": ("int16", 16),
    "signed 32 bit": ("int32", 32),
    "float 16": ("float16", 16),
    "float 32": ("float32", 32),
    "float 64": ("float64", 64),
    "complex 64": ("complex64", 64),
}
COMPRESSIONS = (
    None, "lzw", "deflate", "adobe_deflate", "packbits", "lzma", "zstd", "jpeg", "jpeg2000",
    "webp", "png", "jpegxl", "jpegxr_ndpi", "lerc",
)  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One kind of TIFF."""

    color: str  # of COLORS
    samples: str  # of SAMPLES
    planar: str  # contig or separate
    compression: str | None
    predictor: bool
    byteorder: Any  # < or >
    is_tiled: bool

    def __str__(self) -> str:
        return ", ".join(str(value) for value in astuple(self))


def tiff_kinds(step: int = 1) -> Iterator[tuple[Kind, bytes, NDArray[np.uint8] | None]]:
    """Yield kinds, each with a file of it and its pixels as RGB; None: 8 bits cannot show them.

    Args:
        step: Take one choice of so many; a prime number such as 13 reaches every value of each.
    """
    choices = itertools.product(
        COLORS, SAMPLES, ("contig", "separate"), COMPRESSIONS, (False, True), "<>", (False, True)
    )
    for choice in itertools.islice(choices, 0, None, step):
        kind = Kind(*choice)
        if kind.planar == "separate" and COLORS[kind.color][1] == 1:
            continue
        levels, stored = _samples(kind)
        try:
            data = _write(kind, stored)
        except Exception:  # noqa: BLE001 - whatever it is: tifffile does not write this
            continue
        if _is_written_right(kind, data, stored):
            yield kind, data, _rgb(kind, levels)


def _is_written_right(kind: Kind, data: bytes, stored: NDArray[Any]) -> bool:
    """Return whether tifffile reads from a file of packed bits what it was given to write.

    It packs other values in big-endian files, and several samples of one bit in a way of its own.
    """
    if SAMPLES[kind.samples][1] in (8, 16, 32, 64):
        return True
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        values = file.pages[0].asarray()
    if kind.planar == "separate":
        values = np.moveaxis(values, 0, -1)
    return bool(np.array_equal(values.reshape(stored.shape), stored))


def _write(kind: Kind, stored: NDArray[Any]) -> bytes:
    photometric, count, extra = COLORS[kind.color]
    _, bits = SAMPLES[kind.samples]
    if kind.planar == "separate":
        stored = np.ascontiguousarray(np.moveaxis(stored, 2, 0))
    elif count == 1:
        stored = stored[:, :, 0]
    options: dict[str, Any] = {}
    if bits != stored.dtype.itemsize * 8:
        options["bitspersample"] = bits
    if kind.color == "palette":
        options["colormap"] = color_map(bits)
    if extra:
        options["extrasamples"] = extra
    if count > 1:
        options["planarconfig"] = kind.planar
    if kind.predictor:
        options["predictor"] = True
    if kind.is_tiled:
        options["tile"] = TILE
    else:
        options["rowsperstrip"] = 8
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tifffile.imwrite(
            file, stored, photometric=photometric, compression=kind.compression,
            byteorder=kind.byteorder, metadata=None, **options,
        )  # fmt: skip
    return file.getvalue()


def _samples(kind: Kind) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Return smooth samples (H, W, C) from 0 to 1 and the same as the file holds them."""
    _, count, _ = COLORS[kind.color]
    dtype, bits = SAMPLES[kind.samples]
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    shades = [
        rows / (HEIGHT - 1),
        columns / (WIDTH - 1),
        (rows + columns) / (HEIGHT + WIDTH - 2),
        0.2 + 0.6 * rows / (HEIGHT - 1),
    ]
    chosen = shades[2:] if kind.color == "grey + alpha" else shades[:count]
    levels = np.stack(chosen, axis=2)
    if kind.color == "lab":
        levels = levels * [0.6, 0.1, 0.1] + [0.2, 0.05, 0.05]  # colours that a screen can show
    if kind.color == "rgb + premultiplied":
        levels[:, :, :3] *= levels[:, :, 3:]
    if np.dtype(dtype).kind in "fc":
        return levels, levels.astype(dtype)
    if dtype == "bool":
        return (levels > 0.5).astype(float), levels > 0.5
    top = 2 ** (bits - (np.dtype(dtype).kind == "i")) - 1
    # Of 64-bit numbers a double has the first 53.
    stored = np.minimum(np.rint(levels * top), np.nextafter(float(2**bits), 0)).astype(dtype)
    return stored.astype(np.float64) / top, stored


def color_map(bits: int) -> NDArray[np.uint16]:
    """Return a palette of 16-bit colours: red falls, green rises, blue is half."""
    ramp = np.linspace(0, 65535, 2**bits)
    return np.stack([ramp[::-1], ramp, np.full_like(ramp, 32768)]).round().astype(np.uint16)


def _rgb(kind: Kind, levels: NDArray[np.float64]) -> NDArray[np.uint8] | None:
    """Return what samples from 0 to 1 look like, from the definitions of their colours."""
    dtype, bits = SAMPLES[kind.samples]
    if np.dtype(dtype).kind in "ic":
        return None  # nothing says which of them is black or white
    first = levels[:, :, :1]
    match kind.color:
        case "white is zero":
            shown = 1 - first
        case "palette":
            rows = np.rint(first[:, :, 0] * (2**bits - 1)).astype(int)
            shown = color_map(bits).T[rows] / 65535
        case "grey + alpha":
            alpha = levels[:, :, 1:]
            shown = first * alpha + 1 - alpha
        case "rgb + alpha":
            alpha = levels[:, :, 3:]
            shown = levels[:, :, :3] * alpha + 1 - alpha
        case "rgb + premultiplied":
            shown = levels[:, :, :3] + 1 - levels[:, :, 3:]
        case "cmyk":
            shown = (1 - levels[:, :, :3]) * (1 - levels[:, :, 3:])
        case "lab":
            shown = _from_lab(first * 100, np.rint(levels[:, :, 1:] * 255))
        case _:
            shown = levels[:, :, :3]
    shown = np.broadcast_to(shown, (HEIGHT, WIDTH, 3))
    return np.rint(np.clip(shown, 0, 1) * 255).astype(np.uint8)


def _from_lab(light: NDArray[np.float64], ab: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sRGB, 0 to 1, of L* and a*, b* beside D50, as ICC defines them."""
    y = (light + 16) / 116
    steps = np.concatenate([y + ab[:, :, :1] / 500, y, y - ab[:, :, 1:] / 200], axis=2)
    xyz = np.where(steps > 6 / 29, steps**3, 3 * (6 / 29) ** 2 * (steps - 4 / 29))
    xyz *= [0.9642, 1.0, 0.8249]
    linear = xyz @ np.array(
        [
            [3.1338561, -0.9787684, 0.0719453],
            [-1.6168667, 1.9161415, -0.2289914],
            [-0.4906146, 0.0334540, 1.4052427],
        ]
    )  # D50 to D65 after Bradford, and the primaries of sRGB
    linear = np.clip(linear, 0, 1)
    return np.asarray(
        np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    )


# --- what clipkit makes of them ----------------------------------------------------------------

Written = tuple[Kind, bytes, NDArray[np.uint8] | None]

# How far clipkit may be from what was written: mean and largest difference, in levels. Pillow
# rounds premultiplied colours twice, and what it makes of Lab comes from tables.
EXACT = (0.6, 2)
LAB = (0.5, 6)
LOSSY = (5.0, 255)


@contextlib.contextmanager
def quiet_libtiff() -> Iterator[None]:
    """Keep from the terminal what libtiff prints of kinds that it does not know."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def outcome(written: Written) -> str:
    """Return "refused", "equal" or "wrong"."""
    kind, data, expected = written
    try:
        pixels = np.asarray(read_image(data).pixels).astype(int)
    except ImageReadError as error:
        return f"called damaged: {kind}: {error}" if "damaged" in error.reason else "refused"
    if expected is None or pixels.shape != expected.shape:
        return "wrong"
    difference = np.abs(pixels - expected)
    lossy = kind.compression in ("jpeg", "jpeg2000", "webp", "jpegxr_ndpi")
    mean, largest = LOSSY if lossy else LAB if kind.color == "lab" else EXACT
    return "equal" if difference.mean() <= mean and difference.max() <= largest else "wrong"


def outcomes(kinds: list[Written]) -> Counter[str]:
    with quiet_libtiff():
        return Counter(map(outcome, kinds))


def main() -> None:
    """Print how many kinds there are, are equal and are refused, with and without the extra."""
    step = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with quiet_libtiff():
        kinds = list(tiff_kinds(step))
    with_extra = outcomes(kinds)
    sys.modules["imagecodecs"] = None  # type: ignore[assignment]
    without = outcomes(kinds)
    print(f"{len(kinds)} kinds; with the extra: {with_extra}; without: {without}")  # noqa: T201


if __name__ == "__main__":
    main()
