"""What is wrong with captions and sizes, case by case."""

import pytest

from clipkit.curation.rules import RULES, FilterRules, is_file_name
from clipkit.errors import InputError


@pytest.mark.parametrize(
    ("rules", "caption", "rule", "why"),
    [
        (FilterRules(), "a dog", None, ""),
        (FilterRules(), " \n ", "empty caption", "there is no text"),
        (FilterRules(), "IMG_1234.jpg", None, ""),
        (
            FilterRules(drop_file_names=True),
            "IMG_1234.jpg",
            "file name for a caption",
            '"IMG_1234.jpg"',
        ),
        (FilterRules(min_words=3), "a  dog ", "caption too short", "2 words, at least 3 are asked"),
        (FilterRules(min_words=2), "a dog", None, ""),
        (
            FilterRules(min_characters=6),
            " a dog ",
            "caption too short",
            "5 characters, at least 6 are asked",
        ),
        (FilterRules(min_characters=5, max_characters=5), "a dog", None, ""),
        (FilterRules(max_words=1), "a dog", "caption too long", "2 words, at most 1 are allowed"),
        (FilterRules(max_characters=4), "a dog", "caption too long", "5 characters, at most 4"),
        # Two rules broken: the first in the order of RULES.
        (FilterRules(max_words=1, min_characters=9), "a dog", "caption too short", "5 characters"),
    ],
)
def test_captions(rules: FilterRules, caption: str, rule: str | None, why: str) -> None:
    fault = rules.caption_fault(caption, "name")
    if rule is None:
        assert fault is None
    else:
        assert fault is not None
        assert fault.rule == rule
        assert fault.why.startswith(why)
        assert rule in RULES


@pytest.mark.parametrize(
    ("rules", "size", "rule", "why"),
    [
        (FilterRules(), (1, 9999), None, ""),
        (FilterRules(min_side=200), (300, 199), "image too small", "300 x 199 pixels, at least"),
        (FilterRules(min_side=200), (200, 300), None, ""),
        (
            FilterRules(max_aspect=3),
            (100, 301),
            "image too narrow",
            "100 x 301 pixels, one side 3.01 times the other, 3 are allowed",
        ),
        (FilterRules(max_aspect=3), (300, 100), None, ""),
        (FilterRules(max_aspect=3, min_side=200), (100, 900), "image too small", "100 x 900"),
    ],
)
def test_sizes(rules: FilterRules, size: tuple[int, int], rule: str | None, why: str) -> None:
    fault = rules.size_fault(size)
    if rule is None:
        assert fault is None
    else:
        assert fault is not None
        assert fault.rule == rule
        assert fault.why.startswith(why)


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("beach.jpg", "x"),
        ("a sunny beach.JPEG", "x"),
        ("IMG_1234", "x"),
        ("DSC00012", "x"),
        ("_DSC0042", "x"),
        ("dscn0042", "x"),
        ("P1010001", "x"),
        ("PXL_20230101_123456789", "x"),
        ("20190504_123456", "x"),
        ("image 001 (2)", "x"),
        ("Picture 0012", "x"),
        ("48213", "photos/48213.jpg"),
        ("photos/scene-0042.png", "photos/scene-0042.png"),
    ],
)
def test_file_names(caption: str, name: str) -> None:
    assert is_file_name(caption, name)


@pytest.mark.parametrize(
    ("caption", "name"),
    [
        ("dog", "dog.jpg"),
        ("golden_retriever", "pets/golden_retriever.png"),
        ("48213", "x"),
        ("a Boeing 747", "x"),
        ("1984", "x"),
        ("A picture of 100 sheep", "x"),
        ("photo", "x"),
        ("St. Mark's", "x"),
    ],
)
def test_captions_that_are_no_file_names(caption: str, name: str) -> None:
    assert not is_file_name(caption, name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_words": 0}, "min_words must be 1 or more, got 0"),
        ({"min_side": -3}, "min_side must be 1 or more, got -3"),
        ({"max_aspect": 0.5}, "max_aspect must be 1 or more, got 0.5"),
        ({"max_aspect": float("inf")}, "max_aspect must be 1 or more, got inf"),
        ({"min_similarity": 1.5}, "min_similarity must be -1 to 1, got 1.5"),
        ({"min_similarity": float("nan")}, "min_similarity must be -1 to 1, got nan"),
        ({"min_quantile": 1.0}, "min_quantile must be 0 or more and below 1, got 1"),
        ({"near_epsilon": 0.0}, "near_epsilon must be 1e-06 to 2, got 0"),
        ({"min_words": 5, "max_words": 4}, "min_words 5 is above max_words 4: no caption fits"),
    ],
)
def test_wrong_rules_are_told(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FilterRules(**options)  # type: ignore[arg-type]


def test_rules_know_what_they_need() -> None:
    assert FilterRules().asked == {}
    rules = FilterRules(min_similarity=0.0, drop_file_names=True)
    assert rules.asked == {"drop_file_names": True, "min_similarity": 0.0}
    assert FilterRules(min_quantile=0.0).need_embeddings
    assert FilterRules(near_epsilon=0.1).need_embeddings
    assert not FilterRules(drop_exact_copies=True, min_side=1).need_embeddings
    assert FilterRules(max_aspect=2.0).need_sizes
