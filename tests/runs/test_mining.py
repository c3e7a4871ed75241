"""Near misses of photographs by a real model, against a slow search."""

from pathlib import Path

import numpy as np

from clipkit.data.pair import Pair
from clipkit.encoder.encoder import Encoder
from clipkit.errors import ImageReadError
from clipkit.runs.mining import mine_near_misses
from clipkit.training.near_misses import NO_MISS
from tests.conftest import SAMPLES
from tests.fake_pairs import ListSource

_NAMES = (
    "castle",
    "clownfish",
    "dandelion",
    "fig",
    "koala",
    "lightning",
    "owl",
    "dog",
    "crab",
    "cat",
    "sheep",
)


def test_near_misses_are_those_of_a_slow_search(starter: Encoder) -> None:
    paths = [path for path in (SAMPLES / f"{name}.jpg" for name in _NAMES) if path.is_file()]
    pairs = [
        Pair(path, (f"a photo of a {path.stem}", "not looked at"), path.stem) for path in paths
    ]
    gone = ImageReadError(Path("gone.jpg"), "is not there")
    progress: list[tuple[int, int | None]] = []
    found = mine_near_misses(
        starter,
        ListSource([*pairs[:3], gone, *pairs[3:]]),
        seed=0,
        progress=lambda done, total: progress.append((done, total)),
    )
    images = starter.encode_images(paths)
    texts = starter.encode_texts([pair.captions[0] for pair in pairs])
    cosines = images @ texts.T
    for row in range(len(pairs)):
        own = cosines[row, row]
        fits = np.maximum(cosines[row], cosines[:, row])
        near = [at for at in np.argsort(-fits) if at != row and fits[at] <= 0.95 * own]
        place = row + (row >= 3)
        misses = [miss for miss in found[place].tolist() if miss != NO_MISS]
        assert misses == [at + (at >= 3) for at in near][:8]
    assert set(found[3].tolist()) == {NO_MISS}
    assert progress[-1] == (len(pairs) + 1, len(pairs) + 1)
