"""What is kept and dropped, by hand on coloured images; and what holds for any pairs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clipkit.curation.filtering import FilterReport, KeptPair, filter_pairs
from clipkit.curation.rules import RULES, FilterRules
from clipkit.data.pair import Pair
from clipkit.errors import ImageReadError, InputError
from tests.fake_pairs import ListSource
from tests.fakes import WORDS, FakeEncoder, save_image


def pair(folder: Path, name: str, color: tuple[int, int, int], *captions: str) -> Pair:
    return Pair(save_image(folder / f"{name}.png", color), captions, name)


def rules_of(report: FilterReport) -> dict[str, str]:
    return {Path(dropped.name).stem: dropped.rule for dropped in report.dropped}


def names(report: FilterReport) -> list[str]:
    return [Path(kept.name).stem for kept in report.kept]


def test_captions_that_break_a_rule_are_taken_out(tmp_path: Path) -> None:
    source = ListSource(
        [
            pair(tmp_path, "one", (255, 0, 0), "", "a red square", "red"),
            pair(tmp_path, "none", (255, 0, 0), "", "red", "IMG_1234.jpg"),
            pair(tmp_path, "bare", (255, 0, 0)),
        ]
    )
    report = filter_pairs(source, FilterRules(min_words=2, drop_file_names=True))
    assert report.kept == [KeptPair(0, str(tmp_path / "one.png"), ("a red square",), ())]
    # Of "none", the empty caption went first, then the file name, the short one last.
    assert rules_of(report) == {"none": "caption too short", "bare": "empty caption"}
    assert report.captions_removed == {
        "empty caption": 2,
        "caption too short": 2,
        "file name for a caption": 1,
    }
    assert report.num_pairs == 3
    assert report.num_dropped == {"caption too short": 1, "empty caption": 1}


def test_images_are_measured_and_unreadable_ones_told(tmp_path: Path) -> None:
    big = Pair(save_image(tmp_path / "big.png", (9, 9, 9), size=40), ("big",), "big")
    (tmp_path / "bad.png").write_bytes(b"no image")
    source = ListSource(
        [
            pair(tmp_path, "small", (255, 0, 0), "red"),
            big,
            Pair(tmp_path / "bad.png", ("red",), "bad"),
            ImageReadError("shard/7", "is cut off"),
            Pair(tmp_path / "gone.png", ("",), "gone"),
        ]
    )
    report = filter_pairs(source, FilterRules(min_side=40))
    assert names(report) == ["big"]
    assert rules_of(report) == {
        "small": "image too small",
        "bad": "unreadable image",
        "7": "unreadable image",
        "gone": "empty caption",  # the first rule it breaks: its image is never looked at
    }
    whys = [dropped.why for dropped in report.dropped]
    assert whys[0] == "2 x 2 pixels, at least 40 a side are required"
    assert whys[1].startswith("is not an image")


def test_of_exact_copies_the_first_or_the_most_similar_is_kept(tmp_path: Path) -> None:
    pairs = [
        pair(tmp_path, "green called red", (0, 255, 0), "red"),
        pair(tmp_path, "blue", (0, 0, 255), "blue"),
        pair(tmp_path, "green", (0, 255, 0), "red", "green"),
        pair(tmp_path, "green again", (0, 255, 0), "green"),
    ]
    without = filter_pairs(ListSource(pairs), FilterRules(drop_exact_copies=True))
    assert names(without) == ["green called red", "blue"]
    assert without.dropped[0].why == f"of {tmp_path / 'green called red.png'}"
    rules = FilterRules(drop_exact_copies=True, min_similarity=-1)
    report = filter_pairs(ListSource(pairs), rules, FakeEncoder())
    assert names(report) == ["blue", "green"]
    assert rules_of(report) == {
        "green called red": "exact duplicate",
        "green again": "exact duplicate",
    }
    assert {dropped.why for dropped in report.dropped} == {f"of {tmp_path / 'green.png'}"}


def test_similarities_by_hand(tmp_path: Path) -> None:
    # (153, 204, 0): cosines .6, .8 and 0 to red, green and blue, but for the constant one.
    source = ListSource(
        [
            pair(tmp_path, "mixed", (153, 204, 0), "red", "green", "blue"),
            pair(tmp_path, "red", (255, 0, 0), "red"),
            pair(tmp_path, "wrong", (255, 0, 0), "green"),
        ]
    )
    report = filter_pairs(source, FilterRules(min_similarity=0.7), FakeEncoder())
    assert [(Path(kept.name).stem, kept.captions) for kept in report.kept] == [
        ("mixed", ("green",)),
        ("red", ("red",)),
    ]
    np.testing.assert_allclose(
        [kept.similarities[0] for kept in report.kept], [0.8, 1.0], atol=1e-4
    )
    assert rules_of(report) == {"wrong": "similarity too low"}
    assert report.dropped[0].why == "0.0000, at least 0.7 is required"
    assert report.captions_removed == {"similarity too low": 3}
    # Of 0, 0, .6, .8, 1: the middle and the ends.
    figures = report.similarity_quantiles
    assert [figures[share] for share in (0.0, 0.5, 1.0)] == pytest.approx([0, 0.6, 1], abs=1e-4)


def test_exactly_the_similarity_asked_for_is_enough(tmp_path: Path) -> None:
    source = ListSource([pair(tmp_path, "black", (0, 0, 0), "dark")])  # both lie on the last axis
    report = filter_pairs(source, FilterRules(min_similarity=1.0), FakeEncoder())
    assert names(report) == ["black"]


@pytest.mark.parametrize(
    ("share", "kept"),
    [(0.0, [0, 1, 2, 3, 4]), (0.19, [0, 1, 2, 3, 4]), (0.2, [0, 1, 2, 4]), (0.6, [0, 2])],
)
def test_the_lowest_share_goes_and_of_equals_the_later(
    tmp_path: Path, share: float, kept: list[int]
) -> None:
    # Ascending: 3 (green called red), then 4 and 1 (.6), then 2 (.8), then 0 (1).
    colors = [(255, 0, 0), (153, 204, 0), (204, 153, 0), (0, 255, 0), (153, 204, 0)]
    source = ListSource([pair(tmp_path, str(n), color, "red") for n, color in enumerate(colors)])
    report = filter_pairs(source, FilterRules(min_quantile=share), FakeEncoder())
    assert [left.row for left in report.kept] == kept
    assert set(rules_of(report).values()) <= {"lowest similarities"}


def test_of_near_duplicates_the_most_similar_pair_is_kept(tmp_path: Path) -> None:
    source = ListSource(
        [
            pair(tmp_path, "reddish", (255, 20, 0), "red"),
            pair(tmp_path, "blue", (0, 0, 255), "blue"),
            pair(tmp_path, "red", (255, 0, 0), "red"),
            pair(tmp_path, "called green", (255, 10, 0), "green"),
        ]
    )
    report = filter_pairs(source, FilterRules(near_epsilon=0.01), FakeEncoder())
    assert names(report) == ["blue", "red"]
    assert rules_of(report) == {"reddish": "near duplicate", "called green": "near duplicate"}
    cosine = 255 * 255 + 1
    cosine /= np.sqrt((255**2 + 20**2 + 1) * (255**2 + 1))
    red = tmp_path / "red.png"
    assert report.dropped[0].why == f"of {red}: cosine {cosine:.4f}, above 0.99"


def test_each_pair_is_told_with_the_first_rule_it_breaks(tmp_path: Path) -> None:
    source = ListSource(
        [
            pair(tmp_path, "short", (255, 0, 0), "red"),  # also small, a copy, unlike
            pair(tmp_path, "small", (255, 0, 0), "a red square"),
            *(
                Pair(save_image(tmp_path / f"{name}.png", color, size=8), (caption,), name)
                for name, color, caption in (
                    ("kept", (0, 255, 0), "a green square"),
                    ("copy", (0, 255, 0), "a green square"),
                )
            ),
        ]
    )
    rules = FilterRules(min_words=2, min_side=8, drop_exact_copies=True, near_epsilon=0.5)
    report = filter_pairs(source, rules, FakeEncoder())
    assert rules_of(report) == {
        "short": "caption too short",
        "small": "image too small",
        "copy": "exact duplicate",
    }


def test_an_image_that_only_the_model_cannot_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    source = ListSource(
        [
            Pair(tmp_path / "bad.png", ("red",), "bad"),
            pair(tmp_path, "red", (255, 0, 0), "red"),
        ]
    )
    rules = FilterRules(drop_exact_copies=True, min_similarity=0)
    report = filter_pairs(source, rules, FakeEncoder())
    assert rules_of(report) == {"bad": "unreadable image"}
    assert report.dropped[0].why == "is not an image"  # as the fake encoder says


def test_a_model_is_asked_for_where_it_is_needed(tmp_path: Path) -> None:
    source = ListSource([pair(tmp_path, "red", (255, 0, 0), "red")])
    with pytest.raises(InputError, match="need a model"):
        filter_pairs(source, FilterRules(min_quantile=0.1))
    encoder = FakeEncoder()
    filter_pairs(source, FilterRules(min_side=1), encoder)
    assert encoder.encoded_images == []


def test_progress_is_told_by_stage(tmp_path: Path) -> None:
    source = ListSource([pair(tmp_path, f"red {n}", (255, n, 0), "red") for n in range(3)])
    seen: list[tuple[str, int, int | None]] = []
    filter_pairs(
        source,
        FilterRules(near_epsilon=1e-6),
        FakeEncoder(),
        progress=lambda stage: lambda done, total: seen.append((stage, done, total)),
    )
    assert seen == [
        ("reading", 1, 3),
        ("reading", 2, 3),
        ("reading", 3, 3),
        ("embedding", 2, 3),
        ("embedding", 3, 3),
        ("comparing", 3, 3),
    ]


CAPTIONS = st.lists(
    st.sampled_from(["", "IMG_0001.jpg", *WORDS, "a green square", "a very long caption"]),
    max_size=3,
)
COLORS = [(255, 0, 0), (250, 20, 0), (0, 255, 0), (153, 204, 0), (3, 4, 250), (9, 9, 9)]
ABSOLUTE = st.builds(
    FilterRules,
    drop_file_names=st.booleans(),
    min_words=st.none() | st.integers(1, 3),
    max_characters=st.none() | st.integers(4, 15),
    min_side=st.none() | st.integers(1, 5),
    drop_exact_copies=st.booleans(),
    min_similarity=st.none() | st.sampled_from([-0.31, 0.11, 0.52]),
    near_epsilon=st.none() | st.sampled_from([0.0011, 0.013, 0.42]),
)


@pytest.fixture(scope="module")
def palette(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], Path]:
    """Images by colour and size; the last size is one that cannot be read."""
    folder = tmp_path_factory.mktemp("palette")
    images = {
        (color, size): save_image(folder / f"{color}-{size}.png", COLORS[color], size=size)
        for color in range(len(COLORS))
        for size in (2, 4)
    }
    (folder / "bad.png").write_bytes(b"no image")
    return images | {(color, 0): folder / "bad.png" for color in range(len(COLORS))}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, len(COLORS) - 1), st.sampled_from([0, 2, 4]), CAPTIONS),
        max_size=12,
    ),
    ABSOLUTE,
    st.none() | st.sampled_from([0.0, 0.3, 0.9]),
)
def test_nothing_is_lost_and_filtering_again_drops_nothing(
    palette: dict[tuple[int, int], Path],
    rows: list[tuple[int, int, list[str]]],
    rules: FilterRules,
    share: float | None,
) -> None:
    pairs = [
        Pair(palette[color, size], tuple(captions), f"pair {number}")
        for number, (color, size, captions) in enumerate(rows)
    ]
    encoder = FakeEncoder()
    with_share = FilterRules(**{**vars(rules), "min_quantile": share})
    for used in (rules, with_share):
        report = filter_pairs(ListSource(pairs), used, encoder)
        kept = [left.row for left in report.kept]
        dropped = [gone.row for gone in report.dropped]
        assert sorted(kept + dropped) == list(range(len(pairs)))
        assert kept == sorted(kept)
        assert dropped == sorted(dropped)
        assert all(gone.rule in RULES for gone in report.dropped)
        for left in report.kept:
            texts = iter(pairs[left.row].captions)
            assert left.captions
            assert all(caption in texts for caption in left.captions)  # in their order
    report = filter_pairs(ListSource(pairs), rules, encoder)
    again = [Pair(pairs[left.row].image, left.captions, left.name) for left in report.kept]
    second = filter_pairs(ListSource(again), rules, encoder)
    assert second.dropped == []
    assert second.captions_removed == {}
    assert [left.captions for left in second.kept] == [left.captions for left in report.kept]


def test_real_copies_of_a_real_photograph(tmp_path: Path, samples: list[Path]) -> None:
    shutil.copyfile(samples[0], tmp_path / "copy.jpg")
    pairs = [Pair(path, ("a photo",), path.name) for path in (*samples[:3], tmp_path / "copy.jpg")]
    report = filter_pairs(ListSource(pairs), FilterRules(drop_exact_copies=True, min_side=10))
    assert rules_of(report) == {"copy": "exact duplicate"}


def test_a_report_as_json_has_every_rule_and_every_dropped_pair(tmp_path: Path) -> None:
    source = ListSource(
        [
            pair(tmp_path, "red", (255, 0, 0), "red"),
            pair(tmp_path, "wrong", (255, 0, 0), "green"),
        ]
    )
    source.skipped = [ImageReadError("alone.txt", "has no image")]
    encoder = FakeEncoder()
    report = filter_pairs(source, FilterRules(min_similarity=0.5), encoder)
    values = report.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert values["dropped"] == dict.fromkeys(RULES, 0) | {"similarity too low": 1}
    assert values["model"] == {"name": encoder.name, "space_id": encoder.space_id}
    assert values["skipped"] == [{"path": "alone.txt", "reason": "has no image"}]
    assert (values["pairs"], values["kept"], values["rules"]) == (2, 1, {"min_similarity": 0.5})
    (dropped,) = values["dropped_pairs"]
    assert dropped == {
        "row": 1,
        "name": str(tmp_path / "wrong.png"),
        "rule": "similarity too low",
        "why": "0.0000, at least 0.5 is required",
    }
    # A model that no rule needs is not named.
    assert filter_pairs(source, FilterRules(min_words=1), encoder).to_dict()["model"] is None
