"""Whatever happens to a folder, its library equals one built from scratch."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clipkit.embeddings import Embeddings
from clipkit.inputs.image_input import ImageInput
from clipkit.search.ingest import hash_file
from clipkit.search.library import PhotoLibrary
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.vectors import VectorReader
from tests.fakes import MEMORY, FakeEncoder, save_image

pytestmark = pytest.mark.slow

NAMES = st.sampled_from(["a.png", "b.png", "in/c.png", "in/d.png", "in/deep/e.png", "inn.png"])
COLORS = st.tuples(*[st.integers(0, 255)] * 3)


class InterruptedSyncError(Exception):
    """Stands for anything that ends a sync early."""


@dataclass
class InterruptAfter:
    """Ends a sync before it encodes one image more than it may."""

    allowed: int
    seen: int = field(default=0)

    def __call__(self, _: int) -> None:
        self.seen += 1
        if self.seen > self.allowed:
            raise InterruptedSyncError


class HashingEncoder(FakeEncoder):
    """Writes down the content of what it has encoded."""

    def __init__(self, encoded: list[bytes], **options: Any) -> None:
        super().__init__(**options)
        self._encoded = encoded

    def _encode(self, image: ImageInput) -> Embeddings:
        embedding = super()._encode(image)
        assert isinstance(image, Path)
        self._encoded.append(hash_file(image))
        return embedding


class Histories(RuleBasedStateMachine):
    """A folder changes and is synced, at times only a part of it, at times not to the end.

    It and a folder in it are at times on other disks than before, at times on none.
    """

    def __init__(self) -> None:
        super().__init__()
        self._home = TemporaryDirectory(dir=MEMORY)
        self.folder = Path(self._home.name) / "photos"
        self.location = Path(self._home.name) / "index"
        self.folder.mkdir()
        self.encoded: list[bytes] = []  # contents, one for each forward pass
        self.encoder = HashingEncoder(self.encoded)
        self.in_step: dict[str, int] = {}  # what the last whole sync saw: path to time of change
        self.time = 1_000_000_000

    def teardown(self) -> None:
        self._home.cleanup()

    @property
    def library(self) -> PhotoLibrary:
        """A new object each time, as another process would have."""
        return PhotoLibrary.open(self.folder, self.encoder, location=self.location)

    @rule(name=NAMES, color=COLORS)
    def write(self, name: str, color: tuple[int, int, int]) -> None:
        path = save_image(self.folder / name, color)
        self._stamp(path)

    @rule(name=NAMES)
    def write_nonsense(self, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image")
        self._stamp(path)

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    @rule(name=NAMES, other=NAMES)
    def rename(self, name: str, other: str) -> None:
        if (self.folder / name).exists():
            (self.folder / other).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).replace(self.folder / other)

    @rule(part=st.sampled_from(["", "in"]))
    def swap_disks(self, part: str) -> None:
        """Mount another disk in the place of one; the first other one is empty."""
        mounted = self.folder / part
        away = Path(self._home.name) / f"away {part}"
        aside = away.with_name("aside")
        for folder in (mounted, away):
            folder.mkdir(exist_ok=True)
        mounted.rename(aside)
        away.rename(mounted)
        aside.rename(away)

    @rule()
    def prune(self) -> None:
        self.sync(prune=True)
        assert self.library.num_missing == 0

    @rule()
    def sync(self, *, prune: bool = False) -> None:
        before = len(self.encoder.encoded_images)
        report = self.library.sync(prune=prune)
        assert report.missing == self.library.num_missing
        now = self._times()
        done = report.added + report.changed + report.moved + report.unchanged
        assert done == len(self.library)
        assert len(now) == len(self.library) + len(report.skipped)
        # Nothing is encoded twice: only what differs from the last time.
        most = sum(self.in_step.get(path) != time for path, time in now.items())
        assert len(self.encoder.encoded_images) - before <= most
        self.in_step = now
        self._compare_with_a_new_library()

    @rule(allowed=st.integers(0, 3))
    def sync_not_to_the_end(self, allowed: int) -> None:
        interrupt = InterruptAfter(allowed)
        encoder = HashingEncoder(self.encoded, batch_size=1, before_image=interrupt)
        library = PhotoLibrary.open(self.folder, encoder, location=self.location)
        try:
            library.sync()
        except InterruptedSyncError:
            assert len(encoder.encoded_images) == allowed

    @precondition(lambda self: self.in_step)
    @rule()
    def sync_again(self) -> None:
        self.sync()
        before = len(self.encoder.encoded_images)
        report = self.library.sync()
        assert (report.added, report.changed, report.removed) == (0, 0, 0)
        assert len(self.encoder.encoded_images) == before

    @invariant()
    def every_indexed_image_has_its_vector(self) -> None:
        for path, vector in _contents(self.location).items():
            assert np.linalg.norm(vector) == pytest.approx(1, abs=2**-11), path

    @invariant()
    def no_content_is_ever_encoded_twice(self) -> None:
        assert len(self.encoded) == len(set(self.encoded))

    @invariant()
    def no_row_is_used_twice(self) -> None:
        catalog = Catalog.open(self.location / "catalog.sqlite", Path())
        if catalog is None:
            return
        with catalog:
            assert not set(catalog.rows().tolist()) & set(catalog.absent_rows().tolist())
            assert not catalog.images().keys() & catalog.missing().keys()

    def _stamp(self, path: Path) -> None:
        self.time += 1
        os.utime(path, ns=(self.time, self.time))

    def _times(self) -> dict[str, int]:
        return {
            path.relative_to(self.folder).as_posix(): path.stat().st_mtime_ns
            for path in self.folder.rglob("*.png")
        }

    def _compare_with_a_new_library(self) -> None:
        with TemporaryDirectory(dir=MEMORY) as scratch:
            new = PhotoLibrary.open(self.folder, FakeEncoder(), location=scratch)
            new.sync()
            expected = _contents(Path(scratch))
            found = _contents(self.location)
            assert found.keys() == expected.keys()
            for path, vector in expected.items():
                assert found[path].tobytes() == vector.tobytes(), path
            for query in ("red", "something else"):
                assert self.library.search(query) == new.search(query)


def _contents(location: Path) -> dict[str, Embeddings]:
    """Return the vector of each path, read as plainly as can be."""
    catalog = Catalog.open(location / "catalog.sqlite", Path())
    if catalog is None:
        return {}
    with catalog:
        meta = catalog.meta()
        assert meta is not None
        reader = VectorReader(location / meta.vectors_file, meta.embed_dim, meta.num_rows, Path())
        return {
            path: reader.take(np.array([image.row]))[0] for path, image in catalog.images().items()
        }


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=30,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
