"""Memory that an index of large images takes: 300 of 24 megapixels, and one of 200 among them.

Run as  python benchmarks/index_memory.py  on Linux. It makes its images (6 GB at most at a time),
indexes them with the starter in a process of its own, and asks the system for that one's peak.

Three kinds: baseline JPEGs, which are decoded scaled; progressive ones, whose coefficients are held
whole whatever the scale; and PNGs, which are decoded whole. The one of 200 megapixels is the same
kind; what became of it is printed. Images differ in a remark only, so each is decoded.
"""

import argparse
import io
import json
import multiprocessing
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from measured import Run, run
from PIL import Image
from remarked import with_remark

BAR = 1.5e9  # bytes
SIZE = 6000, 4000
GIANT = 20_000, 10_000
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "baseline": ("JPEG", {"quality": 90}),
    "progressive": ("JPEG", {"quality": 90, "progressive": True}),
    "png": ("PNG", {"compress_level": 1}),
}


@dataclass(frozen=True)
class Peak:
    """What indexing one folder took."""

    kind: str
    images: int
    peak: int  # bytes
    processor_seconds: float
    giant: str  # what became of the image of 200 megapixels


def main() -> None:
    """Make, index and print folder after folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=300, help="images of 24 megapixels")
    parser.add_argument("--kind", choices=KINDS, action="append", help="one or more; default: all")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    peaks = [_measure(kind, arguments.num) for kind in arguments.kind or KINDS]
    worst = max(peaks, key=lambda peak: peak.peak)
    is_below = "below" if worst.peak < BAR else "ABOVE"
    print(f"most: {worst.peak / 1e6:.0f} MB, {is_below} the bar of {BAR / 1e6:.0f} MB")
    if arguments.json:
        figures = {"bar": BAR, "peaks": [asdict(peak) for peak in peaks]}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _measure(kind: str, num: int) -> Peak:
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, kind)
        folder.mkdir()
        # In another process: what this one holds is counted for its children too.
        maker = multiprocessing.get_context("spawn").Process(
            target=_make_folder, args=(folder, kind, num)
        )
        maker.start()
        maker.join()
        if maker.exitcode:
            raise RuntimeError(f"the {kind} images could not be made")
        command = [sys.executable, "-m", "clipkit", "index", str(folder), "--json"]
        measured = run(command, cwd=folder, variables={"CLIPKIT_HOME": str(Path(work, "home"))})
    peak = Peak(kind, num, measured.peak, measured.processor_seconds, _fate(measured, num))
    print(
        f"{kind:12} {num} of 24 megapixels and one of 200: peak {peak.peak / 1e6:.0f} MB, "
        f"{peak.processor_seconds:.0f} s of processor; the one: {peak.giant}",
        flush=True,
    )
    return peak


def _fate(measured: Run, num: int) -> str:
    """Return what became of the giant; all others must be indexed."""
    report = json.loads("".join(measured.output))
    skipped = report["skipped"]
    if report["added"] + len(skipped) != num + 1 or len(skipped) > 1:
        raise RuntimeError(f"of {num + 1} images something else became than expected: {report}")
    return f"skipped: {skipped[0]['reason']}" if skipped else "indexed"


def _make_folder(folder: Path, kind: str, num: int) -> None:
    name, options = KINDS[kind]
    suffix = {"JPEG": ".jpg", "PNG": ".png"}[name]
    content = _encode(SIZE, name, options)
    for number in range(num):
        (folder / f"{number:04}{suffix}").write_bytes(with_remark(content, number))
    # In the middle of the folder, so that others are under way when its turn comes.
    (folder / f"{num // 2:04}_giant{suffix}").write_bytes(_encode(GIANT, name, options))


def _encode(size: tuple[int, int], name: str, options: dict[str, object]) -> bytes:
    colors = np.random.default_rng(0).integers(0, 256, (size[1] // 50, size[0] // 50, 3))
    image = Image.fromarray(colors.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


if __name__ == "__main__":
    main()
