"""The name of what decodes images here, as an index records it: no decoder is imported for it."""

import os
from importlib.util import find_spec

import PIL

_RULES = "rules 2"  # counted up where other files are read, so that skipped ones are tried again


def decoder_name() -> str:
    """Return the names and versions of the decoders, as an index records them.

    Versions of Pillow differ in an image's last bits, extras in the formats that can be read.
    """
    names = ("pillow_heif", "rawpy", "tifffile", "imagecodecs")
    extras = [name for name in names if find_spec(name)]
    strictness = ["strict"] if refuses_truncated() else []
    return " + ".join([f"Pillow {PIL.__version__}", _RULES, *extras, *strictness])


def refuses_truncated() -> bool:
    """Return whether files that lack their last bytes are refused: $CLIPKIT_STRICT_IMAGES."""
    return os.environ.get("CLIPKIT_STRICT_IMAGES", "0") not in ("", "0")
