"""An index of an older schema: taken over without encoding an image."""

import json
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipkit.background_words import BACKGROUND_NAMES
from clipkit.inputs.decoder_name import decoder_name
from clipkit.search.ingest import hash_file
from clipkit.search.library import PhotoLibrary
from clipkit.search.store.local.catalog import Catalog
from tests.fakes import (
    FakeEncoder,
    change_time,
    image_embedding,
    save_image,
    word_embedding,
)
from tests.search.test_disks import read_only

SCHEMA_1 = """
PRAGMA application_id = 0x636C6970;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
    row INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL);
CREATE TABLE skipped (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    reason TEXT NOT NULL) WITHOUT ROWID;
"""
NAMES = ["trip/blue.png", "orange.png", "red.png", "trip/green.png"]


@pytest.fixture
def old_index(photos: Path, tmp_path: Path) -> Path:
    """Four images, a dead row among them, and a broken file."""
    location = tmp_path / "old"
    location.mkdir()
    broken = photos / "broken.png"
    broken.write_bytes(b"no image")
    change_time(broken, -3600 * 10**9)
    meta = {
        "folder": str(photos),
        "space_id": "fake-space",
        "embed_dim": 4,
        "model": "fake",
        "engine": "fake",
        "precision": "fp32",
        "clipkit_version": "0.2.0",
        "vectors_file": "vectors-3.f32",
        "num_rows": 5,
        "device": photos.stat().st_dev,
        "exclude": ["raw"],
        "include_hidden": False,
    }
    rows = [np.array([0.5, 0.5, 0.5, 0.5], dtype="<f4")]
    connection = sqlite3.connect(location / "catalog.sqlite")
    with connection:
        connection.executescript(SCHEMA_1)
        values = [(key, json.dumps(value)) for key, value in meta.items()]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", values)
        for row, name in enumerate(NAMES, start=1):
            status = (photos / name).stat()
            image = (row, name, status.st_size, status.st_mtime_ns)
            connection.execute("INSERT INTO images VALUES (?, ?, ?, ?)", image)
            with Image.open(photos / name) as photo:
                rows.append(image_embedding(photo)[0].astype("<f4"))
        status = broken.stat()
        skipped = ("broken.png", status.st_size, status.st_mtime_ns, "was broken in its time")
        connection.execute("INSERT INTO skipped VALUES (?, ?, ?, ?)", skipped)
    connection.close()
    (location / "vectors-3.f32").write_bytes(np.stack(rows).tobytes())
    return location


def test_an_index_of_the_first_schema_is_searched_as_it_is(photos: Path, old_index: Path) -> None:
    library = PhotoLibrary.open(photos, FakeEncoder(), location=old_index)
    assert [hit.path.name for hit in library.search("red", k=2)] == ["red.png", "orange.png"]
    assert (old_index / "vectors-3.f32").is_file()


def test_an_index_of_the_first_schema_is_taken_over_without_a_forward_pass(
    photos: Path, old_index: Path, tmp_path: Path
) -> None:
    encoder = FakeEncoder()
    library = PhotoLibrary.open(photos, encoder, location=old_index)
    report = library.sync()
    assert (report.added, report.changed, report.removed, report.unchanged) == (0, 0, 0, 4)
    assert [error.reason for error in report.skipped] == ["was broken in its time"]
    assert encoder.encoded_images == []
    catalog = Catalog.open(old_index / "catalog.sqlite", photos)
    assert catalog is not None
    with catalog:
        images = list(catalog.contents())
        meta = catalog.meta()
    assert [image.path for image in images] == sorted(NAMES)
    for image in images:
        assert image.digest == hash_file(photos / image.path)
        assert (image.width, image.height) == (2, 2)
    assert meta is not None
    assert (meta.vectors_file, meta.num_rows, meta.exclude) == ("vectors-4.f16", 4, ("raw",))
    assert [path.name for path in old_index.glob("vectors*")] == ["vectors-4.f16"]
    rows = np.fromfile(old_index / "vectors-4.f16", dtype="<f2").reshape(4, 4)
    for image in images:
        with Image.open(photos / image.path) as photo:
            expected = image_embedding(photo)[0].astype(np.float16)
        assert rows[image.row].tobytes() == expected.tobytes()
    fresh = PhotoLibrary.open(photos, FakeEncoder(), location=tmp_path / "fresh")
    fresh.sync()
    assert library.search("red") == fresh.search("red")
    assert library.sync().unchanged == 4
    assert encoder.encoded_images == []


def test_an_image_that_changed_since_the_first_schema_is_encoded(
    photos: Path, old_index: Path
) -> None:
    save_image(photos / "red.png", (0, 0, 255))
    encoder = FakeEncoder()
    report = PhotoLibrary.open(photos, encoder, location=old_index).sync()
    # Its content is that of an image whose digest may be known by then, or not.
    assert report.changed == 1
    assert set(encoder.encoded_images) <= {"red.png"}


SCHEMA_2 = """
PRAGMA application_id = 0x636C6970;
PRAGMA user_version = 2;
PRAGMA journal_mode = WAL;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE images (
    row INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, is_settled INTEGER NOT NULL DEFAULT 1, digest BLOB,
    width INTEGER, height INTEGER, taken_at TEXT, camera TEXT);
CREATE INDEX images_by_digest ON images (digest);
CREATE TABLE skipped (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    reason TEXT NOT NULL, is_settled INTEGER NOT NULL DEFAULT 1) WITHOUT ROWID;
CREATE TABLE background (name TEXT PRIMARY KEY, embedding BLOB NOT NULL) WITHOUT ROWID;
"""


def make_index_of_schema_2(photos: Path, location: Path) -> Path:
    """Write the index of a folder as clipkit did before it kept what is missing."""
    location.mkdir()
    meta = {
        "folder": str(photos),
        "space_id": "fake-space",
        "embed_dim": 4,
        "model": "fake",
        "engine": "fake",
        "precision": "fp32",
        "clipkit_version": "0.3.0",
        "vectors_file": "vectors-1.f16",
        "decoder": decoder_name(),
        "num_rows": 4,
        "device": photos.stat().st_dev,
        "inode": photos.stat().st_ino,
        "exclude": [],
        "include_hidden": False,
    }
    rows = []
    connection = sqlite3.connect(location / "catalog.sqlite")
    with connection:
        connection.executescript(SCHEMA_2)
        values = [(key, json.dumps(value)) for key, value in meta.items()]
        connection.executemany("INSERT INTO meta VALUES (?, ?)", values)
        words = [(name, word_embedding(name).tobytes()) for name in BACKGROUND_NAMES]
        connection.executemany("INSERT INTO background VALUES (?, ?)", words)
        for row, name in enumerate(NAMES):
            status, digest = (photos / name).stat(), hash_file(photos / name)
            image = (row, name, status.st_size, status.st_mtime_ns, 1, digest, 2, 2, None, None)
            connection.execute(f"INSERT INTO images VALUES ({','.join('?' * 10)})", image)
            with Image.open(photos / name) as photo:
                rows.append(image_embedding(photo)[0].astype("<f2"))
    connection.close()
    (location / "vectors-1.f16").write_bytes(np.stack(rows).tobytes())
    return location


def test_an_index_of_the_second_schema_keeps_what_is_missing(photos: Path, tmp_path: Path) -> None:
    location = make_index_of_schema_2(photos, tmp_path / "old")
    encoder = FakeEncoder()
    library = PhotoLibrary.open(photos, encoder, location=location)
    fresh = PhotoLibrary.open(photos, FakeEncoder(), location=tmp_path / "fresh")
    fresh.sync()
    assert library.search("red") == fresh.search("red")
    disk = photos.rename(tmp_path / "disk")
    photos.mkdir()
    report = library.sync()
    assert (report.removed, report.missing) == (0, 4)
    photos.rmdir()
    disk.rename(photos)
    assert library.sync().unchanged == 4
    assert library.search("red") == fresh.search("red")
    assert encoder.encoded_images == []


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="needs permissions as POSIX has them")
def test_an_index_of_the_second_schema_that_nobody_can_write_is_searched(
    photos: Path, tmp_path: Path
) -> None:
    location = make_index_of_schema_2(photos, tmp_path / "old")
    before = (location / "catalog.sqlite").read_bytes()
    fresh = PhotoLibrary.open(photos, FakeEncoder(), location=tmp_path / "fresh")
    fresh.sync()
    with read_only(location):
        found = PhotoLibrary.open(photos, FakeEncoder(), location=location).search("red")
    assert found == fresh.search("red")
    assert (location / "catalog.sqlite").read_bytes() == before
