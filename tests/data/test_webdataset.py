import gc
import io
import json
import os
import pickle
import random
import shutil
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from clipkit.data.class_names import ClassNames
from clipkit.data.pair import count_pairs
from clipkit.data.shard_samples import ShardCaptions
from clipkit.data.webdataset import ShardPairs, is_shards, open_shards
from clipkit.errors import ImageReadError, InputError, MissingExtraError
from clipkit.inputs.images import read_image
from tests.data.conftest import contents, image, reasons, write_shard

SAMPLES = [
    {"__key__": "0001", "jpg": image(1), "txt": b"a cat\nan animal"},
    {"__key__": "0002", "png": image(2), "json": b'{"caption": "a dog"}'},
    {"__key__": "deep/0003", "jpeg": image(3), "txt": b"a cow", "json": b'{"caption": "old"}'},
]
PAIRS = [
    (image(1), ("a cat", "an animal")),
    (image(2), ("a dog",)),
    (image(3), ("a cow",)),
]


def _open(text: str) -> ShardPairs:
    return open_shards(text, ShardCaptions(), say=_unsaid)


def _unsaid(line: str) -> None:
    raise AssertionError(line)


def _tar(path: Path, files: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset leaves them open
def test_pairs_are_those_that_webdataset_yields(tmp_path: Path, samples: list[Path]) -> None:
    urls = str(tmp_path / "data-{000..002}.tar")
    rows = [
        {"__key__": path.stem, "jpg": path.read_bytes(), "txt": path.stem.encode()}
        for path in samples[:9]
    ]
    for number in range(3):
        write_shard(tmp_path / f"data-{number:03}.tar", rows[3 * number : 3 * number + 3])
    theirs = list(webdataset.WebDataset(urls, shardshuffle=False))
    gc.collect()
    source = _open(urls)
    assert contents(source) == [(item["jpg"], (item["txt"].decode(),)) for item in theirs]
    names = [f"{item['__url__']}/{item['__key__']}" for item in theirs]
    assert [source[row].name for row in range(9)] == names
    assert source.skipped == []
    assert read_image(source[4].image).size == read_image(samples[4]).size


def test_captions_are_lines_or_json(tmp_path: Path) -> None:
    source = _open(str(write_shard(tmp_path / "a.tar", SAMPLES)))
    assert contents(source) == PAIRS
    assert source[2].name == f"{tmp_path}/a.tar/deep/0003"
    assert source.class_names == ()


def test_rows_are_read_at_random_from_threads_and_copies(tmp_path: Path) -> None:
    source = _open(str(write_shard(tmp_path / "a.tar", SAMPLES)))
    other: ShardPairs = pickle.loads(pickle.dumps(source))
    rows = random.Random(0).choices(range(3), k=200)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: (source[row].image, other[row].captions), rows))
    assert found == [PAIRS[row] for row in rows]
    assert other.fingerprint == source.fingerprint


def test_samples_that_lack_something_are_listed(tmp_path: Path) -> None:
    shard = _tar(
        tmp_path / "a.tar",
        [
            ("good.JPG", image(1)),
            ("good.Txt", b"good"),
            ("alone.jpg", image(2)),
            ("said.txt", b"only said"),
            ("said.cls", b"7"),
            ("empty.png", image(3)),
            ("empty.txt", b" \n"),
            ("odd.png", image(3)),
            ("odd.txt", b"\xff"),
            ("long.png", image(3)),
            ("long.txt", b"a" * (2 << 20)),
            ("twice.png", image(4)),
            ("twice.png", image(5)),
            ("twice.txt", b"twice"),
            ("mask.seg.png", image(6)),
            ("mask.txt", b"a mask is no image"),
            ("__meta__", b"{}"),
            ("__index__/x.json", b"{}"),
            ("README", b"no extension"),
        ],
    )
    source = _open(str(shard))
    assert contents(source) == [(image(1), ("good",)), (image(4), ("twice",))]
    assert reasons(source) == [
        "empty: its .txt holds no caption",
        "odd: its .txt is not UTF-8",
        "long: its .txt holds 2097152 bytes, which is no caption",
        "twice.png: is there twice: the first counts",
        # More of these might have come later, so they are told of last.
        "alone: has no captions: there is no .txt, .caption or .json with it",
        "said: has no image, only .txt, .cls",
        "mask: has no image, only .seg.png, .txt",
    ]
    assert {error.path.partition("a.tar/")[0] for error in source.skipped} == {f"{tmp_path}/"}


def test_a_shard_that_is_cut_off_keeps_its_whole_samples(tmp_path: Path) -> None:
    whole = write_shard(tmp_path / "a.tar", SAMPLES).read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        members = tar.getmembers()
    for cut in range(0, len(whole), 256):
        (tmp_path / "a.tar").write_bytes(whole[:cut])
        there = sum(member.offset_data + member.size <= cut for member in members)
        if cut < members[0].offset_data:
            with pytest.raises(InputError, match="is no tar file"):
                _open(str(tmp_path / "a.tar"))
            continue
        source = _open(str(tmp_path / "a.tar"))
        # Of the third sample the image comes first, then the lines.
        num_pairs = (there >= 2) + (there >= 4) + (there >= 6)
        assert contents(source)[:2] == PAIRS[:2][: min(num_pairs, 2)]
        assert len(source) == num_pairs
        # The last file's lines fill one block of 512 bytes; zeros behind it mark the end.
        is_whole = cut > members[-1].offset_data + 512
        assert is_whole == (source.skipped == [])
        if not is_whole:
            assert source.skipped[-1].path == str(tmp_path / "a.tar") or there in (1, 3, 5)


def test_a_damaged_header_is_told_of(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a.tar", SAMPLES)
    with tarfile.open(shard) as tar:
        offset = tar.getmembers()[2].offset
    content = bytearray(shard.read_bytes())
    content[offset : offset + 100] = b"x" * 100  # its check sum is wrong now
    shard.write_bytes(content)
    source = _open(str(shard))
    assert contents(source) == PAIRS[:1]
    (error,) = source.skipped
    assert str(error) == (
        f"{shard}: is damaged or cut off after 2 files: a header is damaged; how many pairs are "
        'lost is not known: a sizes.json beside it would say, as in {"a.tar": 1000}'
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [("sizes.json", {"a.tar": 9, "b.tar": 2}), ("a_stats.json", {"count": 12, "successes": 9})],
)
def test_the_pairs_that_a_shard_has_lost_are_counted(
    tmp_path: Path, name: str, content: dict[str, int]
) -> None:
    """Of nine samples three are whole, and of a fourth the caption; it is skipped by itself."""
    files = [(f"{n}.{end}", some) for n in range(9) for end, some in (("txt", b"a"), ("png", b"p"))]
    shard = _tar(tmp_path / "a.tar", files)
    with tarfile.open(shard) as tar:
        cut = tar.getmembers()[7]
    os.truncate(shard, cut.offset_data)
    (tmp_path / name).write_text(json.dumps(content))

    for _ in range(2):  # listed, and out of the cache
        source = _open(str(shard))
        assert len(source) == 3
        lost, alone = source.skipped
        assert str(alone) == f"{shard}/3: has no image, only .txt"
        assert str(lost) == (
            f"{shard}: is damaged or cut off after 7 files: of 3.png 0 of 1 bytes are there; by "
            f"{name} it should have 9 samples, 5 are lost"
        )
        assert count_pairs(source.skipped) == 6
        assert pickle.loads(pickle.dumps(lost)).num_pairs == 5


@pytest.mark.parametrize("content", ["[]", "{", '{"b.tar": 9}', '{"a.tar": "9"}'])
def test_a_list_of_sizes_that_says_nothing_counts_nothing(tmp_path: Path, content: str) -> None:
    shard = write_shard(tmp_path / "a.tar", SAMPLES)
    with tarfile.open(shard) as tar:
        os.truncate(shard, tar.getmembers()[-1].offset)
    (tmp_path / "sizes.json").write_text(content)
    assert count_pairs(_open(str(shard)).skipped[:1]) == 1
    assert "is not known" in str(_open(str(shard)).skipped[0])


def test_a_shard_that_changes_later_is_a_bad_row(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a.tar", SAMPLES)
    source = _open(str(shard))
    os.truncate(shard, 600)
    with pytest.raises(ImageReadError, match=r"a\.tar/0002: its shard has become shorter"):
        source[1]
    shard.unlink()
    with pytest.raises(ImageReadError, match=r"a\.tar/0002: no such file"):
        source[1]
    with pytest.raises(IndexError):
        source[3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\x1f\x8b\x08" + b"0" * 600, "by itself but compressed: unpack it"),
        (b"hello" * 200, "it starts with b'hellohel'"),
    ],
)
def test_what_is_no_tar_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.tar is no tar file.* {message}"):
        _open(str(tmp_path / "a.tar"))


def test_missing_shards_are_counted_and_named(tmp_path: Path) -> None:
    write_shard(tmp_path / "a-1.tar", SAMPLES)
    with pytest.raises(InputError, match=r"2 of 3 shards are not there: .*a-0\.tar, .*a-2\.tar$"):
        _open(str(tmp_path / "a-{0..2}.tar"))


@pytest.mark.parametrize("text", ["a-{0..2.tar", "${NOT_THERE}/a.tar"])
def test_names_that_cannot_be_expanded_are_told(text: str) -> None:
    with pytest.raises(InputError, match="does not name shards"):
        _open(text)


def test_a_name_that_looks_like_a_range_may_be_a_file(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a-{0..1}.tar", SAMPLES)
    assert contents(_open(str(shard))) == PAIRS


def test_several_places_are_read_in_their_order(tmp_path: Path) -> None:
    first = write_shard(tmp_path / "a.tar", SAMPLES[1:2])
    second = write_shard(tmp_path / "b.tar", SAMPLES[:1])
    assert contents(_open(f"{first}::file:{second}")) == [PAIRS[1], PAIRS[0]]


def test_pairs_of_shards_of_equal_names_have_names_of_their_own(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("a", "b")]
    for place in places:
        place.mkdir()
        write_shard(place / "0.tar", [*SAMPLES, {"__key__": "9", "jpg": b"without captions"}])
    sources = [_open(f"file:{place}/0.tar") for place in places]
    names = {source[row].name for source in sources for row in range(3)}
    skipped = {error.path for source in sources for error in source.skipped}
    for place in places:
        (place / "0.tar").unlink()
    for source in sources:
        for row in range(3):
            with pytest.raises(ImageReadError) as error:
                source[row]
            assert error.value.path in names
    keys = ("0001", "0002", "deep/0003")
    assert names == {f"{place}/0.tar/{key}" for place in places for key in keys}
    assert skipped == {f"{place}/0.tar/9" for place in places}
    # What identifies the pairs, and what splits them, does not know where they lie.
    assert sources[0].fingerprint == sources[1].fingerprint
    assert [sources[1].local_name(row) for row in range(3)] == [f"0.tar/{key}" for key in keys]


def test_fingerprints_know_names_captions_and_sizes(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    sample: dict[str, object] = {"__key__": "1", "jpg": b"123", "txt": b"a cat"}
    prints = []
    changes: tuple[dict[str, object], ...] = (
        {},
        {"txt": b"a dog"},
        {"__key__": "2"},
        {"jpg": b"1234"},
    )
    for change in changes:
        prints.append(_open(str(write_shard(shard, [sample | change]))).fingerprint)
    assert len({*prints}) == len(changes)
    assert _open(str(write_shard(shard, [sample]))).fingerprint == prints[0]


def test_the_output_of_a_command_is_fetched_once(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a.tar", SAMPLES)
    url = f"pipe:cat '{shard}'"
    assert is_shards(url)
    assert contents(_open(url)) == PAIRS
    assert _open(url)[0].name == f"{url}/0001"
    assert contents(_open(f"pipe:true {'long ' * 60}; cat '{shard}'")) == PAIRS
    shard.unlink()
    assert contents(_open(url)) == PAIRS


def test_what_cannot_be_fetched_leaves_nothing_behind(tmp_path: Path) -> None:
    home = Path(os.environ["CLIPKIT_HOME"])
    for url in ("pipe:exit 3", "pipe:true", "pipe:head -c 9 /dev/zero; exit 3", "foo://a.tar"):
        with pytest.raises(InputError, match="cannot be fetched"):
            _open(url)
    assert [path for path in home.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.tar", True),
        ("a-{000..099}.TAR", True),
        ("a-{0..9}.tar.gz", True),
        ("a.tgz", True),
        ("photos.gz", False),
        ("https://a.org/x?y", True),
        ("pipe:cat x", True),
        ("hf://datasets/a/b/0.tar", True),
        ("photos", False),
        ("file:photos", False),
        ("photos::more", False),
        ("C:\\photos", False),
        ("/a/b:c", False),
    ],
)
def test_shards_are_known_by_their_names(text: str, expected: bool) -> None:
    assert is_shards(text) is expected


def test_without_webdataset_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shard = write_shard(tmp_path / "a.tar", SAMPLES)
    monkeypatch.setitem(sys.modules, "webdataset.shardlists", None)
    with pytest.raises(MissingExtraError, match=r'Reading webdataset shards .*"clipkit\[torch\]"'):
        _open(str(shard))


def test_long_names_and_folders_are_no_obstacle(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    key = "deep/" + "x" * 300  # too long for a header: it has one of its own before it
    with tarfile.open(shard, "w", format=tarfile.GNU_FORMAT) as tar:
        folder = tarfile.TarInfo("deep")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in ((f"{key}.png", image(1)), (f"{key}.txt", "é".encode())):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    assert contents(_open(str(shard))) == [(image(1), ("é",))]


@given(data=st.data())
def test_damage_is_skipped_or_told(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("shard")
    shard = write_shard(folder / "a.tar", SAMPLES)
    content = bytearray(shard.read_bytes())
    headers = range(0, 512 * 14, 512)
    for _ in range(data.draw(st.integers(1, 4))):
        # Most damage is put where it hurts: types and sizes, with their check sums mended.
        start = data.draw(st.sampled_from(headers))
        if not any(content[start : start + 512]):
            continue
        field = data.draw(st.sampled_from([(124, 12), (156, 1), (0, 100), (257, 8), (345, 155)]))
        junk = st.binary(min_size=field[1], max_size=field[1])
        known = st.sampled_from([b"\xff" * 12, b"\x80" + b"\x7f" * 11, b"x", b"L", b"S", b"g"])
        new = data.draw(junk | known)[: field[1]]
        content[start + field[0] : start + field[0] + len(new)] = new
        if data.draw(st.booleans()):
            block = content[start : start + 512]
            total = sum(block[:148]) + 8 * 32 + sum(block[156:])
            content[start + 148 : start + 156] = f"{total:06o}\0 ".encode()
    shard.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        source, _ = _told(shard, ShardCaptions())
    except InputError:
        return
    for row in range(len(source)):
        pair = source[row]
        assert isinstance(pair.image, bytes)
        assert all(pair.captions)
    shutil.rmtree(folder)


def test_json_of_img2dataset_is_understood(tmp_path: Path) -> None:
    entry = {"caption": "a cat", "url": "https://a.org/1.jpg", "key": "1", "status": "success"}
    sample = {"__key__": "1", "jpg": image(1), "json": json.dumps(entry).encode()}
    source = _open(str(write_shard(tmp_path / "a.tar", [sample])))
    assert contents(source) == [(image(1), ("a cat",))]


def _told(shard: Path, captions: ShardCaptions) -> tuple[ShardPairs, list[str]]:
    said: list[str] = []
    return open_shards(str(shard), captions, say=said.append), said


def test_members_of_a_sample_that_lie_apart_are_joined(tmp_path: Path) -> None:
    numbers = range(5)
    files = [(f"deep/{number}.png", image(number)) for number in numbers]
    files += [("whole.png", image(9)), ("whole.txt", b"whole"), ("alone.png", image(10))]
    # In other orders, and with a member that is there twice: the first counts.
    files += [(f"deep/{number}.txt", f"said {number}".encode()) for number in reversed(numbers)]
    files += [("late.txt", b"late"), ("between.txt", b"no image"), ("late.png", image(11))]
    shard = _tar(tmp_path / "a.tar", files)

    source, said = _told(shard, ShardCaptions())

    assert contents(source) == [
        (image(9), ("whole",)),
        *((image(number), (f"said {number}",)) for number in reversed(numbers)),
        (image(11), ("late",)),
    ]
    assert reasons(source) == [
        "alone: has no captions: there is no .txt, .caption or .json with it",
        "between: has no image, only .txt",
    ]
    assert said == [
        f"{shard} is an unsorted tar: the members of 6 samples do not lie beside each "
        "other (deep/4; deep/3; deep/2; and 3 more). They are joined here; other readers of "
        "webdataset lose them: pack it again with  tar --sort=name"
    ]


def test_numbers_of_classes_are_read_with_their_names(tmp_path: Path) -> None:
    files = [(f"{n}.{end}", content) for n, label in enumerate([b"2", b"0\n", b"2", b"7", b"x"])
             for end, content in (("png", image(n)), ("cls", label))]  # fmt: skip
    shard = _tar(tmp_path / "a.tar", files)
    names = ClassNames(tmp_path / "names.txt", {}, ("zebra", "horse", "cat"))

    source, said = _told(shard, ShardCaptions(class_names=names, templates=["a {}.", "{}"]))

    assert source.class_names == ("cat", "zebra")
    assert [source.label(row) for row in range(3)] == [0, 1, 0]
    assert [source[row].captions for row in range(2)] == [("a cat.", "cat"), ("a zebra.", "zebra")]
    names_file = tmp_path / "names.txt"
    assert reasons(source) == [
        f"3: its .cls holds '7', which {names_file} has no name for",
        f"4: its .cls holds 'x', which {names_file} has no name for",
    ]
    assert said == []
    source, _ = _told(shard, ShardCaptions())
    assert len(source) == 0
    assert reasons(source)[0].startswith("0: has a .cls for a caption, the number of a class: give")


def test_texts_come_before_numbers_of_classes(tmp_path: Path) -> None:
    files = [("1.png", image(1)), ("1.cls", b"0"), ("1.txt", b"a text")]
    files += [("2.png", image(2)), ("2.cls", b"0")]
    names = ClassNames(tmp_path / "names.txt", {}, ("cat",))
    source, _ = _told(_tar(tmp_path / "a.tar", files), ShardCaptions(class_names=names))
    assert [captions for _, captions in contents(source)] == [("a text",), ("a photo of a cat.",)]
    # Not all are of a class, so none is: accuracies would be of a part only.
    assert source.class_names == ()
    assert source.label(1) is None


def test_captions_are_the_members_that_are_asked_for(tmp_path: Path) -> None:
    files = [
        ("1.png", image(1)),
        ("1.txt", b"alt text"),
        ("1.en.json", b'{"caption": "a cat"}'),
        ("2.png", image(2)),
        ("2.txt", b""),
        ("2.json", b'"a dog"'),
    ]
    shard = _tar(tmp_path / "a.tar", files)
    source, said = _told(shard, ShardCaptions())
    assert [captions for _, captions in contents(source)] == [("alt text",), ("a dog",)]
    assert said == [
        "1 members of shards hold no caption, so another of the same sample was read: "
        f"{shard}/2: its .txt holds no caption"
    ]
    source, said = _told(shard, ShardCaptions((".en.json",)))
    assert contents(source) == [(image(1), ("a cat",))]
    assert reasons(source) == ["2: has no captions: there is no .en.json with it"]


def test_links_inside_a_tar_are_told_of(tmp_path: Path) -> None:
    with tarfile.open(_tar(tmp_path / "a.tar", [("1.png", image(1)), ("1.txt", b"a")]), "a") as tar:
        for name, kind in (("2.png", tarfile.LNKTYPE), ("3.png", tarfile.SYMTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "1.png"
            tar.addfile(link)
    source = _open(str(tmp_path / "a.tar"))
    assert len(source) == 1
    again = (
        "without bytes of its own: pack the tar again with  tar --dereference --hard-dereference"
    )
    assert reasons(source) == [
        f"{name}: is a link to 1.png, {again}" for name in ("2.png", "3.png")
    ]
