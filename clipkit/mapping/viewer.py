"""What a web server of one's own serves for Embedding Atlas to show a map in its pages."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clipkit.errors import MissingExtraError
from clipkit.mapping.image_map import ImageMap

# An address would be shown as a link, and the numbers tell a person nothing.
_IMAGE = '<img src="{{ value }}" alt="" style="max-width: 100%; max-height: 12rem">'
_STYLES: dict[str, dict[str, Any]] = {
    "image": {"renderer": "liquid-template", "display": "full", "options": {"template": _IMAGE}},
    **{name: {"display": "hidden"} for name in ("id", "x", "y", "neighbors")},
}


@dataclass(frozen=True)
class MapViewer:
    """Embedding Atlas' page for a map, as files and contents to serve."""

    files: Path  # a directory, served as it is: index.html, scripts, a database for the browser
    metadata: bytes  # at data/metadata.json beside index.html
    # Takes the address of each row's image, or None, and returns what is at data/dataset.parquet.
    make_table: Callable[[Sequence[str | None]], bytes]


def make_map_viewer(shown: ImageMap) -> MapViewer:
    """Return what Embedding Atlas needs to show a map from another web server's page.

    Args:
        shown: The map; thumbnails in it are not used.

    Returns:
        Files and contents. Images come from addresses that begin with http:// or https://, so that
        the server decides, image by image, whether it may still be shown.

    Raises:
        MissingExtraError: If Embedding Atlas is not installed.
    """
    if find_spec("embedding_atlas") is None:
        raise MissingExtraError("map", "The map")
    import embedding_atlas
    from embedding_atlas.options import make_embedding_atlas_props
    from embedding_atlas.utils import to_parquet_bytes

    props: dict[str, Any] = make_embedding_atlas_props(
        row_id="id", x="x", y="y", neighbors="neighbors", text="path", image="image",
        initial_state={"columnStyles": _STYLES},
    )  # fmt: skip
    metadata = {"props": props, "isStatic": True, "database": {"type": "wasm", "load": True}}

    def make_table(addresses: Sequence[str | None]) -> bytes:
        table: bytes = to_parquet_bytes(shown.table.assign(image=list(addresses)))
        return table

    files = Path(embedding_atlas.__file__).parent / "static"
    return MapViewer(files, json.dumps(metadata).encode(), make_table)
