"""The cache of text embeddings: it answers as the text tower would, or not at all."""

import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from clipkit.encoder.text_cache import MemoryTextCache, TextCache, user_text_cache

Rows = dict[str, NDArray[np.float32]]


SPACE, NUMERICS = "space", "onnx fp32"


MEGABYTE = 1_048_576


texts = st.text(st.characters(codec=None), max_size=20)  # lone surrogates among them


def rows_for(words: list[str], dims: int = 4) -> Rows:
    """Return a row a word that depends on nothing but the word."""
    return {
        word: np.random.default_rng(list(word.encode("utf-8", "surrogatepass")) or 0)
        .standard_normal(dims)
        .astype(np.float32)
        for word in words
    }


def assert_same(found: Mapping[str, NDArray[np.float32]], kept: Rows) -> None:
    assert found.keys() == kept.keys()
    for word, row in kept.items():
        assert found[word].dtype == np.float32
        assert found[word].tobytes() == row.tobytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "texts.sqlite"


@given(words=st.lists(texts, unique=True, max_size=8), others=st.lists(texts, max_size=4))
def test_what_was_kept_comes_back_bit_for_bit_and_nothing_else(
    words: list[str], others: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = TextCache(Path(folder) / "texts.sqlite")
        kept = rows_for(words)
        cache.put(SPACE, NUMERICS, kept)
        assert_same(cache.get(SPACE, NUMERICS, [*others, *words]), kept)


@pytest.mark.parametrize("words", [["👍🏽 a 🇩🇪 flag"], [""], ["\ud800 half"], ["a\0b", "a", "b"]])
def test_any_text_is_a_text(path: Path, words: list[str]) -> None:
    TextCache(path).put(SPACE, NUMERICS, rows_for(words))
    assert_same(TextCache(path).get(SPACE, NUMERICS, words), rows_for(words))


def test_odd_numbers_come_back_too(path: Path) -> None:
    row = np.array([0.0, -0.0, np.inf, np.nan, 1e-45, 3.4e38], dtype=np.float32)
    TextCache(path).put(SPACE, NUMERICS, {"odd": row})
    assert_same(TextCache(path).get(SPACE, NUMERICS, ["odd"]), {"odd": row})


@pytest.mark.parametrize(
    ("space_id", "numerics"),
    [("space2", NUMERICS), (SPACE, "onnx int8"), ("spaceonnx ", "fp32"), ("", SPACE + NUMERICS)],
)
def test_spaces_and_precisions_never_meet(path: Path, space_id: str, numerics: str) -> None:
    cache = TextCache(path)
    cache.put(SPACE, NUMERICS, rows_for(["a cat"]))
    assert cache.get(space_id, numerics, ["a cat"]) == {}


def test_no_text_lies_on_the_disk_and_nobody_else_may_read_it(path: Path) -> None:
    TextCache(path).put(SPACE, NUMERICS, rows_for(["my secret wish"]))
    content = path.read_bytes()
    assert b"secret" not in content
    assert SPACE.encode() not in content.replace(b"text", b"")
    assert path.stat().st_mode & 0o077 == 0


def test_looking_up_writes_nothing_twice_a_day(path: Path) -> None:
    day = [100]
    cache = TextCache(path, today=lambda: day[0])
    cache.put(SPACE, NUMERICS, rows_for(["a cat"]))
    kept = path.read_bytes()
    cache.get(SPACE, NUMERICS, ["a cat"])
    assert path.read_bytes() == kept
    day[0] += 1
    cache.get(SPACE, NUMERICS, ["a cat"])
    used = path.read_bytes()
    assert used != kept
    cache.get(SPACE, NUMERICS, ["a cat"])
    assert path.read_bytes() == used


def test_the_file_stays_within_its_bytes_and_the_last_rows_stay(path: Path) -> None:
    # 64 pages of 16 384 bytes. A row has 2 048 + 4 + 32 and some bytes: 7 in a page, or 6.
    cache = TextCache(path, max_bytes=MEGABYTE)
    words = [f"text {number}" for number in range(1200)]
    kept = rows_for(words, dims=512)
    for start in range(0, len(words), 20):
        batch = words[start : start + 20]
        cache.put(SPACE, NUMERICS, {word: kept[word] for word in batch})
        assert path.stat().st_size <= MEGABYTE
        assert_same(cache.get(SPACE, NUMERICS, batch), {word: kept[word] for word in batch})
    known = cache.get(SPACE, NUMERICS, words)
    assert list(known) == words[-len(known) :]  # the first ones went
    # After a clearing at 3/4 of 64 pages half of at least 6 * (48 - 8) rows are left.
    assert 120 <= len(known) <= 7 * 64


def test_the_row_that_was_used_longest_ago_goes_first(path: Path) -> None:
    day = [100]
    cache = TextCache(path, max_bytes=MEGABYTE, today=lambda: day[0])
    old, new = [f"old {n}" for n in range(150)], [f"new {n}" for n in range(150)]
    cache.put(SPACE, NUMERICS, rows_for(new, dims=512))  # 22 pages at least
    cache.put(SPACE, NUMERICS, rows_for(old, dims=512))  # 22 more
    day[0] += 1
    assert len(cache.get(SPACE, NUMERICS, new)) == 150
    cache.put(SPACE, NUMERICS, rows_for([f"more {n}" for n in range(40)], dims=512))
    cache.put(SPACE, NUMERICS, rows_for(["last"], dims=512))  # 48 pages are full by now
    # Half of 340 rows went: the 150 that were last used yesterday, then the 20 first ones of today.
    assert list(cache.get(SPACE, NUMERICS, [*old, *new])) == new[20:]


def test_more_than_there_is_room_for_is_not_kept(path: Path) -> None:
    cache = TextCache(path, max_bytes=MEGABYTE)
    cache.put(SPACE, NUMERICS, rows_for(["before"]))
    cache.put(SPACE, NUMERICS, rows_for([f"text {n}" for n in range(1000)], dims=512))
    assert path.stat().st_size <= MEGABYTE
    assert list(cache.get(SPACE, NUMERICS, ["before", "text 0", "text 999"])) == ["before"]


def test_a_file_that_was_allowed_more_becomes_small_again(path: Path) -> None:
    TextCache(path).put(SPACE, NUMERICS, rows_for([f"text {n}" for n in range(1000)], dims=512))
    assert path.stat().st_size > 2 * MEGABYTE
    cache, kept = TextCache(path, max_bytes=MEGABYTE), rows_for(["a cat"])
    cache.put(SPACE, NUMERICS, kept)
    assert path.stat().st_size <= MEGABYTE
    assert_same(cache.get(SPACE, NUMERICS, kept), kept)


def test_a_damaged_file_knows_nothing_and_is_made_anew(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database, whatever its name says" * 500)
    cache, kept = TextCache(path), rows_for(["a cat"])
    assert cache.get(SPACE, NUMERICS, kept) == {}
    cache.put(SPACE, NUMERICS, kept)
    assert_same(cache.get(SPACE, NUMERICS, kept), kept)


@pytest.mark.parametrize("seed", range(20))
def test_a_file_with_wrong_bytes_gives_right_rows_or_none(path: Path, seed: int) -> None:
    cache, kept = TextCache(path), rows_for([f"text {n}" for n in range(60)], dims=64)
    cache.put(SPACE, NUMERICS, kept)
    content = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    for place in random.integers(0, len(content), 200):
        content[place] ^= 1 << int(random.integers(8))
    path.write_bytes(content)
    for word, row in cache.get(SPACE, NUMERICS, kept).items():
        assert row.tobytes() == kept[word].tobytes()
    cache.put(SPACE, NUMERICS, kept)  # and this raises nothing


def test_wrong_bytes_of_a_row_are_noticed(path: Path) -> None:
    cache, kept = TextCache(path), rows_for(["a cat", "a dog"])
    cache.put(SPACE, NUMERICS, kept)
    content = path.read_bytes()
    bits = kept["a cat"].tobytes()
    assert content.count(bits) == 1
    path.write_bytes(content.replace(bits, bits[:-1] + bytes([bits[-1] ^ 1])))
    assert_same(cache.get(SPACE, NUMERICS, kept), {"a dog": kept["a dog"]})


def test_a_directory_in_its_place_is_left_alone(path: Path) -> None:
    path.mkdir(parents=True)
    cache = TextCache(path)
    cache.put(SPACE, NUMERICS, rows_for(["a cat"]))
    assert cache.get(SPACE, NUMERICS, ["a cat"]) == {}
    assert path.is_dir()


def test_a_file_in_the_place_of_its_directory_is_left_alone(path: Path) -> None:
    path.parent.write_text("mine")
    cache = TextCache(path)
    cache.put(SPACE, NUMERICS, rows_for(["a cat"]))
    assert cache.get(SPACE, NUMERICS, ["a cat"]) == {}
    assert path.parent.read_text() == "mine"


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE texts (words)")
    cache = TextCache(path)
    cache.put(SPACE, NUMERICS, rows_for(["a cat"]))
    assert cache.get(SPACE, NUMERICS, ["a cat"]) == {}
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM texts").fetchone() == (0,)


def in_a_process(code: str, *words: object) -> int:
    """Run code in a process of its own and return how it ended."""
    command = [sys.executable, "-c", _PREFACE + code, *map(str, words)]
    return subprocess.run(command, check=False).returncode


_PREFACE = """
import os, resource, signal, sys
from collections.abc import Mapping
from pathlib import Path
from clipkit.encoder.text_cache import TextCache
from tests.encoder.test_text_cache import NUMERICS, SPACE, assert_same, rows_for
path = Path(sys.argv[1])
cache = TextCache(path)
"""


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["a cat"]])
def test_a_directory_that_cannot_be_written_is_read(words: list[str]) -> None:
    code = """
dog, others = rows_for(["a dog"]), rows_for(sys.argv[2:])
cache.get(SPACE, NUMERICS, [""])  # imports what it needs, as long as that can be read
if os.geteuid() == 0:  # whom no mode binds
    os.setuid(65534)
cache.put(SPACE, NUMERICS, dog)
assert_same(cache.get(SPACE, NUMERICS, ["a cat", "a dog"]), others)
"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.sqlite"
        if words:
            TextCache(path, today=lambda: 1).put(SPACE, NUMERICS, rows_for(words))
            path.chmod(0o444)
        Path(folder).chmod(0o555)
        try:
            assert in_a_process(code, path, *words) == 0
        finally:
            Path(folder).chmod(0o755)


@pytest.mark.slow
def test_a_full_disk_keeps_nothing_and_loses_nothing(path: Path) -> None:
    kept = rows_for(["a cat"])
    TextCache(path).put(SPACE, NUMERICS, kept)
    code = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit is an error then
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10_000,) * 2)
cache.put(SPACE, NUMERICS, rows_for([f"text {number}" for number in range(500)], 512))
assert cache.get(SPACE, NUMERICS, ["text 0", "text 499"]) == {}
assert_same(cache.get(SPACE, NUMERICS, ["a cat"]), rows_for(["a cat"]))
"""
    assert in_a_process(code, path) == 0
    assert_same(TextCache(path).get(SPACE, NUMERICS, ["a cat", "text 0"]), kept)


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_write_loses_only_that_write(path: Path) -> None:
    before = rows_for(["a cat"])
    TextCache(path).put(SPACE, NUMERICS, before)
    size = path.stat().st_size
    code = """
class Deadly(Mapping):
    rows = rows_for([f"text {number}" for number in range(4000)], 512)
    def __iter__(self):
        return iter(self.rows)
    def __len__(self):
        return len(self.rows)
    def __getitem__(self, text):
        if text == "text 3999":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.rows[text]
cache.put(SPACE, NUMERICS, Deadly())
"""
    assert in_a_process(code, path) == -signal.SIGKILL
    assert path.stat().st_size > 2 * size, "nothing had been written yet"
    assert path.with_name("texts.sqlite-journal").stat().st_size > 0
    cache = TextCache(path)
    assert_same(cache.get(SPACE, NUMERICS, ["a cat", "text 0", "text 1"]), before)
    cache.put(SPACE, NUMERICS, rows_for(["a dog"]))
    assert_same(cache.get(SPACE, NUMERICS, ["a cat", "a dog"]), rows_for(["a cat", "a dog"]))


def write_often(path: Path, name: str) -> None:
    cache = TextCache(path)
    for number in range(200):
        cache.put(SPACE, NUMERICS, rows_for([f"{name} {number}"]))
        for word, row in cache.get(SPACE, NUMERICS, ["ann 0", "bob 0", "ann 199"]).items():
            assert row.tobytes() == rows_for([word])[word].tobytes()


@pytest.mark.slow
def test_two_processes_write_at_once(path: Path) -> None:
    context = get_context("spawn")
    processes = [context.Process(target=write_often, args=(path, name)) for name in ("ann", "bob")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    words = [f"{name} {number}" for name in ("ann", "bob") for number in range(200)]
    known = TextCache(path).get(SPACE, NUMERICS, words)
    assert_same(known, rows_for(list(known)))
    # Whoever finds it locked for long goes on without: most writes get through, not all must.
    assert len(known) > 200


def test_a_locked_file_is_not_waited_for(path: Path) -> None:
    cache, kept = TextCache(path), rows_for(["a cat"])
    cache.put(SPACE, NUMERICS, kept)
    with sqlite3.connect(path) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        assert cache.get(SPACE, NUMERICS, ["a cat"]) == {}
        cache.put(SPACE, NUMERICS, rows_for(["a dog"]))
    assert_same(cache.get(SPACE, NUMERICS, ["a cat", "a dog"]), kept)


def test_it_lies_in_the_users_cache_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    monkeypatch.delenv("CLIPKIT_NO_CACHE", raising=False)
    cache = user_text_cache()
    assert cache is not None
    assert list(tmp_path.iterdir()) == []  # not before there is something to keep
    cache.put(SPACE, NUMERICS, rows_for(["a cat"]))
    assert (tmp_path / "cache" / "texts.sqlite").is_file()


@pytest.mark.parametrize(
    ("value", "is_on"), [("1", False), ("yes", False), ("", True), ("0", True)]
)
def test_a_variable_switches_it_off(
    monkeypatch: pytest.MonkeyPatch, value: str, is_on: bool
) -> None:
    monkeypatch.setenv("CLIPKIT_NO_CACHE", value)
    assert (user_text_cache() is not None) == is_on


def test_the_users_cache_is_as_small_as_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPKIT_HOME", str(tmp_path))
    monkeypatch.delenv("CLIPKIT_NO_CACHE", raising=False)
    cache = user_text_cache()
    assert cache is not None
    for batch in range(20):  # 1 000 rows of 2 KB each
        words = [f"{batch} {number}" for number in range(1000)]
        cache.put(SPACE, NUMERICS, dict.fromkeys(words, np.zeros(512, dtype=np.float32)))
        assert sum(file.stat().st_size for file in tmp_path.rglob("*")) < 16e6 + 1e4


def test_in_memory_the_rows_used_longest_ago_go_first_and_are_ones_own() -> None:
    cache, rows = MemoryTextCache(max_rows=2), rows_for(["a", "b", "c"])
    cache.put(SPACE, NUMERICS, {"a": rows["a"], "b": rows["b"]})
    cache.get(SPACE, NUMERICS, ["a"])[  # now b is the one that was used longest ago
        "a"
    ][:] = 0
    cache.put(SPACE, NUMERICS, {"c": rows["c"]})
    found = cache.get(SPACE, NUMERICS, ["a", "b", "c"])
    assert sorted(found) == ["a", "c"]
    assert all(np.array_equal(found[word], rows[word]) for word in found)
    assert cache.get("other space", NUMERICS, ["a"]) == {}
    assert cache.get(SPACE, "torch fp32", ["a"]) == {}
