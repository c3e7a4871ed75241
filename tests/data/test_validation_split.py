import functools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipkit.data.mixing import PairSubset
from clipkit.data.pair import Pair, PairDataset, PairLayout
from clipkit.data.sources import open_pairs
from clipkit.data.validation_split import split_pairs
from clipkit.errors import ImageReadError, InputError
from tests.data.conftest import contents, image, write_shard
from tests.fake_pairs import ListSource
from tests.reference.validation_split import validation_rows

_image = functools.cache(image)


def _source(values: list[int], labels: list[int] | None = None) -> ListSource:
    pairs = [Pair(_image(value), ("c",), str(value)) for value in values]
    names = tuple(map(str, range(max(labels) + 1))) if labels else ()
    return ListSource(pairs, labels=labels or (), class_names=names)


def _names(part: PairSubset) -> list[str]:
    return [part[row].name for row in range(len(part))]


def _split(source: PairDataset, fraction: float, seed: int) -> tuple[PairSubset, PairSubset]:
    (train,), (kept,) = split_pairs([source], fraction, seed)
    return train, kept


FRACTIONS = st.floats(0.01, 0.99)


@given(
    values=st.lists(st.integers(0, 40), min_size=2).filter(lambda v: len(set(v)) > 1),
    fraction=FRACTIONS,
    seed=st.integers(0, 2**31),
)
def test_equal_images_stay_together(values: list[int], fraction: float, seed: int) -> None:
    train, kept = _split(_source(values), fraction, seed)
    assert sorted([*_names(train), *_names(kept)]) == sorted(map(str, values))
    assert not set(_names(train)) & set(_names(kept))
    assert _names(train)
    assert _names(kept)
    num_images = len(set(values))
    share = min(max(fraction * num_images, 1), num_images - 1)
    assert abs(len(set(_names(kept))) - share) <= 0.5
    again = _split(_source(values), fraction, seed)
    assert [_names(part) for part in again] == [_names(train), _names(kept)]
    order = list(map(str, values))
    assert _names(kept) == [name for name in order if name in set(_names(kept))]


@given(
    by_class=st.lists(st.lists(st.integers(0, 9), min_size=1), min_size=1, max_size=5),
    fraction=FRACTIONS,
    seed=st.integers(0, 2**31),
)
def test_each_class_has_images_on_both_sides(
    by_class: list[list[int]], fraction: float, seed: int
) -> None:
    # No image is in two classes.
    values = [10 * label + value for label, members in enumerate(by_class) for value in members]
    labels = [label for label, members in enumerate(by_class) for _ in members]
    source = _source(values, labels)
    if all(len(set(members)) < 2 for members in by_class):
        with pytest.raises(InputError, match=r"cannot be split|no class of"):
            _split(source, fraction, seed)
        return
    sides: defaultdict[int | None, set[int]] = defaultdict(set)
    for side, part in enumerate(_split(source, fraction, seed)):
        for row in range(len(part)):
            sides[part.label(row)].add(side)
    for label, members in enumerate(by_class):
        assert sides[label] == ({0, 1} if len(set(members)) > 1 else {0})


@given(
    places=st.lists(st.lists(st.integers(0, 20), min_size=1), min_size=1, max_size=4).filter(
        lambda places: len({value for place in places for value in place}) > len(places)
    ),
    fraction=FRACTIONS,
    seed=st.integers(0, 2**31),
)
def test_equal_images_of_several_sources_stay_together(
    places: list[list[int]], fraction: float, seed: int
) -> None:
    train, kept = split_pairs([_source(values) for values in places], fraction, seed)
    assert len(train) == len(kept) == len(places)
    for values, *parts in zip(places, train, kept, strict=True):
        assert sorted(name for part in parts for name in _names(part)) == sorted(map(str, values))
    trained, held = ({name for part in parts for name in _names(part)} for parts in (train, kept))
    assert trained
    assert held
    assert not trained & held


def test_each_source_has_its_share_and_its_classes() -> None:
    """A place of 20 images in 2 classes of 10, and one of 5 without: 2 + 2 and 1."""
    classes = _source(list(range(20)), [0] * 10 + [1] * 10)
    plain = _source(list(range(20, 25)))
    train, kept = split_pairs([classes, plain], 0.2, 3)
    assert [len(part) for part in train] == [16, 4]
    assert [kept[0].label(row) for row in range(len(kept[0]))] == [0, 0, 1, 1]
    assert kept[0].class_names == ("0", "1")
    assert len(kept[1]) == 1


def _is_image(content: bytes) -> bool:
    return content.startswith(b"\x89PNG")


@given(
    places=st.lists(
        st.lists(st.tuples(st.integers(-3, 12), st.integers(0, 2)), min_size=1, max_size=30),
        min_size=1,
        max_size=3,
    ),
    fraction=FRACTIONS,
    seed=st.integers(0, 2**31),
)
def test_the_split_is_that_of_reading_every_image(
    places: list[list[tuple[int, int]]], fraction: float, seed: int
) -> None:
    """Values below 0 are no images; images of a value are equal but for one byte in the middle."""

    def content(value: int) -> bytes:
        if value < 0:
            return b"<html>" if value > -3 else b""
        # Behind the end of a PNG, which readers ignore: equal ends, and every third is equal.
        return _image(0) + bytes(4000) + bytes([value // 3]) + bytes(4000)

    sources = [
        NumberedSource(
            [Pair(content(value), ("c",), str(row)) for row, (value, _) in enumerate(place)],
            labels=[label for _, label in place],
            class_names=("0", "1", "2"),
        )
        for place in places
    ]
    expected = validation_rows(sources, fraction, seed, is_image=_is_image)
    if not any(expected):
        with pytest.raises(InputError, match=r"cannot be split|no class of"):
            split_pairs(sources, fraction, seed)
        return
    _, kept = split_pairs(sources, fraction, seed)
    assert [list(map(int, _names(part))) for part in kept] == expected


def test_an_image_in_a_folder_and_in_a_shard_is_on_one_side(tmp_path: Path) -> None:
    rows = []
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(image(number))
        (tmp_path / f"{number}.txt").write_text("a")
        rows.append({"__key__": f"other {number}", "png": image(number), "txt": b"b"})
    sources = [open_pairs(tmp_path), open_pairs(write_shard(tmp_path / "a.tar", rows))]
    train, kept = split_pairs(sources, 0.5, 0)
    learnt, held = (
        {pair for part in parts for pair, _ in contents(part)} for parts in (train, kept)
    )
    assert (len(learnt), len(held)) == (10, 10)
    assert not learnt & held


class NumberedSource(ListSource):
    """A source whose pairs are called by their numbers."""

    def local_name(self, row: int) -> str:
        return f"{row}.png"


def _held(values: Sequence[int], labels: Sequence[int], fraction: float, seed: int) -> list[bool]:
    """Return of each pair, called by its number, whether it is kept for validation."""
    pairs = [Pair(_image(value), ("c",), str(row)) for row, value in enumerate(values)]
    source = NumberedSource(pairs, labels=labels, class_names=("0", "1", "2"))
    kept = _names(_split(source, fraction, seed)[1])
    return [str(row) in kept for row in range(len(values))]


@given(data=st.data(), fraction=FRACTIONS, seed=st.integers(0, 2**31))
def test_an_image_that_changes_moves_one_other_of_a_class_at_most(
    data: st.DataObject, fraction: float, seed: int
) -> None:
    # Two images a class that stay, so that it can always be split.
    values = [100, 101, *data.draw(st.lists(st.integers(0, 30), min_size=1, max_size=40))]
    label = st.integers(0, 2)
    labels = [0, 0, *data.draw(st.lists(label, min_size=len(values) - 2, max_size=len(values) - 2))]
    row = data.draw(st.integers(2, len(values) - 1))
    changed = [*values]
    changed[row] = data.draw(st.integers(0, 30))
    before, after = (_held(each, labels, fraction, seed) for each in (values, changed))
    own = {values[row], changed[row]}
    moved = defaultdict(set)
    for at, value in enumerate(changed):
        if value not in own and before[at] != after[at]:
            moved[labels[changed.index(value)]].add(value)
    assert all(len(others) == 1 for others in moved.values())
    concerned = {labels[each.index(value)] for each in (values, changed) for value in {each[row]}}
    concerned |= {labels[at] for at, value in enumerate(changed) if value in own}
    assert set(moved) <= concerned


def test_broken_files_can_be_mended_one_by_one(tmp_path: Path) -> None:
    """Three pages of a server in the places of images, which are no equal images."""
    broken = {3: b"<html>404</html>", 8: b"<html>404</html>", 9: b"<html>404</html>"}
    for number in range(20):
        (tmp_path / f"{number:02}.png").write_bytes(broken.get(number, image(number)))
        (tmp_path / f"{number:02}.txt").write_text(f"number {number}")
    rows = [
        {"__key__": f"{number}", "png": broken.get(number, image(number)), "txt": b"a"}
        for number in range(20)
    ]
    shards = open_pairs(write_shard(tmp_path / "a.tar", rows))
    for seed in range(10):
        assert [len(part) for part in _split(shards, 0.5, seed)] == [10, 10]

    def split(folder: Path, seed: int) -> list[list[str]]:
        source = open_pairs(folder)
        parts = _split(source, 0.5, seed)
        return [[part.local_name(row) for row in range(len(part))] for part in parts]

    splits = [split(tmp_path, seed) for seed in range(10)]
    assert {len(kept) for _, kept in splits} == {10}
    for number in broken:
        (tmp_path / f"{number:02}.png").write_bytes(image(number))
        assert [split(tmp_path, seed) for seed in range(10)] == splits
    # Moving all of them changes nothing, and one more pair moves at most one other.
    moved = tmp_path.rename(tmp_path.with_name("elsewhere"))
    assert [split(moved, seed) for seed in range(10)] == splits
    (moved / "20.png").write_bytes(image(20))
    (moved / "20.txt").write_text("number 20")
    for seed, (_, kept) in enumerate(splits):
        assert len(set(kept) - set(split(moved, seed)[1])) <= 1


def test_files_and_shards_split_by_their_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for number in range(20):  # each image twice, in folders of one class
        for place in ("a", "b/c"):
            path = folder / "cat" / place / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image(number))
    files = open_pairs(folder, PairLayout(templates=("{}",)))
    rows = [
        {"__key__": f"{number:03}", "png": image(number % 20), "txt": b"a"} for number in range(40)
    ]
    shards = open_pairs(write_shard(tmp_path / "a.tar", rows))
    for source in (files, shards):
        train, kept = ({image for image, _ in contents(part)} for part in _split(source, 0.3, 1))
        assert (len(train), len(kept)) == (14, 6)
        assert not train & kept


def test_a_link_to_an_image_is_on_its_side(tmp_path: Path) -> None:
    """Of two folders, the second leads to the images of the first."""
    for number in range(10):
        for place, caption in (("a", "one"), ("b", "other")):
            (tmp_path / place).mkdir(exist_ok=True)
            (tmp_path / place / f"{number}.txt").write_text(f"{caption} {number}")
        (tmp_path / "a" / f"{number}.png").write_bytes(image(number))
        link = tmp_path / "b" / f"{number}.png"
        if number % 2:
            link.symlink_to(f"../a/{number}.png")
        else:
            link.hardlink_to(tmp_path / "a" / f"{number}.png")
    sources = [open_pairs(tmp_path / place) for place in ("a", "b")]
    for seed in range(5):
        train, kept = split_pairs(sources, 0.3, seed)
        sides = [
            {image for part in parts for image, _ in contents(part)} for parts in (train, kept)
        ]
        assert [len(side) for side in sides] == [7, 3]
        assert not sides[0] & sides[1]


def test_rows_that_cannot_be_read_are_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    (tmp_path / "b.png").mkdir()
    pairs: list[Pair | ImageReadError] = [
        Pair(tmp_path / "a.png", ("a",), "a"),
        Pair(tmp_path / "gone.png", ("a",), "gone"),
        Pair(tmp_path / "b.png", ("a",), "folder"),
        ImageReadError("x", "is bad"),
    ]
    source = ListSource(pairs)
    source.skipped = [ImageReadError("y", "is bad")]
    train, kept = _split(source, 0.5, 0)
    assert (len(train), len(kept)) == (2, 2)
    assert train.skipped == source.skipped
    assert kept.skipped == ()
    both = _split(ListSource([pairs[1], pairs[3]]), 0.5, 0)  # nobody knows whether equal
    assert [len(part) for part in both] == [1, 1]


def test_seeds_have_splits_of_their_own() -> None:
    source = _source(list(range(40)))
    kept = [_names(_split(source, 0.5, seed)[1]) for seed in (0, 0, 1)]
    assert kept[0] == kept[1] != kept[2]


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="above 0 and below 1, got"):
        _split(_source([1, 2]), fraction, 0)


def test_one_image_cannot_be_split() -> None:
    with pytest.raises(InputError, match="2 pairs of 1 different images cannot be split"):
        _split(_source([1, 1]), 0.5, 0)
