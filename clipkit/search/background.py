"""The embeddings of everyday words, kept with an index so that no search has to make them."""

from typing import TYPE_CHECKING

import numpy as np

from clipkit.background_names import BACKGROUND_NAMES
from clipkit.embeddings import Embeddings
from clipkit.search.catalog import Catalog

if TYPE_CHECKING:
    from clipkit.encoder import Encoder


def stored_background(catalog: Catalog) -> Embeddings | None:
    """Return the embeddings of BACKGROUND_NAMES, in their order, shape (B, D).

    Args:
        catalog: Of the index.

    Returns:
        The embeddings; None if the index has none, or those of another list.
    """
    stored = catalog.background()
    if stored.keys() != set(BACKGROUND_NAMES):
        return None
    return np.stack([stored[name] for name in BACKGROUND_NAMES])


def make_background(encoder: "Encoder") -> Embeddings:
    """Return the embeddings of BACKGROUND_NAMES, shape (B, D)."""
    return encoder.encode_texts(BACKGROUND_NAMES)
