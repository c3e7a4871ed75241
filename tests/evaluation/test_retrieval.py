"""Recalls by hand on chosen directions, with several captions an image and equal captions."""

import json

import numpy as np
import pytest

from clipkit.embeddings import EmbeddingArray, Embeddings, normalize_rows
from clipkit.errors import InputError, SpaceMismatchError
from clipkit.evaluation.retrieval import evaluate_retrieval

AXES = np.eye(4, dtype=np.float32)


def test_several_captions_an_image_by_hand() -> None:
    # Images on axes 0, 1, 2. Captions 0 and 1 belong to image 0, 2 to image 1, 3 to 2.
    # Caption 0 points elsewhere and is equally far from all; caption 1 lies on its image's axis;
    # caption 2 is closest to image 2; caption 3 is closest to image 2 too, but less.
    captions = normalize_rows(
        np.array([[0, 0, 0, 1], [1, 0, 0, 0], [0, 0.6, 0.8, 0], [0, 0, 0.7, 0.714]])
    )
    report = evaluate_retrieval(AXES[:3], captions, [0, 0, 1, 2], ks=(1, 2, 3, 4, 5))
    assert (report.num_images, report.num_texts) == (3, 4)
    # Image 0 finds caption 1, image 1 caption 2; image 2 finds caption 2 (.8) before its
    # own (.7).
    # Caption 0: a tie of images, its own has the lowest number; 1: first; 2: image 2 comes
    # before its own; 3: first.
    assert report.recalls == {
        "image_to_text_recall@1": pytest.approx(2 / 3),
        "image_to_text_recall@2": 1.0,
        "image_to_text_recall@3": 1.0,
        "image_to_text_recall@4": 1.0,
        "text_to_image_recall@1": 3 / 4,
        "text_to_image_recall@2": 1.0,
        "text_to_image_recall@3": 1.0,
    }


def test_a_report_is_json() -> None:
    report = evaluate_retrieval(AXES[:2], AXES[:2], [0, 1], ks=(1,))
    assert json.loads(json.dumps(report.to_dict())) == {
        "num_images": 2,
        "num_texts": 2,
        "recalls": {"image_to_text_recall@1": 1.0, "text_to_image_recall@1": 1.0},
    }


def test_equal_captions_are_right_for_every_image_that_carries_them() -> None:
    # Images 0 and 1 both say "card" (axis 1); image 2 says "dog" (axis 2), lies on axis 0.
    images = AXES[[0, 1, 0]]
    captions = AXES[[1, 1, 2]]
    report = evaluate_retrieval(images, captions, [0, 1, 2], texts=["card", "card", "dog"], ks=(1,))
    assert report.num_texts == 2
    # Image 0 is as far from "card" as from "dog": "card" has the lower number. Image 1: right.
    # Image 2: "card" comes first: wrong. "card" finds image 1: right. "dog" is equally far
    # from all: wrong.
    assert report.recalls["image_to_text_recall@1"] == pytest.approx(2 / 3)
    assert report.recalls["text_to_image_recall@1"] == 1 / 2
    # As texts of their own, caption 0 only counts for image 0, which image 1 comes before.
    apart = evaluate_retrieval(images, captions, [0, 1, 2], ks=(1,))
    assert apart.num_texts == 3
    assert apart.recalls["text_to_image_recall@1"] == pytest.approx(1 / 3)


def test_one_caption_for_all_is_no_success() -> None:
    # With 7 of 8 images saying the same, a model that knows nothing else is right about one text
    # of two, not about seven of eight.
    texts = ["card"] * 7 + ["dog"]
    report = evaluate_retrieval(
        np.repeat(AXES[:1], 8, axis=0),
        np.repeat(AXES[:1], 8, axis=0),
        np.arange(8),
        texts=texts,
        ks=(1,),
    )
    assert report.recalls["text_to_image_recall@1"] == 1 / 2


def test_an_image_without_a_text_is_only_in_the_way() -> None:
    report = evaluate_retrieval(AXES[[1, 0, 1]], AXES[[0, 1]], [1, 2], ks=(1, 2))
    assert report.recalls["image_to_text_recall@1"] == 1.0  # images 1 and 2 ask
    assert report.recalls["text_to_image_recall@1"] == 1 / 2  # image 0 comes before 2
    assert report.recalls["text_to_image_recall@2"] == 1.0


def test_agrees_with_a_slow_reference() -> None:
    rng = np.random.default_rng(5)
    images = normalize_rows(rng.normal(size=(20, 6)))
    captions = normalize_rows(rng.normal(size=(33, 6)))
    owners = np.concatenate([np.arange(20), rng.integers(0, 20, 13)])
    texts = [f"text {number}" for number in rng.integers(0, 15, 33)]
    captions = captions[[texts.index(text) for text in texts]]  # equal texts, equal embeddings
    report = evaluate_retrieval(images, captions, owners, texts=texts, ks=(1, 5))
    distinct = list(dict.fromkeys(texts))
    carried: list[set[str]] = [
        {text for text, owner in zip(texts, owners, strict=True) if owner == image}
        for image in range(20)
    ]
    cosine = {
        (image, text): float(images[image] @ captions[texts.index(text)])
        for image in range(20)
        for text in distinct
    }
    for k in (1, 5):
        found = [
            bool(set(sorted(distinct, key=lambda text: -cosine[image, text])[:k]) & carried[image])
            for image in range(20)
        ]
        assert report.recalls[f"image_to_text_recall@{k}"] == pytest.approx(np.mean(found))
        found = [
            any(
                text in carried[image]
                for image in sorted(range(20), key=lambda one: -cosine[one, text])[:k]
            )
            for text in distinct
        ]
        assert report.recalls[f"text_to_image_recall@{k}"] == pytest.approx(np.mean(found))


@pytest.mark.parametrize(
    ("images", "captions", "owners", "texts", "message"),
    [
        (AXES[:0], AXES, [0] * 4, None, "got 0 images and 4 texts"),
        (AXES, AXES[:0], [], None, "got 4 images and 0 texts"),
        (AXES, AXES[:, :3], [0] * 4, None, r"got \(4, 4\) and \(4, 3\)"),
        (AXES, AXES, [0] * 3, None, r"numbers of shape \(3,\) and 4 texts"),
        (AXES, AXES, [0] * 4, ["a"], r"numbers of shape \(4,\) and 1 texts"),
        (AXES, AXES, [0, 1, 2, 4], None, r"in 0..3 for 4 images, got 0..4"),
        (AXES, AXES, [0, 1, 2, 0.5], None, "must be whole numbers, got float64"),
    ],
)
def test_what_does_not_fit_is_told(
    images: Embeddings,
    captions: Embeddings,
    owners: list[int],
    texts: list[str] | None,
    message: str,
) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_retrieval(images, captions, owners, texts=texts)


def test_a_k_of_zero_is_told() -> None:
    with pytest.raises(InputError, match="every k must be at least 1"):
        evaluate_retrieval(AXES, AXES, [0, 1, 2, 3], ks=(1, 0))


def test_what_has_no_cosines_is_refused() -> None:
    with pytest.raises(SpaceMismatchError, match="two spaces, a and b"):
        evaluate_retrieval(EmbeddingArray(AXES, "a"), EmbeddingArray(AXES, "b"), range(4))
    with pytest.raises(InputError, match="image_embeddings must have rows of norm 1, got norm 3"):
        evaluate_retrieval(3 * AXES, AXES, range(4))
    report = evaluate_retrieval(EmbeddingArray(AXES, "a"), AXES, range(4), ks=[1])
    assert set(report.recalls.values()) == {1.0}
