"""Shards that are read as a stream, from files, from a server and from file systems of fsspec."""

import gzip
import itertools
import os
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

from clipkit.data import shard_stream
from clipkit.data.class_names import ClassNames
from clipkit.data.shard_samples import ShardCaptions
from clipkit.data.shard_stream import Lane, ShardStream, StreamedPair
from clipkit.errors import InputError
from tests.data.conftest import image, write_shard

ALONE = Lane(0, 1)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(shard_stream, "RETRY_SECONDS", (0.0,) * 4)


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Four shards of five pairs each."""
    return [
        write_shard(
            tmp_path / f"{number}.tar",
            [
                {"__key__": f"{n}", "png": image(n), "txt": f"{number} {n}".encode()}
                for n in range(5)
            ],
        )
        for number in range(4)
    ]


@dataclass
class Server:
    """What a server has, and how it fails."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    failures: list[int | str] = field(default_factory=list)  # of the next answers, in turn


class _Handler(BaseHTTPRequestHandler):
    """Answers a question; a failure is a status, or "cut" for half of the file."""

    def __init__(self, server: Server, *args: Any) -> None:
        self._server = server
        super().__init__(*args)

    def do_GET(self) -> None:
        self._server.asked.append(self.path)
        failure = self._server.failures.pop(0) if self._server.failures else 200
        content = self._server.files[self.path]
        if isinstance(failure, int) and failure != 200:
            self.send_error(failure)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if failure == "cut" else content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server(shards: list[Path]) -> Iterator[Server]:
    """A server of these shards on this machine."""
    files = {f"/{path.name}": path.read_bytes() for path in shards}
    state = Server("", files)
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, state))
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def _stream(*shards: object, **captions: Any) -> ShardStream:
    return ShardStream(tuple(map(str, shards)), ShardCaptions(**captions))


def _take(
    stream: ShardStream, count: int, *, seed: int = 0, epoch: int = 0, lane: Lane = ALONE
) -> list[StreamedPair]:
    with closing(stream.pairs(seed, epoch, lane)) as pairs:
        return list(itertools.islice(pairs, count))


def _texts(pairs: list[StreamedPair]) -> list[str]:
    return [item.pair.captions[0] for item in pairs]


EVERYTHING = sorted(f"{number} {n}" for number in range(4) for n in range(5))


def test_an_epoch_has_each_pair_once_before_any_comes_again(shards: list[Path]) -> None:
    pairs = _take(_stream(*shards), 20)
    assert sorted(_texts(pairs)) == EVERYTHING
    first = next(item for item in pairs if item.pair.captions == ("2 3",))
    assert (first.pair.image, first.pair.name) == (image(3), f"{shards[2]}/3")
    assert Counter(_texts(_take(_stream(*shards), 400))) == dict.fromkeys(EVERYTHING, 20)


def test_equal_arguments_give_equal_orders_and_others_give_others(shards: list[Path]) -> None:
    stream = _stream(*shards)
    orders = [
        _texts(_take(stream, 20, seed=seed, epoch=epoch))
        for seed, epoch in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    assert orders[0] == orders[1]
    assert len({*map(tuple, orders)}) == 3
    assert orders[0] != sorted(orders[0])


@pytest.mark.parametrize("count", [2, 3, 4])
def test_readers_share_the_shards_of_an_epoch(shards: list[Path], count: int) -> None:
    """Each reads its shards before any that another reads."""
    found: list[set[str]] = []
    for number in range(count):
        own = len(range(number, 4, count))
        texts = _texts(_take(_stream(*shards), 5 * own, lane=Lane(number, count)))
        found.append({text.split()[0] for text in texts})
        assert len(texts) == len({*texts}) == 5 * own
    assert sorted(itertools.chain(*found)) == ["0", "1", "2", "3"]


def test_shards_of_a_server_are_streamed(server: Server) -> None:
    addresses = [f"{server.url}/{number}.tar" for number in range(4)]
    assert sorted(_texts(_take(_stream(*addresses), 20))) == EVERYTHING
    assert not list(Path(os.environ["CLIPKIT_HOME"]).rglob("*"))


def test_shards_of_a_file_system_of_fsspec_are_streamed(shards: list[Path]) -> None:
    memory = fsspec.filesystem("memory")
    for path in shards:
        memory.pipe_file(f"/bucket/{path.name}", path.read_bytes())
    stream = _stream(*(f"memory://bucket/{number}.tar" for number in range(4)))
    assert sorted(_texts(_take(stream, 20))) == EVERYTHING


def test_compressed_shards_are_streamed(shards: list[Path]) -> None:
    packed = shards[0].with_suffix(".tar.gz")
    packed.write_bytes(gzip.compress(shards[0].read_bytes()))
    assert sorted(_texts(_take(_stream(packed), 5))) == EVERYTHING[:5]


def test_what_a_command_prints_is_streamed(shards: list[Path]) -> None:
    assert len({*_texts(_take(_stream(f"pipe:cat '{shards[1]}'"), 5))}) == 5


@pytest.mark.parametrize("failures", [["cut"], [503, "cut", 404], ["cut", "cut", "cut"]])
def test_a_connection_that_fails_is_made_again(server: Server, failures: list[int | str]) -> None:
    """curl tries again by itself after 503; what is new after a try counts anew."""
    server.files["/0.tar"] += bytes(1 << 20)  # or it would be read before it is cut
    server.failures = failures
    pairs = _take(_stream(f"{server.url}/0.tar"), 5)
    assert sorted(_texts(pairs)) == [f"0 {n}" for n in range(5)]
    assert pairs[0].skipped == ()


def test_a_shard_that_cannot_be_read_is_named(server: Server) -> None:
    server.failures = [404] * 9
    address = f"{server.url}/0.tar"
    with pytest.raises(InputError, match=rf"the shard {address} cannot be read, tried 5 times: "):
        _take(_stream(address), 1)
    assert len(server.asked) == 5
    with pytest.raises(InputError, match=r"gone\.tar cannot be read, tried 1 times: .*No such"):
        _take(_stream("/gone.tar"), 1)


def test_a_shard_that_is_cut_off_keeps_its_whole_samples(shards: list[Path]) -> None:
    with tarfile.open(shards[0]) as tar:
        os.truncate(shards[0], tar.getmembers()[7].offset_data + 1)
    pairs = _take(_stream(shards[0]), 6)  # of the fourth sample a half is there
    assert Counter(_texts(pairs)) == {"0 0": 2, "0 1": 2, "0 2": 2}
    skipped = {str(error) for item in pairs for error in item.skipped}
    assert skipped == {
        f"{shards[0]}: is damaged or cut off after 3 samples: unexpected end of data"
    }


def test_what_is_no_pair_is_left_out_and_told_of(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"__key__": "1", "png": image(1)},
        {"__key__": "2", "txt": b"no image"},
        {"__key__": "3", "png": image(3), "cls": b"1"},
        {"__key__": "4", "png": image(4), "cls": b"7"},
    ]
    shard = write_shard(tmp_path / "a.tar", rows)
    names = ClassNames(Path("names.txt"), {}, ("cat", "dog"))
    (item,) = _take(_stream(shard, class_names=names), 1)
    assert (item.pair.captions, item.class_name) == (("a photo of a dog.",), "dog")
    reasons = [
        f"{shard}/1: has no captions: there is no .txt, .caption or .json with it",
        f"{shard}/2: has no image, only .txt",
    ]
    assert [str(error) for error in item.skipped] == reasons
    pairs, skipped = _stream(shard, class_names=names).first_pairs(9)
    assert len(pairs) == 1
    assert list(map(str, skipped)) == [
        *reasons,
        f"{shard}/4: its .cls holds '7', which names.txt has no name for",
    ]


def test_no_more_than_the_first_samples_are_looked_at(shards: list[Path]) -> None:
    pairs, skipped = _stream(shards[0], "/gone.tar").first_pairs(5)
    assert (_texts(pairs), skipped) == ([f"0 {n}" for n in range(5)], [])
    with pytest.raises(InputError, match=r"there are no pairs in .*there is no \.json with it"):
        _stream(shards[0], "/gone.tar", suffixes=(".json",)).first_pairs(5)


def test_shards_without_pairs_end_it(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a.tar", [{"__key__": "1", "png": image(1)}])
    for read in (lambda: _take(_stream(shard), 1), lambda: _stream(shard).first_pairs(1)):
        with pytest.raises(InputError, match=r"there are no pairs in .*a\.tar.*has no captions"):
            read()


def test_fingerprints_know_shards_and_captions() -> None:
    prints = {
        _stream("a.tar").fingerprint,
        _stream("b.tar").fingerprint,
        _stream("a.tar", suffixes=(".json",)).fingerprint,
        _stream("a.tar", class_names=ClassNames(Path("names.txt"), {}, ("cat",))).fingerprint,
    }
    assert len(prints) == 4
