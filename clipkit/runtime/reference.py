"""The reference inputs: photographs and texts that every compiled model is measured on."""

import hashlib
import json
from pathlib import Path

from clipkit.errors import CheckpointError


def reference_directory() -> Path:
    """Return the directory of the sample photographs, in a package or in a checkout.

    Returns:
        A directory that exists.

    Raises:
        CheckpointError: If clipkit was installed without them.
    """
    package = Path(__file__).parents[1]
    for place in (package / "samples", package.parent / "demo" / "samples"):
        if place.is_dir():
            return place
    raise CheckpointError(
        f"the sample photographs are missing from {package}: install clipkit again"
    )


def reference_pictures() -> list[Path]:
    """Return the photographs, in the order of their names."""
    return sorted(reference_directory().glob("*.jpg"))


def reference_texts() -> list[str]:
    """Return the queries for the photographs, then their labels."""
    place = reference_directory()
    entries = json.loads((place / "queries.json").read_text(encoding="utf-8"))
    labels = (place / "labels.txt").read_text(encoding="utf-8").split("\n")
    return [*(entry["query"] for entry in entries), *labels]


def reference_digest() -> str:
    """Return what identifies the reference inputs, as 64 hex digits."""
    digest = hashlib.sha256("\n".join(reference_texts()).encode())
    for path in reference_pictures():
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
