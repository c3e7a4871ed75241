"""Listings of shards in the cache."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipkit.data import shard_listings
from clipkit.data.class_names import ClassNames
from clipkit.data.shard_cache import CachedListing
from clipkit.data.shard_listing import Shard, list_shard
from clipkit.data.shard_samples import ShardCaptions
from clipkit.data.webdataset import ShardPairs, open_shards
from tests.data.conftest import contents, image, write_shard

SAMPLES: list[dict[str, object]] = [
    {"__key__": "1", "png": image(1), "txt": "größer\nsmall".encode()},
    {"__key__": "2", "png": image(2), "cls": b"0"},
    {"__key__": "3", "png": image(3)},
    {"__key__": "4", "png": image(4), "txt": b"", "json": b'"a dog"'},
    {"__key__": "5", "png": image(5), "cls": b"1"},
]
NAMES = ClassNames(Path("names.txt"), {}, ("cat", "cow"))


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A shard with what listings hold: classes, samples that are skipped, empty members."""
    return write_shard(tmp_path / "a.tar", SAMPLES)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of shards that are listed from now on, not taken from the cache."""
    names: list[str] = []

    def list_it(shard: Shard, captions: ShardCaptions) -> Any:
        names.append(shard.name)
        return list_shard(shard, captions)

    monkeypatch.setattr(shard_listings, "list_shard", list_it)
    return names


def _open(shard: Path, captions: ShardCaptions | None = None) -> tuple[ShardPairs, list[str]]:
    said: list[str] = []
    pairs = open_shards(str(shard), captions or ShardCaptions(class_names=NAMES), say=said.append)
    return pairs, said


def _all_of(opened: tuple[ShardPairs, list[str]]) -> tuple[Any, ...]:
    pairs, said = opened
    rows = range(len(pairs))
    return (
        contents(pairs),
        [(pairs[row].name, pairs.label(row), pairs.local_name(row)) for row in rows],
        list(map(str, pairs.skipped)),
        (pairs.fingerprint, pairs.class_names, said),
        (pairs.image_sizes().tolist(), pairs.ends_hashes(np.array(rows)).tolist()),
    )


def _files() -> list[Path]:
    return [path for path in Path(os.environ["CLIPKIT_HOME"]).rglob("*") if path.is_file()]


def test_a_shard_is_listed_once(shard: Path, listed: list[str]) -> None:
    first = _all_of(_open(shard))
    assert _all_of(_open(shard)) == first
    assert listed == [str(shard)]
    assert len(first[0]) == 4
    assert first[2] == [f"{shard}/3: has no captions: there is no .txt, .caption or .json with it"]


def test_classes_come_out_of_the_cache(tmp_path: Path) -> None:
    rows = [row for row in SAMPLES if "cls" in row]
    shard = write_shard(tmp_path / "a.tar", rows)
    for _ in range(2):
        pairs, _ = _open(shard)
        assert pairs.class_names == ("cat", "cow")
        assert [pairs.label(row) for row in range(2)] == [0, 1]


@pytest.mark.parametrize(
    "captions",
    [
        ShardCaptions(class_names=NAMES),
        ShardCaptions(class_names=ClassNames(Path("names.txt"), {}, ("dog", "cow"))),
        ShardCaptions((".json",), NAMES),
        ShardCaptions(class_names=NAMES, templates=("{}",)),
    ],
)
def test_each_way_to_list_a_shard_has_its_own(
    shard: Path, listed: list[str], captions: ShardCaptions
) -> None:
    _open(shard, ShardCaptions())
    first = _all_of(_open(shard, captions))
    assert _all_of(_open(shard, captions)) == first
    assert _all_of(_open(shard, ShardCaptions())) != first
    assert len(listed) == 2


def test_a_shard_that_has_changed_is_listed_again(shard: Path, listed: list[str]) -> None:
    before = shard.stat()
    _open(shard)
    shard.write_bytes(shard.read_bytes().replace(b"a dog", b"a fox"))  # of equal size
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    pairs, _ = _open(shard)
    assert pairs[2].captions == ("a fox",)
    write_shard(shard, SAMPLES[:1])
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert len(_open(shard)[0]) == 1
    assert len(listed) == 3
    assert len(_files()) == 1  # what held for it before is replaced


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _turned(content: bytes) -> bytes:
    at = content.index("größer".encode())
    return content[:at] + b"G" + content[at + 1 :]


@pytest.mark.parametrize(
    "damage", [_cut, _turned, lambda content: b"", lambda content: b"junk" * 99]
)
def test_a_damaged_listing_is_made_anew(
    shard: Path, listed: list[str], damage: Callable[[bytes], bytes]
) -> None:
    first = _all_of(_open(shard))
    (file,) = _files()
    file.write_bytes(damage(file.read_bytes()))
    assert _all_of(_open(shard)) == first
    assert _all_of(_open(shard)) == first
    assert len(listed) == 2


def test_a_listing_of_other_arrays_is_made_anew(shard: Path, listed: list[str]) -> None:
    first = _all_of(_open(shard))
    (file,) = _files()
    with np.load(file) as arrays:
        kept = {name: arrays[name] for name in arrays if name != "hashes"}
    np.savez(file, **kept)
    assert _all_of(_open(shard)) == first
    assert len(listed) == 2


def test_a_listing_that_cannot_be_kept_is_made_each_time(shard: Path, listed: list[str]) -> None:
    place = CachedListing(Shard(shard, ""), ShardCaptions()).file.parent
    place.parent.mkdir(parents=True)
    place.write_text("a file where the folder should be")
    pairs, said = _open(shard)
    assert len(pairs) == 4
    line = f"1 listings of shards cannot be written to {place}, so these shards will be listed"
    assert said[0].startswith(line)
    _open(shard)
    assert len(listed) == 2
