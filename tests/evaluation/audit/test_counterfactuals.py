"""Swapped words: which texts change, and what that does to answers and rankings by hand."""

import numpy as np
import pytest

from clipkit.embeddings import normalize_rows
from clipkit.errors import InputError
from clipkit.evaluation.audit.counterfactuals import (
    parse_swap,
    swap_classes,
    swap_queries,
    swap_words,
    swapped_texts,
)
from clipkit.evaluation.audit.scores import AuditImages, AuditTexts
from clipkit.runtime.base import Scoring

NONE = np.empty((0, 2), np.float32)


@pytest.mark.parametrize(
    ("text", "swap", "expected"),
    [
        ("a man", ("man", "woman"), "a woman"),
        ("a woman", ("man", "woman"), "a man"),
        ("A Man, and a woman", ("man", "woman"), "A woman, and a man"),
        ("a mandolin", ("man", "woman"), "a mandolin"),
        ("a female doctor", ("doctor", "female doctor"), "a doctor"),
        ("a doctor", ("doctor", "female doctor"), "a female doctor"),
        ("c++ code", ("c++", "java"), "java code"),
    ],
)
def test_whole_words_are_swapped(text: str, swap: tuple[str, str], expected: str) -> None:
    assert swap_words(text, swap) == expected


def test_texts_that_become_another_one_are_no_counterfactual() -> None:
    swaps = [("man", "woman"), ("boy", "girl")]
    assert swapped_texts(["man", "woman", "cow boy", "tree"], swaps) == [(2, "cow girl")]


@pytest.mark.parametrize("text", ["man", "man=", "=", "a=b=c", "man=MAN"])
def test_a_swap_has_two_sides(text: str) -> None:
    with pytest.raises(InputError, match='two different words as in "man=woman"'):
        parse_swap(text)
    assert parse_swap(" a  man= woman") == ("a man", "woman")


def test_classes_by_hand() -> None:
    """Classes lie at 0 and 90 degrees; the first is then called what lies at -60."""
    angles = np.radians([0.0, 10, 40, 50, 90])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    images = AuditImages(rows, np.array([0, 0, 1, -1, 1]), Scoring(log_scale=0.0))
    classes = np.array([[1.0, 0], [0, 1]], np.float32)
    swapped = normalize_rows([[np.cos(np.radians(-60)), np.sin(np.radians(-60))]])
    texts = AuditTexts(("a man", "b"), classes, (), NONE, (), NONE, NONE)
    (found,) = swap_classes(images, texts, [(0, "a woman")], swapped)
    # To 90 degrees it is nearer than to -60 from 15 degrees on; it was so from 45 on.
    assert found.changed.mean == pytest.approx(1 / 5)
    assert found.changed.count == 5
    assert found.recall_change is not None
    assert found.recall_change.mean == 0.0
    expected = np.cos(angles + np.radians(60)) - np.cos(angles)
    assert found.shift.mean == pytest.approx(expected.mean(), abs=1e-6)


def test_queries_by_hand() -> None:
    """The first ten of twenty images; the swapped query turns the ranking round."""
    angles = np.radians(np.linspace(0, 90, 20))
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    ends = np.array([[1.0, 0]], np.float32), np.array([[0, 1.0]], np.float32)
    (found,) = swap_queries(rows, [("a man", "a woman")], ends)
    assert (found.k, found.changed.mean) == (10, 1.0)
    assert found.shift.mean == pytest.approx(0, abs=1e-6)
    (same,) = swap_queries(rows, [("a man", "a woman")], (ends[0], ends[0]))
    assert same.changed.mean == 0.0
