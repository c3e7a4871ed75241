"""Reading large photographs: scaled decoding beside decoding everything, ratios in one run.

Run as  python benchmarks/decode.py . The images are samples enlarged to 12 megapixels.
"""

import io
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image

from clipkit.inputs.preprocess import Preprocess

SAMPLES = Path(__file__).parents[1] / "demo" / "samples"
NUM_IMAGES = 8


def enlarged(path: Path) -> bytes:
    """Return a sample as a JPEG of 4000 x 3000 pixels."""
    with Image.open(path) as image:
        large = image.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    large.save(file, "JPEG", quality=90)
    return file.getvalue()


def main() -> None:
    """Print times, their ratio, and how far the pixels differ."""
    preprocess = Preprocess(size=(224, 224))
    times: dict[bool, list[float]] = {True: [], False: []}
    differences = []
    for path in sorted(SAMPLES.glob("*.jpg"))[:NUM_IMAGES]:
        content = enlarged(path)
        pixels = {}
        for is_scaled in (True, False):
            start = time.perf_counter()
            pixels[is_scaled] = preprocess.pixel_values(content, decode_scaled=is_scaled)
            times[is_scaled].append(time.perf_counter() - start)
        std = np.array(preprocess.std).reshape(3, 1, 1)
        differences.append(float(np.abs((pixels[True] - pixels[False]) * std).mean()))
    scaled, full = (statistics.median(times[is_scaled]) for is_scaled in (True, False))
    ratio = full / scaled
    print(f"12 megapixels: scaled {scaled * 1e3:.0f} ms, full {full * 1e3:.0f} ms, {ratio:.1f}x")
    print(f"mean difference of the pixels: {max(differences):.4f} of full scale at most")


if __name__ == "__main__":
    main()
