"""A process that is killed in the middle of a sync loses nothing it had committed."""

import logging
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image

from clipkit.search.ingest import hash_file
from clipkit.search.library import PhotoLibrary
from clipkit.search.store.local.catalog import Catalog
from clipkit.search.store.local.vectors import VectorReader
from tests.fakes import MEMORY, FakeEncoder, age_files, image_embedding, save_image
from tests.search.cropped_images import parts_by_hand, rows_of, save_corner
from tests.search.killable_sync import SyncJob, SyncServer, sync_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL"),
]

NUM_IMAGES = 9
NUM_KILLS = 120


@pytest.fixture(scope="module")
def server() -> Iterator[SyncServer]:
    with sync_server() as server:
        yield server


@pytest.mark.parametrize(
    ("moment", "count", "committed"),
    [
        ("image", 0, 0),
        ("image", 1, 0),
        ("image", 4, 4),
        ("image", 7, 6),
        ("vectors", 0, 0),
        ("vectors", 2, 4),
        ("catalog", 0, 0),
        ("catalog", 3, 6),
    ],
)
def test_a_kill_keeps_what_was_committed_and_the_next_sync_does_the_rest(
    server: SyncServer,
    tmp_path: Path,
    clipkit_home: Path,
    moment: str,
    count: int,
    committed: int,
) -> None:
    """Batches of two, each committed: the clock goes on by an hour whenever it is asked."""
    photos = tmp_path / "photos"
    for number in range(NUM_IMAGES):
        save_image(photos / f"{number}.png", (number, 0, 255 - number))
    job = SyncJob(str(photos), str(clipkit_home), str(tmp_path / "log"), moment=moment, count=count)
    assert server.run(job).was_killed

    encoder = FakeEncoder()
    library = PhotoLibrary.open(photos, encoder)
    assert len(library) == committed
    if library.is_indexed:
        assert len(library.search("blue", k=NUM_IMAGES)) == committed

    report = library.sync()
    assert (report.added, report.unchanged) == (NUM_IMAGES - committed, committed)
    assert len(encoder.encoded_images) == NUM_IMAGES - committed  # no forward pass twice

    fresh = PhotoLibrary.open(photos, FakeEncoder(), location=tmp_path / "fresh")
    fresh.sync()
    assert library.search("blue") == fresh.search("blue")


@pytest.mark.parametrize("crops", [5, 1])
def test_a_kill_while_crops_come_or_go_mixes_nothing_up(
    server: SyncServer, tmp_path: Path, clipkit_home: Path, crops: int
) -> None:
    """At any of some moments: the rows of each image are its own, all of them or its whole."""
    photos = tmp_path / "photos"
    for number in range(5):
        save_corner(photos / f"{number}.png", (50 * number, 255, 0), number % 4, side=20)
    age_files(photos)
    expected = {
        path.name: parts_by_hand(path).astype("<f2").astype(np.float32).tobytes()
        for path in photos.iterdir()
    }
    PhotoLibrary.open(photos, FakeEncoder()).sync(crops=6 - crops)
    shutil.copytree(clipkit_home, tmp_path / "before")
    log = str(tmp_path / "log")
    whole = SyncJob(str(photos), str(clipkit_home), log, moment="call", count=-2, crops=crops)
    num_calls = server.run(whole).num_calls
    assert num_calls > 100
    for count in range(1, num_calls, max(1, num_calls // 40)):
        shutil.rmtree(clipkit_home)
        shutil.copytree(tmp_path / "before", clipkit_home)
        assert server.run(replace(whole, count=count)).was_killed
        library = PhotoLibrary.open(photos, FakeEncoder())
        found = rows_of(library)
        assert found.keys() == expected.keys()
        for name, rows in found.items():
            assert rows in (expected[name], expected[name][:16]), (name, count)
        assert len(library.search("red", k=9)) == 5
        library.sync()
        size = 80 if library.crops == 5 else 16
        assert rows_of(library) == {name: rows[:size] for name, rows in expected.items()}
        assert len(list(library.location.glob("crops-*"))) == (library.crops == 5)


@dataclass
class LivedInFolder:
    """A folder that somebody works in, and its index, which is synced and killed."""

    server: SyncServer
    home: Path
    random: random.Random
    vectors: dict[bytes, bytes] = field(default_factory=dict)  # of every content there ever was
    seconds: list[float] = field(default_factory=lambda: [0.05])  # that syncs took
    calls: list[int] = field(default_factory=lambda: [1000])
    num_syncs: int = 0
    num_kills: int = 0
    time_ns: int = 10**18  # of the last change: long ago

    def __post_init__(self) -> None:
        self.folder = self.home / "photos"
        self.folder.mkdir()
        self.log = self.home / "encoded"

    # What happens to the images

    def change_something(self) -> None:
        actions: list[Callable[[], None]] = [
            self._write,
            self._write,
            self._write_nonsense,
            self._delete,
            self._move,
            self._move,
            self._copy,
            self._copy,
            self._touch,
            self._swap,
            self._mount_another_disk,
        ]
        self.random.choice(actions)()

    def _write(self) -> None:
        color = tuple(self.random.randrange(256) for _ in range(3))
        assert len(color) == 3
        path = save_image(self._some_path(), color)
        with Image.open(path) as image:
            vector = image_embedding(image)
        self.vectors[hash_file(path)] = vector.astype("<f2").tobytes()
        self._stamp(path)

    def _write_nonsense(self) -> None:
        path = self._some_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"no image")
        self._stamp(path)

    def _delete(self) -> None:
        self._some_file().unlink(missing_ok=True)

    def _move(self) -> None:
        """Rename an image, also into another folder, also over another image."""
        if (source := self._some_file()).exists():
            target = self._some_path()
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)

    def _mount_another_disk(self) -> None:
        """Mount it in the place of the one that was there, which comes back the next time."""
        away, aside = self.home / "away", self.home / "aside"
        away.mkdir(exist_ok=True)
        self.folder.rename(aside)
        away.rename(self.folder)
        aside.rename(away)

    def _copy(self) -> None:
        source, target = self._some_file(), self._some_path()
        if source.exists() and source != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
            self._stamp(target)

    def _touch(self) -> None:
        if (path := self._some_file()).exists():
            self._stamp(path)

    def _swap(self) -> None:
        one, other = self._some_file(), self._some_file()
        if one != other and one.exists() and other.exists():
            one.rename(self.folder / "aside")
            other.rename(one)
            (self.folder / "aside").rename(other)

    def _some_path(self) -> Path:
        place = self.random.choice(["", "in", "in/deep", "out"])
        return self.folder / place / f"{self.random.randrange(8)}.png"

    def _some_file(self) -> Path:
        return self.random.choice(self.files() or [self.folder / "none.png"])

    def _stamp(self, path: Path) -> None:
        """Give a file a time that no other has, mostly a past one; a new one is looked at twice."""
        self.time_ns += 10**9
        if self.random.random() < 0.8:
            os.utime(path, ns=(self.time_ns, self.time_ns))

    def files(self) -> list[Path]:
        return sorted(self.folder.rglob("*.png"))

    # Syncs

    def sync(self, *, may_be_killed: bool) -> None:
        """Sync in another process, and see that it encodes nothing that was committed."""
        known = self.committed()
        before = {content for content, _ in known.values()}
        self.log.write_text("")
        part = self.folder / "in"
        # A folder of which the index knows no image would get an index of its own.
        has_part = part.is_dir() and any(path.startswith("in/") for path in known)
        is_part = may_be_killed and has_part and self.random.random() < 0.2
        moment = self.random.choice(["call", "time"])
        job = SyncJob(
            folder=str(part if is_part else self.folder),
            home=str(self.home / "home"),
            encoded=str(self.log),
            batch_size=self.random.randint(1, 3),
            clock_step=self.random.choice([3600.0, 3600.0, 0.5, 0.0]),
            moment=moment,
            count=self.random.randrange(max(self.calls[-9:])) if may_be_killed else 0,
        )
        delay = None
        if may_be_killed and moment == "time":
            delay = self.random.uniform(0, max(self.seconds[-9:]))
        start = time.perf_counter()
        outcome = self.server.run(job, kill_after=delay)
        self.num_syncs += 1
        if outcome.is_complete:
            if moment == "time":
                self.seconds.append(time.perf_counter() - start)
            else:
                self.calls.append(outcome.num_calls)
        else:
            assert outcome.was_killed
            self.num_kills += 1
        encoded = [bytes.fromhex(line) for line in self.log.read_text().split()]
        assert len(encoded) == len(set(encoded))
        assert not before & set(encoded)

    def committed(self) -> dict[str, tuple[bytes, bytes]]:
        """Return the content and the vector of each image, read as plainly as can be."""
        found: dict[str, tuple[bytes, bytes]] = {}
        for path in self.home.glob("home/libraries/*/catalog.sqlite"):
            catalog = Catalog.open(path, self.folder)
            if catalog is None:
                continue
            with catalog:
                meta = catalog.meta()
                if meta is None:
                    continue
                file = path.with_name(meta.vectors_file)
                reader = VectorReader(file, meta.embed_dim, meta.num_rows, self.folder)
                rows = np.frombuffer(file.read_bytes()[: 8 * meta.num_rows], "<f2").reshape(-1, 4)
                assert reader.num_rows == meta.num_rows
                for image in catalog.contents():
                    assert image.digest is not None
                    found[image.path] = (image.digest, rows[image.row].tobytes())
        return found

    # What must hold

    def check_what_is_committed(self) -> None:
        """Hold, at any moment, that each image of the index has the vector of its content."""
        for path, (content, vector) in self.committed().items():
            assert self.vectors[content] == vector, path
        library = PhotoLibrary.open(self.folder)
        if library.is_indexed:
            hits = library.search(np.array([1, 0, 0, 0], dtype=np.float32), k=1000)
            assert len(hits) == len(self.committed())

    def check_against_a_new_library(self) -> None:
        """Hold, after a whole sync, that nothing tells the index from one built from scratch."""
        readable = {
            path.relative_to(self.folder).as_posix(): hash_file(path)
            for path in self.files()
            if hash_file(path) in self.vectors
        }
        expected = {path: (content, self.vectors[content]) for path, content in readable.items()}
        assert self.committed() == expected
        with TemporaryDirectory(dir=MEMORY) as scratch:
            new = PhotoLibrary.open(self.folder, FakeEncoder(), location=scratch)
            new.sync()
            library = PhotoLibrary.open(self.folder, FakeEncoder())
            assert len(new) == len(expected)
            for query in ("red", "something else"):
                assert library.search(query) == new.search(query)


@pytest.mark.parametrize("seed", [0])
def test_an_index_killed_at_random_moments_equals_one_built_from_scratch(
    server: SyncServer, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    with TemporaryDirectory(dir=MEMORY) as home:
        monkeypatch.setenv("CLIPKIT_HOME", str(Path(home) / "home"))
        folder = LivedInFolder(server, Path(home), random.Random(seed))
        while folder.num_kills < NUM_KILLS and folder.num_syncs < 5 * NUM_KILLS:
            for _ in range(folder.random.randint(1, 6)):
                folder.change_something()
            folder.sync(may_be_killed=folder.num_syncs > 0)
            folder.check_what_is_committed()
            if folder.random.random() < 0.4:
                folder.sync(may_be_killed=False)
                folder.check_against_a_new_library()
        folder.sync(may_be_killed=False)
        folder.check_against_a_new_library()
    figures = f"{folder.num_kills} kills hit a running sync, {folder.num_syncs} syncs in all"
    logging.getLogger(__name__).info(figures)  # shown with  pytest --log-cli-level=INFO
    assert folder.num_kills >= 100, figures
