"""Made captions for benchmarks, about as long as people write them: 12 tokens."""

import numpy as np

_PARTS = (
    ("a", "one", "two", "some", "the old", "a small", "a large", "my"),
    ("red", "wooden", "sleeping", "wet", "bright", "broken", "young", "painted", "quiet", "tall"),
    ("dog", "boat", "house", "bicycle", "bridge", "child", "tree", "market", "horse", "window"),
    ("in front of", "beside", "behind", "far from", "on top of", "under"),
    ("the sea", "a castle", "a yellow wall", "the mountains", "an empty street", "a garden"),
    ("at night", "in the morning", "in the rain", "on a summer day", "seen from above", "in fog"),
)

LABELS = (
    "cat", "dog", "horse", "castle", "boat", "bicycle", "bridge", "bread", "guitar", "mountain",
    "flower", "clock", "train", "bird", "chair", "lamp", "beach", "market", "book", "shoe",
)  # fmt: skip
"""Names to classify by."""


def made_captions(num: int, seed: int) -> list[str]:
    """Return captions, almost all of them different from one another and from another seed's."""
    generator = np.random.default_rng(seed)
    return [" ".join(str(generator.choice(part)) for part in _PARTS) for _ in range(num)]


def made_labels(num: int, seed: int) -> list[str]:
    """Return different names, other ones for another seed."""
    return [str(name) for name in np.random.default_rng(seed).choice(LABELS, num, replace=False)]
