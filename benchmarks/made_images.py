"""Made images for benchmarks: embeddings and catalog rows of a large library, from a seed alone.

Nobody has a million images at hand to try a search on. These have what makes a search hard on
real ones: two cones, of images and of texts; topics of very different sizes; series of almost
equal shots; dimensions that matter less and less. Needs NumPy only, and makes the same numbers
every time.

Shapes: N images, K of a block, Q queries, D dimensions.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 14  # images made at a time; a change of it makes other images
MONTHS = 100  # each holds as many images as any other
_FIRST_YEAR = 2015
_SERIES = 8  # shots of one thing
_TOPICS = 4096

# How much of its squared norm an image has from what all images share, from its topic, from
# its series and from itself: so two images have a cosine of .4, of one topic .65, of one
# series .85. Texts are .13 from images, .33 if they name the topic, as CLIP's are.
_IMAGE_SHARES = (0.4, 0.25, 0.2, 0.15)
_TEXT_SHARES = (0.5, 0.15, 0.35)
_CONES = 0.3  # cosine of what all texts share to what all images share

_EVENTS = (
    "Lisbon",
    "Anna's birthday",
    "garden",
    "Lake Garda with the Bergs",
    "phone",
    "sunday hike",
)
_CAMERAS = (
    "Canon EOS R6",
    "NIKON CORPORATION NIKON D750",
    "Apple iPhone 12 Pro",
    "SONY ILCE-7M3",
    None,
)
_FORMATS = ((4000, 3000), (3000, 4000), (6000, 4000), (4032, 3024), (1920, 1080))


@dataclass(frozen=True)
class MadeDetails:
    """What a catalog says of one image."""

    path: str
    size: int  # bytes
    mtime_ns: int
    digest: bytes  # 16 of them
    width: int  # pixels
    height: int
    taken_at: str
    camera: str | None


@dataclass(frozen=True)
class MadeImages:
    """A library of made images."""

    num: int  # N
    embed_dim: int  # D
    seed: int = 0

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the number of a block's first image and the embeddings of the block, (K, D)."""
        for first in range(0, self.num, BLOCK):
            rng = np.random.default_rng([self.seed, 1, first])
            rows = np.arange(first, min(first + BLOCK, self.num))
            series = self._directions(rng, math.ceil(len(rows) / _SERIES))
            places = (rows - first) // _SERIES
            # Few topics are frequent and most are rare.
            topics = (_TOPICS ** rng.random(len(series))).astype(int) - 1
            parts = (
                self._cones[0][None, :],
                self._topics[topics[places]],
                series[places],
                self._directions(rng, len(rows)),
            )
            yield first, _mixed(parts, _IMAGE_SHARES)

    def text_queries(self, count: int) -> NDArray[np.float32]:
        """Return embeddings of texts, each about a topic, from frequent to rare, shape (Q, D)."""
        rng = np.random.default_rng([self.seed, 2])
        topics = np.geomspace(1, _TOPICS, count).astype(int) - 1
        parts = (self._cones[1][None, :], self._topics[topics], self._directions(rng, count))
        return _mixed(parts, _TEXT_SHARES)

    def image_queries(self, count: int) -> NDArray[np.float32]:
        """Return embeddings of further images of topics that the library has, shape (Q, D)."""
        rng = np.random.default_rng([self.seed, 3])
        topics = np.geomspace(1, _TOPICS, count).astype(int) - 1
        others = [self._directions(rng, count) for _ in range(2)]
        return _mixed((self._cones[0][None, :], self._topics[topics], *others), _IMAGE_SHARES)

    def month(self, number: int) -> int:
        """Return the month that an image was taken in, 0 to 99."""
        return number * MONTHS // self.num

    def path(self, number: int) -> str:
        """Return the path of an image inside the library's folder."""
        event = _EVENTS[number // 300 % len(_EVENTS)]
        return month_glob(self.month(number))[:-1] + f" {event}/IMG_{number:07d}.JPG"

    def details(self, first: int, count: int) -> list[MadeDetails]:
        """Return what a catalog says of the images of one block."""
        rng = np.random.default_rng([self.seed, 4, first])
        sizes = rng.lognormal(15, 0.5, count).astype(int).tolist()  # 3 MB
        digests = rng.bytes(16 * count)
        formats, cameras = rng.integers(5, size=(2, count)).tolist()
        return [
            MadeDetails(
                self.path(first + place),
                sizes[place],
                1_500_000_000_000_000_000 + (first + place) * 1_000_000_007,
                digests[16 * place : 16 * place + 16],
                *_FORMATS[formats[place]],
                self._taken_at(first + place),
                _CAMERAS[cameras[place]],
            )
            for place in range(count)
        ]

    def _taken_at(self, number: int) -> str:
        year, month = divmod(self.month(number), 12)
        second = number % 86_400
        time = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        return f"{_FIRST_YEAR + year}-{month + 1:02d}-{1 + number // 500 % 28:02d}T{time}"

    @cached_property
    def _topics(self) -> NDArray[np.float32]:
        return self._directions(np.random.default_rng([self.seed, 0]), _TOPICS)

    @cached_property
    def _cones(self) -> NDArray[np.float32]:
        """What all images share and what all texts share, shape (2, D)."""
        images, rest = self._directions(np.random.default_rng([self.seed, 5]), 2)
        rest -= (rest @ images) * images
        rest /= np.linalg.norm(rest)
        return np.stack([images, _CONES * images + math.sqrt(1 - _CONES**2) * rest])

    def _directions(self, rng: np.random.Generator, count: int) -> NDArray[np.float32]:
        """Return random directions, shape (count, D): the first dimensions vary most."""
        scales = np.arange(1, self.embed_dim + 1, dtype=np.float32) ** -0.25
        drawn = rng.standard_normal((count, self.embed_dim), dtype=np.float32) * scales
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return drawn


def month_glob(month: int) -> str:
    """Return a pattern that the paths of one month's images match, and no others."""
    year, place = divmod(month, 12)
    return f"{_FIRST_YEAR + year}/{_FIRST_YEAR + year}-{place + 1:02d}*"


def _mixed(
    parts: tuple[NDArray[np.float32], ...], shares: tuple[float, ...]
) -> NDArray[np.float32]:
    """Return rows of norm 1 with a share of each part."""
    rows = sum(math.sqrt(share) * part for part, share in zip(parts, shares, strict=True))
    assert isinstance(rows, np.ndarray)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)
