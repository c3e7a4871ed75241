"""Heat maps as PNG files for people to look at."""

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clipkit.errors import MissingExtraError
from clipkit.explanation.heat_map import HeatMap
from clipkit.inputs.image_input import ImageInput
from clipkit.inputs.thumbnails import read_thumbnail

SOFTWARE = "clipkit explain"  # in the file, so that it is known again

_SIDE = 640  # pixels of the image in a panel, at most
_COLORS, _OPACITY = "inferno", 0.6


def draw_heat_map(heat_map: HeatMap, image: ImageInput) -> bytes:
    """Return a PNG file of an image, its heat map with the raw cosines, and the contrast.

    The colours of the cosines are the same for every map of a text and image: they begin where
    words score that do not fit, and their middle is where a text counts as there. So a map of what
    is not there stays dark.

    Args:
        heat_map: As :func:`clipkit.explain` returns it.
        image: The image that it is of.

    Returns:
        The file's bytes.

    Raises:
        ImageReadError: If the image cannot be read.
        MissingExtraError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # not pyplot, which looks for a display
    except ImportError as error:
        raise MissingExtraError("torch", "Drawing a heat map") from error
    pixels = read_thumbnail(image, box=(_SIDE, _SIDE))
    width, height = heat_map.image_size
    figure = Figure(
        figsize=(13, 2.0 + 3.6 * min(max(height / width, 0.4), 2)), layout="constrained"
    )
    plain, raw, contrast = figure.subplots(1, 3)
    low, there = heat_map.levels
    for axes in (plain, raw, contrast):
        axes.imshow(pixels, extent=(0, width, height, 0))
        axes.set_axis_off()
    _title(plain, heat_map.text, f"cosine of the whole image {heat_map.score:.3f}")
    bar = _overlay(raw, heat_map, heat_map.values, (low, 2 * there - low))
    bar.ax.axhline(there, color="white", linewidth=2)
    _title(raw, "cosine by place", "the line: there from here on")
    _overlay(contrast, heat_map, heat_map.contrast, (0.0, 1.0))
    _title(contrast, "share against", ", ".join(heat_map.against))
    figure.suptitle(heat_map.verdict, parse_math=False)
    content = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of other scripts: boxes are drawn
        figure.savefig(content, format="png", dpi=100, metadata={"Software": SOFTWARE})
    return content.getvalue()


def _overlay(
    axes: Any, heat_map: HeatMap, values: NDArray[np.float32], limits: tuple[float, float]
) -> Any:
    """Lay a map over the image of a panel; return its colour bar, which says the raw numbers."""
    left, top, right, bottom = heat_map.box
    drawn = axes.imshow(
        values,
        extent=(left, right, bottom, top),
        cmap=_COLORS,
        vmin=limits[0],
        vmax=max(limits[1], limits[0] + 1e-9),
        alpha=_OPACITY,
        interpolation="bilinear",
    )
    width, height = heat_map.image_size
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    bar = axes.figure.colorbar(drawn, ax=axes, shrink=0.8, extend="both")
    bar.solids.set_alpha(1)
    return bar


def _title(axes: Any, first: str, second: str) -> None:
    lines = (line if len(line) <= 60 else f"{line[:59]}…" for line in (first, second))
    axes.set_title("\n".join(lines), fontsize=10, parse_math=False)
